package manifest

import (
	"maps"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryv1ac "k8s.io/client-go/applyconfigurations/discovery/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// Endpoint is an instance that a Service leads to.
type Endpoint struct {
	// Instance is its name, PodUID the UID of its pod and IP the pod's address.
	Instance string
	PodUID   types.UID
	IP       string
	// Node and Zone are where it runs; they may be empty.
	Node, Zone string
}

// EndpointSlice says where a Service of a cluster leads: to exactly the given endpoints of one address family, or
// nowhere if there are none. Every endpoint counts as ready, because the operator has chosen it; readiness probes have no
// say. Endpoints of the other family are left out.
func EndpointSlice(cluster *v1alpha1.MySQLCluster, service string, family discoveryv1.AddressType, endpoints []Endpoint) *discoveryv1ac.EndpointSliceApplyConfiguration {
	labels := Labels(cluster.Name)
	maps.Copy(labels, map[string]string{
		discoveryv1.LabelServiceName: service,
		discoveryv1.LabelManagedBy:   ManagedBy,
	})
	slice := discoveryv1ac.EndpointSlice(EndpointSliceName(service, family), cluster.Namespace).
		WithLabels(labels).
		WithOwnerReferences(ownerOf(cluster)).
		WithAddressType(family).
		WithPorts(discoveryv1ac.EndpointPort().
			WithName(portNameMySQL).
			WithProtocol(corev1.ProtocolTCP).
			WithPort(PortMySQL))
	for _, endpoint := range endpoints {
		if FamilyOf(endpoint.IP) == family {
			slice.WithEndpoints(buildEndpoint(cluster.Namespace, endpoint))
		}
	}
	return slice
}

// EndpointSliceName is the name of a Service's EndpointSlice of one address family.
func EndpointSliceName(service string, family discoveryv1.AddressType) string {
	return service + "-" + strings.ToLower(string(family))
}

// FamilyOf is the address family of an IP address; empty if it is none.
func FamilyOf(ip string) discoveryv1.AddressType {
	address, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return ""
	case address.Is4():
		return discoveryv1.AddressTypeIPv4
	default:
		return discoveryv1.AddressTypeIPv6
	}
}

func buildEndpoint(namespace string, endpoint Endpoint) *discoveryv1ac.EndpointApplyConfiguration {
	built := discoveryv1ac.Endpoint().
		WithAddresses(endpoint.IP).
		WithConditions(discoveryv1ac.EndpointConditions().WithReady(true).WithServing(true).WithTerminating(false)).
		WithTargetRef(corev1ac.ObjectReference().
			WithKind("Pod").
			WithNamespace(namespace).
			WithName(endpoint.Instance).
			WithUID(endpoint.PodUID))
	if endpoint.Node != "" {
		built.WithNodeName(endpoint.Node)
	}
	if endpoint.Zone != "" {
		built.WithZone(endpoint.Zone)
	}
	return built
}
