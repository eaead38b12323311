package provider

import (
	"context"

	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
)

// Stop implements NodeFaults.
func (l *Local) Stop(ctx context.Context, node string) error { return l.node(ctx, "stop", node) }

// Start implements NodeFaults.
func (l *Local) Start(ctx context.Context, node string) error { return l.node(ctx, "start", node) }

// Cut implements NodeFaults.
func (l *Local) Cut(ctx context.Context, node string) error { return l.node(ctx, "cut", node) }

// Heal implements NodeFaults and NetworkFaults.
func (l *Local) Heal(ctx context.Context, node string) error { return l.node(ctx, "heal", node) }

// Freeze implements NodeFaults.
func (l *Local) Freeze(ctx context.Context, node string) error { return l.node(ctx, "freeze", node) }

// Thaw implements NodeFaults.
func (l *Local) Thaw(ctx context.Context, node string) error { return l.node(ctx, "thaw", node) }

// Disturb implements NetworkFaults.
func (l *Local) Disturb(ctx context.Context, rule netfault.Rule) error {
	return l.node(ctx, "disturb", rule.Node, rule.Args()...)
}

// HealAll implements NetworkFaults.
func (l *Local) HealAll(ctx context.Context) error { return l.node(ctx, "heal", netfault.Everywhere) }

// Pause implements ControlFaults.
func (l *Local) Pause(ctx context.Context, program string) error {
	return l.control(ctx, "pause", program)
}

// Resume implements ControlFaults.
func (l *Local) Resume(ctx context.Context, program string) error {
	return l.control(ctx, "resume", program)
}

// Restart implements ControlFaults.
func (l *Local) Restart(ctx context.Context, program string) error {
	return l.control(ctx, "restart", program)
}

// Stall implements VolumeFaults.
func (l *Local) Stall(ctx context.Context, node, volume string) error {
	return l.volume(ctx, "stall", node, volume)
}

// Release implements VolumeFaults.
func (l *Local) Release(ctx context.Context, node, volume string) error {
	return l.volume(ctx, "release", node, volume)
}

func (l *Local) node(ctx context.Context, operation, node string, args ...string) error {
	return l.run(ctx, nil, append([]string{"node", "--name", l.name, operation, node}, args...)...)
}

func (l *Local) control(ctx context.Context, operation, program string) error {
	return l.run(ctx, nil, "control", "--name", l.name, operation, program)
}

func (l *Local) volume(ctx context.Context, operation, node, volume string) error {
	return l.run(ctx, nil, "volume", "--name", l.name, operation, node, volume)
}
