package webhookcert

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/pki"
	"github.com/kapok-operators/kapok/shared/testkit/webhooks"
)

// issuer stands for whoever makes the certificates that are mounted.
type issuer struct {
	*pki.Signer
	pem []byte
}

func newIssuer(t *testing.T, now time.Time) issuer {
	t.Helper()
	o := Options{Hosts: []string{"127.0.0.1"}}
	dns, ips := o.names()
	s, err := pki.NewSigner(pki.Moment{Wall: now}, pki.SignerOptions{Group: "issuer", Replica: "issuer", DNSNames: dns, IPs: ips, Life: 30 * day})
	if err != nil {
		t.Fatal(err)
	}
	return issuer{Signer: s, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate.Raw})}
}

// issue returns a certificate and its key in PEM, and the certificate.
func (i issuer) issue(t *testing.T, now time.Time, life time.Duration) (certPEM, keyPEM []byte, cert *x509.Certificate) {
	t.Helper()
	made, _, err := i.Issue(pki.Moment{Wall: now}, life)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), made.Leaf
}

// mount changes a folder the way a kubelet does: everything in it changes at once,
// by one rename of a link.
func mount(t *testing.T, folder string, files map[string][]byte) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fresh, err := os.MkdirTemp(folder, "..data_")
	must(err)
	for name, content := range files {
		must(os.WriteFile(filepath.Join(fresh, name), content, 0o600))
		link := filepath.Join(folder, name)
		if _, err := os.Lstat(link); os.IsNotExist(err) {
			must(os.Symlink(filepath.Join("..data", name), link))
		}
	}
	data := filepath.Join(folder, "..data")
	old, _ := os.Readlink(data)
	must(os.Symlink(filepath.Base(fresh), data+"_tmp"))
	must(os.Rename(data+"_tmp", data))
	if old != "" {
		must(os.RemoveAll(filepath.Join(folder, old)))
	}
}

// inject puts a bundle into everything that calls the operator.
func (f *fleet) inject(bundle []byte) {
	f.t.Helper()
	ctx := f.t.Context()
	var v admissionv1.ValidatingWebhookConfiguration
	var m admissionv1.MutatingWebhookConfiguration
	var crd apiextensionsv1.CustomResourceDefinition
	for object, name := range map[client.Object]string{&v: f.options.Name, &m: f.options.Name, &crd: f.options.Conversions[0]} {
		if err := env.Client.Get(ctx, client.ObjectKey{Name: name}, object); err != nil {
			f.t.Fatal(err)
		}
		switch object := object.(type) {
		case *admissionv1.ValidatingWebhookConfiguration:
			for i := range object.Webhooks {
				object.Webhooks[i].ClientConfig.CABundle = bundle
			}
		case *admissionv1.MutatingWebhookConfiguration:
			for i := range object.Webhooks {
				object.Webhooks[i].ClientConfig.CABundle = bundle
			}
		case *apiextensionsv1.CustomResourceDefinition:
			object.Spec.Conversion.Webhook.ClientConfig.CABundle = bundle
		}
		if err := env.Client.Update(ctx, object); err != nil {
			f.t.Fatal(err)
		}
	}
}

// TestMountedCertificates goes through what can be mounted, under load: what is
// good is served without a restart, what is not is left alone, and no request
// fails.
func TestMountedCertificates(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "mounted")
	folder := t.TempDir()
	f.options.Mode, f.options.Directory = ModeCertManager, folder
	f.rc = operator(t, "mounted-reader", f.options)
	f.configure(someCA(t), nil)
	now := time.Now()
	first, second := newIssuer(t, now), newIssuer(t, now)
	replica := f.join()
	waits := func(what string) {
		t.Helper()
		eventually(t, "it is not ready: "+what, func() bool {
			err := replica.Ready(nil)
			return err != nil && strings.Contains(err.Error(), what)
		})
	}
	waits(folder)
	if _, err := replica.GetCertificate(nil); err == nil {
		t.Error("there is a certificate before any was mounted")
	}
	cert, key, leaf := first.issue(t, now, time.Hour)
	mount(t, folder, map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": first.pem})
	waits("does not trust it")
	f.inject(first.pem)
	eventually(t, "it is ready", func() bool { return replica.Ready(nil) == nil })

	// What is served is what a client sees, and what the status says.
	serves := func() *x509.Certificate {
		conn, err := tls.Dial("tcp", replica.address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0]
	}
	served := func(want *x509.Certificate) func() bool {
		return func() bool { return serves().Equal(want) && replica.Status().NotAfter.Equal(want.NotAfter) }
	}
	eventually(t, "the first certificate is served", served(leaf))
	l := f.load
	eventually(t, "the webhooks are called", func() bool { return l.Try(t.Context()) == nil })
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for worker := range 2 {
		workers.Go(func() { l.Work(ctx, worker) })
	}
	keeps := func(what string) {
		t.Helper()
		// Long enough for the file to be read again several times.
		time.Sleep(500 * time.Millisecond)
		if !served(leaf)() || !replica.Status().Trusted {
			t.Errorf("%s: the certificate was changed, or is not trusted: %+v", what, replica.Status())
		}
	}

	for range 3 {
		cert, key, leaf = first.issue(t, now, 2*time.Hour)
		mount(t, folder, map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": first.pem})
		eventually(t, "a renewed certificate is served", served(leaf))
	}
	_, otherKey, _ := first.issue(t, now, time.Hour)
	mount(t, folder, map[string][]byte{"tls.crt": cert, "tls.key": otherKey})
	keeps("a key that does not fit")
	mount(t, folder, map[string][]byte{"tls.crt": []byte("nonsense"), "tls.key": key})
	keeps("a file that is no certificate")
	mount(t, folder, map[string][]byte{"tls.crt": bytes.Repeat([]byte(" "), 10), "tls.key": nil})
	keeps("blank files")
	expired, expiredKey, _ := first.issue(t, now.Add(-2*time.Hour), time.Hour)
	mount(t, folder, map[string][]byte{"tls.crt": expired, "tls.key": expiredKey})
	keeps("an expired certificate")

	cert, key, next := second.issue(t, now, 3*time.Hour)
	mount(t, folder, map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": second.pem})
	time.Sleep(quick(newDials()).policy.Settle)
	keeps("a certificate that is not trusted yet")
	f.inject(append(bytes.Clone(first.pem), second.pem...))
	leaf = next
	eventually(t, "the certificate of the other authority is served once it is trusted", served(leaf))
	stop()
	workers.Wait()
	t.Logf("%d changes of the mounted certificate; %d requests of which %d failed; %d server started", replica.Status().Changes, l.Sent.Load(), l.Failed.Load(), f.calls.starts.Load())
	for _, failure := range l.Failures() {
		t.Error(failure)
	}
	if l.Sent.Load() < 20 || f.calls.starts.Load() != 1 || replica.Status().Changes != 4 {
		t.Errorf("%d requests, %d starts, %d changes", l.Sent.Load(), f.calls.starts.Load(), replica.Status().Changes)
	}
	if status := replica.Status(); status.Mode != ModeCertManager || !status.AuthorityNotAfter.Equal(second.NotAfter) {
		t.Errorf("status %+v", status)
	}
	// What was trusted once stays ready without trust, and does not without validity.
	f.inject(someCA(t))
	eventually(t, "the loss of trust shows", func() bool { s := replica.Status(); return !s.Trusted && s.Why != "" })
	if err := replica.Ready(nil); err != nil {
		t.Errorf("not ready any more: %v", err)
	}
	f.clock(replica).wall.Store(int64(4 * time.Hour))
	if err := replica.Ready(nil); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("ready with a certificate that has ended: %v", err)
	}
}

// TestOLM: the names of webhook configurations are not known there, so that a
// certificate is trusted if it is valid and the conversions trust it.
func TestOLM(t *testing.T) {
	t.Parallel()
	folder, now := t.TempDir(), time.Now()
	ca := newIssuer(t, now)
	widgets := webhooks.Installation{Name: "olm", Address: "127.0.0.1:1", Bundle: []byte("\n")}.Definition()
	create(t, widgets)
	o := Options{
		Mode: ModeOLM, Directory: folder, Name: "olm", Namespace: "default", Hosts: []string{"127.0.0.1"},
		Conversions: []string{widgets.Name}, times: quick(newDials()),
	}
	source, err := New(operator(t, "olm", o), o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, source)
	cert, key, leaf := ca.issue(t, now, time.Hour)
	mount(t, folder, map[string][]byte{"tls.crt": cert, "tls.key": key})
	eventually(t, "the conversion does not trust it", func() bool {
		err := source.Ready(nil)
		return err != nil && strings.Contains(err.Error(), "CustomResourceDefinition widgets.olm.kapok.dev does not trust it")
	})
	var crd apiextensionsv1.CustomResourceDefinition
	if err := env.Client.Get(t.Context(), client.ObjectKey{Name: "widgets.olm.kapok.dev"}, &crd); err != nil {
		t.Fatal(err)
	}
	crd.Spec.Conversion.Webhook.ClientConfig.CABundle = ca.pem
	if err := env.Client.Update(t.Context(), &crd); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is ready", func() bool { return source.Ready(nil) == nil })
	if status := source.Status(); status.Mode != ModeOLM || !status.NotAfter.Equal(leaf.NotAfter) {
		t.Errorf("status %+v", status)
	}
	cert, key, leaf = ca.issue(t, now, 2*time.Hour)
	mount(t, folder, map[string][]byte{"tls.crt": cert, "tls.key": key})
	eventually(t, "the renewed certificate is served", func() bool {
		got, err := source.GetCertificate(nil)
		return err == nil && got.Leaf.Equal(leaf) && source.Status().Changes == 1
	})
}

func TestChoose(t *testing.T) {
	now := pki.Moment{Uptime: time.Hour}
	trusted := standing{verdict: verdict{exists: true, valid: true, trusted: true}}
	fresh := standing{verdict: trusted.verdict, since: time.Hour - time.Second}
	valid := standing{verdict: verdict{exists: true, valid: true, why: "nobody trusts it"}}
	expired := standing{verdict: verdict{exists: true, why: "it has ended"}}
	for name, tc := range map[string]struct {
		active, mounted standing
		take            bool
	}{
		"the first":                          {standing{}, valid, true},
		"the first, and it is expired":       {standing{}, expired, true},
		"a renewal":                          {trusted, trusted, true},
		"a renewal that was just mounted":    {trusted, fresh, false},
		"one that is not trusted yet":        {trusted, valid, false},
		"one that is expired":                {trusted, expired, false},
		"neither is trusted":                 {valid, valid, true},
		"at last one that is trusted":        {valid, fresh, true},
		"expired, and the next is not known": {expired, valid, true},
		"both are expired":                   {expired, expired, true},
	} {
		if take, why := choose(now, tc.active, tc.mounted, time.Minute); take != tc.take || take == (why != "") {
			t.Errorf("%s: %t (%q)", name, take, why)
		}
	}
}
