package secretguard_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/secretguard"
	"github.com/kapok-operators/kapok/shared/testkit"
)

var update = testkit.UpdateFlag(flag.CommandLine)

// What all tests of the package share: one API server with the guard in force and
// an audit log.
var (
	env      *testkit.Env
	api      client.Client
	core     kubernetes.Interface
	warnings = &heard{}
	auditLog string
)

// auditPolicy has the metadata of writes logged, when they are answered.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, verbs: [create, update, patch]}
- {level: None}
`

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "secretguard-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(folder) }()
		if err := start(folder); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = env.Stop() }()
		return m.Run()
	}())
}

func start(folder string) error {
	policyFile := filepath.Join(folder, "policy.yaml")
	auditLog = filepath.Join(folder, "audit.log")
	if err := os.WriteFile(policyFile, []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	var err error
	if env, err = testkit.NewEnv(testkit.EnvOptions{Scheme: scheme.Scheme, APIServerArgs: map[string]string{
		"audit-policy-file": policyFile, "audit-log-path": auditLog,
	}}); err != nil {
		return err
	}
	config := rest.CopyConfig(env.Config)
	config.WarningHandler = warnings
	// The tests ask more often than a client may by default.
	config.QPS, config.Burst = 1000, 1000
	if api, err = client.New(config, client.Options{Scheme: scheme.Scheme}); err != nil {
		return errors.Join(err, env.Stop())
	}
	api = client.WithFieldValidation(api, metav1.FieldValidationStrict)
	if core, err = kubernetes.NewForConfig(config); err != nil {
		return errors.Join(err, env.Stop())
	}
	if err := install(context.Background()); err != nil {
		return errors.Join(err, env.Stop())
	}
	return nil
}

// install creates the guard.
func install(ctx context.Context) error {
	for _, object := range secretguard.Objects() {
		if err := api.Create(ctx, object.(client.Object)); err != nil {
			return fmt.Errorf("install the guard: %w", err)
		}
	}
	return nil
}

// uninstall deletes the guard.
func uninstall(ctx context.Context) error {
	for _, object := range secretguard.Objects() {
		if err := api.Delete(ctx, object.(client.Object)); err != nil {
			return fmt.Errorf("remove the guard: %w", err)
		}
	}
	return nil
}

// heard collects the warnings of the API server.
type heard struct {
	mutex sync.Mutex
	texts []string
}

func (h *heard) HandleWarningHeader(_ int, _, text string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.texts = append(h.texts, text)
}

// take returns the guard's warnings since the last call.
func (h *heard) take() []string {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	var ours []string
	for _, text := range h.texts {
		if strings.Contains(text, secretguard.PolicyName) {
			ours = append(ours, text)
		}
	}
	h.texts = nil
	return ours
}

// label puts an existing namespace under the guard.
func label(t testing.TB, namespace, mode string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, secretguard.LabelMode, mode)
	if err := api.Patch(t.Context(), ns, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
	inForce(t, namespace, mode)
}

// namespace makes a namespace with these labels and waits until the guard does in it
// what they ask for: a policy comes into force some time after it was created.
func namespace(t testing.TB, labels map[string]string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "guard-", Labels: labels}}
	if err := api.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	inForce(t, ns.Name, labels[secretguard.LabelMode])
	return ns.Name
}

// guarded makes a namespace in this mode; "" is one without the guard.
func guarded(t testing.TB, mode string) string {
	t.Helper()
	if mode == "" {
		return namespace(t, nil)
	}
	return namespace(t, map[string]string{secretguard.LabelMode: mode})
}

// inForce waits until a pod that breaks a rule gets the answer of this mode; "" is
// that of a namespace without the guard.
func inForce(t testing.TB, namespace, mode string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		warnings.take()
		probe := pod(t, namespace, `containers: [{name: probe, image: i, envFrom: [{secretRef: {name: s}}]}]`)
		err := api.Create(ctx, probe, client.DryRunAll)
		if err != nil && !refused(err) {
			return false, err
		}
		seen := ""
		switch {
		case err != nil:
			seen = secretguard.ModeDeny
		case len(warnings.take()) > 0:
			seen = secretguard.ModeAudit
		}
		return seen == mode, nil
	})
	if err != nil {
		t.Fatalf("wait until the mode %q is in force: %v", mode, err)
	}
}

// refused says whether it was the guard that refused.
func refused(err error) bool {
	var status *apierrors.StatusError
	return errors.As(err, &status) && status.ErrStatus.Reason == metav1.StatusReasonForbidden &&
		strings.Contains(status.ErrStatus.Message, secretguard.PolicyName)
}

// objectName is how the guard names an object.
var objectName = regexp.MustCompile(`^[A-Z][A-Za-z]+ [a-z0-9][a-z0-9.-]*: `)

// said is the guard's own part of a refusal or a warning, without the name of the
// object, which has to be there.
func said(text string) string {
	for _, before := range []string{
		"ValidatingAdmissionPolicy '" + secretguard.PolicyName + "' with binding '" + secretguard.DenyBindingName + "' denied request: ",
		"ValidatingAdmissionPolicy '" + secretguard.PolicyName + "' with binding '" + secretguard.AuditBindingName + "': ",
	} {
		if _, after, found := strings.Cut(text, before); found && objectName.MatchString(after) {
			return objectName.ReplaceAllString(after, "")
		}
	}
	return text
}
