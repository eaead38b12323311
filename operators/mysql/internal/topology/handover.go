package topology

import (
	"fmt"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// beginHandover starts a switchover when something asks for one and somebody can take over.
func (p *planner) beginHandover() bool {
	o := p.o
	if h := o.Record.Handover; h != nil && h.GivenUp && o.Now.UnixMilli() < h.NotAfter+HandoverPause.Milliseconds() {
		p.lookSoon()
		return false
	}
	to, why := p.handoverWanted()
	if to == nil {
		return false
	}
	next := o.Record
	next.Handover = &instance.Handover{To: to.Name, NotAfter: o.Now.Add(HandoverWithin).UnixMilli(), Why: why}
	p.commit(CommitHandover, next, fmt.Sprintf("hand the primary from %s to %s: %s", o.Record.Primary, to.Name, why))
	return true
}

// handoverWanted says who shall take over and why; nil if nobody shall or can.
func (p *planner) handoverWanted() (*Member, string) {
	o, primary := p.o, p.o.Primary()
	if asked := o.Request.Switchover; asked != "" {
		return p.handoverAsked(asked)
	}
	why := ""
	switch {
	case primary.leaving():
		why = "its pod is asked to stop"
	case !o.Wanted(primary):
		why = fmt.Sprintf("%d instances are wanted", o.Spec.Instances)
	case p.othersRolled() && primary.Pod.Outdated:
		why = "its pod is to be made anew and the others have been"
	case p.othersRolled() && primary.Report.RestartNeeded && len(o.Record.Voters) > 1:
		why = "its configuration needs a restart and the others have had theirs"
	default:
		return nil, ""
	}
	return p.heir(), why
}

// handoverAsked answers the user's request, and refuses it in words when it cannot be done.
func (p *planner) handoverAsked(asked string) (*Member, string) {
	o := p.o
	if asked == AnyInstance {
		if heir := p.heir(); heir != nil {
			return heir, "asked for by annotation"
		}
		p.done(RequestSwitchover, "no replica votes, follows and has caught up; look at the instances' states and ask again")
		return nil, ""
	}
	m := o.Member(asked)
	switch {
	case m == nil:
		p.done(RequestSwitchover, fmt.Sprintf("%q is no instance of this cluster", asked))
	case asked == o.Record.Primary:
		p.done(RequestSwitchover, "")
	case !p.canInherit(m):
		p.done(RequestSwitchover, asked+" does not vote, follow and hold nearly everything right now; look at its state and ask again")
	default:
		return m, "asked for by annotation"
	}
	return nil, ""
}

// heir is the best replica to hand the primary to; nil if there is none.
func (p *planner) heir() *Member {
	var best *Member
	for i := range p.o.Members {
		m := &p.o.Members[i]
		if p.canInherit(m) && (best == nil || better(p.o, m, best)) {
			best = m
		}
	}
	return best
}

func (p *planner) canInherit(m *Member) bool {
	return m.Name != p.o.Record.Primary && p.o.IsVoter(m.Name) && p.o.Wanted(m) && p.o.Fit(m) && !m.leaving() &&
		m.lacks(p.o.Primary().Executed) <= nearlyCaughtUp
}

// handOver carries on the switchover under way: close the old primary, wait until the new one holds everything, commit.
// If that takes too long, the old primary goes on, and a request stands until it is fulfilled or taken back.
func (p *planner) handOver() {
	o, h, primary := p.o, p.o.Record.Handover, p.o.Primary()
	to := o.Member(h.To)
	p.lookSoon()
	p.state(SwitchingOver, fmt.Sprintf("from %s to %s: %s", o.Record.Primary, h.To, h.Why))
	// A report of an earlier handover must not pass for one of this: the primary may have served since.
	drained := primary.Report.Role == instance.RoleDrain && primary.Report.Drained && o.told(primary)
	if drained && to.alive() && to.Held.Contains(primary.Held) && p.holders(primary, o.Record.Voters) >= WriteQuorum(len(o.Record.Voters)) {
		p.commit(CommitSwitchover, instance.Record{Epoch: o.Record.Epoch + 1, Primary: h.To, Voters: o.Record.Voters},
			fmt.Sprintf("%s holds everything that %s wrote: %s", h.To, o.Record.Primary, h.Why))
		if o.Request.Switchover != "" {
			p.done(RequestSwitchover, "")
		}
		return
	}
	if !to.alive() || o.Now.UnixMilli() > h.NotAfter {
		next := o.Record
		next.Handover = &instance.Handover{To: h.To, NotAfter: o.Now.UnixMilli(), GivenUp: true, Why: h.Why}
		p.commit(CommitHandoverGivenUp, next, fmt.Sprintf("%s was not ready within %s; %s goes on, and the next attempt is made after %s "+
			"if a switchover is still asked for", h.To, HandoverWithin, o.Record.Primary, HandoverPause))
		return
	}
	p.lead(instance.RoleDrain)
}
