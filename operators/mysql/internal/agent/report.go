package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/duty"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/errorlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// gtidInterval is the least time between two reports that differ in GTID sets alone.
const gtidInterval = 500 * time.Millisecond

// reporter decides when a report is worth sending.
type reporter struct {
	// errors is mysqld's error log.
	errors errorlog.Tail
	// starts counts how often mysqld was started.
	starts int
	// gone: mysqld has ended, and the memory does not say so yet.
	gone bool
	// force sends the next report whatever is in it.
	force bool
	// due is when a report that was held back is to be sent.
	due time.Time
	// base is the newest picture made from the memory.
	base instance.Report
	// sent and sentBare are the newest report sent, whole and without its GTID sets.
	sent, sentBare []byte
	sentAt         time.Time
}

// report sends the picture of the instance if it says something new.
func (a *Agent) report() {
	p := &a.reporter
	if a.working == nil {
		p.base = a.picture()
	}
	r := a.patch(p.base)
	a.published.Store(&r)
	whole, err := json.Marshal(r)
	if err != nil {
		a.ignoreEnd(fmt.Errorf("encode the report: %w", err))
		return
	}
	if bytes.Equal(whole, p.sent) && !p.force {
		p.due = time.Time{}
		return
	}
	without := r
	without.Executed, without.Received = "", ""
	bare, err := json.Marshal(without)
	if err != nil {
		a.ignoreEnd(fmt.Errorf("encode the report: %w", err))
		return
	}
	now := time.Now()
	if left := gtidInterval - now.Sub(p.sentAt); left > 0 && bytes.Equal(bare, p.sentBare) && !p.force {
		p.due = now.Add(left)
		return
	}
	if err := a.operator.Publish(whole); err != nil {
		a.ignoreEnd(fmt.Errorf("publish the report: %w", err))
	}
	p.sent, p.sentBare, p.sentAt, p.due, p.force = whole, bare, now, time.Time{}, false
}

// patch adds what does not come from the memory and may have changed while work is under way.
func (a *Agent) patch(r instance.Report) instance.Report {
	now := time.Now()
	r.Terminating = a.terminating()
	r.Stalled = a.watch.Stalled(now) || r.Unresponsive
	var full, isolated bool
	r.Volume, full = a.watch.Fill()
	r.Refused, r.RefusedWhy, isolated = a.inbox.notes()
	if run := a.current.Load(); run == nil || run.dying.Load() || a.reporter.gone {
		cloning := run != nil && r.State == instance.StateCloning
		r = withoutServer(r)
		if cloning {
			r.State = instance.StateCloning
		}
		if run == nil && a.working != nil && !a.stopping && !a.reporter.gone {
			r.State = instance.StateStarting
		}
	}
	r.Restore, r.Seed = a.restoring.Load(), a.seeding.Load()
	r.Backup = a.keeper.Report()
	switch {
	case isolated:
		r.SelfFenced = true
		r.Problem = "neither the operator nor a quorum of voters was seen in time, so mysqld was killed"
		r.ProblemReason = instance.ProblemIsolated
	case full && r.ProblemReason == "":
		r.Problem, r.ProblemReason = "the data volume is full", instance.ProblemVolumeFull
	}
	return r
}

// withoutServer removes everything that only a running mysqld can say.
func withoutServer(r instance.Report) instance.Report {
	return instance.Report{
		Instance: r.Instance, Boot: r.Boot, AgentVersion: r.AgentVersion, State: instance.StateDown, Starts: r.Starts,
		Blank: r.Blank, Term: r.Term, Promised: r.Promised, Served: r.Served, Record: r.Record,
		Directive: r.Directive, Refused: r.Refused, RefusedWhy: r.RefusedWhy, SealingKey: r.SealingKey,
		Stalled: r.Stalled, Terminating: r.Terminating, Volume: r.Volume,
		ConfigError: r.ConfigError, Archives: r.Archives, Rejoin: r.Rejoin, Restored: r.Restored, Problem: r.Problem, ProblemReason: r.ProblemReason,
	}
}

// picture makes a report from the memory. Only the loop calls it, while no work owns the memory.
func (a *Agent) picture() instance.Report {
	m := &a.memory
	run := a.current.Load()
	r := instance.Report{
		Instance: a.opts.Instance, Boot: a.boot, AgentVersion: a.opts.Version,
		State: instance.StateDown, Starts: a.reporter.starts, Blank: !m.state.Kept,
		Term: m.state.Term, Promised: m.state.Promised, Served: m.state.Served, Record: m.state.Record,
		Directive: m.accepted, SealingKey: a.opener.Public(), Archives: m.archives,
		Rejoin: m.rejoinReport(), Restored: a.hasRestored(),
		Problem: m.problem, ProblemReason: m.reason,
	}
	if d := m.directive; d != nil {
		if hash := wantedConfig(d).Hash(); hash == m.config.checked {
			r.ConfigError = m.config.checkError
		}
	}
	if m.clone.problem != "" && r.Problem == "" {
		r.Problem, r.ProblemReason = m.clone.problem, instance.ProblemCloneFailed
	}
	if run == nil {
		return r
	}
	r.State = instance.StateStarting
	if m.clone.copying {
		r.State = instance.StateCloning
	}
	if m.observation == nil {
		return r
	}
	if r.State != instance.StateCloning {
		r.State = instance.StateRunning
	}
	a.fromObservation(&r, *m.observation, run)
	return r
}

// fromObservation adds what mysqld has said.
func (a *Agent) fromObservation(r *instance.Report, o mysqld.Observation, run *run) {
	m := &a.memory
	now := time.Now()
	r.ServerUUID, r.ServerVersion, r.CA = o.ServerUUID, o.Version, m.authority
	r.Executed, r.Received = o.Executed, o.Executed
	if held, _, err := duty.Holds(o); err == nil {
		r.Received = held.String()
		r.CatchingUp = m.directive != nil && !duty.CaughtUp(held, *m.directive)
	}
	r.ConfigHash = m.config.run
	r.RestartNeeded = m.restartNeeded()
	r.Role, r.Epoch = m.role, m.roleEpoch
	r.Drained = m.drained
	r.Unresponsive = a.unresponsive(run, now)
	// Convergence is about the directive as it is now: a picture from before it was accepted says nothing.
	r.Converged = m.directive != nil && m.plan.Converged && m.role == m.directive.Role && m.roleEpoch == m.directive.Epoch
	if len(m.users.errors) > 0 {
		r.UserErrors = m.users.errors
	}
	if !run.tainted.Load() {
		r.Closed, r.Closing = o.Offline, m.opening.closing
		if ch := o.Channel; ch != nil {
			a.fromChannel(r, o, ch, now)
		}
		return
	}
	r.Serving = !o.ReadOnly && !o.Offline
	r.WaitingCommits = o.WaitingCommits
	r.Acks = -1
	if o.SemiSource && o.SemiStrict {
		r.Acks = o.SemiCount
	}
	for _, dump := range o.Dumps {
		r.Attached = append(r.Attached, duty.Member(dump.User, a.opts.Instance))
	}
	// Whoever could still acknowledge counts as admitted: a session outlives the locking of its account for a moment.
	r.Admitted = slices.Clone(r.Attached)
	for _, account := range o.OpenPeers {
		r.Admitted = append(r.Admitted, duty.Member(account, a.opts.Instance))
	}
	r.Attached, r.Admitted = sorted(r.Attached), sorted(r.Admitted)
	r.Credentials = m.credentials
}

// unresponsive says whether mysqld runs and does not answer. A process that was stopped is told at once from one that is
// only starved of the processor or the disk.
func (a *Agent) unresponsive(r *run, now time.Time) bool {
	silent := now.Sub(a.memory.answeredAt)
	return silent > starved || silent > frozen && isStopped(r.process.PID())
}

// isStopped says whether a process was stopped by a signal.
func isStopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	end := bytes.LastIndexByte(stat, ')')
	return end > 0 && len(stat) > end+2 && (stat[end+2] == 'T' || stat[end+2] == 't')
}

// sorted sorts names and drops repetitions.
func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// fromChannel adds the two halves of the replication channel.
func (a *Agent) fromChannel(r *instance.Report, o mysqld.Observation, ch *mysqld.Channel, now time.Time) {
	m := &a.memory
	r.Receiver = instance.Receiver{
		Running: ch.Receiver, Connected: ch.Connected, ErrorNumber: ch.ReceiverErrno, Error: ch.ReceiverError,
	}
	if m.state.Channel != nil {
		r.Receiver.Source = m.state.Channel.Source
	}
	if ch.Receiver && !ch.HeardAt.IsZero() {
		r.Receiver.SilentMillis = coarse(m.source.silence(ch.HeardAt, now))
	}
	r.Acknowledging = ch.Receiver && o.SemiReplica && m.receiver == duty.ReceiverAcknowledging
	r.Applier = instance.Applier{Running: ch.Applier, ErrorNumber: ch.ApplierErrno, Error: ch.ApplierError}
	if held, executed, err := duty.Holds(o); err == nil && !executed.Contains(held) {
		r.Applier.LagSeconds = -1
		if !ch.AppliedAt.IsZero() {
			r.Applier.LagSeconds = int64(now.Sub(ch.AppliedAt).Round(time.Second).Seconds())
		}
	}
}

// coarse rounds a silence so that a report does not change with every look: nothing below a second and a half (a
// heartbeat comes every second), then whole seconds, then tens.
func coarse(d time.Duration) int64 {
	switch {
	case d < 1500*time.Millisecond:
		return 0
	case d < 10*time.Second:
		return d.Truncate(time.Second).Milliseconds()
	}
	return d.Truncate(10 * time.Second).Milliseconds()
}
