package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
	"github.com/kapok-operators/kapok/hack/localcluster/provider"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

const (
	// lossOf is how many percent of its packets a bad cable loses, lateBy how late they are, one way.
	lossOf = 20
	lateBy = 200 * time.Millisecond
	// databasePort is where every instance listens.
	databasePort = 3306
)

// injectNetwork disturbs what the node sends and receives.
func (f *field) injectNetwork(ctx context.Context, kind Kind, node string) (undo, error) {
	rule := netfault.Rule{Node: node}
	switch kind {
	case CutNodeOut:
		rule.Direction, rule.Loss = netfault.Out, 100
	case CutNodeIn:
		rule.Direction, rule.Loss = netfault.In, 100
	case CutAPI:
		rule.Peers, rule.Loss = []string{netfault.API}, 100
	case CutDatabases:
		rule.Peers, rule.Ports, rule.Loss = []string{netfault.Pods}, []int{databasePort}, 100
	case LosePackets:
		rule.Loss = lossOf
	case DelayPackets:
		rule.Delay = lateBy
	default:
		return nil, fmt.Errorf("%s is no fault of the network", kind)
	}
	return func(ctx context.Context) error { return f.network.Heal(ctx, node) }, f.network.Disturb(ctx, rule)
}

// injectControl disturbs the API server.
func (f *field) injectControl(ctx context.Context, kind Kind) (undo, error) {
	if kind == RestartAPI {
		return nothing, f.control.Restart(ctx, provider.APIServer)
	}
	return func(ctx context.Context) error { return f.control.Resume(ctx, provider.APIServer) }, f.control.Pause(ctx, provider.APIServer)
}

const (
	// fill takes all that is left of the instance's volume: most of it at once, and the rest, which the file system may need
	// for itself, by writing until that fails. empty gives it back.
	fill = `{ free=$(df -B1 --output=avail "$ROOT/var/lib/mysql" | tail -n 1) && fallocate -l "$((free - 8388608))" "$ROOT/var/lib/mysql/forgotten" &&
    ! dd if=/dev/zero of="$ROOT/var/lib/mysql/forgotten-too" bs=64k; }`
	empty = `rm -f "$ROOT/var/lib/mysql/forgotten" "$ROOT/var/lib/mysql/forgotten-too"`
)

// injectClock sets the clock of an instance's mysqld wrong.
func (f *field) injectClock(ctx context.Context, fault Fault, sc scene, instance string) (undo, error) {
	set := func(ctx context.Context, offset string) error {
		_, err := f.cluster.OnNode(ctx, sc.nodes[instance], instance, lab.ProgramAgent, `echo "`+offset+`" > "$ROOT/var/lib/mysql/clock"`)
		return err
	}
	offset := "+3600"
	if fault.Replica%2 == 1 {
		offset = "-3600"
	}
	return func(ctx context.Context) error { return set(ctx, "+0") }, set(ctx, offset)
}

// injectDisk disturbs an instance's volume.
func (f *field) injectDisk(ctx context.Context, kind Kind, sc scene, instance string) (undo, error) {
	node, volume := sc.nodes[instance], sc.volumes[instance]
	if kind == FillDisk {
		_, err := f.cluster.OnNode(ctx, node, instance, lab.ProgramAgent, fill)
		return func(ctx context.Context) error {
			_, err := f.cluster.OnNode(ctx, node, instance, lab.ProgramAgent, empty)
			return err
		}, err
	}
	return func(ctx context.Context) error { return f.volumes.Release(ctx, node, volume) }, f.volumes.Stall(ctx, node, volume)
}
