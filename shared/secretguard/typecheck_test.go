package secretguard_test

import (
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"

	"github.com/kapok-operators/kapok/shared/secretguard"
)

// TestTypes has the policies' expressions checked as Kubernetes' controller manager
// does, against the API server's own schemas of the kinds: what it finds it writes
// into the policy's status, where an administrator would take it for a defect.
func TestTypes(t *testing.T) {
	checker := &validating.TypeChecker{
		SchemaResolver: &resolver.ClientDiscoveryResolver{Discovery: core.Discovery()},
		RestMapper:     api.RESTMapper(),
	}
	for _, policy := range []*admissionregistrationv1.ValidatingAdmissionPolicy{secretguard.Policy(), secretguard.LabelsPolicy()} {
		for _, warning := range checker.Check(policy) {
			t.Errorf("%s: %s: %s", policy.Name, warning.FieldRef, warning.Warning)
		}
	}
	// The checker itself works: a field that a kind lacks is found.
	broken := secretguard.LabelsPolicy()
	broken.Spec.Validations[0].Expression = "object.spec.template != null"
	if len(checker.Check(broken)) == 0 {
		t.Error("the check finds nothing where there is something")
	}
}
