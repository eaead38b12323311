package protect

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

// fullIs says whether a full backup is reported in a state.
func fullIs(state instance.FullState) func(instance.BackupReport) bool {
	return func(r instance.BackupReport) bool { return r.Full != nil && r.Full.State == state }
}

// parts counts the parts that are stored of full backups.
func (b *bench) parts() (n int) {
	b.t.Helper()
	for info, err := range b.store.List(b.t.Context(), uid+"/full/") {
		if err != nil {
			b.t.Fatal(err)
		}
		if !strings.HasSuffix(info.Key, "/manifest.json") {
			n++
		}
	}
	return n
}

// TestAFullBackupIsTakenOnce takes one from its beginning to its end, and asks for it again.
func TestAFullBackupIsTakenOnce(t *testing.T) {
	s := serverWith(t, 0, 4)
	b := start(t, s, quick)
	begun, copied := make(chan struct{}), make(chan struct{})
	copies := 0
	s.copying = func(context.Context) error {
		copies++
		close(begun)
		<-copied
		return nil
	}
	b.taking(s, instance.FullDuty{Name: "nightly", Attempt: 1})
	<-begun
	if r := b.Report(); r.Archive != nil || *r.Full != (instance.FullReport{Name: "nightly", Attempt: 1, State: instance.FullCopying}) {
		t.Errorf("while it is copied: %+v", r.Full)
	}
	s.commit(2)
	close(copied)
	b.until("it waits to be confirmed", fullIs(instance.FullConfirming))
	b.taking(s, instance.FullDuty{Name: "nightly", Attempt: 1, Confirmed: name(5)})
	b.stays("another set confirms nothing", func() bool { return fullIs(instance.FullConfirming)(*b.Report()) && len(b.catalog().Fulls) == 0 })
	if r := b.Report().Full; r.Within != name(6) || r.Percent != 100 || r.Stored != nil || b.parts() != 1 {
		t.Errorf("before it is confirmed: %+v, %d parts", r, b.parts())
	}
	b.taking(s, instance.FullDuty{Name: "nightly", Attempt: 1, Confirmed: name(6)})
	r := b.until("it is done", fullIs(instance.FullDone)).Full
	catalog := b.catalog()
	if len(catalog.Fulls) != 1 || len(catalog.Loose) != 0 || r.Stored == nil || *r.Stored != storedFull(catalog.Fulls[0]) {
		t.Fatalf("reported is %+v, stored is %+v", r.Stored, catalog)
	}
	if st := r.Stored; st.Name != "nightly" || st.Instance != "shop-0" || st.Version != "9.9.9" || st.Holds != name(4) || st.Bytes != 1000 || st.StoredBytes == 0 || !st.Sealed {
		t.Errorf("stored is %+v", st)
	}
	b.copyGone()
	b.taking(s, instance.FullDuty{Name: "nightly", Attempt: 2})
	again := b.until("one that is stored is the one", func(r instance.BackupReport) bool { return fullIs(instance.FullDone)(r) && r.Full.Attempt == 2 }).Full
	if *again.Stored != *r.Stored || copies != 1 {
		t.Errorf("the second attempt is %+v, of %d copies", again, copies)
	}
	if m := b.Metrics(); m.FullsDone != 1 || m.FullsFailed != 0 || m.FullTook == 0 {
		t.Errorf("metrics: %+v", m)
	}
	b.Tell(Situation{Told: true, Duty: &b.duty, Server: s})
	if r := b.Report(); r.Full != nil {
		t.Errorf("without a duty it is reported: %+v", r.Full)
	}
	if err := b.store.Delete(t.Context(), backup.FullKey(uid, "nightly")); err != nil {
		t.Fatal(err)
	}
	s.copying = nil
	b.taking(s, instance.FullDuty{Name: "nightly", Attempt: 2, Confirmed: name(6)})
	b.until("one that was deleted is taken anew", func(r instance.BackupReport) bool { return fullIs(instance.FullDone)(r) && len(b.catalog().Fulls) == 1 })
}

// TestAnAttemptThatFailedIsNotRepeated breaks attempts in all kinds of ways. Each is told, leaves nothing, and is not made again by itself.
func TestAnAttemptThatFailedIsNotRepeated(t *testing.T) {
	s := serverWith(t, 0, 4)
	hurried := quick
	hurried.confirm = 100 * time.Millisecond
	b := start(t, s, hurried)
	copies := 0
	var failing error
	s.copying = func(context.Context) error { copies++; return failing }
	duty := instance.FullDuty{Name: "nightly"}
	for reason, breaks := range map[string]func(){
		instance.ProblemStoreDenied:  func() { b.store.fail(objectstore.ErrDenied) },
		instance.ProblemBackupFailed: func() { failing = errFaulty },
		// It is not confirmed in time.
		"": func() {},
	} {
		breaks()
		duty.Attempt++
		b.taking(s, duty)
		r := b.until("it has failed", func(r instance.BackupReport) bool {
			return fullIs(instance.FullFailed)(r) && r.Full.Attempt == duty.Attempt
		}).Full
		if reason == "" && !strings.Contains(r.Problem, "not confirmed") || reason != "" && r.ProblemReason != reason || r.Problem == "" {
			t.Errorf("%s: %+v", reason, r)
		}
		made := copies
		b.stays("it is not repeated", func() bool { return copies == made && fullIs(instance.FullFailed)(*b.Report()) })
		b.store.fail(nil)
		failing = nil
		b.copyGone()
		if n := b.parts(); n > 0 {
			t.Errorf("%s: %d parts are left", reason, n)
		}
	}
	if m := b.Metrics(); m.FullsFailed != 3 || m.FullsDone != 0 {
		t.Errorf("metrics: %+v", m)
	}
	duty.Attempt++
	duty.Confirmed = name(4)
	b.taking(s, duty)
	b.until("the next attempt succeeds", fullIs(instance.FullDone))
}

// TestACopyThatDoesNotStartIsNoBackup has copies proven on which no server starts.
func TestACopyThatDoesNotStartIsNoBackup(t *testing.T) {
	s := serverWith(t, 0, 4)
	b := start(t, s, quick)
	b.taking(s, instance.FullDuty{Name: "nightly", Attempt: 1, Prove: true})
	r := b.until("it has failed", fullIs(instance.FullFailed)).Full
	if r.ProblemReason != instance.ProblemBackupFailed || !strings.Contains(r.Problem, "prove the copy: the private server exited with code 1") {
		t.Errorf("report: %+v", r)
	}
	if n := b.parts(); n > 0 || b.sandboxes.Load() != 0 {
		t.Errorf("%d parts are stored, and %d places of private servers are left", n, b.sandboxes.Load())
	}
	b.copyGone()
	b.taking(s, instance.FullDuty{Name: "nightly", Attempt: 2, Confirmed: name(4)})
	b.until("it is stored without being proven", fullIs(instance.FullDone))
}

// TestAFullBackupEndsWithWhatItIsOf ends one by what happens to the instance. A failover is no reason.
func TestAFullBackupEndsWithWhatItIsOf(t *testing.T) {
	for what, c := range map[string]struct {
		then func(b *bench, d *instance.BackupDuty, s *fakeServer)
		told bool
	}{
		"mysqld ends": {func(b *bench, d *instance.BackupDuty, s *fakeServer) {
			b.Tell(Situation{})
			b.Tell(Situation{Told: true, Duty: d, Server: &fakeServer{t: b.t, dir: s.dir, size: 9}})
		}, true},
		"the data are replaced": {func(b *bench, d *instance.BackupDuty, s *fakeServer) {
			b.Tell(Situation{Told: true, Duty: d, Server: s, Replacing: true})
		}, true},
		"it is wanted no more": {func(b *bench, _ *instance.BackupDuty, s *fakeServer) {
			b.Tell(Situation{Told: true, Duty: &b.duty, Server: s})
		}, false},
		"another one is wanted": {func(b *bench, d *instance.BackupDuty, s *fakeServer) {
			other := *d
			other.Full = &instance.FullDuty{Name: "another", Attempt: 1}
			b.Tell(Situation{Told: true, Duty: &other, Server: s})
		}, false},
	} {
		t.Run(what, func(t *testing.T) {
			s := serverWith(t, 0, 4)
			b := start(t, s, quick)
			d := b.duty
			d.Full = &instance.FullDuty{Name: "nightly", Attempt: 1}
			b.Tell(Situation{Told: true, Duty: &d, Server: s})
			b.until("it waits to be confirmed", fullIs(instance.FullConfirming))
			b.Tell(Situation{Told: true, Duty: &d, Server: s, Serving: true, Epoch: 2})
			b.stays("a failover is no reason", func() bool { return fullIs(instance.FullConfirming)(*b.Report()) })
			c.then(b, &d, s)
			if c.told {
				r := b.until("it has failed", fullIs(instance.FullFailed)).Full
				if r.Problem != errInterrupted.Error() || r.ProblemReason != instance.ProblemBackupFailed {
					t.Errorf("report: %+v", r)
				}
				b.stays("it is not repeated", func() bool { return fullIs(instance.FullFailed)(*b.Report()) })
			}
			await(t, "its parts are removed", func() bool {
				for info, err := range b.store.List(t.Context(), uid+"/full/nightly/") {
					t.Logf("there is still %s, %v", info.Key, err)
					return false
				}
				return true
			})
			if what == "another one is wanted" {
				r := b.until("the other one is taken", fullIs(instance.FullConfirming)).Full
				if r.Name != "another" {
					t.Errorf("report: %+v", r)
				}
			}
		})
	}
}

// TestWhatCannotBeReadIsNotTakenForNothing asks for a backup of the name of a damaged one.
func TestWhatCannotBeReadIsNotTakenForNothing(t *testing.T) {
	s := serverWith(t, 0, 4)
	b := start(t, s, quick)
	if _, err := objectstore.Save(t.Context(), b.store, backup.FullKey(uid, "nightly"), strings.NewReader("{")); err != nil {
		t.Fatal(err)
	}
	b.taking(s, instance.FullDuty{Name: "nightly", Attempt: 1})
	if r := b.until("it has failed", fullIs(instance.FullFailed)).Full; r.ProblemReason != instance.ProblemStoreDamaged {
		t.Errorf("report: %+v", r)
	}
	b.duty.Recipients = []string{"age1nonsense"}
	b.taking(s, instance.FullDuty{Name: "weekly", Attempt: 1})
	if r := b.until("it has failed", fullIs(instance.FullFailed)).Full; r.ProblemReason != instance.ProblemBackupFailed {
		t.Errorf("report: %+v", r)
	}
	if n := b.parts(); n > 0 {
		t.Errorf("%d parts are stored", n)
	}
}

// TestAMethodThatIsNotPossibleIsTold: what to do about it is in the report, and another method is another task, also within an attempt.
func TestAMethodThatIsNotPossibleIsTold(t *testing.T) {
	t.Setenv("PATH", "")
	s := serverWith(t, 0, 4)
	s.uncopied = []string{"shop.t (MyISAM)"}
	b := start(t, s, quick)
	fails := func(method, words string) {
		t.Helper()
		b.taking(s, instance.FullDuty{Name: "nightly", Attempt: 1, Method: method})
		r := b.until("it has failed", func(r instance.BackupReport) bool {
			return fullIs(instance.FullFailed)(r) && strings.Contains(r.Full.Problem, words)
		})
		if r.Full.ProblemReason != instance.ProblemBackupFailed {
			t.Errorf("%s: %+v", method, r.Full)
		}
	}
	fails("clone", "shop.t (MyISAM)")
	fails("xtrabackup", "the image has no program xtrabackup")
	s.uncopied = nil
	b.taking(s, instance.FullDuty{Name: "nightly", Attempt: 2, Method: "clone", Confirmed: name(4)})
	if r := b.until("it is done", fullIs(instance.FullDone)); r.Full.Stored.Method != "clone" {
		t.Errorf("stored: %+v", r.Full.Stored)
	}
}
