package manifest

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// buildPeersService names the pods. It publishes addresses before pods are ready: a replica that does not serve yet must
// still be found by its name.
func buildPeersService(cluster *v1alpha1.MySQLCluster) *corev1ac.ServiceApplyConfiguration {
	return corev1ac.Service(PeersService(cluster.Name), cluster.Namespace).
		WithLabels(Labels(cluster.Name)).
		WithOwnerReferences(ownerOf(cluster)).
		WithSpec(corev1ac.ServiceSpec().
			WithType(corev1.ServiceTypeClusterIP).
			WithClusterIP(corev1.ClusterIPNone).
			WithPublishNotReadyAddresses(true).
			WithSelector(SelectorLabels(cluster.Name)).
			WithPorts(servicePort(portNameMySQL, PortMySQL), servicePort(PortNameAgent, PortAgent)))
}

// buildClientService has no selector: the operator writes its EndpointSlice, so that a new primary is reached by one
// write, whatever readiness says.
func buildClientService(cluster *v1alpha1.MySQLCluster, name string) *corev1ac.ServiceApplyConfiguration {
	return corev1ac.Service(name, cluster.Namespace).
		WithLabels(Labels(cluster.Name)).
		WithOwnerReferences(ownerOf(cluster)).
		WithSpec(corev1ac.ServiceSpec().
			WithType(corev1.ServiceTypeClusterIP).
			WithPorts(servicePort(portNameMySQL, PortMySQL)))
}

func servicePort(name string, port int32) *corev1ac.ServicePortApplyConfiguration {
	return corev1ac.ServicePort().
		WithName(name).
		WithProtocol(corev1.ProtocolTCP).
		WithPort(port).
		WithTargetPort(intstr.FromInt32(port))
}
