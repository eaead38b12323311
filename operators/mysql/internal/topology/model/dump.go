package model

import (
	"fmt"
	"strings"
)

// Dump writes the whole world in a few lines, for people.
func (w *World) Dump() string {
	var b strings.Builder
	s := w.Store
	fmt.Fprintf(&b, "record %+v change %+v handover %+v request %+v; wanted %d, pods %d, template %d, config %d, manual %v, gone %v\n",
		s.Record, s.Record.Change, s.Record.Handover, s.Request, s.Instances, s.Pods, s.Template, s.Config, s.Manual, sortedKeys(s.Gone))
	for _, o := range w.Operators {
		fmt.Fprintf(&b, "operator %d: %s: %s\n", o.Term, o.Plan.State, o.Plan.Why)
	}
	for _, m := range w.Members {
		if m.Volume == nil {
			continue
		}
		v := m.Volume
		directive := "nothing"
		if m.directive != nil {
			directive = Short(*m.directive)
		}
		fmt.Fprintf(&b, "%s: pod %v (terminating %v, frozen %v, template %d), mysqld %s, %s in epoch %d, promised %d, served %d, term %d, kept %v, "+
			"uuid %.8s, executed %s, held %s, waiting %d, receiving %v from %+v connected %v error %d, config %q of %q, acks %d, serving %v, sessions %v, told %s\n",
			m.Name, m.Pod, m.Terminating, m.Frozen, m.Template, m.state, m.role, m.epoch, v.Promised, v.Served, v.Term, v.Kept,
			v.uuid, v.executed, v.held, v.waiting, m.receiving, v.channel, m.connected, m.receiverError, m.config, v.config, m.acks,
			m.serving, sortedKeys(m.dumps), directive)
	}
	return b.String()
}
