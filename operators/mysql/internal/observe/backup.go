package observe

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	var claim corev1.PersistentVolumeClaim
	instanceName := manifest.InstanceName(name.Name, 0)
	err = o.Cached.Get(ctx, types.NamespacedName{Namespace: name.Namespace, Name: manifest.ClaimName(instanceName)}, &claim)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("look for the volume of the restore drill %s: %w", name.Name, err)
	}
	out.OldVolume = err == nil && claim.DeletionTimestamp == nil && IsOld(&claim, &cluster)
	pod, err := o.drilledPod(ctx, &cluster, instanceName)
	if err != nil || pod == nil {
		return out, err
	}
	if problem, ok := problemOf(pod); ok {
		out.Problem = problem.Message
	}
	// What an agent of that name has said before was about another drill.
	if peer, ok := o.Peers.Get(name.Namespace, instanceName); ok && len(peer.Snapshot) > 0 && peer.Key.UID == string(pod.UID) {
		var report instance.Report
		if json.Unmarshal(peer.Snapshot, &report) == nil {
			out.Report = &report
		}
	}
	return out, nil
}

// drilledPod returns the pod of a drill; nil if there is none. A pod of an earlier drill has its name and may still be there: so it has to belong to a
// StatefulSet that belongs to this one.
func (o *Observer) drilledPod(ctx context.Context, cluster *v1alpha1.MySQLCluster, instanceName string) (*corev1.Pod, error) {
	var set appsv1.StatefulSet
	var pod corev1.Pod
	for _, object := range []client.Object{&set, &pod} {
		key := types.NamespacedName{Namespace: cluster.Namespace, Name: manifest.StatefulSet(cluster.Name)}
		if object == client.Object(&pod) {
			key.Name = instanceName
		}
		err := o.Cached.Get(ctx, key, object)
		switch {
		case apierrors.IsNotFound(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("look for the pod of the restore drill %s: %w", cluster.Name, err)
		}
	}
	if !metav1.IsControlledBy(&set, cluster) || !metav1.IsControlledBy(&pod, &set) {
		return nil, nil
	}
	return &pod, nil
}
