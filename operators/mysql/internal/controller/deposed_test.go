package controller_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
)

// TestADeposedOperatorUndoesNothing runs an operator that was deposed and has not noticed, as one does that was frozen and
// goes on, beside the next one. The last that it saw is an edit that it has not carried out yet, so that it has work to do,
// and its cache stands still there or follows.
func TestADeposedOperatorUndoesNothing(t *testing.T) {
	for name, change := range map[string]struct {
		from, to int32
		event    func(w *world)
	}{
		"the next one has added instances":   {from: 3, to: 5, event: func(w *world) { w.edit(instances(5)) }},
		"the next one has taken some out":    {from: 5, to: 3, event: func(w *world) { w.edit(instances(3)) }},
		"the next one has seen a failover":   {from: 3, to: 3, event: func(w *world) { w.agents.kill("db-0") }},
		"the next one has handed it over":    {from: 3, to: 3, event: func(w *world) { w.annotate(v1alpha1.AnnotationSwitchover, "db-2") }},
		"the next one has lost an instance":  {from: 3, to: 3, event: func(w *world) { w.losePod("db-1") }},
		"nothing has happened since it left": {from: 3, to: 3, event: func(*world) {}},
	} {
		for view, follows := range map[string]bool{"frozen": false, "following": true} {
			t.Run(name+"/"+view, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.cached = true
				w.restart(api)
				w.create(instances(change.from))
				w.until("healthy cluster", w.healthy("db-0"))
				w.edit(func(c *v1alpha1.MySQLCluster) {
					c.Spec.Placement.NodeSelector = map[string]v1alpha1.LabelValue{"disk": "fast"}
				})
				deposed := w.operator
				if _, err := deposed.cache.Sync(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.restart(api)
				w.agents.settle()
				smallest := max(change.from, change.to)
				w.besides = func(w *world) {
					if follows {
						if _, err := deposed.cache.Sync(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					// Whether it fails is its own affair.
					_, _ = deposed.Reconcile(t.Context(), ctrl.Request{NamespacedName: w.name})
					smallest = min(smallest, w.replicas())
					if r := w.record(); r.Term != 0 && r.Term < w.term-1 {
						t.Fatalf("the record is of term %d while %d leads", r.Term, w.term)
					}
				}
				change.event(w)
				done := func() bool { return w.healthy("")() && int32(len(w.record().Voters)) == change.to }
				for range rounds {
					// An error of the one that leads may come of a write of the other; it has to get over it.
					_ = w.round()
					if done() {
						break
					}
				}
				grown := w.record()
				for range 20 {
					_ = w.round()
				}
				if r := w.record(); !done() || r.Epoch != grown.Epoch || r.Term != w.term {
					t.Fatalf("beside a deposed operator: record %+v, before that %+v; %s", r, grown, w.snapshot())
				}
				if want := min(change.from, change.to); smallest < want {
					t.Errorf("the StatefulSet was down to %d instances, want %d at least", smallest, want)
				}
				if w.replicas() != change.to {
					t.Errorf("%d instances are wanted, not %d", w.replicas(), change.to)
				}
			})
		}
	}
}

// replicas is how many instances the StatefulSet asks for.
func (w *world) replicas() int32 {
	w.t.Helper()
	var set appsv1.StatefulSet
	name := types.NamespacedName{Namespace: w.name.Namespace, Name: manifest.StatefulSet(w.name.Name)}
	if err := api.Get(w.t.Context(), name, &set); err != nil {
		w.t.Fatal(err)
	}
	return *set.Spec.Replicas
}

// losePod ends an instance's pod, as a node does that dies.
func (w *world) losePod(name string) {
	w.t.Helper()
	w.remove(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: name}})
	w.agents.lose(name)
}
