// Package netfault says what can be wrong with a cluster's network: which packets a rule is about, and whether they are
// lost or late. It is pure; internal/lan carries the rules out.
package netfault

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Everywhere is the Node of a rule about the LAN as a whole: each packet meets it once, whatever its way.
const Everywhere = "all"

// Direction is seen from the node.
type Direction string

// Directions.
const (
	// Both ways. It is what an empty Direction means.
	Both Direction = "both"
	// Out is what the node sends.
	Out Direction = "out"
	// In is what the node receives.
	In Direction = "in"
)

// Peers besides the names of nodes.
const (
	// Anyone is everything on the LAN. It is what no Peers mean.
	Anyone = "all"
	// API is the API server and its way to the node, to kubelet and to webhooks. Names are still found: DNS goes on.
	API = "api"
	// ControlPlane is everything in the control-plane box: the API server and DNS.
	ControlPlane = "control-plane"
	// Pods are pods of other nodes, as far as pods of this node talk with them.
	Pods = "pods"
)

// Rule is one fault. Only IPv4 packets between boxes meet it: what stays within a node never does. Addresses are still
// resolved (ARP), so that what comes in where only Out is lost does come in. A rule holds for packets of connections that
// are open as well as for new ones.
type Rule struct {
	// Node is the node whose cable is bad, or Everywhere. Its other end, where the rule names one, is in Peers.
	Node string `json:"node"`
	// Direction is which of the node's packets the rule is about.
	Direction Direction `json:"direction,omitempty"`
	// Peers are with whom: Anyone, API, ControlPlane, Pods, or names of nodes, which include these nodes' pods.
	Peers []string `json:"peers,omitempty"`
	// Ports are TCP ports of either end; without any, every packet is meant.
	Ports []int `json:"ports,omitempty"`
	// Loss is how many percent of the packets are lost, at random. 100 is a cut.
	Loss float64 `json:"loss,omitempty"`
	// Delay is how late the packets are that are not lost, one way. With Direction Both a round trip takes twice as much
	// longer.
	Delay time.Duration `json:"delay,omitempty"`
	// Jitter is how far Delay varies, up or down. Packets stay in order.
	Jitter time.Duration `json:"jitter,omitempty"`
}

// Bounds of a rule.
const (
	maxDelay = 30 * time.Second
	minLoss  = 0.01
	allLost  = 100
)

// Normal returns the rule as it is compared and carried out: defaults filled in, lists sorted.
func (r Rule) Normal() Rule {
	if r.Direction == "" {
		r.Direction = Both
	}
	if len(r.Peers) == 0 {
		r.Peers = []string{Anyone}
	}
	r.Peers = slices.Compact(slices.Sorted(slices.Values(r.Peers)))
	r.Ports = slices.Compact(slices.Sorted(slices.Values(r.Ports)))
	return r
}

// Equal says whether two rules mean the same.
func (r Rule) Equal(other Rule) bool { return r.Normal().String() == other.Normal().String() }

// Validate says what is wrong with the rule in a cluster of these nodes.
func (r Rule) Validate(nodes []string) error {
	if r.Node != Everywhere && !slices.Contains(nodes, r.Node) {
		return fmt.Errorf("node %q: use %s or one of %v", r.Node, Everywhere, nodes)
	}
	switch r.Direction {
	case "", Both:
	case Out, In:
		if r.Node == Everywhere {
			return fmt.Errorf("direction %s: a rule for %s nodes has no direction; leave it out", r.Direction, Everywhere)
		}
	default:
		return fmt.Errorf("direction %q: use %s, %s or %s", r.Direction, Both, Out, In)
	}
	return errors.Join(r.validatePeers(nodes), r.validatePorts(), r.validateEffect())
}

func (r Rule) validatePeers(nodes []string) error {
	for _, p := range r.Peers {
		switch {
		case p == Anyone && len(r.Peers) > 1:
			return fmt.Errorf("peers %v: %s stands alone", r.Peers, Anyone)
		case p == Anyone, p == API, p == ControlPlane, p == Pods:
		case p == r.Node:
			return fmt.Errorf("peers %v: %s is the node itself", r.Peers, p)
		case !slices.Contains(nodes, p):
			return fmt.Errorf("peer %q: use %s, %s, %s, %s or one of %v", p, Anyone, API, ControlPlane, Pods, nodes)
		case r.Node == Everywhere:
			return fmt.Errorf("peer %s: for the traffic of one node, name it as the node", p)
		}
	}
	return nil
}

func (r Rule) validatePorts() error {
	for _, p := range r.Ports {
		if p < 1 || p > 65535 {
			return fmt.Errorf("port %d: use 1 to 65535", p)
		}
	}
	return nil
}

func (r Rule) validateEffect() error {
	switch {
	case r.Loss == 0 && r.Delay == 0:
		return errors.New("the rule neither loses packets nor delays them: give a loss or a delay")
	case r.Loss != 0 && !(r.Loss >= minLoss && r.Loss <= allLost):
		return fmt.Errorf("loss %v%%: use %v to %v", r.Loss, minLoss, allLost)
	case r.Delay < 0 || r.Delay > maxDelay:
		return fmt.Errorf("delay %s: use up to %s", r.Delay, maxDelay)
	case r.Jitter < 0 || r.Jitter > r.Delay:
		return fmt.Errorf("jitter %s: use up to the delay, which is %s", r.Jitter, r.Delay)
	}
	return nil
}

// String says what the rule does, in one line.
func (r Rule) String() string {
	r = r.Normal()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s peers %s", r.Node, r.Direction, strings.Join(r.Peers, ","))
	if len(r.Ports) > 0 {
		fmt.Fprintf(&b, " port %s", joined(r.Ports))
	}
	if r.Loss > 0 {
		fmt.Fprintf(&b, " loss %v%%", r.Loss)
	}
	if r.Delay > 0 {
		fmt.Fprintf(&b, " delay %s", r.Delay)
	}
	if r.Jitter > 0 {
		fmt.Fprintf(&b, " jitter %s", r.Jitter)
	}
	return b.String()
}

// Flags makes the rule's options, all but the node, which set it when they are parsed.
func (r *Rule) Flags(flags *flag.FlagSet) {
	flags.Func("direction", "out, in, or both (default both)", func(s string) error {
		r.Direction = Direction(s)
		return nil
	})
	flags.Func("peers", "with whom, comma-separated: all, api, control-plane, pods, names of nodes (default all)", func(s string) error {
		r.Peers = strings.Split(s, ",")
		return nil
	})
	flags.Func("port", "TCP ports of either end, comma-separated (default: every packet)", func(s string) (err error) {
		r.Ports, err = parsePorts(s)
		return err
	})
	flags.Float64Var(&r.Loss, "loss", r.Loss, "percent of the packets that are lost")
	flags.DurationVar(&r.Delay, "delay", r.Delay, "how late packets are, one way")
	flags.DurationVar(&r.Jitter, "jitter", r.Jitter, "how far the delay varies, up or down")
}

// Args returns the options of which Flags makes this rule again.
func (r Rule) Args() []string {
	var args []string
	if r.Direction != "" {
		args = append(args, "--direction="+string(r.Direction))
	}
	if len(r.Peers) > 0 {
		args = append(args, "--peers="+strings.Join(r.Peers, ","))
	}
	if len(r.Ports) > 0 {
		args = append(args, "--port="+joined(r.Ports))
	}
	if r.Loss != 0 {
		args = append(args, "--loss="+strconv.FormatFloat(r.Loss, 'g', -1, 64))
	}
	if r.Delay != 0 {
		args = append(args, "--delay="+r.Delay.String())
	}
	if r.Jitter != 0 {
		args = append(args, "--jitter="+r.Jitter.String())
	}
	return args
}

func parsePorts(s string) ([]int, error) {
	var ports []int
	for word := range strings.SplitSeq(s, ",") {
		p, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("%q is no port", word)
		}
		ports = append(ports, p)
	}
	return ports, nil
}

func joined(ports []int) string {
	words := make([]string, 0, len(ports))
	for _, p := range ports {
		words = append(words, strconv.Itoa(p))
	}
	return strings.Join(words, ",")
}
