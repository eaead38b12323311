// Package provider lets an end-to-end suite choose its cluster by one environment variable, CLUSTER: `local` (this
// module's cluster, the default), `kind`, or `existing` (the cluster of the current kubeconfig).
package provider

import (
	"context"
	"fmt"
	"os"

	"sigs.k8s.io/e2e-framework/support"
	"sigs.k8s.io/e2e-framework/third_party/kind"
)

// Variable is the environment variable that chooses the cluster.
const Variable = "CLUSTER"

// Kinds of clusters.
const (
	// KindLocal is a cluster of this module.
	KindLocal = "local"
	// KindKind is a cluster made by kind.
	KindKind = "kind"
	// KindExisting is the cluster of the current kubeconfig.
	KindExisting = "existing"
)

// Provider is a cluster into which images can be loaded.
type Provider = support.E2EClusterProviderWithImageLoader

// NodeFaults does to nodes what happens to machines. Only the local cluster offers it; ask for it by a type assertion on
// the provider:
//
//	faults, ok := p.(provider.NodeFaults)
type NodeFaults interface {
	// Stop takes a node's power away.
	Stop(ctx context.Context, node string) error
	// Start gives it back and waits until the node is Ready.
	Start(ctx context.Context, node string) error
	// Cut takes a node's network away, in both directions.
	Cut(ctx context.Context, node string) error
	// Heal gives it back.
	Heal(ctx context.Context, node string) error
	// Freeze lets every process of a node stand still.
	Freeze(ctx context.Context, node string) error
	// Thaw lets them go on.
	Thaw(ctx context.Context, node string) error
}

// New returns the provider that the environment chooses, for a cluster of that name.
func New(name string) (Provider, error) {
	return Of(os.Getenv(Variable), name)
}

// Of returns the provider of that kind; an empty kind is KindLocal.
func Of(kindOf, name string) (Provider, error) {
	switch kindOf {
	case "", KindLocal:
		return NewLocal(name), nil
	case KindKind:
		return kind.NewCluster(name), nil
	case KindExisting:
		return NewExisting(), nil
	}
	return nil, fmt.Errorf("%s=%q: use %s, %s or %s", Variable, kindOf, KindLocal, KindKind, KindExisting)
}
