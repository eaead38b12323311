package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kapok-operators/kapok/shared/testkit"
)

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

func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "link-"}}
	if err := env.Client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// user returns clients for somebody with the given rules in a namespace, who is
// a ServiceAccount as far as the API server is concerned.
func user(t *testing.T, ns, name string, rules ...rbacv1.PolicyRule) (client.Client, *kubernetes.Clientset) {
	t.Helper()
	full := "system:serviceaccount:" + ns + ":" + name
	u, err := env.AddUser(envtest.User{Name: full, Groups: []string{"system:serviceaccounts", "system:authenticated"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) > 0 {
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Rules: rules}
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: full}},
		}
		for _, obj := range []client.Object{role, binding} {
			if err := env.Client.Create(t.Context(), obj); err != nil {
				t.Fatal(err)
			}
		}
	}
	c, err := client.New(u.Config(), client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	set, err := kubernetes.NewForConfig(u.Config())
	if err != nil {
		t.Fatal(err)
	}
	return c, set
}

// TestRealToken verifies tokens that a real API server has issued, as an
// operator without any permission of its own.
func TestRealToken(t *testing.T) {
	ns := namespace(t)
	_, operator := user(t, ns, "operator")
	v, err := NewJWKSVerifier(JWKSOptions{Client: operator.Discovery().RESTClient(), Audience: testAudience})
	if err != nil {
		t.Fatal(err)
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "agent"}}
	no := false
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "shop-0"},
		Spec: corev1.PodSpec{
			ServiceAccountName: "agent", AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{Name: "c", Image: "x"}},
		},
	}
	for _, obj := range []client.Object{sa, pod} {
		if err := env.Client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	token := func(audience string, bound bool) string {
		t.Helper()
		seconds := int64(3600)
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds, Audiences: []string{audience}}}
		if bound {
			request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
		}
		if err := env.Client.SubResource("token").Create(t.Context(), sa, request); err != nil {
			t.Fatal(err)
		}
		return request.Status.Token
	}
	id, err := v.Verify(t.Context(), token(testAudience, true))
	if err != nil {
		t.Fatal(err)
	}
	if id.Key() != (PeerKey{ns, "shop-0", string(pod.UID)}) || id.ServiceAccount != "agent" || time.Until(id.Expiry) < 50*time.Minute {
		t.Errorf("unexpected identity %+v", id)
	}
	for name, bad := range map[string]string{
		"for the API server": token("https://kubernetes.default.svc", true),
		"bound to no pod":    token(testAudience, false),
	} {
		if _, err := v.Verify(t.Context(), bad); !errors.Is(err, ErrUntrusted) {
			t.Errorf("a token %s: got %v", name, err)
		}
	}
}

// publisher returns one replica's, running with the least permission.
func publisher(t *testing.T, ns, replica string, c *clock, live *[]string) (*Publisher, *testkit.CrashPoint) {
	t.Helper()
	restricted, _ := user(t, ns, replica, rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "create", "patch"},
	})
	count := testkit.NewCrashPoint(withoutWatch{restricted}, testkit.AfterWrite, 0)
	return &Publisher{
		Writer: count, Reader: count, Namespace: ns, Name: "kapok-link-trust", Replica: replica,
		Labels:    map[string]string{"app.kubernetes.io/managed-by": "kapok"},
		Authority: newAuthority(t, c, replica), Now: c.now,
		Replicas: func(context.Context) ([]string, error) { return *live, nil },
	}, count
}

type withoutWatch struct{ client.Client }

func (withoutWatch) Watch(context.Context, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
	return nil, errors.New("not permitted")
}

func sync1(t *testing.T, p *Publisher) string {
	t.Helper()
	bundle, err := p.Sync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, cert := range ParseBundle(bundle) {
		names = append(names, strings.TrimSuffix(cert.Subject.CommonName, " link authority"))
	}
	return strings.Join(names, ",")
}

func TestPublish(t *testing.T) {
	ns := namespace(t)
	var c clock
	live := []string{"op-a", "op-b"}
	a, writesA := publisher(t, ns, "op-a", &c, &live)
	c.advance(time.Minute)
	b, writesB := publisher(t, ns, "op-b", &c, &live)

	if got := sync1(t, a); got != "op-a" {
		t.Errorf("the first replica sees %q", got)
	}
	if got := sync1(t, b); got != "op-b,op-a" {
		t.Errorf("the second replica sees %q", got)
	}
	for range 3 {
		if got := sync1(t, a) + " " + sync1(t, b); got != "op-b,op-a op-b,op-a" {
			t.Errorf("the replicas see %q", got)
		}
	}
	if writesA.Writes() != 1 || writesB.Writes() != 1 {
		t.Errorf("%d and %d writes, want one of each", writesA.Writes(), writesB.Writes())
	}

	// A replica that is gone is removed, but not while it may be on its way in.
	live = []string{"op-a"}
	if got := sync1(t, a); got != "op-b,op-a" {
		t.Errorf("a newcomer was removed: %q", got)
	}
	c.advance(10 * time.Minute)
	if got := sync1(t, a); got != "op-a" {
		t.Errorf("after its end the replica is still trusted: %q", got)
	}
	if got := sync1(t, a); got != "op-a" || writesA.Writes() != 2 {
		t.Errorf("%q after %d writes, want one write for the removal", got, writesA.Writes())
	}

	// One that was removed by mistake comes back by itself.
	live = []string{"op-a", "op-b"}
	if got := sync1(t, b); got != "op-b,op-a" {
		t.Errorf("the returned replica sees %q", got)
	}
	if got := sync1(t, a); got != "op-b,op-a" {
		t.Errorf("the first replica sees %q", got)
	}

	// What somebody else deletes is written again.
	if err := env.Client.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "kapok-link-trust"}}); err != nil {
		t.Fatal(err)
	}
	if got := sync1(t, a) + " " + sync1(t, b); got != "op-a op-b,op-a" {
		t.Errorf("after the deletion the replicas see %q", got)
	}
}

func TestPublishDropsTheExpiredWithoutKnowingReplicas(t *testing.T) {
	ns := namespace(t)
	var c clock
	live := []string{}
	a, _ := publisher(t, ns, "op-a", &c, &live)
	a.Replicas = func(context.Context) ([]string, error) { return nil, errors.New("not now") }
	old := caPEM(t, newAuthority(t, &c, "op-old"))
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "kapok-link-trust"},
		Data:       map[string]string{"op-old.pem": string(old), "notes.txt": "theirs"},
	}
	if err := env.Client.Create(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	if got := sync1(t, a); !strings.Contains(got, "op-old") || !strings.Contains(got, "op-a") {
		t.Errorf("the replica sees %q", got)
	}
	c.advance(DefaultCALifetime + time.Hour)
	sync1(t, a) // Publishes the next authority,
	if got := sync1(t, a); strings.Contains(got, "op-old") {
		t.Errorf("an expired authority is still there: %q", got)
	}
	if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(cm), cm); err != nil {
		t.Fatal(err)
	}
	if _, ok := cm.Data["op-old.pem"]; ok || cm.Data["notes.txt"] != "theirs" {
		t.Errorf("the ConfigMap holds %v", cm.Data)
	}
}

func TestPublisherGoesOnAfterAFailure(t *testing.T) {
	ns := namespace(t)
	var c clock
	live := []string{"op-a"}
	a, _ := publisher(t, ns, "op-a", &c, &live)
	fails := &failingReader{Reader: a.Reader}
	fails.left.Store(2)
	a.Reader, a.Interval = fails, 10*time.Millisecond
	bundles := make(chan []byte, 100)
	a.OnBundle = func(b []byte) { bundles <- b }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Start(ctx) }()
	select {
	case b := <-bundles:
		if len(ParseBundle(b)) != 1 {
			t.Errorf("unexpected bundle %s", b)
		}
	case <-time.After(time.Minute):
		t.Fatal("the publisher gave up")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if fails.left.Load() > 0 {
		t.Error("the failures were not met")
	}
}

type failingReader struct {
	client.Reader
	left atomic.Int64
}

func (r *failingReader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if r.left.Add(-1) >= 0 {
		return errors.New("not now")
	}
	return r.Reader.Get(ctx, key, obj, opts...)
}
