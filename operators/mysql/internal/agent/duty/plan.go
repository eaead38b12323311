package duty

import (
	"fmt"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// Self is what the agent knows about its instance and mysqld cannot tell.
type Self struct {
	// Name is the instance's name.
	Name string
	// State is the durable state.
	State state.State
	// Tainted: since mysqld started it has been, or has begun to be, a source whose commits may wait.
	Tainted bool
	// Drained: it was a source, and nothing can have been written since that was verified.
	Drained bool
	// PrimaryEpoch is the epoch that the members' passwords were made for; 0 before.
	PrimaryEpoch uint64
	// Credentialed are the accounts that got a password in PrimaryEpoch.
	Credentialed []string
	// Receiver says how the running receiver was started, as far as this agent started it.
	Receiver ReceiverMode
	// RoleFor is how long the present role has been wanted.
	RoleFor time.Duration
	// OpenAfter is the first ReplicaDuty.OpenAfter that was told in the present epoch for this time of keeping readers out;
	// empty if none was.
	OpenAfter string
	// Unheard is how long neither the operator nor the source has been heard.
	Unheard time.Duration
	// RetryThreads says that threads which stopped with an error may be started again by now.
	RetryThreads bool
	// CloneBusy: an archive or a clone is being made. CloneDone: the data were replaced under the present directive.
	CloneBusy, CloneDone bool
	// RetryClone says that a failed clone may be tried again by now.
	RetryClone bool
}

// ReceiverMode is how a receiver was started.
type ReceiverMode int

// The modes of a receiver.
const (
	// ReceiverUnknown: not started by this agent.
	ReceiverUnknown ReceiverMode = iota
	// ReceiverSilent: it acknowledges nothing.
	ReceiverSilent
	// ReceiverAcknowledging: it acknowledges what it received.
	ReceiverAcknowledging
)

// Plan is what to do next.
type Plan struct {
	// Steps are to be taken in order; after a failure the rest is dropped.
	Steps []Step
	// Converged says that the instance is what the directive asks. Steps of housekeeping may remain.
	Converged bool
	// Drained says that the instance is drained.
	Drained bool
	// Waiting says what is waited for, when neither steps nor convergence are there.
	Waiting string
	// Problem says why the directive cannot be followed; somebody has to do something.
	Problem string
}

// Step is one small thing to do.
type Step interface {
	fmt.Stringer
	step()
}

type (
	// Kill ends mysqld with SIGKILL; it is started again by itself.
	Kill struct{ Why string }
	// SetVariable sets a global variable of the agent's own.
	SetVariable struct{ Name, Value string }
	// Withdraw closes to readers an instance that hears nobody.
	Withdraw struct{}
	// StopReceiver ends the fetching half of the channel.
	StopReceiver struct{}
	// StartReceiver starts the fetching half.
	StartReceiver struct{ Acknowledge bool }
	// SyncRelay brings what was received to the disk.
	SyncRelay struct{}
	// StartApplier starts the applying half.
	StartApplier struct{}
	// StopApplier ends the applying half, by way of its coordinator's session.
	StopApplier struct{ Coordinator uint64 }
	// AwaitApplied waits a moment for transactions to be applied.
	AwaitApplied struct{ GTIDs string }
	// ForgetSource removes the channel.
	ForgetSource struct{}
	// Follow sets the channel up for a source.
	Follow struct{ Source instance.Source }
	// BecomeSource notes that from here on mysqld counts as a source.
	BecomeSource struct{}
	// CeaseSource notes that a drained source is none any more.
	CeaseSource struct{}
	// OpenPeers gives accounts a new password for the epoch and opens them.
	OpenPeers struct {
		Epoch    uint64
		Accounts []string
	}
	// LockPeers closes accounts.
	LockPeers struct{ Accounts []string }
	// EndDump ends a member's session.
	EndDump struct{ ID uint64 }
	// Keep notes durably that the data are worth keeping.
	Keep struct{}
	// Serve notes durably that the epoch is served.
	Serve struct{ Epoch uint64 }
	// Replace archives what only this instance holds, and then replaces its data by the source's.
	Replace struct {
		Duty   instance.CloneDuty
		Errant string
	}
)

func (Kill) step()          {}
func (SetVariable) step()   {}
func (Withdraw) step()      {}
func (StopReceiver) step()  {}
func (StartReceiver) step() {}
func (SyncRelay) step()     {}
func (StartApplier) step()  {}
func (StopApplier) step()   {}
func (AwaitApplied) step()  {}
func (ForgetSource) step()  {}
func (Follow) step()        {}
func (BecomeSource) step()  {}
func (CeaseSource) step()   {}
func (OpenPeers) step()     {}
func (LockPeers) step()     {}
func (EndDump) step()       {}
func (Keep) step()          {}
func (Serve) step()         {}
func (Replace) step()       {}

// String says what the step does.
func (s Kill) String() string { return "kill mysqld: " + s.Why }

// String says what the step does.
func (s SetVariable) String() string { return "set " + s.Name + "=" + s.Value }

// String says what the step does.
func (Withdraw) String() string {
	return "close to readers: neither the operator nor the source is heard"
}

// String says what the step does.
func (StopReceiver) String() string { return "stop the receiver" }

// String says what the step does.
func (s StartReceiver) String() string {
	if s.Acknowledge {
		return "start the receiver, acknowledging"
	}
	return "start the receiver, silent"
}

// String says what the step does.
func (SyncRelay) String() string { return "sync what was received" }

// String says what the step does.
func (StartApplier) String() string { return "start the applier" }

// String says what the step does.
func (s StopApplier) String() string {
	return fmt.Sprintf("stop the applier (session %d)", s.Coordinator)
}

// String says what the step does.
func (s AwaitApplied) String() string { return "wait until applied: " + s.GTIDs }

// String says what the step does.
func (ForgetSource) String() string { return "forget the source" }

// String says what the step does.
func (s Follow) String() string {
	return fmt.Sprintf("follow %s at %s:%d", s.Source.Name, s.Source.Host, s.Source.Port)
}

// String says what the step does.
func (BecomeSource) String() string { return "become a source" }

// String says what the step does.
func (CeaseSource) String() string { return "cease to be a source" }

// String says what the step does.
func (s OpenPeers) String() string {
	return fmt.Sprintf("open %s for epoch %d", strings.Join(s.Accounts, ", "), s.Epoch)
}

// String says what the step does.
func (s LockPeers) String() string { return "lock " + strings.Join(s.Accounts, ", ") }

// String says what the step does.
func (s EndDump) String() string { return fmt.Sprintf("end binlog dump %d", s.ID) }

// String says what the step does.
func (Keep) String() string { return "note that the data are kept" }

// String says what the step does.
func (s Serve) String() string { return fmt.Sprintf("note that epoch %d is served", s.Epoch) }

// String says what the step does.
func (s Replace) String() string {
	if s.Errant == "" {
		return "replace the data by those of " + s.Duty.Source.Name
	}
	return "archive " + s.Errant + ", then replace the data by those of " + s.Duty.Source.Name
}

// Account returns the name of the account under which a member attaches: it ends in the member's ordinal.
func Account(member string) string {
	if i := strings.LastIndexByte(member, '-'); i >= 0 {
		return PeerPrefix + member[i+1:]
	}
	return PeerPrefix + member
}

// PeerPrefix is how the names of member accounts begin.
const PeerPrefix = "kapok_peer_"

// Member returns the member's name for an account, given the name of any member of the same cluster.
func Member(account, sibling string) string {
	ordinal := strings.TrimPrefix(account, PeerPrefix)
	if i := strings.LastIndexByte(sibling, '-'); i >= 0 {
		return sibling[:i+1] + ordinal
	}
	return ordinal
}
