package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/archive"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/parcel"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog/binlogtest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/stores"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

// began is when the histories of these tests begin.
var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const uid = "5f0c"

// servers are those that were primary in turn.
func servers() []string {
	return []string{"11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222", "33333333-3333-3333-3333-333333333333"}
}

// transaction is one of a history.
type transaction struct {
	server int
	number uint64
	at     time.Time
	raw    []byte
}

func (t transaction) String() string { return fmt.Sprintf("%s:%d", servers()[t.server], t.number) }

// happen makes a history.
func happen(r *rand.Rand, n int) []transaction {
	var out []transaction
	numbers := make([]uint64, len(servers()))
	primary, at := 0, began
	for range n {
		if r.IntN(15) == 0 {
			primary = r.IntN(len(numbers))
		}
		numbers[primary]++
		at = at.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
		out = append(out, transaction{
			primary, numbers[primary], at, binlogtest.Transaction(servers()[primary], numbers[primary], at, bytes.Repeat([]byte{byte(len(out))}, r.IntN(2000))),
		})
	}
	return out
}

// set is what transactions are called.
func set(t *testing.T, all []transaction) gtid.Set {
	t.Helper()
	var b gtid.Builder
	for _, tr := range all {
		b.Add(servers()[tr.server], "", tr.number, tr.number)
	}
	s, err := b.Set()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is a data folder with a binary log. Where its files end is its own affair.
type instance struct {
	t    *testing.T
	name string
	dir  string
	// files are the beginnings of its files: how many transactions came before. Those before kept are purged.
	files []int
	kept  int
	size  int
	// cloned: the history before its first file was brought by CLONE, and no file names it.
	cloned bool
}

// write makes the files hold the history.
func (i *instance) write(r *rand.Rand, all []transaction) {
	i.t.Helper()
	for n := i.size; n <= len(all); n++ {
		if n == 0 || r.IntN(10) == 0 && n > i.files[len(i.files)-1] {
			i.files = append(i.files, n)
		}
	}
	i.size = len(all) + 1
	index := ""
	for at, from := range i.files {
		name := fmt.Sprintf("binlog.%06d", at+1)
		path := filepath.Join(i.dir, name)
		if at < i.kept {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				i.t.Fatal(err)
			}
			continue
		}
		index += "./" + name + "\n"
		last, end := at == len(i.files)-1, len(all)
		flags := uint16(binlogtest.InUse)
		if !last {
			flags, end = 0, i.files[at+1]
		}
		earlier := make([]uint64, len(servers()))
		for _, tr := range all[:from] {
			if !i.cloned {
				earlier[tr.server] = tr.number
			}
		}
		content := [][]byte{[]byte(binlog.Magic), binlogtest.Format(flags, binlogtest.CRC32), binlogtest.Earlier(servers(), earlier)}
		for _, tr := range all[from:end] {
			content = append(content, tr.raw)
		}
		if !last {
			content = append(content, binlogtest.Event(binlog.Rotate, 0, []byte("binlog.000009")))
		} else if r.IntN(2) == 0 {
			// A transaction that is being written.
			torn := binlogtest.Transaction(servers()[0], 1<<40, began, make([]byte, 500))
			content = append(content, torn[:r.IntN(len(torn))])
		}
		if err := os.WriteFile(path, bytes.Join(content, nil), 0o600); err != nil {
			i.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(i.dir, binlog.Index), []byte(index), 0o600); err != nil {
		i.t.Fatal(err)
	}
}

// flaky is a store that fails now and then, before or after it has done what it was asked.
type flaky struct {
	objectstore.Store
	r    *rand.Rand
	rate int
}

var errFlaky = errors.New("503 slow down")

// Put implements objectstore.Store.
func (f *flaky) Put(ctx context.Context, key string, body io.Reader) error {
	switch f.r.IntN(2 * f.rate) {
	case 0:
		_, _ = io.CopyN(io.Discard, body, int64(f.r.IntN(500)))
		return errFlaky
	case 1:
		return errors.Join(f.Store.Put(ctx, key, body), errFlaky)
	}
	return f.Store.Put(ctx, key, body)
}

// open returns an empty store in a folder.
func open(t *testing.T) objectstore.Store {
	t.Helper()
	s := stores.Folder(t, t.TempDir())
	return s
}

// content returns the names of the transactions that are in a stored piece, and checks that it is a file as mysqld reads it.
func content(t *testing.T, s objectstore.Store, p backup.Piece, ids ...age.Identity) (names []string) {
	t.Helper()
	stored := objectstore.Open(t.Context(), s, p.Key(uid), p.Digest)
	unpacked, err := parcel.Unpack(stored, p.Sealed, ids)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(unpacked)
	if err := errors.Join(err, unpacked.Close(), stored.Close()); err != nil || int64(len(raw)) != p.Bytes {
		t.Fatalf("%d of %d bytes, %v", len(raw), p.Bytes, err)
	}
	r, err := binlog.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if _, open, err := r.Format(); err != nil || open {
		t.Fatalf("open %t, %v", open, err)
	}
	if e, err := r.Next(); err != nil || e.Type != binlog.PreviousGTIDs {
		t.Fatalf("the second event is %d, %v", e.Type, err)
	}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == binlog.GTID {
			tr, err := binlog.Begin(e)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, tr.String())
		}
	}
}

// archived returns the history that the archive holds behind nothing, in its order.
func archived(t *testing.T, s objectstore.Store, ids ...age.Identity) (names []string, catalog backup.Catalog) {
	t.Helper()
	catalog, err := backup.Load(t.Context(), s, uid)
	if err != nil || len(catalog.Damaged) > 0 {
		t.Fatalf("damaged %v, %v", catalog.Damaged, err)
	}
	catalog.Fulls = []backup.Full{{Name: "nothing", Newest: began}}
	plan, err := catalog.Restore(backup.Target{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plan.Pieces {
		found := content(t, s, p, ids...)
		if p.Holds.Count() != uint64(len(found)) {
			t.Fatalf("a piece with %d transactions says that it holds %s", len(found), p.Holds)
		}
		names = append(names, found...)
	}
	return names, catalog
}

// TestTheArchiveIsTheHistory lets instances archive in turn while the history goes on: their files end at different places, the store fails
// now and then, archivers end at any moment, and some transactions may not be archived yet. In the end the archive is the history, each transaction
// once.
func TestTheArchiveIsTheHistory(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	failures := 0
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 4))
		all := happen(r, 50+r.IntN(150))
		s := open(t)
		faulty := &flaky{s, r, 4}
		var recipients []age.Recipient
		if seed%2 == 0 {
			recipients = []age.Recipient{id.Recipient()}
		}
		instances := []*instance{{t: t, name: "shop-0", dir: t.TempDir()}, {t: t, name: "shop-1", dir: t.TempDir()}, {t: t, name: "shop-2", dir: t.TempDir()}}
		var a *archive.Archive
		for happened, epoch := 0, uint64(1); ; epoch++ {
			happened = min(happened+r.IntN(30), len(all))
			permitted := max(0, happened-r.IntN(6))
			end := happened == len(all)
			if end {
				permitted, faulty.rate = happened, 1<<30
			}
			i := instances[r.IntN(len(instances))]
			i.write(r, all[:happened])
			if a == nil || r.IntN(2) == 0 || end {
				a, err = archive.Open(t.Context(), archive.Options{
					Store: faulty, Cluster: uid, Instance: i.name, Epoch: epoch, DataDir: i.dir, Recipients: recipients, PieceBytes: 1 + int64(r.IntN(5000)),
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			result, err := a.Step(t.Context(), archive.Permit{Set: set(t, all[:permitted]), At: began.Add(time.Duration(epoch) * time.Hour)})
			switch {
			case errors.Is(err, errFlaky):
				failures++
				a = nil
				continue
			case err != nil:
				t.Fatalf("seed %d: %v", seed, err)
			}
			if !result.Missing.IsEmpty() {
				t.Fatalf("seed %d: %s are missing", seed, result.Missing)
			}
			if end {
				break
			}
		}
		names, catalog := archived(t, s, id)
		if len(names) != len(all) {
			t.Fatalf("seed %d: %d of %d transactions are archived, each as often as it is", seed, len(names), len(all))
		}
		for n, tr := range all {
			if names[n] != tr.String() {
				t.Fatalf("seed %d: transaction %d is %s, and is archived as %s", seed, n, tr, names[n])
			}
		}
		if !catalog.Mark.Archived.Equal(set(t, all)) {
			t.Errorf("seed %d: the mark says %s", seed, catalog.Mark.Archived)
		}
	}
	if failures < 5 {
		t.Errorf("the store failed only %d times", failures)
	}
}

// once archives what an instance has.
func once(t *testing.T, s objectstore.Store, i *instance, p archive.Permit) (archive.Result, error) {
	t.Helper()
	a, err := archive.Open(t.Context(), archive.Options{Store: s, Cluster: uid, Instance: i.name, Epoch: 1, DataDir: i.dir})
	if err != nil {
		t.Fatal(err)
	}
	return a.Step(t.Context(), p)
}

func TestWhatMayBeLostIsNotArchived(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	all := happen(r, 40)
	i := &instance{t: t, name: "shop-0", dir: t.TempDir()}
	i.write(r, all)
	s := open(t)
	result, err := once(t, s, i, archive.Permit{Set: set(t, all[:25]), At: began.Add(time.Hour)})
	if err != nil || !result.Archived.Equal(set(t, all[:25])) || !result.Waiting.Equal(all[25].at.Truncate(time.Microsecond)) {
		t.Errorf("result: %+v, %v", result, err)
	}
	if names, _ := archived(t, s); len(names) != 25 {
		t.Errorf("%d are archived", len(names))
	}
}

// TestAGapIsNamedAndHealed purges what was not archived on one instance: it says what it lacks, its pieces do not hide it, and another one fills the gap.
func TestAGapIsNamedAndHealed(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	all := happen(r, 100)
	s := open(t)
	whole := &instance{t: t, name: "shop-0", dir: t.TempDir()}
	whole.write(r, all[:20])
	permit := func(n int, hour time.Duration) archive.Permit {
		return archive.Permit{Set: set(t, all[:n]), At: began.Add(hour * time.Hour)}
	}
	if _, err := once(t, s, whole, permit(20, 1)); err != nil {
		t.Fatal(err)
	}
	purged := &instance{t: t, name: "shop-1", dir: t.TempDir()}
	purged.write(r, all)
	for purged.files[purged.kept] <= 30 {
		purged.kept++
	}
	purged.write(r, all)
	result, err := once(t, s, purged, permit(100, 2))
	if want := set(t, all[20:purged.files[purged.kept]]); err != nil || !result.Missing.Equal(want) {
		t.Errorf("it lacks %s, %v, want %s", result.Missing, err, want)
	}
	catalog, err := backup.Load(t.Context(), s, uid)
	if err != nil || catalog.Mark.At.After(began.Add(time.Hour)) {
		t.Errorf("with a gap the archive is said to be complete at %s, %v", catalog.Mark.At, err)
	}
	catalog.Fulls = []backup.Full{{Name: "nothing"}}
	if plan, err := catalog.Restore(backup.Target{}); err == nil || !catalog.Gaps().Equal(result.Missing) {
		t.Errorf("a plan with a gap: %s, gaps %s", plan.Why, catalog.Gaps())
	}
	whole.write(r, all)
	if result, err := once(t, s, whole, permit(100, 3)); err != nil || !result.Missing.IsEmpty() {
		t.Errorf("healed: %+v, %v", result, err)
	}
	names, catalog := archived(t, s)
	if len(names) != len(all) || !catalog.Mark.At.Equal(began.Add(3*time.Hour)) {
		t.Errorf("%d of %d are archived, complete at %s", len(names), len(all), catalog.Mark.At)
	}
}

// full stores a full backup that holds the beginning of a history.
func full(t *testing.T, s objectstore.Store, name string, holds gtid.Set, finished time.Time) {
	t.Helper()
	raw, err := backup.Encode(backup.Full{Name: name, Holds: holds, Within: holds, Newest: finished, Finished: finished})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := objectstore.Save(t.Context(), s, backup.FullKey(uid, name), bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
}

// TestAFullBackupClosesAGap tears gaps into histories, and takes full backups somewhere. If one of them alone holds all that is missing, the archive
// counts as complete from there on, and can be restored from there; if not, what is missing is named, and it does not. What can be archived is
// archived although a full backup holds it: states between are brought back from an earlier one.
func TestAFullBackupClosesAGap(t *testing.T) {
	closed, unclosed := 0, 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 11))
		all := happen(r, 60+r.IntN(60))
		s := open(t)
		whole := &instance{t: t, name: "shop-0", dir: t.TempDir()}
		first := 5 + r.IntN(15)
		whole.write(r, all[:first])
		if _, err := once(t, s, whole, archive.Permit{Set: set(t, all[:first]), At: began.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		purged := &instance{t: t, name: "shop-1", dir: t.TempDir()}
		for len(purged.files) < 2 {
			*purged = instance{t: t, name: purged.name, dir: purged.dir}
			purged.write(r, all)
		}
		purged.kept = 1 + r.IntN(len(purged.files)-1)
		purged.write(r, all)
		begins := purged.files[purged.kept]
		lost := set(t, all[:max(begins, first)]).Subtract(set(t, all[:first]))
		at := []int{r.IntN(len(all)), r.IntN(len(all))}
		full(t, s, "a", set(t, all[:at[0]]), began.Add(2*time.Hour))
		// Nobody knows what is done to a history: this one holds only what was new.
		full(t, s, "b", set(t, all[:max(at[0], at[1])]).Subtract(set(t, all[:at[0]])), began.Add(3*time.Hour))
		missing := lost
		for _, held := range []gtid.Set{set(t, all[:max(at[0], at[1])]).Subtract(set(t, all[:at[0]])), set(t, all[:at[0]])} {
			if left := lost.Subtract(held); left.Count() < missing.Count() {
				missing = left
			}
		}
		result, err := once(t, s, purged, archive.Permit{Set: set(t, all), At: began.Add(4 * time.Hour)})
		if err != nil || !result.Missing.Equal(missing) {
			t.Fatalf("seed %d: it lacks %s, %v, want %s", seed, result.Missing, err, missing)
		}
		catalog, err := backup.Load(t.Context(), s, uid)
		if err != nil {
			t.Fatal(err)
		}
		pieces := set(t, all[:first])
		for _, p := range catalog.Pieces {
			pieces = pieces.Union(p.Holds)
		}
		if !pieces.Union(lost).Equal(set(t, all)) || !pieces.Intersect(lost).IsEmpty() {
			t.Errorf("seed %d: archived are %s, lost %s", seed, pieces, lost)
		}
		complete := catalog.Mark.At.Equal(began.Add(4 * time.Hour))
		if complete != missing.IsEmpty() {
			t.Errorf("seed %d: %s are missing, and the archive is said to be complete at %s", seed, missing, catalog.Mark.At)
		}
		if !complete {
			unclosed++
			continue
		}
		if lost.IsEmpty() {
			continue
		}
		closed++
		// The one that closes it, and that holds a beginning of the history, leads to its end.
		catalog.Fulls = catalog.Fulls[:1]
		if catalog.Fulls[0].Holds.Contains(lost) {
			plan, err := catalog.Restore(backup.Target{})
			if err != nil || !catalog.Gaps().IsEmpty() {
				t.Errorf("seed %d: a restore from it: %s, %v", seed, plan.Why, err)
			}
		}
	}
	if closed < 5 || unclosed < 5 {
		t.Errorf("%d gaps were closed, and %d were not", closed, unclosed)
	}
}

func TestWhatIsDamagedIsNotArchived(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	all := happen(r, 20)
	i := &instance{t: t, name: "shop-0", dir: t.TempDir(), files: []int{0}, size: 100}
	i.write(r, all)
	path := filepath.Join(i.dir, "binlog.000001")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(raw, all[10].raw) + len(all[10].raw) - 40
	raw[at] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t)
	_, err = once(t, s, i, archive.Permit{Set: set(t, all), At: began})
	if err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a damaged log is archived: %v", err)
	}
	for info, err := range s.List(t.Context(), "") {
		t.Errorf("%s is stored, %v", info.Key, err)
	}
}
