package manifest

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// buildDisruptionBudget lets one instance be evicted at a time, and none while another is not ready. A cluster of one gets
// the same: its owner has chosen to live without a second instance, the data stay on the volume, and a budget of nothing
// would keep its node from ever being drained. A pod that is not ready may always be evicted: keeping it does not help,
// and its volume stays.
func buildDisruptionBudget(cluster *v1alpha1.MySQLCluster) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	return policyv1ac.PodDisruptionBudget(DisruptionBudget(cluster.Name), cluster.Namespace).
		WithLabels(Labels(cluster.Name)).
		WithOwnerReferences(ownerOf(cluster)).
		WithSpec(policyv1ac.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(SelectorLabels(cluster.Name))))
}
