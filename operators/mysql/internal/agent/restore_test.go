package agent_test

import (
	"database/sql"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/restore"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/pasts"
	"github.com/kapok-operators/kapok/shared/objectstore/s3"
)

// begins makes a cluster of which both pods are told of a restore, and nothing is on its volumes.
func begins(t *testing.T, p pasts.Past, duty instance.RestoreDuty) *cluster {
	t.Helper()
	c := newCluster(t, 2)
	identity := t.TempDir()
	if err := os.WriteFile(filepath.Join(identity, "identity"), []byte("# of a test\n"+p.Key.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	duty.Store, duty.Cluster = instance.Store{Volume: true}, pasts.Cluster
	for _, m := range c.members {
		for _, part := range []string{"data", "kapok"} {
			if err := os.RemoveAll(filepath.Join(m.root, part)); err != nil {
				t.Fatal(err)
			}
		}
		m.restore = agent.RestoreOptions{Duty: &duty, Volume: p.Dir, Identity: identity}
	}
	return c
}

// written reads what the history wrote, as an account of the new cluster.
func written(t *testing.T, db *sql.DB) string {
	t.Helper()
	var out string
	if err := db.QueryRowContext(t.Context(), pasts.State).Scan(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAClusterBeginsWithARestore: the first instance restores and is founded like a blank one; the second is not restored, but a copy of it.
// One that is stopped in the middle of it, and one whose store is not there at first, get there all the same.
func TestAClusterBeginsWithARestore(t *testing.T) {
	p := pasts.Happen(t, server(t), rand.New(rand.NewPCG(1, 2)), 2)
	want := p.Moments[len(p.Moments)/2]
	if _, err := p.Catalog.Restore(targetOf(want)); err != nil {
		want = p.Moments[len(p.Moments)-1]
	}
	c := begins(t, p, instance.RestoreDuty{Through: want.GTID.String(), Verify: true})
	first, second := c.members[0], c.members[1]

	there := first.restore.Volume
	first.restore.Volume = filepath.Join(t.TempDir(), "missing")
	first.start()
	r := first.await("a failed restore", func(r instance.Report) bool {
		return r.Restore != nil && r.Restore.State == instance.RestoreFailed
	})
	if r.Restored || r.Starts > 0 || r.Restore.ProblemReason != instance.ProblemStoreMissing || r.Restore.Problem == "" {
		t.Errorf("without a store: restored %t, %d starts, %+v", r.Restored, r.Starts, r.Restore)
	}
	first.halt()
	if _, err := os.Stat(filepath.Join(first.root, "data")); err == nil {
		t.Error("a restore that failed has left data")
	}

	first.restore.Volume = there
	first.start()
	r = first.await("a restore", func(r instance.Report) bool {
		return r.Restore != nil && (r.Restore.State == instance.RestoreUnpacking || r.Restore.State == instance.RestoreReplaying)
	})
	if !strings.HasPrefix(r.Restore.Plan, "full backup ") || r.Restore.Of == 0 {
		t.Errorf("at work it says %+v", r.Restore)
	}
	first.halt()
	if _, err := os.Stat(filepath.Join(first.root, "data")); err == nil {
		t.Fatal("it was stopped too late to prove anything")
	}
	first.start()
	second.start()
	r = first.await("the restored data", func(r instance.Report) bool { return r.State == instance.StateRunning && r.Restored })
	if !r.Blank || !strings.Contains(r.Executed, want.GTID.String()[:36]) {
		t.Errorf("restored: blank %t, executed %s", r.Blank, r.Executed)
	}
	// What it is a copy of was not proven.
	if done := r.Restore; done == nil || done.State != instance.RestoreDone || done.Took <= 0 || done.Verified == nil || *done.Verified != (instance.Verified{Tables: 1}) {
		t.Errorf("restored: %+v", done)
	}
	second.await("an empty server", func(r instance.Report) bool { return r.State == instance.StateRunning && r.Blank && !r.Restored })

	d := c.primary(0, true, second)
	d.Primary.Bootstrap = true
	d.Users = append(d.Users, instance.User{Name: "auditor", Access: instance.AccessReadOnly})
	if err := os.WriteFile(filepath.Join(first.usersDir, "auditor"), []byte(appPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	c.obey(first, d)
	db := c.app(first)
	// Accounts are made one after the other.
	auditor := open(t, first, "auditor", appPassword, "shop")
	awaitQuery(t, auditor, "SELECT 1")
	if got := written(t, auditor); got != want.State {
		t.Errorf("restored is %q, and there was %q", got, want.State)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE after_all (id INT PRIMARY KEY)"); err != nil {
		t.Error(err)
	}
	c.obey(second, c.clone(first, second, "new"))
	c.obey(second, c.replica(first, second, true))
	second.await("what the first has", func(r instance.Report) bool { return r.Executed == first.report().Executed })

	// Later nobody is told of it any more, and nothing is restored again.
	first.halt()
	first.restore = agent.RestoreOptions{}
	first.start()
	r = first.await("the same data", func(r instance.Report) bool { return r.State == instance.StateRunning })
	if r.Blank || !r.Restored || r.Restore != nil {
		t.Errorf("after a restart: blank %t, restored %t, %+v", r.Blank, r.Restored, r.Restore)
	}
}

// TestARestoreIsNeverForgotten: a volume that was to begin with one is not initialised by an agent that is not told of it.
func TestARestoreIsNeverForgotten(t *testing.T) {
	p := pasts.Past{Dir: t.TempDir(), Key: key(t)}
	c := begins(t, p, instance.RestoreDuty{})
	m := c.members[0]
	m.start()
	r := m.await("a failed restore", func(r instance.Report) bool { return r.Restore != nil && r.Restore.State == instance.RestoreFailed })
	if r.Restore.ProblemReason != instance.ProblemUnreachable {
		t.Errorf("an empty store: %+v", r.Restore)
	}
	// Long enough for another attempt: what is told does not go to and fro.
	for until := time.Now().Add(2500 * time.Millisecond); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if now := m.report().Restore; now == nil || *now != *r.Restore {
			t.Fatalf("after %+v it says %+v", r.Restore, now)
		}
	}
	m.halt()
	m.restore = agent.RestoreOptions{}
	m.start()
	r = m.await("a problem", func(r instance.Report) bool { return r.Problem != "" })
	if r.Starts > 0 || !strings.Contains(r.Problem, "restore") {
		t.Errorf("%d starts, %s", r.Starts, r.Problem)
	}
}

// TestARestoreThatIsKilledIsBegunAnew kills the agent, and with it the server that it replays with, again and again.
func TestARestoreThatIsKilledIsBegunAnew(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	p := pasts.Happen(t, server(t), rng, 1)
	c := begins(t, p, instance.RestoreDuty{})
	m := c.members[0]
	for range 4 {
		boot := m.report().Boot
		cmd, _ := m.spawn(t)
		r := m.await("a restore", func(r instance.Report) bool { return r.Boot != boot && (r.Restore != nil || r.Restored) })
		if !r.Blank || r.Restored && r.Executed == "" && r.State == instance.StateRunning {
			t.Errorf("after a death: %+v", r)
		}
		time.Sleep(time.Duration(rng.IntN(2500)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	m.start()
	r := m.await("the restored data", func(r instance.Report) bool { return r.State == instance.StateRunning && r.Restored })
	if last := p.Moments[len(p.Moments)-1]; !set(t, r.Executed).Contains(last.GTID) {
		t.Errorf("it holds %s, without %s", r.Executed, last.GTID)
	}
}

// TestARestoreTakesThePlaceOfWhatNobodyUsed: an empty server, or what another restore has brought back, is no beginning that a cluster has taken.
func TestARestoreTakesThePlaceOfWhatNobodyUsed(t *testing.T) {
	p := pasts.Happen(t, server(t), rand.New(rand.NewPCG(4, 2)), 1)
	c := begins(t, p, instance.RestoreDuty{})
	m := newCluster(t, 1).members[0]
	m.restore = c.members[0].restore
	restored := func() instance.Report {
		t.Helper()
		m.start()
		r := m.await("the restored data", func(r instance.Report) bool { return r.State == instance.StateRunning && r.Restored })
		m.halt()
		return r
	}
	newest := restored()
	last := p.Moments[len(p.Moments)-1].GTID
	if !set(t, newest.Executed).Contains(last) {
		t.Errorf("in place of an empty server it holds %s, without %s", newest.Executed, last)
	}
	if r := restored(); r.Restore != nil || r.ServerUUID != newest.ServerUUID {
		t.Errorf("it is restored again: %+v", r.Restore)
	}
	other := *m.restore.Duty
	other.Before = last.String()
	m.restore.Duty = &other
	if r := restored(); set(t, r.Executed).Contains(last) || r.ServerUUID == newest.ServerUUID {
		t.Errorf("another restore is asked for, and it holds %s as server %s", r.Executed, r.ServerUUID)
	}
}

// broken is a member whose data are none that a server starts with, and whose state says so much of them.
func broken(t *testing.T, s state.State) *member {
	t.Helper()
	m := newCluster(t, 1).members[0]
	data := filepath.Join(m.root, "data")
	if err := os.WriteFile(filepath.Join(data, "ibdata1"), []byte("half of another one"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, _, _, err := state.Open(filepath.Join(m.root, "kapok"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Save(s); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestAnInstanceThatBeganWithARestoreIsRebuilt: once the cluster has begun, a copy of the primary's data that was cut short is made anew from nothing
// like that of any other instance, whether or not the pod is still told of the restore; and it is not taken for what was restored.
func TestAnInstanceThatBeganWithARestoreIsRebuilt(t *testing.T) {
	for name, told := range map[string]agent.RestoreOptions{
		"not told any more": {},
		"still told":        {Duty: &instance.RestoreDuty{Cluster: "c", Store: instance.Store{Volume: true}}, Volume: filepath.Join(t.TempDir(), "gone")},
	} {
		t.Run(name, func(t *testing.T) {
			m := broken(t, state.State{
				Restore: &state.Restore{Cluster: "c"}, Clone: &state.Clone{Source: "shop-1", SourceExecuted: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5", Archived: true, Begun: true},
				Term: 1, Promised: 3, Record: instance.Record{Epoch: 3, Primary: "shop-1", Voters: []string{"shop-1"}},
			})
			m.restore = told
			left := restore.Unfinished(filepath.Join(m.root, "data"))
			if err := os.MkdirAll(left, 0o700); err != nil {
				t.Fatal(err)
			}
			m.start()
			r := m.await("an empty server", func(r instance.Report) bool { return r.State == instance.StateRunning })
			if !r.Blank || r.Restored || r.Restore != nil || r.Executed != "" {
				t.Errorf("it came up as %+v", r)
			}
			if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("what a restore has left still takes room: %v", err)
			}
		})
	}
}

// TestARestoreGivesWayToAClusterThatHasBegun: an instance whose volume was lost, and whose pod is still told of a restore, needs the data of the
// primary, and neither the store nor hours.
func TestARestoreGivesWayToAClusterThatHasBegun(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	c := begins(t, pasts.Past{Key: key(t)}, instance.RestoreDuty{})
	m, credentials := c.members[0], t.TempDir()
	for _, name := range []string{s3.KeyIDFile, s3.SecretFile} {
		if err := os.WriteFile(filepath.Join(credentials, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.restore.Credentials = credentials
	m.restore.Duty.Store = instance.Store{S3: &instance.S3Store{Endpoint: "http://" + silent.Addr().String(), Bucket: "b", PathStyle: true}}
	m.start()
	m.await("a restore at work", func(r instance.Report) bool { return r.Restore != nil && r.Restore.State == instance.RestorePlanning })
	c.epoch = 3
	c.tell(m, instance.Directive{Role: instance.RoleStandby, Record: instance.Record{Epoch: 3, Primary: "shop-1", Voters: []string{"shop-1"}}})
	r := m.await("an empty server", func(r instance.Report) bool { return r.State == instance.StateRunning })
	if !r.Blank || r.Restored || r.Restore != nil || r.Executed != "" {
		t.Errorf("it came up as %+v", r)
	}
}

// TestRestoredDataAreNotThrownAway: that mysqld does not start with them is told, and what may have taken hours stays.
func TestRestoredDataAreNotThrownAway(t *testing.T) {
	m := broken(t, state.State{Restore: &state.Restore{Cluster: "c"}})
	m.start()
	r := m.await("several starts", func(r instance.Report) bool { return r.Starts > 3 })
	if r.ProblemReason != instance.ProblemStartFailed || !r.Restored || !r.Blank {
		t.Errorf("it says %+v", r)
	}
	if _, err := os.Stat(filepath.Join(m.root, "data", "ibdata1")); err != nil {
		t.Error(err)
	}
}

// TestWhatIsToBeRestoredIsChecked: an agent does not begin with a restore that it does not understand.
func TestWhatIsToBeRestoredIsChecked(t *testing.T) {
	volume, now := instance.Store{Volume: true}, time.Now()
	for why, duty := range map[string]instance.RestoreDuty{
		"of which cluster":         {Store: volume},
		"from where":               {Cluster: "c"},
		"from one bucket":          {Cluster: "c", Store: instance.Store{Volume: true, S3: &instance.S3Store{Bucket: "b"}}},
		"last transaction":         {Cluster: "c", Store: volume, Through: "x"},
		"first transaction":        {Cluster: "c", Store: volume, Before: "x"},
		"must be one transaction":  {Cluster: "c", Store: volume, Through: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-2"},
		"more than one target":     {Cluster: "c", Store: volume, Time: &now, Before: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1"},
		"a first one to leave out": {Cluster: "c", Store: volume, Through: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1", Before: "3e11fa47-71ca-11e1-9e33-c80aa9429562:2"},
	} {
		_, err := agent.New(agent.Options{Instance: "shop-0", Restore: agent.RestoreOptions{Duty: &duty}}, nil, nil)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func targetOf(m pasts.Moment) backup.Target { return backup.Target{Through: m.GTID} }

func key(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}
