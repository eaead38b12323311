package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/cgroup"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/control"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
)

// serveFaults answers commands that disturb the network, programs and volumes. One begun is carried out, also when the
// caller goes away.
func (s *Supervisor) serveFaults(mux *http.ServeMux) {
	handle := func(pattern string, f func(ctx context.Context, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := f(context.WithoutCancel(r.Context()), r); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			}
		})
	}
	handle("POST /network", func(_ context.Context, r *http.Request) error {
		var rule netfault.Rule
		if err := json.NewDecoder(r.Body).Decode(&rule); err != nil {
			return fmt.Errorf("parse rule: %w", err)
		}
		return s.disturbNetwork(rule)
	})
	handle("POST /service/{operation}/{name}", func(ctx context.Context, r *http.Request) error {
		return s.disturbService(ctx, r.PathValue("operation"), r.PathValue("name"))
	})
	handle("POST /volume/{operation}/{node}/{name}", func(_ context.Context, r *http.Request) error {
		return s.disturbVolume(r.PathValue("operation"), r.PathValue("node"), r.PathValue("name"))
	})
}

// operate carries out an operation on a box. Doing what is done already is no error.
func (s *Supervisor) operate(ctx context.Context, operation, name string) error {
	if err := s.ready(); err != nil {
		return err
	}
	if operation == control.Heal && name == netfault.Everywhere {
		return s.healAll()
	}
	node, isNode := s.record.Spec.Node(name)
	if !isNode && name != spec.ControlPlane {
		return fmt.Errorf("there is no node %q; the nodes are %v", name, s.nodeNames())
	}
	if !isNode && operation != control.Freeze && operation != control.Thaw {
		return fmt.Errorf("cannot %s the control plane: the network hangs on it; freeze it instead", operation)
	}
	switch operation {
	case control.Start:
		s.operations.Lock()
		defer s.operations.Unlock()
		if m := s.member(name); m != nil {
			return s.waitNode(ctx, node, m)
		}
		started := make(chan struct{})
		close(started)
		return s.startNode(ctx, node, started)
	case control.Stop:
		return s.powerOff(ctx, name)
	case control.CutOff, control.Heal, control.Freeze, control.Thaw:
		s.disturbing.Lock()
		defer s.disturbing.Unlock()
		return s.disturb(name, operation)
	}
	return errors.New("unknown operation " + operation)
}

func (s *Supervisor) powerOff(ctx context.Context, name string) error {
	s.operations.Lock()
	defer s.operations.Unlock()
	s.disturbing.Lock()
	defer s.disturbing.Unlock()
	m := s.member(name)
	if m == nil {
		return nil
	}
	s.mu.Lock()
	delete(s.boxes, name)
	s.mu.Unlock()
	return m.box.Kill(ctx, func() { s.releaseAll(m) })
}

func (s *Supervisor) ready() error {
	if state := s.events.last().State; state != control.Ready {
		return fmt.Errorf("the cluster is %s, not ready", state)
	}
	return nil
}

func (s *Supervisor) nodeNames() []string { return s.record.Spec.Boxes()[1:] }

// disturb does something to a box that runs. The network of one that is stopped can be healed all the same.
func (s *Supervisor) disturb(name, operation string) error {
	m := s.member(name)
	if operation == control.Heal {
		return s.heal(name, m)
	}
	if m == nil {
		return fmt.Errorf("cannot %s %s: it is stopped", operation, name)
	}
	var err error
	switch operation {
	case control.CutOff:
		err = s.lan.SetCable(name, false)
	case control.Freeze, control.Thaw:
		err = cgroup.Freeze(s.launch.Cgroups, s.record.Spec.Name, name, operation == control.Freeze)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch operation {
	case control.CutOff:
		m.cut = true
	case control.Freeze, control.Thaw:
		m.frozen = operation == control.Freeze
	}
	return nil
}

// disturbNetwork makes the network as bad as the rule says, besides the rules that are in force.
func (s *Supervisor) disturbNetwork(rule netfault.Rule) error {
	if err := s.ready(); err != nil {
		return err
	}
	if err := rule.Validate(s.nodeNames()); err != nil {
		return err
	}
	s.disturbing.Lock()
	defer s.disturbing.Unlock()
	if slices.ContainsFunc(s.faults, rule.Equal) {
		return nil
	}
	return s.setFaults(append(slices.Clone(s.faults), rule.Normal()))
}

func (s *Supervisor) setFaults(rules []netfault.Rule) error {
	if err := s.lan.SetFaults(rules, s.record.Spec.NodeList()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = rules
	return nil
}

// heal plugs a node's cable in, where it has one, and ends the rules about the node.
func (s *Supervisor) heal(name string, m *member) error {
	if m != nil {
		if err := s.lan.SetCable(name, true); err != nil {
			return err
		}
		s.mu.Lock()
		m.cut = false
		s.mu.Unlock()
	}
	rest := slices.DeleteFunc(slices.Clone(s.faults), func(r netfault.Rule) bool { return r.Node == name })
	if len(rest) == len(s.faults) {
		return nil
	}
	return s.setFaults(rest)
}

func (s *Supervisor) healAll() error {
	s.disturbing.Lock()
	defer s.disturbing.Unlock()
	var all error
	for _, name := range append(s.nodeNames(), netfault.Everywhere) {
		all = errors.Join(all, s.heal(name, s.member(name)))
	}
	return all
}
