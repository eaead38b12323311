package controller

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
	"github.com/kapok-operators/kapok/shared/link"
	"github.com/kapok-operators/kapok/shared/observability"
)

// +kubebuilder:rbac:groups=mysql.kapok.dev,resources=mysqlclusters,verbs=get;list;watch;patch;delete
// +kubebuilder:rbac:groups=mysql.kapok.dev,resources=mysqlclusters/status,verbs=patch
// +kubebuilder:rbac:groups=mysql.kapok.dev,resources=mysqlclusters/finalizers,verbs=update
// +kubebuilder:rbac:groups=mysql.kapok.dev,resources=mysqlbackups,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=mysql.kapok.dev,resources=mysqlbackups/status,verbs=patch
// +kubebuilder:rbac:groups=apps,resources=statefulsets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=services;serviceaccounts,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=monitoring.coreos.com,resources=podmonitors;prometheusrules,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch;delete
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=list;watch;patch;delete
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Options are what an installation may want to set.
type Options struct {
	// Workers is how many clusters are looked at side by side; 8 if zero.
	Workers int
}

// reconcileTimeout bounds one round; everything in it has a shorter deadline of its own.
const reconcileTimeout = 30 * time.Second

// Setup adds the loop to the manager: it runs when something of a cluster changes in Kubernetes, and at once when an
// agent says something new.
func (r *Reconciler) Setup(ctx context.Context, mgr ctrl.Manager, wake *Wake, opts Options) error {
	workers := opts.Workers
	if workers == 0 {
		workers = 8
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.MySQLBackup{}, observe.BackupsByCluster, observe.ClusterOfBackup); err != nil {
		return fmt.Errorf("index MySQLBackups by their cluster: %w", err)
	}
	byLabel := handler.EnqueueRequestsFromMapFunc(clusterOfObject)
	return ctrl.NewControllerManagedBy(mgr).
		Named(controllerName).
		For(&v1alpha1.MySQLCluster{}).
		Watches(&v1alpha1.MySQLBackup{}, handler.EnqueueRequestsFromMapFunc(clusterOfBackup)).
		Watches(&v1alpha1.MySQLCluster{}, handler.EnqueueRequestsFromMapFunc(clusterOfDrill)).
		Watches(&corev1.Pod{}, byLabel).
		Watches(&corev1.PersistentVolumeClaim{}, byLabel).
		Watches(&appsv1.StatefulSet{}, byLabel).
		Watches(&corev1.Service{}, byLabel).
		Watches(&corev1.ConfigMap{}, byLabel).
		Watches(&corev1.ServiceAccount{}, byLabel).
		Watches(&discoveryv1.EndpointSlice{}, byLabel).
		Watches(&policyv1.PodDisruptionBudget{}, byLabel).
		WatchesRawSource(source.TypedFunc[reconcile.Request](wake.start)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			ReconciliationTimeout:   reconcileTimeout,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](20*time.Millisecond, 10*time.Second),
		}).
		WithLogConstructor(observability.LogConstructor(mgr.GetLogger(), controllerName, objectKind)).
		Complete(r.Recorded())
}

// The controller's name and the kind of its objects, in metrics, traces and logs.
const (
	controllerName = "mysqlcluster"
	objectKind     = "MySQLCluster"
)

// Recorded is the loop with its telemetry: what the manager runs.
func (r *Reconciler) Recorded() reconcile.Reconciler {
	return r.Telemetry.Reconciler(controllerName, objectKind, r)
}

// clusterOfObject finds the cluster by the label that all its objects carry.
func clusterOfObject(_ context.Context, obj client.Object) []reconcile.Request {
	cluster := obj.GetLabels()[manifest.LabelCluster]
	if cluster == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: cluster}}}
}

// clusterOfDrill finds the cluster whose backups a restore drill proves.
func clusterOfDrill(_ context.Context, obj client.Object) []reconcile.Request {
	cluster := obj.GetLabels()[protect.LabelDrill]
	if cluster == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: cluster}}}
}

// clusterOfBackup finds the cluster that a MySQLBackup is of.
func clusterOfBackup(_ context.Context, obj client.Object) []reconcile.Request {
	var out []reconcile.Request
	for _, cluster := range observe.ClusterOfBackup(obj) {
		out = append(out, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: cluster}})
	}
	return out
}

// Wake carries what agents say to the queue: ahead of everything that can wait, and without a detour. Before the
// controller starts (a standby has none) it drops what it is told; the first round sees it all anyway.
type Wake struct {
	queue atomic.Pointer[workqueue.TypedRateLimitingInterface[reconcile.Request]]
}

func (w *Wake) start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	w.queue.Store(&queue)
	return nil
}

// Agent wakes the loop for the cluster of the given pod. It never blocks.
func (w *Wake) Agent(peer link.PeerKey) {
	if cluster, ok := act.ClusterOf(peer.Namespace, peer.Pod); ok {
		w.Cluster(cluster)
	}
}

// Cluster wakes the loop for one cluster. It never blocks.
func (w *Wake) Cluster(cluster types.NamespacedName) {
	queue := w.queue.Load()
	if queue == nil {
		return
	}
	request, priority := reconcile.Request{NamespacedName: cluster}, urgent
	if q, ok := (*queue).(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		q.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, request)
		return
	}
	(*queue).Add(request)
}
