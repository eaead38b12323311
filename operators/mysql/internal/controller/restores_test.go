package controller_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/controller"
	"github.com/kapok-operators/kapok/shared/event"
)

// restorer is the loop of restores of a world.
type restorer struct {
	*controller.RestoreReconciler
	w      *world
	events *recorder
}

func (w *world) restorer() *restorer {
	events := &recorder{}
	return &restorer{w: w, events: events, RestoreReconciler: &controller.RestoreReconciler{
		Client: api, Live: api, Events: event.NewEmitter(events, 100), Now: w.agents.now,
	}}
}

// ask makes a MySQLRestore, as a user does, and lets the loop look at it.
func (r *restorer) ask(name string, spec v1alpha1.MySQLRestoreSpec) *v1alpha1.MySQLRestore {
	r.w.t.Helper()
	restore := &v1alpha1.MySQLRestore{ObjectMeta: metav1.ObjectMeta{Namespace: r.w.name.Namespace, Name: name}, Spec: spec}
	if err := api.Create(r.w.t.Context(), restore); err != nil {
		r.w.t.Fatalf("make a restore: %v", err)
	}
	return r.look(name)
}

// look runs one round, and returns the restore after it.
func (r *restorer) look(name string) *v1alpha1.MySQLRestore {
	r.w.t.Helper()
	key := client.ObjectKey{Namespace: r.w.name.Namespace, Name: name}
	if _, err := r.Reconcile(r.w.t.Context(), ctrl.Request{NamespacedName: key}); err != nil {
		r.w.t.Fatalf("look at restore %s: %v", name, err)
	}
	var restore v1alpha1.MySQLRestore
	if err := api.Get(r.w.t.Context(), key, &restore); err != nil {
		r.w.t.Fatal(err)
	}
	return &restore
}

// TestARestoreMakesACluster: from a backup that is complete to a cluster that takes writes, which stays when the restore is deleted.
func TestARestoreMakesACluster(t *testing.T) {
	w := newWorld(t)
	w.create(func(c *v1alpha1.MySQLCluster) { toVolume(c); c.Spec.Instances = 1 })
	r := w.restorer()
	spec := v1alpha1.MySQLRestoreSpec{Backup: "monday", Cluster: "again"}
	if got := r.ask("later", spec); got.Status.Phase != v1alpha1.RestorePending || !strings.Contains(got.Status.Message, "no MySQLBackup monday") {
		t.Fatalf("without a backup: %+v", got.Status)
	}
	w.backUp("monday", v1alpha1.DeletionRetain)
	w.until("backup", func() bool { return w.backupPhase("monday") == v1alpha1.BackupCompleted })
	if got := r.look("later"); got.Status.Phase != v1alpha1.RestoreRestoring {
		t.Fatalf("with a backup: %+v", got.Status)
	}
	again := worldIn(t, w.name.Namespace)
	again.name.Name = "again"
	made := again.cluster()
	if made.Spec.Restore == nil || made.Spec.Restore.ClusterUID != string(w.cluster().UID) || made.Spec.Instances != 1 || made.Spec.Backup != nil {
		t.Fatalf("made is %+v", made.Spec)
	}
	again.agents.restores = true
	again.until("healthy cluster", again.healthy("again-0"))
	got := r.look("later")
	if got.Status.Phase != v1alpha1.RestoreCompleted || got.Status.Took == "" {
		t.Fatalf("restored: %+v", got.Status)
	}
	for reason, want := range map[string]int{"RestoreBegun": 1, "RestoreCompleted": 1, "RestoreFailed": 0} {
		if n := r.events.count(reason); n != want {
			t.Errorf("%d events %s, want %d", n, reason, want)
		}
	}
	// Another one cannot have the same cluster, nor one that the API server refuses.
	if got := r.ask("over-it", spec); got.Status.Phase != v1alpha1.RestoreFailed || !strings.Contains(got.Status.Message, "nothing is restored over data") {
		t.Errorf("over data: %+v", got.Status)
	}
	wrong := v1alpha1.MySQLRestoreSpec{Backup: "monday", Cluster: "wrong", Template: &runtime.RawExtension{Raw: []byte(`{"instances":10}`)}}
	if got := r.ask("wrong", wrong); got.Status.Phase != v1alpha1.RestoreFailed || !strings.Contains(got.Status.Message, "spec.instances") {
		t.Errorf("a wrong template: %+v", got.Status)
	}
	misspelt := v1alpha1.MySQLRestoreSpec{Backup: "monday", Cluster: "misspelt", Template: &runtime.RawExtension{Raw: []byte(`{"instanzen":1}`)}}
	if got := r.ask("misspelt", misspelt); got.Status.Phase != v1alpha1.RestoreFailed || !strings.Contains(got.Status.Message, "instanzen") {
		t.Errorf("a misspelt template: %+v", got.Status)
	}
	if err := api.Delete(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if again.find() == nil {
		t.Error("the cluster went with the restore")
	}
}

// restoredElsewhere lives through a restore, and leaves nothing behind that matters.
func (w *world) restoredElsewhere() {
	w.t.Helper()
	w.backUp("for-a-restore", v1alpha1.DeletionRetain)
	w.eventually("backup to restore", func() bool { return w.backupPhase("for-a-restore") == v1alpha1.BackupCompleted })
	restore := &v1alpha1.MySQLRestore{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: "again"},
		Spec: v1alpha1.MySQLRestoreSpec{Backup: "for-a-restore", Cluster: "again"}}
	if err := api.Create(w.t.Context(), restore); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("restoring cluster", func() bool {
		if err := api.Get(w.t.Context(), client.ObjectKeyFromObject(restore), restore); err != nil {
			w.t.Fatal(err)
		}
		return restore.Status.Phase == v1alpha1.RestoreRestoring
	})
	for _, object := range []client.Object{restore, &v1alpha1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: "again"}}} {
		if err := api.Delete(w.t.Context(), object); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestARestoreWaitsForAQuota: that the cluster may not be made now says nothing about later.
func TestARestoreWaitsForAQuota(t *testing.T) {
	w := newWorld(t)
	w.create(func(c *v1alpha1.MySQLCluster) { toVolume(c); c.Spec.Instances = 1 })
	w.backUp("monday", v1alpha1.DeletionRetain)
	w.until("backup", func() bool { return w.backupPhase("monday") == v1alpha1.BackupCompleted })
	r, full := w.restorer(), true
	r.Client = interceptor.NewClient(api, interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
		if full {
			return apierrors.NewForbidden(schema.GroupResource{Group: v1alpha1.Group, Resource: "mysqlclusters"}, obj.GetName(), errors.New("exceeded quota"))
		}
		return c.Create(ctx, obj, opts...)
	}})
	got := r.ask("later", v1alpha1.MySQLRestoreSpec{Backup: "monday", Cluster: "again"})
	if got.Status.Phase != v1alpha1.RestorePending || !strings.Contains(got.Status.Message, "exceeded quota") {
		t.Fatalf("with a quota: %+v", got.Status)
	}
	full = false
	if got := r.look("later"); got.Status.Phase != v1alpha1.RestoreRestoring {
		t.Errorf("once there is room: %+v", got.Status)
	}
}
