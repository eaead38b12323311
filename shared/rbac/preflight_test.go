package rbac

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kapok-operators/kapok/shared/testkit"
)

var env *testkit.Env

func TestMain(m *testing.M) {
	os.Exit(func() int {
		structural := &apiextensionsv1.JSONSchemaProps{Type: "object"}
		definition := &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: "things.example.com"},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
				Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Kind: "Thing"},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
					Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: structural}}}},
		}
		var err error
		if env, err = testkit.NewEnv(testkit.EnvOptions{Scheme: scheme.Scheme, CRDs: []*apiextensionsv1.CustomResourceDefinition{definition}}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = env.Stop() }()
		return m.Run()
	}())
}

func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "rbac-"}}
	if err := env.Client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// account returns a client of a user who is called as the test is, and has no permission yet.
func account(t *testing.T) (kubernetes.Interface, rbacv1.Subject) {
	t.Helper()
	name := strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	user, err := env.AddUser(envtest.User{Name: name, Groups: []string{"system:authenticated"}}, &rest.Config{QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(user.Config())
	if err != nil {
		t.Fatal(err)
	}
	return clients, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}
}

func create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := env.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func bind(t *testing.T, ns string, subject rbacv1.Subject, rules ...rbacv1.PolicyRule) {
	t.Helper()
	if ns == "" {
		create(t, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: subject.Name}, Rules: rules},
			&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: subject.Name}, Subjects: []rbacv1.Subject{subject},
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: KindClusterRole, Name: subject.Name}})
		return
	}
	create(t, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: subject.Name}, Rules: rules},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: subject.Name}, Subjects: []rbacv1.Subject{subject},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: KindRole, Name: subject.Name}})
}

// eventually runs the preflight until the answer is as wanted: the authorizer learns of roles a moment later.
func eventually(t *testing.T, p *Preflight, want func(Findings) bool) Findings {
	t.Helper()
	var last Findings
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var err error
		if last, err = p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want(last) {
			return last
		}
	}
	t.Fatalf("the findings stay %+v", last)
	return last
}

var (
	sets = []rbacv1.PolicyRule{
		{APIGroups: []string{"apps"}, Resources: []string{"statefulsets"}, Verbs: []string{"get", "patch", "watch"}},
		{APIGroups: []string{"example.com"}, Resources: []string{"things/status"}, Verbs: []string{"patch"}},
	}
	events   = rbacv1.PolicyRule{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create"}}
	purposes = Purposes{
		{Group: "apps", Resource: "statefulsets", For: "run the things"},
		{Group: "example.com", Resource: "things/status", For: "say how the things are"},
		{Group: "events.k8s.io", Resource: "events", For: "tell what happened", Without: "there are no events"},
	}
)

func needs(t *testing.T, namespaces ...string) []Need {
	t.Helper()
	var out []Need
	for _, ns := range namespaces {
		all, err := purposes.Needs(Role{Kind: KindRole, Name: "thing-operator", Rules: append([]rbacv1.PolicyRule{events}, sets...)}, ns, "Role thing-operator (role.yaml)")
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, all...)
	}
	return out
}

func TestPreflightNamesWhatIsMissingWhere(t *testing.T) {
	good, bad, less := namespace(t), namespace(t), namespace(t)
	clients, me := account(t)
	bind(t, good, me, append(sets, events)...)
	// In bad the verb patch is missing, and the subresource; in less only what can be done without.
	bind(t, bad, me, rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"statefulsets"}, Verbs: []string{"get", "watch"}}, events)
	bind(t, less, me, sets...)
	p := &Preflight{Client: clients, Needs: needs(t, good, bad, less)}
	found := eventually(t, p, func(f Findings) bool { return len(f.Missing) == 2 && len(f.Lacking) == 1 })
	err := found.Err()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"in namespace " + bad + " it may not patch statefulsets.apps, which it needs to run the things; granted by Role thing-operator (role.yaml)",
		"in namespace " + bad + " it may not patch things.example.com/status, which it needs to say how the things are",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	for _, other := range []string{good, less} {
		if strings.Contains(err.Error(), other) {
			t.Errorf("%s is in:\n%v", other, err)
		}
	}
	if warning := Gaps(found.Lacking)[0].Sentence(); !strings.Contains(warning, less) || !strings.HasSuffix(warning, "without it there are no events") {
		t.Errorf("the warning is %q", warning)
	}
}

func TestPreflightOfAllNamespaces(t *testing.T) {
	ns := namespace(t)
	clients, me := account(t)
	// What is granted in one namespace is not granted in all.
	bind(t, ns, me, append(sets, events)...)
	p := &Preflight{Client: clients, Needs: needs(t, "")}
	found := eventually(t, p, func(f Findings) bool { return len(f.Missing) == 4 && len(f.Lacking) == 1 })
	if err := found.Err(); !strings.Contains(err.Error(), "in all namespaces it may not get, patch, watch statefulsets.apps") {
		t.Errorf("got %v", err)
	}
	bind(t, "", me, append(sets, events)...)
	if err := eventually(t, p, func(f Findings) bool { return len(f.Missing)+len(f.Lacking) == 0 }).Err(); err != nil {
		t.Errorf("everything is granted: %v", err)
	}
}

func TestPreflightOfOneObject(t *testing.T) {
	ns := namespace(t)
	clients, me := account(t)
	named := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"mine"}, Verbs: []string{"get"}}
	bind(t, ns, me, named)
	need := func(name string) Need {
		return Need{Permission: Permission{Verb: "get", Resource: "configmaps", Name: name}, Namespace: ns, For: "read it", From: "a role"}
	}
	p := &Preflight{Client: clients, Needs: []Need{need("mine"), need("other"), need("")}}
	found := eventually(t, p, func(f Findings) bool { return len(f.Missing) == 2 })
	if err := found.Err(); !strings.Contains(err.Error(), "get configmaps named other,") || strings.Contains(err.Error(), "named mine") {
		t.Errorf("got %v", err)
	}
}

func TestPreflightNamesDefinitions(t *testing.T) {
	clients, _ := account(t)
	definition := func(group, version, resource string) Definition {
		return Definition{schema.GroupVersionResource{Group: group, Version: version, Resource: resource}, "kubectl apply -f crds.yaml"}
	}
	p := &Preflight{Client: clients, Definitions: []Definition{
		definition("example.com", "v1", "things"), definition("example.com", "v2", "things"),
		definition("example.com", "v1", "others"), definition("example.org", "v1", "things"),
	}}
	found, err := p.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Undefined) != 3 {
		t.Fatalf("got %+v", found.Undefined)
	}
	for _, want := range []string{"things.example.com is not installed, or does not serve version v2", "others.example.com", "things.example.org", "kubectl apply -f crds.yaml"} {
		if !strings.Contains(found.Err().Error(), want) {
			t.Errorf("%q is not in:\n%v", want, found.Err())
		}
	}
}

// TestPreflightThatIsNotAnsweredSaysNothing holds that no answer is never taken for a no.
func TestPreflightThatIsNotAnsweredSaysNothing(t *testing.T) {
	clients, _ := account(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, p := range map[string]*Preflight{
		"all namespaces": {Client: clients, Needs: needs(t, "")},
		"a namespace":    {Client: clients, Needs: needs(t, "shop")},
		"a definition":   {Client: clients, Definitions: []Definition{{GroupVersionResource: schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"}}}},
	} {
		if found, err := p.Run(ctx); err == nil || found.Err() != nil {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
}
