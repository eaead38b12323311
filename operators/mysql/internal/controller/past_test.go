package controller_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// behind starts an operator whose cache shows what there is now, and follows only some kinds until ahead.
func (w *world) behind(frozen ...client.ObjectList) {
	w.t.Helper()
	w.cached = true
	w.restart(api)
	if err := w.sync(); err != nil {
		w.t.Fatal(err)
	}
	w.frozen = follow(frozen)
}

func (w *world) ahead() { w.frozen = nil }

// TestDeletionGoesByThePolicyAsItIs: the user decides at the last moment to keep the volumes, and the cache does not show
// that yet.
func TestDeletionGoesByThePolicyAsItIs(t *testing.T) {
	w := newWorld(t)
	w.seed(2, func(c *v1alpha1.MySQLCluster) { c.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	w.agents.with("db-0", func(a *agent) { a.stubborn = true })
	w.delete()
	w.behind(&v1alpha1.MySQLClusterList{})
	if err := w.round(); err != nil {
		t.Fatal(err)
	}
	w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	w.agents.with("db-0", func(a *agent) { a.stubborn = false })
	w.until("release", func() bool { return w.find() == nil })
	for name, gone := range w.claims() {
		if gone {
			t.Errorf("volume claim %s was given up against the user's last word", name)
		}
	}
}

// TestDeletionGivesUpVolumesThatTheCacheLacks: with the cluster goes the last one who would delete them.
func TestDeletionGivesUpVolumesThatTheCacheLacks(t *testing.T) {
	w := newWorld(t)
	w.behind(&corev1.PersistentVolumeClaimList{})
	w.seed(2, func(c *v1alpha1.MySQLCluster) { c.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	w.delete()
	w.until("release", func() bool { return w.find() == nil })
	if claims := w.claims(); len(claims) != 2 || !claims["data-db-0"] || !claims["data-db-1"] {
		t.Errorf("volume claims and whether they go: %v", claims)
	}
}

// TestAConflictDoesNotLeaveAVolumeBehind lets the API server refuse one claim's deletion once.
func TestAConflictDoesNotLeaveAVolumeBehind(t *testing.T) {
	w := newWorld(t)
	w.seed(2, func(c *v1alpha1.MySQLCluster) { c.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	refused := 0
	w.restart(interceptor.NewClient(api, interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			if refused++; refused == 1 {
				return apierrors.NewConflict(schema.GroupResource{Resource: "persistentvolumeclaims"}, obj.GetName(), errors.New("it is another one"))
			}
			return c.Delete(ctx, obj, opts...)
		},
	}))
	w.delete()
	for n := 0; w.find() != nil; n++ {
		if err := w.round(); err != nil && !apierrors.IsConflict(err) || n > rounds {
			t.Fatalf("round %d: %v", n, err)
		}
	}
	if claims := w.claims(); refused < 3 || !claims["data-db-0"] || !claims["data-db-1"] {
		t.Errorf("after %d deletions, volume claims and whether they go: %v", refused, claims)
	}
}

// TestNothingIsFoundedBesideVolumesThatTheCacheLacks makes a cluster again over volumes that the cache does not show: the
// first instance is blank, and another one's volume, which nobody has looked at, holds the data.
func TestNothingIsFoundedBesideVolumesThatTheCacheLacks(t *testing.T) {
	for name, blank := range map[string]bool{"founding": true, "adopting": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := healthy(t, 2)
			w.delete()
			w.until("release", func() bool { return w.find() == nil })
			w.collect()
			time.Sleep(max(0, time.Until(w.claimedAt().Add(time.Second))))
			if blank {
				w.agents.with("db-0", func(a *agent) { *a = agent{blank: true, uuid: a.uuid} })
			}
			w.cached = true
			w.restart(api)
			w.frozen = follow([]client.ObjectList{&corev1.PersistentVolumeClaimList{}})
			w.create(instances(1))
			refused := false
			for range 10 {
				err := w.round()
				if refused = refused || err != nil; err != nil && !strings.Contains(err.Error(), "is from before the cluster") {
					t.Fatal(err)
				}
			}
			if c := w.cluster(); c.Status.Record != nil || !refused {
				t.Fatalf("decided without a look at db-1: record %+v, refused %v", c.Status.Record, refused)
			}
			w.ahead()
			w.until("healthy cluster", func() bool { return w.healthy("")() && len(w.podUIDs()) == 1 })
			if w.events.count("Bootstrap") != 0 || w.events.count("Adopt") != 1 {
				t.Errorf("events %q", w.events.sent)
			}
		})
	}
}

// TestAnAnsweredRequestIsNotCarriedOutAgain: the cache goes on showing a switchover that was made and answered.
func TestAnAnsweredRequestIsNotCarriedOutAgain(t *testing.T) {
	w := healthy(t, 3)
	w.annotate(v1alpha1.AnnotationSwitchover, v1alpha1.SwitchoverAny)
	w.behind(&v1alpha1.MySQLClusterList{})
	w.until("an answer", func() bool { return w.answered(v1alpha1.AnnotationSwitchover) })
	for range 30 {
		if err := w.round(); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.record(); r.Epoch != 2 || w.events.count("Switchover") != 1 {
		t.Errorf("record %+v, events %q", r, w.events.sent)
	}
	w.ahead()
	w.until("healthy cluster", w.healthy("db-1"))
}

// TestAnOlderSpecificationUndoesNothing starts the operator again behind an API server that lags.
func TestAnOlderSpecificationUndoesNothing(t *testing.T) {
	w := newWorld(t)
	w.seed(1, nil)
	w.behind()
	then := w.cache.Moment()
	w.edit(instances(2))
	w.until("two voters", func() bool { return w.healthy("db-0")() && len(w.record().Voters) == 2 })
	w.behind(&v1alpha1.MySQLClusterList{})
	if err := w.cache.Show(then, &v1alpha1.MySQLClusterList{}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := w.round(); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.record(); len(r.Voters) != 2 || r.Change != nil || len(w.podUIDs()) != 2 {
		t.Errorf("record %+v, %d pods", r, len(w.podUIDs()))
	}
	w.ahead()
	w.until("healthy cluster", w.healthy("db-0"))
}
