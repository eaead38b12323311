package secretguard_test

import (
	"testing"

	"github.com/google/cel-go/cel"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/kapok-operators/kapok/shared/secretguard"
)

// TestOldestKubernetes compiles every expression with what Kubernetes lets a new policy
// use: an API server of 1.35 goes by the libraries of 1.34, so that it can be rolled
// back. docs/platform/secret-guard.md names 1.35 as the oldest.
func TestOldestKubernetes(t *testing.T) {
	compiles := func(minor uint) error {
		set, err := environment.MustBaseEnvSet(version.MajorMinor(1, minor)).Extend(environment.VersionedOptions{
			IntroducedVersion: version.MajorMinor(1, 0),
			EnvOptions: []cel.EnvOption{
				cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType), cel.Variable("request", cel.DynType),
				cel.Variable("namespaceObject", cel.DynType), cel.Variable("variables", cel.DynType),
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, policy := range []*admissionregistrationv1.ValidatingAdmissionPolicy{secretguard.Policy(), secretguard.LabelsPolicy()} {
			for _, expression := range expressions(policy) {
				if _, issues := set.NewExpressionsEnv().Compile(expression); issues.Err() != nil {
					return issues.Err()
				}
			}
		}
		return nil
	}
	if err := compiles(34); err != nil {
		t.Errorf("with the libraries of 1.34: %v", err)
	}
	if compiles(33) == nil {
		t.Error("it compiles with the libraries of 1.33 too: the documentation may name an older Kubernetes")
	}
}

func expressions(policy *admissionregistrationv1.ValidatingAdmissionPolicy) []string {
	var all []string
	for _, v := range policy.Spec.Variables {
		all = append(all, v.Expression)
	}
	for _, v := range policy.Spec.Validations {
		all = append(all, v.Expression)
		if v.MessageExpression != "" {
			all = append(all, v.MessageExpression)
		}
	}
	for _, a := range policy.Spec.AuditAnnotations {
		all = append(all, a.ValueExpression)
	}
	return all
}
