package controller_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/controller"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/permission"
	"github.com/kapok-operators/kapok/operators/mysql/internal/report"
	"github.com/kapok-operators/kapok/shared/apply"
	"github.com/kapok-operators/kapok/shared/event"
	"github.com/kapok-operators/kapok/shared/link"
	"github.com/kapok-operators/kapok/shared/manager"
	"github.com/kapok-operators/kapok/shared/observability/monitors"
	"github.com/kapok-operators/kapok/shared/rbac"
	"github.com/kapok-operators/kapok/shared/rbac/audit"
)

// mode is a way of installing the operator.
type mode struct {
	name        string
	environment []string
	// own is the operator's namespace, home that of the cluster, watched what the operator is told to watch.
	own, home string
	watched   []string
}

func modes() []mode {
	return []mode{
		// First, while no other namespace holds a cluster.
		{"all", nil, "kapok-mysql-system", "anywhere", nil},
		{"own", []string{"MODE=own", "OPERATOR_NAMESPACE=own"}, "own", "own", []string{"own"}},
		{"one", []string{"MODE=one", "NAMESPACES=only", "OPERATOR_NAMESPACE=ops-one"}, "ops-one", "only", []string{"only"}},
		{"several", []string{"MODE=several", "NAMESPACES=shop,forum", "OPERATOR_NAMESPACE=ops-several"}, "ops-several", "shop", []string{"shop", "forum"}},
	}
}

func (m mode) account() types.NamespacedName {
	return types.NamespacedName{Namespace: m.own, Name: "mysql-operator"}
}

func (m mode) user() string { return "system:serviceaccount:" + m.own + ":mysql-operator" }

// TestTheRoleIsExactlyEnough installs the operator's account and roles in each way that there is, and runs the operator as it
// is put together in the program, with the manager's cache, under that account through a cluster's life. The API server's
// audit log then says whether it asked for more than is granted, and whether it is granted more than it asked for.
func TestTheRoleIsExactlyEnough(t *testing.T) {
	log := audited(t)
	installMonitoring(t)
	for _, m := range modes() {
		t.Run(m.name, func(t *testing.T) {
			manifest := m.install(t)
			user, err := env.AddUser(envtest.User{Name: m.user(), Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + m.own}}, &rest.Config{QPS: -1})
			if err != nil {
				t.Fatal(err)
			}
			m.preflight(t, user.Config())
			w := worldIn(t, m.home)
			stop := w.live(user.Config(), m)
			w.life()
			stop()

			objects, err := rbac.Parse(manifest)
			if err != nil {
				t.Fatal(err)
			}
			grants, err := objects.Grants(m.account())
			if err != nil {
				t.Fatal(err)
			}
			said := m.check(t, log, grants)
			var table bytes.Buffer
			if err := said.Write(&table); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d requests\n%s", said.Requests, table.String())
			if err := said.Err(); err != nil {
				t.Error(err)
			}
			m.planted(t, log, grants, user.Config())
		})
	}
}

// audited gives the test an API server of its own, which keeps an audit log of the operators' accounts, and returns the log.
func audited(t *testing.T) string {
	t.Helper()
	var users []string
	for _, m := range modes() {
		users = append(users, m.user())
	}
	folder := t.TempDir()
	policy, log := filepath.Join(folder, "policy.yaml"), filepath.Join(folder, "audit.log")
	if err := os.WriteFile(policy, []byte(audit.Policy(users...)), 0o600); err != nil {
		t.Fatal(err)
	}
	oldEnv, oldAPI := env, api
	if err := prepare(map[string]string{"audit-policy-file": policy, "audit-log-path": log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
		env, api = oldEnv, oldAPI
	})
	return log
}

// install renders the installation and creates what is about permissions.
func (m mode) install(t *testing.T) []byte {
	t.Helper()
	folder := t.TempDir()
	script := exec.CommandContext(t.Context(), "bash", filepath.Join("..", "..", "..", "..", "hack", "install-yaml.sh"))
	script.Env = append(os.Environ(), "INSTALL_FOLDER="+folder, "MODE=", "NAMESPACES=", "METRICS=", "OPERATOR_NAMESPACE=")
	script.Env = append(script.Env, m.environment...)
	if said, err := script.CombinedOutput(); err != nil {
		t.Fatalf("render the installation: %v: %s", err, said)
	}
	raw, err := os.ReadFile(filepath.Join(folder, "mysql-operator.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append([]string{m.own, m.home}, m.watched...) {
		err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	for document := range strings.SplitSeq(string(raw), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatal(err)
		}
		if object.GroupVersionKind().Group != rbacv1.GroupName && object.GetKind() != "ServiceAccount" {
			continue
		}
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	return raw
}

// preflight asks what the program asks at its start, until the authorizer has learned of the roles.
func (m mode) preflight(t *testing.T, rc *rest.Config) {
	t.Helper()
	needs, err := permission.Needs(permission.Installation{Namespaces: m.watched, Own: m.own, Election: m.own, Metrics: m.watched == nil})
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(rc)
	if err != nil {
		t.Fatal(err)
	}
	checks := rbac.Preflight{Client: clients, Needs: needs, Definitions: permission.Definitions()}
	var found rbac.Findings
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if found, err = checks.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if found.Err() == nil && len(found.Lacking) == 0 {
			return
		}
	}
	t.Fatalf("the preflight complains: %+v", found)
}

func (m mode) check(t *testing.T, log string, grants []rbac.Grant) *audit.Report {
	t.Helper()
	file, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	said, err := audit.Check(audit.Options{Account: m.account(), Grants: grants, Rare: permission.Rare(permission.Envtest, grants)}, file)
	if err != nil {
		t.Fatal(err)
	}
	return said
}

// planted proves on the same log that the check sees what it is there for: each permission taken away is missed, one that
// is added is too much, and a request that is refused is found.
func (m mode) planted(t *testing.T, log string, grants []rbac.Grant, rc *rest.Config) {
	t.Helper()
	more := rbac.Grant{Permission: rbac.Permission{Verb: "get", Resource: "secrets"}, Namespace: m.home, Role: grants[0].Role}
	if said := m.check(t, log, append(slices.Clip(grants), more)); len(said.Foreign) > 0 || !strings.Contains(fmt.Sprint(said.Err()), "never used: get secrets") {
		t.Errorf("a permission too many was not found: %v", said.Err())
	}
	for _, gone := range []rbac.Permission{
		{Verb: "patch", Group: "apps", Resource: "statefulsets"}, {Verb: "patch", Group: v1alpha1.Group, Resource: "mysqlclusters/status"},
		{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Name: "mysql-operator"}, {Verb: "delete", Resource: "pods"},
	} {
		var fewer []rbac.Grant
		for _, g := range grants {
			if g.Permission != gone {
				fewer = append(fewer, g)
			}
		}
		if said := m.check(t, log, fewer); len(fewer) == len(grants) || !strings.Contains(fmt.Sprint(said.Err()), "something else than the installation") {
			t.Errorf("%s is missing and was not found: %v", gone, said.Err())
		}
	}
	thief, err := client.New(rc, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	if err := thief.List(t.Context(), &corev1.SecretList{}, client.InNamespace(m.home)); !apierrors.IsForbidden(err) {
		t.Errorf("to list Secrets: %v", err)
	}
	if said := m.check(t, log, grants); len(said.Refused) != 1 || said.Refused[0].Permission.String() != "list secrets" {
		t.Errorf("a refused request was not found: %+v", said.Refused)
	}
}

// life is everything that a cluster can go through.
func (w *world) life() {
	t := w.t
	t.Helper()
	class := expandable(t)
	w.create(func(c *v1alpha1.MySQLCluster) {
		c.Spec.DeletionPolicy, c.Spec.Storage.StorageClassName = v1alpha1.DeletionDelete, &class
		toVolume(c)
	})
	w.eventually("healthy cluster", w.healthy("db-0"))
	w.backedUp()
	w.restoredElsewhere()
	w.rehearsed()
	w.agents.kill("db-0")
	w.eventually("failover", func() bool { return w.record().Epoch == 2 && w.healthy("")() })
	w.edit(func(c *v1alpha1.MySQLCluster) {
		c.Spec.Image = "registry.example.com/mysql:9.7.2"
		c.Spec.Storage.Size.Add(c.Spec.Storage.Size)
	})
	before := w.podUIDs()
	w.eventually("new pods", func() bool {
		now := w.podUIDs()
		return len(now) == 3 && now["db-0"] != before["db-0"] && now["db-1"] != before["db-1"] && now["db-2"] != before["db-2"] && w.healthy("")()
	})
	w.eventually("monitoring", func() bool {
		return w.monitored().Status == metav1.ConditionTrue && slices.Equal(w.monitoringObjects(), allMonitoring)
	})
	w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.Monitoring.Exporter = v1alpha1.ExporterNone })
	w.eventually("end of monitoring", func() bool { return len(w.monitoringObjects()) == 0 && w.healthy("")() })
	w.annotate(v1alpha1.AnnotationSwitchover, v1alpha1.SwitchoverAny)
	w.eventually("answer", func() bool { return w.cluster().Annotations[v1alpha1.AnnotationSwitchover] == "" && w.healthy("")() })
	// Of two events that differ in the note alone the second is not made anew: the first is patched.
	w.agents.archive("/var/lib/kapok/archive/1")
	w.eventually("events", func() bool {
		var events eventsv1.EventList
		if err := api.List(t.Context(), &events, client.InNamespace(w.name.Namespace)); err != nil {
			t.Fatal(err)
		}
		promoted, again := false, false
		for _, e := range events.Items {
			promoted = promoted || e.Reason == "Promote"
			again = again || e.Series != nil
		}
		return promoted && again
	})
	w.delete()
	w.eventually("end", func() bool { return w.find() == nil })
	for claim, gone := range w.claims() {
		if !gone {
			t.Errorf("volume claim %s stays", claim)
		}
	}
}

// live runs the operator in a manager, beside a kubelet and agents that work by themselves, until the returned function is
// called or the test ends.
func (w *world) live(rc *rest.Config, m mode) (stop func()) {
	w.t.Helper()
	t := w.t
	ctx, cancel := context.WithCancel(t.Context())
	exists, err := labels.NewRequirement(manifest.LabelCluster, selection.Exists, nil)
	if err != nil {
		t.Fatal(err)
	}
	ours := cache.ByObject{Label: labels.NewSelector().Add(*exists)}
	config := manager.Config{Namespaces: m.watched, Name: "mysql-operator", Scheme: scheme, MetricsAddress: "0", HealthAddress: "0", Concurrency: 2, GracefulStop: 5 * time.Second,
		LeaderElection: true, LeaderElectionNamespace: m.own, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: ours, &corev1.PersistentVolumeClaim{}: ours, &corev1.Service{}: ours, &corev1.ConfigMap{}: ours,
			&corev1.ServiceAccount{}: ours, &appsv1.StatefulSet{}: ours, &discoveryv1.EndpointSlice{}: ours, &policyv1.PodDisruptionBudget{}: ours,
		}}
	if m.watched == nil {
		config.MetricsAddress = freeAddress(t)
	}
	mgr, err := manager.New(rc, config, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	w.agents.now = time.Now
	wake := &controller.Wake{}
	w.agents.onChange = wake.Agent
	observer := &observe.Observer{Cached: mgr.GetClient(), Live: mgr.GetAPIReader(), Peers: w.agents, Term: mgr.Term.Term,
		Outdated: installation.Outdated, Image: installation.Image, Now: time.Now}
	watcher, err := monitors.New(monitors.Options{Config: rc, Scheme: scheme, Namespaces: config.Namespaces, Selector: ours.Label, Interval: 100 * time.Millisecond,
		Logger: logr.Discard(), OnState: func(monitors.State) { wake.Cluster(w.name) }, OnObject: func(client.Object) { wake.Cluster(w.name) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := mgr.Add(watcher); err != nil {
		t.Fatal(err)
	}
	reconciler := &controller.Reconciler{
		Observer: observer, Grants: &act.Grants{},
		Actor: &act.Actor{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Agents: w.agents, Memory: observer,
			Objects: &act.KubernetesObjects{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Config: installation,
				LinkCA:   func() []byte { return []byte("certificates\n") },
				Monitors: watcher, MonitorApplier: &apply.Applier{Client: watcher.Client(mgr.GetClient()), FieldOwner: "mysql-operator"},
				Applier: &apply.Applier{Client: mgr.GetClient(), FieldOwner: "mysql-operator"}}},
		Reporter: &report.Reporter{Client: mgr.GetClient(), Events: event.NewEmitter(mgr.GetEventRecorder("mysql-operator"), 100), Now: time.Now},
	}
	if err := reconciler.Setup(ctx, oneOfSeveral{mgr}, wake, controller.Options{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	restores := &controller.RestoreReconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: reconciler.Reporter.Events, Now: time.Now}
	if err := restores.Setup(oneOfSeveral{mgr}); err != nil {
		t.Fatal(err)
	}
	if err := mgr.Add(publisher(t, mgr, m)); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := mgr.Start(ctx); err != nil {
			t.Errorf("the manager ended: %v", err)
		}
	})
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	if m.watched == nil {
		scrape(t, config.MetricsAddress)
	}
	return stop
}

// oneOfSeveral lets a process run several managers one after the other, which otherwise would be taken for one.
type oneOfSeveral struct{ ctrl.Manager }

func (m oneOfSeveral) GetControllerOptions() ctrlconfig.Controller {
	options := m.Manager.GetControllerOptions()
	options.SkipNameValidation = new(true)
	return options
}

// publisher keeps the certificates of the operator's replicas in its own namespace, as in the program.
func publisher(t testing.TB, mgr *manager.Manager, m mode) *link.Publisher {
	t.Helper()
	authority, err := link.NewAuthority(link.AuthorityOptions{Replica: "replica"})
	if err != nil {
		t.Fatal(err)
	}
	return &link.Publisher{
		Writer: mgr.GetClient(), Reader: mgr.GetAPIReader(), Namespace: m.own, Name: "mysql-operator-link", Replica: "replica", Authority: authority,
		Replicas: func(ctx context.Context) ([]string, error) {
			var pods corev1.PodList
			return nil, mgr.GetAPIReader().List(ctx, &pods, client.InNamespace(m.own), client.MatchingLabels{"app.kubernetes.io/name": "mysql-operator"})
		},
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// scrape reads the metrics as an account that may.
func scrape(t testing.TB, address string) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "scraper"}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "scraper"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: rbac.KindClusterRole, Name: "mysql-operator-metrics-reader"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "scraper"}}}
	for _, obj := range []client.Object{account, binding} {
		if err := api.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	token := &authenticationv1.TokenRequest{}
	if err := api.SubResource("token").Create(t.Context(), account, token); err != nil {
		t.Fatal(err)
	}
	// Its certificate is its own; the test is about who reads.
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // See above.
	defer web.CloseIdleConnections()
	last := "nothing was served"
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token.Status.Token)
		response, err := web.Do(request)
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err == nil && response.StatusCode == http.StatusOK && bytes.Contains(body, []byte("# HELP ")) {
			return
		}
		last = response.Status
	}
	t.Fatalf("the metrics cannot be read: %s", last)
}

// eventually lets kubelet and agents work until something is so. The operator runs beside.
func (w *world) eventually(what string, done func() bool) {
	w.t.Helper()
	// Far more than it takes: a busy machine makes it slow, not red.
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		w.grow()
		w.kubelet()
		w.agents.settle()
		if done() {
			return
		}
	}
	w.t.Fatalf("no %s in time: %s", what, w.snapshot())
}

// grow does what a storage system does for a claim that asks for more.
func (w *world) grow() {
	w.t.Helper()
	var claims corev1.PersistentVolumeClaimList
	if err := api.List(w.t.Context(), &claims, client.InNamespace(w.name.Namespace)); err != nil {
		w.t.Fatal(err)
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		want, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
		if claim.Status.Phase == corev1.ClaimBound && have.Cmp(want) < 0 {
			claim.Status.Capacity = claim.Spec.Resources.Requests
			if err := api.Status().Update(w.t.Context(), claim); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}
