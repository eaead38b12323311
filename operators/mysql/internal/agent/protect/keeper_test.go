package protect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog/binlogtest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/agent"
	"github.com/kapok-operators/kapok/shared/objectstore"
	"github.com/kapok-operators/kapok/shared/objectstore/folder"
)

const (
	uid  = "5f0c"
	uuid = "11111111-1111-1111-1111-111111111111"
	// patience bounds every wait of these tests.
	patience = 30 * time.Second
)

// fakeServer is a server whose binary log has one transaction after the other.
type fakeServer struct {
	t   *testing.T
	dir string
	mu  sync.Mutex
	// purged is how many transactions there were before the binary log begins, size how many there are.
	purged, size int
	// failing is what it answers; stuck, if set, is called in each answer.
	failing error
	stuck   func()
	// copying is called when a copy is made.
	copying func(ctx context.Context) error
	// uncopied are the tables that a copy lacks.
	uncopied []string
}

// name is that of transactions.
func name(last int) string {
	if last == 0 {
		return ""
	}
	return fmt.Sprintf("%s:1-%d", uuid, last)
}

// serverWith runs a server with some transactions.
func serverWith(t *testing.T, purged, size int) *fakeServer {
	t.Helper()
	s := &fakeServer{t: t, dir: t.TempDir(), purged: purged, size: purged}
	if err := os.WriteFile(filepath.Join(s.dir, binlog.Index), []byte("./binlog.000001\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.commit(size - purged)
	return s
}

// commit lets it execute more transactions.
func (s *fakeServer) commit(n int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size += n
	content := [][]byte{[]byte(binlog.Magic), binlogtest.Format(binlogtest.InUse, binlogtest.CRC32), binlogtest.Earlier([]string{uuid}, []uint64{uint64(s.purged)})}
	for i := s.purged + 1; i <= s.size; i++ {
		content = append(content, binlogtest.Transaction(uuid, uint64(i), time.Now(), make([]byte, 100)))
	}
	next := filepath.Join(s.dir, "next")
	if err := os.WriteFile(next, bytes.Join(content, nil), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(s.dir, "binlog.000001")); err != nil {
		s.t.Fatal(err)
	}
}

// fail makes it fail, or work again.
func (s *fakeServer) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = err
}

// Executed implements Server.
func (s *fakeServer) Executed(context.Context) (string, error) {
	s.mu.Lock()
	stuck := s.stuck
	s.mu.Unlock()
	if stuck != nil {
		stuck()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return name(s.size), s.failing
}

// Purged implements Server.
func (s *fakeServer) Purged(context.Context) (string, error) { return "", nil }

// Version implements Server.
func (s *fakeServer) Version(context.Context) (string, error) { return "9.9.9", nil }

// CopyTo implements Server.
func (s *fakeServer) CopyTo(ctx context.Context, dir string) error {
	if s.copying != nil {
		if err := s.copying(ctx); err != nil {
			return err
		}
	}
	return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "ibdata1"), make([]byte, 1000), 0o600))
}

// Uncopied implements Server.
func (s *fakeServer) Uncopied(context.Context) ([]string, error) { return s.uncopied, nil }

// OptionFile implements Server.
func (s *fakeServer) OptionFile(group string) string { return "[" + group + "]\n" }

// faulty is a store that fails while it is told to.
type faulty struct {
	objectstore.Store
	failing atomic.Pointer[error]
	// puts counts what was stored.
	puts atomic.Int64
}

var errFaulty = errors.New("503 slow down")

func (f *faulty) fail(err error) { f.failing.Store(&err) }

func (f *faulty) fails() error {
	if err := f.failing.Load(); err != nil {
		return *err
	}
	return nil
}

// Put implements objectstore.Store.
func (f *faulty) Put(ctx context.Context, key string, body io.Reader) error {
	f.puts.Add(1)
	if err := f.fails(); err != nil {
		return err
	}
	return f.Store.Put(ctx, key, body)
}

// Delete implements objectstore.Store.
func (f *faulty) Delete(ctx context.Context, key string) error {
	if err := f.fails(); err != nil {
		return err
	}
	return f.Store.Delete(ctx, key)
}

// bench is a keeper under test.
type bench struct {
	*Keeper
	t     *testing.T
	store *faulty
	id    *age.X25519Identity
	duty  instance.BackupDuty
	// sandboxes counts the places for private servers that there are now.
	sandboxes atomic.Int64
}

// quick is a pace that tests can wait for.
var quick = pace{
	look: 5 * time.Millisecond, rest: 10 * time.Millisecond, mark: 50 * time.Millisecond, fulls: 20 * time.Millisecond, retention: time.Hour,
	confirm: patience, first: 5 * time.Millisecond, longest: 40 * time.Millisecond,
}

// start lets a keeper of a server run.
func start(t *testing.T, s *fakeServer, p pace) *bench {
	t.Helper()
	dir, err := folder.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, store: &faulty{Store: dir}, id: id, duty: instance.BackupDuty{
		Store: instance.Store{Volume: true}, Cluster: uid, Recipients: []string{id.Recipient().String()},
	}}
	b.Keeper = New(Options{
		Instance: "shop-0", DataDir: s.dir, CopyDir: filepath.Join(t.TempDir(), "copy"),
		Open: func(instance.Store) (objectstore.Store, func() error, error) {
			return b.store, func() error { return nil }, nil
		},
		// No copy here is one that a server would start on.
		Sandbox: func() (sandbox.Options, func() error, error) {
			b.sandboxes.Add(1)
			leave := func() error {
				b.sandboxes.Add(-1)
				return nil
			}
			return sandbox.Options{Mysqld: "false", RunDir: t.TempDir(), Supervisor: &agent.Supervisor{}}, leave, nil
		},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	b.pace = p
	// What an agent that was killed has left.
	if err := os.MkdirAll(filepath.Join(b.opts.CopyDir, "shop"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, dir.Close()); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		b.copyGone()
	})
	return b
}

// copyGone fails the test if a copy is left.
func (b *bench) copyGone() {
	b.t.Helper()
	if _, err := os.Lstat(b.opts.CopyDir); !errors.Is(err, os.ErrNotExist) {
		b.t.Errorf("a copy is left: %v", err)
	}
}

// archiving tells it that it serves, and is to archive.
func (b *bench) archiving(s *fakeServer, epoch uint64, duty instance.ArchiveDuty) {
	d := b.duty
	d.Archive = &duty
	b.Tell(Situation{Told: true, Duty: &d, Server: s, Serving: true, Epoch: epoch})
}

// taking tells it to take a full backup.
func (b *bench) taking(s *fakeServer, full instance.FullDuty) {
	d := b.duty
	d.Full = &full
	b.Tell(Situation{Told: true, Duty: &d, Server: s})
}

// await waits for something.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// until waits for a report.
func (b *bench) until(what string, is func(r instance.BackupReport) bool) instance.BackupReport {
	b.t.Helper()
	var r instance.BackupReport
	await(b.t, what, func() bool {
		report := b.Report()
		if report == nil {
			return false
		}
		r = *report
		return is(r)
	})
	return r
}

// stays fails the test if something does not stay as it is for a while.
func (b *bench) stays(what string, is func() bool) {
	b.t.Helper()
	for range 50 {
		if !is() {
			b.t.Fatalf("it did not stay so: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// catalog is what is stored.
func (b *bench) catalog() backup.Catalog {
	b.t.Helper()
	c, err := backup.Load(b.t.Context(), b.store, uid)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// archived is what is in the pieces.
func (b *bench) archived() string {
	b.t.Helper()
	all := gtid.Set{}
	for _, p := range b.catalog().Pieces {
		all = all.Union(p.Holds)
	}
	return all.String()
}

// put stores a full backup that holds some transactions.
func (b *bench) put(called string, holds int, finished time.Time) {
	b.t.Helper()
	set, err := gtid.Parse(name(holds))
	if err != nil {
		b.t.Fatal(err)
	}
	m := backup.Full{Name: called, Instance: "shop-1", Version: "9.9.9", Holds: set, Within: set, Began: finished, Newest: finished, Finished: finished, Bytes: 7}
	part, err := objectstore.Save(b.t.Context(), b.store.Store, backup.PartKey(uid, called, 1), strings.NewReader(called))
	if err != nil {
		b.t.Fatal(err)
	}
	m.Parts = []backup.Part{{Number: 1, Digest: part}}
	raw, err := backup.Encode(m)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := objectstore.Save(b.t.Context(), b.store.Store, backup.FullKey(uid, called), bytes.NewReader(raw)); err != nil {
		b.t.Fatal(err)
	}
}

// names are those of the full backups that are reported.
func names(r instance.BackupReport) (out []string) {
	if r.Archive == nil {
		return nil
	}
	for _, f := range r.Archive.Stored {
		out = append(out, f.Name)
	}
	return out
}

// TestItArchivesWhileItServes lets an instance serve, stop and serve again: what is executed is archived while it serves, and only then.
func TestItArchivesWhileItServes(t *testing.T) {
	s := serverWith(t, 0, 3)
	b := start(t, s, quick)
	b.stays("nothing is said without a duty", func() bool { return b.Report() == nil && b.store.puts.Load() == 0 })
	b.archiving(s, 1, instance.ArchiveDuty{KeepDays: 7})
	for range 5 {
		s.commit(2)
		time.Sleep(5 * time.Millisecond)
	}
	await(t, "all is archived", func() bool { return b.archived() == name(13) && b.catalog().Mark.Archived.String() == name(13) })
	r := b.until("it is said to be complete", func(r instance.BackupReport) bool { return !r.Archive.Complete.IsZero() && r.Archive.Listed })
	if a := r.Archive; a.Lagging || a.Missing != "" || a.Problem != "" || len(a.Stored) != 0 || a.Complete.Second() != 0 || time.Since(a.Complete) > 2*time.Minute {
		t.Errorf("report: %+v", a)
	}
	await(t, "nothing is exposed", func() bool { m := b.Metrics(); return m.Exposed && m.Exposure == 0 })
	if m := b.Metrics(); !m.Archiving || m.Pieces == 0 || m.Bytes == 0 || m.Failures != 0 {
		t.Errorf("metrics: %+v", m)
	}
	for _, p := range b.catalog().Pieces {
		if !p.Sealed || p.Epoch != 1 || p.Instance != "shop-0" {
			t.Errorf("piece: %+v", p)
		}
	}
	duty := b.duty
	duty.Archive = &instance.ArchiveDuty{KeepDays: 7}
	b.Tell(Situation{Told: true, Duty: &duty, Server: s, Epoch: 1})
	s.commit(5)
	b.stays("nothing is archived by one that does not serve", func() bool { return b.archived() == name(13) && b.Report().Archive == nil })
	if m := b.Metrics(); m.Archiving || m.Exposed {
		t.Errorf("metrics of one that does not serve: %+v", m)
	}
	b.archiving(s, 2, instance.ArchiveDuty{KeepDays: 7})
	await(t, "it goes on", func() bool { return b.archived() == name(18) })
	if pieces := b.catalog().Pieces; pieces[len(pieces)-1].Epoch != 2 {
		t.Errorf("the newest piece is %+v", pieces[len(pieces)-1])
	}
	await(t, "the mark goes on", func() bool { return b.catalog().Mark.Archived.String() == name(18) })
	before := b.catalog().Mark.At
	await(t, "the mark goes on while nothing happens", func() bool { return b.catalog().Mark.At.After(before) })
}

// TestWhatIsReadTooLateIsNotArchived lets an answer of the server come after the instance was told not to serve. By then it may be that of a replica,
// which executes what may still be lost.
func TestWhatIsReadTooLateIsNotArchived(t *testing.T) {
	s := serverWith(t, 0, 3)
	b := start(t, s, quick)
	asked, answer := make(chan struct{}, 100), make(chan struct{})
	s.stuck = func() {
		asked <- struct{}{}
		<-answer
	}
	b.archiving(s, 1, instance.ArchiveDuty{KeepDays: 7})
	<-asked
	b.Tell(Situation{Told: true, Server: s})
	s.commit(1)
	close(answer)
	b.stays("nothing is archived", func() bool { return b.store.puts.Load() == 0 })
}

// TestAStoreThatFailsIsTriedAgain breaks the store and the server for a while. That is told, the exposure grows, and nothing is lost.
func TestAStoreThatFailsIsTriedAgain(t *testing.T) {
	s := serverWith(t, 0, 3)
	b := start(t, s, quick)
	b.archiving(s, 1, instance.ArchiveDuty{KeepDays: 7})
	await(t, "all is archived", func() bool { return b.catalog().Mark.Archived.String() == name(3) })
	for reason, breaks := range map[string]func(bool){
		instance.ProblemStoreDenied: func(broken bool) {
			b.store.fail(map[bool]error{true: objectstore.ErrDenied}[broken])
		},
		instance.ProblemBackupFailed: func(broken bool) { s.fail(map[bool]error{true: errFaulty}[broken]) },
	} {
		breaks(true)
		failures := b.Metrics().Failures
		s.commit(2)
		b.until("the failure is told", func(r instance.BackupReport) bool {
			return r.Archive.ProblemReason == reason && r.Archive.Problem != "" && !r.Archive.Lagging
		})
		await(t, "the exposure grows", func() bool {
			m := b.Metrics()
			return m.Exposed && m.Exposure > 30*time.Millisecond && m.Failures > failures+1
		})
		b.mu.Lock()
		b.archive.caught = b.archive.caught.Add(-2 * time.Minute)
		b.mu.Unlock()
		b.until("that it lasts is told", func(r instance.BackupReport) bool { return r.Archive.Lagging })
		breaks(false)
		b.until("the failure is over", func(r instance.BackupReport) bool { return r.Archive.ProblemReason == "" && !r.Archive.Lagging })
		await(t, "nothing is exposed", func() bool { m := b.Metrics(); return m.Exposed && m.Exposure == 0 })
	}
	await(t, "all is archived", func() bool { return b.archived() == name(7) })
}

func TestPausesGrow(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1000: time.Minute} {
		if got := usual.after(failures); got != want {
			t.Errorf("after %d failures: %s, not %s", failures, got, want)
		}
	}
}

// TestWhatIsNotKeptIsDeleted has full backups expire, and others deleted because somebody wants it.
func TestWhatIsNotKeptIsDeleted(t *testing.T) {
	s := serverWith(t, 0, 9)
	b := start(t, s, quick)
	now := time.Now().UTC()
	b.put("a", 2, now.AddDate(0, 0, -20))
	b.put("b", 3, now.AddDate(0, 0, -10))
	b.put("c", 4, now.AddDate(0, 0, -2))
	b.put("d", 5, now.AddDate(0, 0, -1))
	b.archiving(s, 1, instance.ArchiveDuty{KeepDays: 7})
	r := b.until("what is older is deleted", func(r instance.BackupReport) bool { return slices.Equal(names(r), []string{"b", "c", "d"}) })
	want := instance.StoredFull{
		Name: "b", Instance: "shop-1", Version: "9.9.9", Began: now.AddDate(0, 0, -10), Finished: now.AddDate(0, 0, -10), Newest: now.AddDate(0, 0, -10),
		Holds: name(3), Bytes: 7, StoredBytes: 1,
	}
	if got := r.Archive.Stored[0]; got != want {
		t.Errorf("reported is %+v, not %+v", got, want)
	}
	b.put("e", 6, now)
	b.until("one that somebody else took is seen", func(r instance.BackupReport) bool { return slices.Equal(names(r), []string{"b", "c", "d", "e"}) })
	b.put("before", 2, now.AddDate(0, 0, -30))
	b.until("as soon as there is another one, what is older is deleted", func(instance.BackupReport) bool {
		return !slices.ContainsFunc(b.catalog().Fulls, func(f backup.Full) bool { return f.Name == "before" })
	})
	if _, err := objectstore.Save(t.Context(), b.store, backup.FullKey(uid, "spoilt"), strings.NewReader("{")); err != nil {
		t.Fatal(err)
	}
	b.until("one that is damaged is told", func(r instance.BackupReport) bool { return slices.Equal(r.Archive.Damaged, []string{"spoilt"}) })
	b.store.fail(objectstore.ErrDenied)
	b.archiving(s, 1, instance.ArchiveDuty{KeepDays: 7, Delete: []string{"e", "spoilt", "never was"}})
	b.until("that it cannot be deleted is told", func(r instance.BackupReport) bool { return r.Archive.ProblemReason == instance.ProblemStoreDenied })
	b.store.fail(nil)
	r = b.until("what somebody wants deleted is, be it the newest", func(r instance.BackupReport) bool { return slices.Equal(names(r), []string{"b", "c", "d"}) })
	if len(r.Archive.Damaged) > 0 || r.Archive.Problem != "" || !slices.Equal(r.Archive.Gone, []string{"e", "spoilt", "never was"}) {
		t.Errorf("report: %+v", r.Archive)
	}
	for info, err := range b.store.List(t.Context(), uid+"/full/") {
		if err != nil || strings.Contains(info.Key, "/e/") || strings.Contains(info.Key, "/a/") || strings.Contains(info.Key, "/spoilt/") {
			t.Errorf("%s is left, %v", info.Key, err)
		}
	}
	b.archiving(s, 2, instance.ArchiveDuty{KeepDays: 7, KeepCount: 1})
	b.until("only so many are kept", func(r instance.BackupReport) bool { return slices.Equal(names(r), []string{"d"}) })
	// Where the archive begins depends on which full backup was the oldest when it was looked at.
	if got := b.archived(); got != uuid+":3-9" && got != uuid+":4-9" {
		t.Errorf("archived is %s", got)
	}
}

// TestAGapIsToldUntilAFullBackupClosesIt lets an instance archive that has not all that was executed.
func TestAGapIsToldUntilAFullBackupClosesIt(t *testing.T) {
	first := serverWith(t, 0, 3)
	b := start(t, first, quick)
	b.archiving(first, 1, instance.ArchiveDuty{KeepDays: 7})
	await(t, "all is archived", func() bool { return b.catalog().Mark.Archived.String() == name(3) })
	second := serverWith(t, 6, 8)
	b.opts.DataDir = second.dir
	b.archiving(second, 2, instance.ArchiveDuty{KeepDays: 7})
	b.until("the gap is told", func(r instance.BackupReport) bool { return r.Archive != nil && r.Archive.Missing == uuid+":4-6" })
	await(t, "the rest is archived", func() bool { return b.archived() == uuid+":1-3:7-8" })
	await(t, "what is missing is exposed", func() bool { m := b.Metrics(); return m.Exposed && m.Exposure > 30*time.Millisecond })
	if mark := b.catalog().Mark.Archived.String(); mark != name(3) {
		t.Errorf("the archive is said to be complete with %s", mark)
	}
	b.put("later", 7, time.Now().UTC())
	b.until("the gap is closed", func(r instance.BackupReport) bool { return r.Archive.Missing == "" && r.Archive.Listed })
	await(t, "the archive is complete", func() bool {
		m := b.Metrics()
		return m.Exposed && m.Exposure == 0 && b.catalog().Mark.Archived.String() == name(8)
	})
	if gaps := b.catalog().Gaps(); !gaps.IsEmpty() {
		t.Errorf("gaps: %s", gaps)
	}
}
