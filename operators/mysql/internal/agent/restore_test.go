package agent_test

import (
	"database/sql"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/pasts"
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
	c := begins(t, p, instance.RestoreDuty{Through: want.GTID.String()})
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
	first.await("a restore", func(r instance.Report) bool {
		return r.Restore != nil && (r.Restore.State == instance.RestoreUnpacking || r.Restore.State == instance.RestoreReplaying)
	})
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
	second.await("an empty server", func(r instance.Report) bool { return r.State == instance.StateRunning && r.Blank && !r.Restored })

	d := c.primary(0, true, second)
	d.Primary.Bootstrap = true
	d.Users = append(d.Users, instance.User{Name: "auditor", Access: instance.AccessReadOnly})
	if err := os.WriteFile(filepath.Join(first.usersDir, "auditor"), []byte(appPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	c.obey(first, d)
	db := c.app(first)
	if got := written(t, open(t, first, "auditor", appPassword, "shop")); got != want.State {
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
	m.halt()
	m.restore = agent.RestoreOptions{}
	m.start()
	r = m.await("a problem", func(r instance.Report) bool { return r.Problem != "" })
	if r.Starts > 0 || !strings.Contains(r.Problem, "restore") {
		t.Errorf("%d starts, %s", r.Starts, r.Problem)
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
