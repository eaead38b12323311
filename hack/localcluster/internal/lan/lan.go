// Package lan joins the boxes' network namespaces: a bridge in the control-plane box, a cable to each node, and routes to
// every node's pods. The bridge has no other port, so nothing of the cluster can be reached from outside it nor reach out,
// and the machine's own network namespace gets no device, route or rule.
package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
)

const (
	bridge = "lan0"
	uplink = "eth0"
)

// LAN is the network of one cluster.
type LAN struct {
	center netns.NsHandle
	link   *netlink.Handle

	// queues are where packets of delaying faults wait, by the fault.
	queues    map[string]*delayQueue
	lastQueue uint16
}

// New makes the bridge in the control-plane box's network namespace, and routes to the pods of every node.
func New(namespace string, nodes []spec.Node) (*LAN, error) {
	center, err := netns.GetFromPath(namespace)
	if err != nil {
		return nil, fmt.Errorf("open network namespace of the control plane: %w", err)
	}
	link, err := netlink.NewHandleAt(center)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("enter network namespace of the control plane: %w", err), center.Close())
	}
	l := &LAN{center: center, link: link}
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}
	if err := link.LinkAdd(br); err != nil {
		return nil, errors.Join(fmt.Errorf("make LAN bridge: %w", err), l.Close())
	}
	if err := setAddress(link, bridge, spec.ControlPlaneIP); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	for _, n := range nodes {
		if err := route(link, bridge, n.PodCIDR, n.IP); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// Close gives up the handles; the network lives as long as the boxes.
func (l *LAN) Close() error {
	var queues []*delayQueue
	for _, q := range l.queues {
		queues = append(queues, q)
	}
	l.link.Close()
	return errors.Join(closeAll(queues), l.center.Close())
}

// Connect gives a new node box its cable, its address and its routes.
func (l *LAN) Connect(node spec.Node, pid int, namespace string, all []spec.Node) error {
	// A node that ended without its namespace being gone yet may have left its end of the cable.
	if old, err := l.link.LinkByName(node.Name); err == nil {
		if err := l.link.LinkDel(old); err != nil {
			return fmt.Errorf("remove old cable of %s: %w", node.Name, err)
		}
	}
	cable := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: node.Name}, PeerName: uplink, PeerNamespace: netlink.NsPid(pid),
	}
	if err := l.link.LinkAdd(cable); err != nil {
		return fmt.Errorf("make cable of %s: %w", node.Name, err)
	}
	port, err := l.link.LinkByName(node.Name)
	if err != nil {
		return fmt.Errorf("find cable of %s: %w", node.Name, err)
	}
	br, err := l.link.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("find LAN bridge: %w", err)
	}
	if err := l.link.LinkSetMaster(port, br); err != nil {
		return fmt.Errorf("plug in %s: %w", node.Name, err)
	}
	if err := l.link.LinkSetUp(port); err != nil {
		return fmt.Errorf("set cable of %s up: %w", node.Name, err)
	}
	return l.configure(node, namespace, all)
}

func (l *LAN) configure(node spec.Node, namespace string, all []spec.Node) error {
	ns, err := netns.GetFromPath(namespace)
	if err != nil {
		return fmt.Errorf("open network namespace of %s: %w", node.Name, err)
	}
	defer func() { _ = ns.Close() }()
	inside, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("enter network namespace of %s: %w", node.Name, err)
	}
	defer inside.Close()
	if err := setAddress(inside, uplink, node.IP); err != nil {
		return err
	}
	for _, other := range all {
		if other.Name == node.Name {
			continue
		}
		if err := route(inside, uplink, other.PodCIDR, other.IP); err != nil {
			return err
		}
	}
	// A program in the node that calls a Service needs some route to it before kube-proxy can send it on.
	return route(inside, uplink, spec.ServiceCIDR, spec.ControlPlaneIP)
}

// SetCable pulls a node's cable out or plugs it in.
func (l *LAN) SetCable(node string, plugged bool) error {
	port, err := l.link.LinkByName(node)
	if err != nil {
		return fmt.Errorf("find cable of %s: %w", node, err)
	}
	set := l.link.LinkSetDown
	if plugged {
		set = l.link.LinkSetUp
	}
	if err := set(port); err != nil {
		return fmt.Errorf("set cable of %s: %w", node, err)
	}
	return nil
}

// Dial opens a TCP connection from within the control-plane box.
func (l *LAN) Dial(ctx context.Context, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// The thread ends with this function, so it need not find its way back to its own namespace.
		runtime.LockOSThread()
		if err := unix.Setns(int(l.center), unix.CLONE_NEWNET); err != nil {
			done <- result{err: fmt.Errorf("enter network namespace of the control plane: %w", err)}
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

func setAddress(h *netlink.Handle, device, ip string) error {
	link, err := h.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(ip).To4(), Mask: net.CIDRMask(spec.LANPrefix, 32)}}
	if err := h.AddrReplace(link, address); err != nil {
		return fmt.Errorf("give %s the address %s: %w", device, ip, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", device, err)
	}
	return nil
}

func route(h *netlink.Handle, device, cidr, via string) error {
	link, err := h.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	_, destination, err := net.ParseCIDR(cidr)
	if err != nil {
		return fmt.Errorf("parse route: %w", err)
	}
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: destination, Gw: net.ParseIP(via)}
	if err := h.RouteReplace(r); err != nil {
		return fmt.Errorf("add route to %s: %w", cidr, err)
	}
	return nil
}
