package status

import (
	"slices"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// Story is what is remembered of a cluster from one round to the next, so that what took more than one can be told: how
// long nobody took writes, and how long each part of it was. The zero Story is that of an operator that has just begun to
// look: it tells nothing whose beginning it has not seen.
type Story struct {
	// open: the primary took writes when it was last seen.
	open bool
	// closing is why the primary does not take writes; empty if it does, or if the beginning was not seen.
	closing Cause
	// loss or switchover says more about it.
	loss       topology.Loss
	switchover Switchover
	// noticed is when that was decided, detected how long before it had begun, committed when the next primary was.
	noticed   time.Time
	detected  time.Duration
	committed time.Time
	// refused are the directives that were refused last, by instance.
	refused map[string]string
}

// Cause is why a cluster took no writes for a while.
type Cause string

// The causes of a gap.
const (
	// CauseFailover: the primary was lost and one was promoted.
	CauseFailover Cause = "failover"
	// CauseRecovered: the primary was lost and came back by itself, before one was promoted.
	CauseRecovered Cause = "recovered"
	// CauseSwitchover: the primary was handed over, or should have been.
	CauseSwitchover Cause = "switchover"
)

// Causes are all of them.
func Causes() []Cause { return []Cause{CauseFailover, CauseRecovered, CauseSwitchover} }

// Switchover is why the primary is handed over.
type Switchover string

// The reasons of switchovers.
const (
	// SwitchoverAsked: somebody asked for it by annotation.
	SwitchoverAsked Switchover = "asked"
	// SwitchoverStopping: the primary's pod was asked to stop.
	SwitchoverStopping Switchover = "stopping"
	// SwitchoverScaling: the primary is none of the instances that are wanted.
	SwitchoverScaling Switchover = "scaling"
	// SwitchoverUpdating: the primary's pod is to be made anew.
	SwitchoverUpdating Switchover = "updating"
	// SwitchoverConfiguring: the primary's configuration needs a restart.
	SwitchoverConfiguring Switchover = "configuring"
	// SwitchoverUnknown: it was begun before this operator led.
	SwitchoverUnknown Switchover = "unknown"
)

// Switchovers are all reasons.
func Switchovers() []Switchover {
	return []Switchover{SwitchoverAsked, SwitchoverStopping, SwitchoverScaling, SwitchoverUpdating, SwitchoverConfiguring, SwitchoverUnknown}
}

// Failovers are the reasons of failovers: those to give a primary up, and Forced.
func Failovers() []topology.Loss {
	return []topology.Loss{
		topology.LossEnded, topology.LossSilent, topology.LossCutOff, topology.LossStalled, topology.LossSelfFenced,
		topology.LossStuck, topology.LossEmpty, topology.LossRemoved, topology.LossFenced, Forced,
	}
}

// Forced is the reason of a promotion without a quorum, by request.
const Forced topology.Loss = "forced"

// Gap is a time in which nobody took writes, as far as the operator knows: it ends with the report that says that a
// primary is open, which is a moment after the first write can succeed.
type Gap struct {
	// Cause is what it was for.
	Cause Cause
	// Detect is how long before the decision the last sign of a working primary was; 0 for a switchover.
	Detect time.Duration
	// Commit is how long it took from there to the commit of the next primary; Promote from there until it was open.
	Commit, Promote time.Duration
}

// Whole is the length of the gap.
func (g Gap) Whole() time.Duration { return g.Detect + g.Commit + g.Promote }

// News is what one round adds to a story.
type News struct {
	// Failover is the reason of the failover that was committed in this round; empty if none was.
	Failover topology.Loss
	// Switchover is the reason of the switchover that was committed or given up in this round; empty if none was.
	Switchover Switchover
	// GivenUp says that it was given up.
	GivenUp bool
	// Closed is the gap that ended with this round; nil if none did.
	Closed *Gap
	// Refused is how many directives were found refused that had not been before.
	Refused int
}

// Tell adds a round to a story. The commit is that which was made, nil if none was; at is when the round ended.
func (s Story) Tell(o topology.Observation, commit *topology.Commit, at time.Time) (Story, News) {
	var news News
	s.refused, news.Refused = refusals(s.refused, o)
	loss := topology.LossOf(o)
	switch {
	case o.Open() && s.handingOver(o):
	case o.Open():
		if s.closing != "" {
			gap := s.gap(o.Now)
			news.Closed = &gap
		}
		s = Story{open: true, refused: s.refused}
	case loss == topology.LossNone:
	case s.closing == "" && s.open:
		s.closing, s.loss, s.noticed, s.detected = CauseRecovered, loss, o.Now, detected(o)
	case s.loss == topology.LossNone:
		s.loss = loss
	}
	if commit == nil {
		return s, news
	}
	switch commit.Kind {
	case topology.CommitPromote, topology.CommitForcePromote:
		news.Failover = s.failover(*commit)
		// Should the new primary be lost before it opens, that is another failover, for a reason of its own.
		s.loss, s.committed = topology.LossNone, at
		if s.closing != "" {
			s.closing = CauseFailover
		}
	case topology.CommitHandover:
		s.switchover = switchover(o)
		if s.open {
			s.closing, s.noticed = CauseSwitchover, at
		}
	case topology.CommitSwitchover:
		news.Switchover, s.committed = s.reason(), at
	case topology.CommitHandoverGivenUp:
		news.Switchover, news.GivenUp = s.reason(), true
	case topology.CommitRenew, topology.CommitBootstrap, topology.CommitAdopt, topology.CommitTakeOver, topology.CommitChange,
		topology.CommitVoters, topology.CommitChangeGivenUp:
	}
	return s, news
}

// handingOver says whether a handover is committed and the primary still takes writes, because it has not heard of it yet.
func (s Story) handingOver(o topology.Observation) bool {
	h := o.Record.Handover
	return s.closing == CauseSwitchover && s.committed.IsZero() && h != nil && !h.GivenUp
}

func (s Story) gap(end time.Time) Gap {
	g := Gap{Cause: s.closing, Detect: s.detected, Commit: end.Sub(s.noticed)}
	if !s.committed.IsZero() {
		g.Commit, g.Promote = s.committed.Sub(s.noticed), max(0, end.Sub(s.committed))
	}
	return g
}

// failover is the reason of a failover that is committed: that with which it began, if the beginning was seen.
func (s Story) failover(commit topology.Commit) topology.Loss {
	switch {
	case commit.Kind == topology.CommitForcePromote:
		return Forced
	case s.loss == topology.LossNone:
		return topology.LossFenced
	}
	return s.loss
}

func (s Story) reason() Switchover {
	if s.switchover == "" {
		return SwitchoverUnknown
	}
	return s.switchover
}

// detected is how long ago the primary last gave a sign of work.
func detected(o topology.Observation) time.Duration {
	p := o.Primary()
	if p == nil {
		return 0
	}
	if !p.Connected {
		return max(p.Silence, p.UnfitFor)
	}
	return p.UnfitFor
}

// switchover says what a handover that is begun is for, in the order in which topology asks.
func switchover(o topology.Observation) Switchover {
	p := o.Primary()
	switch {
	case o.Request.Switchover != "":
		return SwitchoverAsked
	case p == nil:
		return SwitchoverUnknown
	case p.Pod == nil, p.Pod.Terminating, p.Report != nil && p.Report.Terminating:
		return SwitchoverStopping
	case !o.Wanted(p):
		return SwitchoverScaling
	case p.Pod.Outdated:
		return SwitchoverUpdating
	}
	return SwitchoverConfiguring
}

// refusals returns the directives that are refused now, and how many of them were not before.
func refusals(before map[string]string, o topology.Observation) (after map[string]string, fresh int) {
	for i := range o.Members {
		m := &o.Members[i]
		if m.Report == nil || m.Report.Refused == "" {
			continue
		}
		if after == nil {
			after = map[string]string{}
		}
		after[m.Name] = m.Report.Refused
		if before[m.Name] != m.Report.Refused {
			fresh++
		}
	}
	return after, fresh
}

// Roles counts the connected members by what they are.
func Roles(o topology.Observation) map[string]int {
	out := map[string]int{}
	for _, role := range RoleNames() {
		out[role] = 0
	}
	for i := range o.Members {
		out[RoleOf(&o.Members[i])]++
	}
	return out
}

// RoleUnknown is the role of a member that nobody hears, or that has not become anything yet.
const RoleUnknown = "Unknown"

// RoleNames are all roles.
func RoleNames() []string {
	return []string{
		string(instance.RolePrimary), string(instance.RoleReplica), string(instance.RoleStandby), string(instance.RoleDrain),
		string(instance.RoleClone), RoleUnknown,
	}
}

// RoleOf is what a member is, as far as it is heard.
func RoleOf(m *topology.Member) string {
	if !m.Connected || m.Report == nil || m.Report.Role == "" {
		return RoleUnknown
	}
	if !slices.Contains(RoleNames(), string(m.Report.Role)) {
		// A role of a later release must not become a label of its own.
		return RoleUnknown
	}
	return string(m.Report.Role)
}
