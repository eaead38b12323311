package agent_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/objectstore/folder"
)

// stored founds a cluster of the first two of n members, has it archive and take a full backup, and write before and after it.
func stored(t *testing.T, n int) (c *cluster, primary, taker *member) {
	t.Helper()
	c = newCluster(t, n)
	primary, taker = c.members[0], c.members[1]
	c.found(primary, taker)
	c.fill(t, primary, 1, 200)
	c.obey(primary, archiving(c.primary(1, true, taker), nil))
	c.takeFull(primary, taker, func() instance.Directive { return c.replica(primary, taker, true) }, nil, "first")
	c.fill(t, primary, 201, 300)
	c.awaitStored(t, primary)
	return c, primary, taker
}

// fill writes rows.
func (c *cluster) fill(t *testing.T, p *member, from, to int) {
	t.Helper()
	db := c.app(p)
	for id := from; id <= to; id++ {
		if _, err := db.ExecContext(t.Context(), "INSERT INTO orders VALUES (?, ?)", id, fmt.Sprintf("order %d", id)); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitStored waits until all that a member has executed is archived.
func (c *cluster) awaitStored(t *testing.T, p *member) {
	t.Helper()
	dir, err := folder.Open(p.volume)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	awaitArchived(t, dir, set(t, p.mysql(t, "SELECT REPLACE(@@gtid_executed, '\n', '')")))
}

// seed is the directive to become a replica of p, from a backup if that can be.
func (c *cluster) seed(p, m *member) instance.Directive {
	d := c.clone(p, m, "it holds no data yet")
	d.Clone.Seed = &instance.SeedDuty{Store: instance.Store{Volume: true}, Cluster: clusterUID}
	return d
}

// joins waits for a blank member, and has the primary admit it beside others.
func (c *cluster) joins(p, m *member, acks int, others ...*member) {
	c.t.Helper()
	m.await("an empty server", func(r instance.Report) bool {
		return r.State == instance.StateRunning && r.Blank && r.SealingKey != nil
	})
	c.obey(p, archiving(c.primary(acks, true, append(others, m)...), nil))
}

// follows has a member that was made follow p, and compares what both hold.
func (c *cluster) follows(t *testing.T, p, m *member) {
	t.Helper()
	c.obey(m, c.replica(p, m, true))
	m.await("hold what the primary holds", func(r instance.Report) bool { return r.Executed == p.report().Executed })
	if got, want := m.mysql(t, content), p.mysql(t, content); got != want {
		t.Errorf("%s holds %s, and %s holds %s", m.name, got, p.name, want)
	}
	for _, left := range []string{"data.seed", "data.seed.restoring", "tmp.seed"} {
		if _, err := os.Stat(filepath.Join(m.root, left)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", left, err)
		}
	}
}

// TestAReplicaIsMadeFromABackup: it restores while the primary goes on, puts nothing into place that is not whole, and follows from there.
func TestAReplicaIsMadeFromABackup(t *testing.T) {
	c, primary, taker := stored(t, 3)
	m := c.members[2]
	m.start()
	c.joins(primary, m, 1, taker)
	before := m.report().ServerUUID
	id := c.tell(m, c.seed(primary, m))
	r := m.await("restore", func(r instance.Report) bool {
		return r.State == instance.StateCloning && r.Seed != nil && (r.Seed.State == instance.RestoreUnpacking || r.Seed.State == instance.RestoreReplaying)
	})
	if !r.Blank || r.Restore != nil || !strings.HasPrefix(r.Seed.Plan, "full backup first and ") || r.Seed.Of == 0 {
		t.Errorf("at work it says %s, blank %t, %+v", r.State, r.Blank, r.Seed)
	}
	// What is written meanwhile is not in the archive when the restore reads it.
	c.fill(t, primary, 301, 350)
	r = m.await("be made", func(r instance.Report) bool { return r.Directive == id && r.Converged })
	if r.Blank || r.Seed == nil || r.Seed.State != instance.RestoreDone || !set(t, primary.report().Executed).Contains(set(t, r.Executed)) || r.Executed != r.Seed.Holds {
		t.Errorf("made: blank %t, executed %s, %+v", r.Blank, r.Executed, r.Seed)
	}
	for _, other := range []string{before, primary.report().ServerUUID, taker.report().ServerUUID} {
		if r.ServerUUID == other {
			t.Errorf("it goes on as server %s", other)
		}
	}
	c.follows(t, primary, m)

	// It is as good as any: another agent on its volume goes on with it, and it can be the primary.
	m.halt()
	m.start()
	m.await("the same data", func(r instance.Report) bool { return r.State == instance.StateRunning && !r.Blank && r.Seed == nil })
	c.obey(primary, archiving(c.primary(1, true, taker, m), nil))
	c.obey(m, c.replica(primary, m, true))
	primary.kill()
	primary.await("report the death", func(r instance.Report) bool { return r.State != instance.StateRunning })
	next := c.failOver(t, []*member{m, taker}, 1)
	c.fill(t, next, 351, 360)
}

// TestASeedOutlivesAFailover: what is restored is of the cluster's history and not of one primary's, so that a failover costs none of it. Whether it
// fits is asked the primary that it will follow, whatever the directive says of backups by then.
func TestASeedOutlivesAFailover(t *testing.T) {
	c, primary, taker := stored(t, 3)
	m := c.members[2]
	m.start()
	c.joins(primary, m, 1, taker)
	c.tell(m, c.seed(primary, m))
	m.await("restore", func(r instance.Report) bool {
		return r.State == instance.StateCloning && r.Seed != nil && r.Seed.State != instance.RestorePlanning
	})
	primary.kill()
	primary.await("report the death", func(r instance.Report) bool { return r.State != instance.StateRunning })
	c.epoch++
	c.obey(taker, instance.Directive{Role: instance.RoleStandby})
	id := c.tell(m, instance.Directive{Role: instance.RoleStandby})
	r := m.await("be told of the next epoch", func(r instance.Report) bool { return r.Directive == id })
	if r.State != instance.StateCloning {
		t.Errorf("it was told too late to prove anything: %s", r.State)
	}
	c.obey(taker, c.primary(0, true, m))
	m.await("have restored", func(r instance.Report) bool { return r.State == instance.StateRunning && r.Blank })
	r = c.obey(m, c.clone(taker, m, "it holds no data yet"))
	if r.Blank || r.Seed == nil || r.Seed.State != instance.RestoreDone {
		t.Errorf("blank %t, %+v", r.Blank, r.Seed)
	}
	c.follows(t, taker, m)
}

// TestASeedThatIsKilledIsBegunAnew kills the agent, and with it the server that it replays with, while it restores and when it puts what it restored
// into place. What it comes up with is either nothing, or all of it.
func TestASeedThatIsKilledIsBegunAnew(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	c, primary, taker := stored(t, 3)
	m := c.members[2]
	for death := range 2 {
		boot := m.report().Boot
		cmd, tell := m.spawn(t)
		r := m.await("come up", func(r instance.Report) bool {
			return r.Boot != boot && r.State == instance.StateRunning && r.SealingKey != nil
		})
		if !r.Blank {
			// It had got that far; the state of its volume is what counts.
			t.Logf("after %d deaths it is made", death)
		} else if r.Executed != "" {
			t.Errorf("after a death it holds %s and calls it nothing", r.Executed)
		}
		c.obey(primary, archiving(c.primary(1, true, taker, m), nil))
		d := c.seed(primary, m)
		if !r.Blank {
			d = c.replica(primary, m, true)
		}
		tell(c.complete(m, d))
		if r.Blank {
			m.await("restore", func(r instance.Report) bool { return r.Boot != boot && r.Seed != nil || !r.Blank })
		}
		time.Sleep(time.Duration(rng.IntN(2000*(death+1))) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	boot := m.report().Boot
	m.start()
	r := m.await("come up", func(r instance.Report) bool {
		return r.Boot != boot && r.State == instance.StateRunning && r.SealingKey != nil
	})
	c.obey(primary, archiving(c.primary(1, true, taker, m), nil))
	if r.Blank {
		r = c.obey(m, c.seed(primary, m))
		if r.Seed == nil || r.Seed.State != instance.RestoreDone {
			t.Errorf("after two attempts that were cut short: %+v", r.Seed)
		}
	}
	c.follows(t, primary, m)
}

// TestRestoredDataThatWereBeingPutIntoPlace: wherever an agent was killed, the next one goes on from there.
func TestRestoredDataThatWereBeingPutIntoPlace(t *testing.T) {
	for name, left := range map[string]func(data, seed string) error{
		"nothing was done":       func(data, seed string) error { return os.CopyFS(seed, os.DirFS(data)) },
		"some data were removed": func(data, seed string) error { return twice(os.Rename(data, seed), os.MkdirAll(data, 0o700)) },
		"all data were removed":  os.Rename,
		"they were there":        func(string, string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			m := newCluster(t, 1).members[0]
			if err := left(filepath.Join(m.root, "data"), filepath.Join(m.root, "data.seed")); err != nil {
				t.Fatal(err)
			}
			if name == "some data were removed" || name == "nothing was done" {
				if err := os.WriteFile(filepath.Join(m.root, "data", "ibdata1"), []byte("half of another one"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			m.keeps(t, state.State{Term: 1, Promised: 1, Clone: &state.Clone{Source: "shop-1", Archived: true, Begun: true, Seeded: true}, Seed: &state.Seed{Attempts: 1, Whole: true}})
			m.start()
			r := m.await("the restored data", func(r instance.Report) bool { return r.State == instance.StateRunning && !r.Blank })
			if r.Starts != 1 || r.Seed == nil || r.Seed.State != instance.RestoreDone {
				t.Errorf("after %d starts: %+v", r.Starts, r.Seed)
			}
		})
	}
}

func twice(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// keeps writes the state of a member that does not run.
func (m *member) keeps(t *testing.T, s state.State) {
	t.Helper()
	store, _, _, err := state.Open(filepath.Join(m.root, "kapok"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Save(s); err != nil {
		t.Fatal(err)
	}
}

// damage changes a bit of a full backup.
func damage(t *testing.T, volume string) {
	t.Helper()
	dir, err := folder.Open(volume)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	f, found, err := backup.LoadFull(t.Context(), dir, clusterUID, "first")
	if err != nil || !found {
		t.Fatalf("found %t: %v", found, err)
	}
	part := filepath.Join(volume, filepath.FromSlash(backup.PartKey(clusterUID, "first", f.Parts[0].Number)))
	raw, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(part, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAReplicaThatCannotBeSeededIsCloned: whatever is wrong with what is stored, a replica comes of it that holds what the primary holds and nothing
// else, and why it was not made from a backup is told.
func TestAReplicaThatCannotBeSeededIsCloned(t *testing.T) {
	c, primary, taker := stored(t, 8)
	fresh := c.members[2:]
	copied := func(name string) string {
		t.Helper()
		dir := filepath.Join(filepath.Dir(primary.root), name)
		if err := os.CopyFS(dir, os.DirFS(primary.volume)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	others := []*member{taker}
	cloned := func(m *member, reason, problem string) {
		t.Helper()
		m.start()
		c.joins(primary, m, 1, others...)
		others = append(others, m)
		r := c.obey(m, c.seed(primary, m))
		if r.Blank || r.Seed == nil || r.Seed.State != instance.RestoreFailed || reason != "" && r.Seed.ProblemReason != reason || !strings.Contains(r.Seed.Problem, problem) {
			t.Errorf("blank %t, %+v", r.Blank, r.Seed)
		}
		c.follows(t, primary, m)
		m.halt()
		others = without(others, m)
	}

	// A part of the full backup is not what was written.
	m := fresh[0]
	m.volume = copied("damaged")
	damage(t, m.volume)
	cloned(m, "", "unpack part")

	// It is cut short each time.
	m = fresh[1]
	m.keeps(t, state.State{Term: 1, Promised: 1, Seed: &state.Seed{Attempts: 3}})
	cloned(m, instance.ProblemBackupFailed, "cut short 3 times")

	// What was restored holds what nobody knows.
	m = fresh[2]
	foreign := "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"
	m.keeps(t, state.State{Term: 1, Promised: 1, Seed: &state.Seed{Attempts: 1, Whole: true, Holds: foreign}})
	if err := os.Mkdir(filepath.Join(m.root, "data.seed"), 0o700); err != nil {
		t.Fatal(err)
	}
	cloned(m, instance.ProblemUnfit, foreign)

	// mysqld does not start with what was restored.
	m = fresh[3]
	m.keeps(t, state.State{Term: 1, Promised: 1, Seed: &state.Seed{Attempts: 1, Whole: true}, Clone: &state.Clone{Source: primary.name, SourceExecuted: foreign, Begun: true, Seeded: true}})
	seed := filepath.Join(m.root, "data.seed")
	if err := os.Mkdir(seed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(seed, "ibdata1"), []byte("half of another one"), 0o600); err != nil {
		t.Fatal(err)
	}
	cloned(m, instance.ProblemBackupFailed, "did not come up")

	// The binary logs of the primary begin after what is stored ends.
	m = fresh[4]
	m.volume = copied("early")
	c.fill(t, primary, 1001, 1010)
	// Else they would be missing in the other archive as well.
	c.awaitStored(t, primary)
	primary.mysql(t, "FLUSH BINARY LOGS")
	logs := strings.Fields(primary.mysql(t, "SHOW BINARY LOGS"))
	primary.mysql(t, "PURGE BINARY LOGS TO '"+logs[len(logs)-3]+"'")
	cloned(m, instance.ProblemUnfit, "in no binary log any more")

	// What was archived is given up by a forced promotion: the archive holds more than the new primary does.
	c.obey(taker, instance.Directive{Role: instance.RoleStandby})
	c.obey(primary, archiving(c.primary(0, true), nil))
	c.fill(t, primary, 2001, 2010)
	c.awaitStored(t, primary)
	primary.halt()
	c.epoch++
	gone := primary
	primary, others = taker, nil
	c.obey(primary, archiving(c.primary(0, true), nil))
	c.fill(t, primary, 3001, 3010)
	cloned(fresh[5], instance.ProblemUnfit, "that "+primary.name+" does not have: "+gone.report().ServerUUID)
}
