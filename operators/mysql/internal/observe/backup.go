package observe

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
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
