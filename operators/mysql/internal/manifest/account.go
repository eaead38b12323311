package manifest

import (
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// buildServiceAccount gives the pods an identity and nothing else: no role is bound to it and no token for the API
// server is mounted.
func buildServiceAccount(cluster *v1alpha1.MySQLCluster) *corev1ac.ServiceAccountApplyConfiguration {
	return corev1ac.ServiceAccount(ServiceAccount(cluster.Name), cluster.Namespace).
		WithLabels(Labels(cluster.Name)).
		WithOwnerReferences(ownerOf(cluster)).
		WithAutomountServiceAccountToken(false)
}

// buildLinkCA copies the certificates of the operator's link to where the agents can read them.
func buildLinkCA(cluster *v1alpha1.MySQLCluster, bundle []byte) *corev1ac.ConfigMapApplyConfiguration {
	return corev1ac.ConfigMap(LinkCA(cluster.Name), cluster.Namespace).
		WithLabels(Labels(cluster.Name)).
		WithOwnerReferences(ownerOf(cluster)).
		WithData(map[string]string{LinkCAKey: string(bundle)})
}
