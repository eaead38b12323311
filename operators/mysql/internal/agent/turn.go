package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/duty"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/seal"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/agent"
)

// The pace of the loop.
const (
	// soon is when to look again while something is awaited.
	soon = 20 * time.Millisecond
	// lively and calm are when to look again while things change, and while they do not.
	lively = 250 * time.Millisecond
	calm   = time.Second
	// turnGrace is how long a turn may take before a new directive cancels it.
	turnGrace = 25 * time.Millisecond
	// startPoll is when to look again while mysqld starts.
	startPoll = 50 * time.Millisecond
	// applyWait is how long one turn waits for the applier.
	applyWait = 100 * time.Millisecond
	// retryThreads is when a thread that stopped with an error is started again.
	retryThreads = 2 * time.Second
	// starved is how long a server that has answered before may leave questions unanswered, and frozen the same for one
	// whose process was stopped.
	starved = 5 * time.Second
	frozen  = 1500 * time.Millisecond
)

// turn returns the work of one round: observe, decide, take the steps, observe again.
func (a *Agent) turn(r *run) func(context.Context) func() {
	return func(ctx context.Context) func() {
		m := &a.memory
		if _, err := os.Stat(a.paths.socket); err != nil && !r.answered.Load() {
			// It opens its socket at the end of its start; asking before would only take the processor from it.
			return func() { a.nextTurn = time.Now().Add(startPoll) }
		}
		before, err := a.observe(ctx, r)
		if err != nil {
			return a.unanswered(ctx, r, err)
		}
		changed := m.observation == nil || m.observation.Executed != before.Executed
		m.take(before)
		if !r.answered.Swap(true) {
			changed = true
			a.greet(r)
		}
		if reason, err := a.settle(ctx, r, before); err != nil {
			return func() { a.fail(reason, err); a.nextTurn = time.Now().Add(calm) }
		}
		if m.directive == nil {
			err := a.withoutDirective(ctx, r, before)
			return func() { a.finishTurn(r, err, changed) }
		}
		a.arm()
		plan := duty.Decide(before, a.self(), *m.directive)
		err = a.takeAll(ctx, r, plan.Steps)
		if len(plan.Steps) > 0 && err == nil {
			after, oerr := a.observe(ctx, r)
			if oerr != nil {
				return a.unanswered(ctx, r, oerr)
			}
			m.take(after)
			plan = duty.Decide(after, a.self(), *m.directive)
			changed = true
		}
		m.plan = plan
		if err == nil {
			a.arrived(plan)
		}
		return func() { a.finishTurn(r, err, changed) }
	}
}

// settle takes note of what the run of mysqld began with: the end of a clone, and the configuration in force.
func (a *Agent) settle(ctx context.Context, r *run, o mysqld.Observation) (reason string, err error) {
	if err := a.settleClone(ctx, r, o); err != nil {
		return instance.ProblemCloneFailed, err
	}
	if err := a.settleRestore(ctx, r, o); err != nil {
		return instance.ProblemDuty, err
	}
	if err := a.settleRejoin(o); err != nil {
		return instance.ProblemDuty, err
	}
	return instance.ProblemDuty, a.adoptConfig(ctx, r.client, o)
}

// takeAll takes the steps in order. What changed in the agent's state without being a promise is written in a turn
// without any: a failover may be waiting for the steps.
func (a *Agent) takeAll(ctx context.Context, r *run, steps []duty.Step) error {
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		begun := time.Now()
		err := a.take(ctx, r, step)
		a.log.InfoContext(a.inbox.traced(ctx), "Step", "step", step.String(), "took", time.Since(begun).Round(100*time.Microsecond).String(), "error", text(err))
		if err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
	}
	if a.memory.unsaved && len(steps) == 0 {
		return a.save(func(*state.State) {})
	}
	return nil
}

// arrived takes note of a plan that is fulfilled.
func (a *Agent) arrived(plan duty.Plan) {
	m := &a.memory
	if plan.Drained && m.directive.Role == instance.RoleDrain {
		m.drained = true
		a.guard.Disarm()
		a.prober.stop()
	}
	if plan.Converged {
		a.inbox.fulfilled()
		m.role, m.roleEpoch = m.directive.Role, m.directive.Epoch
	}
}

// take keeps an observation.
func (m *memory) take(o mysqld.Observation) {
	m.observation, m.answeredAt = &o, time.Now()
	m.source.take(o, m.answeredAt)
	m.opening.take(o, m.directive)
}

// observe asks mysqld for its picture.
func (a *Agent) observe(ctx context.Context, r *run) (mysqld.Observation, error) {
	o, err := r.client.Observe(ctx, mysqld.Ask{Peers: r.tainted.Load(), PeerPrefix: duty.PeerPrefix})
	if err == nil && o.Channel != nil && o.Channel.Connected {
		o.Channel.Relay = relayEnd(a.paths.data)
	}
	return o, err
}

// self is what the decision needs to know of the agent.
func (a *Agent) self() duty.Self {
	m := &a.memory
	r := a.current.Load()
	credentialed := make([]string, 0, len(m.passwords))
	for account := range m.passwords {
		credentialed = append(credentialed, account)
	}
	return duty.Self{
		Name: a.opts.Instance, State: m.state,
		Tainted: r != nil && r.tainted.Load(), Drained: m.drained,
		PrimaryEpoch: m.primaryEpoch, Credentialed: credentialed,
		Receiver: m.receiver, RoleFor: time.Since(m.since), OpenAfter: m.opening.after,
		Unheard:      a.unheard(time.Now()),
		RetryThreads: time.Since(m.receiverTry) > retryThreads,
		CloneBusy:    m.clone.busy, CloneDone: m.state.Cloned,
		RetryClone: time.Now().After(m.clone.retryAt),
	}
}

// unanswered ends a turn in which mysqld gave no answer.
func (a *Agent) unanswered(ctx context.Context, r *run, err error) func() {
	// Asked here and now: when the loop takes over, the work's context has ended in any case.
	cancelled := ctx.Err() != nil
	return func() {
		switch {
		case cancelled || a.current.Load() != r:
			// Cancelled for a directive, or mysqld has ended.
			a.nextTurn = time.Time{}
		case !r.answered.Load():
			a.nextTurn = time.Now().Add(startPoll)
		default:
			a.fail(instance.ProblemDuty, err)
			a.nextTurn = time.Now().Add(lively)
		}
	}
}

// withoutDirective is what an instance does that was told nothing yet: what was received is applied (I10).
func (a *Agent) withoutDirective(ctx context.Context, r *run, o mysqld.Observation) error {
	if r.tainted.Load() || a.memory.clone.busy {
		return nil
	}
	plan := duty.Decide(o, a.self(), instance.Directive{Role: instance.RoleStandby})
	for _, step := range plan.Steps {
		if err := a.take(ctx, r, step); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
	}
	return nil
}

// finishTurn is the loop's part of a turn.
func (a *Agent) finishTurn(r *run, err error, changed bool) {
	m := &a.memory
	now := time.Now()
	switch {
	case err != nil && (errors.Is(err, context.Canceled) || a.current.Load() != r):
		a.nextTurn = time.Time{}
		return
	case err != nil:
		a.fail(instance.ProblemDuty, err)
		a.nextTurn = now.Add(lively)
	default:
		m.problem, m.reason = m.plan.Problem, ""
		if m.problem != "" {
			m.reason = instance.ProblemDuty
		}
		switch {
		case len(m.plan.Steps) > 0:
			a.nextTurn = time.Time{}
		case m.plan.Waiting != "":
			a.nextTurn = now.Add(soon)
		case changed || a.unheard(now) > calm:
			a.nextTurn = now.Add(lively)
		default:
			a.nextTurn = now.Add(calm)
		}
	}
	a.sealCredentials()
	if a.servesNow() {
		a.prober.serve(r.client, m.directive.Epoch)
	}
	a.prober.observed(m.observation != nil && m.observation.WaitingCommits > 0, now)
}

// arm starts the lease of a serving primary before the first write is let in.
func (a *Agent) arm() {
	d := a.memory.directive
	if d.Role == instance.RolePrimary && d.Primary != nil && d.Primary.Serve && d.Primary.LeaseMillis > 0 {
		a.guard.Arm(d.Epoch, time.Duration(d.Primary.LeaseMillis)*time.Millisecond, time.Now())
	}
}

// take does one step.
func (a *Agent) take(ctx context.Context, r *run, step duty.Step) error {
	m, c := &a.memory, r.client
	switch s := step.(type) {
	case duty.Kill:
		a.log.Info("Killing mysqld", "why", s.Why)
		return r.kill()
	case duty.SetVariable:
		return c.SetGlobal(ctx, s.Name, s.Value)
	case duty.Withdraw:
		return c.SetGlobal(ctx, "offline_mode", "ON")
	case duty.StopReceiver:
		return c.StopReceiver(ctx)
	case duty.StartReceiver:
		m.receiverTry = time.Now()
		m.source.begin()
		m.receiver = duty.ReceiverSilent
		if s.Acknowledge {
			m.receiver = duty.ReceiverAcknowledging
		}
		return c.StartReceiver(ctx)
	case duty.SyncRelay:
		return syncRelay(a.paths.data)
	case duty.StartApplier:
		m.receiverTry = time.Now()
		return c.StartApplier(ctx)
	case duty.StopApplier:
		return c.StopApplier(ctx, s.Coordinator)
	case duty.AwaitApplied:
		_, err := c.AwaitExecuted(ctx, s.GTIDs, applyWait)
		return err
	case duty.ForgetSource:
		if err := c.ForgetSource(ctx); err != nil {
			return err
		}
		m.state.Channel, m.unsaved = nil, true
		return nil
	case duty.Follow:
		return a.follow(ctx, c, s.Source)
	case duty.BecomeSource:
		r.tainted.Store(true)
		return nil
	case duty.CeaseSource:
		r.tainted.Store(false)
		a.guard.Disarm()
		a.prober.stop()
		m.drained, m.primaryEpoch, m.passwords = false, 0, nil
		m.credentials, m.sealedOf = map[string]instance.Sealed{}, map[string]string{}
		m.state.Recovered, m.unsaved = m.state.Served, true
		return nil
	case duty.OpenPeers:
		return a.openPeers(ctx, c, s)
	case duty.LockPeers:
		for _, account := range s.Accounts {
			delete(m.passwords, account)
		}
		return c.LockPeers(ctx, s.Accounts)
	case duty.EndDump:
		return c.Kill(ctx, s.ID)
	case duty.Keep:
		return a.save(func(st *state.State) { st.Kept = true })
	case duty.Serve:
		return a.save(func(st *state.State) { st.Served = s.Epoch })
	case duty.Replace:
		return a.replace(ctx, r, s)
	}
	return fmt.Errorf("step %T is unknown", step)
}

// save changes the durable state.
func (a *Agent) save(change func(*state.State)) error {
	next := a.memory.state
	change(&next)
	if err := a.store.Save(next); err != nil {
		return err
	}
	a.memory.state, a.memory.unsaved = next, false
	return nil
}

// follow sets the channel up. What it was set up for is written to the volume only after the threads were started, since
// writers may be waiting for them: if that is cut short, the volume tells of an earlier channel or of none, which no
// directive fits any more, and the channel is set up again.
func (a *Agent) follow(ctx context.Context, c *mysqld.Client, s instance.Source) error {
	m := &a.memory
	password, err := a.opener.Open(s.Credential)
	if err != nil {
		return err
	}
	authority := ""
	if s.CA != "" {
		authority = a.paths.ca
		if err := agent.WriteFileAtomic(authority, []byte(s.CA), 0o644); err != nil {
			return fmt.Errorf("keep the source's authority: %w", err)
		}
	}
	m.state.Channel = nil
	err = c.Follow(ctx, mysqld.Source{Host: s.Host, Port: s.Port, User: s.Credential.Account, Password: password, CAFile: authority})
	if err != nil {
		return err
	}
	m.state.Channel, m.unsaved = &state.Channel{
		Epoch: m.directive.Epoch, Source: s.Name, Host: s.Host, Port: s.Port, ServerUUID: s.ServerUUID, Secret: seal.Fingerprint(s.Credential),
	}, true
	return nil
}

// openPeers makes a password for each account and opens it.
func (a *Agent) openPeers(ctx context.Context, c *mysqld.Client, s duty.OpenPeers) error {
	m := &a.memory
	if m.primaryEpoch != s.Epoch {
		m.passwords = map[string]string{}
	}
	fresh := make(map[string]string, len(s.Accounts))
	for _, account := range s.Accounts {
		fresh[account] = seal.Password()
	}
	if len(s.Accounts) > 0 {
		if err := c.UnlockPeers(ctx, fresh, s.Accounts); err != nil {
			return err
		}
	}
	maps.Copy(m.passwords, fresh)
	m.primaryEpoch = s.Epoch
	return nil
}

// sealCredentials seals the passwords of the epoch to the members' keys; what is sealed to the same key stays as it is.
func (a *Agent) sealCredentials() {
	m := &a.memory
	d := m.directive
	if d == nil || d.Primary == nil || d.Role != instance.RolePrimary || m.primaryEpoch != d.Epoch {
		return
	}
	next := make(map[string]instance.Sealed, len(d.Primary.Admitted))
	for _, peer := range d.Primary.Admitted {
		account := duty.Account(peer.Name)
		password, ok := m.passwords[account]
		if !ok {
			continue
		}
		old, had := m.credentials[peer.Name]
		known := len(peer.Key) == 0 || string(old.Key) == string(peer.Key)
		if had && known && old.Epoch == d.Epoch && m.sealedOf[peer.Name] == password {
			next[peer.Name] = old
			continue
		}
		if len(peer.Key) == 0 {
			continue
		}
		sealed, err := seal.Seal(d.Epoch, account, password, peer.Key)
		if err != nil {
			a.fail(instance.ProblemDuty, err)
			continue
		}
		next[peer.Name] = sealed
		m.sealedOf[peer.Name] = password
	}
	m.credentials = next
}

// text returns an error's text, or nothing.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
