package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryv1ac "k8s.io/client-go/applyconfigurations/discovery/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/testkit"
)

// env is the one API server of this package's tests.
var env *testkit.Env

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if env, err = testkit.NewEnv(testkit.EnvOptions{Scheme: scheme.Scheme}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = env.Stop() }()
		return m.Run()
	}())
}

// counting returns an applier that counts what it writes.
func counting() (*Applier, *testkit.CrashPoint) {
	c := testkit.NewCrashPoint(env.Client, testkit.AfterWrite, 0)
	return &Applier{Client: c, FieldOwner: "test-operator"}, c
}

func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "apply-"}}
	if err := env.Client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

func owner(t *testing.T, ns string) *corev1.ConfigMap {
	t.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "owner"}}
	if err := env.Client.Create(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	return cm
}

// system is one object of every kind that an operator of a stateful system
// makes, with all that has been a trap: defaults inside atomic lists, keys that
// are defaulted, empty values, quantities.
func system(ns string, o *corev1.ConfigMap, image string) []runtime.ApplyConfiguration {
	labels := map[string]string{"app.kubernetes.io/managed-by": "test-operator"}
	ref := metav1ac.OwnerReference().WithAPIVersion("v1").WithKind("ConfigMap").
		WithName(o.Name).WithUID(o.UID).WithController(true).WithBlockOwnerDeletion(true)
	return []runtime.ApplyConfiguration{
		corev1ac.ServiceAccount("db", ns).WithLabels(labels).WithOwnerReferences(ref).WithAutomountServiceAccountToken(false),
		corev1ac.ConfigMap("db", ns).WithLabels(labels).WithOwnerReferences(ref).WithData(map[string]string{"my.cnf": "[mysqld]\n", "empty": ""}),
		corev1ac.Service("db", ns).WithLabels(labels).WithOwnerReferences(ref).
			WithSpec(corev1ac.ServiceSpec().WithPorts(corev1ac.ServicePort().WithName("sql").WithPort(3306).WithTargetPort(intstr.FromString("sql")))),
		corev1ac.Service("db-headless", ns).WithLabels(labels).WithOwnerReferences(ref).
			WithSpec(corev1ac.ServiceSpec().WithClusterIP("None").WithPublishNotReadyAddresses(true).WithSelector(labels).
				WithPorts(corev1ac.ServicePort().WithName("sql").WithPort(3306), corev1ac.ServicePort().WithName("link").WithPort(9443))),
		policyv1ac.PodDisruptionBudget("db", ns).WithLabels(labels).WithOwnerReferences(ref).
			WithSpec(policyv1ac.PodDisruptionBudgetSpec().WithMaxUnavailable(intstr.FromInt32(1)).WithSelector(metav1ac.LabelSelector().WithMatchLabels(labels))),
		discoveryv1ac.EndpointSlice("db", ns).WithLabels(map[string]string{"kubernetes.io/service-name": "db", "app.kubernetes.io/managed-by": "test-operator"}).
			WithOwnerReferences(ref).WithAddressType(discoveryv1.AddressTypeIPv4).
			WithEndpoints(discoveryv1ac.Endpoint().WithAddresses("10.0.0.1").WithConditions(discoveryv1ac.EndpointConditions().WithReady(true))).
			WithPorts(discoveryv1ac.EndpointPort().WithName("sql").WithPort(3306)),
		statefulSet(ns, labels, ref, image),
	}
}

func statefulSet(ns string, labels map[string]string, ref *metav1ac.OwnerReferenceApplyConfiguration, image string) *appsv1ac.StatefulSetApplyConfiguration {
	container := corev1ac.Container().WithName("db").WithImage(image).WithCommand("/kapok/agent").WithArgs("run").
		WithPorts(corev1ac.ContainerPort().WithName("sql").WithContainerPort(3306)).
		WithEnv(
			corev1ac.EnvVar().WithName("POD_UID").WithValueFrom(corev1ac.EnvVarSource().WithFieldRef(corev1ac.ObjectFieldSelector().WithFieldPath("metadata.uid"))),
			corev1ac.EnvVar().WithName("EMPTY").WithValue(""),
		).
		WithResources(corev1ac.ResourceRequirements().WithRequests(corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("0.5"), corev1.ResourceMemory: resource.MustParse("1024Mi"),
		})).
		WithSecurityContext(corev1ac.SecurityContext().WithPrivileged(false).WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))).
		WithVolumeMounts(corev1ac.VolumeMount().WithName("data").WithMountPath("/var/lib/db").WithReadOnly(false)).
		WithLivenessProbe(corev1ac.Probe().WithTCPSocket(corev1ac.TCPSocketAction().WithPort(intstr.FromInt32(3306))))
	return appsv1ac.StatefulSet("db", ns).WithLabels(labels).WithOwnerReferences(ref).
		WithSpec(appsv1ac.StatefulSetSpec().WithReplicas(0).WithServiceName("db-headless").
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(labels)).
			WithPodManagementPolicy(appsv1.ParallelPodManagement).
			WithTemplate(corev1ac.PodTemplateSpec().WithLabels(labels).
				WithSpec(corev1ac.PodSpec().WithContainers(container).WithHostNetwork(false).
					WithVolumes(
						corev1ac.Volume().WithName("scratch").WithEmptyDir(corev1ac.EmptyDirVolumeSource()),
						corev1ac.Volume().WithName("token").WithProjected(corev1ac.ProjectedVolumeSource().WithSources(
							corev1ac.VolumeProjection().WithServiceAccountToken(corev1ac.ServiceAccountTokenProjection().WithAudience("kapok-link").WithPath("token")),
							corev1ac.VolumeProjection().WithConfigMap(corev1ac.ConfigMapProjection().WithName("trust").WithOptional(true)))),
					).
					WithTopologySpreadConstraints(corev1ac.TopologySpreadConstraint().WithMaxSkew(1).WithTopologyKey("topology.kubernetes.io/zone").
						WithWhenUnsatisfiable(corev1.ScheduleAnyway).WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(labels))))).
			WithVolumeClaimTemplates(corev1ac.PersistentVolumeClaim("data", "").
				WithSpec(corev1ac.PersistentVolumeClaimSpec().WithAccessModes(corev1.ReadWriteOnce).
					WithResources(corev1ac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")})))))
}

func reasons(t *testing.T, a *Applier, desired ...runtime.ApplyConfiguration) []string {
	t.Helper()
	results, err := a.Apply(t.Context(), desired...)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range results {
		if r.Written() {
			out = append(out, strings.TrimSpace(string(r.Reason)+" "+r.Key.Kind+"/"+r.Key.Name+" "+r.Field))
		}
	}
	return out
}

func TestSteadyStateWritesNothing(t *testing.T) {
	ns := namespace(t)
	o := owner(t, ns)
	a, writes := counting()
	if got := reasons(t, a, system(ns, o, "db:1")...); len(got) != 7 || !strings.HasPrefix(got[0], "Missing") {
		t.Fatalf("the first round wrote %v, want all", got)
	}
	for range 5 {
		if got := reasons(t, a, system(ns, o, "db:1")...); len(got) != 0 {
			t.Fatalf("a quiet round wrote %v", got)
		}
	}
	if n := writes.Writes(); n != 7 {
		t.Errorf("%d writes in all, want 7", n)
	}
	// A restarted operator remembers nothing, and has nothing to write either.
	a, writes = counting()
	if got := reasons(t, a, system(ns, o, "db:1")...); len(got) != 0 || writes.Writes() != 0 {
		t.Errorf("a restarted operator wrote %v", got)
	}
}

func TestChangeIsWrittenOnce(t *testing.T) {
	ns := namespace(t)
	o := owner(t, ns)
	a, _ := counting()
	reasons(t, a, system(ns, o, "db:1")...)
	if diff := cmp.Diff([]string{"Changed StatefulSet/db"}, reasons(t, a, system(ns, o, "db:2")...)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := reasons(t, a, system(ns, o, "db:2")...); len(got) != 0 {
		t.Errorf("the change was written again: %v", got)
	}
}

// TestALicenceIsAskedForBeforeAWriteAlone: it costs a read, and what it says holds.
func TestALicenceIsAskedForBeforeAWriteAlone(t *testing.T) {
	ns := namespace(t)
	a, _ := counting()
	asked, version, refusal := 0, "", error(nil)
	licence := func(context.Context) (string, error) {
		asked++
		return version, refusal
	}
	settings := func(mode string) runtime.ApplyConfiguration {
		return corev1ac.ConfigMap("settings", ns).WithData(map[string]string{"mode": mode})
	}
	current := func() string {
		var cm corev1.ConfigMap
		if err := env.Client.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "settings"}, &cm); err != nil {
			t.Fatal(err)
		}
		return cm.ResourceVersion
	}
	if got, err := a.ApplyUnder(t.Context(), licence, settings("a")); err != nil || got.Reason != Missing || asked != 1 {
		t.Fatalf("%+v, %v, asked %d times", got, err, asked)
	}
	if got, err := a.ApplyUnder(t.Context(), licence, settings("a")); err != nil || got.Written() || asked != 1 {
		t.Errorf("what is there already: %+v, %v, asked %d times", got, err, asked)
	}
	before := current()
	refusal = errors.New("somebody else leads")
	if _, err := a.ApplyUnder(t.Context(), licence, settings("b")); !errors.Is(err, refusal) || current() != before {
		t.Errorf("written without a licence: %v", err)
	}
	version, refusal = "1", nil
	if _, err := a.ApplyUnder(t.Context(), licence, settings("b")); !apierrors.IsConflict(err) || current() != before {
		t.Errorf("written over another state of the object: %v", err)
	}
	version = before
	if got, err := a.ApplyUnder(t.Context(), licence, settings("b")); err != nil || got.Reason != Changed || current() == before {
		t.Errorf("with a licence: %+v, %v", got, err)
	}
	if got, err := a.ApplyUnder(t.Context(), licence, settings("b")); err != nil || got.Written() {
		t.Errorf("the version of a licence became a part of what is wanted: %+v, %v", got, err)
	}
}

// Removing a field is a change too, even inside an atomic list, where nothing
// but the hash can tell.
func TestRemovedFieldIsRemoved(t *testing.T) {
	ns := namespace(t)
	a, _ := counting()
	slice := func(withNode bool) runtime.ApplyConfiguration {
		endpoint := discoveryv1ac.Endpoint().WithAddresses("10.0.0.1")
		if withNode {
			endpoint.WithNodeName("node-1")
		}
		return discoveryv1ac.EndpointSlice("db", ns).WithAddressType(discoveryv1.AddressTypeIPv4).WithEndpoints(endpoint)
	}
	reasons(t, a, slice(true))
	if got := reasons(t, a, slice(false)); len(got) != 1 {
		t.Fatalf("wrote %v, want the change", got)
	}
	var live discoveryv1.EndpointSlice
	if err := env.Client.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "db"}, &live); err != nil {
		t.Fatal(err)
	}
	if live.Endpoints[0].NodeName != nil {
		t.Error("the field is still there")
	}
}

func TestDriftIsRepaired(t *testing.T) {
	ns := namespace(t)
	o := owner(t, ns)
	a, _ := counting()
	reasons(t, a, system(ns, o, "db:1")...)
	key := types.NamespacedName{Namespace: ns, Name: "db"}
	edit := func(obj client.Object, change func()) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if err := env.Client.Get(t.Context(), key, obj); err != nil {
				t.Fatal(err)
			}
			change()
			if err := env.Client.Update(t.Context(), obj, client.FieldOwner("somebody")); err != nil {
				t.Fatal(err)
			}
		}
	}
	var set appsv1.StatefulSet
	var cm corev1.ConfigMap
	var svc corev1.Service
	var slice discoveryv1.EndpointSlice
	for name, test := range map[string]struct {
		edit func(t *testing.T)
		want string
	}{
		"a changed image":    {edit(&set, func() { set.Spec.Template.Spec.Containers[0].Image = "evil" }), "Drifted StatefulSet/db .spec.template.spec.containers[0].image"},
		"a removed variable": {edit(&set, func() { set.Spec.Template.Spec.Containers[0].Env = set.Spec.Template.Spec.Containers[0].Env[1:] }), "Drifted StatefulSet/db .spec.template.spec.containers[0].env[0]"},
		"scaled by hand":     {edit(&set, func() { set.Spec.Replicas = new(int32); *set.Spec.Replicas = 2 }), "Drifted StatefulSet/db .spec.replicas"},
		"changed data":       {edit(&cm, func() { cm.Data["my.cnf"] = "[mysqld]\nskip-grant-tables\n" }), "Drifted ConfigMap/db .data.my.cnf"},
		"removed data":       {edit(&cm, func() { delete(cm.Data, "my.cnf") }), "Drifted ConfigMap/db .data.my.cnf"},
		"a removed label":    {edit(&cm, func() { cm.Labels = nil }), "Drifted ConfigMap/db .metadata.labels"},
		"a removed owner":    {edit(&cm, func() { cm.OwnerReferences = nil }), "Drifted ConfigMap/db .metadata.ownerReferences"},
		"a renamed port":     {edit(&svc, func() { svc.Spec.Ports[0].Name = "other" }), "Drifted Service/db .spec.ports[0].name"},
		"a foreign endpoint": {edit(&slice, func() { slice.Endpoints[0].Addresses = []string{"10.6.6.6"} }), "Drifted EndpointSlice/db .endpoints"},
		"one endpoint more": {edit(&slice, func() {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.6.6.6"}})
		}), "Drifted EndpointSlice/db .endpoints"},
		"a forged annotation": {edit(&cm, func() { cm.Annotations[AnnotationApplied] = "0" }), "Changed ConfigMap/db"},
	} {
		t.Run(name, func(t *testing.T) {
			test.edit(t)
			if diff := cmp.Diff([]string{test.want}, reasons(t, a, system(ns, o, "db:1")...)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if got := reasons(t, a, system(ns, o, "db:1")...); len(got) != 0 {
				t.Errorf("after the repair there is still something to write: %v", got)
			}
		})
	}
	// What others add is theirs.
	edit(&cm, func() {
		cm.Labels["team"] = "a"
		cm.Data["theirs"] = "x"
		cm.Finalizers = append(cm.Finalizers, "example.com/theirs")
	})(t)
	edit(&set, func() {
		set.Spec.Template.Spec.Containers = append(set.Spec.Template.Spec.Containers, corev1.Container{Name: "injected", Image: "x"})
	})(t)
	if got := reasons(t, a, system(ns, o, "db:1")...); len(got) != 0 {
		t.Errorf("additions of others were taken for drift: %v", got)
	}
	edit(&cm, func() { cm.Finalizers = nil })(t)
}

func TestUnregisteredKindIsAppliedToo(t *testing.T) {
	ns := namespace(t)
	a, writes := counting()
	a.Client = bare{a.Client}
	lease := func() runtime.ApplyConfiguration {
		return client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
			"metadata": map[string]any{"name": "x", "namespace": ns},
			"spec":     map[string]any{"holderIdentity": "me", "leaseDurationSeconds": int64(4)},
		}})
	}
	for range 3 {
		reasons(t, a, lease())
	}
	if n := writes.Writes(); n != 1 {
		t.Errorf("%d writes, want 1", n)
	}
}

// bare is a client without any registered type.
type bare struct{ client.Client }

func (bare) Scheme() *runtime.Scheme { return runtime.NewScheme() }

func TestApplyFails(t *testing.T) {
	a, _ := counting()
	results, err := a.Apply(t.Context(),
		corev1ac.ConfigMap("fine", namespace(t)),
		corev1ac.ConfigMap("lost", "no-such-namespace"))
	if err == nil || !strings.Contains(err.Error(), "ConfigMap no-such-namespace/lost") || len(results) != 1 {
		t.Errorf("got %v after %d results", err, len(results))
	}
	if _, err := a.Apply(t.Context(), corev1ac.ConfigMap("", "default")); err == nil {
		t.Error("an object without a name was accepted")
	}
}

func TestPrune(t *testing.T) {
	ns := namespace(t)
	o := owner(t, ns)
	a, _ := counting()
	all := system(ns, o, "db:1")
	reasons(t, a, all...)
	labels := map[string]string{"app.kubernetes.io/managed-by": "test-operator"}
	controller := true
	ref := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: o.UID, Controller: &controller}
	foreign := ref
	foreign.UID = "somebody-else"
	for name, meta := range map[string]metav1.ObjectMeta{
		"old":       {Labels: labels, OwnerReferences: []metav1.OwnerReference{ref}},
		"foreign":   {Labels: labels, OwnerReferences: []metav1.OwnerReference{foreign}},
		"unowned":   {Labels: labels},
		"unlabeled": {OwnerReferences: []metav1.OwnerReference{ref}},
	} {
		meta.Namespace, meta.Name = ns, name
		if err := env.Client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: meta}); err != nil {
			t.Fatal(err)
		}
	}
	scope := PruneScope{Owner: o, Labels: labels, Kinds: []client.ObjectList{&corev1.ConfigMapList{}, &corev1.ServiceList{}}}
	prune := func(desired ...runtime.ApplyConfiguration) []string {
		t.Helper()
		keys, err := a.Prune(t.Context(), scope, desired...)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, k := range keys {
			out = append(out, k.Kind+"/"+k.Name)
		}
		return out
	}
	if diff := cmp.Diff([]string{"ConfigMap/old"}, prune(all...)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := prune(all...); len(got) != 0 {
		t.Errorf("a second round deleted %v", got)
	}
	if diff := cmp.Diff([]string{"Service/db-headless"}, prune(append(all[:3:3], all[4:]...)...)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var left corev1.ConfigMapList
	if err := env.Client.List(t.Context(), &left, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	if len(left.Items) != 5 { // owner, db, foreign, unowned, unlabeled
		t.Errorf("%d ConfigMaps are left, want 5", len(left.Items))
	}
}

func TestPruneNeverTouchesClaims(t *testing.T) {
	ns := namespace(t)
	o := owner(t, ns)
	a, writes := counting()
	scope := PruneScope{Owner: o, Labels: map[string]string{"a": "b"}, Kinds: []client.ObjectList{&corev1.PersistentVolumeClaimList{}}}
	if _, err := a.Prune(t.Context(), scope); !errors.Is(err, ErrNeverPruned) {
		t.Errorf("got %v, want a refusal", err)
	}
	scope.Kinds = []client.ObjectList{&corev1.ConfigMapList{}}
	scope.Labels = nil
	if _, err := a.Prune(t.Context(), scope); err == nil {
		t.Error("a scope without labels was accepted")
	}
	scope.Labels, scope.Owner = map[string]string{"a": "b"}, &corev1.ConfigMap{}
	if _, err := a.Prune(t.Context(), scope); err == nil {
		t.Error("an owner without a UID was accepted")
	}
	if writes.Writes() != 0 {
		t.Error("something was deleted")
	}
}

// stale is a cache that is behind: it still shows an object as it was.
type stale struct {
	client.Client
	items []corev1.ConfigMap
}

func (s stale) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*corev1.ConfigMapList).Items = s.items
	return nil
}

func TestPruneTrustsNoStaleCache(t *testing.T) {
	ns := namespace(t)
	o := owner(t, ns)
	controller := true
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: ns, Name: "old", Labels: map[string]string{"a": "b"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: o.Name, UID: o.UID, Controller: &controller}},
	}}
	if err := env.Client.Create(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	seen := *cm.DeepCopy()
	cm.OwnerReferences = nil // It was given away in the meantime.
	if err := env.Client.Update(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	a := &Applier{Client: stale{env.Client, []corev1.ConfigMap{seen}}, FieldOwner: "test-operator"}
	scope := PruneScope{Owner: o, Labels: map[string]string{"a": "b"}, Kinds: []client.ObjectList{&corev1.ConfigMapList{}}}
	if _, err := a.Prune(t.Context(), scope); err == nil {
		t.Error("the delete of an object that has changed went through")
	}
	if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(cm), cm); err != nil {
		t.Errorf("the object is gone: %v", err)
	}
}

func TestConvergesAfterEveryCrash(t *testing.T) {
	testkit.EachCrashPoint(t, func(t *testing.T, crash func(client.WithWatch) *testkit.CrashPoint) *testkit.CrashPoint {
		ns := namespace(t)
		o := owner(t, ns)
		point := crash(env.Client)
		first := &Applier{Client: point, FieldOwner: "test-operator"}
		if _, err := first.Apply(t.Context(), system(ns, o, "db:1")...); point.Reached() != (err != nil) {
			t.Fatalf("crash point reached: %v, error: %v", point.Reached(), err)
		}
		next, _ := counting()
		reasons(t, next, system(ns, o, "db:1")...)
		if got := reasons(t, next, system(ns, o, "db:1")...); len(got) != 0 {
			t.Errorf("after the next round there is still something to write: %v", got)
		}
		return point
	})
}
