package agent_test

import (
	"syscall"
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// TestFrozenServerIsReported: a mysqld that was stopped neither ends nor answers. Its agent says so, says what it said last,
// and takes it back when it goes on.
func TestFrozenServerIsReported(t *testing.T) {
	t.Parallel()
	c := bootstrap(t, 1)
	m := c.members[0]
	if err := syscall.Kill(m.pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	frozen := m.await("the report that mysqld does not answer", func(r instance.Report) bool { return r.Unresponsive })
	if !frozen.Stalled || frozen.State != instance.StateRunning || frozen.Role != instance.RolePrimary {
		t.Errorf("of a frozen primary: %+v", frozen)
	}
	if err := syscall.Kill(m.pid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	m.await("the report that mysqld answers again", func(r instance.Report) bool { return !r.Unresponsive && !r.Stalled && r.Serving })
}
