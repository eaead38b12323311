package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NodeFaults are what a lab does to a node.
type NodeFaults interface {
	// Stop ends everything on the node at once, as a power cut does; Start boots it again.
	Stop(ctx context.Context, node string) error
	Start(ctx context.Context, node string) error
	// Cut takes the node off the network; Heal puts it back, and does no harm to a node that is on it.
	Cut(ctx context.Context, node string) error
	Heal(ctx context.Context, node string) error
	// Freeze lets every process of the node stand still; Thaw lets them go on.
	Freeze(ctx context.Context, node string) error
	Thaw(ctx context.Context, node string) error
	// Exec runs a command in the node as its root and returns what it printed.
	Exec(ctx context.Context, node string, command ...string) (string, error)
}

// enoughNodes is how many nodes it takes to lose one and be watched by a client on another.
const enoughNodes = 3

// ErrNoNodeFaults says that the provider cannot touch its nodes.
var ErrNoNodeFaults = errors.New("this cluster's nodes cannot be touched")

// Faults returns what can be done to nodes, or ErrNoNodeFaults: where the provider cannot do it, or where there are too few
// nodes to lose one.
func (l *Lab) Faults(ctx context.Context) (NodeFaults, error) {
	if l.faults == nil {
		return nil, ErrNoNodeFaults
	}
	nodes, err := l.usableNodes(ctx)
	if err != nil {
		return nil, err
	}
	if len(nodes) < enoughNodes {
		return nil, fmt.Errorf("%w: there are %d of them, and it takes %d", ErrNoNodeFaults, len(nodes), enoughNodes)
	}
	return l.faults, nil
}

// Abilities is what does faults to the cluster: a provider of clusters, or what stands in for it. Ask it by a type assertion what it can do.
func (l *Lab) Abilities() any {
	if l.faults != nil {
		return l.faults
	}
	return l.provider
}

// usableNodes returns the names of the nodes on which ordinary pods can run now.
func (l *Lab) usableNodes(ctx context.Context) ([]string, error) {
	var list corev1.NodeList
	if err := l.Client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	var names []string
	for _, n := range list.Items {
		if nodeReady(n) && !n.Spec.Unschedulable && schedulable(n) {
			names = append(names, n.Name)
		}
	}
	return names, nil
}

// WaitNode waits until the node is ready, or is not.
func (l *Lab) WaitNode(ctx context.Context, timeout time.Duration, name string, ready bool) error {
	what := fmt.Sprintf("node %s ready=%t", name, ready)
	return l.Wait(ctx, timeout, what, func(ctx context.Context) (bool, string, error) {
		var node corev1.Node
		if err := l.Client.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
			return NotYet(err)
		}
		return nodeReady(node) == ready, fmt.Sprintf("ready=%t", nodeReady(node)), nil
	})
}

// OtherNode returns a node that is none of the given ones, and on which ordinary pods can run now; empty if there is none.
func (l *Lab) OtherNode(ctx context.Context, not ...string) (string, error) {
	nodes, err := l.usableNodes(ctx)
	if err != nil {
		return "", err
	}
	for _, n := range nodes {
		if !slices.Contains(not, n) {
			return n, nil
		}
	}
	return "", nil
}

// schedulable says that ordinary pods may run on the node.
func schedulable(n corev1.Node) bool {
	for _, t := range n.Spec.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule {
			return false
		}
	}
	return true
}
