package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// undo ends a fault. It may be called again.
type undo func(ctx context.Context) error

// nothing is the end of a fault of a moment.
func nothing(context.Context) error { return nil }

// injected is a fault that was injected.
type injected struct {
	Fault
	// Victim is the instance it met.
	Victim string `json:"victim"`
	// Begun and Over are when it was injected and when it was over, by the machine's monotonic clock.
	Begun time.Duration `json:"begun"`
	Over  time.Duration `json:"over"`
	// begunAt is Begun by the clock of the logs.
	begunAt time.Time
	// Failed is why it could not be injected, empty if it was.
	Failed string `json:"failed,omitempty"`
}

// play injects the round's faults, holds and ends them. A fault that cannot be injected, because another one is in its way,
// is noted and does not count; one that cannot be ended is an error.
func (f *field) play(ctx context.Context, r Round, sc scene) ([]injected, error) {
	results := make([]injected, len(r.Faults))
	var all errgroup.Group
	for i, fault := range r.Faults {
		all.Go(func() error {
			var err error
			results[i], err = f.one(ctx, fault, sc)
			return err
		})
	}
	return results, all.Wait()
}

func (f *field) one(ctx context.Context, fault Fault, sc scene) (injected, error) {
	result := injected{Fault: fault, Victim: sc.victim(fault)}
	if err := sleep(ctx, fault.After); err != nil {
		return result, err
	}
	result.Begun, result.begunAt = history.Now(), time.Now()
	limited, cancel := context.WithTimeout(ctx, injectTimeout)
	defer cancel()
	end, err := f.inject(limited, fault, sc, result.Victim)
	if err != nil {
		result.Failed = err.Error()
	}
	if end == nil {
		result.Over = history.Now()
		return result, nil
	}
	if err == nil {
		err = sleep(ctx, fault.Hold)
	}
	err = errors.Join(ignoreInjection(err, result), f.end(ctx, fault, end))
	result.Over = history.Now()
	return result, err
}

// ignoreInjection drops the error that is noted already.
func ignoreInjection(err error, result injected) error {
	if result.Failed != "" {
		return nil
	}
	return err
}

// end ends a fault, again and again until it is over. What it undoes must not stay, whatever becomes of the campaign.
func (f *field) end(ctx context.Context, fault Fault, end undo) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	for {
		err := end(ctx)
		if err == nil {
			return nil
		}
		if waited := sleep(ctx, time.Second); waited != nil {
			return fmt.Errorf("end %s: %w", fault.Kind, err)
		}
	}
}

// sleep waits unless the context ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// inject begins a fault and returns how to end it. With an error there may be something to end all the same.
func (f *field) inject(ctx context.Context, fault Fault, sc scene, victim string) (undo, error) {
	switch fault.Kind {
	case KillServer, KillReplicaServer:
		return nothing, f.signal(ctx, sc, victim, lab.ProgramServer, "KILL")
	case KillAllServers:
		return nothing, together(sc.all(), func(name string) error { return f.signal(ctx, sc, name, lab.ProgramServer, "KILL") })
	case KillAgent, KillReplicaAgent:
		return nothing, f.signal(ctx, sc, victim, lab.ProgramAgent, "KILL")
	case FreezeServer, FreezeReplicaServer:
		return f.freeze(ctx, sc, victim, lab.ProgramServer)
	case FreezeAgent:
		return f.freeze(ctx, sc, victim, lab.ProgramAgent)
	case DeletePod, DeleteReplicaPod:
		return nothing, f.cluster.DeletePod(ctx, f.cluster.Key.Namespace, victim)
	case DeleteAllPods:
		return nothing, together(sc.all(), func(name string) error { return f.cluster.DeletePod(ctx, f.cluster.Key.Namespace, name) })
	case EvictPod:
		return nothing, f.evict(ctx, victim)
	case KillLeader:
		return nothing, f.cluster.DeletePod(ctx, lab.OperatorNamespace, sc.leader)
	case KillLeaderAndServer:
		return nothing, together([]string{lab.ProgramServer, sc.leader}, func(which string) error {
			if which == lab.ProgramServer {
				return f.signal(ctx, sc, victim, lab.ProgramServer, "KILL")
			}
			return f.cluster.DeletePod(ctx, lab.OperatorNamespace, which)
		})
	case Switchover:
		return nothing, f.cluster.Switchover(ctx, mysqlv1.SwitchoverAny)
	case StopNode, StopReplicaNode, FreezeNode, CutNode, CutReplicaNode:
		return f.injectNode(ctx, fault.Kind, sc.nodes[victim])
	case CutNodeOut, CutNodeIn, CutAPI, CutDatabases, LosePackets, DelayPackets:
		return f.injectNetwork(ctx, fault.Kind, sc.nodes[victim])
	case FillDisk, StallDisk, StallReplicaDisk:
		return f.injectDisk(ctx, fault.Kind, sc, victim)
	case StepClock:
		return f.injectClock(ctx, fault, sc, victim)
	case PauseAPI, RestartAPI:
		return f.injectControl(ctx, fault.Kind)
	}
	return nil, fmt.Errorf("nobody knows how to inject %q", fault.Kind)
}

// signal sends a signal, from the node if that can be had: an exec needs the API server, and cannot end the container's first
// process.
func (f *field) signal(ctx context.Context, sc scene, instance, program, signal string) error {
	if f.nodes != nil {
		return f.cluster.SignalOnNode(ctx, sc.nodes[instance], instance, program, signal)
	}
	return f.cluster.Signal(ctx, instance, signal)
}

func (f *field) freeze(ctx context.Context, sc scene, instance, program string) (undo, error) {
	return func(ctx context.Context) error {
		err := f.signal(ctx, sc, instance, program, "CONT")
		if errors.Is(err, lab.ErrNoProcess) {
			// It was killed while it stood still.
			return nil
		}
		return err
	}, f.signal(ctx, sc, instance, program, "STOP")
}

// evict asks for the pod to leave, as a drain of its node does, as long as the disruption budget refuses.
func (f *field) evict(ctx context.Context, instance string) error {
	for {
		err := f.cluster.Core.PolicyV1().Evictions(f.cluster.Key.Namespace).Evict(ctx, &policyv1.Eviction{
			ObjectMeta: metav1.ObjectMeta{Namespace: f.cluster.Key.Namespace, Name: instance}})
		if !apierrors.IsTooManyRequests(err) {
			return err
		}
		if waited := sleep(ctx, time.Second); waited != nil {
			return fmt.Errorf("evict %s: %w", instance, err)
		}
	}
}

// together does something for each at the same time.
func together(names []string, do func(string) error) error {
	var all errgroup.Group
	for _, name := range names {
		all.Go(func() error { return do(name) })
	}
	return all.Wait()
}

func (f *field) injectNode(ctx context.Context, kind Kind, node string) (undo, error) {
	switch kind {
	case StopNode, StopReplicaNode:
		return func(ctx context.Context) error { return f.nodes.Start(ctx, node) }, f.nodes.Stop(ctx, node)
	case FreezeNode:
		return func(ctx context.Context) error { return f.nodes.Thaw(ctx, node) }, f.nodes.Freeze(ctx, node)
	default:
		return func(ctx context.Context) error { return f.nodes.Heal(ctx, node) }, f.nodes.Cut(ctx, node)
	}
}
