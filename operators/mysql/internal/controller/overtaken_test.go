package controller_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	ac "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// lagging is a cache that shows a MySQLCluster as it was.
func lagging(c client.WithWatch, shown **v1alpha1.MySQLCluster) client.WithWatch {
	return interceptor.NewClient(cachedView(c), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if cluster, ok := obj.(*v1alpha1.MySQLCluster); ok && *shown != nil {
				(*shown).DeepCopyInto(cluster)
				return nil
			}
			return c.Get(ctx, key, obj, opts...)
		},
	})
}

// TestOwnCommitBeatsALaggingCache holds the cache back at the moment before a commit: the next round must go on from the
// commit, not make it again, and give way as soon as the cache shows something newer.
func TestOwnCommitBeatsALaggingCache(t *testing.T) {
	w := healthy(t, 3)
	w.committedFirst()
	var shown *v1alpha1.MySQLCluster
	w.Observer.Cached = lagging(api, &shown)
	w.agents.kill("db-0")
	w.agents.settle()
	for range rounds {
		// The fence first: the cache is held back before the round that commits.
		shown = w.cluster()
		if err := w.round(); err != nil {
			t.Fatal(err)
		}
		if w.record().Epoch > 1 {
			break
		}
	}
	if shown.Status.Record.Epoch != 1 || w.record().Epoch != 2 {
		t.Fatalf("the cache shows epoch %d, the record is %+v", shown.Status.Record.Epoch, w.record())
	}
	obs, err := w.Observer.Observe(t.Context(), w.name)
	if err != nil {
		t.Fatal(err)
	}
	if obs.Topology.Record.Epoch != 2 {
		t.Fatalf("behind a lagging cache the observer believes in %+v", obs.Topology.Record)
	}
	primary := w.record().Primary
	for range 20 {
		if err := w.round(); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.targets("db"); !slices.Equal(got, []string{primary + " " + address(primary)}) {
		t.Errorf("behind a lagging cache the failover does not get through: the Service leads to %v", got)
	}
	if n := w.events.count("Promote"); n != 1 || w.record().Epoch != 2 {
		t.Errorf("%d promotions, record %+v", n, w.record())
	}

	shown = nil
	w.commit(ac.Record().WithTerm(int64(w.term)).WithEpoch(5).WithPrimary("db-1").WithVoters("db-0", "db-1", "db-2"))
	obs, err = w.Observer.Observe(t.Context(), w.name)
	if err != nil {
		t.Fatal(err)
	}
	if obs.Topology.Record.Epoch != 5 {
		t.Errorf("a newer record of somebody else is not believed: %+v", obs.Topology.Record)
	}
}

// commit writes a record as another process of the operator would.
func (w *world) commit(record *ac.RecordApplyConfiguration) {
	w.t.Helper()
	desired := ac.MySQLCluster(w.name.Name, w.name.Namespace).WithStatus(ac.MySQLClusterStatus().WithRecord(record))
	if err := api.Status().Apply(w.t.Context(), desired, client.FieldOwner("kapok-mysql-record"), client.ForceOwnership); err != nil {
		w.t.Fatalf("commit: %v", err)
	}
}

// TestCommitMeetsAnotherWriter lets somebody else write at the worst moments of a failover's commit.
func TestCommitMeetsAnotherWriter(t *testing.T) {
	theirs := func() *ac.RecordApplyConfiguration {
		return ac.Record().WithEpoch(9).WithPrimary("db-2").WithVoters("db-0", "db-1", "db-2")
	}
	for name, test := range map[string]struct {
		// meddle is called when the record is about to be applied, before the write itself.
		meddle  func(w *world)
		dropped bool
		// epoch is what the record has when the commit is dropped.
		epoch uint64
	}{
		"a record written between the read and the write": {
			meddle: func(w *world) { w.commit(theirs()) }, dropped: true, epoch: 9,
		},
		// No rule of the API is broken by writing over this one: the resource version alone forbids it.
		"a change of the voters begun in between, in the same epoch": {
			meddle: func(w *world) {
				w.commit(ac.Record().WithTerm(int64(w.term)).WithEpoch(1).WithPrimary("db-0").WithVoters("db-0", "db-1", "db-2").
					WithChange(ac.VoterChange().WithRemove("db-2").WithWhy("it is away")))
			}, dropped: true, epoch: 1,
		},
		"another part of the object written in between": {
			meddle: func(w *world) { w.annotate("example.com/touched", time.Now().String()) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := healthy(t, 3)
			meddled := 0
			c := interceptor.NewClient(api, interceptor.Funcs{
				SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
					if applied, ok := obj.(*ac.MySQLClusterApplyConfiguration); ok && applied.Status.Record != nil && meddled == 0 {
						meddled++
						test.meddle(w)
					}
					return c.SubResource(sub).Apply(ctx, obj, opts...)
				},
			})
			w.restart(c)
			w.settle()
			w.agents.kill("db-0")
			for n := 0; meddled == 0 && n < rounds; n++ {
				if err := w.round(); err != nil {
					t.Fatal(err)
				}
			}
			r := w.record()
			if test.dropped {
				if r.Epoch != test.epoch || w.events.count("Promote") != 0 {
					t.Errorf("the other writer's record was overwritten: %+v, events %q", r, w.events.sent)
				}
			} else if r.Epoch != 2 || w.events.count("Promote") != 1 {
				t.Errorf("a change elsewhere in the object has cost the commit: %+v, events %q", r, w.events.sent)
			}
			if test.epoch == 1 {
				w.until("failover", func() bool { return w.record().Epoch > 1 })
				r = w.record()
			}
			w.until("healthy cluster", w.healthy(r.Primary))
		})
	}
}

// TestCommitIsDroppedWhenTheRecordWasReplaced lets the round decide on what a lagging cache shows while etcd has another
// record already.
func TestCommitIsDroppedWhenTheRecordWasReplaced(t *testing.T) {
	w := healthy(t, 3)
	var shown *v1alpha1.MySQLCluster
	w.Observer.Cached = lagging(api, &shown)
	w.agents.kill("db-0")
	w.agents.settle()
	shown = w.cluster()
	w.commit(ac.Record().WithEpoch(9).WithPrimary("db-2").WithVoters("db-0", "db-1", "db-2"))
	told := false
	w.agents.onSend = func(_ string, d instance.Directive) { told = told || d.Role == instance.RolePrimary && d.Epoch < 9 }
	for range 5 {
		if err := w.round(); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.record(); r.Epoch != 9 || w.events.count("Promote") != 0 || told {
		t.Errorf("record %+v, events %q, an older primary was told: %v", r, w.events.sent, told)
	}
}

// TestOvertakenRoundComesAgainAtOnce looks at what the loop asks of its queue.
func TestOvertakenRoundComesAgainAtOnce(t *testing.T) {
	w := newWorld(t)
	w.create(instances(1))
	for range 3 {
		if _, err := w.reconcile(); err != nil {
			t.Fatal(err)
		}
		w.kubelet()
		w.agents.settle()
	}
	result, err := w.reconcile()
	if err != nil {
		t.Fatal(err)
	}
	if result.RequeueAfter <= 0 {
		t.Errorf("a cluster is forgotten by the queue: %+v", result)
	}
	w.until("healthy cluster", w.healthy("db-0"))
	w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.HA.ProbeInterval.Duration = 42 * time.Second })
	w.settle()
	if result, err = w.reconcile(); err != nil || result.RequeueAfter != 42*time.Second {
		t.Errorf("a healthy cluster is looked at again after %v (%v), not after its probe interval", result.RequeueAfter, err)
	}
}

func TestFinalizerIsNotTakenFromOthers(t *testing.T) {
	w := newWorld(t)
	w.create(func(c *v1alpha1.MySQLCluster) { c.Finalizers, c.Spec.Instances = []string{"example.com/first"}, 1 })
	w.until("healthy cluster", w.healthy("db-0"))
	if got := w.cluster().Finalizers; len(got) != 2 || !slices.Contains(got, act.Finalizer) {
		t.Errorf("finalizers %v", got)
	}
	w.delete()
	w.until("release", func() bool { return !slices.Contains(w.cluster().Finalizers, act.Finalizer) })
	if got := w.cluster().Finalizers; len(got) != 1 || !strings.HasPrefix(got[0], "example.com/") {
		t.Errorf("finalizers %v", got)
	}
	if result, err := w.reconcile(); err != nil || result.RequeueAfter != 0 {
		t.Errorf("a cluster that was let go is polled: %+v, %v", result, err)
	}
	w.edit(func(c *v1alpha1.MySQLCluster) { c.Finalizers = nil })
}
