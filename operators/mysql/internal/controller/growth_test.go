package controller_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/shared/condition"
)

// growing is a change of a cluster for seed: volumes of 10Gi that grow by themselves up to a limit.
func growing(class, limit string) func(*v1alpha1.MySQLCluster) {
	return func(c *v1alpha1.MySQLCluster) {
		if class != "" {
			c.Spec.Storage.StorageClassName = &class
		}
		c.Spec.Storage.AutoGrow = &v1alpha1.AutoGrow{Limit: resource.MustParse(limit)}
	}
}

// fill sets what an instance's agent says of its volume, in GiB.
func (w *world) fill(pod string, size, free int64) {
	w.agents.mu.Lock()
	defer w.agents.mu.Unlock()
	w.agents.all[pod].volume = instance.Volume{Size: size << 30, Free: free << 30, LogBytes: 1 << 30}
}

// asks is what the claim of an instance asks for.
func (w *world) asks(pod string) string {
	w.t.Helper()
	var claim corev1.PersistentVolumeClaim
	key := types.NamespacedName{Namespace: w.name.Namespace, Name: manifest.ClaimName(pod)}
	if err := api.Get(w.t.Context(), key, &claim); err != nil {
		w.t.Fatal(err)
	}
	return claim.Spec.Resources.Requests.Storage().String()
}

// stored is the condition StorageHealthy.
func (w *world) stored() metav1.Condition {
	w.t.Helper()
	return *condition.Find(w.cluster().Status.Conditions, v1alpha1.ConditionStorageHealthy)
}

// TestVolumesGrowByThemselves takes the volume of one instance, whose mysqld does not answer for want of space, from its size
// to its limit: one write for each step, and none while one is under way.
func TestVolumesGrowByThemselves(t *testing.T) {
	w := newWorld(t)
	w.seed(2, growing(expandable(t), "15Gi"))
	w.until("healthy cluster", w.healthy("db-0"))
	expect := func(steps int, size string) {
		t.Helper()
		if got := w.asks("db-1"); got != size || w.events.count("VolumeGrown") != steps {
			t.Fatalf("the full volume's claim asks for %s after %q, want %s", got, w.events.sent, size)
		}
		if got := w.asks("db-0"); got != "10Gi" {
			t.Fatalf("the claim of an instance with room asks for %s", got)
		}
	}
	w.settle()
	expect(0, "10Gi")

	w.fill("db-1", 10, 0)
	w.agents.mu.Lock()
	w.agents.all["db-1"].state = instance.StateDown
	w.agents.mu.Unlock()
	w.settle()
	expect(1, "13Gi")
	if found := w.stored(); found.Reason != v1alpha1.ReasonResizePending || !strings.Contains(found.Message, "db-1") {
		t.Errorf("%+v", found)
	}
	if last := w.events.sent[len(w.events.sent)-1]; !strings.Contains(last, "db-1 grows from 10Gi to 13Gi: of 10Gi 10Gi are used, 1Gi of them by binary logs") {
		t.Errorf("the last event is %q", last)
	}
	w.quiet("a volume that grows")

	// The claim has its capacity before the agent says so, and the operator may be another process by then.
	w.grow()
	w.restart(api)
	w.settle()
	w.quiet("a volume whose agent has not looked since it grew")
	expect(0, "13Gi")
	if found := w.stored(); found.Reason != v1alpha1.ReasonResizePending || !strings.Contains(found.Message, "db-1: its file system has not become larger") {
		t.Errorf("%+v", found)
	}

	w.fill("db-1", 13, 3)
	w.agents.mu.Lock()
	w.agents.all["db-1"].state = instance.StateRunning
	w.agents.mu.Unlock()
	w.until("healthy cluster", w.healthy("db-0"))
	expect(0, "13Gi")

	w.fill("db-1", 13, 2)
	w.settle()
	w.grow()
	w.fill("db-1", 15, 2)
	w.settle()
	expect(1, "15Gi")
	if found := w.stored(); found.Status != metav1.ConditionFalse || found.Reason != v1alpha1.ReasonGrowthLimitReached ||
		!strings.Contains(found.Message, "autoGrow.limit is 15Gi: raise the limit") {
		t.Errorf("%+v", found)
	}
	w.quiet("a volume at its limit")
	w.fill("db-1", 15, 1)
	if err := w.round(); err != nil {
		t.Fatal(err)
	}
	w.quiet("a volume at its limit that fills")
	if got := w.cluster().Spec.Storage.Size.String(); got != "10Gi" {
		t.Errorf("the operator has made spec.storage.size %s", got)
	}

	w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.Storage.AutoGrow.Limit = resource.MustParse("40Gi") })
	w.settle()
	expect(2, "19Gi")
}

// TestARefusedStepIsNotTakenAllTheTime: the instance goes on and reports, and each report brings a round.
func TestARefusedStepIsNotTakenAllTheTime(t *testing.T) {
	w := newWorld(t)
	w.seed(1, growing("", "15Gi"))
	w.until("healthy cluster", w.healthy("db-0"))
	w.fill("db-0", 10, 1)
	refused := func(rounds int) (writes int) {
		t.Helper()
		before := w.writes.Writes()
		for range rounds {
			if err := w.round(); err != nil && !strings.Contains(err.Error(), "enlarge") {
				t.Fatal(err)
			}
		}
		return w.writes.Writes() - before
	}
	refused(5)
	if found := w.stored(); found.Reason != v1alpha1.ReasonExpansionRefused || !strings.Contains(found.Message, "db-0: its volume cannot be enlarged from 10Gi to 13Gi") {
		t.Fatalf("%+v", found)
	}
	if n := refused(20); n != 0 {
		t.Errorf("%d writes in 20 rounds after a refusal", n)
	}
	if found := w.stored(); found.Reason != v1alpha1.ReasonExpansionRefused {
		t.Errorf("nobody says any more that it was refused: %+v", found)
	}
	w.clock = w.clock.Add(time.Minute)
	if n := refused(20); n != 1 {
		t.Errorf("%d writes in 20 rounds a minute later, want one: the class may let volumes grow by now", n)
	}
	if n := w.events.count("VolumeGrown"); n != 0 {
		t.Errorf("%d volumes are said to have grown", n)
	}
}
