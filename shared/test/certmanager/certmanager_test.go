package certmanager

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cmutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/cainjector"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	requestca "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	"github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/kapok-operators/kapok/shared/testkit"
	"github.com/kapok-operators/kapok/shared/testkit/webhooks"
	"github.com/kapok-operators/kapok/shared/webhookcert"
)

const namespace = "hooks"

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, cmapi.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// moduleFolder is where the go command has put cert-manager.
func moduleFolder(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager").Output()
	if err != nil {
		t.Fatalf("find cert-manager's module: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// startCertManager runs the controllers that issue from an authority of the
// cluster, and the injector.
func startCertManager(t *testing.T, env *testkit.Env) {
	t.Helper()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(logr.NewContext(t.Context(), logr.Discard()))
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
		Kubeconfig: kubeconfig, KubernetesAPIQPS: 100, KubernetesAPIBurst: 100,
		CertificateOptions: controller.CertificateOptions{
			CertificateRequestMinimumBackoffDuration: time.Second, CertificateRequestMaximumBackoffDuration: time.Minute,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []controller.Interface
	for _, name := range []string{
		issuers.ControllerName, approver.ControllerName, requestca.CRControllerName, selfsigned.CRControllerName,
		issuing.ControllerName, keymanager.ControllerName, readiness.ControllerName, requestmanager.ControllerName,
		revisionmanager.ControllerName, trigger.ControllerName,
	} {
		c, err := controller.Known()[name](factory)
		if err != nil {
			t.Fatalf("start cert-manager's %s: %v", name, err)
		}
		all = append(all, c)
	}
	shared, err := factory.Build()
	if err != nil {
		t.Fatal(err)
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	for _, c := range all {
		running.Go(func() {
			if err := c.Run(1, ctx); err != nil {
				t.Error(err)
			}
		})
	}

	// The injector applies under the name that its client calls itself.
	rc := rest.CopyConfig(env.Config)
	rc.UserAgent = "cert-manager-cainjector/test"
	mgr, err := ctrl.NewManager(rc, ctrl.Options{
		Scheme: env.Client.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := cainjector.RegisterAllInjectors(ctx, mgr, cainjector.SetupOptions{
		EnableCertificatesDataSource: true,
		EnabledReconcilersFor: map[string]bool{
			cainjector.ValidatingWebhookConfigurationName: true, cainjector.MutatingWebhookConfigurationName: true, cainjector.CustomResourceDefinitionName: true,
		},
	}); err != nil {
		t.Fatal(err)
	}
	running.Go(func() {
		if err := mgr.Start(ctx); err != nil {
			t.Error(err)
		}
	})
}

// startKubelet keeps a folder as a kubelet keeps a mounted Secret: it appears with
// the Secret, and changes all at once by one rename.
func startKubelet(t *testing.T, c client.Client, secret, folder string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		mounted := ""
		for ctx.Err() == nil {
			var s corev1.Secret
			if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: secret}, &s); err == nil && s.ResourceVersion != mounted {
				if err := mount(folder, s.ResourceVersion, s.Data); err != nil {
					t.Errorf("mount: %v", err)
					return
				}
				mounted = s.ResourceVersion
			}
			time.Sleep(200 * time.Millisecond)
		}
	}()
}

func mount(folder, version string, files map[string][]byte) error {
	fresh, data := filepath.Join(folder, "..data_"+version), filepath.Join(folder, "..data")
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(fresh, name), content, 0o600); err != nil {
			return err
		}
		link := filepath.Join(folder, name)
		if err := os.Symlink(filepath.Join("..data", name), link); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	old, _ := os.Readlink(data)
	if err := os.Symlink(filepath.Base(fresh), data+"_tmp"); err != nil {
		return err
	}
	if err := os.Rename(data+"_tmp", data); err != nil {
		return err
	}
	if old != "" {
		return os.RemoveAll(filepath.Join(folder, old))
	}
	return nil
}

// hanging is how long is waited for what must come. It proves nothing but that it
// comes: a loaded machine must make a test slow, not red.
const hanging = 5 * time.Minute

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hanging); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", hanging, what)
		}
	}
}

// create creates what was rendered, as strictly as the API server can: a field
// that cert-manager does not know is an error.
func create(t *testing.T, c client.Client, objects ...client.Object) {
	t.Helper()
	strict := client.WithFieldValidation(c, metav1.FieldValidationStrict)
	for _, object := range objects {
		if err := strict.Create(t.Context(), object); err != nil {
			t.Fatalf("create %s %s: %v", object.GetObjectKind().GroupVersionKind().Kind, object.GetName(), err)
		}
	}
}

// TestWithCertManager: what CertManager renders makes cert-manager issue and
// inject, into everything by which API servers call webhooks: a validating and a
// mutating configuration, and a definition with conversion. The mounted certificate
// is served, and a renewal does neither restart anything nor fail a request.
func TestWithCertManager(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	env := testkit.StartEnv(t, testkit.EnvOptions{Scheme: scheme(t), CRDPaths: []string{filepath.Join(moduleFolder(t), "deploy", "crds")}})
	startCertManager(t, env)
	c := env.Client
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})

	cm := webhookcert.CertManager{Name: "hooks", Namespace: namespace, Service: "hooks", Secret: "hooks-tls", RenewBefore: 168 * time.Hour}
	objects, err := cm.Objects()
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		// There are no Services here; the API server calls an address.
		if object.GetName() == cm.Name {
			if err := unstructured.SetNestedStringSlice(object.Object, []string{"127.0.0.1"}, "spec", "ipAddresses"); err != nil {
				t.Fatal(err)
			}
		}
		create(t, c, object)
	}
	folder := t.TempDir()
	startKubelet(t, c, cm.Secret, folder)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	_ = listener.Close()
	hooks := webhooks.Installation{Name: "called", Address: address.String(), Annotations: cm.Annotations()}
	definition := hooks.Definition()

	source, err := webhookcert.New(env.Config, webhookcert.Options{
		Mode: webhookcert.ModeCertManager, Directory: folder, Name: "operator", Namespace: namespace,
		Service: cm.Service, Hosts: []string{"127.0.0.1"},
		Validating: []string{hooks.Name}, Mutating: []string{hooks.Name}, Conversions: []string{definition.Name},
	})
	if err != nil {
		t.Fatal(err)
	}
	var rejections webhooks.Rejections
	log.SetOutput(&rejections)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	var answers webhooks.Answers
	var starts atomic.Int64
	server := webhookcert.Server(source, webhook.Options{Host: "127.0.0.1", Port: address.Port, TLSOpts: []func(*tls.Config){webhooks.HTTP1}})
	answers.Register(server)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		starts.Add(1)
		ended <- server.Start(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})

	// If it never becomes ready, this is the reason.
	var last error
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last: %v; %s", last, describe(c))
		}
	})
	create(t, c, hooks.Namespace(), hooks.Validating(), hooks.Mutating(), definition)
	load := webhooks.NewLoad(c, hooks)
	// With a bundle that is missing each of the webhooks would fail.
	eventually(t, "the certificate is issued, mounted and injected, and the webhooks are called", func() bool {
		last = load.Try(t.Context())
		return last == nil
	})
	eventually(t, "the certificate is trusted", func() bool {
		last = source.Ready(nil)
		return last == nil && source.Status().Trusted
	})
	first := source.Status()
	if time.Until(first.NotAfter) < 89*24*time.Hour || time.Until(first.AuthorityNotAfter) < 9*365*24*time.Hour {
		t.Errorf("status %+v", first)
	}
	// An API server keeps what it had of a definition for a moment, here without a bundle.
	rejected := rejections.Count.Load()
	eventually(t, "no handshake is rejected any more", func() bool {
		before := rejected
		time.Sleep(3 * time.Second)
		rejected = rejections.Count.Load()
		return rejected == before
	})
	validated, mutated, converted := answers.Validated.Load(), answers.Mutated.Load(), answers.Converted.Load()
	working, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for worker := range 2 {
		workers.Go(func() { load.Work(working, worker) })
	}
	renew(t, c, cm.Name)
	eventually(t, "the renewed certificate is served", func() bool { return source.Status().Changes == 1 })
	// What follows goes through the renewed certificate alone.
	sent := load.Sent.Load()
	eventually(t, "requests of every sort go through it", func() bool { return load.Sent.Load() >= sent+20 })
	stop()
	workers.Wait()
	rejected = rejections.Count.Load() - rejected
	validated, mutated, converted = answers.Validated.Load()-validated, answers.Mutated.Load()-mutated, answers.Converted.Load()-converted
	t.Logf("cert-manager renewed the certificate: %d requests of which %d failed, the longest took %s; %d validations, %d mutations, %d conversions, %d handshakes rejected; %d servers started",
		load.Sent.Load(), load.Failed.Load(), load.Longest().Round(time.Millisecond), validated, mutated, converted, rejected, starts.Load())
	for _, failure := range load.Failures() {
		t.Error(failure)
	}
	after := source.Status()
	if !after.Trusted || !after.NotAfter.After(first.NotAfter) || after.Changes != 1 {
		t.Errorf("renewed: %+v, before: %+v", after, first)
	}
	// The API server also calls for itself, with nobody to see it fail.
	if rejected > 0 {
		t.Errorf("%d handshakes were rejected", rejected)
	}
	if load.Sent.Load() < 40 || validated < 20 || mutated < 20 || converted < 20 || starts.Load() != 1 {
		t.Error("the load was too light to prove anything, or the server was started again")
	}
}

// describe says how cert-manager's objects stand.
func describe(c client.Client) string {
	var out strings.Builder
	var all cmapi.CertificateList
	var requests cmapi.CertificateRequestList
	if err := errors.Join(c.List(context.Background(), &all), c.List(context.Background(), &requests)); err != nil {
		return err.Error()
	}
	for _, certificate := range all.Items {
		fmt.Fprintf(&out, "\nCertificate %s: %+v", certificate.Name, certificate.Status)
	}
	for _, request := range requests.Items {
		fmt.Fprintf(&out, "\nCertificateRequest %s: %+v", request.Name, request.Status.Conditions)
	}
	return out.String()
}

// renew asks cert-manager for a new certificate, as its command line does.
func renew(t *testing.T, c client.Client, name string) {
	t.Helper()
	for {
		var certificate cmapi.Certificate
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &certificate); err != nil {
			t.Fatal(err)
		}
		cmutil.SetCertificateCondition(&certificate, certificate.Generation, cmapi.CertificateConditionIssuing, cmmeta.ConditionTrue, "ManuallyTriggered", "renewed by a test")
		err := c.Status().Update(t.Context(), &certificate)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			t.Fatal(fmt.Errorf("ask for a renewal: %w", err))
		}
	}
}
