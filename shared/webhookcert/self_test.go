package webhookcert

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	admissionv1ac "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/pki"
)

// configuration returns a ValidatingWebhookConfiguration as its author applies
// it, with webhooks of the given names that call the Service hooks.
func authored(name string, hooks ...string) *admissionv1ac.ValidatingWebhookConfigurationApplyConfiguration {
	out := admissionv1ac.ValidatingWebhookConfiguration(name)
	for _, hook := range hooks {
		out.WithWebhooks(admissionv1ac.ValidatingWebhook().WithName(hook).
			WithClientConfig(admissionv1ac.WebhookClientConfig().
				WithService(admissionv1ac.ServiceReference().WithName("hooks").WithNamespace("default").WithPath("/validate"))).
			WithRules(admissionv1ac.RuleWithOperations().WithOperations(admissionv1.Create).
				WithAPIGroups("nothing.kapok.dev").WithAPIVersions("v1").WithResources("nothings")).
			WithSideEffects(admissionv1.SideEffectClassNone).WithAdmissionReviewVersions("v1"))
	}
	return out
}

// author applies a configuration as the person who installs the operator.
func author(t *testing.T, object *admissionv1ac.ValidatingWebhookConfigurationApplyConfiguration) error {
	t.Helper()
	return env.Client.Apply(t.Context(), object, client.FieldOwner("author"), client.ForceOwnership)
}

func selfOptions(name string, d *dials) Options {
	return Options{
		Mode: ModeSelf, Name: name, Namespace: "default", Replica: name + "-1", Service: "hooks", RenewBefore: pki.DefaultRenewBefore,
		Validating: []string{name},
		Replicas:   func(context.Context) ([]string, error) { return []string{name + "-1"}, nil },
		times:      quick(d),
	}
}

// run runs a source until the test ends.
func run(t *testing.T, source Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- source.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func configurationNamed(t *testing.T, name string) *admissionv1.ValidatingWebhookConfiguration {
	t.Helper()
	var v admissionv1.ValidatingWebhookConfiguration
	if err := env.Client.Get(t.Context(), client.ObjectKey{Name: name}, &v); err != nil {
		t.Fatal(err)
	}
	return &v
}

// TestAuthorTakesAWebhookAway: what the author of a configuration removes is gone,
// although the operator has put a bundle into it.
func TestAuthorTakesAWebhookAway(t *testing.T) {
	t.Parallel()
	const name = "author"
	create(t, &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err := author(t, authored(name, "a.kapok.dev", "b.kapok.dev")); err != nil {
		t.Fatal(err)
	}
	o := selfOptions(name, newDials())
	source, err := New(operator(t, name, o), o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, source)
	eventually(t, "the operator is ready", func() bool { return source.Ready(nil) == nil })
	if err := author(t, authored(name, "b.kapok.dev")); err != nil {
		t.Fatalf("the author cannot remove a webhook: %v", err)
	}
	time.Sleep(500 * time.Millisecond)
	v := configurationNamed(t, name)
	if len(v.Webhooks) != 1 || v.Webhooks[0].Name != "b.kapok.dev" || len(v.Webhooks[0].ClientConfig.CABundle) == 0 {
		t.Errorf("webhooks %+v", v.Webhooks)
	}
	if err := author(t, authored(name, "b.kapok.dev", "c.kapok.dev")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a webhook that was added has the authority", func() bool {
		v := configurationNamed(t, name)
		return len(v.Webhooks) == 2 && len(v.Webhooks[1].ClientConfig.CABundle) > 0
	})
}

// TestNotReadyWithoutPermission: an operator that cannot publish its authority is
// not ready and says why; it becomes so by itself.
func TestNotReadyWithoutPermission(t *testing.T) {
	t.Parallel()
	const name = "permission"
	create(t, &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err := author(t, authored(name, "a.kapok.dev")); err != nil {
		t.Fatal(err)
	}
	o := selfOptions(name, newDials())
	reader := o
	reader.Mode = ModeOLM
	source, err := New(operator(t, name, reader), o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, source)
	eventually(t, "the operator has read the configuration", func() bool {
		err := source.Ready(nil)
		return err != nil && strings.Contains(err.Error(), "does not hold this replica's authority")
	})
	if status := source.Status(); status.Trusted || status.NotAfter.IsZero() {
		t.Errorf("status %+v", status)
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: o.ClusterRules()}
	if err := env.Client.Update(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the operator is ready", func() bool { return source.Ready(nil) == nil })
}

// TestOneRefusalHoldsUpNoOther: a configuration that may not be written does not
// keep the authority out of the others.
func TestOneRefusalHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	const closed, open = "closed", "open"
	for _, name := range []string{closed, open} {
		create(t, &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if err := author(t, authored(name, "a.kapok.dev")); err != nil {
			t.Fatal(err)
		}
	}
	o := selfOptions("refusal", newDials())
	o.Validating = []string{closed, open}
	rc := operator(t, "refusal", Options{Mode: ModeSelf, Validating: []string{open}})
	reader := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "refusal-reader"}, Rules: (&Options{Mode: ModeOLM, Validating: []string{closed}}).ClusterRules()}
	create(t, reader, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: reader.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: reader.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "refusal"}},
	})
	source, err := New(rc, o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, source)
	eventually(t, "the other configuration has the authority", func() bool {
		return len(configurationNamed(t, open).Webhooks[0].ClientConfig.CABundle) > 0
	})
	if err := source.Ready(nil); err == nil || !strings.Contains(err.Error(), "ValidatingWebhookConfiguration "+closed) {
		t.Errorf("got %v, want the name of the one that is closed", err)
	}
	if got := configurationNamed(t, closed).Webhooks[0].ClientConfig.CABundle; len(got) > 0 {
		t.Errorf("written without permission: %s", got)
	}
}

func TestHostOf(t *testing.T) {
	for address, want := range map[string]string{
		"https://Hooks.Example:9443/x": "hooks.example", "https://127.0.0.1:1": "127.0.0.1", "https://[0:0::1]:1/": "::1", "https://": "", "%": "",
	} {
		if got := hostOf(address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// TestConfigurationComesLate: a configuration that does not exist holds nobody up,
// and gets the authority as soon as it does. What a person empties is filled again.
func TestConfigurationComesLate(t *testing.T) {
	t.Parallel()
	const name = "late"
	o := selfOptions(name, newDials())
	source, err := New(operator(t, name, o), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Ready(nil); err == nil {
		t.Error("ready before it has looked")
	}
	run(t, source)
	eventually(t, "the operator is ready", func() bool { return source.Ready(nil) == nil })
	create(t, &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err := author(t, authored(name, "a.kapok.dev")); err != nil {
		t.Fatal(err)
	}
	filled := func() bool {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(configurationNamed(t, name).Webhooks[0].ClientConfig.CABundle)
		certificate, err := source.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = certificate.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "hooks.default.svc"})
		return err == nil
	}
	eventually(t, "the configuration trusts the certificate", filled)
	v := configurationNamed(t, name)
	v.Webhooks[0].ClientConfig.CABundle = nil
	if err := env.Client.Update(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the configuration trusts the certificate again", filled)
	if err := source.Ready(nil); err != nil {
		t.Errorf("not ready any more: %v", err)
	}
}

// TestReplicasDoNotOverwriteEachOther: a write that was made from an older version
// of a configuration does not happen.
func TestReplicasDoNotOverwriteEachOther(t *testing.T) {
	t.Parallel()
	const name = "overwrite"
	create(t, &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err := author(t, authored(name, "a.kapok.dev")); err != nil {
		t.Fatal(err)
	}
	o := selfOptions(name, newDials())
	w, err := newWatched(operator(t, name, o), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { w.run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	eventually(t, "the configuration was read", func() bool { return w.view()[0].State == pki.PlacePresent })
	old := w.view()
	first, second := someCA(t), someCA(t)
	if written, outdated, err := w.publish(ctx, old, map[string][]byte{old[0].Name: first}); err != nil || outdated || len(written) != 1 {
		t.Fatal(written, outdated, err)
	}
	if written, outdated, err := w.publish(ctx, old, map[string][]byte{old[0].Name: second}); err != nil || !outdated || len(written) != 0 {
		t.Errorf("got %v, %t, %v; want it to be outdated", written, outdated, err)
	}
	if got := configurationNamed(t, name).Webhooks[0].ClientConfig.CABundle; !bytes.Equal(got, first) {
		t.Errorf("the bundle is %s", got)
	}
	// One that is gone is not made anew, even by somebody who might.
	gone := configurationNamed(t, name)
	if err := env.Client.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if written, _, err := w.publish(ctx, old, map[string][]byte{old[0].Name: second}); err == nil || len(written) > 0 {
		t.Error("a configuration that was deleted is written")
	}
	if err := env.Client.Get(t.Context(), client.ObjectKey{Name: name}, gone); !apierrors.IsNotFound(err) {
		t.Errorf("the deleted configuration: %v", err)
	}
}

// TestNothingIsWrittenAtRest: an operator that has nothing to change writes nothing.
func TestNothingIsWrittenAtRest(t *testing.T) {
	t.Parallel()
	const name = "rest"
	create(t, &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err := author(t, authored(name, "a.kapok.dev")); err != nil {
		t.Fatal(err)
	}
	o := selfOptions(name, newDials())
	lists := 0
	o.Replicas = func(context.Context) ([]string, error) {
		lists++
		return nil, errors.New("nobody was to ask")
	}
	source, err := New(operator(t, name, o), o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, source)
	eventually(t, "the operator is ready", func() bool { return source.Ready(nil) == nil })
	before := configurationNamed(t, name).ResourceVersion
	time.Sleep(time.Second)
	if after := configurationNamed(t, name).ResourceVersion; after != before {
		t.Errorf("written without reason: version %s, was %s", after, before)
	}
	if lists != 0 {
		t.Errorf("replicas were listed %d times although nobody else has published anything", lists)
	}
}
