package topology

import (
	"fmt"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// standing is where the committed primary stands.
type standing int

const (
	// serving: open and writable in the committed epoch (or being drained for a handover).
	serving standing = iota
	// rising: told or about to be told to be primary, not open yet.
	rising
	// overtaken: at work in the committed epoch, but a fence for a later one was begun and nobody was promoted.
	overtaken
	// suspect: not heard of, but not for long enough.
	suspect
	// unreachable: not heard of, but its voters hear it, so it works.
	unreachable
	// dead: it must be replaced, or fenced and promoted anew.
	dead
)

type verdict struct {
	standing standing
	why      string
}

// judge says where the committed primary stands. Silence alone never condemns a primary that its voters hear (I5); a
// death that its own agent reports needs no second opinion, because the agent is the parent of the process.
func judge(o Observation) verdict {
	m, epoch := o.Primary(), o.Record.Epoch
	if m == nil {
		return verdict{dead, fmt.Sprintf("the primary %s is none of the instances any more", o.Record.Primary)}
	}
	if !m.Connected || m.Report == nil {
		return judgeSilent(o, m)
	}
	r := m.Report
	atWork := m.leading(epoch)
	switch {
	case r.Blank && !unfounded(o):
		return verdict{dead, fmt.Sprintf("the volume of the primary %s is empty", m.Name)}
	case r.Promised > epoch:
		return verdict{dead, fmt.Sprintf("%s has been fenced", m.Name)}
	case r.Stalled:
		return verdict{dead, fmt.Sprintf("%s is connected but its volume or mysqld has not answered for some seconds", m.Name)}
	case atWork && o.promised() > epoch:
		return verdict{overtaken, fmt.Sprintf("a fence for a later epoch was begun, but %s is at work", m.Name)}
	case atWork && r.Serving && cutOff(o, m):
		return verdict{dead, fmt.Sprintf("%s is at work, but its voters have heard nothing of it for %s: nothing can be acknowledged", m.Name, CutOffAfter)}
	case atWork && (r.Serving || r.Role == instance.RoleDrain):
		return verdict{serving, ""}
	case atWork:
		return verdict{rising, fmt.Sprintf("%s is the primary of epoch %d and is not open yet", m.Name, epoch)}
	case r.SelfFenced:
		return verdict{dead, fmt.Sprintf("%s saw neither its operator nor its quorum and fenced itself", m.Name)}
	case r.Served >= epoch:
		return verdict{dead, fmt.Sprintf("mysqld of the primary %s ended", m.Name)}
	case r.State != instance.StateRunning && m.UnfitFor >= StuckAfter && len(o.Record.Voters) > 1:
		return verdict{dead, fmt.Sprintf("%s was chosen as primary and does not come up", m.Name)}
	case r.State == instance.StateRunning && !r.Blank && r.Directive == "" && m.UnfitFor >= StuckAfter:
		// Its mysqld ended after it was told and before it served, for one by a fence that was on its way when the epoch was
		// renewed. Its office ended with that run, and it is not told again: what the new run recovered was not decided about.
		return verdict{dead, fmt.Sprintf("%s was chosen as primary, and its mysqld has ended since", m.Name)}
	}
	return verdict{rising, fmt.Sprintf("%s is becoming the primary of epoch %d", m.Name, epoch)}
}

func judgeSilent(o Observation, m *Member) verdict {
	hearing := 0
	for _, name := range o.Record.Voters {
		if name != m.Name && o.Member(name).hears(m.Name) {
			hearing++
		}
	}
	acks := WriteQuorum(len(o.Record.Voters)) - 1
	switch {
	case acks > 0 && hearing >= acks && o.promised() <= o.Record.Epoch:
		return verdict{unreachable, fmt.Sprintf("the operator does not hear %s, but %d voters do: it has its quorum and is left alone",
			m.Name, hearing)}
	case m.Silence >= PromoteAfter || o.promised() > o.Record.Epoch:
		return verdict{dead, fmt.Sprintf("nothing was heard of the primary %s for %s, and its voters do not hear it either", m.Name, PromoteAfter)}
	}
	return verdict{suspect, fmt.Sprintf("nothing is heard of the primary %s; waiting until it must have closed itself", m.Name)}
}

// cutOff says whether so many voters have lost a primary that is at work that no commit of it can be acknowledged, and so
// many of them can be asked that another one can be promoted. Only those count that heard it before in its epoch: who has
// never heard it would not hear the next one either, for all that is known, and primaries must not follow each other
// without end where nobody reaches anybody.
func cutOff(o Observation, primary *Member) bool {
	voters := o.Record.Voters
	acks := WriteQuorum(len(voters)) - 1
	if acks == 0 || o.Spec.ManualFailover {
		return false
	}
	hearing, lost := 0, 0
	for _, name := range voters {
		m := o.Member(name)
		switch {
		case name == primary.Name:
		case m.hears(primary.Name):
			hearing++
		case m.lost(primary.Name, o.Record.Epoch):
			lost++
		}
	}
	return hearing < acks && lost >= ReadQuorum(len(voters))
}
