package controller_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/controller"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/report"
	"github.com/kapok-operators/kapok/shared/apply"
	"github.com/kapok-operators/kapok/shared/event"
	"github.com/kapok-operators/kapok/shared/link"
	"github.com/kapok-operators/kapok/shared/testkit"
)

// world is one cluster in a namespace of its own, with everything around the operator: a user, a kubelet and agents. Its
// clock is advanced by its rounds alone, so that a busy machine changes nothing.
type world struct {
	t      testing.TB
	name   types.NamespacedName
	agents *agents
	clock  time.Time
	term   uint64
	// cached operators read from a cache that moves once a round, instead of live.
	cached bool
	// frozen, if set, says which of the given kinds the cache still follows.
	frozen func([]client.ObjectList) []client.ObjectList
	// safety, if set, watches over what must never be done.
	safety *safety
	// besides, if set, is what others do in every round.
	besides func(*world)
	// log is where the rounds write, nowhere by default.
	log logr.Logger
	*operator
}

// operator is one process of the operator: its memory goes with it.
type operator struct {
	*controller.Reconciler
	writes *testkit.CrashPoint
	events *recorder
	cache  *testkit.Cache
	// synced is how many writes the cache has seen.
	synced int
}

var installation = manifest.Config{
	OperatorImage: "kapok/mysql-operator:test", LinkAddress: "mysql-operator-link.kapok-mysql-system.svc:9443",
	MySQLRepository: "docker.io/library/mysql", ExporterImage: "docker.io/prom/mysqld-exporter:test",
}

// step is how far a round advances the clock.
const step = 100 * time.Millisecond

// newWorld makes a namespace with nothing in it and starts an operator.
func newWorld(t testing.TB) *world {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "mysql-"}}
	if err := api.Create(t.Context(), ns); err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	return worldIn(t, ns.Name)
}

// worldIn is newWorld in a namespace that is there.
func worldIn(t testing.TB, namespace string) *world {
	t.Helper()
	w := &world{t: t, name: types.NamespacedName{Namespace: namespace, Name: "db"}, clock: time.Now(), term: 7}
	w.agents = newAgents(func() time.Time { return w.clock })
	w.restart(api)
	return w
}

// restart replaces the operator's process by a new one that works with the given client.
func (w *world) restart(c client.WithWatch) {
	point, ok := c.(*testkit.CrashPoint)
	if !ok {
		point = testkit.NewCrashPoint(c, testkit.AfterWrite, 0)
	}
	w.term++
	w.operator = newOperator(w, point)
}

func newOperator(w *world, c *testkit.CrashPoint) *operator {
	o := &operator{writes: c, events: &recorder{}, synced: -1}
	front, term := client.WithWatch(c), w.term
	if w.safety != nil {
		front = w.safety.client(c)
	}
	cached := cachedView(front)
	if w.cached {
		o.cache = w.newCache(front)
		cached = o.cache
	}
	observer := &observe.Observer{
		Cached: cached, Live: c, Peers: w.agents, Outdated: installation.Outdated, Image: installation.Image,
		Term: func() (uint64, bool) { return term, true }, Now: func() time.Time { return w.clock },
	}
	o.Reconciler = &controller.Reconciler{
		Observer: observer,
		Actor: &act.Actor{
			Client: cached, Live: c, Agents: w.agents, Memory: observer,
			Objects: &act.KubernetesObjects{
				Client: cached, Live: c, Config: installation, LinkCA: func() []byte { return []byte("certificates\n") },
				Applier: &apply.Applier{Client: cached, FieldOwner: "mysql-operator"},
			},
		},
		Reporter: &report.Reporter{Client: cached, Events: event.NewEmitter(o.events, 1000), Now: func() time.Time { return w.clock }},
		Grants:   &act.Grants{},
	}
	return o
}

// cachedView shows what the operator's cache holds: of everything but MySQLClusters, only what carries a cluster's label.
func cachedView(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if err := c.Get(ctx, key, obj, opts...); err != nil {
				return err
			}
			if _, cluster := obj.(*v1alpha1.MySQLCluster); !cluster && obj.GetLabels()[manifest.LabelCluster] == "" {
				return apierrors.NewNotFound(schema.GroupResource{Resource: fmt.Sprintf("%T", obj)}, key.Name)
			}
			return nil
		},
	})
}

// recorder keeps the reasons of events.
type recorder struct {
	mu   sync.Mutex
	sent []string
}

func (r *recorder) Eventf(_, _ runtime.Object, _, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, reason+": "+fmt.Sprintf(note, args...))
}

// count says how many events of a reason were sent.
func (r *recorder) count(reason string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.sent {
		if strings.HasPrefix(e, reason+":") {
			n++
		}
	}
	return n
}

// create is what a user does.
func (w *world) create(change func(*v1alpha1.MySQLCluster)) {
	w.t.Helper()
	cluster := &v1alpha1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: w.name.Name}}
	// The Go types would send these as zero, which no default replaces.
	cluster.Spec.Storage.Size, cluster.Spec.HA.ProbeInterval.Duration = resource.MustParse("10Gi"), 10*time.Second
	if change != nil {
		change(cluster)
	}
	if err := api.Create(w.t.Context(), cluster); err != nil {
		w.t.Fatalf("create the cluster: %v", err)
	}
}

// instances is a change of a cluster for create.
func instances(n int32) func(*v1alpha1.MySQLCluster) {
	return func(c *v1alpha1.MySQLCluster) { c.Spec.Instances = n }
}

// edit changes the custom resource as a user does.
func (w *world) edit(change func(*v1alpha1.MySQLCluster)) {
	w.t.Helper()
	cluster := w.cluster()
	before := cluster.DeepCopy()
	change(cluster)
	if err := api.Patch(w.t.Context(), cluster, client.MergeFrom(before)); err != nil {
		w.t.Fatalf("edit the cluster: %v", err)
	}
}

func (w *world) annotate(key, value string) {
	w.t.Helper()
	w.edit(func(c *v1alpha1.MySQLCluster) { metav1.SetMetaDataAnnotation(&c.ObjectMeta, key, value) })
}

func (w *world) cluster() *v1alpha1.MySQLCluster {
	w.t.Helper()
	cluster := w.find()
	if cluster == nil {
		w.t.Fatal("the cluster is gone")
	}
	return cluster
}

// find returns the custom resource, or nil.
func (w *world) find() *v1alpha1.MySQLCluster {
	w.t.Helper()
	var cluster v1alpha1.MySQLCluster
	err := api.Get(w.t.Context(), w.name, &cluster)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return &cluster
}

func (w *world) record() instance.Record {
	w.t.Helper()
	return observe.Record(w.cluster().Status.Record)
}

func (w *world) pod(ordinal int) string { return manifest.InstanceName(w.name.Name, ordinal) }

// reconcile runs one round of the loop alone.
func (w *world) reconcile() (ctrl.Result, error) {
	return w.Recorded().Reconcile(ctrl.LoggerInto(w.t.Context(), w.log), ctrl.Request{NamespacedName: w.name})
}

// round runs the loop and lets everybody around it do their part.
func (w *world) round() error {
	w.t.Helper()
	err := w.sync()
	if err == nil {
		_, err = w.reconcile()
	}
	w.surroundings()
	return err
}

// surroundings lets everybody but the operator do their part.
func (w *world) surroundings() {
	w.t.Helper()
	w.kubelet()
	w.agents.settle()
	if w.besides != nil {
		w.besides(w)
	}
	w.clock = w.clock.Add(step)
}

// rounds bounds every wait.
const rounds = 150

// until runs rounds until something is so.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for range rounds {
		if err := w.round(); err != nil {
			w.t.Fatalf("waiting for %s: %v", what, err)
		}
		if done() {
			return
		}
	}
	c := w.cluster()
	w.t.Fatalf("no %s within %d rounds: record %+v, status %s, conditions %+v, events %q",
		what, rounds, c.Status.Record, c.Status.Summary, c.Status.Conditions, w.events.sent)
}

// healthy says whether the cluster is all it should be, with a given primary or any.
func (w *world) healthy(primary string) func() bool {
	return func() bool {
		c := w.cluster()
		return c.Status.Summary == v1alpha1.SummaryHealthy && (primary == "" || c.Status.Record.Primary == primary) &&
			c.Status.ObservedGeneration == c.Generation && c.Status.ObservedEpoch == c.Status.Record.Epoch
	}
}

// kubelet stands for the StatefulSet controller, the scheduler and the kubelets: what the StatefulSet asks for, runs.
func (w *world) kubelet() {
	w.t.Helper()
	ctx := w.t.Context()
	var set appsv1.StatefulSet
	err := api.Get(ctx, types.NamespacedName{Namespace: w.name.Namespace, Name: manifest.StatefulSet(w.name.Name)}, &set)
	if apierrors.IsNotFound(err) {
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	var pods corev1.PodList
	if err := api.List(ctx, &pods, client.InNamespace(w.name.Namespace), client.MatchingLabels(manifest.SelectorLabels(w.name.Name))); err != nil {
		w.t.Fatal(err)
	}
	exists := map[string]bool{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		exists[pod.Name] = true
		if slices.IndexFunc(w.wanted(&set), func(name string) bool { return name == pod.Name }) < 0 {
			w.remove(pod)
			w.agents.lose(pod.Name)
		}
	}
	for i, name := range w.wanted(&set) {
		if !exists[name] {
			w.agents.start(w.run(&set, name, i))
		}
	}
}

func (w *world) wanted(set *appsv1.StatefulSet) []string {
	var out []string
	for i := range int(*set.Spec.Replicas) {
		out = append(out, w.pod(i))
	}
	return out
}

// run makes an instance's claim, if there is none, and its pod.
func (w *world) run(set *appsv1.StatefulSet, name string, ordinal int) link.PeerKey {
	w.t.Helper()
	w.claim(set.Spec.VolumeClaimTemplates[0], name)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: name,
			Labels: set.Spec.Template.Labels, Annotations: set.Spec.Template.Annotations},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: manifest.ServerContainer, Image: set.Spec.Template.Spec.Containers[0].Image}}},
	}
	if err := api.Create(w.t.Context(), pod); err != nil {
		w.t.Fatalf("make pod %s: %v", name, err)
	}
	pod.Status.PodIP = fmt.Sprintf("10.0.0.%d", ordinal+1)
	pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if err := api.Status().Update(w.t.Context(), pod); err != nil {
		w.t.Fatalf("run pod %s: %v", name, err)
	}
	return link.PeerKey{Namespace: pod.Namespace, Pod: name, UID: string(pod.UID)}
}

func (w *world) claim(template corev1.PersistentVolumeClaim, name string) {
	w.t.Helper()
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: manifest.ClaimName(name), Labels: template.Labels},
		Spec:       template.Spec,
	}
	err := api.Create(w.t.Context(), claim)
	if apierrors.IsAlreadyExists(err) {
		return
	}
	if err == nil {
		claim.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: template.Spec.Resources.Requests}
		err = api.Status().Update(w.t.Context(), claim)
	}
	if err != nil {
		w.t.Fatalf("make claim %s: %v", claim.Name, err)
	}
}

// remove ends a pod at once.
func (w *world) remove(pod *corev1.Pod) {
	w.t.Helper()
	if err := api.Delete(w.t.Context(), pod, client.GracePeriodSeconds(0)); err != nil && !apierrors.IsNotFound(err) {
		w.t.Fatalf("remove pod %s: %v", pod.Name, err)
	}
}

// targets lists the pods that a Service leads to.
func (w *world) targets(service string) []string {
	w.t.Helper()
	var slice discoveryv1.EndpointSlice
	key := types.NamespacedName{Namespace: w.name.Namespace, Name: manifest.EndpointSliceName(service, discoveryv1.AddressTypeIPv4)}
	if err := api.Get(w.t.Context(), key, &slice); err != nil {
		w.t.Fatalf("read the endpoints of %s: %v", service, err)
	}
	out := []string{}
	for _, endpoint := range slice.Endpoints {
		out = append(out, endpoint.TargetRef.Name+" "+endpoint.Addresses[0])
	}
	slices.Sort(out)
	return out
}

// quiet fails the test if rounds write anything.
func (w *world) quiet(why string) {
	w.t.Helper()
	before := w.writes.Writes()
	for range 3 {
		if err := w.round(); err != nil {
			w.t.Fatal(err)
		}
	}
	if n := w.writes.Writes() - before; n != 0 {
		w.t.Errorf("%s: %d writes in three rounds", why, n)
	}
}

// settle runs rounds until one writes nothing.
func (w *world) settle() {
	w.t.Helper()
	for range rounds {
		before := w.writes.Writes()
		if err := w.round(); err != nil {
			w.t.Fatal(err)
		}
		if w.writes.Writes() == before {
			return
		}
	}
	w.t.Fatalf("the loop still writes after %d rounds", rounds)
}
