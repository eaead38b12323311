package agent_test

import (
	"database/sql"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// failOver does what the operator does when a primary died: stop the receivers of all others, take the most advanced one,
// promote it and have the rest follow.
func (c *cluster) failOver(t *testing.T, voters []*member, acks int) *member {
	t.Helper()
	c.epoch++
	ids := make([]string, len(voters))
	for i, m := range voters {
		ids[i] = c.tell(m, instance.Directive{Role: instance.RoleStandby})
	}
	best := voters[0]
	for i, m := range voters {
		r := m.await("be fenced", func(r instance.Report) bool { return r.Directive == ids[i] && r.Converged })
		if set(t, r.Received).Contains(set(t, best.report().Received)) {
			best = m
		}
	}
	var rest []*member
	for _, m := range voters {
		if m != best {
			rest = append(rest, m)
		}
	}
	c.obey(best, c.primary(acks, true, rest...))
	for _, m := range rest {
		c.tell(m, c.replica(best, m, true))
	}
	return best
}

func TestFailoverLosesNoAcknowledgedRow(t *testing.T) {
	begun := time.Now()
	c := bootstrap(t, 3)
	t.Logf("three members from nothing: %v", time.Since(begun).Round(time.Millisecond))
	primary := c.members[0]
	var target atomic.Pointer[sql.DB]
	target.Store(c.app(primary))
	w := write(t, 4, target.Load)
	w.awaitRows(t, 200)

	old := primary
	killed := time.Now()
	old.kill()
	down := old.await("report the death", func(r instance.Report) bool { return r.State != instance.StateRunning })
	t.Logf("death reported after %v (role %q)", time.Since(killed).Round(100*time.Microsecond), down.Role)
	primary = c.failOver(t, c.members[1:], 1)
	t.Logf("promoted after %v", time.Since(killed).Round(100*time.Microsecond))
	target.Store(c.app(primary))
	first := w.awaitRows(t, 1)
	t.Logf("first acknowledged write after %v", first.Sub(killed).Round(100*time.Microsecond))
	w.awaitRows(t, 100)

	// The old primary is back in its place's shape: closed, following nobody, and it holds no office.
	back := old.await("come back", func(r instance.Report) bool { return r.State == instance.StateRunning })
	if back.Serving || back.Role == instance.RolePrimary || back.Directive != "" {
		t.Errorf("the old primary came back with an office: role %q, serving %v", back.Role, back.Serving)
	}
	checkRows(t, target.Load(), w.finish())
}
