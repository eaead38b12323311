package secretguard_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/secretguard"
	"github.com/kapok-operators/kapok/shared/testkit"
)

// TestYAML compares what is shipped with what was read by a human.
func TestYAML(t *testing.T) {
	raw, err := secretguard.YAML()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, *update, "secretguard.yaml", raw)
}

// sentence is what the guard says about these findings in pods at this path. "" is
// nothing at all.
func sentence(path string, finds []string) string {
	if len(finds) == 0 {
		return ""
	}
	out := "a Secret may enter a container only as a file that is mounted with readOnly: true, which does not hold for "
	if len(finds) > 1 {
		out += fmt.Sprintf("%d fields: ", len(finds))
	}
	shown := finds
	if len(shown) > 10 {
		shown = shown[:10]
	}
	out += path + "." + strings.Join(shown, ", "+path+".")
	if len(finds) > 10 {
		out += fmt.Sprintf(", and %d more", len(finds)-10)
	}
	return out
}

// judge compares what the guard says about a write in a namespace of this mode.
func judge(t *testing.T, mode string, write func() error, want string) {
	t.Helper()
	warnings.take()
	err := write()
	warned := warnings.take()
	switch mode {
	case secretguard.ModeDeny:
		if len(warned) > 0 {
			t.Errorf("a warning where it should refuse or be silent: %q", warned)
		}
		switch {
		case want == "" && err != nil:
			t.Errorf("refused: %v", err)
		case want != "" && err == nil:
			t.Error("accepted")
		case want != "" && !refused(err):
			t.Errorf("somebody else refused: %v", err)
		case want != "" && said(err.Error()) != want:
			t.Errorf("it says\n%s\nwant\n%s", said(err.Error()), want)
		}
	case secretguard.ModeAudit:
		if err != nil {
			t.Errorf("refused where it should only be reported: %v", err)
		}
		switch {
		case want == "" && len(warned) > 0:
			t.Errorf("a warning for what is right: %q", warned)
		case want != "" && (len(warned) != 1 || said(warned[0]) != want):
			t.Errorf("warnings\n%q\nwant\n%s", warned, want)
		}
	default:
		if err != nil || len(warned) > 0 {
			t.Errorf("without the guard: error %v, warnings %q", err, warned)
		}
	}
}

// TestTable creates every row as a pod and in every kind of template: refused where
// the guard denies, reported where it audits, and taken in silence where there is no
// guard.
func TestTable(t *testing.T) {
	if n := len(rows()) + len(ephemeralRows()); n < 60 {
		t.Fatalf("%d rows are too few", n)
	}
	for _, mode := range []string{secretguard.ModeDeny, secretguard.ModeAudit, ""} {
		namespace := guarded(t, mode)
		t.Run("mode "+mode, func(t *testing.T) {
			for _, r := range rows() {
				t.Run("Pod/"+r.name, func(t *testing.T) {
					judge(t, mode, func() error { return api.Create(t.Context(), pod(t, namespace, r.spec)) }, sentence("spec", r.finds))
				})
				for _, k := range kinds() {
					t.Run(k.name+"/"+r.name, func(t *testing.T) {
						judge(t, mode, func() error { return api.Create(t.Context(), k.object(namespace, spec(t, r.spec))) }, sentence(k.path, r.finds))
					})
				}
			}
			for _, r := range ephemeralRows() {
				t.Run("ephemeral/"+r.name, func(t *testing.T) {
					running, debugged := debug(t, namespace, r.spec)
					judge(t, mode, func() error { return debugged(running) }, sentence("spec", r.finds))
				})
			}
		})
	}
}

// debug creates a pod without the ephemeral containers of a spec, and returns a
// function that adds them.
func debug(t *testing.T, namespace, text string) (*corev1.Pod, func(*corev1.Pod) error) {
	t.Helper()
	running := pod(t, namespace, text)
	added := running.Spec.EphemeralContainers
	running.Spec.EphemeralContainers = nil
	if err := api.Create(t.Context(), running); err != nil {
		t.Fatal(err)
	}
	return running, func(p *corev1.Pod) error {
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, added...)
		_, err := core.CoreV1().Pods(namespace).UpdateEphemeralContainers(t.Context(), p.Name, p, metav1.UpdateOptions{})
		return err
	}
}

// TestWithoutThePolicyAllIsAccepted proves that it is the guard that refuses: once it
// is gone, the same namespace takes every row, and once it is back it refuses again.
func TestWithoutThePolicyAllIsAccepted(t *testing.T) {
	namespace := guarded(t, secretguard.ModeDeny)
	if err := uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	inForce(t, namespace, "")
	accepted := 0
	for _, r := range rows() {
		if len(r.finds) == 0 {
			continue
		}
		accepted++
		if err := api.Create(t.Context(), pod(t, namespace, r.spec)); err != nil {
			t.Errorf("%s: refused without the guard: %v", r.name, err)
		}
		for _, k := range kinds() {
			if err := api.Create(t.Context(), k.object(namespace, spec(t, r.spec))); err != nil {
				t.Errorf("%s in a %s: refused without the guard: %v", r.name, k.name, err)
			}
		}
	}
	if accepted < 30 {
		t.Errorf("only %d rows break a rule", accepted)
	}
	if err := install(t.Context()); err != nil {
		t.Fatal(err)
	}
	inForce(t, namespace, secretguard.ModeDeny)
}

// TestExactMessages holds whole messages, with what the API server puts before them.
func TestExactMessages(t *testing.T) {
	namespace := guarded(t, secretguard.ModeDeny)
	one := pod(t, namespace, `{containers: [{name: app, image: i, env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}`)
	one.Name, one.GenerateName = "one", ""
	cron := kinds()[6].object(namespace, spec(t, many(12)))
	cron.SetName("nightly")
	for _, tc := range []struct {
		object client.Object
		want   string
	}{
		{one, `pods "one" is forbidden: ValidatingAdmissionPolicy 'secret-guard.kapok.dev' with binding 'deny.secret-guard.kapok.dev' denied request: ` +
			`Pod one: a Secret may enter a container only as a file that is mounted with readOnly: true, which does not hold for ` +
			`spec.containers[0].env[0].valueFrom.secretKeyRef (container "app", variable "PASSWORD")`},
		{cron, `cronjobs.batch "nightly" is forbidden: ValidatingAdmissionPolicy 'secret-guard.kapok.dev' with binding 'deny.secret-guard.kapok.dev' denied request: ` +
			`CronJob nightly: a Secret may enter a container only as a file that is mounted with readOnly: true, which does not hold for 12 fields: ` +
			`spec.jobTemplate.spec.template.spec.containers[0].env[0].valueFrom.secretKeyRef (container "app", variable "V0"), ` +
			`spec.jobTemplate.spec.template.spec.containers[0].env[1].valueFrom.secretKeyRef (container "app", variable "V1"), ` +
			`spec.jobTemplate.spec.template.spec.containers[0].env[2].valueFrom.secretKeyRef (container "app", variable "V2"), ` +
			`spec.jobTemplate.spec.template.spec.containers[0].env[3].valueFrom.secretKeyRef (container "app", variable "V3"), ` +
			`spec.jobTemplate.spec.template.spec.containers[0].env[4].valueFrom.secretKeyRef (container "app", variable "V4"), ` +
			`spec.jobTemplate.spec.template.spec.containers[0].env[5].valueFrom.secretKeyRef (container "app", variable "V5"), ` +
			`spec.jobTemplate.spec.template.spec.containers[0].env[6].valueFrom.secretKeyRef (container "app", variable "V6"), ` +
			`spec.jobTemplate.spec.template.spec.containers[0].env[7].valueFrom.secretKeyRef (container "app", variable "V7"), ` +
			`spec.jobTemplate.spec.template.spec.containers[0].env[8].valueFrom.secretKeyRef (container "app", variable "V8"), ` +
			`spec.jobTemplate.spec.template.spec.containers[0].env[9].valueFrom.secretKeyRef (container "app", variable "V9"), and 2 more`},
	} {
		err := api.Create(t.Context(), tc.object)
		if err == nil || err.Error() != tc.want {
			t.Errorf("it says\n%v\nwant\n%s", err, tc.want)
		}
	}

	audited := kinds()[0].object(guarded(t, secretguard.ModeAudit), spec(t, bad))
	audited.SetName("legacy")
	warnings.take()
	if err := api.Create(t.Context(), audited); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`Validation failed for ValidatingAdmissionPolicy 'secret-guard.kapok.dev' with binding 'audit.secret-guard.kapok.dev': ` +
		`Deployment legacy: a Secret may enter a container only as a file that is mounted with readOnly: true, which does not hold for ` +
		`spec.template.spec.containers[0].envFrom[0].secretRef (container "app")`}, warnings.take()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
