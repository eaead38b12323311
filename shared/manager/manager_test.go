package manager

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kapok-operators/kapok/shared/testkit"
)

var env *testkit.Env

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if os.Getenv(againCount) != "" {
			// The program that TestAgain runs needs no API server, and could not stop one: it does not end, it becomes another.
			return m.Run()
		}
		var err error
		if env, err = testkit.NewEnv(testkit.EnvOptions{Scheme: scheme.Scheme}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = env.Stop() }()
		return m.Run()
	}())
}

func flags(t *testing.T, args ...string) (Config, error) {
	t.Helper()
	c := Config{Name: "test-operator", Scheme: scheme.Scheme}
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	BindFlags(fs, &c)
	BindShardFlags(fs, &c.Shard)
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	return c, c.Validate()
}

func TestFlags(t *testing.T) {
	c, err := flags(t, "-namespaces=b, a,b,", "-lease-duration=8s", "-metrics-address=0")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(c.Namespaces, ",") != "a,b" || c.LeaseDuration != 8*time.Second || c.MetricsAddress != "0" {
		t.Errorf("unexpected configuration %+v", c)
	}
	c, err = flags(t)
	if err != nil || !c.LeaderElection || c.LeaseDuration != DefaultLeaseDuration || len(c.Namespaces) != 0 {
		t.Errorf("unexpected defaults %+v, %v", c, err)
	}
	for _, bad := range []string{
		"-namespaces=Not_A_Name", "-renew-deadline=4s", "-retry-period=2s", "-retry-period=0s",
		"-log-level=-1", "-log-level=10", "-concurrency=-1", "-graceful-stop=-1s", "-trace-ratio=2", "-otlp-insecure",
	} {
		if _, err := flags(t, bad); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestValidateNamesWhatIsMissing(t *testing.T) {
	err := (&Config{Name: "Bad Name"}).Validate()
	if err == nil || !strings.Contains(err.Error(), "name") || !strings.Contains(err.Error(), "scheme") {
		t.Errorf("got %v", err)
	}
}

func TestOptionsGuardTheClusterAndTheOperator(t *testing.T) {
	c, err := flags(t, "-namespaces=a,b")
	if err != nil {
		t.Fatal(err)
	}
	o := Options(c)
	if !o.Cache.ReaderFailOnMissingInformer || *o.Cache.SyncPeriod != 0 || len(o.Cache.DefaultNamespaces) != 2 {
		t.Errorf("unexpected cache %+v", o.Cache)
	}
	if _, ok := o.Client.Cache.DisableFor[0].(*corev1.Secret); !ok {
		t.Error("Secrets are cached")
	}
	if o.Client.FieldOwner != "test-operator" || o.Client.FieldValidation != metav1.FieldValidationStrict {
		t.Errorf("unexpected client %+v", o.Client)
	}
	if !o.Metrics.SecureServing || o.Metrics.FilterProvider == nil || !*o.Controller.EnableWarmup || !o.LeaderElectionReleaseOnCancel {
		t.Error("an unsafe default")
	}
	if o.Controller.ReconciliationTimeout != DefaultReconciliationTimeout {
		t.Error("reconciles are not bounded")
	}
	c.MetricsInsecure = true
	if o := Options(c); o.Metrics.SecureServing || o.Metrics.FilterProvider != nil {
		t.Error("insecure metrics are not what was asked for")
	}
}

func TestTermOf(t *testing.T) {
	lease := func(created int64, transitions int32) *coordinationv1.Lease {
		me := "me"
		return &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Unix(created, 0)},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &me, LeaseTransitions: &transitions},
		}
	}
	term := func(l *coordinationv1.Lease) uint64 {
		t.Helper()
		v, err := termOf(l, "me")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	ordered := []uint64{
		term(lease(1_800_000_000, 0)),
		term(lease(1_800_000_000, 1)),
		term(lease(1_800_000_000, 1<<transitionBits-1)),
		term(lease(1_800_000_001, 0)), // The Lease was deleted and made anew.
		term(lease(1_800_000_001, 7)),
	}
	for i := 1; i < len(ordered); i++ {
		if ordered[i] <= ordered[i-1] {
			t.Errorf("term %d is not greater than the one before", i)
		}
	}
	if ordered[4] >= 1<<53 {
		t.Error("the term does not fit into a JSON number")
	}
	if _, err := termOf(lease(1, 1), "somebody"); !errors.Is(err, errNotHolder) {
		t.Errorf("another holder's Lease: %v", err)
	}
	if _, err := termOf(&coordinationv1.Lease{}, "me"); !errors.Is(err, errNotHolder) {
		t.Errorf("a Lease without a holder: %v", err)
	}
	if _, err := termOf(lease(1, 1<<transitionBits), "me"); !errors.Is(err, errWornOut) {
		t.Errorf("a worn-out Lease: %v", err)
	}
}

func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "manager-"}}
	if err := env.Client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// running is one operator replica.
type running struct {
	*Manager
	stop func() error
}

func start(t *testing.T, rc *rest.Config, change func(*Config), setup ...func(*Manager)) *running {
	t.Helper()
	c, err := flags(t)
	if err != nil {
		t.Fatal(err)
	}
	c.HealthAddress, c.MetricsAddress = "0", "0"
	change(&c)
	mgr, err := New(rc, c, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range setup {
		do(mgr)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stopped := false
	r := &running{Manager: mgr, stop: func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(30 * time.Second):
			return errors.New("the manager does not stop")
		}
	}}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !check() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 60s for this: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (r *running) leads() bool { _, ok := r.Term.Term(); return ok }

// calm gives elections that a loaded machine does not disturb.
func calm(ns string) func(*Config) {
	return func(c *Config) {
		c.LeaderElectionNamespace = ns
		c.LeaseDuration, c.RenewDeadline, c.RetryPeriod = 30*time.Second, 20*time.Second, 200*time.Millisecond
	}
}

func TestTermGrowsWithEveryLeader(t *testing.T) {
	ns := namespace(t)
	var terms []uint64
	lead := func() *running {
		t.Helper()
		r := start(t, env.Config, calm(ns))
		eventually(t, "the replica leads", r.leads)
		term, _ := r.Term.Term()
		terms = append(terms, term)
		return r
	}
	first := lead()
	standby := start(t, env.Config, calm(ns))
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	if first.leads() {
		t.Error("a stopped leader still has a term")
	}
	handed := time.Now()
	eventually(t, "the standby leads", standby.leads)
	if took := time.Since(handed); took > 10*time.Second {
		t.Errorf("the hand-over took %s although the lease was released", took)
	}
	term, _ := standby.Term.Term()
	terms = append(terms, term)
	if err := standby.stop(); err != nil {
		t.Fatal(err)
	}
	// The Lease is deleted: its count of transitions begins anew.
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "test-operator"}}
	if err := env.Client.Delete(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // Creation times have whole seconds.
	third := lead()
	if err := third.stop(); err != nil {
		t.Fatal(err)
	}
	if len(terms) != 3 || terms[0] >= terms[1] || terms[1] >= terms[2] {
		t.Errorf("terms %v do not grow", terms)
	}
}

// TestElectionHasAClientOfItsOwn: the election's short timeout is not for the operator's watches, which it would end again
// and again, nor for anything else that the operator does.
func TestElectionHasAClientOfItsOwn(t *testing.T) {
	rc := rest.CopyConfig(env.Config)
	r := start(t, rc, calm(namespace(t)))
	eventually(t, "the replica leads", r.leads)
	if used := r.GetConfig(); used.Timeout != 0 || used.UserAgent != env.Config.UserAgent || rc.Timeout != 0 {
		t.Errorf("the operator's client has the timeout %s and calls itself %q", used.Timeout, used.UserAgent)
	}
}

func TestTermWithoutElection(t *testing.T) {
	r := start(t, env.Config, func(c *Config) { c.LeaderElection = false })
	eventually(t, "there is a term", r.leads)
}

func TestAccidentalInformerIsAnError(t *testing.T) {
	r := start(t, env.Config, func(c *Config) { c.LeaderElection = false })
	eventually(t, "the manager runs", r.leads)
	err := r.GetClient().Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "x"}, &corev1.ConfigMap{})
	if _, missing := errors.AsType[*cache.ErrResourceNotCached](err); !missing {
		t.Errorf("reading a kind that nobody watches: got %v", err)
	}
	// Secrets are read live, so that none is ever watched.
	err = r.GetClient().Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "x"}, &corev1.Secret{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("reading a Secret: got %v, want a live not found", err)
	}
}

func TestWritesCarryTheOperatorsName(t *testing.T) {
	r := start(t, env.Config, func(c *Config) { c.LeaderElection = false })
	eventually(t, "the manager runs", r.leads)
	ns := namespace(t)
	if err := r.GetClient().Apply(t.Context(), corev1ac.ConfigMap("x", ns).WithData(map[string]string{"a": "b"})); err != nil {
		t.Fatal(err)
	}
	var cm corev1.ConfigMap
	if err := env.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "x"}, &cm); err != nil {
		t.Fatal(err)
	}
	if len(cm.ManagedFields) != 1 || cm.ManagedFields[0].Manager != "test-operator" {
		t.Errorf("managed by %+v", cm.ManagedFields)
	}
}

// The operator runs in one namespace with no permission beyond it.
func TestOneNamespaceNeedsNoClusterRole(t *testing.T) {
	ns, other := namespace(t), namespace(t)
	user, err := env.AddUser(envtest.User{Name: "op-" + ns}, nil)
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "operator"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create", "get", "update"}},
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list", "watch"}},
		},
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "operator"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "operator"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "op-" + ns}},
	}
	mine := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "mine"}}
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "theirs"}}
	for _, obj := range []client.Object{role, binding, mine, theirs} {
		if err := env.Client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, user.Config(), func(c *Config) {
		calm(ns)(c)
		c.Namespaces = []string{ns}
	})
	eventually(t, "the operator leads with a Role alone", r.leads)
	if _, err := r.GetCache().GetInformer(t.Context(), &corev1.ConfigMap{}); err != nil {
		t.Fatal(err)
	}
	var list corev1.ConfigMapList
	if err := r.GetClient().List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, cm := range list.Items {
		if cm.Namespace != ns {
			t.Errorf("sees %s/%s", cm.Namespace, cm.Name)
		}
		found = found || cm.Name == "mine"
	}
	if !found {
		t.Error("does not see its own namespace")
	}
}

func TestLogger(t *testing.T) {
	quiet, loud := NewLogger(Config{}), NewLogger(Config{LogLevel: 2})
	if quiet.V(1).Enabled() || !quiet.V(0).Enabled() || !loud.V(2).Enabled() || loud.V(3).Enabled() {
		t.Error("the level is not what was asked for")
	}
}
