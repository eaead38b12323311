package topology

import (
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// State is what a cluster is about, in one word. It is derived, never stored.
type State string

// The states of a cluster.
const (
	// Starting: no primary has ever served.
	Starting State = "Starting"
	// Healthy: the primary serves and every wanted instance votes.
	Healthy State = "Healthy"
	// Changing: the primary serves; instances, voters or pods are being changed as asked.
	Changing State = "Changing"
	// Degraded: the primary serves; an instance is missing or ill.
	Degraded State = "Degraded"
	// SwitchingOver: the primary is being handed over.
	SwitchingOver State = "SwitchingOver"
	// FailingOver: the primary is dead and another one is being made.
	FailingOver State = "FailingOver"
	// Promoting: a primary is committed and is coming up.
	Promoting State = "Promoting"
	// Waiting: the primary is dead or not there, and nothing may be done yet; Why says for what it waits.
	Waiting State = "Waiting"
	// Unreachable: the primary cannot be seen from here but has its quorum, so it is left alone.
	Unreachable State = "Unreachable"
)

// Closed says whether nobody serves writers, for the moment or for longer.
func (p Plan) Closed() bool {
	switch p.State {
	case SwitchingOver, FailingOver, Promoting, Waiting:
		return true
	case Starting, Healthy, Changing, Degraded, Unreachable:
	}
	return false
}

// Plan is what to do now.
type Plan struct {
	// State and Why say where the cluster stands, for people and conditions.
	State State
	Why   string
	// Commit, if not nil, is made first and alone: the next loop goes on from the new record.
	Commit *Commit
	// Directives are what each reachable instance shall be, in member order.
	Directives []Direct
	// Endpoints are what the Services shall point at.
	Endpoints Endpoints
	// Replicas is how many pods there shall be.
	Replicas int
	// Delete, if not nil, is a pod to be made anew.
	Delete *DeletePod
	// Done are one-time requests that are fulfilled or refused and are to be taken off the custom resource.
	Done []DoneRequest
	// LookAgain is when to decide again at the latest.
	LookAgain time.Duration
}

// Commit replaces the record, if it still is what was observed.
type Commit struct {
	// From is the record that was observed, To the new one.
	From, To instance.Record
	// Kind names the step, Why says why.
	Kind CommitKind
	Why  string
}

// CommitKind names a step in a cluster's life.
type CommitKind string

// The kinds of commits.
const (
	CommitBootstrap       CommitKind = "Bootstrap"
	CommitAdopt           CommitKind = "Adopt"
	CommitPromote         CommitKind = "Promote"
	CommitForcePromote    CommitKind = "ForcePromote"
	CommitRenew           CommitKind = "RenewEpoch"
	CommitTakeOver        CommitKind = "TakeOver"
	CommitHandover        CommitKind = "BeginSwitchover"
	CommitSwitchover      CommitKind = "Switchover"
	CommitHandoverGivenUp CommitKind = "GiveUpSwitchover"
	CommitChange          CommitKind = "BeginVoterChange"
	CommitVoters          CommitKind = "ChangeVoters"
	CommitChangeGivenUp   CommitKind = "GiveUpVoterChange"
)

// Direct tells an instance what to be.
type Direct struct {
	// Member is the instance's name.
	Member string
	// Directive is the whole of what it shall be, ID included.
	Directive instance.Directive
	// Why says why.
	Why string
}

// Endpoints are the targets of the Services, by instance name.
type Endpoints struct {
	// ReadWrite is the serving primary; empty for none.
	ReadWrite string
	// ReadOnly are replicas that follow, Any is everything that answers reads; both sorted by ordinal.
	ReadOnly, Any []string
}

// DeletePod makes a pod anew; its volume stays.
type DeletePod struct {
	// Member is the instance's name.
	Member string
	// Why says why.
	Why string
}

// DoneRequest is a one-time request that needs nothing more.
type DoneRequest struct {
	// Request names the field of Request.
	Request RequestKind
	// Refused is empty when it was fulfilled, else what is wrong and what to do.
	Refused string
}

// RequestKind names a one-time request.
type RequestKind string

// The one-time requests.
const (
	RequestSwitchover   RequestKind = "switchover"
	RequestForcePromote RequestKind = "force-promote"
)
