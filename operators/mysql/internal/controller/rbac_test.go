package controller_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/controller"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/report"
	"github.com/kapok-operators/kapok/shared/apply"
	"github.com/kapok-operators/kapok/shared/event"
	"github.com/kapok-operators/kapok/shared/manager"
	"github.com/kapok-operators/kapok/shared/observability/monitors"
)

// roleFile is the role that is generated from the markers in this package.
var roleFile = filepath.Join("..", "..", "config", "rbac", "generated", "role.yaml")

func generatedRole(t *testing.T) *rbacv1.ClusterRole {
	t.Helper()
	raw, err := os.ReadFile(roleFile)
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(raw, &role); err != nil {
		t.Fatalf("read %s: %v", roleFile, err)
	}
	if role.Kind != "ClusterRole" || len(role.Rules) == 0 {
		t.Fatalf("%s holds %s with %d rules", roleFile, role.Kind, len(role.Rules))
	}
	return &role
}

// permissions lists what a role allows, one "verb group/resource" each.
func permissions(role *rbacv1.ClusterRole) sets.Set[string] {
	out := sets.New[string]()
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					out.Insert(verb + " " + group + "/" + resource)
				}
			}
		}
	}
	return out
}

func TestGeneratedRoleHoldsNothingDangerous(t *testing.T) {
	role := generatedRole(t)
	for _, rule := range role.Rules {
		for _, words := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs, rule.ResourceNames, rule.NonResourceURLs} {
			for _, word := range words {
				if strings.Contains(word, "*") {
					t.Errorf("a wildcard in %+v", rule)
				}
			}
		}
		for _, verb := range []string{"escalate", "bind", "impersonate", "deletecollection", "approve", "sign"} {
			if slices.Contains(rule.Verbs, verb) {
				t.Errorf("the verb %s in %+v", verb, rule)
			}
		}
		for _, resource := range rule.Resources {
			for _, bad := range []string{"secrets", "pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers", "nodes",
				"nodes/proxy", "serviceaccounts/token", "roles", "rolebindings", "clusterroles", "clusterrolebindings"} {
				if resource == bad {
					t.Errorf("the resource %s in %+v", bad, rule)
				}
			}
		}
		if len(rule.NonResourceURLs) > 0 {
			t.Errorf("URLs that are no resources: %+v", rule)
		}
	}
}

// unseen are permissions that this test cannot see at work in the requests of one short life.
var unseen = map[string]string{
	"patch events.k8s.io/events":                      "the recorder patches an event that comes again and again",
	"update mysql.kapok.dev/mysqlclusters/finalizers": "the API server asks for it when blockOwnerDeletion is set; an admission plugin of this server enforces it",
}

// TestTheRoleIsExactlyEnough runs the operator as it is put together in the program, with the manager's cache, under the
// account that its manifests install, through a cluster's life. What it may not do fails there; what it may do and never
// does is found in its requests.
func TestTheRoleIsExactlyEnough(t *testing.T) {
	role := generatedRole(t)
	const namespace, account = "kapok-mysql-system", "mysql-operator"
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: account}},
	}
	for _, obj := range []client.Object{role, binding} {
		if err := api.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	seen := &requests{seen: sets.New[string](), refused: sets.New[string]()}
	rc := rest.CopyConfig(env.Config)
	rc.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":" + account,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}}
	rc.Wrap(func(next http.RoundTripper) http.RoundTripper { seen.next = next; return seen })

	installMonitoring(t)
	w := newWorld(t)
	w.live(rc)
	class := expandable(t)
	w.create(func(c *v1alpha1.MySQLCluster) {
		c.Spec.DeletionPolicy, c.Spec.Storage.StorageClassName = v1alpha1.DeletionDelete, &class
	})
	w.eventually("healthy cluster", w.healthy("db-0"))
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
	w.eventually("events", func() bool {
		var events eventsv1.EventList
		if err := api.List(t.Context(), &events, client.InNamespace(w.name.Namespace)); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(events.Items, func(e eventsv1.Event) bool { return e.Reason == "Promote" })
	})
	w.delete()
	w.eventually("end", func() bool { return w.find() == nil })
	for claim, gone := range w.claims() {
		if !gone {
			t.Errorf("volume claim %s stays", claim)
		}
	}

	used := seen.all(t)
	for _, permission := range sets.List(permissions(role)) {
		if what, list := strings.CutPrefix(permission, "list "); list && used.Has("watch "+what) {
			// A server that streams its lists is asked to watch alone; others are asked to list first.
			continue
		}
		if _, known := unseen[permission]; !known && !used.Has(permission) {
			t.Errorf("the role allows %q, which the operator never does", permission)
		}
	}
}

// live runs the operator in a manager until the end of the test, beside a kubelet and agents that work by themselves.
func (w *world) live(rc *rest.Config) {
	w.t.Helper()
	t := w.t
	ctx, cancel := context.WithCancel(t.Context())
	exists, err := labels.NewRequirement(manifest.LabelCluster, selection.Exists, nil)
	if err != nil {
		t.Fatal(err)
	}
	ours := cache.ByObject{Label: labels.NewSelector().Add(*exists)}
	// The clusters of other tests have no agents here and would only keep it busy.
	config := manager.Config{Namespaces: []string{w.name.Namespace}, Name: "mysql-operator", Scheme: scheme, MetricsAddress: "0", HealthAddress: "0", Concurrency: 2, GracefulStop: 5 * time.Second,
		LeaderElection: false, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: ours, &corev1.PersistentVolumeClaim{}: ours, &corev1.Service{}: ours, &corev1.ConfigMap{}: ours,
			&corev1.ServiceAccount{}: ours, &appsv1.StatefulSet{}: ours, &discoveryv1.EndpointSlice{}: ours, &policyv1.PodDisruptionBudget{}: ours,
		}}
	mgr, err := manager.New(rc, config, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	w.agents.now = time.Now
	wake := &controller.Wake{}
	w.agents.onChange = wake.Agent
	observer := &observe.Observer{Cached: mgr.GetClient(), Live: mgr.GetAPIReader(), Peers: w.agents, Term: mgr.Term.Term,
		Outdated: installation.Outdated, Now: time.Now}
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
	if err := reconciler.Setup(mgr, wake, controller.Options{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := mgr.Start(ctx); err != nil {
			t.Errorf("the manager ended: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
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

// requests notes what is asked of the API server.
type requests struct {
	next http.RoundTripper

	mu            sync.Mutex
	seen, refused sets.Set[string]
}

func (r *requests) RoundTrip(req *http.Request) (*http.Response, error) {
	resolver := request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	info, err := resolver.NewRequestInfo(req)
	if err != nil {
		return nil, err
	}
	resp, err := r.next.RoundTrip(req)
	if err != nil || !info.IsResourceRequest {
		return resp, err
	}
	resource := info.Resource
	if info.Subresource != "" {
		resource += "/" + info.Subresource
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	verbs := []string{info.Verb}
	if req.Header.Get("Content-Type") == string(types.ApplyYAMLPatchType) && resp.StatusCode == http.StatusCreated {
		// To apply what does not exist takes two permissions.
		verbs = append(verbs, "create")
	}
	for _, verb := range verbs {
		what := verb + " " + info.APIGroup + "/" + resource
		if resp.StatusCode == http.StatusForbidden {
			r.refused.Insert(what)
		}
		r.seen.Insert(what)
	}
	return resp, nil
}

// all returns what was asked, and fails the test for what was refused.
func (r *requests) all(t *testing.T) sets.Set[string] {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, what := range sets.List(r.refused) {
		t.Errorf("the role does not allow %q", what)
	}
	return r.seen.Clone()
}
