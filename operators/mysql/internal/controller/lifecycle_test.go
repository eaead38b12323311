package controller_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/shared/condition"
)

func TestCreate(t *testing.T) {
	w := newWorld(t)
	w.committedFirst()
	w.create(nil)

	if err := w.round(); err != nil {
		t.Fatal(err)
	}
	if c := w.cluster(); !slices.Contains(c.Finalizers, act.Finalizer) || c.Status.Summary != v1alpha1.SummaryCreating {
		t.Errorf("after one round: finalizers %v, summary %q", c.Finalizers, c.Status.Summary)
	}
	w.owned()
	w.until("serving primary", func() bool { return len(w.targets("db")) > 0 })
	if r := w.record(); r.Epoch != 1 || r.Primary != "db-0" {
		t.Errorf("the first record is %+v", r)
	}
	w.until("healthy cluster", w.healthy("db-0"))
	if diff := cmp.Diff([]string{"db-0", "db-1", "db-2"}, w.record().Voters); diff != "" {
		t.Errorf("voters: %s", diff)
	}
	for service, want := range map[string][]string{
		"db": {"db-0 10.0.0.1"}, "db-ro": {"db-1 10.0.0.2", "db-2 10.0.0.3"}, "db-r": {"db-0 10.0.0.1", "db-1 10.0.0.2", "db-2 10.0.0.3"},
	} {
		if diff := cmp.Diff(want, w.targets(service)); diff != "" {
			t.Errorf("Service %s: %s", service, diff)
		}
	}
	s := w.cluster().Status
	if !condition.IsTrue(s.Conditions, v1alpha1.ConditionReady) || s.Ready != "3/3" || s.Version != "9.7.1" || len(s.Instances) != 3 {
		t.Errorf("status: %+v", s)
	}
	if got := []int{w.events.count("Bootstrap"), w.events.count("RebuildingInstance"), w.events.count("ChangeVoters")}; !slices.Equal(got, []int{1, 2, 2}) {
		t.Errorf("events of founding, cloning and voting: %v in %q", got, w.events.sent)
	}

	w.quiet("a healthy cluster")
	w.agents.write("db-0")
	w.agents.with("db-1", func(a *agent) { a.heard = a.heard.Add(-step) })
	w.quiet("a cluster that takes writes")
	w.restart(api)
	w.settle()
	w.quiet("a new leader's second look")
}

// committedFirst holds every directive to I1: who is told to lead or to follow is in the record already.
func (w *world) committedFirst() {
	w.agents.onSend = func(pod string, d instance.Directive) {
		r := observe.Record(w.cluster().Status.Record)
		switch {
		case d.Role == instance.RolePrimary && (r.Epoch != d.Epoch || r.Primary != pod):
			w.t.Errorf("%s is told to be the primary of epoch %d while the record is %+v", pod, d.Epoch, r)
		case d.Role == instance.RoleReplica && (r.Epoch != d.Epoch || r.Primary != d.Replica.Source.Name):
			w.t.Errorf("%s is told to follow %s in epoch %d while the record is %+v", pod, d.Replica.Source.Name, d.Epoch, r)
		case d.Role == instance.RoleReplica && d.Replica.Acknowledge && !slices.Contains(r.Voters, pod) && (r.Change == nil || r.Change.Add != pod):
			w.t.Errorf("%s is told to acknowledge while the record is %+v", pod, r)
		}
	}
}

// owned checks that every object of the cluster is there and goes with it.
func (w *world) owned() {
	w.t.Helper()
	uid := w.cluster().UID
	for name, obj := range map[string]client.Object{
		"db": &appsv1.StatefulSet{}, "db-mysql": &corev1.ServiceAccount{}, "db-link-ca": &corev1.ConfigMap{},
		"db-peers": &corev1.Service{}, "db-ro": &corev1.Service{}, "db-r": &corev1.Service{},
	} {
		w.ownedObject(name, obj, uid)
	}
	w.ownedObject("db", &corev1.Service{}, uid)
	w.ownedObject("db", &policyv1.PodDisruptionBudget{}, uid)
}

func (w *world) ownedObject(name string, obj client.Object, uid types.UID) {
	w.t.Helper()
	if err := api.Get(w.t.Context(), types.NamespacedName{Namespace: w.name.Namespace, Name: name}, obj); err != nil {
		w.t.Errorf("%T %s: %v", obj, name, err)
		return
	}
	if owner := metav1.GetControllerOf(obj); owner == nil || owner.UID != uid {
		w.t.Errorf("%T %s belongs to %+v", obj, name, owner)
	}
	if obj.GetLabels()[manifest.LabelCluster] != w.name.Name {
		w.t.Errorf("%T %s has labels %v", obj, name, obj.GetLabels())
	}
}

func TestFailover(t *testing.T) {
	w := healthy(t, 3)
	w.committedFirst()
	w.agents.write("db-0")
	w.agents.kill("db-0")
	w.until("new epoch", func() bool { return w.record().Epoch == 2 })
	r := w.record()
	if !slices.Contains(r.Voters, r.Primary) || len(r.Voters) != 3 {
		t.Errorf("record %+v", r)
	}
	if got := w.targets("db"); !slices.Equal(got, []string{"db-0 10.0.0.1"}) {
		t.Errorf("the read-write Service has moved to %v before the new primary serves", got)
	}
	if w.events.count("Promote") != 1 || w.events.count("PrimaryLost") != 1 {
		t.Errorf("events: %q", w.events.sent)
	}
	w.until("healthy cluster", w.healthy(""))
	if r := w.record(); r.Epoch != 2 {
		t.Errorf("one death has led to %+v", r)
	}
	w.quiet("after the failover")
}

func TestFailoverOfALostPod(t *testing.T) {
	w := healthy(t, 3)
	w.committedFirst()
	w.agents.lose("db-0")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: "db-0"}}
	var moved bool
	w.until("another primary", func() bool { moved = w.record().Primary != "db-0"; return moved })
	if w.record().Epoch != 2 {
		t.Errorf("record %+v", w.record())
	}
	primary := w.record().Primary
	w.until("moved endpoints", func() bool { return slices.Equal(w.targets("db"), []string{primary + " " + address(primary)}) })
	if slices.Contains(w.targets("db-ro"), "db-0 10.0.0.1") || slices.Contains(w.targets("db-r"), "db-0 10.0.0.1") {
		t.Errorf("readers are led to the lost instance: %v, %v", w.targets("db-ro"), w.targets("db-r"))
	}
	w.remove(pod)
	w.until("healthy cluster", w.healthy(primary))
	if got := w.targets("db-ro"); !slices.Contains(got, "db-0 10.0.0.1") {
		t.Errorf("the new pod does not serve readers: %v", got)
	}
}

func address(pod string) string {
	return "10.0.0." + string(rune('1'+pod[len(pod)-1]-'0'))
}

func TestSwitchover(t *testing.T) {
	for name, test := range map[string]struct {
		value, primary, event string
	}{
		"to any":        {v1alpha1.SwitchoverAny, "db-1", "RequestFulfilled"},
		"to a named":    {"db-2", "db-2", "RequestFulfilled"},
		"to itself":     {"db-0", "db-0", "RequestFulfilled"},
		"to a stranger": {"other-0", "db-0", "RequestRefused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := healthy(t, 3)
			w.committedFirst()
			w.annotate(v1alpha1.AnnotationSwitchover, test.value)
			w.until("an answer", func() bool { return w.cluster().Annotations[v1alpha1.AnnotationSwitchover] == "" })
			if n := w.events.count(test.event); n != 1 {
				t.Errorf("%d events %s: %q", n, test.event, w.events.sent)
			}
			w.until("healthy cluster", w.healthy(test.primary))
			if got := w.targets("db"); !slices.Equal(got, []string{test.primary + " " + address(test.primary)}) {
				t.Errorf("the read-write Service leads to %v", got)
			}
			w.quiet("after the switchover")
		})
	}
}

func TestScaleIn(t *testing.T) {
	w := healthy(t, 3)
	w.committedFirst()
	w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.Instances = 2 })
	w.until("smaller set", func() bool {
		n := *w.statefulSet().Spec.Replicas
		if n < 3 && slices.Contains(w.record().Voters, "db-2") {
			t.Errorf("the pod of a voter is taken away: %+v", w.record())
		}
		return n == 2
	})
	w.until("healthy cluster", w.healthy("db-0"))
	if diff := cmp.Diff([]string{"db-0", "db-1"}, w.record().Voters); diff != "" {
		t.Error(diff)
	}
	if claims := w.claims(); len(claims) != 3 {
		t.Errorf("the volume of an instance that was scaled in is gone: %v", claims)
	}
	w.quiet("after scaling in")
}

func (w *world) statefulSet() *appsv1.StatefulSet {
	w.t.Helper()
	var set appsv1.StatefulSet
	if err := api.Get(w.t.Context(), types.NamespacedName{Namespace: w.name.Namespace, Name: w.name.Name}, &set); err != nil {
		w.t.Fatal(err)
	}
	return &set
}

// claims says of every volume claim whether it is being deleted.
func (w *world) claims() map[string]bool {
	w.t.Helper()
	var claims corev1.PersistentVolumeClaimList
	if err := api.List(w.t.Context(), &claims, client.InNamespace(w.name.Namespace)); err != nil {
		w.t.Fatal(err)
	}
	out := map[string]bool{}
	for i := range claims.Items {
		out[claims.Items[i].Name] = claims.Items[i].DeletionTimestamp != nil
	}
	return out
}

func TestRollingReplacement(t *testing.T) {
	w := healthy(t, 3)
	before := w.podUIDs()
	w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.Image = "registry.example.com/mysql:9.7.2" })
	w.until("new pods", func() bool {
		if c := w.cluster(); c.Status.Summary == v1alpha1.SummaryFailingOver {
			t.Errorf("the roll has cost a failover: %+v", c.Status)
		}
		now := w.podUIDs()
		if len(now) < 2 {
			t.Fatalf("only %d pods are left", len(now))
		}
		return len(now) == 3 && now["db-0"] != before["db-0"] && now["db-1"] != before["db-1"] && now["db-2"] != before["db-2"]
	})
	w.until("healthy cluster", w.healthy(""))
	if n := w.events.count("InstanceReplaced"); n != 3 {
		t.Errorf("%d events of replaced instances: %q", n, w.events.sent)
	}
	if w.record().Epoch != 2 {
		t.Errorf("a roll hands over once; the record is %+v", w.record())
	}
}

func (w *world) podUIDs() map[string]types.UID {
	w.t.Helper()
	var pods corev1.PodList
	if err := api.List(w.t.Context(), &pods, client.InNamespace(w.name.Namespace)); err != nil {
		w.t.Fatal(err)
	}
	out := map[string]types.UID{}
	for i := range pods.Items {
		out[pods.Items[i].Name] = pods.Items[i].UID
	}
	return out
}

// healthy returns a cluster that has been at work in epoch 1 for a while, primary db-0.
func healthy(t testing.TB, n int32) *world {
	t.Helper()
	w := newWorld(t)
	w.seed(n, nil)
	return w
}
