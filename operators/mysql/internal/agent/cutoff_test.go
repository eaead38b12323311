package agent_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// TestAFormerPrimaryThatHearsNobodyClosesToReaders: the node that it is on may hear nobody either, and still send it the
// clients of the primary's Service. What they would read there must not be older than 6 s.
func TestAFormerPrimaryThatHearsNobodyClosesToReaders(t *testing.T) {
	t.Parallel()
	c := bootstrap(t, 3)
	former, next, third := c.members[0], c.members[1], c.members[2]
	drained := c.obey(former, instance.Directive{Role: instance.RoleDrain})
	next.await("hold everything", func(r instance.Report) bool { return set(t, r.Received).Contains(set(t, drained.Executed)) })
	c.epoch++
	c.obey(next, c.primary(1, true, former, third))
	for _, m := range []*member{former, third} {
		c.tell(m, c.replica(next, m, true))
		m.await("follow", func(r instance.Report) bool {
			return r.Role == instance.RoleReplica && r.Epoch == c.epoch && r.Receiver.Connected
		})
		if m == former {
			if !m.report().Closed {
				t.Error("it let readers in before it was told what they have to see")
			}
			c.tell(m, c.replica(next, m, true))
		}
		m.await("let readers in", func(r instance.Report) bool { return !r.Closed })
	}

	// One that still hears the operator stays open, however long its source is silent.
	if err := syscall.Kill(next.pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(next.pid(), syscall.SIGCONT) })
	former.await("miss its source", func(r instance.Report) bool { return r.Receiver.SilentMillis >= 5000 })
	if former.report().Closed {
		t.Error("it closed to readers although the operator is heard")
	}

	cut := time.Now()
	former.unlink()
	third.unlink()
	former.await("close to readers", func(r instance.Report) bool { return r.Closed })
	took := time.Since(cut)
	t.Logf("closed %v after the last word of the operator", took.Round(time.Millisecond))
	if took > 6*time.Second {
		t.Errorf("it showed old data for %v", took)
	}

	// The source is back, and it has long executed the point that it was told after the handover; but that was for another
	// time of being closed.
	if err := syscall.Kill(next.pid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	former.await("hear its source", func(r instance.Report) bool { return r.Receiver.Connected && r.Receiver.SilentMillis == 0 })
	time.Sleep(2 * time.Second)
	if !former.report().Closed {
		t.Error("it let readers in without the operator's word")
	}
	if third.report().Closed {
		t.Error("a replica that has never been primary sent its readers away")
	}
	c.tell(former, c.replica(next, former, true))
	former.await("let readers in again", func(r instance.Report) bool { return !r.Closed })
}

// TestANewSourceIsNotSilentForAsLongAsTheOneBeforeIsDead: a replica that follows the next primary and has not heard it yet must
// not be counted as one that has lost it, or the next primary is replaced as soon as it is there.
func TestANewSourceIsNotSilentForAsLongAsTheOneBeforeIsDead(t *testing.T) {
	t.Parallel()
	c := bootstrap(t, 3)
	old, next, third := c.members[0], c.members[1], c.members[2]
	old.kill()
	third.await("miss its source", func(r instance.Report) bool { return r.Receiver.SilentMillis >= 5000 })
	c.epoch++
	for _, m := range []*member{next, third} {
		c.obey(m, instance.Directive{Role: instance.RoleStandby})
	}
	c.obey(next, c.primary(1, true, third))
	follow := c.replica(next, third, true)
	if err := syscall.Kill(next.pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(next.pid(), syscall.SIGCONT) })
	c.tell(third, follow)
	third.await("try to reach it", func(r instance.Report) bool {
		return r.Role == instance.RoleReplica && r.Epoch == c.epoch && r.Receiver.Running && r.Receiver.Source == next.name
	})
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if r := third.report().Receiver; r.SilentMillis != 0 {
			t.Fatalf("it says that %s is silent for %d ms, and has never heard it", r.Source, r.SilentMillis)
		}
	}
}
