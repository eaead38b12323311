package topology

import (
	"slices"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// Observation is everything a decision rests on. It is immutable: Decide changes nothing in it.
type Observation struct {
	// Now is the operator's clock.
	Now time.Time
	// Term is this operator's leadership term.
	Term uint64
	// Spec is what the user wants.
	Spec Spec
	// Record is the committed decision, as last read.
	Record instance.Record
	// Mark is what the primary held when the voter change under way was first seen in force (ChangeInForce): all that was
	// acknowledged under the old rules is in it. Nil lets what the primary holds now stand for it, which a member that
	// follows a busy primary may never be seen to hold, because two reports are never of one moment.
	Mark *gtid.Set
	// Doomed: the member that the voter change under way adds was given up once, or the acknowledgements that were raised
	// for it were lowered again. A report that has them raised may now be of the time before, so that nothing but giving
	// the change up ends it.
	Doomed bool
	// Members are all instances that exist or should, sorted by ordinal, gaps filled.
	Members []Member
	// Request is what the user asks for once.
	Request Request
	// ReadWrite is the instance that the read-write Service points at now; empty for none.
	ReadWrite string
	// Readable are the instances that the read Service points at now.
	Readable []string
}

// Spec is the part of the custom resource that topology decides on.
type Spec struct {
	// Instances is how many instances the user wants, 1 to 9.
	Instances int
	// ManualFailover leaves a dead primary alone until the user asks for a switchover or it comes back.
	ManualFailover bool
	// Restore: the cluster begins with a restore. It is founded on nothing else.
	Restore bool
	// Config, BufferPoolBytes and Users go into every directive as they are.
	Config          map[string]string
	BufferPoolBytes int64
	Users           []instance.User
}

// Request is what the user asks for once, by annotation.
type Request struct {
	// Switchover names the instance to hand the primary to; AnyInstance leaves the choice; empty asks for nothing.
	Switchover string
	// ForcePromote names the instance to promote without a quorum (I8); empty asks for nothing.
	ForcePromote string
}

// AnyInstance asks for a switchover to whichever replica is best.
const AnyInstance = "any"

// Member is one instance as the operator sees it.
type Member struct {
	// Name is the pod's name, Ordinal its number.
	Name    string
	Ordinal int
	// Pod is nil when there is none.
	Pod *Pod
	// OldVolume: its volume claim is older than the cluster and may hold an earlier cluster's data.
	OldVolume bool
	// Report is the newest report of the pod's agent; nil when it never spoke to this operator.
	Report *instance.Report
	// Executed and Held are the parsed sets of the report; Held is what it executed or received.
	Executed, Held gtid.Set
	// Connected: the link stands and heartbeats arrive. Silence is how long none has arrived, counted from the moment
	// this operator began to look when none ever did.
	Connected bool
	Silence   time.Duration
	// UnfitFor is how long Fit has been false for the member in the committed epoch, as the observer saw it; 0 when fit.
	UnfitFor time.Duration
}

// Pod is what matters of a pod.
type Pod struct {
	// IP is empty until the pod has one.
	IP string
	// Terminating: the pod has been asked to stop.
	Terminating bool
	// Outdated: the pod was made from an older template.
	Outdated bool
	// Ready is the pod's readiness; Unschedulable quotes the scheduler when it cannot be placed.
	Ready         bool
	Unschedulable string
}

// Member returns the named member, or nil.
func (o Observation) Member(name string) *Member {
	for i := range o.Members {
		if o.Members[i].Name == name {
			return &o.Members[i]
		}
	}
	return nil
}

// Primary returns the member that the record names as primary, or nil.
func (o Observation) Primary() *Member { return o.Member(o.Record.Primary) }

// IsVoter says whether the named member is in the committed voter set.
func (o Observation) IsVoter(name string) bool { return slices.Contains(o.Record.Voters, name) }

// Wanted says whether the member is one of the instances that the user wants.
func (o Observation) Wanted(m *Member) bool { return m.Ordinal < o.Spec.Instances }

// KeepRunning has no instance that runs made anew for its template. What does not run is: that may be what mends it.
func (o *Observation) KeepRunning() {
	for i := range o.Members {
		if m := &o.Members[i]; m.Pod != nil && m.alive() {
			m.Pod.Outdated = false
		}
	}
}

// alive says whether the member's agent speaks and its mysqld answers.
func (m *Member) alive() bool {
	return m != nil && m.Connected && m.Report != nil && m.Report.State == instance.StateRunning
}

// leaving says whether the member's pod was asked to stop.
func (m *Member) leaving() bool {
	return m.Pod == nil || m.Pod.Terminating || m.Report != nil && m.Report.Terminating
}

// serving says whether the member is the open, writable primary of the epoch.
func (m *Member) serving(epoch uint64) bool {
	return m.alive() && m.Report.Role == instance.RolePrimary && m.Report.Epoch == epoch && m.Report.Serving
}

// leading says whether the member is the source of the epoch, serving or not.
func (m *Member) leading(epoch uint64) bool {
	return m.alive() && m.Report.Epoch == epoch &&
		(m.Report.Role == instance.RolePrimary || m.Report.Role == instance.RoleDrain)
}

// following says whether the member replicates from the given primary in the given epoch, with both halves at work.
func (m *Member) following(primary string, epoch uint64) bool {
	return m.alive() && m.Report.Role == instance.RoleReplica && m.Report.Epoch == epoch &&
		m.Report.Receiver.Source == primary && m.Report.Receiver.Connected && m.Report.Applier.Running &&
		m.Report.Applier.ErrorNumber == 0
}

// readable says whether the member follows like that and lets readers in.
func (m *Member) readable(primary string, epoch uint64) bool {
	return m.following(primary, epoch) && !m.Report.Closed
}

// cloning says whether the member is replacing its data by the word of the given epoch: it is left alone until that ends.
func (m *Member) cloning(epoch uint64) bool {
	return m.Connected && m.Report != nil && m.Report.State == instance.StateCloning && m.Report.Promised == epoch
}

// told says whether the member works on the record as it is, by the word of this operator: no earlier leader can change
// that any more (I11), and no report from before the record passes for one about it.
func (o Observation) told(m *Member) bool {
	return m.alive() && m.Report.Term == o.Term && sameRecord(m.Report.Record, o.Record)
}

// hears says whether the member's receiver has heard from the given primary lately, in whatever epoch.
func (m *Member) hears(primary string) bool {
	return m.alive() && m.Report.Receiver.Connected && m.Report.Receiver.Source == primary &&
		time.Duration(m.Report.Receiver.SilentMillis)*time.Millisecond < SourceSilence
}

// lost says whether the member follows the primary of the epoch as it was told, has heard it before, and has not for so long
// that the way between them must be broken.
func (m *Member) lost(primary string, epoch uint64) bool {
	return m.alive() && !m.Report.Stalled && m.Report.Role == instance.RoleReplica && m.Report.Epoch == epoch && m.Report.Receiver.Running &&
		m.Report.Receiver.Source == primary && time.Duration(m.Report.Receiver.SilentMillis)*time.Millisecond >= CutOffAfter
}

// Fit says whether a member does its work in the committed epoch: the primary serves, a replica follows, a voter among
// the replicas acknowledges or catches up with a closed primary. The observer counts from the moment it stops being true (Member.UnfitFor).
func (o Observation) Fit(m *Member) bool {
	if m.Report == nil || m.Report.Stalled {
		return false
	}
	if m.Name == o.Record.Primary {
		return m.serving(o.Record.Epoch)
	}
	return m.following(o.Record.Primary, o.Record.Epoch) && (m.Report.Acknowledging || m.Report.CatchingUp || !o.IsVoter(m.Name))
}

// Complete says whether a member does all that it is there for: it is fit, votes, and lets readers in.
func (o Observation) Complete(m *Member) bool {
	return o.IsVoter(m.Name) && o.Fit(m) && !m.Report.Closed
}

// lacks returns how many transactions of set the member does not hold.
func (m *Member) lacks(set gtid.Set) uint64 { return set.Subtract(m.Held).Count() }

// Errant returns the transactions that the member holds and the primary does not, and that cannot have come from the
// primary. A report is a moment, and the primary's may be older than the member's. So what the primary itself generated
// never counts, whatever the member does at the moment: the primary has it too by now (I6: a blip is no errant
// transaction). That rests on a server UUID never being used again by an instance whose data were replaced.
func Errant(m, primary *Member) gtid.Set {
	if !m.alive() || m.Report.Blank || !primary.alive() {
		return gtid.Set{}
	}
	return m.Held.Subtract(primary.Held).Without(strings.ToLower(primary.Report.ServerUUID))
}
