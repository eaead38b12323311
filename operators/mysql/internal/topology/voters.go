package topology

import (
	"fmt"
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// beginRemoval takes the first voter out that should not or cannot vote, if the rest can go on without it.
func (p *planner) beginRemoval() bool {
	for _, pick := range []func(*Member) string{p.mustLeave, p.isUnwanted, p.isAway} {
		for i := len(p.o.Members) - 1; i >= 0; i-- {
			m := &p.o.Members[i]
			if m.Name == p.o.Record.Primary || !p.o.IsVoter(m.Name) {
				continue
			}
			why := pick(m)
			if why == "" || !p.canDoWithout(m.Name) {
				continue
			}
			to := p.o.Record
			to.Change = &instance.VoterChange{Remove: m.Name, Why: why}
			p.commit(CommitChange, to, fmt.Sprintf("take %s out of the voters: %s", m.Name, why))
			return true
		}
	}
	return false
}

// mustLeave says why a voter's vote is worth nothing: it has lost its data or will have it replaced.
func (p *planner) mustLeave(m *Member) string { return p.rebuild(m, p.o.Primary()) }

// isUnwanted says whether the user has scaled the voter away.
func (p *planner) isUnwanted(m *Member) string {
	if p.o.Wanted(m) {
		return ""
	}
	return fmt.Sprintf("%d instances are wanted", p.o.Spec.Instances)
}

// isAway says whether the voter has been unfit for too long. Commits that wait for it make that soon.
func (p *planner) isAway(m *Member) string {
	if p.o.Fit(m) {
		return ""
	}
	limit := VoterAway
	// Who asked for three copies is not left with one as soon as that would be faster: the last other voter gets the
	// longer time, and commits wait.
	last := len(p.o.Record.Voters) == 2 && p.o.Spec.Instances > 2
	if !last && p.fitVoters(p.o.Record.Voters) < WriteQuorum(len(p.o.Record.Voters)) {
		limit = BlockingVoterAway
		switch {
		case m.alive():
		case !p.o.Primary().serving(p.o.Record.Epoch):
			limit = 0
		default:
			limit = BlockingVoterLost
		}
	}
	if m.UnfitFor < limit {
		p.lookSoon()
		return ""
	}
	if limit == 0 {
		return "it is away, and no commit could be acknowledged without it"
	}
	return fmt.Sprintf("it has been away for more than %s", limit)
}

// fitVoters counts the voters that do their work, the primary included: it is at work whenever this is asked.
func (p *planner) fitVoters(voters []string) int {
	n := 0
	for _, name := range voters {
		if m := p.o.Member(name); name == p.o.Record.Primary || m != nil && p.o.Fit(m) {
			n++
		}
	}
	return n
}

// canDoWithout says whether the other voters make a write quorum of the smaller set that is at work, or at least holds
// what was acknowledged.
func (p *planner) canDoWithout(name string) bool {
	rest := without(p.o.Record.Voters, name)
	quorum := WriteQuorum(len(rest))
	return p.fitVoters(rest) >= quorum || p.holders(p.o.Primary(), rest) >= quorum
}

// beginAddition makes the first wanted member that follows and has caught up a voter.
func (p *planner) beginAddition() bool {
	if n := len(p.o.Record.Voters); n > 1 && p.fitVoters(p.o.Record.Voters) < WriteQuorum(n+1) {
		// Commits would wait for a voter that is away (I2: scale-up never stalls).
		return false
	}
	for i := range p.o.Members {
		m := &p.o.Members[i]
		if p.o.IsVoter(m.Name) || !p.mayJoin(m) {
			continue
		}
		to := p.o.Record
		to.Change = &instance.VoterChange{Add: m.Name, Why: "it follows and has caught up"}
		p.commit(CommitChange, to, fmt.Sprintf("make %s a voter: it follows and has caught up", m.Name))
		return true
	}
	return false
}

func (p *planner) mayJoin(m *Member) bool {
	return p.o.Wanted(m) && m.Name != p.o.Record.Primary && p.o.following(m) && !m.leaving() &&
		!m.Report.Stalled && slices.Contains(p.o.Primary().Report.Admitted, m.Name) && p.rebuild(m, p.o.Primary()) == "" && m.lacks(p.o.Primary().Executed) <= nearlyCaughtUp
}

// changeVoters carries on the voter change under way.
func (p *planner) changeVoters() {
	p.lookSoon()
	if change := p.o.Record.Change; change.Add != "" {
		p.completeAddition(change.Add)
	} else {
		p.completeRemoval(change.Remove)
	}
}

// completeAddition commits the larger voter set once every acknowledged transaction is within reach of its read
// quorums: commits already wait for the larger write quorum, and the new voter holds all that came before (I2).
func (p *planner) completeAddition(name string) {
	o, primary, m := p.o, p.o.Primary(), p.o.Member(name)
	if p.abandoned(m) {
		// It may have begun to acknowledge; as one that does not vote it must not, so it is shut out first.
		if !p.inForce(primary) || p.attachable(primary, name) {
			return
		}
		to := o.Record
		to.Change = nil
		p.commit(CommitChangeGivenUp, to, fmt.Sprintf("%s does not follow any more; it stays without a vote for now", name))
		return
	}
	// Having been told of the change, it has nothing older before it, such as the word to clone (I9).
	ready := p.inForce(primary) && o.told(m) && o.following(m) && m.Held.Contains(p.mark()) &&
		(len(o.Record.Voters) > 1 || m.Report.Acknowledging)
	if !ready {
		return
	}
	to := o.Record
	to.Change = nil
	to.Voters = with(o.Record.Voters, name)
	p.commit(CommitVoters, to, fmt.Sprintf("%s votes from now on: it holds everything", name))
}

// completeRemoval commits the smaller voter set once the leaver can acknowledge nothing more and what it may have
// acknowledged is on a write quorum of the others (I2).
func (p *planner) completeRemoval(name string) {
	o, primary := p.o, p.o.Primary()
	rest := without(o.Record.Voters, name)
	if o.ChangeInForce() && p.marked(rest) >= WriteQuorum(len(rest)) {
		to := o.Record
		to.Change = nil
		to.Voters = rest
		p.commit(CommitVoters, to, fmt.Sprintf("%s votes no more: %s", name, o.Record.Change.Why))
		return
	}
	m := o.Member(name)
	if m.alive() && o.Wanted(m) && p.rebuild(m, primary) == "" && !p.canDoWithout(name) {
		to := o.Record
		to.Change = nil
		p.commit(CommitChangeGivenUp, to, fmt.Sprintf("%s is back and is needed for a write quorum", name))
	}
}

// ChangeInForce says whether the primary acknowledges as the voter change under way demands: for one who enters, with the
// larger quorum; for one who leaves, without it. The observer remembers what the primary held then (Mark), and forgets it
// whenever this is false.
func (o Observation) ChangeInForce() bool {
	change, primary := o.Record.Change, o.Primary()
	p := &planner{o: o}
	if change == nil || primary == nil || primary.Report == nil || !p.inForce(primary) {
		return false
	}
	if change.Add != "" {
		return p.acks() == WriteQuorum(len(o.Record.Voters)+1)-1
	}
	return !p.attachable(primary, change.Remove)
}

// Marker remembers what the primary held when a voter change came into force, and whether an addition has to be given
// up. Whoever observes keeps one per cluster, and shows it every observation that is decided on. A new leader needs no
// memory of what an earlier one has asked for: only reports by its own word count for it.
type Marker struct {
	mark     *mark
	addition *addition
}

type mark struct {
	change instance.VoterChange
	epoch  uint64
	held   gtid.Set
}

// addition is how the addition of a voter has gone so far.
type addition struct {
	change         instance.VoterChange
	epoch          uint64
	raised, doomed bool
}

// Note keeps the mark as long as the same change stays in force, and gives it to the observation.
func (m *Marker) Note(o *Observation) {
	m.follow(o)
	switch {
	case !o.ChangeInForce():
		m.mark = nil
	case m.mark == nil || m.mark.change != *o.Record.Change || m.mark.epoch != o.Record.Epoch:
		m.mark = &mark{change: *o.Record.Change, epoch: o.Record.Epoch, held: o.Primary().Held}
	}
	if m.mark != nil {
		o.Mark = &m.mark.held
	}
}

// Memory tells what is remembered, so that two markers can be compared: the set that is marked, empty if none is, and the
// rest as text.
func (m *Marker) Memory() (held gtid.Set, rest string) {
	if m.mark != nil {
		held, rest = m.mark.held, fmt.Sprintf("mark %+v %d;", m.mark.change, m.mark.epoch)
	}
	if m.addition != nil {
		rest += fmt.Sprintf("addition %+v", *m.addition)
	}
	return held, rest
}

// follow sees an addition take back what it has asked for, and gives the verdict to the observation.
func (m *Marker) follow(o *Observation) {
	change := o.Record.Change
	if change == nil || change.Add == "" {
		m.addition, o.Doomed = nil, false
		return
	}
	so := addition{change: *change, epoch: o.Record.Epoch}
	if m.addition != nil && m.addition.change == so.change && m.addition.epoch == so.epoch {
		so = *m.addition
	}
	if o.Doomed = so.doomed; o.Primary().leading(o.Record.Epoch) {
		p := &planner{o: *o}
		raised := p.acks() == WriteQuorum(len(o.Record.Voters)+1)-1
		so.doomed = so.doomed || so.raised && !raised || p.abandoned(o.Member(change.Add))
		so.raised = so.raised || raised
		o.Doomed = so.doomed
	}
	m.addition = &so
}

// mark is what must be held before the voter change under way may be committed.
func (p *planner) mark() gtid.Set {
	if p.o.Mark != nil {
		return *p.o.Mark
	}
	return p.o.Primary().Held
}

// marked counts the voters that hold the mark, the primary included.
func (p *planner) marked(voters []string) int {
	n := 0
	for _, name := range voters {
		m := p.o.Member(name)
		if name == p.o.Record.Primary || m.alive() && !m.Report.Blank && m.Held.Contains(p.mark()) {
			n++
		}
	}
	return n
}

// abandoned says whether a member is not to be waited for any more in becoming a voter.
func (p *planner) abandoned(m *Member) bool {
	return m == nil || p.o.Doomed || !p.mayJoin(m) && (!m.Connected || m.UnfitFor >= JoiningAway)
}

// attachable says whether the named member is attached to the primary or could attach.
func (p *planner) attachable(primary *Member, name string) bool {
	return slices.Contains(primary.Report.Admitted, name) || slices.Contains(primary.Report.Attached, name)
}

// inForce says whether the primary does what this operator's record asks, with as many acknowledgements as it should.
func (p *planner) inForce(primary *Member) bool {
	return primary.leading(p.o.Record.Epoch) && p.o.told(primary) && acksInForce(primary.Report) == p.acks()
}

func acksInForce(r *instance.Report) int { return max(0, r.Acks) }
