package agent_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// heavy is a load of many sessions with rows of a hundred bytes to two megabytes, and changes of the schema between them.
type heavy struct {
	target atomic.Pointer[sql.DB]
	stop   chan struct{}
	done   sync.WaitGroup

	mu    sync.Mutex
	acked map[int64]bool
	next  int64
}

// load starts n sessions on a member.
func load(t *testing.T, c *cluster, p *member, n int) *heavy {
	t.Helper()
	h := &heavy{stop: make(chan struct{}), acked: map[int64]bool{}, next: time.Now().UnixNano()}
	h.target.Store(c.app(p))
	if _, err := h.target.Load().ExecContext(t.Context(), "CREATE TABLE heavy (id BIGINT PRIMARY KEY, note LONGBLOB)"); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		rng := rand.New(rand.NewPCG(uint64(i), 5))
		h.done.Go(func() { h.repeat(func(ctx context.Context) { h.insert(ctx, rng) }) })
	}
	h.done.Go(func() { h.repeat(h.schema()) })
	return h
}

func (h *heavy) repeat(do func(context.Context)) {
	for {
		select {
		case <-h.stop:
			return
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		do(ctx)
		cancel()
		time.Sleep(5 * time.Millisecond)
	}
}

// insert writes a row and remembers whether that was acknowledged.
func (h *heavy) insert(ctx context.Context, rng *rand.Rand) {
	h.mu.Lock()
	h.next++
	id := h.next
	h.mu.Unlock()
	size := 100 << rng.IntN(8)
	if rng.IntN(40) == 0 {
		size = 1<<20 + rng.IntN(1<<20)
	}
	_, err := h.target.Load().ExecContext(ctx, "INSERT INTO heavy (id, note) VALUES (?, REPEAT('k', ?))", id, size)
	if err == nil {
		h.mu.Lock()
		h.acked[id] = true
		h.mu.Unlock()
	}
}

// schema returns the next change of the schema at every call.
func (h *heavy) schema() func(context.Context) {
	n := 0
	return func(ctx context.Context) {
		n++
		for _, statement := range []string{
			"CREATE TABLE IF NOT EXISTS schema_%d (id BIGINT PRIMARY KEY AUTO_INCREMENT, a INT)", "INSERT INTO schema_%d (a) VALUES (1), (2)",
			"ALTER TABLE schema_%d ADD COLUMN b INT DEFAULT 7", "CREATE INDEX by_a ON schema_%d (a)", "ALTER TABLE schema_%d FORCE",
			"TRUNCATE TABLE schema_%d", "DROP TABLE schema_%d",
		} {
			if _, err := h.target.Load().ExecContext(ctx, fmt.Sprintf(statement, n)); err != nil {
				return
			}
		}
	}
}

func (h *heavy) finish() map[int64]bool {
	close(h.stop)
	h.done.Wait()
	return h.acked
}

// rejoin is what a former primary is told whose mysqld does not run.
func (c *cluster) rejoin(p *member) instance.Directive {
	r := p.await("lead", func(r instance.Report) bool {
		return r.Role == instance.RolePrimary && r.Epoch == c.epoch && r.ServerUUID != ""
	})
	return instance.Directive{
		Role: instance.RoleStandby, Record: instance.Record{Epoch: c.epoch, Primary: p.name, Voters: []string{"shop-0", "shop-1", "shop-2"}},
		Rejoin: &instance.RejoinDuty{
			Source: p.name, ServerUUID: r.ServerUUID, Holds: set(c.t, r.Received).Without(r.ServerUUID).String(),
		},
	}
}

// TestRejoinWithoutRebuilding kills the primary under heavy load again and again. Each time it comes back as a follower
// without CLONE, and nothing that was acknowledged is ever missing anywhere.
func TestRejoinWithoutRebuilding(t *testing.T) {
	c := bootstrap(t, 3)
	primary := c.members[0]
	h := load(t, c, primary, 16)
	rng := rand.New(rand.NewPCG(3, 7))
	var trimmed, cloned []time.Duration
	removed, rounds, late := uint64(0), 0, 0
	for begun := time.Now(); time.Since(begun) < 70*time.Second; rounds++ {
		old, voters := primary, without(c.members, primary)
		time.Sleep(time.Duration(300+rng.IntN(700)) * time.Millisecond)
		if rounds%2 == 0 {
			// Nobody listens any more, so that commits hang.
			c.epoch++
			for _, m := range voters {
				c.obey(m, instance.Directive{Role: instance.RoleStandby})
			}
			old.await("have commits wait", func(r instance.Report) bool { return r.WaitingCommits > 0 })
			time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
			c.epoch--
		}
		uuid, archives := old.report().ServerUUID, len(old.report().Archives)
		old.kill()
		killed := time.Now()
		old.await("report the death", func(r instance.Report) bool { return r.State != instance.StateRunning })
		// The operator commits the new epoch before it tells anybody, and the dead one hears of it then.
		c.epoch++
		c.tell(old, instance.Directive{Role: instance.RoleStandby, Record: instance.Record{Epoch: c.epoch, Primary: voters[0].name}})
		c.epoch--
		primary = c.failOver(t, voters, 1)
		h.target.Store(open(t, primary, appUser, appPassword, "shop_db"))
		c.obey(primary, c.primary(1, true, without(c.members, primary)...))
		clone := rounds%4 == 3
		if !clone {
			c.tell(old, c.rejoin(primary))
		}
		back := old.await("come back", func(r instance.Report) bool { return r.State == instance.StateRunning && r.Executed != "" })
		excess := set(t, back.Executed).Without(primary.report().ServerUUID).Subtract(set(t, primary.report().Received))
		if back.Rejoin == nil && !excess.IsEmpty() {
			// A starved machine has told it too late, so it came up as it was: then CLONE is the way.
			late++
			clone = true
		}
		if clone {
			c.obey(old, c.clone(primary, old, "for comparison"))
		} else {
			if back.Rejoin != nil && (back.Rejoin.Doubt != "" || !back.Rejoin.Done) || !excess.IsEmpty() {
				t.Fatalf("round %d: it came back as %+v, with %s too much", rounds, back.Rejoin, excess)
			}
			if back.Rejoin != nil {
				removed += back.Rejoin.Count
				if back.ServerUUID == uuid {
					t.Error("the server kept its UUID, so that it would give the removed numbers again")
				}
				// Either writer may have been the one that waited.
				checkArchive(t, back.Archives, uuid, "heavy", "schema_")
			} else if rounds%2 == 0 {
				t.Errorf("round %d: commits were waiting, and nothing was removed; archives before %d, now %v", rounds, archives, back.Archives)
			}
		}
		c.obey(old, c.replica(primary, old, true))
		old.await("follow", func(r instance.Report) bool { return r.Receiver.Connected })
		if took := time.Since(killed); clone {
			cloned = append(cloned, took)
		} else {
			trimmed = append(trimmed, took)
		}
	}
	acked := h.finish()
	t.Logf("%d rounds, %d of them told too late, %d acknowledged rows, %d transactions removed", rounds, late, len(acked), removed)
	if removed == 0 {
		t.Error("no round removed anything: either the machine is too slow to tell in time, or rejoining does nothing")
	}
	t.Logf("from SIGKILL to following: removing the tail %s; by CLONE %s", spread(trimmed), spread(cloned))
	c.sameEverywhere(t, primary, acked)
}

// spread writes a distribution.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "never"
	}
	slices.Sort(all)
	at := func(p int) time.Duration { return all[(len(all)-1)*p/100].Round(time.Millisecond) }
	return fmt.Sprintf("n=%d min %v, median %v, p95 %v, max %v", len(all), at(0), at(50), at(95), at(100))
}

// sameEverywhere compares all members: the same transactions, the same content, and every acknowledged row.
func (c *cluster) sameEverywhere(t *testing.T, primary *member, acked map[int64]bool) {
	t.Helper()
	const executed = `SELECT REPLACE(@@GLOBAL.gtid_executed, '\n', '')`
	want := primary.mysql(t, executed)
	tables := strings.Fields(primary.mysql(t, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop_db' ORDER BY 1"))
	statement := "CHECKSUM TABLE shop_db." + strings.Join(tables, ", shop_db.")
	sums := primary.mysql(t, statement)
	for _, m := range c.members {
		// What the agent's own proofs wrote meanwhile does not matter.
		m.await("have everything", func(r instance.Report) bool { return set(t, r.Executed).Contains(set(t, want)) })
		if got := m.mysql(t, statement); got != sums {
			t.Errorf("%s has other data than %s:\n%s\n%s", m.name, primary.name, got, sums)
		}
		if excess := set(t, m.mysql(t, executed)).Subtract(set(t, primary.mysql(t, executed))); !excess.IsEmpty() {
			t.Errorf("%s holds %s, which %s does not", m.name, excess, primary.name)
		}
		have := map[string]bool{}
		for id := range strings.FieldsSeq(m.mysql(t, "SELECT id FROM shop_db.heavy")) {
			have[id] = true
		}
		lost := 0
		for id := range acked {
			if !have[fmt.Sprint(id)] {
				lost++
			}
		}
		if lost > 0 || len(acked) == 0 {
			t.Errorf("%s lacks %d of %d acknowledged rows", m.name, lost, len(acked))
		}
	}
}
