package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/duty"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// errRefused is returned for a directive that must not be obeyed.
var errRefused = errors.New("refused")

// Deliver hands a directive over. It returns an error if the directive is refused, and nothing waits for it to be obeyed:
// the reports say how far it is. The span of the context is what the directive was sent by.
func (a *Agent) Deliver(ctx context.Context, payload json.RawMessage) error {
	var d instance.Directive
	if err := json.Unmarshal(payload, &d); err != nil {
		return fmt.Errorf("decode the directive: %w", err)
	}
	news, err := a.inbox.put(d, trace.SpanContextFromContext(ctx))
	defer a.poke()
	if err != nil {
		a.log.WarnContext(ctx, "Refused a directive", "directive", d.ID, "reason", err.Error())
		return err
	}
	if !news {
		return nil
	}
	// A fence waits for nothing, not even for the promise to be on the volume: killing is safe whatever comes next.
	if r := a.current.Load(); r != nil && d.Role == instance.RoleStandby && r.tainted.Load() && !a.isDrained() {
		a.log.InfoContext(ctx, "Fencing: killing mysqld", "directive", d.ID, "epoch", d.Epoch)
		return r.kill()
	}
	return nil
}

// isDrained says whether the newest report says so. It is about readiness to be turned into a follower only, so that a
// report which is a moment old does no harm: a drained source does not begin to write by itself.
func (a *Agent) isDrained() bool {
	r := a.published.Load()
	return r != nil && r.Drained
}

// put keeps a directive for the loop; news says that it is not the one that is obeyed already.
func (b *inbox) put(d instance.Directive, span trace.SpanContext) (news bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heardAt = time.Now()
	why := b.state.Refusal(d)
	if why == "" && b.pending != nil {
		// What waits to be accepted counts as accepted for what comes after it.
		waiting, _, _ := b.state.Promise(*b.pending)
		why = waiting.Refusal(d)
	}
	if why != "" {
		b.refused, b.refusedWhy = d.ID, why
		return false, fmt.Errorf("%w: %s", errRefused, why)
	}
	if b.pending == nil && d.ID == b.accepted && d.ID != "" {
		return false, nil
	}
	b.pending, b.pendingSpan = &d, span
	return true, nil
}

// traced gives a context the span of the directive that is obeyed, until it is fulfilled: what is done later was not asked
// for by it.
func (b *inbox) traced(ctx context.Context) context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.span.IsValid() {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, b.span)
}

// fulfilled notes that nothing of the accepted directive is left to do.
func (b *inbox) fulfilled() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.span = trace.SpanContext{}
}

// heard takes note of a moment at which the operator was there.
func (b *inbox) heard(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at.After(b.heardAt) {
		b.heardAt = at
	}
}

// lastHeard returns the newest of those moments.
func (b *inbox) lastHeard() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.heardAt
}

// waiting says whether a directive waits to be accepted.
func (b *inbox) waiting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pending != nil
}

// overtakes says whether the directive that waits is of a later epoch than any before.
func (b *inbox) overtakes() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pending != nil && b.pending.Epoch > b.state.Promised
}

// next returns the directive that waits.
func (b *inbox) next() *instance.Directive {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pending
}

// accept notes that d and its promise are on the volume.
func (b *inbox) accept(d *instance.Directive, s state.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state, b.accepted = s, d.ID
	b.refused, b.refusedWhy, b.isolated = "", "", false
	b.span = trace.SpanContext{}
	if b.pending == d {
		b.pending, b.span = nil, b.pendingSpan
	}
}

// forget makes the accepted directive news again, should it be delivered once more.
func (b *inbox) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accepted = ""
}

// notes returns what was refused last, and whether the instance fenced itself.
func (b *inbox) notes() (id, why string, isolated bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused, b.refusedWhy, b.isolated
}

// acceptDirective is the work that makes the promise of a directive durable and takes it over.
func (a *Agent) acceptDirective(ctx context.Context) func() {
	d := a.inbox.next()
	if d == nil {
		return nil
	}
	m := &a.memory
	next, promised, noted := m.state.Promise(*d)
	if d.Role != instance.RoleClone && next.Cloned {
		next.Cloned, promised = false, true
	}
	// Without a server to look after, no quiet turn comes to note it.
	promised = promised || noted && a.current.Load() == nil
	// Falling silent is safe whatever comes next, so that it need not wait for the disk.
	silenced := a.silence(ctx, d)
	defer func() { <-silenced }()
	if promised {
		if err := a.store.Save(next); err != nil {
			return func() {
				a.fail(instance.ProblemDuty, fmt.Errorf("accept a directive: %w", err))
				a.nextTurn = time.Now().Add(200 * time.Millisecond)
			}
		}
	}
	m.state, m.unsaved = next, (noted || m.unsaved) && !promised
	if m.directive == nil || m.directive.Role != d.Role || m.directive.Epoch != d.Epoch {
		m.since = time.Now()
	}
	if d.Role == instance.RolePrimary {
		m.drained = false
	}
	m.directive, m.accepted = d, d.ID
	m.users.next = time.Time{}
	// What was decided for the directive before says nothing about this one.
	m.plan = duty.Plan{}
	a.inbox.accept(d, next)
	return func() {
		a.log.InfoContext(a.inbox.traced(ctx), "Accepted a directive", "directive", d.ID, "role", string(d.Role), "epoch", d.Epoch, "term", d.Term)
		a.nextTurn = time.Time{}
		if d.Role != instance.RoleStandby {
			a.nextStart = time.Time{}
		}
		a.reporter.force = true
	}
}

// silence stops the receiver of a follower that is told to stand by, beside the promise. The turn that follows sees to it
// that it is stopped.
func (a *Agent) silence(ctx context.Context, d *instance.Directive) <-chan struct{} {
	done := make(chan struct{})
	r, o := a.current.Load(), a.memory.observation
	if d.Role != instance.RoleStandby || r == nil || r.tainted.Load() || o == nil || o.Channel == nil || !o.Channel.Receiver {
		close(done)
		return done
	}
	go func() {
		defer close(done)
		if err := r.client.StopReceiver(ctx); err != nil {
			a.log.Debug("The receiver was not stopped beside the promise", "error", err.Error())
		}
	}()
	return done
}

// fail remembers what went wrong, for the report.
func (a *Agent) fail(reason string, err error) {
	if a.memory.problem != err.Error() {
		a.log.Warn("Could not do what is to be done", "reason", reason, "error", err.Error())
	}
	a.memory.problem, a.memory.reason = err.Error(), reason
}
