package observe

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
)

// BackupsByCluster is the field by which MySQLBackups are found: the name of their cluster. The API server selects by it, and a cache has to be
// told to index it.
const BackupsByCluster = "spec.cluster"

// ClusterOfBackup returns what BackupsByCluster indexes an object by.
func ClusterOfBackup(object client.Object) []string {
	if b, ok := object.(*v1alpha1.MySQLBackup); ok {
		return []string{b.Spec.Cluster}
	}
	return nil
}

// Backups returns the MySQLBackups of a cluster, which need not exist (any more).
func (o *Observer) Backups(ctx context.Context, cluster types.NamespacedName) ([]v1alpha1.MySQLBackup, error) {
	var list v1alpha1.MySQLBackupList
	if err := o.Cached.List(ctx, &list, client.InNamespace(cluster.Namespace), client.MatchingFields{BackupsByCluster: cluster.Name}); err != nil {
		return nil, fmt.Errorf("list the backups of %s: %w", cluster.Name, err)
	}
	return list.Items, nil
}

// Protection is what decisions about backups rest on.
func (o *Observation) Protection() protect.Input {
	in := protect.Input{Cluster: o.Cluster, Observation: o.Topology, Backups: o.Backups, Upgrading: o.Upgrading, Drilled: o.Drilled}
	for _, claim := range o.Claims {
		if size := claim.Spec.Resources.Requests[corev1.ResourceStorage]; size.Cmp(in.LargestVolume) > 0 {
			in.LargestVolume = size
		}
	}
	return in
}

// drilled looks at the cluster of a restore drill, and at its only instance; nil if there is none. What cannot be read of a report counts as not said:
// a drill that never says that it has passed fails.
func (o *Observer) drilled(ctx context.Context, name types.NamespacedName) (*protect.Drilled, error) {
	var cluster v1alpha1.MySQLCluster
	err := o.Cached.Get(ctx, name, &cluster)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for the restore drill %s: %w", name.Name, err)
	}
	out := &protect.Drilled{Cluster: &cluster}
	var pods corev1.PodList
	if err := o.Cached.List(ctx, &pods, client.InNamespace(name.Namespace), client.MatchingLabels(manifest.SelectorLabels(name.Name))); err != nil {
		return nil, fmt.Errorf("list the pods of the restore drill %s: %w", name.Name, err)
	}
	for i := range pods.Items {
		if problem, ok := problemOf(&pods.Items[i]); ok {
			out.Problem = problem.Message
		}
	}
	if peer, ok := o.Peers.Get(name.Namespace, manifest.InstanceName(name.Name, 0)); ok && len(peer.Snapshot) > 0 {
		var report instance.Report
		if json.Unmarshal(peer.Snapshot, &report) == nil {
			out.Report = &report
		}
	}
	return out, nil
}
