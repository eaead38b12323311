package controller_test

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/shared/testkit"
)

// moving are the kinds that others than the operator change in a path.
func moving() []client.ObjectList {
	return []client.ObjectList{&v1alpha1.MySQLClusterList{}, &v1alpha1.MySQLBackupList{}, &corev1.PodList{}, &corev1.PersistentVolumeClaimList{}}
}

// resting are the kinds that only the operator writes.
func resting() []client.ObjectList {
	return []client.ObjectList{
		&discoveryv1.EndpointSliceList{}, &appsv1.StatefulSetList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{},
		&corev1.ServiceAccountList{}, &policyv1.PodDisruptionBudgetList{},
	}
}

// newCache is the operator's cache: of everything but MySQLClusters and MySQLBackups, only what carries a cluster's label.
func (w *world) newCache(c client.WithWatch) *testkit.Cache {
	w.t.Helper()
	here := client.InNamespace(w.name.Namespace)
	var kept []testkit.Kept
	for _, list := range append(moving(), resting()...) {
		options := []client.ListOption{here, client.HasLabels{manifest.LabelCluster}}
		var index func(client.Object) fields.Set
		switch list.(type) {
		case *v1alpha1.MySQLClusterList:
			options = options[:1]
		case *v1alpha1.MySQLBackupList:
			options = options[:1]
			index = func(obj client.Object) fields.Set {
				return fields.Set{observe.BackupsByCluster: observe.ClusterOfBackup(obj)[0]}
			}
		}
		kept = append(kept, testkit.Kept{List: list, Options: options, Fields: index})
	}
	cache, err := testkit.NewCache(c, kept...)
	if err != nil {
		w.t.Fatal(err)
	}
	return cache
}

// sync brings the operator's cache to the present, all but what is frozen.
func (w *world) sync() error {
	if w.cache == nil {
		return nil
	}
	kinds := moving()
	if n := w.writes.Writes(); n != w.synced || w.frozen != nil {
		kinds, w.synced = append(kinds, resting()...), n
	}
	if w.frozen != nil {
		kinds = w.frozen(kinds)
		w.synced = -1
		if len(kinds) == 0 {
			return nil
		}
	}
	_, err := w.cache.Sync(w.t.Context(), kinds...)
	return err
}
