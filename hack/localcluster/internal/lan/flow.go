package lan

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
)

// hook is where on the bridge a packet is met.
type hook string

// A packet between two nodes passes entry of one port and leave of another. One from the control plane, which is the
// bridge itself, passes origin and leave; one to it passes entry.
const (
	// entry is where a packet comes in by a port.
	entry hook = "prerouting"
	// origin is where the control plane sends.
	origin hook = "output"
	// leave is where a packet goes out by a port.
	leave hook = "postrouting"
)

// hooks are all of them, in the order in which they are made.
func hooks() []hook { return []hook{entry, origin, leave} }

// match is what packets a flow is about. What is empty does not matter.
type match struct {
	hook hook
	// port is the node's port on the bridge, by which the packet comes in or goes out.
	port string
	// from and to are where it comes from and goes to.
	from, to netip.Prefix
	// tcp takes TCP only.
	tcp bool
	// source and target are the TCP ports of its two ends.
	source, target int
	// notPort is a TCP port that neither end may have.
	notPort int
}

// flow is one rule of the packet filter.
type flow struct {
	match
	// loss is the share of the packets that is dropped, in parts of scale.
	loss int
	// queue is the number of the queue in which packets wait; valid with delayed.
	queue   uint16
	delayed bool
}

// scale is what a flow's loss is a part of: a hundredth of a percent.
const scale = 10000

// String gives the flow in words much like nft's.
func (f flow) String() string {
	words := []string{string(f.hook)}
	if f.port != "" {
		words = append(words, map[hook]string{entry: "iif", leave: "oif"}[f.hook], f.port)
	}
	if f.from.IsValid() {
		words = append(words, "from", f.from.String())
	}
	if f.to.IsValid() {
		words = append(words, "to", f.to.String())
	}
	if f.tcp {
		words = append(words, "tcp")
	}
	for _, p := range []struct {
		name string
		port int
	}{{"sport", f.source}, {"dport", f.target}, {"port !=", f.notPort}} {
		if p.port != 0 {
			words = append(words, fmt.Sprintf("%s %d", p.name, p.port))
		}
	}
	if f.delayed {
		return strings.Join(append(words, fmt.Sprintf("queue %d", f.queue)), " ")
	}
	if f.loss < scale {
		words = append(words, fmt.Sprintf("random %d/%d", f.loss, scale))
	}
	return strings.Join(append(words, "drop"), " ")
}

// flows returns what the packet filter must do for the rules: losses first, because a packet that waits is done with. What
// waits is told by addresses, not by the port on the bridge: there are no queues in the bridge's own filter, only in that
// for IP, through which what is bridged goes as well, but where it seems to come from the bridge itself.
// queue tells in which queue packets of a rule wait.
func flows(rules []netfault.Rule, nodes []spec.Node, queue func(netfault.Rule) uint16) []flow {
	var lost, late []flow
	for _, r := range rules {
		r = r.Normal()
		for _, m := range matches(r, nodes) {
			if r.Loss > 0 {
				lost = append(lost, flow{match: m, loss: int(r.Loss*scale/100 + 0.5)})
			}
			if r.Delay == 0 {
				continue
			}
			for _, byAddress := range m.withoutPort(nodes) {
				late = append(late, flow{match: byAddress, queue: queue(r), delayed: true})
			}
		}
	}
	return append(lost, late...)
}

// matches returns the packets that a rule is about. For a rule about everywhere that is what every node sends and what
// the control plane sends, so that no packet is met twice.
func matches(r netfault.Rule, nodes []spec.Node) []match {
	var found []match
	for _, n := range nodes {
		if r.Node != n.Name && r.Node != netfault.Everywhere {
			continue
		}
		for _, p := range r.Peers {
			sent := outgoing(n, p, nodes)
			if r.Direction != netfault.In {
				found = append(found, sent...)
			}
			if r.Direction == netfault.Out || r.Node == netfault.Everywhere {
				continue
			}
			for _, m := range sent {
				found = append(found, reverse(m))
			}
		}
	}
	if r.Node == netfault.Everywhere {
		for _, p := range r.Peers {
			found = append(found, controlPlaneSends(p)...)
		}
	}
	return withPorts(found, r.Ports)
}

// withoutPort returns the same packets, told by the node's addresses instead of by its port.
func (m match) withoutPort(nodes []spec.Node) []match {
	for _, n := range nodes {
		if n.Name != m.port {
			continue
		}
		m.port = ""
		self, pods := m, m
		switch {
		case m.hook == entry && !m.from.IsValid():
			self.from, pods.from = address(n.IP), netip.MustParsePrefix(n.PodCIDR)
		case m.hook == leave && !m.to.IsValid():
			self.to, pods.to = address(n.IP), netip.MustParsePrefix(n.PodCIDR)
		default:
			return []match{m}
		}
		return []match{self, pods}
	}
	return []match{m}
}

const dnsPort = 53

// outgoing returns what a node sends to a peer.
func outgoing(n spec.Node, peer string, nodes []spec.Node) []match {
	m := match{hook: entry, port: n.Name}
	switch peer {
	case netfault.Anyone:
		return []match{m}
	case netfault.API:
		m.to, m.tcp, m.notPort = address(spec.ControlPlaneIP), true, dnsPort
		return []match{m}
	case netfault.ControlPlane:
		m.to = address(spec.ControlPlaneIP)
		return []match{m}
	case netfault.Pods:
		m.from, m.to = netip.MustParsePrefix(n.PodCIDR), netip.MustParsePrefix(spec.PodCIDR)
		return []match{m}
	}
	for _, other := range nodes {
		if other.Name == peer {
			self, pods := m, m
			self.to, pods.to = address(other.IP), netip.MustParsePrefix(other.PodCIDR)
			return []match{self, pods}
		}
	}
	return nil
}

// controlPlaneSends returns what the control plane sends to nodes, as far as a rule about everywhere has that peer.
func controlPlaneSends(peer string) []match {
	switch peer {
	case netfault.Anyone, netfault.ControlPlane:
		return []match{{hook: origin}}
	case netfault.API:
		return []match{{hook: origin, tcp: true, notPort: dnsPort}}
	}
	return nil
}

// reverse returns what comes back.
func reverse(m match) match {
	m.hook = leave
	m.from, m.to = m.to, m.from
	return m
}

// withPorts leaves of each match what has one of the ports at either end.
func withPorts(all []match, ports []int) []match {
	if len(ports) == 0 {
		return all
	}
	var found []match
	for _, m := range all {
		m.tcp = true
		for _, p := range ports {
			here, there := m, m
			here.source, there.target = p, p
			found = append(found, here, there)
		}
	}
	return found
}

func address(ip string) netip.Prefix { return netip.PrefixFrom(netip.MustParseAddr(ip), 32) }
