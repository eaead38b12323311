package webhookcert

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// PodNames returns a function for Options.Replicas: it lists the pods of the
// operator, by their labels in its namespace, that have not ended. The reader
// must read live (manager.GetAPIReader): a list that is older than the newest
// replica would be worth little.
func PodNames(live client.Reader, namespace string, labels map[string]string) func(ctx context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		var pods corev1.PodList
		if err := live.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels(labels)); err != nil {
			return nil, fmt.Errorf("list the operator's pods in namespace %s: %w", namespace, err)
		}
		var names []string
		for _, pod := range pods.Items {
			if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				names = append(names, pod.Name)
			}
		}
		return names, nil
	}
}

// ClusterRules are the permissions that the options need beyond the operator's
// namespace, each by the name of the object. In that namespace, mode self also
// lists pods.
func (o *Options) ClusterRules() []rbacv1.PolicyRule {
	verbs := []string{"get", "list", "watch"}
	if o.Mode == ModeSelf {
		verbs = append(verbs, "patch")
	}
	var rules []rbacv1.PolicyRule
	add := func(group, resource string, names []string) {
		if len(names) > 0 {
			rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, ResourceNames: names, Verbs: verbs})
		}
	}
	add("admissionregistration.k8s.io", "validatingwebhookconfigurations", o.Validating)
	add("admissionregistration.k8s.io", "mutatingwebhookconfigurations", o.Mutating)
	add("apiextensions.k8s.io", "customresourcedefinitions", o.Conversions)
	return rules
}
