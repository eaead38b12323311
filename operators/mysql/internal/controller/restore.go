package controller

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/recovery"
	"github.com/kapok-operators/kapok/operators/mysql/internal/status"
	"github.com/kapok-operators/kapok/shared/event"
	"github.com/kapok-operators/kapok/shared/observability"
)

// +kubebuilder:rbac:groups=mysql.kapok.dev,resources=mysqlrestores,verbs=get;list;watch
// +kubebuilder:rbac:groups=mysql.kapok.dev,resources=mysqlrestores/status,verbs=patch
// +kubebuilder:rbac:groups=mysql.kapok.dev,resources=mysqlclusters,verbs=create

// RestoreReconciler runs the loop for MySQLRestores. It makes the MySQLCluster, whose own loop does the rest.
type RestoreReconciler struct {
	// Client writes; its reads are cached. Live reads from the API server.
	Client client.Client
	Live   client.Reader
	// Events sends events.
	Events *event.Emitter
	// Telemetry records the rounds; nil records none.
	Telemetry *observability.Telemetry
	// Now is the clock.
	Now func() time.Time
}

// The controller's name and the kind of its objects, in metrics, traces and logs.
const (
	restoreControllerName = "mysqlrestore"
	restoreKind           = "MySQLRestore"
)

// Setup adds the loop to the manager.
func (r *RestoreReconciler) Setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named(restoreControllerName).
		For(&v1alpha1.MySQLRestore{}).
		Watches(&v1alpha1.MySQLCluster{}, handler.EnqueueRequestsFromMapFunc(restoreOfCluster)).
		WithLogConstructor(observability.LogConstructor(mgr.GetLogger(), restoreControllerName, restoreKind)).
		Complete(r.Telemetry.Reconciler(restoreControllerName, restoreKind, r))
}

// restoreOfCluster finds the MySQLRestore that a cluster was made for.
func restoreOfCluster(_ context.Context, obj client.Object) []reconcile.Request {
	name := obj.GetLabels()[recovery.LabelRestore]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: name}}}
}

// Reconcile looks at one restore, decides, acts and reports.
func (r *RestoreReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	in, err := r.observe(ctx, req.NamespacedName)
	if err != nil || in.Restore == nil {
		return ctrl.Result{}, err
	}
	decision := recovery.Decide(in)
	if decision.Create != nil {
		err := r.Client.Create(ctx, decision.Create, client.FieldValidation(metav1.FieldValidationStrict))
		switch {
		case apierrors.IsAlreadyExists(err):
			// Whose it is shows in the next round.
			return ctrl.Result{RequeueAfter: atOnce}, nil
		case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
			decision = recovery.Refused(in, err)
		case apierrors.IsForbidden(err):
			decision = recovery.Postponed(in, err)
		case err != nil:
			return ctrl.Result{}, fmt.Errorf("make MySQLCluster %s: %w", in.Restore.Spec.Cluster, err)
		}
	}
	if err := r.report(ctx, in.Restore, decision.Status); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: decision.LookAgain}, nil
}

// observe reads what a decision rests on; there is no restore if it is gone, and nothing else if it is over.
func (r *RestoreReconciler) observe(ctx context.Context, name types.NamespacedName) (recovery.Input, error) {
	in := recovery.Input{Now: r.Now()}
	var err error
	if in.Restore, err = read(ctx, r.Client, name, &v1alpha1.MySQLRestore{}); err != nil || in.Restore == nil || over(in.Restore) {
		return in, err
	}
	if in.Restore, err = read(ctx, r.Live, name, &v1alpha1.MySQLRestore{}); err != nil || in.Restore == nil {
		return in, err
	}
	spec := in.Restore.Spec
	if in.Cluster, err = read(ctx, r.Live, types.NamespacedName{Namespace: name.Namespace, Name: spec.Cluster}, &v1alpha1.MySQLCluster{}); err != nil || in.Cluster != nil {
		return in, err
	}
	namespace := spec.Namespace
	if namespace == "" {
		namespace = name.Namespace
	}
	in.Backup, err = read(ctx, r.Live, types.NamespacedName{Namespace: namespace, Name: spec.Backup}, &v1alpha1.MySQLBackup{})
	if apierrors.IsForbidden(err) {
		in.Unread = err.Error()
		return in, nil
	}
	if err != nil || in.Backup == nil || namespace != name.Namespace {
		return in, err
	}
	in.Source, err = read(ctx, r.Live, types.NamespacedName{Namespace: namespace, Name: in.Backup.Spec.Cluster}, &v1alpha1.MySQLCluster{})
	return in, err
}

// over says whether nothing will be done any more.
func over(restore *v1alpha1.MySQLRestore) bool {
	return restore.Status.Phase == v1alpha1.RestoreCompleted || restore.Status.Phase == v1alpha1.RestoreFailed
}

// read reads an object; nil if there is none.
func read[T client.Object](ctx context.Context, from client.Reader, name types.NamespacedName, into T) (T, error) {
	var none T
	err := from.Get(ctx, name, into)
	switch {
	case apierrors.IsNotFound(err):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("read %T %s: %w", into, name, err)
	}
	return into, nil
}

// report writes the status if it is another one, and tells of what has ended.
func (r *RestoreReconciler) report(ctx context.Context, restore *v1alpha1.MySQLRestore, to v1alpha1.MySQLRestoreStatus) error {
	if equality.Semantic.DeepEqual(restore.Status, to) {
		return nil
	}
	after := restore.DeepCopy()
	after.Status = to
	err := r.Client.Status().Patch(ctx, after, client.MergeFromWithOptions(restore, client.MergeFromWithOptimisticLock{}))
	if err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return nil // It has changed since it was read, and is looked at again.
		}
		return fmt.Errorf("write the status of MySQLRestore %s: %w", restore.Name, err)
	}
	if to.Phase != restore.Status.Phase {
		if e, ok := status.Restored(to); ok {
			r.Events.Emit(after, e)
		}
	}
	return nil
}
