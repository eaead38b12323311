package supervisor

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	core "k8s.io/client-go/applyconfigurations/core/v1"
	discovery "k8s.io/client-go/applyconfigurations/discovery/v1"
	rbac "k8s.io/client-go/applyconfigurations/rbac/v1"
	storage "k8s.io/client-go/applyconfigurations/storage/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/provision"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
)

const dnsName = "kube-dns"

// applyObjects applies what a cluster has from the start: the DNS Service, what the DNS server may read, and the storage
// classes.
func applyObjects(ctx context.Context, c kubernetes.Interface) error {
	options := metav1.ApplyOptions{FieldManager: "localcluster", Force: true}
	role := rbac.ClusterRole("system:coredns").WithRules(
		rbac.PolicyRule().WithAPIGroups("").WithResources("services", "pods", "namespaces").WithVerbs("list", "watch"),
		rbac.PolicyRule().WithAPIGroups("discovery.k8s.io").WithResources("endpointslices").WithVerbs("list", "watch"))
	if _, err := c.RbacV1().ClusterRoles().Apply(ctx, role, options); err != nil {
		return fmt.Errorf("apply role of DNS: %w", err)
	}
	binding := rbac.ClusterRoleBinding("system:coredns").
		WithRoleRef(rbac.RoleRef().WithAPIGroup("rbac.authorization.k8s.io").WithKind("ClusterRole").WithName("system:coredns")).
		WithSubjects(rbac.Subject().WithAPIGroup("rbac.authorization.k8s.io").WithKind("User").WithName("system:coredns"))
	if _, err := c.RbacV1().ClusterRoleBindings().Apply(ctx, binding, options); err != nil {
		return fmt.Errorf("bind role of DNS: %w", err)
	}
	service := core.Service(dnsName, metav1.NamespaceSystem).WithLabels(map[string]string{"k8s-app": dnsName}).
		WithSpec(core.ServiceSpec().WithClusterIP(spec.DNSServiceIP).WithPorts(
			core.ServicePort().WithName("dns").WithProtocol(corev1.ProtocolUDP).WithPort(53).WithTargetPort(intstr.FromInt32(53)),
			core.ServicePort().WithName("dns-tcp").WithProtocol(corev1.ProtocolTCP).WithPort(53).WithTargetPort(intstr.FromInt32(53))))
	if _, err := c.CoreV1().Services(metav1.NamespaceSystem).Apply(ctx, service, options); err != nil {
		return fmt.Errorf("apply Service of DNS: %w", err)
	}
	slice := discovery.EndpointSlice(dnsName, metav1.NamespaceSystem).
		WithLabels(map[string]string{discoveryv1.LabelServiceName: dnsName, discoveryv1.LabelManagedBy: "localcluster"}).
		WithAddressType(discoveryv1.AddressTypeIPv4).
		WithEndpoints(discovery.Endpoint().WithAddresses(spec.ControlPlaneIP).
			WithConditions(discovery.EndpointConditions().WithReady(true))).
		WithPorts(
			discovery.EndpointPort().WithName("dns").WithProtocol(corev1.ProtocolUDP).WithPort(53),
			discovery.EndpointPort().WithName("dns-tcp").WithProtocol(corev1.ProtocolTCP).WithPort(53))
	if _, err := c.DiscoveryV1().EndpointSlices(metav1.NamespaceSystem).Apply(ctx, slice, options); err != nil {
		return fmt.Errorf("apply endpoints of DNS: %w", err)
	}
	for _, class := range []*storage.StorageClassApplyConfiguration{
		storage.StorageClass(provision.StandardClass).
			WithAnnotations(map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}),
		storage.StorageClass(provision.LimitedClass).WithParameters(map[string]string{provision.LimitParameter: "true"}),
	} {
		class = class.WithProvisioner(provision.Name).WithReclaimPolicy(corev1.PersistentVolumeReclaimDelete).
			WithVolumeBindingMode(storagev1.VolumeBindingWaitForFirstConsumer)
		if _, err := c.StorageV1().StorageClasses().Apply(ctx, class, options); err != nil {
			return fmt.Errorf("apply storage class: %w", err)
		}
	}
	return nil
}
