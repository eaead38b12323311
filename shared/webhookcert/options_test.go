package webhookcert

import (
	"context"
	"flag"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/shared/testkit"
)

// update rewrites the golden files.
var update = testkit.UpdateFlag(flag.CommandLine)

func TestFlags(t *testing.T) {
	parse := func(args ...string) (Options, error) {
		var o Options
		fs := flag.NewFlagSet("test", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		BindFlags(fs, &o)
		return o, fs.Parse(args)
	}
	o, err := parse()
	if err != nil || o.Mode != ModeSelf || o.RenewBefore != 168*time.Hour || o.Directory != DefaultDirectory {
		t.Errorf("defaults %+v, %v", o, err)
	}
	o, err = parse("--webhook-certificates=cert-manager", "--webhook-certificates-directory=/certs", "--webhook-certificates-renew-before=240h")
	if err != nil || o.Mode != ModeCertManager || o.RenewBefore != 240*time.Hour || o.Directory != "/certs" {
		t.Errorf("parsed %+v, %v", o, err)
	}
	if _, err = parse("--webhook-certificates=vault"); err == nil || !strings.Contains(err.Error(), "self, cert-manager and olm") {
		t.Errorf("an unknown mode: %v", err)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	good := func() Options { return selfOptions("operator", newDials()) }
	o := good()
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Options){
		"none of self":                 func(o *Options) { o.Mode = "vault" },
		"the name":                     func(o *Options) { o.Name = "Operator" },
		"the namespace":                func(o *Options) { o.Namespace = "" },
		"neither a service nor a host": func(o *Options) { o.Service = "" },
		"metadata.name":                func(o *Options) { o.Replica = "" },
		"set Replicas":                 func(o *Options) { o.Replicas = nil },
		"no webhook configuration":     func(o *Options) { o.Validating = nil },
		"renew-before (481h":           func(o *Options) { o.RenewBefore = 481 * time.Hour },
		"not an absolute path":         func(o *Options) { o.Mode, o.Directory = ModeCertManager, "certs" },
		"OLM makes up the names":       func(o *Options) { o.Mode, o.Directory = ModeOLM, "/certs" },
	} {
		o := good()
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a word about %q", err, want)
		}
		if _, err := New(env.Config, o); err == nil {
			t.Errorf("started although %q is wrong", want)
		}
	}
}

func TestNames(t *testing.T) {
	o := Options{Service: "hooks", Namespace: "ns", Hosts: []string{"Hooks.Example", "10.0.0.1"}}
	dns, ips := o.names()
	if !slices.Equal(dns, []string{"hooks.ns.svc", "hooks.example"}) || len(ips) != 1 || !ips[0].Equal(net.IPv4(10, 0, 0, 1)) {
		t.Errorf("names %v, addresses %v", dns, ips)
	}
}

// TestPermissions are read before they are granted.
func TestPermissions(t *testing.T) {
	o := Options{Mode: ModeSelf, Validating: []string{"v"}, Mutating: []string{"m"}, Conversions: []string{"widgets.test.kapok.dev"}}
	self, err := yaml.Marshal(o.ClusterRules())
	if err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, *update, "rules-self.yaml", self)
	o.Mode = ModeCertManager
	files, err := yaml.Marshal(o.ClusterRules())
	if err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, *update, "rules-files.yaml", files)
}

func TestPodNames(t *testing.T) {
	pod := func(name, app string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": app}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}, TerminationGracePeriodSeconds: new(int64(0))},
		}
	}
	evicted := pod("evicted", "operator")
	create(t, pod("one", "operator"), pod("two", "operator"), pod("other", "else"), evicted)
	evicted.Status.Phase = corev1.PodFailed
	if err := env.Client.Status().Update(t.Context(), evicted); err != nil {
		t.Fatal(err)
	}
	list := PodNames(env.Client, "default", map[string]string{"app": "operator"})
	names, err := list(t.Context())
	if slices.Sort(names); err != nil || !slices.Equal(names, []string{"one", "two"}) {
		t.Errorf("replicas %v, %v", names, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := list(ctx); err == nil {
		t.Error("a list that fails is no error")
	}
}

func TestCertManagerObjects(t *testing.T) {
	c := CertManager{
		Name: "hooks", Namespace: "ns", Service: "hooks-service", Secret: "hooks-tls", RenewBefore: 168 * time.Hour,
		Labels: map[string]string{"app.kubernetes.io/managed-by": "test"},
	}
	objects, err := c.Objects()
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, object := range objects {
		raw, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		out = append(append(out, "---\n"...), raw...)
	}
	testkit.Golden(t, *update, "cert-manager.yaml", out)
	for want, change := range map[string]func(*CertManager){
		"the name":                func(c *CertManager) { c.Name = "" },
		"the namespace":           func(c *CertManager) { c.Namespace = "a/b" },
		"the secret":              func(c *CertManager) { c.Secret = "" },
		"renew-before (0s)":       func(c *CertManager) { c.RenewBefore = 0 },
		"renew-before (1441h0m0s": func(c *CertManager) { c.RenewBefore = 1441 * time.Hour },
	} {
		wrong := c
		change(&wrong)
		if _, err := wrong.Objects(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a word about %q", err, want)
		}
	}
}
