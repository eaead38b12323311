package supervisor

import (
	"context"
	"errors"
	"fmt"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/cgroup"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/control"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
)

// operate carries out an operation on a box. Doing what is done already is no error.
func (s *Supervisor) operate(ctx context.Context, operation, name string) error {
	s.operations.Lock()
	defer s.operations.Unlock()
	if state := s.events.last().State; state != control.Ready {
		return fmt.Errorf("the cluster is %s, not ready", state)
	}
	node, isNode := s.record.Spec.Node(name)
	if !isNode && name != spec.ControlPlane {
		return fmt.Errorf("there is no node %q; the nodes are %v", name, s.record.Spec.Boxes()[1:])
	}
	if !isNode && operation != control.Freeze && operation != control.Thaw {
		return fmt.Errorf("cannot %s the control plane: the network hangs on it; freeze it instead", operation)
	}
	m := s.member(name)
	switch operation {
	case control.Start:
		if m != nil {
			return s.waitNode(ctx, node, m)
		}
		started := make(chan struct{})
		close(started)
		return s.startNode(ctx, node, started)
	case control.Stop:
		if m == nil {
			return nil
		}
		s.mu.Lock()
		delete(s.boxes, name)
		s.mu.Unlock()
		return m.box.Kill(ctx)
	case control.CutOff, control.Heal, control.Freeze, control.Thaw:
		if m == nil {
			return fmt.Errorf("cannot %s %s: it is stopped", operation, name)
		}
		return s.disturb(m, operation)
	}
	return errors.New("unknown operation " + operation)
}

func (s *Supervisor) disturb(m *member, operation string) error {
	name := m.box.Config.Name
	var err error
	switch operation {
	case control.CutOff, control.Heal:
		err = s.lan.SetCable(name, operation == control.Heal)
	case control.Freeze, control.Thaw:
		err = cgroup.Freeze(s.launch.Cgroups, s.record.Spec.Name, name, operation == control.Freeze)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch operation {
	case control.CutOff, control.Heal:
		m.cut = operation == control.CutOff
	case control.Freeze, control.Thaw:
		m.frozen = operation == control.Freeze
	}
	return nil
}
