package full_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/full"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/pasts"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/servers"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/stores"
	"github.com/kapok-operators/kapok/shared/agent"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

const uid = "5f0c"

func TestMain(m *testing.M) {
	code := m.Run()
	if err := servers.Forget(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// instance is a server that is backed up.
type instance struct {
	*servers.Server
	options full.Options
	id      *age.X25519Identity
}

// start runs a server with a little in it, and a store.
func start(t *testing.T, program string) instance {
	t.Helper()
	s := servers.Run(t, program, servers.Blank(t, program))
	s.Do("CREATE USER kapok_admin@localhost IDENTIFIED BY 'secret'", "GRANT ALL ON *.* TO kapok_admin@localhost WITH GRANT OPTION",
		"CREATE DATABASE shop", "CREATE DATABASE bare", "CREATE TABLE shop.t (a INT PRIMARY KEY, b TEXT)", "CREATE TABLE shop.`odd name/ü` (a INT PRIMARY KEY)",
		"INSERT INTO shop.`odd name/ü` VALUES (1)")
	client, err := mysqld.Dial(s.Socket, "secret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	store := stores.Folder(t, t.TempDir())
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return instance{s, full.Options{
		Store: store, Cluster: uid, Name: "first", Instance: "shop-0", Server: client, DataDir: s.Dir, CopyDir: filepath.Join(filepath.Dir(s.Dir), "copy"),
		Recipients: []age.Recipient{id.Recipient()}, PartBytes: 10 << 20,
	}, id}
}

// gone fails the test if a copy is left.
func (i instance) gone(t *testing.T) {
	t.Helper()
	if _, err := os.Lstat(i.options.CopyDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy is left: %v", err)
	}
}

// unpack unpacks a backup into a new folder.
func (i instance) unpack(t *testing.T, m backup.Full) (string, error) {
	t.Helper()
	dir := servers.Folder(t)
	return dir, full.Unpack(t.Context(), full.Unpacking{Store: i.options.Store, Cluster: uid, Identities: []age.Identity{i.id}, DataDir: dir}, m)
}

// TestWhatIsTakenUnderLoadIsAMoment takes a backup while clients write. What is unpacked holds exactly the transactions that it says to have executed,
// no half and no other, and they are between what the manifest promises at least and at most.
func TestWhatIsTakenUnderLoadIsAMoment(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	i := start(t, program)
	before, err := gtid.Parse(i.Text("SELECT @@gtid_executed"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			if _, err := i.DB.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, REPEAT('x', 2000))", n)); err != nil {
				t.Errorf("write: %v", err)
				return
			}
		}
	})
	time.Sleep(200 * time.Millisecond)
	stored := int64(0)
	i.options.Progress = func(done, _ int64) { stored = done }
	m, err := full.Take(t.Context(), i.options)
	stop()
	writer.Wait()
	if err != nil {
		t.Fatal(err)
	}
	i.gone(t)
	if m.Instance != "shop-0" || m.Method != "clone" || m.Version != i.Text("SELECT VERSION()") || !m.Sealed || m.Bytes < 10<<20 || stored != m.Bytes ||
		len(m.Parts) < 3 || m.Newest.Before(m.Began) || m.Finished.Before(m.Newest) {
		t.Errorf("manifest: %+v", m)
	}
	catalog, err := backup.Load(t.Context(), i.options.Store, uid)
	if err != nil || len(catalog.Fulls) != 1 || len(catalog.Loose) != 0 || !catalog.Fulls[0].Holds.Equal(m.Holds) {
		t.Errorf("catalog: %+v, %v", catalog, err)
	}

	dir, err := i.unpack(t, catalog.Fulls[0])
	if err != nil {
		t.Fatal(err)
	}
	// In the sandbox first, as a restore does it: it must tell what it holds without the binary log.
	box, err := sandbox.Start(t.Context(), sandbox.Options{Mysqld: program, DataDir: dir, RunDir: servers.Folder(t), PoolBytes: 32 << 20, Supervisor: &agent.Supervisor{}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := box.Client().Executed(t.Context())
	if err := errors.Join(err, box.Stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	executed, err := gtid.Parse(text)
	if err != nil || !executed.Contains(m.Holds) || !m.Within.Contains(executed) {
		t.Errorf("it holds %s, %v, and should hold %s at least and %s at most", executed, err, m.Holds, m.Within)
	}
	s := servers.Run(t, program, dir)
	rows := executed.Count() - before.Count()
	if got, want := s.Text("SELECT CONCAT(COUNT(*), ' up to ', MAX(a)) FROM shop.t"), fmt.Sprintf("%d up to %d", rows, rows); got != want || rows == 0 {
		t.Errorf("it holds %s rows, and the transactions of %s", got, want)
	}
	if got := s.Text("SELECT a FROM shop.`odd name/ü`"); got != "1" {
		t.Errorf("the table of an odd name holds %s", got)
	}
	if got := s.Text("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'bare'"); got != "1" {
		t.Error("a database without a table is not there")
	}
	if s.Text("SELECT @@server_uuid") == i.Text("SELECT @@server_uuid") {
		t.Error("the restored server takes itself for the one that was backed up")
	}
	s.Do("INSERT INTO shop.t VALUES (0, 'it can be written to')")
}

// again starts the server anew: what was written is in the files then, and not in the redo log, of which a copy would have it all the same.
func (i instance) again(t *testing.T, program string) instance {
	t.Helper()
	i.Stop()
	i.Server = servers.Run(t, program, i.Dir)
	client, err := mysqld.Dial(i.Socket, "secret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	i.options.Server = client
	return i
}

// proving has the copy proven.
func (i instance) proving(t *testing.T, program string) full.Options {
	t.Helper()
	o := i.options
	o.Prove = &sandbox.Options{Mysqld: program, RunDir: servers.Folder(t), Supervisor: &agent.Supervisor{}}
	return o
}

// TestWhatIsProvenIsExact proves a copy that is taken under load. The manifest says exactly what it holds, with the checksums that the server itself
// would give then, and what is stored holds nothing more than without a proof.
func TestWhatIsProvenIsExact(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	i := start(t, program)
	i.Do("CREATE DATABASE `a``b.c'd\"e`", "CREATE TABLE `a``b.c'd\"e`.`f``'g\"%h` (a INT PRIMARY KEY, b GEOMETRY, c JSON, d INT AS (a + 1) VIRTUAL, e INT AS (a * 2) STORED)",
		"INSERT INTO `a``b.c'd\"e`.`f``'g\"%h` (a, b, c) VALUES (1, POINT(1, 2), '{\"x\": 1}')", "CREATE VIEW shop.v AS SELECT 1", "CREATE TABLE shop.s (a INT) ENGINE = MEMORY",
		"CREATE USER app@'%' IDENTIFIED BY 'of the application'")
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			if _, err := i.DB.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, REPEAT('x', 2000))", n)); err != nil {
				t.Errorf("write: %v", err)
				return
			}
		}
	})
	time.Sleep(200 * time.Millisecond)
	o := i.proving(t, program)
	var confirmed gtid.Set
	o.Confirm = func(_ context.Context, within gtid.Set) error {
		confirmed = within
		return nil
	}
	m, err := full.Take(t.Context(), o)
	stop()
	writer.Wait()
	if err != nil {
		t.Fatal(err)
	}
	i.gone(t)
	var names []string
	sums := map[string]uint64{}
	for _, table := range m.Tables {
		names = append(names, table.Schema+"."+table.Name)
		sums[table.Name] = table.Checksum
	}
	if want := []string{"a`b.c'd\"e.f`'g\"%h", "shop.odd name/ü", "shop.s", "shop.t"}; !slices.Equal(names, want) {
		t.Errorf("proven are %q, and there are %q", names, want)
	}
	if !m.Holds.Equal(m.Within) || !confirmed.Equal(m.Holds) {
		t.Errorf("it holds %s at least and %s at most; %s was confirmed", m.Holds, m.Within, confirmed)
	}
	for _, part := range m.Parts {
		for _, file := range part.Files {
			if file == "auto.cnf" || strings.HasPrefix(file, "relay") || strings.HasSuffix(file, ".pem") || strings.HasPrefix(file, "ibtmp") {
				t.Errorf("the private server has left %s", file)
			}
		}
	}
	dir, err := i.unpack(t, m)
	if err != nil {
		t.Fatal(err)
	}
	s := servers.Run(t, program, dir)
	if got := pasts.Parse(t, s.Text("SELECT @@gtid_executed")); !got.Equal(m.Holds) {
		t.Errorf("it holds %s, and %s by its manifest", got, m.Holds)
	}
	for name, table := range map[string]string{"f`'g\"%h": "`a``b.c'd\"e`.`f``'g\"%h`", "odd name/ü": "shop.`odd name/ü`", "t": "shop.t"} {
		var of string
		var sum uint64
		if err := s.DB.QueryRowContext(t.Context(), "CHECKSUM TABLE "+table).Scan(&of, &sum); err != nil || sum != sums[name] || sum == 0 {
			t.Errorf("%s has checksum %d, %v, and %d by the manifest", table, sum, err, sums[name])
		}
	}
	if got := s.Text("SELECT COUNT(*) FROM mysql.user WHERE user = 'app' AND account_locked = 'N' AND SHA2(authentication_string, 256) = ?",
		i.Text("SELECT SHA2(authentication_string, 256) FROM mysql.user WHERE user = 'app'")); got != "1" {
		t.Error("the account of the application is another one")
	}
	s.Do("INSERT INTO shop.t VALUES (0, 'it can be written to')")
}

// spoiling is a server whose copies are not good.
type spoiling struct {
	full.Server
	spoil func(dir string) error
}

// CopyTo implements full.Server.
func (s spoiling) CopyTo(ctx context.Context, dir string) error {
	if err := s.Server.CopyTo(ctx, dir); err != nil {
		return err
	}
	return s.spoil(dir)
}

// TestACopyThatIsNotGoodIsNoBackup: one that a server does not start on, one with a table that cannot be read, and one that is not of the moment that
// it should be of, are found at once. Nothing is stored, and no copy and no server is left.
func TestACopyThatIsNotGoodIsNoBackup(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	i := start(t, program)
	i.Do("INSERT INTO shop.t SELECT a + 10, REPEAT('x', 8000) FROM shop.`odd name/ü`", "CREATE TABLE shop.u (a INT PRIMARY KEY, b LONGTEXT)")
	for n := range 100 {
		i.Do(fmt.Sprintf("INSERT INTO shop.u VALUES (%d, REPEAT('%c', 3000))", n, 'a'+n%26))
	}
	i = i.again(t, program)
	for what, c := range map[string]struct {
		spoil func(dir string) error
		says  string
	}{
		"does not start":    {func(dir string) error { return os.Truncate(filepath.Join(dir, "mysql.ibd"), 4<<14) }, "prove the copy: the private server "},
		"cannot be read":    {func(dir string) error { return servers.Flip(filepath.Join(dir, "shop", "u.ibd")) }, "1 of 3 tables cannot be read: `shop`.`u`: "},
		"of another moment": {func(string) error { return nil }, "should hold "},
	} {
		o := i.proving(t, program)
		o.Server = spoiling{o.Server, c.spoil}
		if what == "of another moment" {
			o.Server = boasting{o.Server}
		}
		m, err := full.Take(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("a copy that %s: %d parts, %v", what, len(m.Parts), err)
		}
		i.gone(t)
		for info, err := range i.options.Store.List(t.Context(), "") {
			t.Errorf("a copy that %s: there is %s, %v", what, info.Key, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	o := i.proving(t, program)
	o.Server = spoiling{o.Server, func(string) error {
		time.AfterFunc(300*time.Millisecond, cancel)
		return nil
	}}
	if _, err := full.Take(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	i.gone(t)
}

// TestABackupWithoutAProofIsBetterThanNone: where there is no memory for a private server the copy is stored all the same, and somebody is told.
func TestABackupWithoutAProofIsBetterThanNone(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	i := start(t, program)
	limits := t.TempDir()
	for name, content := range map[string]string{"memory.max": "1048576\n", "memory.current": "1000000\n", "memory.stat": "active_file 0\n"} {
		if err := os.WriteFile(filepath.Join(limits, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := i.proving(t, program)
	o.Prove.Cgroup = limits
	var told error
	o.Unproven = func(why error) { told = why }
	m, err := full.Take(t.Context(), o)
	if err != nil || len(m.Tables) > 0 || told == nil || !strings.Contains(told.Error(), "resources.limits.memory") {
		t.Fatalf("%d tables are proven, and told was %v: %v", len(m.Tables), told, err)
	}
	if _, err := i.unpack(t, m); err != nil {
		t.Error(err)
	}
}

// boasting is a server that has executed what its copies do not hold.
type boasting struct{ full.Server }

// Executed implements full.Server.
func (b boasting) Executed(context.Context) (string, error) {
	return "11111111-1111-1111-1111-111111111111:1-5", nil
}

// failing is a store that fails at some objects.
type failing struct {
	objectstore.Store
	at string
}

var errFailing = errors.New("503 slow down")

// Put implements objectstore.Store.
func (f failing) Put(ctx context.Context, key string, body io.Reader) error {
	if strings.HasSuffix(key, f.at) {
		_, _ = io.CopyN(io.Discard, body, 100)
		return errFailing
	}
	return f.Store.Put(ctx, key, body)
}

// TestWhatIsNotWholeIsNoBackup breaks a backup at every kind of step. Nothing is then described, no copy is left, and the next attempt succeeds.
func TestWhatIsNotWholeIsNoBackup(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	i := start(t, program)
	honest := i.options.Store
	// empty fails the test if something is stored.
	empty := func(when string) {
		t.Helper()
		for info, err := range honest.List(t.Context(), "") {
			t.Errorf("%s: there is %s, %v", when, info.Key, err)
		}
	}
	for _, at := range []string{"/000001", "/000002", "/manifest.json"} {
		o := i.options
		o.Store = failing{honest, at}
		if m, err := full.Take(t.Context(), o); !errors.Is(err, errFailing) {
			t.Errorf("fails at %s: %+v, %v", at, m, err)
		}
		i.gone(t)
		if catalog, err := backup.Load(t.Context(), honest, uid); err != nil || len(catalog.Fulls) > 0 {
			t.Errorf("failed at %s: there is %+v, %v", at, catalog.Fulls, err)
		}
		if !strings.HasSuffix(at, ".json") {
			empty("failed at " + at)
		}
	}
	for info, err := range honest.List(t.Context(), "") {
		// Those of the attempt whose manifest might have been stored.
		if err := errors.Join(err, honest.Delete(t.Context(), info.Key)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	o := i.options
	o.Progress = func(done, _ int64) {
		if done > 0 {
			cancel()
		}
	}
	if m, err := full.Take(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %+v, %v", m, err)
	}
	i.gone(t)
	empty("cancelled")
	o.Progress, o.Before = nil, 1000
	o.Confirm = func(ctx context.Context, within gtid.Set) error {
		if _, err := honest.Stat(ctx, backup.PartKey(uid, o.Name, 1002)); err != nil {
			t.Errorf("asked before all is stored: %v", err)
		}
		if now := i.Text("SELECT @@gtid_executed"); within.String() != now {
			t.Errorf("asked about %s, and it has executed %s", within, now)
		}
		return errFailing
	}
	if m, err := full.Take(t.Context(), o); !errors.Is(err, errFailing) {
		t.Errorf("not confirmed: %+v, %v", m, err)
	}
	i.gone(t)
	empty("not confirmed")
	// A killed agent leaves a copy.
	if err := os.MkdirAll(filepath.Join(i.options.CopyDir, "shop"), 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := full.Take(t.Context(), i.options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.unpack(t, m); err != nil {
		t.Error(err)
	}

	spoilt := m
	spoilt.Parts = append([]backup.Part(nil), m.Parts...)
	spoilt.Parts[1].SHA256 = strings.Repeat("0", 64)
	if _, err := i.unpack(t, spoilt); !errors.Is(err, objectstore.ErrCorrupt) {
		t.Errorf("a changed part: %v", err)
	}
	spoilt = m
	spoilt.Parts = m.Parts[1:]
	if _, err := i.unpack(t, spoilt); err == nil {
		t.Error("a backup without its first part is unpacked")
	}
	if err := honest.Delete(t.Context(), backup.PartKey(uid, m.Name, 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := i.unpack(t, m); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("a lost part: %v", err)
	}
}

// TestWhatCloneDoesNotCopyIsNoBackup: CLONE leaves the tables of other engines empty and says nothing. A backup that lacks rows is refused, also if such a
// table is made while the copy is.
func TestWhatCloneDoesNotCopyIsNoBackup(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	i := start(t, program)
	// Nothing of these is on the disk.
	i.Do("CREATE TABLE shop.fleeting (a INT) ENGINE=MEMORY", "CREATE TABLE shop.hole (a INT) ENGINE=BLACKHOLE", "CREATE VIEW shop.v AS SELECT a FROM shop.t")
	if m, err := full.Take(t.Context(), i.options); err != nil || m.Method != full.MethodClone {
		t.Fatalf("%+v, %v", m, err)
	}
	i.options.Name = "second"
	late := i.options
	late.Server = meanwhile{i.options.Server, func() { i.Do("CREATE TABLE shop.m (a INT PRIMARY KEY) ENGINE=MyISAM", "INSERT INTO shop.m VALUES (1)") }}
	for n, o := range []full.Options{late, i.options} {
		when := []string{"it is made meanwhile", "it is there"}[n]
		_, err := full.Take(t.Context(), o)
		if uncopied, ok := errors.AsType[*full.UncopiedError](err); !ok || len(uncopied.Tables) != 1 || uncopied.Tables[0] != "shop.m (MyISAM)" {
			t.Errorf("%s: %v", when, err)
		}
		i.gone(t)
		if _, found, err := backup.LoadFull(t.Context(), o.Store, uid, o.Name); found || err != nil {
			t.Errorf("%s: it is stored: %v", when, err)
		}
	}
	// What it is for.
	if err := i.options.Server.CopyTo(t.Context(), i.options.CopyDir); err != nil {
		t.Fatal(err)
	}
	s := servers.Run(t, program, i.options.CopyDir)
	if got := s.Text("SELECT COUNT(*) FROM shop.m"); got != "0" {
		t.Errorf("CLONE has copied %s rows: there is no reason any more to refuse", got)
	}
	s.Stop()
	for n := range 6 {
		i.Do(fmt.Sprintf("CREATE TABLE shop.c%d (a INT NOT NULL) ENGINE=%s", n, []string{"CSV", "ARCHIVE"}[n%2]))
	}
	_, err := full.Take(t.Context(), i.options)
	want := "shop.c0 (CSV), shop.c1 (ARCHIVE), shop.c2 (CSV), shop.c3 (ARCHIVE), shop.c4 (CSV) and others: convert them"
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "spec.backup.method: xtrabackup") {
		t.Errorf("%v, want %s", err, want)
	}
}

// meanwhile has something done while a copy is made.
type meanwhile struct {
	full.Server
	do func()
}

// CopyTo implements full.Server.
func (m meanwhile) CopyTo(ctx context.Context, dir string) error {
	m.do()
	return m.Server.CopyTo(ctx, dir)
}
