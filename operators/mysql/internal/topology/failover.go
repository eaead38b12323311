package topology

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// failover replaces a dead primary: fence the voters for a new epoch, hear what a read quorum of them holds, commit the
// one that holds everything (I3).
func (p *planner) failover(why string) {
	o := p.o
	p.lookSoon()
	p.state(FailingOver, why)
	if o.Spec.ManualFailover && o.Request.Switchover == "" && o.Request.ForcePromote == "" && !o.Primary().alive() {
		p.state(Waiting, why+"; failover is manual: bring it back, or ask for a switchover by annotation")
		return
	}
	epoch := max(o.Record.Epoch+1, o.promised())
	fenced := p.fence(epoch, why)
	names := names(fenced)
	quorum := ReadQuorum(len(o.Record.Voters))
	if len(fenced) < quorum {
		if p.force(epoch) {
			return
		}
		p.state(Waiting, fmt.Sprintf("%s; a promotion needs %d of the voters %s, fenced so far: %s",
			why, quorum, list(o.Record.Voters), list(names)))
		return
	}
	candidate, obstacle := choose(o, fenced)
	if candidate == nil {
		if p.force(epoch) {
			return
		}
		p.state(Waiting, why+"; "+obstacle)
		return
	}
	if o.Request.ForcePromote == candidate.Name && p.force(epoch) {
		// It holds everything, and whoever asks has reason not to wait for the others.
		return
	}
	p.commit(CommitPromote, instance.Record{Epoch: epoch, Primary: candidate.Name, Voters: o.Record.Voters},
		fmt.Sprintf("%s; of the fenced voters %s, %s holds everything", why, list(names), candidate.Name))
	if o.Request.Switchover != "" {
		p.done(RequestSwitchover, "")
	}
}

// fence tells every reachable voter to stop receiving and to promise the epoch, and returns those that have.
func (p *planner) fence(epoch uint64, why string) []*Member {
	var fenced []*Member
	for _, name := range p.o.Record.Voters {
		m := p.o.Member(name)
		if m == nil || !m.Connected || m.Report == nil {
			continue
		}
		p.assign(m, p.standby(epoch, "fence: "+why))
		r := m.Report
		if m.alive() && r.Role == instance.RoleStandby && r.Promised == epoch && r.Epoch == epoch && !r.Receiver.Running &&
			(!r.Blank || unfounded(p.o)) && !r.Stalled {
			fenced = append(fenced, m)
		}
	}
	return fenced
}

// force carries out the explicit override (I8): the named instance is promoted with what it holds, alone.
func (p *planner) force(epoch uint64) bool {
	name := p.o.Request.ForcePromote
	if name == "" {
		return false
	}
	m := p.o.Member(name)
	if m == nil || m.Report != nil && m.Report.Blank {
		p.done(RequestForcePromote, fmt.Sprintf("%s is no instance of this cluster that holds data", name))
		return false
	}
	p.assign(m, p.standby(epoch, "fence before a forced promotion"))
	r := m.Report
	if !m.alive() || r.Role != instance.RoleStandby || r.Epoch != epoch || r.Receiver.Running {
		return false
	}
	p.commit(CommitForcePromote, instance.Record{Epoch: epoch, Primary: name, Voters: []string{name}},
		fmt.Sprintf("%s is promoted by request without a quorum; what only %s held is archived when they come back",
			name, list(without(p.o.Record.Voters, name))))
	p.done(RequestForcePromote, "")
	return true
}

// forceRising promotes the named instance in place of a primary that cannot be opened because too few voters hold what
// it holds, or alone if it is named itself (I8).
func (p *planner) forceRising(v verdict) bool {
	o := p.o
	primary := o.Primary()
	if o.Request.ForcePromote == "" || v.standing != rising && v.standing != overtaken || primary.alive() && primary.Report.Serving ||
		primary.alive() && p.mayServe(primary) {
		return false
	}
	p.lookSoon()
	p.state(FailingOver, v.why)
	epoch := max(o.Record.Epoch+1, o.promised())
	p.fence(epoch, v.why)
	p.force(epoch)
	return true
}

// forceAlone lets a serving primary go on alone when it is named and too few of its voters are at work for a commit to be
// acknowledged. It holds everything, so nothing is given up but the copies elsewhere.
func (p *planner) forceAlone() bool {
	o := p.o
	if o.Request.ForcePromote != o.Record.Primary || p.fitVoters(o.Record.Voters) >= WriteQuorum(len(o.Record.Voters)) {
		p.done(RequestForcePromote, fmt.Sprintf("%s serves, so nothing has to be forced; ask for a switchover instead", o.Record.Primary))
		return false
	}
	p.commit(CommitForcePromote, instance.Record{Epoch: max(o.Record.Epoch+1, o.promised()), Primary: o.Record.Primary,
		Voters: []string{o.Record.Primary}}, fmt.Sprintf("%s goes on alone by request; it waited for %s",
		o.Record.Primary, list(without(o.Record.Voters, o.Record.Primary))))
	p.done(RequestForcePromote, "")
	return true
}

// choose picks, among fenced voters, the best of those that hold everything that any of them holds. It returns nil and
// what stands in the way if there is none.
func choose(o Observation, fenced []*Member) (*Member, string) {
	union, tainted := everything(o, fenced)
	var best *Member
	for _, m := range fenced {
		if tainted[m.Name] || !m.Held.Contains(union) {
			continue
		}
		if o.Spec.ManualFailover && o.Request.Switchover == "" && m.Name != o.Record.Primary {
			continue
		}
		if best == nil || better(o, m, best) {
			best = m
		}
	}
	switch {
	case best != nil:
		return best, ""
	case o.Spec.ManualFailover && o.Request.Switchover == "":
		return nil, fmt.Sprintf("failover is manual and %s does not hold everything its voters hold: ask for a switchover by annotation",
			o.Record.Primary)
	}
	return nil, fmt.Sprintf("none of %s holds everything the others hold: decide which data to go on with by the annotation force-promote",
		list(names(fenced)))
}

// everything is the union of what the fenced voters hold, less what is certainly errant: transactions that a replica
// generated itself and no other fenced voter has, if it never served in any epoch, or if so many voters lack them that no
// write quorum can have held them. Their holders are tainted. What an earlier primary generated is not errant for being
// rare: with a write quorum of two, its only other holder may be the primary that died.
func everything(o Observation, fenced []*Member) (gtid.Set, map[string]bool) {
	tainted := map[string]bool{}
	var union gtid.Set
	for _, m := range fenced {
		held := m.Held
		if m.Name != o.Record.Primary && len(fenced) > 1 {
			var others gtid.Set
			for _, other := range fenced {
				if other != m {
					others = others.Union(other.Held)
				}
			}
			own := held.Subtract(others).Of(strings.ToLower(m.Report.ServerUUID))
			if !own.IsEmpty() && (m.Report.Served == 0 || len(fenced)-1 >= ReadQuorum(len(o.Record.Voters))) {
				tainted[m.Name] = true
				held = held.Subtract(own)
			}
		}
		union = union.Union(held)
	}
	return union, tainted
}

// better says whether a is to be preferred to b; both hold everything.
func better(o Observation, a, b *Member) bool {
	type trait func(*Member) bool
	for _, good := range []trait{
		func(m *Member) bool { return o.Request.Switchover == m.Name },
		func(m *Member) bool { return m.Report.Applier.ErrorNumber == 0 },
		func(m *Member) bool { return !m.leaving() },
		o.Wanted,
		func(m *Member) bool { return m.Pod == nil || !m.Pod.Outdated },
		func(m *Member) bool { return m.Executed.Contains(m.Held) },
	} {
		if good(a) != good(b) {
			return good(a)
		}
	}
	if x, y := a.Held.Subtract(a.Executed).Count(), b.Held.Subtract(b.Executed).Count(); x != y {
		return x < y
	}
	return a.Ordinal < b.Ordinal
}

func names(members []*Member) []string {
	out := make([]string, 0, len(members))
	for _, m := range members {
		out = append(out, m.Name)
	}
	slices.Sort(out)
	return out
}

// list writes names for people.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
