package monitors_test

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/apply"
	"github.com/kapok-operators/kapok/shared/observability/monitors"
	"github.com/kapok-operators/kapok/shared/testkit"
)

// patience is far more than it takes: a busy machine makes a test slow, not red.
const patience = time.Minute

// newScheme knows everything that these tests touch.
func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoringv1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s in time", what)
		}
	}
}

// run starts a watcher until the end of the test.
func run(t *testing.T, opts monitors.Options) *monitors.Watcher {
	t.Helper()
	opts.Interval, opts.Logger = cmp.Or(opts.Interval, 100*time.Millisecond), logr.Discard()
	w, err := monitors.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func install(t *testing.T, env *testkit.Env) {
	t.Helper()
	for _, crd := range testkit.MonitoringCRDs(t) {
		if err := env.Client.Create(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
	}
}

// uninstall removes the definitions and waits until they are gone.
func uninstall(t *testing.T, env *testkit.Env) {
	t.Helper()
	for _, crd := range testkit.MonitoringCRDs(t) {
		if err := env.Client.Delete(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
		await(t, "end of "+crd.Name, func() bool {
			return apierrors.IsNotFound(env.Client.Get(t.Context(), client.ObjectKeyFromObject(crd), crd))
		})
	}
}

// confined is the configuration of an account that has a Role in one namespace and nothing else.
func confined(t *testing.T, env *testkit.Env, namespace string, verbs ...string) *rest.Config {
	t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "operator"}}
	if len(verbs) > 0 {
		role.Rules = []rbacv1.PolicyRule{{APIGroups: []string{"monitoring.coreos.com"}, Resources: []string{"podmonitors", "prometheusrules"}, Verbs: verbs}}
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: role.ObjectMeta,
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "operator"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: "operator"}},
	}
	for _, obj := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, role, binding} {
		if err := env.Client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	rc := rest.CopyConfig(env.Config)
	rc.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":operator",
		Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	return rc
}

// TestTheKindsComeAndGo leads watchers through the life of the definitions: of an operator for all namespaces, of one that is
// confined to its own, and of one that lacks the permission.
func TestTheKindsComeAndGo(t *testing.T) {
	s := newScheme(t)
	env := testkit.StartEnv(t, testkit.EnvOptions{Scheme: s})
	var mu sync.Mutex
	states, objects := []monitors.Availability{}, 0
	selector := labels.SelectorFromSet(labels.Set{"ours": "yes"})
	everywhere := run(t, monitors.Options{Config: env.Config, Scheme: s, Selector: selector,
		OnState:  func(state monitors.State) { mu.Lock(); defer mu.Unlock(); states = append(states, state.Availability) },
		OnObject: func(client.Object) { mu.Lock(); defer mu.Unlock(); objects++ }})
	own := run(t, monitors.Options{Config: confined(t, env, "own", "get", "list", "watch", "create", "patch", "delete"), Scheme: s,
		Namespaces: []string{"own"}, Selector: selector})
	poor := run(t, monitors.Options{Config: confined(t, env, "poor"), Scheme: s, Namespaces: []string{"poor"}, Selector: selector})
	is := func(w *monitors.Watcher, a monitors.Availability) func() bool {
		return func() bool { return w.State().Availability == a }
	}

	for name, w := range map[string]*monitors.Watcher{"everywhere": everywhere, "own": own, "poor": poor} {
		await(t, "absence for "+name, is(w, monitors.Absent))
		if why := w.State().Why; !strings.Contains(why, "podmonitors.monitoring.coreos.com") {
			t.Errorf("%s: %q", name, why)
		}
	}
	through := own.Client(env.Client)
	key := client.ObjectKey{Namespace: "own", Name: "db"}
	if err := through.Get(t.Context(), key, &monitoringv1.PodMonitor{}); err == nil || apierrors.IsNotFound(err) {
		t.Errorf("a kind that is not there was read: %v", err)
	}

	for round := range 2 {
		install(t, env)
		await(t, "kinds everywhere", is(everywhere, monitors.Available))
		await(t, "kinds in the own namespace", is(own, monitors.Available))
		await(t, "refusal", is(poor, monitors.Forbidden))
		if why := poor.State().Why; !strings.Contains(why, "podmonitors") || !strings.Contains(why, "role") {
			t.Errorf("the refusal does not say what is missing: %q", why)
		}

		// Applied through the client of the watcher: once, and not again.
		applier := &apply.Applier{Client: through, FieldOwner: "test"}
		configuration, err := monitors.Configuration(podMonitor(), s)
		if err != nil {
			t.Fatal(err)
		}
		results, err := applier.Apply(t.Context(), configuration)
		if err != nil || results[0].Reason != apply.Missing {
			t.Fatalf("%v %v", results, err)
		}
		await(t, "object in the cache", func() bool { return through.Get(t.Context(), key, &monitoringv1.PodMonitor{}) == nil })
		if results, err = applier.Apply(t.Context(), configuration); err != nil || results[0].Written() {
			t.Errorf("applied again: %v %v", results, err)
		}
		foreign := podMonitor()
		foreign.Name, foreign.Labels = "theirs", nil
		if err := env.Client.Create(t.Context(), foreign); err != nil {
			t.Fatal(err)
		}
		var list monitoringv1.PodMonitorList
		if err := through.List(t.Context(), &list, client.InNamespace("own")); err != nil || len(list.Items) != 1 {
			t.Errorf("the cache holds %d objects: %v", len(list.Items), err)
		}
		await(t, "word of the object", func() bool { mu.Lock(); defer mu.Unlock(); return objects > round })

		uninstall(t, env)
		await(t, "absence everywhere", is(everywhere, monitors.Absent))
		await(t, "absence in the own namespace", is(own, monitors.Absent))
		await(t, "absence for the poor", is(poor, monitors.Absent))
	}
	mu.Lock()
	defer mu.Unlock()
	want := []monitors.Availability{monitors.Absent, monitors.Available, monitors.Absent, monitors.Available, monitors.Absent}
	// The definitions go one after the other, so that what is missing is told twice.
	if !slices.Equal(slices.Compact(states), want) {
		t.Errorf("the states were %v", states)
	}
}

// TestAWriteThatFindsNoKindHasItLookedFor: whoever writes learns that the kinds have gone, and the watcher does not wait until it
// looks anyway. A namespace that is not there is no such thing.
func TestAWriteThatFindsNoKindHasItLookedFor(t *testing.T) {
	s := newScheme(t)
	env := testkit.StartEnv(t, testkit.EnvOptions{Scheme: s})
	install(t, env)
	if err := env.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "own"}}); err != nil {
		t.Fatal(err)
	}
	// It looks once, so that there must be something to see.
	for _, list := range []client.ObjectList{&monitoringv1.PodMonitorList{}, &monitoringv1.PrometheusRuleList{}} {
		await(t, "kinds", func() bool { return env.Client.List(t.Context(), list) == nil })
	}
	w := run(t, monitors.Options{Config: env.Config, Scheme: s, Interval: time.Hour})
	is := func(a monitors.Availability) func() bool { return func() bool { return w.State().Availability == a } }
	await(t, "a watcher that has seen them", is(monitors.Available))
	write := func(namespace string) error {
		object := podMonitor()
		object.Namespace = namespace
		configuration, err := monitors.Configuration(object, s)
		if err != nil {
			t.Fatal(err)
		}
		return w.Client(env.Client).Apply(t.Context(), configuration, client.FieldOwner("test"))
	}
	if err := write("nowhere"); !apierrors.IsNotFound(err) || errors.Is(err, monitors.ErrUnavailable) {
		t.Errorf("into a namespace that is not there: %v", err)
	}
	if err := write("own"); err != nil {
		t.Fatal(err)
	}
	uninstall(t, env)
	if !is(monitors.Available)() {
		t.Fatal("it has looked although nothing was written")
	}
	// The API server goes on serving the kind for a moment.
	await(t, "refusal", func() bool { return errors.Is(write("own"), monitors.ErrUnavailable) })
	await(t, "absence", is(monitors.Absent))
}

func podMonitor() *monitoringv1.PodMonitor {
	return &monitoringv1.PodMonitor{
		ObjectMeta: metav1.ObjectMeta{Namespace: "own", Name: "db", Labels: map[string]string{"ours": "yes"}},
		Spec: monitoringv1.PodMonitorSpec{
			Selector:            metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			PodMetricsEndpoints: []monitoringv1.PodMetricsEndpoint{{Port: new("metrics"), Interval: "15s"}},
		},
	}
}

// TestANilWatcherHasNothing: an operator that is built without one.
func TestANilWatcherHasNothing(t *testing.T) {
	var w *monitors.Watcher
	if got := w.State().Availability; got != monitors.Absent {
		t.Errorf("%s", got)
	}
	if err := w.Client(nil).Get(t.Context(), client.ObjectKey{}, &monitoringv1.PodMonitor{}); err == nil {
		t.Error("a nil watcher was read from")
	}
}
