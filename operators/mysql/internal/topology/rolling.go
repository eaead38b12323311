package topology

import "github.com/kapok-operators/kapok/operators/mysql/internal/instance"

// roll makes outdated pods anew, one at a time, replicas before the primary. It begins only when every wanted instance
// votes and does its work, so that never more than one is away by our own doing.
func (p *planner) roll() {
	o := p.o
	if !p.settled() {
		return
	}
	for i := len(o.Members) - 1; i >= 0; i-- {
		m := &o.Members[i]
		if m.Pod == nil || !m.Pod.Outdated || m.Name == o.Record.Primary {
			continue
		}
		p.state(Changing, "pods are being made anew: "+m.Name)
		p.lookSoon()
		p.plan.Delete = &DeletePod{Member: m.Name, Why: "its template has changed; replicas go first"}
		return
	}
	primary := o.Primary()
	if len(o.Record.Voters) == 1 && primary.Pod.Outdated {
		p.state(Changing, "the only pod is being made anew")
		p.plan.Delete = &DeletePod{Member: primary.Name, Why: "its template has changed; there is no replica to hand over to"}
	}
}

// settled says whether every wanted instance has a pod, votes, does its work and lets readers in, and nothing is being
// changed. Readers count: a replica that restarted is closed to them until it has caught up, and the next one would leave
// them with none.
func (p *planner) settled() bool {
	o := p.o
	if o.Record.Change != nil || o.Record.Handover != nil && !o.Record.Handover.GivenUp || len(o.Record.Voters) != o.Spec.Instances {
		return false
	}
	for i := range o.Members {
		m := &o.Members[i]
		if !o.Wanted(m) {
			continue
		}
		if m.Pod == nil || m.leaving() || !o.Complete(m) {
			return false
		}
	}
	return true
}

// othersRolled says whether everybody but the primary is settled and as the user wants it. That a member needs no restart is
// not enough: it may not have been told of the configuration yet. It has to run with it.
func (p *planner) othersRolled() bool {
	o := p.o
	if !p.settled() || len(o.Record.Voters) < 2 {
		return false
	}
	config := instance.ConfigHash(o.Spec.Config, o.Spec.BufferPoolBytes)
	for i := range o.Members {
		m := &o.Members[i]
		if m.Name != o.Record.Primary && o.Wanted(m) && (m.Pod.Outdated || m.Report.ConfigHash != config) {
			return false
		}
	}
	return true
}

// mayRestart says whether a replica may restart its mysqld now for its configuration: the highest ordinal that needs it
// and only when all is well. Once begun, a restart needs no further permission.
func (p *planner) mayRestart(m *Member) bool {
	o := p.o
	if !m.Report.RestartNeeded || !p.settled() {
		return false
	}
	for i := len(o.Members) - 1; i >= 0; i-- {
		other := &o.Members[i]
		if other.Name != o.Record.Primary && other.Report != nil && other.Report.RestartNeeded {
			return other.Name == m.Name
		}
	}
	return false
}

// mayRestartAlone says whether the primary may restart its mysqld: only where there is nobody to hand over to, or before
// it holds anything.
func (p *planner) mayRestartAlone(m *Member) bool {
	if m.Report.Blank {
		return true
	}
	return m.Report.RestartNeeded && p.o.Spec.Instances == 1 && len(p.o.Record.Voters) == 1
}

// replaceStuck makes an outdated pod anew that never came up or does not come up again: a wrong image, say, that has been
// mended since. It serves nothing, so there is nothing to wait for; its volume stays.
func (p *planner) replaceStuck() {
	if p.plan.Delete != nil {
		return
	}
	for i := range p.o.Members {
		m := &p.o.Members[i]
		if m.Pod != nil && m.Pod.Outdated && !m.Pod.Ready && !m.Pod.Terminating && !m.alive() && !m.restores() && m.UnfitFor >= StuckAfter {
			p.plan.Delete = &DeletePod{Member: m.Name, Why: "it does not come up, and its template has changed since"}
			return
		}
	}
}
