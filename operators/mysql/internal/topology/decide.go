package topology

import (
	"fmt"
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// Decide returns what to do about what is observed. It is deterministic and changes nothing in its argument.
//
// A new leader first puts its term into the record. Else an earlier leader that has not noticed could commit a step whose
// condition it saw fulfilled, while the new one, which read the record before that step was begun, tells the instances
// something else (I11).
func Decide(o Observation) Plan {
	plan := decide(o)
	switch {
	case o.Record.Term > o.Term:
		plan.Commit, plan.Directives, plan.Delete, plan.Done = nil, nil, nil, nil
		plan.State, plan.Why = Waiting, fmt.Sprintf("the operator of term %d has taken over from this one of term %d", o.Record.Term, o.Term)
	case o.Record.Term > 0 && o.Record.Term < o.Term:
		plan.Directives, plan.Delete, plan.Done = nil, nil, nil
		to := o.Record
		to.Term, to.Voters = o.Term, slices.Clone(to.Voters)
		plan.Commit = &Commit{From: o.Record, To: to, Kind: CommitTakeOver,
			Why: fmt.Sprintf("the operator of term %d leads from now on", o.Term)}
	}
	return plan
}

func decide(o Observation) Plan {
	p := &planner{o: o, roles: map[string]role{}}
	p.plan.LookAgain = routine
	p.plan.Replicas = o.Spec.Instances
	if o.Record.Epoch == 0 {
		p.begin()
		p.replaceStuck()
		return p.finish()
	}
	p.plan.Replicas = p.replicas()
	p.plan.Endpoints = p.endpoints()
	v := judge(o)
	if p.forceRising(v) {
		p.replaceStuck()
		return p.finish()
	}
	switch v.standing {
	case serving:
		p.steady()
	case rising:
		p.rise(v.why)
	case overtaken:
		to := o.Record
		to.Epoch = o.promised()
		p.state(FailingOver, v.why)
		p.commit(CommitRenew, to, v.why)
	case unreachable:
		p.state(Unreachable, v.why)
		p.lookSoon()
	case suspect:
		p.state(Waiting, v.why)
		p.lookSoon()
	case dead:
		p.failover(v.why)
	}
	p.replaceStuck()
	return p.finish()
}

// planner gathers one plan.
type planner struct {
	o     Observation
	plan  Plan
	roles map[string]role
}

// role is a directive before the parts that every directive has are added.
type role struct {
	epoch   uint64
	role    instance.Role
	primary *instance.PrimaryDuty
	replica *instance.ReplicaDuty
	clone   *instance.CloneDuty
	rejoin  *instance.RejoinDuty
	restart bool
	why     string
}

func (p *planner) state(s State, why string) { p.plan.State, p.plan.Why = s, why }

func (p *planner) lookSoon() { p.plan.LookAgain = soon }

// commit makes the plan a commit and nothing that would need the new record. Records share nothing with the
// observation.
func (p *planner) commit(kind CommitKind, to instance.Record, why string) {
	to.Term, to.Voters = p.o.Term, slices.Clone(to.Voters)
	p.plan.Commit = &Commit{From: p.o.Record, To: to, Kind: kind, Why: why}
}

// done marks a one-time request as fulfilled, or refused if a reason is given.
func (p *planner) done(kind RequestKind, refused string) {
	p.plan.Done = append(p.plan.Done, DoneRequest{Request: kind, Refused: refused})
}

// assign gives a reachable member its role. A member that has promised a later epoch would refuse; so it is told
// nothing until the record has caught up.
func (p *planner) assign(m *Member, r role) {
	if m == nil || !m.Connected || m.Report == nil || m.Report.Promised > r.epoch {
		return
	}
	p.roles[m.Name] = r
}

// standby is the role of a member that shall wait.
func (p *planner) standby(epoch uint64, why string) role {
	return role{epoch: epoch, role: instance.RoleStandby, why: why}
}

// finish turns roles into directives. With a commit in the plan there are none: they follow from the new record.
func (p *planner) finish() Plan {
	if p.plan.Commit != nil {
		p.plan.Delete = nil
		return p.plan
	}
	for i := range p.o.Members {
		m := &p.o.Members[i]
		r, ok := p.roles[m.Name]
		if !ok {
			continue
		}
		d := instance.Directive{
			Term: p.o.Term, Epoch: r.epoch, Role: r.role, Record: p.o.Record,
			Primary: r.primary, Replica: r.replica, Clone: r.clone, Rejoin: r.rejoin,
			ServerID: serverID(m.Ordinal), Config: p.o.Spec.Config, BufferPoolBytes: p.o.Spec.BufferPoolBytes,
			Restart: r.restart, Users: p.o.Spec.Users,
		}
		p.plan.Directives = append(p.plan.Directives, Direct{Member: m.Name, Directive: d.WithID(), Why: r.why})
	}
	return p.plan
}

// serverID returns mysqld's server_id for an ordinal; 0 would mean "none".
func serverID(ordinal int) uint32 { return uint32(100 + ordinal) } //nolint:gosec // Ordinals are 0 to 8.

// replicas is how many pods there shall be: what the user wants, and for as long as a higher one votes or leads, it too
// (I9: nothing is taken away that the cluster still rests on).
func (p *planner) replicas() int {
	n := p.o.Spec.Instances
	for i := range p.o.Members {
		m := &p.o.Members[i]
		inChange := p.o.Record.Change != nil && p.o.Record.Change.Add == m.Name
		if p.o.IsVoter(m.Name) || m.Name == p.o.Record.Primary || inChange {
			n = max(n, m.Ordinal+1)
		}
	}
	return n
}

// endpoints are the Services' targets. The read-write target moves as soon as the new primary is at work, in one atomic
// write: the news needs its time to reach every node, and until the primary opens both addresses refuse.
func (p *planner) endpoints() Endpoints {
	e := Endpoints{ReadWrite: p.o.ReadWrite}
	for i := range p.o.Members {
		m := &p.o.Members[i]
		switch {
		case m.Name == p.o.Record.Primary:
			if m.serving(p.o.Record.Epoch) {
				e.Any = append(e.Any, m.Name)
			}
			// Before the very first primary serves there is nothing to move.
			if m.serving(p.o.Record.Epoch) || e.ReadWrite != "" && m.leading(p.o.Record.Epoch) {
				e.ReadWrite = m.Name
			}
		case !m.leaving() && (m.readable(p.o.Record.Primary, p.o.Record.Epoch) || p.keepsReaders(m)):
			e.ReadOnly = append(e.ReadOnly, m.Name)
			e.Any = append(e.Any, m.Name)
		}
	}
	return e
}

// keepsReaders says whether a replica that does not follow just now keeps its readers: to follow another primary takes it
// a moment, and to send them away and call them back costs them, and every node, more than that.
func (p *planner) keepsReaders(m *Member) bool {
	return slices.Contains(p.o.Readable, m.Name) && p.o.Wanted(m) && m.alive() && m.UnfitFor < ReadersStay &&
		!m.Report.Blank && !m.Report.Closed &&
		(m.Report.Role == instance.RoleReplica || m.Report.Role == instance.RoleStandby && !m.Report.Drained)
}

// begin handles a cluster without a record: new, or one whose custom resource was made again over kept volumes.
func (p *planner) begin() {
	p.lookSoon()
	var newest, foreign *Member
	waiting := false
	for i := range p.o.Members {
		m := &p.o.Members[i]
		if m.OldVolume {
			p.plan.Replicas = max(p.plan.Replicas, m.Ordinal+1)
		}
		if m.Report == nil || !m.Connected {
			// An unseen old volume may hold the only copy of something (I9): neither found nor adopt without it.
			if m.OldVolume && p.o.Request.ForcePromote == "" {
				p.state(Waiting, fmt.Sprintf("%s has a volume from before this cluster and has not reported yet; "+
					"if it is lost for good, name another instance in the annotation force-promote", m.Name))
				waiting = true
			}
			continue
		}
		switch {
		case m.Report.Record.Epoch > 0 && (newest == nil || remembersMore(m, newest)):
			newest = m
		case m.Report.Record.Epoch == 0 && m.alive() && !m.Report.Blank && foreign == nil:
			foreign = m
		}
	}
	if waiting {
		return
	}
	if newest != nil && p.o.Spec.Restore && !slices.ContainsFunc(p.o.Members, begunRestored) {
		p.state(Waiting, fmt.Sprintf("the volume of %s remembers a cluster that did not begin with this restore, and nothing is restored over data: "+
			"give the new cluster another name, leave out spec.restore to have the old one back, or delete its volume claims", newest.Name))
		return
	}
	if newest != nil {
		newest = p.successor(newest)
		to := newest.Report.Record
		to.Change, to.Handover = nil, nil
		p.commit(CommitAdopt, to, fmt.Sprintf("the volume of %s remembers epoch %d of this cluster with primary %s",
			newest.Name, to.Epoch, to.Primary))
		p.state(Waiting, p.plan.Commit.Why)
		return
	}
	if foreign != nil {
		p.state(Waiting, fmt.Sprintf("the volume of %s holds data but no record of a cluster; it is not touched: "+
			"empty the volume or restore into a new cluster", foreign.Name))
		return
	}
	if len(p.o.Members) == 0 {
		p.state(Starting, "no pod yet")
		return
	}
	first := &p.o.Members[0]
	if p.o.Spec.Restore && !restored(*first) {
		p.state(Starting, restoring(first))
		return
	}
	if !first.alive() {
		p.state(Starting, fmt.Sprintf("waiting for %s to initialise its data", first.Name))
		return
	}
	p.state(Starting, "founding the cluster on "+first.Name)
	p.commit(CommitBootstrap, instance.Record{Epoch: max(1, p.o.promised()), Primary: first.Name, Voters: []string{first.Name}},
		p.origin())
}

// origin says what a cluster is founded on.
func (p *planner) origin() string {
	if p.o.Spec.Restore {
		return "the data that it begins with are restored"
	}
	return "no instance holds data yet"
}

// restored says whether a member's data began with a restore.
func restored(m Member) bool { return m.Report != nil && m.Report.Restored }

// begunRestored says whether a member remembers a cluster that began with the restore. One that has restored and remembers none says nothing about
// what the others remember.
func begunRestored(m Member) bool { return restored(m) && m.Report.Record.Epoch > 0 }

// restores says whether a member's restore is at work. It may be so for hours, and to begin it anew would cost them.
func (m *Member) restores() bool {
	if !m.Connected || m.Report == nil || m.Report.Restore == nil {
		return false
	}
	switch m.Report.Restore.State {
	case instance.RestorePlanning, instance.RestoreUnpacking, instance.RestoreReplaying, instance.RestoreVerifying:
		return true
	case instance.RestoreDone, instance.RestoreFailed:
	}
	return false
}

// lostRestored says why a cluster that was founded on restored data does not come to life: they are gone. Empty if that is not so.
func (p *planner) lostRestored() string {
	m := p.o.Primary()
	switch {
	case !p.o.Spec.Restore || !m.Connected || !m.Report.Blank || restored(*m) || !unfounded(p.o):
		return ""
	case m.Report.Restore != nil:
		return restoring(m)
	}
	return fmt.Sprintf("the volume of %s was lost after it had restored the data that the cluster begins with, and nothing else is served in their place: "+
		"delete the cluster and make it anew", m.Name)
}

// restoring says how far the restore is that a cluster begins with.
func restoring(first *Member) string {
	if !first.Connected || first.Report == nil || first.Report.Restore == nil {
		return fmt.Sprintf("waiting for %s to restore the data that the cluster begins with", first.Name)
	}
	switch r := first.Report.Restore; r.State {
	case instance.RestoreFailed:
		return fmt.Sprintf("%s cannot restore the data that the cluster begins with, and tries again: %s", first.Name, r.Problem)
	case instance.RestoreUnpacking:
		return fmt.Sprintf("%s unpacks the full backup that the cluster begins with: %d %% done", first.Name, tens(r))
	case instance.RestoreReplaying:
		return fmt.Sprintf("%s replays the archive behind the full backup that the cluster begins with: %d %% done", first.Name, tens(r))
	case instance.RestoreVerifying:
		return first.Name + " checks the data that it has restored, and that the cluster begins with"
	case instance.RestorePlanning, instance.RestoreDone:
	}
	return fmt.Sprintf("%s restores the data that the cluster begins with", first.Name)
}

// tens is how far a restore is in percent, in steps of ten: who reads it does not want to be told of each part.
func tens(r *instance.RestoreReport) int { return 10 * (10 * r.Done / max(1, r.Of)) }

// remembersMore says whether a remembers a newer record than b. Within an epoch the primary is the first to be told.
func remembersMore(a, b *Member) bool {
	x, y := a.Report.Record, b.Report.Record
	switch {
	case x.Epoch != y.Epoch:
		return x.Epoch > y.Epoch
	case x.Term != y.Term:
		return x.Term > y.Term
	}
	return x.Primary == a.Name && y.Primary != b.Name
}

// successor returns the member that remembers the end of the voter change that the newest record known leaves open, else
// the holder of that record itself.
func (p *planner) successor(newest *Member) *Member {
	r := newest.Report.Record
	if r.Change == nil {
		return newest
	}
	after := without(r.Voters, r.Change.Remove)
	if r.Change.Add != "" {
		after = with(r.Voters, r.Change.Add)
	}
	for i := range p.o.Members {
		m := &p.o.Members[i]
		if m.Report != nil && m.Connected && m.Report.Record.Epoch == r.Epoch && slices.Equal(m.Report.Record.Voters, after) {
			return m
		}
	}
	return newest
}

// promised is the highest epoch that any reporting member has promised.
func (o Observation) promised() uint64 {
	var n uint64
	for i := range o.Members {
		if r := o.Members[i].Report; r != nil {
			n = max(n, r.Promised)
		}
	}
	return n
}
