package act

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
)

// Protect carries out what was decided about the backups of a cluster. What has changed since it was observed is left alone: the next round sees it.
func (a *Actor) Protect(ctx context.Context, cluster types.NamespacedName, decision protect.Decision) []Failure {
	var out Outcome
	try := func(what string, err error) {
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) {
			out.Failures = append(out.Failures, Failure{What: what, Err: err, Backup: true})
		}
	}
	for _, c := range decision.Create {
		a.recorded(ctx, actionBackup, &out, func(ctx context.Context) { try("make MySQLBackup "+c.Name, a.createBackup(ctx, cluster, c)) })
	}
	for i := range decision.Updates {
		u := &decision.Updates[i]
		a.recorded(ctx, actionBackup, &out, func(ctx context.Context) { try("update MySQLBackup "+u.Backup.Name, a.updateBackup(ctx, u)) })
	}
	for i := range decision.Delete {
		gone := &decision.Delete[i].Backup
		a.recorded(ctx, actionBackup, &out, func(ctx context.Context) {
			// The precondition makes the API server refuse if it is another one by now.
			try("delete MySQLBackup "+gone.Name, a.Client.Delete(ctx, gone, client.Preconditions{UID: &gone.UID, ResourceVersion: &gone.ResourceVersion}))
		})
	}
	a.drill(ctx, decision.Drill, &out, try)
	return out.Failures
}

// drill begins a restore drill, or ends one.
func (a *Actor) drill(ctx context.Context, drill protect.Drill, out *Outcome, try func(what string, err error)) {
	if begin := drill.Begin; begin != nil {
		a.recorded(ctx, actionDrill, out, func(ctx context.Context) {
			try("make MySQLCluster "+begin.Name, a.Client.Create(ctx, begin.DeepCopy()))
		})
	}
	if gone := drill.Remove; gone != nil {
		a.recorded(ctx, actionDrill, out, func(ctx context.Context) {
			try("delete MySQLCluster "+gone.Name, a.Client.Delete(ctx, gone.DeepCopy(), client.Preconditions{UID: &gone.UID}))
		})
	}
}

// createBackup makes a MySQLBackup. It belongs to nobody, so that it outlives its cluster.
func (a *Actor) createBackup(ctx context.Context, cluster types.NamespacedName, c protect.Creation) error {
	annotations := map[string]string{protect.AnnotationDue: c.Due.UTC().Format(time.RFC3339)}
	if c.Image != "" {
		annotations[protect.AnnotationImage] = c.Image
	}
	return a.Client.Create(ctx, &v1alpha1.MySQLBackup{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cluster.Namespace, Name: c.Name, Labels: map[string]string{protect.LabelScheduled: c.For}, Annotations: annotations,
		},
		Spec: v1alpha1.MySQLBackupSpec{Cluster: cluster.Name, DeletionPolicy: v1alpha1.DeletionRetain},
	})
}

// updateBackup writes what differs of the status and of the finalizer, if nobody else has written meanwhile.
func (a *Actor) updateBackup(ctx context.Context, u *protect.Update) error {
	at := u.Backup.DeepCopy()
	if !equality.Semantic.DeepEqual(at.Status, u.Status) {
		before := at.DeepCopy()
		at.Status = u.Status
		if err := a.Client.Status().Patch(ctx, at, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return fmt.Errorf("write its status: %w", err)
		}
	}
	i := slices.Index(at.Finalizers, protect.Finalizer)
	if i >= 0 == u.Finalizer {
		return nil
	}
	before := at.DeepCopy()
	if u.Finalizer {
		at.Finalizers = append(at.Finalizers, protect.Finalizer)
	} else {
		at.Finalizers = slices.Delete(at.Finalizers, i, i+1)
	}
	if err := a.Client.Patch(ctx, at, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("write its finalizer: %w", err)
	}
	return nil
}
