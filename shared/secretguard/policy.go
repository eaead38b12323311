package secretguard

import (
	"bytes"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// The labels that the guard understands.
const (
	// LabelMode on a Namespace puts it under the guard: ModeDeny or ModeAudit. On a
	// pod, or in the metadata of a pod template, Exempt asks for an exemption.
	LabelMode = "kapok.dev/secret-guard"
	// LabelExemptions on a Namespace, with the value ExemptionsAllowed, makes the
	// exemptions count that its pods ask for. Without it they do not.
	LabelExemptions = "kapok.dev/secret-guard-exemptions"

	// ModeDeny refuses what breaks the rules and writes it into the audit log.
	ModeDeny = "deny"
	// ModeAudit lets it pass with a warning, and writes it into the audit log.
	ModeAudit = "audit"
	// Exempt is what a pod asks for.
	Exempt = "exempt"
	// ExemptionsAllowed is how a Namespace grants it.
	ExemptionsAllowed = "allow"
)

// The names of the objects. They are the same whichever operator brings them: two
// operators in one cluster share one guard.
const (
	// PolicyName is the policy for pods and pod templates.
	PolicyName = "secret-guard.kapok.dev"
	// DenyBindingName binds PolicyName to namespaces in ModeDeny.
	DenyBindingName = "deny.secret-guard.kapok.dev"
	// AuditBindingName binds PolicyName to namespaces in ModeAudit.
	AuditBindingName = "audit.secret-guard.kapok.dev"
	// LabelsPolicyName is the policy, and its binding, that refuses a value of the
	// two labels on a Namespace that means nothing: a slip of the pen there would
	// leave a namespace unguarded without anybody noticing.
	LabelsPolicyName = "labels.secret-guard.kapok.dev"
)

// AuditKeyExempt is the key of the audit annotation, after the policy's name and a
// slash, of a request that an exemption let pass unlooked at.
const AuditKeyExempt = "exempt"

// Policy is the policy for pods and pod templates. Without a binding it does
// nothing.
func Policy() *admissionregistrationv1.ValidatingAdmissionPolicy {
	fail := admissionregistrationv1.Fail
	forbidden := metav1.StatusReasonForbidden
	return &admissionregistrationv1.ValidatingAdmissionPolicy{
		TypeMeta:   typeMeta("ValidatingAdmissionPolicy"),
		ObjectMeta: objectMeta(PolicyName),
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			// An object too large to be looked through is not let in unseen.
			FailurePolicy: &fail,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{
				// Nothing the guard looks at can change in a pod, but that it is given ephemeral containers.
				rule("", []string{"pods"}, admissionregistrationv1.Create),
				rule("", []string{"pods/ephemeralcontainers"}, admissionregistrationv1.Update),
				rule("", []string{"replicationcontrollers", "podtemplates"}, admissionregistrationv1.Create, admissionregistrationv1.Update),
				rule("apps", []string{"deployments", "statefulsets", "daemonsets", "replicasets"},
					admissionregistrationv1.Create, admissionregistrationv1.Update),
				rule("batch", []string{"jobs", "cronjobs"}, admissionregistrationv1.Create, admissionregistrationv1.Update),
			}},
			Variables: variables(),
			Validations: []admissionregistrationv1.Validation{{
				Expression:        verdict,
				MessageExpression: message(),
				// Only where the findings cannot be listed.
				Message: "a Secret enters a container other than as a file that is mounted read-only",
				Reason:  &forbidden,
			}},
			AuditAnnotations: []admissionregistrationv1.AuditAnnotation{{Key: AuditKeyExempt, ValueExpression: exemption}},
		},
	}
}

// Bindings put Policy into force in the namespaces that opt in.
func Bindings() []*admissionregistrationv1.ValidatingAdmissionPolicyBinding {
	bind := func(name, mode string, actions ...admissionregistrationv1.ValidationAction) *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
		bound := binding(name, PolicyName, actions...)
		bound.Spec.MatchResources = &admissionregistrationv1.MatchResources{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{LabelMode: mode}},
		}
		return bound
	}
	return []*admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		bind(DenyBindingName, ModeDeny, admissionregistrationv1.Deny, admissionregistrationv1.Audit),
		bind(AuditBindingName, ModeAudit, admissionregistrationv1.Warn, admissionregistrationv1.Audit),
	}
}

// LabelsPolicy refuses a Namespace whose guard labels have a value that means
// nothing, unless it had that value before.
func LabelsPolicy() *admissionregistrationv1.ValidatingAdmissionPolicy {
	fail := admissionregistrationv1.Fail
	return &admissionregistrationv1.ValidatingAdmissionPolicy{
		TypeMeta:   typeMeta("ValidatingAdmissionPolicy"),
		ObjectMeta: objectMeta(LabelsPolicyName),
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{
				rule("", []string{"namespaces"}, admissionregistrationv1.Create, admissionregistrationv1.Update),
			}},
			Validations: []admissionregistrationv1.Validation{
				labelValue(LabelMode, ModeDeny, ModeAudit),
				labelValue(LabelExemptions, ExemptionsAllowed),
			},
		},
	}
}

// LabelsBinding puts LabelsPolicy into force.
func LabelsBinding() *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
	return binding(LabelsPolicyName, LabelsPolicyName, admissionregistrationv1.Deny)
}

// Objects are all objects of the guard, in the order in which to apply them.
func Objects() []runtime.Object {
	objects := []runtime.Object{Policy()}
	for _, b := range Bindings() {
		objects = append(objects, b)
	}
	return append(objects, LabelsPolicy(), LabelsBinding())
}

// YAML renders Objects as a stream of YAML documents that kubectl applies.
func YAML() ([]byte, error) {
	var out bytes.Buffer
	for _, object := range Objects() {
		// By way of a map, so that the empty status does not get into the file.
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			return nil, fmt.Errorf("render %T: %w", object, err)
		}
		delete(fields, "status")
		raw, err := yaml.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("render %T: %w", object, err)
		}
		out.WriteString("---\n")
		out.Write(raw)
	}
	return out.Bytes(), nil
}

func binding(name, policy string, actions ...admissionregistrationv1.ValidationAction) *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
	return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		TypeMeta:   typeMeta("ValidatingAdmissionPolicyBinding"),
		ObjectMeta: objectMeta(name),
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        policy,
			ValidationActions: actions,
		},
	}
}

func rule(group string, resources []string, operations ...admissionregistrationv1.OperationType) admissionregistrationv1.NamedRuleWithOperations {
	scope := admissionregistrationv1.NamespacedScope
	if resources[0] == "namespaces" {
		scope = admissionregistrationv1.ClusterScope
	}
	return admissionregistrationv1.NamedRuleWithOperations{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
		Operations: operations,
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: resources, Scope: &scope,
		},
	}}
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: kind}
}

func objectMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{"app.kubernetes.io/part-of": "kapok"}}
}
