package observe

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/shared/link"
)

// store is a cache, or an API server, that holds one cluster.
type store struct {
	cluster *v1alpha1.MySQLCluster
	pods    []corev1.Pod
	claims  []corev1.PersistentVolumeClaim
	slices  []discoveryv1.EndpointSlice
	// others are objects that are read by their names.
	others []client.Object
	err    error
	reads  int
}

func (s *store) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	if other, is := s.other(key, obj); is {
		if other == nil {
			return apierrors.NewNotFound(schema.GroupResource{Resource: "others"}, key.Name)
		}
		reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(other).Elem())
		return nil
	}
	s.reads++
	if s.err != nil {
		return s.err
	}
	if s.cluster == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "mysqlclusters"}, key.Name)
	}
	s.cluster.DeepCopyInto(obj.(*v1alpha1.MySQLCluster))
	return nil
}

// other finds an object that is not the cluster; is says that another one is asked for.
func (s *store) other(key client.ObjectKey, like client.Object) (found client.Object, is bool) {
	for _, o := range s.others {
		if reflect.TypeOf(o) == reflect.TypeOf(like) && o.GetName() == key.Name {
			return o, true
		}
	}
	_, cluster := like.(*v1alpha1.MySQLCluster)
	return nil, !cluster || strings.HasSuffix(key.Name, "-drill")
}

func (s *store) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	switch list := list.(type) {
	case *corev1.PodList:
		list.Items = s.pods
	case *corev1.PersistentVolumeClaimList:
		list.Items = s.claims
	case *discoveryv1.EndpointSliceList:
		list.Items = s.slices
	}
	return nil
}

// peers are the agents by pod.
type peers map[string]link.Peer

func (p peers) Get(_, pod string) (link.Peer, bool) {
	peer, ok := p[pod]
	return peer, ok
}

var start = time.Unix(1_800_000_000, 0)

// world is an observer and what it looks at.
type world struct {
	*Observer
	cached, live *store
	peers        peers
	now          time.Time
}

var name = types.NamespacedName{Namespace: "shop", Name: "db"}

func newWorld() *world {
	cluster := &v1alpha1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, UID: "one", ResourceVersion: "100",
		CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))}}
	cluster.Spec.Instances = 3
	cluster.Status.Record = &v1alpha1.Record{Epoch: 2, Primary: "db-0", Voters: []string{"db-0", "db-1", "db-2"}}
	w := &world{cached: &store{cluster: cluster}, live: &store{cluster: cluster.DeepCopy()}, peers: peers{}, now: start}
	w.Observer = &Observer{Cached: w.cached, Live: w.live, Peers: w.peers, Term: func() (uint64, bool) { return 5, true },
		Outdated: func(*v1alpha1.MySQLCluster, *corev1.Pod) bool { return false }, Image: func(*v1alpha1.MySQLCluster) string { return "" }, Now: func() time.Time { return w.now }}
	return w
}

// pod adds a pod and its agent.
func (w *world) pod(instanceName string, r instance.Report) {
	w.cached.pods = append(w.cached.pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: instanceName, UID: types.UID("uid-" + instanceName)},
		Status: corev1.PodStatus{PodIP: "10.0.0.1"}})
	raw, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	w.peers[instanceName] = link.Peer{Key: link.PeerKey{Namespace: name.Namespace, Pod: instanceName, UID: "uid-" + instanceName},
		Connected: true, Snapshot: raw, HeartbeatAt: w.now}
}

func (w *world) look(t *testing.T) *Observation {
	t.Helper()
	obs, err := w.Observe(t.Context(), name)
	if err != nil || obs == nil {
		t.Fatalf("%v, %v", obs, err)
	}
	return obs
}

func TestTheFirstLookIsLive(t *testing.T) {
	w := newWorld()
	w.live.cluster.ResourceVersion, w.live.cluster.Status.Record.Epoch = "200", 3
	if got := w.look(t).Topology.Record.Epoch; got != 3 {
		t.Errorf("the first look found epoch %d: an earlier leader's commit was missed", got)
	}
	if got := w.look(t).Topology.Record.Epoch; got != 3 || w.live.reads != 1 || w.cached.reads != 1 {
		t.Errorf("the second look found epoch %d, after %d live and %d cached reads", got, w.live.reads, w.cached.reads)
	}
	w.cached.cluster.ResourceVersion, w.cached.cluster.Status.Record.Epoch = "300", 4
	if got := w.look(t).Topology.Record.Epoch; got != 4 {
		t.Errorf("a newer cache is not believed: epoch %d", got)
	}
	// A version of more digits is newer, whatever the first ones are.
	after := w.cached.cluster.DeepCopy()
	after.ResourceVersion, after.Status.Record.Epoch = "1000", 5
	w.Committed(after)
	if got := w.look(t).Topology.Record.Epoch; got != 5 {
		t.Errorf("an own commit is forgotten: epoch %d", got)
	}
}

// TestAnOldSpecificationIsNotBelieved: an operator that starts again has read the newest specification live; a cache that
// then shows an older one, because its API server lags, must not undo what the newer one has asked for.
func TestAnOldSpecificationIsNotBelieved(t *testing.T) {
	w := newWorld()
	w.live.cluster.ResourceVersion, w.live.cluster.Spec.Instances = "200", 5
	w.look(t)
	if w.cached.cluster.Spec.Instances = 3; w.look(t).Topology.Spec.Instances != 5 || w.look(t).Cluster.Spec.Instances != 5 {
		t.Error("behind a lagging cache the cluster is to be made smaller")
	}
	w.cached.cluster.ResourceVersion = "201"
	if got := w.look(t).Topology.Spec.Instances; got != 3 {
		t.Errorf("a newer specification is not believed: %d instances", got)
	}
}

func TestAnotherClusterOfTheNameIsNotTheOldOne(t *testing.T) {
	w := newWorld()
	w.live.cluster.ResourceVersion = "900"
	w.look(t)
	again := w.cached.cluster.DeepCopy()
	again.UID, again.ResourceVersion, again.Status.Record = "two", "1000", nil
	w.cached.cluster = again
	if got := w.look(t); got.Topology.Record.Epoch != 0 || got.Cluster.UID != "two" {
		t.Errorf("a new cluster has the record of the one before: %+v", got.Topology.Record)
	}
	// A cache that lags shows the old one again, which is no more.
	before := w.live.cluster.DeepCopy()
	before.ResourceVersion = "950"
	w.cached.cluster = before
	if got := w.look(t); got.Topology.Record.Epoch != 0 || got.Cluster.UID != "two" {
		t.Errorf("the cluster before is taken for the new one: %s, %+v", got.Cluster.UID, got.Topology.Record)
	}
	w.Forget(name)
	w.look(t)
	if w.live.reads != 2 {
		t.Errorf("after the cluster was forgotten, its first look was not live (%d live reads)", w.live.reads)
	}
}

// TestADeposedReplicaLooksAtNothing: what it would decide on is no longer its business.
func TestADeposedReplicaLooksAtNothing(t *testing.T) {
	w := newWorld()
	for term, want := range map[int64]error{4: nil, 5: nil, 6: ErrDeposed} {
		w.live.cluster.Status.Record.Term = term
		w.Forget(name)
		if _, err := w.Observe(t.Context(), name); !errors.Is(err, want) {
			t.Errorf("with a record of term %d a replica of term 5 gets %v, want %v", term, err, want)
		}
	}
}

func TestNobodyDecidesWithoutATerm(t *testing.T) {
	w := newWorld()
	w.Term = func() (uint64, bool) { return 0, false }
	if _, err := w.Observe(t.Context(), name); !errors.Is(err, ErrNotLeading) {
		t.Errorf("got %v", err)
	}
	w.live.cluster = nil
	if obs, err := w.Observe(t.Context(), name); obs != nil || err != nil {
		t.Errorf("a cluster that is not there: %v, %v", obs, err)
	}
	w.live.err = errors.New("no answer")
	if _, err := w.Observe(t.Context(), name); err == nil {
		t.Error("an API server that does not answer goes unnoticed")
	}
}

func TestMembers(t *testing.T) {
	old, young := metav1.NewTime(start.Add(-2*time.Hour)), metav1.NewTime(start)
	claim := func(pod string, made metav1.Time) corev1.PersistentVolumeClaim {
		return corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: manifest.ClaimName(pod), CreationTimestamp: made}}
	}
	for what, test := range map[string]struct {
		change func(w *world)
		want   []string
	}{
		"those wanted":             {func(*world) {}, []string{"db-0", "db-1", "db-2"}},
		"a pod too many":           {func(w *world) { w.pod("db-4", instance.Report{}) }, []string{"db-0", "db-1", "db-2", "db-3", "db-4"}},
		"a voter too many":         {func(w *world) { w.live.cluster.Status.Record.Voters = []string{"db-0", "db-3"} }, []string{"db-0", "db-1", "db-2", "db-3"}},
		"a stranger's pod":         {func(w *world) { w.pod("db-x", instance.Report{}); w.pod("other-7", instance.Report{}) }, []string{"db-0", "db-1", "db-2"}},
		"a pod beyond all measure": {func(w *world) { w.pod("db-123456", instance.Report{}) }, []string{"db-0", "db-1", "db-2"}},
		"a volume that was scaled in": {func(w *world) { w.cached.claims = append(w.cached.claims, claim("db-4", young), claim("db-5", old)) },
			[]string{"db-0", "db-1", "db-2"}},
		"an old volume before the founding": {func(w *world) {
			w.live.cluster.Status.Record = nil
			w.cached.claims = append(w.cached.claims, claim("db-4", young), claim("db-3", old))
		}, []string{"db-0", "db-1", "db-2", "db-3!"}},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld()
			test.change(w)
			var got []string
			for i, m := range w.look(t).Topology.Members {
				if m.Ordinal != i {
					t.Errorf("%s has ordinal %d at %d", m.Name, m.Ordinal, i)
				}
				if m.OldVolume {
					m.Name += "!"
				}
				got = append(got, m.Name)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReports(t *testing.T) {
	const executed, received = "00000000-0000-4000-8000-000000000001:1-5", "00000000-0000-4000-8000-000000000001:3-9"
	w := newWorld()
	w.pod("db-0", instance.Report{State: instance.StateRunning, Executed: executed, Received: received})
	w.pod("db-1", instance.Report{State: instance.StateRunning})
	w.pod("db-2", instance.Report{State: instance.StateRunning, Executed: "nonsense"})
	// db-1's agent is that of an earlier pod.
	earlier := w.peers["db-1"]
	earlier.Key.UID = "before"
	w.peers["db-1"] = earlier
	obs := w.look(t)
	m := obs.Topology.Member("db-0")
	want, err := gtid.Parse("00000000-0000-4000-8000-000000000001:1-9")
	if err != nil {
		t.Fatal(err)
	}
	if !m.Connected || !m.Held.Equal(want) || m.Executed.Count() != 5 {
		t.Errorf("db-0: connected %v, holds %s, executed %s", m.Connected, m.Held, m.Executed)
	}
	if m := obs.Topology.Member("db-1"); m.Connected || m.Report == nil {
		t.Errorf("the agent of an earlier pod: connected %v, report %v", m.Connected, m.Report)
	}
	if m := obs.Topology.Member("db-2"); m.Report != nil || m.Connected || obs.Unreadable["db-2"] == "" {
		t.Errorf("a report with nonsense in it: %v, connected %v, %q", m.Report, m.Connected, obs.Unreadable["db-2"])
	}
	silent := w.peers["db-0"]
	silent.Silent = true
	w.peers["db-0"] = silent
	if w.look(t).Topology.Member("db-0").Connected {
		t.Error("a silent agent counts as connected")
	}
	broken := w.peers["db-0"]
	broken.Snapshot = json.RawMessage(`{"state": 7}`)
	w.peers["db-0"] = broken
	if obs := w.look(t); obs.Topology.Member("db-0").Report != nil || obs.Unreadable["db-0"] == "" {
		t.Error("a report that cannot be read is read")
	}
}

// TestSilenceCountsFromTheFirstLook: nobody is condemned for a silence that this operator has not heard itself.
func TestSilenceCountsFromTheFirstLook(t *testing.T) {
	w := newWorld()
	w.pod("db-0", instance.Report{State: instance.StateRunning})
	lost := w.peers["db-0"]
	lost.Connected, lost.HeartbeatAt = false, start.Add(-time.Hour)
	w.peers["db-0"] = lost
	for _, passed := range []time.Duration{0, 3 * time.Second, 8 * time.Second} {
		w.now = start.Add(passed)
		obs := w.look(t)
		for _, member := range []string{"db-0", "db-1"} {
			if got := obs.Topology.Member(member).Silence; got != passed {
				t.Errorf("after %s, %s has been silent for %s", passed, member, got)
			}
		}
	}
	// One that was heard meanwhile is silent since then.
	lost.HeartbeatAt = start.Add(7 * time.Second)
	w.peers["db-0"] = lost
	if got := w.look(t).Topology.Member("db-0").Silence; got != time.Second {
		t.Errorf("silent for %s since the last heartbeat", got)
	}
}

// TestSilenceIsInheritedFromALeaderThatRanOut: what the leader before granted has ended with its leadership, so that what
// this replica heard as a standby counts.
func TestSilenceIsInheritedFromALeaderThatRanOut(t *testing.T) {
	w := newWorld()
	inherits := false
	w.Inherits = func() bool { return inherits }
	w.pod("db-0", instance.Report{State: instance.StateRunning})
	lost := w.peers["db-0"]
	lost.Connected, lost.HeartbeatAt = false, start.Add(-5*time.Second)
	w.peers["db-0"] = lost
	if got := w.look(t).Topology.Member("db-0").Silence; got != 0 {
		t.Errorf("after a leadership that was released, silent for %s at the first look", got)
	}
	inherits = true
	obs := w.look(t)
	if got := obs.Topology.Member("db-0").Silence; got != 5*time.Second {
		t.Errorf("after a leadership that ran out, silent for %s, not for 5s", got)
	}
	if got := obs.Topology.Member("db-1").Silence; got != 0 {
		t.Errorf("one that was never heard at all has been silent for %s at the first look", got)
	}
}

func TestUnfitness(t *testing.T) {
	w := newWorld()
	fit := instance.Report{State: instance.StateRunning, Role: instance.RoleReplica, Epoch: 2, Acknowledging: true,
		Receiver: instance.Receiver{Running: true, Connected: true, Source: "db-0"}, Applier: instance.Applier{Running: true}}
	ill := fit
	ill.Applier.Running = false
	unfit := func(r instance.Report, after time.Duration) time.Duration {
		w.cached.pods = nil
		w.pod("db-1", r)
		w.now = start.Add(after)
		return w.look(t).Topology.Member("db-1").UnfitFor
	}
	for _, step := range []struct {
		report instance.Report
		after  time.Duration
		want   time.Duration
		why    string
	}{
		{fit, 0, 0, "a fit member"},
		{ill, 1 * time.Second, 0, "it has just become unfit"},
		{ill, 4 * time.Second, 3 * time.Second, "it has been unfit since"},
		{fit, 5 * time.Second, 0, "it is fit again"},
		{ill, 6 * time.Second, 0, "it is unfit anew"},
		{ill, 8 * time.Second, 2 * time.Second, "counted from the second time"},
	} {
		if got := unfit(step.report, step.after); got != step.want {
			t.Errorf("%s: unfit for %s, want %s", step.why, got, step.want)
		}
	}
	w.cached.cluster.ResourceVersion, w.cached.cluster.Status.Record.Epoch = "500", 3
	if got := unfit(ill, 10*time.Second); got != 0 {
		t.Errorf("what was in an earlier epoch counts in the new one: %s", got)
	}
}

func TestEndpointsNow(t *testing.T) {
	w := newWorld()
	slice := func(service, target string) discoveryv1.EndpointSlice {
		return discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: service + "-ipv4", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			Endpoints: []discoveryv1.Endpoint{{TargetRef: &corev1.ObjectReference{Name: target}}, {}}}
	}
	w.cached.slices = []discoveryv1.EndpointSlice{slice("db-ro", "db-2"), slice("db", "db-1"), slice("db-r", "db-0")}
	obs := w.look(t)
	if obs.Topology.ReadWrite != "db-1" || !obs.Slices["db-ro-ipv4"] || obs.Slices["db-ipv6"] {
		t.Errorf("the Service leads to %q, slices %v", obs.Topology.ReadWrite, obs.Slices)
	}
}

func TestSpec(t *testing.T) {
	quantity := func(s string) *resource.Quantity { q := resource.MustParse(s); return &q }
	amounts := func(memory string) *v1alpha1.ResourceAmounts {
		return &v1alpha1.ResourceAmounts{Memory: quantity(memory)}
	}
	for what, test := range map[string]struct {
		pool      *resource.Quantity
		resources v1alpha1.Resources
		want      int64
	}{
		"what the user says":             {pool: quantity("1Gi"), resources: v1alpha1.Resources{Limits: amounts("8Gi")}, want: 1 << 30},
		"half of the limit":              {resources: v1alpha1.Resources{Limits: amounts("8Gi"), Requests: amounts("1Gi")}, want: 4 << 30},
		"half of the request":            {resources: v1alpha1.Resources{Requests: amounts("2Gi")}, want: 1 << 30},
		"what the rest of mysqld leaves": {resources: v1alpha1.Resources{Requests: amounts("512Mi")}, want: 112 << 20},
		"never less than is of use":      {resources: v1alpha1.Resources{Requests: amounts("256Mi")}, want: 32 << 20},
		"unknown memory":                 {want: 0},
	} {
		t.Run(what, func(t *testing.T) {
			cluster := &v1alpha1.MySQLCluster{Spec: v1alpha1.MySQLClusterSpec{BufferPoolSize: test.pool, Resources: test.resources}}
			if got := spec(cluster).BufferPoolBytes; got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
	cluster := &v1alpha1.MySQLCluster{Spec: v1alpha1.MySQLClusterSpec{Instances: 5, HA: v1alpha1.HighAvailability{Failover: v1alpha1.FailoverManual},
		Configuration: v1alpha1.Configuration{"max_connections": "500"}, Users: []v1alpha1.User{{Name: "app", Database: "shop", Access: v1alpha1.AccessReadOnly}}}}
	cluster.Annotations = map[string]string{v1alpha1.AnnotationSwitchover: "db-1", v1alpha1.AnnotationForcePromote: "db-2"}
	got := spec(cluster)
	if got.Instances != 5 || !got.ManualFailover || got.Config["max_connections"] != "500" ||
		len(got.Users) != 1 || got.Users[0] != (instance.User{Name: "app", Database: "shop", Access: instance.AccessReadOnly}) {
		t.Errorf("%+v", got)
	}
	if r := request(cluster); r.Switchover != "db-1" || r.ForcePromote != "db-2" {
		t.Errorf("%+v", r)
	}
}

func TestPodProblems(t *testing.T) {
	waiting := func(reason string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "mysql", Image: "x", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "no"}}}}}
	}
	for what, test := range map[string]struct {
		status corev1.PodStatus
		reason string
	}{
		"no node": {corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
			Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes"}}}, v1alpha1.ReasonUnschedulable},
		"no image":  {waiting("ImagePullBackOff"), v1alpha1.ReasonImageUnusable},
		"no start":  {waiting("CrashLoopBackOff"), v1alpha1.ReasonImageUnusable},
		"under way": {waiting("ContainerCreating"), ""},
		"an init container without an image": {corev1.PodStatus{InitContainerStatuses: waiting("ErrImagePull").ContainerStatuses},
			v1alpha1.ReasonImageUnusable},
		"at work": {corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}, ""},
	} {
		t.Run(what, func(t *testing.T) {
			got, found := problemOf(&corev1.Pod{Status: test.status})
			if got.Reason != test.reason || found != (test.reason != "") {
				t.Errorf("got %+v, %v; want %q", got, found, test.reason)
			}
		})
	}
}

// TestAnotherImageIsSeen: one instance that has another image than the cluster asks for is enough, whatever other containers it has.
func TestAnotherImageIsSeen(t *testing.T) {
	w := newWorld()
	w.Image = func(*v1alpha1.MySQLCluster) string { return "mysql:9.7" }
	for _, instanceName := range []string{"db-0", "db-1"} {
		w.pod(instanceName, instance.Report{})
		w.cached.pods[len(w.cached.pods)-1].Spec.Containers = []corev1.Container{{Name: "exporter", Image: "x"}, {Name: manifest.ServerContainer, Image: "mysql:9.7"}}
	}
	if got := w.look(t).Upgrading; got != "" {
		t.Errorf("with the same image: %q", got)
	}
	w.cached.pods[1].Spec.Containers[1].Image = "mysql:8.4"
	if got := w.look(t).Upgrading; got != "mysql:9.7" {
		t.Errorf("with another image: %q", got)
	}
}
