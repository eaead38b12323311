// Package permission knows what the operator may do and why, for the questions that it asks at its start, for the
// documentation, and for the proof from an audit log that nothing of it is too much.
package permission

import (
	"fmt"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/config"
	"github.com/kapok-operators/kapok/shared/rbac"
)

// Names of the roles.
const (
	// Watched is the role in each namespace that is watched.
	Watched = "mysql-operator"
	// Own is the role in the operator's own namespace.
	Own = "mysql-operator-own-namespace"
	// Metrics is the role for serving metrics to authorized readers.
	Metrics = "mysql-operator-metrics-auth"
)

// Installation says how the operator is run.
type Installation struct {
	// Namespaces that it watches; empty means all.
	Namespaces []string
	// Own is the namespace that it runs in.
	Own string
	// Election is the namespace of the Lease by which a leader is elected; empty means that none is.
	Election string
	// Metrics are served to authorized readers.
	Metrics bool
}

// Definitions are the custom resources that the operator works on.
func Definitions() []rbac.Definition {
	const install = "kubectl apply --server-side -f mysql-operator-crds.yaml, which hack/install-yaml.sh renders (or -k operators/mysql/config/crd)"
	return []rbac.Definition{
		{GroupVersionResource: v1alpha1.SchemeGroupVersion.WithResource("mysqlclusters"), Install: install},
		{GroupVersionResource: v1alpha1.SchemeGroupVersion.WithResource("mysqlbackups"), Install: install},
		{GroupVersionResource: v1alpha1.SchemeGroupVersion.WithResource("mysqlrestores"), Install: install},
	}
}

// Needs returns what the operator needs where, from the roles that are installed with it.
func Needs(in Installation) ([]rbac.Need, error) {
	watched, err := role(config.WatchedRole(), Watched)
	if err != nil {
		return nil, err
	}
	var out []rbac.Need
	add := func(r rbac.Role, namespace, from string) error {
		needs, err := purposes.Needs(r, namespace, from)
		for _, need := range needs {
			if need.Resource == "leases" {
				need.Namespace = in.Election
				if in.Election == "" {
					continue
				}
			}
			out = append(out, need)
		}
		return err
	}
	if len(in.Namespaces) == 0 {
		err = add(watched, "", "ClusterRole "+Watched+" (operators/mysql/config/default); to watch less, give --namespaces")
	}
	for _, namespace := range in.Namespaces {
		if err == nil {
			err = add(watched, namespace, fmt.Sprintf("Role %s in namespace %s (operators/mysql/config/watched), or do without the namespace in --namespaces", Watched, namespace))
		}
	}
	if err != nil {
		return nil, err
	}
	own, err := role(config.OwnRole(), Own)
	if err != nil {
		return nil, err
	}
	if err := add(own, in.Own, fmt.Sprintf("Role %s in namespace %s (operators/mysql/config/rbac/own_namespace_role.yaml)", Own, in.Own)); err != nil {
		return nil, err
	}
	if !in.Metrics {
		return out, nil
	}
	metrics, err := role(config.MetricsRole(), Metrics)
	if err != nil {
		return nil, err
	}
	err = add(metrics, "", "ClusterRole "+Metrics+" (operators/mysql/config/rbac/cluster/metrics); or switch metrics off with --metrics-address=0")
	return out, err
}

// role finds a role in a manifest.
func role(manifest []byte, name string) (rbac.Role, error) {
	objects, err := rbac.Parse(manifest)
	if err != nil {
		return rbac.Role{}, fmt.Errorf("read the role %s: %w", name, err)
	}
	for _, r := range objects.Roles {
		if r.Name == name {
			return r, nil
		}
	}
	return rbac.Role{}, fmt.Errorf("read the role %s: its manifest does not hold it", name)
}
