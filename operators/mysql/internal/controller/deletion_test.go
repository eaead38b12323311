package controller_test

import (
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/shared/condition"
)

func TestDeletion(t *testing.T) {
	for policy, deleted := range map[v1alpha1.DeletionPolicy]bool{v1alpha1.DeletionRetain: false, v1alpha1.DeletionDelete: true} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.seed(3, func(c *v1alpha1.MySQLCluster) { c.Spec.DeletionPolicy = policy })
			w.agents.with("db-0", func(a *agent) { a.stubborn = true })
			drained := false
			w.agents.onSend = func(pod string, d instance.Directive) {
				drained = drained || pod == "db-0" && d.Role == instance.RoleDrain
			}
			w.delete()
			for range 5 {
				if err := w.round(); err != nil {
					t.Fatal(err)
				}
			}
			c := w.cluster()
			if !drained || !slices.Contains(c.Finalizers, act.Finalizer) {
				t.Errorf("the primary was told to drain: %v; finalizers %v", drained, c.Finalizers)
			}
			ready := condition.Find(c.Status.Conditions, v1alpha1.ConditionReady)
			if c.Status.Summary != v1alpha1.SummaryDeleting || ready == nil || ready.Reason != v1alpha1.ReasonDeleting {
				t.Errorf("a cluster that is being deleted says %s, %+v", c.Status.Summary, ready)
			}
			for name, gone := range w.claims() {
				if gone {
					t.Errorf("volume claim %s goes before the primary is closed", name)
				}
			}
			w.quiet("a deletion that waits")
			w.agents.with("db-0", func(a *agent) { a.stubborn = false })
			w.until("release", func() bool { return w.find() == nil })
			claims := w.claims()
			if len(claims) != 3 && !deleted {
				t.Errorf("claims: %v", claims)
			}
			for name, gone := range claims {
				if gone != deleted {
					t.Errorf("volume claim %s is being deleted: %v, want %v", name, gone, deleted)
				}
			}
			if result, err := w.reconcile(); err != nil || result.RequeueAfter != 0 {
				t.Errorf("a cluster that is gone is looked at again: %+v, %v", result, err)
			}
		})
	}
}

func TestDeletionDoesNotWaitForEver(t *testing.T) {
	w := healthy(t, 3)
	w.agents.with("db-0", func(a *agent) { a.stubborn = true })
	w.delete()
	if err := w.round(); err != nil || w.find() == nil {
		t.Fatalf("the primary was not waited for (%v)", err)
	}
	w.clock = time.Now().Add(time.Minute)
	w.until("release", func() bool { return w.find() == nil })
}

// TestAClusterMadeAgainFindsItsData deletes a cluster and makes it again over the volumes it left.
func TestAClusterMadeAgainFindsItsData(t *testing.T) {
	w := healthy(t, 3)
	w.delete()
	w.until("release", func() bool { return w.find() == nil })
	// What the garbage collector does.
	w.collect()
	// Timestamps of objects have a resolution of one second.
	time.Sleep(max(0, time.Until(w.claimedAt().Add(time.Second))))
	w.create(instances(1))
	w.until("record", func() bool { return w.cluster().Status.Record != nil })
	if pods := w.podUIDs(); len(pods) != 3 || w.events.count("Adopt") != 1 || w.events.count("Bootstrap") != 0 {
		t.Fatalf("founded or adopted while not every volume had been looked at: %d pods, %+v, events %q", len(pods), w.record(), w.events.sent)
	}
	w.until("healthy cluster", func() bool { return w.healthy("")() && len(w.podUIDs()) == 1 })
	if r := w.record(); r.Epoch < 1 || len(r.Voters) != 1 || w.events.count("RebuildingInstance") != 0 || len(w.claims()) != 3 {
		t.Errorf("record %+v, claims %v, events %q", r, w.claims(), w.events.sent)
	}
}

// collect removes what belonged to a deleted cluster, all but the volumes.
func (w *world) collect() {
	w.t.Helper()
	for name := range w.podUIDs() {
		w.remove(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: name}})
		w.agents.lose(name)
	}
	for _, kind := range []client.Object{
		&appsv1.StatefulSet{}, &corev1.Service{}, &corev1.ConfigMap{}, &corev1.ServiceAccount{}, &policyv1.PodDisruptionBudget{},
		&discoveryv1.EndpointSlice{},
	} {
		err := api.DeleteAllOf(w.t.Context(), kind, client.InNamespace(w.name.Namespace), client.MatchingLabels{manifest.LabelCluster: w.name.Name})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// claimedAt is when the newest volume claim was made.
func (w *world) claimedAt() time.Time {
	w.t.Helper()
	var claims corev1.PersistentVolumeClaimList
	if err := api.List(w.t.Context(), &claims, client.InNamespace(w.name.Namespace)); err != nil {
		w.t.Fatal(err)
	}
	var newest time.Time
	for i := range claims.Items {
		if at := claims.Items[i].CreationTimestamp.Time; at.After(newest) {
			newest = at
		}
	}
	return newest
}
