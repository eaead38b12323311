package agent_test

import (
	"database/sql"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/restore"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/servers"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/standin"
	shared "github.com/kapok-operators/kapok/shared/agent"
	"github.com/kapok-operators/kapok/shared/objectstore/folder"
)

// clusterUID is the UID of the cluster whose backups these are.
const clusterUID = "5f0c"

// content is a query for all that the application has written.
const content = "SELECT CONCAT(COUNT(*), ' rows, ', COALESCE(BIT_XOR(CRC32(CONCAT_WS('#', id, note))), 0)) FROM shop_db.orders"

// backups returns what a member is told about backups, without any duty yet. Without a key they are not encrypted.
func backups(key *age.X25519Identity) *instance.BackupDuty {
	duty := &instance.BackupDuty{Store: instance.Store{Volume: true}, Cluster: clusterUID}
	if key != nil {
		duty.Recipients = []string{key.Recipient().String()}
	}
	return duty
}

// archiving has a directive archive.
func archiving(d instance.Directive, key *age.X25519Identity) instance.Directive {
	d.Backup = backups(key)
	d.Backup.Archive = &instance.ArchiveDuty{KeepDays: 7}
	return d
}

// taking has a directive take a full backup, beside what else it says about backups.
func taking(d instance.Directive, key *age.X25519Identity, full instance.FullDuty) instance.Directive {
	if d.Backup == nil {
		d.Backup = backups(key)
	}
	d.Backup.Full = &full
	return d
}

// takeFull plays the operator while a member takes a full backup: it confirms what the copy holds when the primary has executed it.
func (c *cluster) takeFull(primary, m *member, duty func() instance.Directive, key *age.X25519Identity, name string) *instance.StoredFull {
	c.t.Helper()
	return c.takeFullAs(primary, m, duty, key, instance.FullDuty{Name: name, Attempt: 1, Prove: true})
}

// takeFullAs is takeFull as somebody wants it.
func (c *cluster) takeFullAs(primary, m *member, duty func() instance.Directive, key *age.X25519Identity, full instance.FullDuty) *instance.StoredFull {
	c.t.Helper()
	c.tell(m, taking(duty(), key, full))
	in := func(state instance.FullState) func(instance.Report) bool {
		return func(r instance.Report) bool {
			if r.Backup != nil && r.Backup.Full != nil && r.Backup.Full.State == instance.FullFailed {
				c.t.Fatalf("the backup has failed: %+v", r.Backup.Full)
			}
			return r.Backup != nil && r.Backup.Full != nil && r.Backup.Full.State == state
		}
	}
	full.Confirmed = m.await("wait to be confirmed", in(instance.FullConfirming)).Backup.Full.Within
	primary.await("have executed what the copy holds", func(r instance.Report) bool {
		return set(c.t, r.Executed).Contains(set(c.t, full.Confirmed))
	})
	c.tell(m, taking(duty(), key, full))
	return m.await("have stored it", in(instance.FullDone)).Backup.Full.Stored
}

// TestWhatIsBackedUpComesBack lets a cluster archive and take a full backup while it is written to and fails over, and then restores it: each row that
// was acknowledged is there, and nothing else than what the new primary holds.
func TestWhatIsBackedUpComesBack(t *testing.T) {
	c := bootstrap(t, 3)
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	primary, taker, third := c.members[0], c.members[1], c.members[2]
	var target atomic.Pointer[sql.DB]
	target.Store(c.app(primary))
	w := write(t, 3, target.Load)
	w.awaitRows(t, 20)
	if r := primary.report(); r.Backup != nil {
		t.Errorf("without a duty there is %+v", r.Backup)
	}
	c.obey(primary, archiving(c.primary(1, true, taker, third), key))
	primary.await("archive", func(r instance.Report) bool {
		return r.Backup != nil && r.Backup.Archive != nil && !r.Backup.Archive.Complete.IsZero() && r.Backup.Archive.Listed
	})
	w.awaitRows(t, 50)

	stored := c.takeFull(primary, taker, func() instance.Directive { return c.replica(primary, taker, true) }, key, "first")
	if stored == nil || stored.Name != "first" || stored.Instance != taker.name || !stored.Sealed || stored.StoredBytes == 0 {
		t.Errorf("it is stored as %+v", stored)
	}
	if _, err := os.Stat(filepath.Join(taker.root, "backup")); !os.IsNotExist(err) {
		t.Errorf("the copy is left: %v", err)
	}
	if _, err := os.Stat(filepath.Join(taker.runDir, "prove")); !os.IsNotExist(err) {
		t.Errorf("the place of the private server is left: %v", err)
	}
	w.awaitRows(t, 50)

	primary.kill()
	primary.await("report the death", func(r instance.Report) bool { return r.State != instance.StateRunning })
	voters := []*member{taker, third}
	next := c.failOver(t, voters, 1)
	c.obey(next, archiving(c.primary(1, true, without(voters, next)...), key))
	target.Store(c.app(next))
	r := next.await("archive", func(r instance.Report) bool {
		return r.Backup != nil && r.Backup.Archive != nil && !r.Backup.Archive.Complete.IsZero() && len(r.Backup.Archive.Stored) == 1
	}).Backup.Archive
	if r.Missing != "" || r.Problem != "" || r.Stored[0] != *stored {
		t.Errorf("the next archiver reports %+v", r)
	}
	w.awaitRows(t, 50)
	acked := w.finish()
	want := next.mysql(t, content)
	executed := set(t, next.mysql(t, "SELECT REPLACE(@@gtid_executed, '\n', '')"))

	dir, err := folder.Open(next.volume)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	}()
	awaitArchived(t, dir, executed)
	where := servers.Folder(t)
	result, err := restore.Run(t.Context(), restore.Options{
		Store: dir, Cluster: clusterUID, Identities: []age.Identity{key}, DataDir: filepath.Join(where, "data"), Mysqld: server(t),
		RunDir: servers.Folder(t), PoolBytes: pool, Supervisor: &shared.Supervisor{}, Verify: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !result.Executed.Contains(executed) || result.Plan.Full.Name != "first" || len(result.Plan.Pieces) == 0 {
		t.Errorf("%s is restored, by %s", result.Executed, result.Plan.Why)
	}
	// orders, and the agent's own.
	if n := len(result.Plan.Full.Tables); n < 2 || result.Compared != n || result.Sound < n || result.Plan.Full.Holds.String() != stored.Holds {
		t.Errorf("%d tables are sound, and %d of %d compared; it held %s", result.Sound, result.Compared, n, stored.Holds)
	}
	s := servers.Run(t, server(t), filepath.Join(where, "data"), "--skip-grant-tables")
	if got := s.Text(content); got != want {
		t.Errorf("restored are %s, and there were %s", got, want)
	}
	// One session, so that it stays in the schema.
	s.DB.SetMaxOpenConns(1)
	s.Do("USE shop_db")
	checkRows(t, s.DB, acked)
}

// TestAnAgentStreamsABackup has an agent take a backup by stand-ins for the programs of Percona XtraBackup, with the account that it has made itself.
func TestAnAgentStreamsABackup(t *testing.T) {
	t.Setenv("PATH", standin.XtraBackup(t, filepath.Dir(server(t)))+":"+os.Getenv("PATH"))
	c := bootstrap(t, 1)
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	primary := c.members[0]
	full := instance.FullDuty{Name: "first", Attempt: 1, Method: "xtrabackup"}
	stored := c.takeFullAs(primary, primary, func() instance.Directive { return archiving(c.primary(0, true), key) }, key, full)
	if stored == nil || stored.Method != "xtrabackup" || !stored.Sealed || stored.StoredBytes == 0 {
		t.Errorf("it is stored as %+v", stored)
	}
	for _, dir := range []string{filepath.Join(primary.root, "backup"), filepath.Join(primary.runDir, "backup")} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
}

// awaitArchived waits until the archive is marked complete with what was executed.
func awaitArchived(t *testing.T, dir *folder.Store, executed gtid.Set) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		catalog, err := backup.Load(t.Context(), dir, clusterUID)
		if err != nil {
			t.Fatal(err)
		}
		if catalog.Mark.Archived.Contains(executed) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("archived are %s, executed %s", catalog.Mark.Archived, executed)
		}
	}
}

// TestAVolumeThatIsMissingIsTold has an instance archive to a volume that nobody has mounted.
func TestAVolumeThatIsMissingIsTold(t *testing.T) {
	c := bootstrap(t, 1)
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	primary := c.members[0]
	if err := os.Remove(primary.volume); err != nil {
		t.Fatal(err)
	}
	c.obey(primary, archiving(c.primary(0, true), key))
	primary.await("say that the store is missing", func(r instance.Report) bool {
		return r.Backup != nil && r.Backup.Archive != nil && r.Backup.Archive.ProblemReason == instance.ProblemStoreMissing
	})
	probes := httptest.NewServer(primary.agent.Handler())
	defer probes.Close()
	if m := scrape(t, probes.URL); m["kapok_mysql_agent_archive_failures_total"] == 0 || has(m, "kapok_mysql_agent_archive_exposure_seconds") {
		t.Errorf("metrics: %v", m)
	}
	if err := os.Mkdir(primary.volume, 0o700); err != nil {
		t.Fatal(err)
	}
	primary.await("archive", func(r instance.Report) bool {
		return r.Backup.Archive != nil && r.Backup.Archive.Problem == "" && !r.Backup.Archive.Complete.IsZero()
	})
}
