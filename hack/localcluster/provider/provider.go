// Package provider lets an end-to-end suite choose its cluster by one environment variable, CLUSTER: `local` (this
// module's cluster, the default), `kind`, or `existing` (the cluster of the current kubeconfig).
package provider

import (
	"context"
	"fmt"
	"os"

	"sigs.k8s.io/e2e-framework/support"
	"sigs.k8s.io/e2e-framework/third_party/kind"

	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
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
	// Heal gives it back, and ends every fault of the node's network.
	Heal(ctx context.Context, node string) error
	// Freeze lets every process of a node stand still.
	Freeze(ctx context.Context, node string) error
	// Thaw lets them go on.
	Thaw(ctx context.Context, node string) error
}

// NetworkFaults makes the network bad in part. Only the local cluster offers it, as NodeFaults.
type NetworkFaults interface {
	// Disturb makes the network as bad as the rule says, besides rules that are in force already. Rules outlive a stop
	// and start of the node.
	Disturb(ctx context.Context, rule netfault.Rule) error
	// Heal ends every rule about that node, and plugs its cable in.
	Heal(ctx context.Context, node string) error
	// HealAll ends every rule about every node, those about netfault.Everywhere too, and plugs all cables in.
	HealAll(ctx context.Context) error
}

// Programs of the control plane.
const (
	// APIServer is the API server.
	APIServer = "kube-apiserver"
	// Etcd is the API server's store.
	Etcd = "etcd"
	// ControllerManager holds the controllers of Kubernetes itself.
	ControllerManager = "kube-controller-manager"
	// Scheduler is the scheduler.
	Scheduler = "kube-scheduler"
	// DNS is the DNS server.
	DNS = "coredns"
)

// ControlFaults does to single programs of the control plane what happens to programs. Only the local cluster offers it,
// as NodeFaults.
type ControlFaults interface {
	// Pause lets a program stand still: its connections stay open, and nobody answers.
	Pause(ctx context.Context, program string) error
	// Resume lets it go on.
	Resume(ctx context.Context, program string) error
	// Restart kills it and returns at once; about a second later it is started again.
	Restart(ctx context.Context, program string) error
}

// VolumeFaults does to volumes of the storage class limited what happens to disks. Only the local cluster offers it, as
// NodeFaults.
type VolumeFaults interface {
	// Stall lets everything hang that writes to a volume, and returns when that is so; reads go on. volume is the name of
	// the PersistentVolume: a claim has it in spec.volumeName.
	Stall(ctx context.Context, node, volume string) error
	// Release lets writes go on.
	Release(ctx context.Context, node, volume string) error
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
