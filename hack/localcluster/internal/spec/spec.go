// Package spec says what a local cluster is: its name, its boxes and its addresses. It is pure.
package spec

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Addresses of the cluster. Every cluster has the same ones: they exist inside its own network namespaces only.
const (
	// ControlPlaneIP is the address of the control-plane box on the LAN.
	ControlPlaneIP = "10.88.0.1"
	// LANPrefix is the length of the LAN's prefix.
	LANPrefix = 24
	// LANCIDR is the network that joins the boxes.
	LANCIDR = "10.88.0.0/24"
	// PodCIDR is the network that holds every node's pods.
	PodCIDR = "10.244.0.0/16"
	// ServiceCIDR is the network of the Services.
	ServiceCIDR = "10.96.0.0/16"
	// APIServiceIP is the address of the Service kubernetes.default.
	APIServiceIP = "10.96.0.1"
	// DNSServiceIP is the address of the Service kube-system/kube-dns.
	DNSServiceIP = "10.96.0.10"
	// APIPort is the port on which the API server listens in its box.
	APIPort = 6443
	// DNSDomain is the cluster's domain.
	DNSDomain = "cluster.local"
	// ControlPlane is the name of the control-plane box.
	ControlPlane = "control-plane"
	// Issuer is the issuer of service account tokens, and their default audience.
	Issuer = "https://kubernetes.default.svc." + DNSDomain
	// PauseImage is the image of every pod's first process.
	PauseImage = "localcluster.kapok/pause:1"
)

// maxNodes keeps the nodes within the LAN's and the pods' addresses and within what a machine can carry.
const maxNodes = 9

// Spec is what the user asked for. It is stored with the cluster, and a cluster keeps it for its whole life.
type Spec struct {
	// Name tells clusters on one machine apart.
	Name string `json:"name"`
	// Nodes is the number of worker nodes.
	Nodes int `json:"nodes"`
	// NodeMonitorGracePeriod is how long a node may be silent before it is NotReady; zero means Kubernetes' default.
	NodeMonitorGracePeriod time.Duration `json:"nodeMonitorGracePeriod,omitempty"`
	// EvictionSeconds is how long pods stay bound to a node that is not ready; negative means Kubernetes' default.
	EvictionSeconds int `json:"evictionSeconds"`
	// APIPort is the port on 127.0.0.1 at which the API is reached; zero means one that is free at first start.
	APIPort int `json:"apiPort,omitempty"`
}

// Default returns the specification of a cluster for which nothing was asked.
func Default() Spec {
	return Spec{Name: "kapok", Nodes: 3, EvictionSeconds: -1}
}

var namePattern = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$`)

// Validate says what is wrong with the specification, in words for the person who typed it.
func (s Spec) Validate() error {
	switch {
	case !namePattern.MatchString(s.Name):
		return fmt.Errorf("cluster name %q: use 1 to 30 of a-z, 0-9 and '-', beginning with a letter", s.Name)
	case s.Nodes < 1 || s.Nodes > maxNodes:
		return fmt.Errorf("%d nodes: use 1 to %d", s.Nodes, maxNodes)
	case s.NodeMonitorGracePeriod < 0:
		return fmt.Errorf("node monitor grace period %s: must not be negative", s.NodeMonitorGracePeriod)
	case s.APIPort < 0 || s.APIPort > 65535:
		return fmt.Errorf("API port %d: use 0 to 65535", s.APIPort)
	}
	return nil
}

// Node is one worker node.
type Node struct {
	// Name is the node's name, its host name and its box's name.
	Name string
	// Zone is the value of its label topology.kubernetes.io/zone.
	Zone string
	// IP is its address on the LAN.
	IP string
	// PodCIDR is the network of its pods.
	PodCIDR string
	// Gateway is the address of the node in the network of its pods.
	Gateway string
}

// NodeList returns the cluster's nodes: each in a zone of its own, as far as three zones go.
func (s Spec) NodeList() []Node {
	const zones = 3
	nodes := make([]Node, 0, s.Nodes)
	for i := 1; i <= s.Nodes; i++ {
		nodes = append(nodes, Node{
			Name:    "node" + strconv.Itoa(i),
			Zone:    "z" + strconv.Itoa((i-1)%zones+1),
			IP:      fmt.Sprintf("10.88.0.%d", 10+i),
			PodCIDR: fmt.Sprintf("10.244.%d.0/24", i),
			Gateway: fmt.Sprintf("10.244.%d.1", i),
		})
	}
	return nodes
}

// Node returns the node of that name.
func (s Spec) Node(name string) (Node, bool) {
	for _, n := range s.NodeList() {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// Boxes returns the names of all boxes, the control plane first.
func (s Spec) Boxes() []string {
	names := []string{ControlPlane}
	for _, n := range s.NodeList() {
		names = append(names, n.Name)
	}
	return names
}
