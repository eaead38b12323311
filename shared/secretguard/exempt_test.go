package secretguard_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/secretguard"
)

// exemptions are the labels of a namespace that allows them, in this mode.
func exemptions(mode string) map[string]string {
	return map[string]string{secretguard.LabelMode: mode, secretguard.LabelExemptions: secretguard.ExemptionsAllowed}
}

// TestExemptions: it takes two to make an exemption, the namespace that allows it and
// the pod that asks for it; the label of the object around a template asks for nothing.
func TestExemptions(t *testing.T) {
	asking := map[string]string{"app": "a", secretguard.LabelMode: secretguard.Exempt}
	for _, mode := range []string{secretguard.ModeDeny, secretguard.ModeAudit} {
		allowing, closed := namespace(t, exemptions(mode)), guarded(t, mode)
		for name, tc := range map[string]struct {
			namespace string
			labels    map[string]string
			passes    bool
		}{
			"allowed and asked for":     {allowing, asking, true},
			"allowed, not asked for":    {allowing, labels, false},
			"asked for, not allowed":    {closed, asking, false},
			"asked for with other word": {allowing, map[string]string{"app": "a", secretguard.LabelMode: "true"}, false},
		} {
			t.Run(mode+"/"+name, func(t *testing.T) {
				want := func(path string) string {
					if tc.passes {
						return ""
					}
					return sentence(path, []string{badFind})
				}
				p := pod(t, tc.namespace, bad)
				p.Labels = tc.labels
				judge(t, mode, func() error { return api.Create(t.Context(), p) }, want("spec"))
				for _, k := range kinds() {
					object := k.object(tc.namespace, spec(t, bad))
					k.template(object).Labels = tc.labels
					judge(t, mode, func() error { return api.Create(t.Context(), object) }, want(k.path))
				}
			})
		}
		t.Run(mode+"/asked for by the object around the template", func(t *testing.T) {
			for _, k := range kinds() {
				object := k.object(allowing, spec(t, bad))
				object.SetLabels(asking)
				judge(t, mode, func() error { return api.Create(t.Context(), object) }, sentence(k.path, []string{badFind}))
			}
		})
	}
}

// TestAnExemptionEnds: a template whose label is taken away is looked at again, though
// its pods' spec stays the same; so is everything once the namespace allows no more.
func TestAnExemptionEnds(t *testing.T) {
	space := namespace(t, exemptions(secretguard.ModeDeny))
	for _, k := range kinds() {
		if k.fixed {
			continue
		}
		object := k.object(space, spec(t, bad))
		k.template(object).Labels = map[string]string{"app": "a", secretguard.LabelMode: secretguard.Exempt}
		judge(t, secretguard.ModeDeny, func() error { return api.Create(t.Context(), object) }, "")
		k.template(object).Labels = labels
		judge(t, secretguard.ModeDeny, func() error { return api.Update(t.Context(), object) }, sentence(k.path, []string{badFind}))
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: space}}
	if err := api.Patch(t.Context(), ns, client.RawPatch(types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"`+secretguard.LabelExemptions+`":null}}}`))); err != nil {
		t.Fatal(err)
	}
	// The API server looks at its cache of namespaces, which is a moment late.
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		p := pod(t, space, bad)
		p.Labels = map[string]string{secretguard.LabelMode: secretguard.Exempt}
		err := api.Create(ctx, p, client.DryRunAll)
		if err != nil && !refused(err) {
			return false, err
		}
		return err != nil, nil
	})
	if err != nil {
		t.Errorf("the exemption outlives the namespace's label: %v", err)
	}
}

// TestNamespaceLabels: a value that means nothing is refused, because the namespace
// would stay unguarded; one that is there already stops no other change.
func TestNamespaceLabels(t *testing.T) {
	if err := uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "guard-", Labels: map[string]string{secretguard.LabelMode: "enforce"}}}
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		return api.Create(ctx, old) == nil, nil
	})
	if err != nil {
		t.Fatalf("make a namespace with a wrong label while there is no guard: %v", err)
	}
	if err := install(t.Context()); err != nil {
		t.Fatal(err)
	}
	guarded(t, secretguard.ModeDeny)

	const mode = "metadata.labels: the label kapok.dev/secret-guard must be deny or audit, or absent"
	for _, tc := range []struct {
		labels map[string]string
		want   string
	}{
		{nil, ""},
		{map[string]string{"other": "label"}, ""},
		{map[string]string{secretguard.LabelMode: secretguard.ModeDeny}, ""},
		{exemptions(secretguard.ModeAudit), ""},
		{map[string]string{secretguard.LabelMode: "Deny"}, mode},
		{map[string]string{secretguard.LabelMode: ""}, mode},
		{map[string]string{secretguard.LabelMode: secretguard.Exempt}, mode},
		{map[string]string{secretguard.LabelExemptions: "true"}, "metadata.labels: the label kapok.dev/secret-guard-exemptions must be allow, or absent"},
	} {
		err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "guard-", Labels: tc.labels}}, client.DryRunAll)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%v: %v", tc.labels, err)
		case tc.want != "" && (err == nil || !strings.HasSuffix(err.Error(), "denied request: "+tc.want)):
			t.Errorf("%v: it says %v, want %s", tc.labels, err, tc.want)
		}
	}
	patch := func(text string) error {
		return api.Patch(t.Context(), old, client.RawPatch(types.MergePatchType, []byte(text)), client.DryRunAll)
	}
	if err := patch(`{"metadata":{"labels":{"other":"label"}}}`); err != nil {
		t.Errorf("the wrong value that was there stops another change: %v", err)
	}
	if err := patch(`{"metadata":{"labels":{"kapok.dev/secret-guard":null}}}`); err != nil {
		t.Errorf("the wrong value cannot be taken away: %v", err)
	}
	if err := patch(`{"metadata":{"labels":{"kapok.dev/secret-guard":"warn"}}}`); err == nil {
		t.Error("a wrong value takes another's place")
	}
}

// TestAuditLog reads the findings where an administrator finds them: for a refused
// request, a reported one, and one that an exemption let pass.
func TestAuditLog(t *testing.T) {
	exempt := pod(t, namespace(t, exemptions(secretguard.ModeDeny)), bad)
	exempt.Labels = map[string]string{secretguard.LabelMode: secretguard.Exempt}
	denied, audited := pod(t, guarded(t, secretguard.ModeDeny), bad), pod(t, guarded(t, secretguard.ModeAudit), bad)
	for _, p := range []*corev1.Pod{denied, audited, exempt} {
		if err := api.Create(t.Context(), p); err != nil && !refused(err) {
			t.Fatal(err)
		}
	}
	const failure = "validation.policy.admission.k8s.io/validation_failure"
	for namespace, want := range map[string]map[string]string{
		denied.Namespace:  {failure: sentence("spec", []string{badFind})},
		audited.Namespace: {failure: sentence("spec", []string{badFind})},
		exempt.Namespace:  {secretguard.PolicyName + "/" + secretguard.AuditKeyExempt: "the pod has the label kapok.dev/secret-guard=exempt"},
	} {
		for key, text := range want {
			err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
				values, err := annotated(namespace, key)
				for _, value := range values {
					if key != failure && value == text {
						return true, nil
					}
					var failures []struct{ Message, Policy string }
					if key == failure && json.Unmarshal([]byte(value), &failures) == nil && len(failures) == 1 &&
						objectName.ReplaceAllString(failures[0].Message, "") == text && failures[0].Policy == secretguard.PolicyName {
						return true, nil
					}
				}
				return false, err
			})
			if err != nil {
				t.Errorf("the audit log does not say of namespace %s: %s: %s (%v)", namespace, key, text, err)
			}
		}
	}
}

// annotated returns the values of an annotation in the audit log of a namespace's pods.
func annotated(namespace, key string) ([]string, error) {
	file, err := os.Open(auditLog)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var values []string
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event auditv1.Event
		// The last line may be half written.
		if json.Unmarshal(lines.Bytes(), &event) != nil || event.ObjectRef == nil || event.ObjectRef.Namespace != namespace {
			continue
		}
		if value, ok := event.Annotations[key]; ok && !strings.Contains(event.RequestURI, "dryRun") {
			values = append(values, value)
		}
	}
	return values, lines.Err()
}
