package duty

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/seal"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// closeAfter is how long a follower stands by before its readers are sent away: a failover takes less, and readers that
// stay connected through it lose nothing.
const closeAfter = 3 * time.Second

// routesSettle is how long after a change of office some node may still send the clients of the primary's Service to the
// former primary. A node that hears of changes hears of this one within a second; the rest is for one that is slow.
const routesSettle = time.Minute

// Decide returns what to do next.
func Decide(o mysqld.Observation, self Self, d instance.Directive) Plan {
	held, executed, err := Holds(o)
	if err != nil {
		return Plan{Problem: err.Error()}
	}
	x := scene{o: o, self: self, d: d, held: held, executed: executed}
	switch {
	case d.Role == instance.RoleStandby:
		return x.standby()
	case d.Role == instance.RolePrimary && d.Primary != nil:
		return x.primary(*d.Primary)
	case d.Role == instance.RoleDrain:
		return x.drain()
	case d.Role == instance.RoleReplica && d.Replica != nil:
		return x.replica(*d.Replica)
	case d.Role == instance.RoleClone && d.Clone != nil:
		return x.clone(*d.Clone)
	}
	return Plan{Problem: fmt.Sprintf("the directive's role %q is unknown to this agent or lacks its duty", d.Role)}
}

// scene is everything that a decision looks at.
type scene struct {
	o              mysqld.Observation
	self           Self
	d              instance.Directive
	held, executed gtid.Set
}

// Holds returns what the instance holds (executed, or received and not applied yet) and what it has executed.
func Holds(o mysqld.Observation) (held, executed gtid.Set, err error) {
	executed, err = gtid.Parse(o.Executed)
	if err != nil {
		return held, executed, fmt.Errorf("read what is executed: %w", err)
	}
	held = executed
	if o.Channel != nil {
		retrieved, err := gtid.Parse(o.Channel.Retrieved)
		if err != nil {
			return held, executed, fmt.Errorf("read what is received: %w", err)
		}
		held = executed.Union(retrieved)
	}
	return held, executed, nil
}

// standby: read-only and following nobody. This is also the fence of a failover, so that it has no step that can wait.
func (x scene) standby() Plan {
	if x.self.Tainted && !x.self.Drained {
		return Plan{Steps: []Step{Kill{"told to stand by while it is a source"}}}
	}
	// A drained source stays what it is until it is told whom to follow. To leave it would keep logins waiting, those of
	// clients that have not heard yet of another primary.
	var steps []Step
	if x.o.Channel != nil && x.o.Channel.Receiver {
		steps = append(steps, StopReceiver{})
	}
	steps = append(steps, x.readOnly()...)
	if len(steps) > 0 {
		return Plan{Steps: steps}
	}
	steps = x.keepApplying()
	if !x.o.Offline && x.self.RoleFor >= closeAfter {
		steps = append(steps, SetVariable{"offline_mode", "ON"})
	}
	return Plan{Steps: steps, Converged: true}
}

// readOnly closes a server that is no source for writes, whatever somebody did to it by hand.
func (x scene) readOnly() []Step {
	if x.o.SuperReadOnly {
		return nil
	}
	return []Step{SetVariable{"super_read_only", "ON"}}
}

// keepApplying has what was received applied.
func (x scene) keepApplying() []Step {
	ch := x.o.Channel
	if ch == nil || ch.Applier || x.executed.Contains(x.held) {
		return nil
	}
	if ch.ApplierErrno != 0 && !x.self.RetryThreads {
		return nil
	}
	return []Step{StartApplier{}}
}

// emptyChannel has everything received applied and then both halves stopped. It returns no plan once that is so.
func (x scene) emptyChannel() (Plan, bool) {
	ch := x.o.Channel
	if ch == nil {
		return Plan{}, true
	}
	if ch.Receiver {
		return Plan{Steps: []Step{StopReceiver{}}}, false
	}
	if !x.executed.Contains(x.held) {
		if steps := x.keepApplying(); len(steps) > 0 {
			return Plan{Steps: steps}, false
		}
		if ch.ApplierErrno != 0 {
			return Plan{Problem: fmt.Sprintf("what was received cannot be applied: error %d: %s", ch.ApplierErrno, ch.ApplierError)}, false
		}
		return Plan{
			Steps:   []Step{AwaitApplied{x.held.Subtract(x.executed).String()}},
			Waiting: "applying what was received",
		}, false
	}
	if ch.Applier || ch.Coordinator != 0 {
		return Plan{Steps: []Step{StopApplier{ch.Coordinator}}}, false
	}
	return Plan{}, true
}

// primary: the source of the epoch.
func (x scene) primary(duty instance.PrimaryDuty) Plan {
	if !x.self.State.Kept && !duty.Bootstrap {
		return Plan{Problem: "the volume is blank: only the first primary of a cluster may begin with one"}
	}
	if !x.self.Tainted && x.self.State.Served >= x.d.Epoch {
		return Plan{Problem: fmt.Sprintf("epoch %d was served before mysqld ended: what it recovered may be nowhere else, "+
			"so that it serves again only in a new epoch", x.d.Epoch)}
	}
	if plan, done := x.emptyChannel(); !done {
		return plan
	}
	var steps []Step
	if !x.self.Tainted {
		steps = append(steps, BecomeSource{})
	}
	if x.o.SemiReplica {
		steps = append(steps, SetVariable{"rpl_semi_sync_replica_enabled", "OFF"})
	}
	steps = append(steps, x.semiSync(duty.Acks)...)
	members, strangers := x.members(duty)
	if len(members) > 0 && x.o.SuperReadOnly {
		// Accounts cannot be changed under super_read_only; read_only stays on and keeps every client out.
		steps = append(steps, SetVariable{"super_read_only", "OFF"})
	}
	steps = append(steps, members...)
	for _, id := range strangers {
		steps = append(steps, EndDump{id})
	}
	if !duty.Serve {
		return x.source(append(steps, x.closed(len(members) > 0)...))
	}
	if len(strangers) > 0 {
		// Whoever is not admitted could acknowledge a write: no writes before their sessions are gone.
		if !x.o.ReadOnly {
			return Plan{Steps: steps, Waiting: "sessions of members that are not admitted to end"}
		}
		return Plan{Steps: steps, Waiting: "sessions of members that are not admitted to end before it serves"}
	}
	return x.source(append(steps, x.open(len(members) > 0)...))
}

// source ends the plan of a source. Its old channel, which has stopped, is removed when nobody waits for anything else.
func (x scene) source(steps []Step) Plan {
	if len(steps) > 0 || x.o.Channel == nil {
		return Plan{Steps: steps, Converged: len(steps) == 0}
	}
	return Plan{Steps: []Step{ForgetSource{}}, Converged: true}
}

// semiSync brings semi-sync as a source to the wanted count.
func (x scene) semiSync(acks int) []Step {
	var steps []Step
	switch {
	case acks == 0 && x.o.SemiSource:
		steps = append(steps, SetVariable{"rpl_semi_sync_source_enabled", "OFF"})
	case acks > 0:
		if x.o.SemiCount != acks {
			steps = append(steps, SetVariable{"rpl_semi_sync_source_wait_for_replica_count", strconv.Itoa(acks)})
		}
		if !x.o.SemiSource {
			steps = append(steps,
				SetVariable{"rpl_semi_sync_source_timeout", "4294967295"},
				SetVariable{"rpl_semi_sync_source_wait_point", "AFTER_SYNC"},
				SetVariable{"rpl_semi_sync_source_wait_no_replica", "ON"},
				SetVariable{"rpl_semi_sync_source_enabled", "ON"})
		} else if !x.o.SemiStrict {
			// It was a source shortly before, and left the role.
			steps = append(steps, SetVariable{"rpl_semi_sync_source_wait_no_replica", "ON"})
		}
	}
	return steps
}

// members returns the steps that open and lock accounts, and the sessions that have no right to be there.
func (x scene) members(duty instance.PrimaryDuty) (steps []Step, strangers []uint64) {
	wanted := make([]string, 0, len(duty.Admitted))
	for _, peer := range duty.Admitted {
		wanted = append(wanted, Account(peer.Name))
	}
	slices.Sort(wanted)
	newEpoch := x.self.PrimaryEpoch != x.d.Epoch
	var open, lock []string
	for _, name := range wanted {
		if newEpoch || !slices.Contains(x.self.Credentialed, name) || !slices.Contains(x.o.OpenPeers, name) {
			open = append(open, name)
		}
	}
	for _, name := range x.o.OpenPeers {
		if !slices.Contains(wanted, name) {
			lock = append(lock, name)
		}
	}
	if len(lock) > 0 {
		steps = append(steps, LockPeers{lock})
	}
	if len(open) > 0 || newEpoch {
		steps = append(steps, OpenPeers{Epoch: x.d.Epoch, Accounts: open})
	}
	for _, dump := range x.o.Dumps {
		if newEpoch || !slices.Contains(wanted, dump.User) {
			strangers = append(strangers, dump.ID)
		}
	}
	return steps, strangers
}

// closed keeps clients out of a source. The variable may have been turned off a few steps before.
func (x scene) closed(turnedOff bool) []Step {
	var steps []Step
	if !x.o.Offline {
		steps = append(steps, SetVariable{"offline_mode", "ON"})
	}
	if !x.o.SuperReadOnly || turnedOff {
		steps = append(steps, SetVariable{"super_read_only", "ON"})
	}
	return steps
}

// open lets clients in. What makes the instance a serving primary is on the volume before the first write is.
func (x scene) open(turnedOff bool) []Step {
	var steps []Step
	if !x.self.State.Kept {
		steps = append(steps, Keep{})
	}
	if x.self.State.Served != x.d.Epoch {
		steps = append(steps, Serve{x.d.Epoch})
	}
	if x.o.SuperReadOnly && !turnedOff {
		steps = append(steps, SetVariable{"super_read_only", "OFF"})
	}
	if x.o.ReadOnly {
		steps = append(steps, SetVariable{"read_only", "OFF"})
	}
	if x.o.Offline {
		steps = append(steps, SetVariable{"offline_mode", "OFF"})
	}
	return steps
}

// drain: no new writes, waiting commits finished, clients away.
func (x scene) drain() Plan {
	var steps []Step
	if !x.o.Offline {
		steps = append(steps, SetVariable{"offline_mode", "ON"})
	}
	if !x.o.SuperReadOnly {
		steps = append(steps, SetVariable{"super_read_only", "ON"})
	}
	switch {
	case len(steps) > 0:
		return Plan{Steps: steps}
	case x.o.WaitingCommits > 0:
		return Plan{Waiting: "commits that wait for acknowledgement"}
	case x.o.Sessions > 0:
		return Plan{Waiting: "client sessions to end"}
	}
	return Plan{Converged: true, Drained: true}
}

// leaveSource turns a drained source into an ordinary server, or kills one that is not drained.
func (x scene) leaveSource() []Step {
	switch {
	case !x.self.Tainted:
		return nil
	case !x.self.Drained || !x.o.SuperReadOnly || x.o.WaitingCommits > 0:
		return []Step{Kill{"told to follow another server while its own commits may wait"}}
	}
	var steps []Step
	if x.o.SemiSource && x.o.SemiStrict {
		// What it applies from now on waits for nobody, once its own replicas have gone.
		steps = append(steps, SetVariable{"rpl_semi_sync_source_wait_no_replica", "OFF"})
	}
	for _, dump := range x.o.Dumps {
		steps = append(steps, EndDump{dump.ID})
	}
	return append(steps, CeaseSource{})
}

// quietFor is how long after its last role change a former source may turn semi-sync off without a wait.
const quietFor = 4 * time.Second

// retireSource turns semi-sync as a source off on a server that is none any more. That waits up to a second for the thread
// that listens to replicas, and every login waits with it; when the replicas have been gone for a while it takes no time.
func (x scene) retireSource() []Step {
	if x.self.Tainted || !x.o.SemiSource || len(x.o.Dumps) > 0 || x.self.RoleFor < quietFor {
		return nil
	}
	return []Step{SetVariable{"rpl_semi_sync_source_enabled", "OFF"}}
}

// replica: follows the primary of the epoch.
func (x scene) replica(duty instance.ReplicaDuty) Plan {
	if steps := x.leaveSource(); len(steps) > 0 {
		return Plan{Steps: steps}
	}
	if steps := x.readOnly(); len(steps) > 0 {
		return Plan{Steps: steps}
	}
	if !x.follows(duty.Source) {
		if plan, done := x.emptyChannel(); !done {
			return plan
		}
		var steps []Step
		if !x.self.State.Kept {
			steps = append(steps, Keep{})
		}
		steps = append(steps, Follow{duty.Source})
		return Plan{Steps: append(append(steps, x.start(x.mode(duty))...), StartApplier{})}
	}
	ch := x.o.Channel
	if want := duty.Source.ServerUUID; want != "" && ch.Connected && ch.SourceUUID != "" && ch.SourceUUID != want {
		return Plan{
			Steps:   []Step{StopReceiver{}},
			Problem: fmt.Sprintf("at the address of %s answers server %s, not %s", duty.Source.Name, ch.SourceUUID, want),
		}
	}
	return x.keepFollowing(duty)
}

// follows says whether the channel is set up for this source and credential.
func (x scene) follows(s instance.Source) bool {
	was, ch := x.self.State.Channel, x.o.Channel
	return was != nil && ch != nil && was.Epoch == x.d.Epoch && was.Source == s.Name && was.Host == s.Host && was.Port == s.Port &&
		ch.Host == s.Host && ch.Port == s.Port && was.Secret == seal.Fingerprint(s.Credential)
}

// mode is how the receiver shall run. One that acknowledges when it should catch up goes on as it is: to start it anew
// would cost more than its syncs.
func (x scene) mode(duty instance.ReplicaDuty) ReceiverMode {
	running := x.o.Channel != nil && x.o.Channel.Receiver && x.follows(duty.Source)
	switch {
	case !duty.Acknowledge:
		return ReceiverSilent
	case CaughtUp(x.held, x.d):
		return ReceiverAcknowledging
	case running && x.self.Receiver == ReceiverAcknowledging:
		return ReceiverAcknowledging
	}
	return ReceiverSilent
}

// start starts the receiver. An acknowledgement must survive the replica (I10), so that whoever gives one syncs every
// event; whoever gives none need not, and receives several times faster for it.
func (x scene) start(mode ReceiverMode) []Step {
	if mode == ReceiverAcknowledging {
		return append(x.syncRelay(), SetVariable{"rpl_semi_sync_replica_enabled", "ON"}, StartReceiver{Acknowledge: true})
	}
	var steps []Step
	if x.o.SyncsRelay {
		steps = append(steps, SetVariable{"sync_relay_log", "0"})
	}
	return append(steps, SetVariable{"rpl_semi_sync_replica_enabled", "OFF"}, StartReceiver{Acknowledge: false})
}

// syncRelay has what was received synced, from here on and up to here.
func (x scene) syncRelay() []Step {
	if x.o.SyncsRelay {
		return nil
	}
	return []Step{SetVariable{"sync_relay_log", "1"}, SyncRelay{}}
}

// keepFollowing keeps both threads of the right channel running in the right mode.
func (x scene) keepFollowing(duty instance.ReplicaDuty) Plan {
	ch, mode := x.o.Channel, x.mode(duty)
	var steps []Step
	if acknowledging := mode == ReceiverAcknowledging; x.o.SemiReplica != acknowledging || ch.Receiver && x.self.Receiver != mode ||
		acknowledging && !x.o.SyncsRelay {
		if ch.Receiver {
			steps = append(steps, StopReceiver{})
		}
		steps = append(steps, x.start(mode)...)
	} else if !ch.Receiver && (ch.ReceiverErrno == 0 || x.self.RetryThreads) {
		steps = append(steps, StartReceiver{acknowledging})
	}
	if !ch.Applier && (ch.ApplierErrno == 0 || x.self.RetryThreads) {
		steps = append(steps, StartApplier{})
	}
	converged := len(steps) == 0 && ch.Receiver && ch.Applier
	switch {
	case x.cutOff():
		steps = append(steps, Withdraw{})
	case x.o.Offline && ch.Connected && x.mayOpen():
		// Open for readers once it is known to follow, and where its primary was a moment ago.
		steps = append(steps, SetVariable{"offline_mode", "OFF"})
	}
	steps = append(steps, x.retireSource()...)
	plan := Plan{Steps: steps, Converged: converged}
	if !CaughtUp(x.held, x.d) {
		plan.Waiting = "what the primary holds"
	}
	return plan
}

// cutOff says whether a former primary hears nobody and is still open. The node that it is on may then be one that does not
// hear either, and send the primary's clients here, to what is older by the second. Other replicas stay open: when operator
// and primary are both gone, old data are better than none for those who chose to read from a replica.
func (x scene) cutOff() bool {
	return !x.o.Offline && x.self.State.Served > 0 && x.self.RoleFor < routesSettle && x.self.Unheard >= closeAfter
}

// mayOpen says whether what readers would see is not long past. The first point told counts: where there are writers, the
// later ones move on as fast as an instance that is a second behind gets nearer, and it would never open. Until one is told,
// the directive is about an instance that the operator took for open: its next report says that it is not.
func (x scene) mayOpen() bool {
	if x.self.OpenAfter == "" {
		return false
	}
	wanted, err := gtid.Parse(x.self.OpenAfter)
	return err != nil || x.executed.Contains(wanted)
}

// CaughtUp says whether an instance that holds the given set holds what its directive waits for.
func CaughtUp(held gtid.Set, d instance.Directive) bool {
	if d.Replica == nil || d.Replica.CatchUp == "" {
		return true
	}
	awaited, err := gtid.Parse(d.Replica.CatchUp)
	return err != nil || held.Contains(awaited)
}

// clone: archive what nobody else has, then take the primary's data.
func (x scene) clone(duty instance.CloneDuty) Plan {
	switch {
	case x.self.CloneBusy:
		return Plan{Waiting: "the data are being replaced"}
	case x.self.CloneDone:
		return Plan{Converged: true}
	}
	if steps := x.leaveSource(); len(steps) > 0 {
		return Plan{Steps: steps}
	}
	target, err := gtid.Parse(duty.SourceExecuted)
	if err != nil {
		return Plan{Problem: "read what the source has executed: " + err.Error()}
	}
	if ch := x.o.Channel; ch != nil && (ch.Receiver || ch.Applier || ch.Coordinator != 0) {
		var steps []Step
		if ch.Receiver {
			steps = append(steps, StopReceiver{})
		}
		return Plan{Steps: append(steps, StopApplier{ch.Coordinator})}
	}
	if !x.self.RetryClone {
		return Plan{Waiting: "the next attempt to replace the data"}
	}
	return Plan{Steps: []Step{Replace{Duty: duty, Errant: x.held.Subtract(target).String()}}}
}
