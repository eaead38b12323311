package agent_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/errant"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/trim"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	shared "github.com/kapok-operators/kapok/shared/agent"
)

// hang has writers wait on the primary: its followers stop to listen, in the next epoch.
func (c *cluster) hang(p *member, waiting int, statements ...string) {
	c.t.Helper()
	c.epoch++
	for _, m := range without(c.members, p) {
		c.obey(m, instance.Directive{Role: instance.RoleStandby})
	}
	c.epoch--
	for _, statement := range statements {
		go func() { _, _ = p.tryMysql(c.t, statement) }()
		// One after the other, so that each of them has its place in the log.
		time.Sleep(100 * time.Millisecond)
	}
	p.await("have commits wait", func(r instance.Report) bool { return r.WaitingCommits >= waiting })
}

// succeed promotes a member while the old primary is down.
func (c *cluster) succeed(old, next *member) {
	c.t.Helper()
	old.kill()
	old.await("report the death", func(r instance.Report) bool { return r.State != instance.StateRunning })
	c.epoch++
	c.obey(next, c.primary(1, true, without(c.members, next)...))
}

// TestRejoinFallsBack leads a former primary into everything that makes CLONE the way.
func TestRejoinFallsBack(t *testing.T) {
	c := bootstrap(t, 2)
	p, next := c.members[0], c.members[1]
	c.app(p)
	// again makes the first of the two the primary anew, and the other one its replica.
	again := func(t *testing.T) {
		t.Helper()
		c.epoch++
		c.obey(next, instance.Directive{Role: instance.RoleStandby})
		next.await("stand by", func(r instance.Report) bool {
			return r.State == instance.StateRunning && r.Role == instance.RoleStandby
		})
		c.obey(p, c.primary(0, true, next))
		c.obey(next, c.clone(p, next, "the next part of the test"))
		c.obey(next, c.replica(p, next, true))
		c.obey(p, c.primary(1, true, next))
		next.await("acknowledge", func(r instance.Report) bool { return r.Acknowledging })
	}
	// rebuild goes the way of CLONE and returns the archive.
	rebuild := func(t *testing.T) string {
		t.Helper()
		r := c.obey(p, c.clone(next, p, "in doubt"))
		c.obey(p, c.replica(next, p, true))
		p.await("follow", func(r instance.Report) bool { return r.Receiver.Connected })
		if len(r.Archives) == 0 {
			t.Fatal("there is no archive")
		}
		text, err := os.ReadFile(filepath.Join(r.Archives[len(r.Archives)-1], "transactions.txt"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	inDoubt := func(t *testing.T, why string) instance.Report {
		t.Helper()
		r := p.await("come up in doubt", func(r instance.Report) bool {
			return r.State == instance.StateRunning && r.Executed != "" && r.Rejoin != nil && r.Rejoin.Doubt != ""
		})
		if !strings.Contains(r.Rejoin.Doubt, why) {
			t.Errorf("the doubt is %q, want one about %q", r.Rejoin.Doubt, why)
		}
		return r
	}

	t.Run("a database in the tail", func(t *testing.T) {
		c.hang(p, 1, "CREATE DATABASE another")
		c.succeed(p, next)
		c.tell(p, c.rejoin(next))
		r := inDoubt(t, "statement")
		if r.Rejoin.Archive != "" || r.Rejoin.Removed != "" {
			t.Errorf("something was touched: %+v", r.Rejoin)
		}
		if text := rebuild(t); !strings.Contains(text, "another") {
			t.Errorf("the archive does not hold the statement: %s", text)
		}
		again(t)
	})
	t.Run("a tail that was committed, because a member that was not promoted had acknowledged it", func(t *testing.T) {
		before := set(t, p.report().Executed)
		if _, err := open(t, p, appUser, appPassword, "shop_db").ExecContext(t.Context(), "INSERT INTO orders VALUES (77, 'acknowledged elsewhere')"); err != nil {
			t.Fatal(err)
		}
		p.await("have committed", func(r instance.Report) bool { return !before.Contains(set(t, r.Executed)) })
		c.hang(p, 1, "INSERT INTO shop_db.orders VALUES (78, 'only here')")
		p.kill()
		p.await("report the death", func(r instance.Report) bool { return r.State != instance.StateRunning })
		// As if another one had been promoted than the one that acknowledged.
		c.epoch++
		c.obey(next, c.primary(0, true, p))
		d := c.rejoin(next)
		d.Rejoin.Holds = before.String()
		c.tell(p, d)
		r := inDoubt(t, "committed already")
		if set(t, r.Executed).IsSubset(before) {
			t.Errorf("it executed %s, which tells nothing of what was committed", r.Executed)
		}
		if r.Rejoin.Archive == "" {
			t.Error("nothing says where the removed transactions are")
		}
		if text := rebuild(t); !strings.Contains(text, "acknowledged elsewhere") || !strings.Contains(text, "only here") {
			t.Errorf("the archive does not hold both transactions: %s", text)
		}
		again(t)
	})
	t.Run("mysqld was started in between", func(t *testing.T) {
		c.hang(p, 1, "INSERT INTO shop_db.orders VALUES (79, 'recovered')")
		c.succeed(p, next)
		// Nobody said anything in time.
		p.await("come back by itself", func(r instance.Report) bool { return r.State == instance.StateRunning && r.Executed != "" })
		p.kill()
		p.await("report the death", func(r instance.Report) bool { return r.State != instance.StateRunning })
		c.tell(p, c.rejoin(next))
		r := p.await("come back", func(r instance.Report) bool { return r.State == instance.StateRunning && r.Executed != "" })
		if r.Rejoin != nil && r.Rejoin.Removed != "" {
			t.Errorf("what was committed already was removed: %+v", r.Rejoin)
		}
		if text := rebuild(t); !strings.Contains(text, "recovered") {
			t.Errorf("the archive does not hold the transaction: %s", text)
		}
	})
}

// TestRejoinGoesOnAfterTheAgentWasKilled ends the agent after each step that it keeps on the volume, by doing the steps up
// to there in its place, and starts it anew.
func TestRejoinGoesOnAfterTheAgentWasKilled(t *testing.T) {
	c := bootstrap(t, 2)
	for i, last := range []string{"nothing", "the archive", "the decision", "the cut", "the name", "the mark"} {
		t.Run("after "+last, func(t *testing.T) {
			p := c.members[i%2]
			next := c.members[1-i%2]
			c.app(p)
			c.hang(p, 1, "INSERT INTO shop_db.orders VALUES (5"+string(rune('0'+i))+", 'nobody knows')")
			uuid := p.report().ServerUUID
			c.succeed(p, next)
			d := c.rejoin(next)
			p.halt()
			p.stepsUpTo(t, d, last, uuid)
			p.start()
			if last == "nothing" || last == "the archive" {
				c.tell(p, d)
			}
			// An agent that comes up is told again what to be, as its operator does.
			r := p.await("come back", func(r instance.Report) bool { return r.State == instance.StateRunning && r.Executed != "" })
			if excess := set(t, r.Executed).Without(next.report().ServerUUID).Subtract(set(t, d.Rejoin.Holds)); !excess.IsEmpty() {
				t.Errorf("it came back with %s too much", excess)
			}
			if r.ServerUUID == uuid {
				t.Error("it kept its name")
			}
			if r.Rejoin == nil || !r.Rejoin.Done || r.Rejoin.Count != 1 {
				t.Errorf("it says of its return: %+v", r.Rejoin)
			}
			checkArchive(t, r.Archives, uuid, "nobody knows")
			c.obey(next, c.primary(1, true, p))
			c.obey(p, c.replica(next, p, true))
			p.await("follow", func(r instance.Report) bool { return r.Receiver.Connected && r.Acknowledging })
			if rows := p.mysql(t, "SELECT COUNT(*) FROM shop_db.orders WHERE note = 'nobody knows'"); rows != "0" {
				t.Errorf("%s rows are there that nobody acknowledged", rows)
			}
		})
	}
}

// stepsUpTo does to a member's volume what its agent does on its way back, up to a step.
func (m *member) stepsUpTo(t *testing.T, d instance.Directive, last, uuid string) {
	t.Helper()
	steps := []string{"the archive", "the decision", "the cut", "the name", "the mark"}
	done := slices.Index(steps, last)
	store, s, _, err := state.Open(filepath.Join(m.root, "kapok"))
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(m.root, "data")
	tail, err := trim.Survey(data, trim.Known{Own: uuid, Source: d.Rejoin.ServerUUID, Holds: set(t, d.Rejoin.Holds)})
	if err != nil || tail.Removed.Count() != 1 {
		t.Fatalf("the tail is %+v, %v", tail, err)
	}
	next := state.Rejoin{
		Phase: state.PhaseArchived, Epoch: d.Epoch, Source: d.Rejoin.Source, ServerUUID: d.Rejoin.ServerUUID, Holds: d.Rejoin.Holds,
		File: filepath.Base(tail.File), Position: tail.Position, Size: tail.Size, Removed: tail.Removed.String(),
	}
	if done >= 0 {
		next.Archive, err = errant.ArchiveTail(t.Context(), errant.Request{
			Root: filepath.Join(m.root, "kapok", "archive"), Set: tail.Removed, Decoder: filepath.Join(filepath.Dir(m.mysqld), "mysqlbinlog"),
			Supervisor: &shared.Supervisor{}, Instance: m.name, ServerUUID: uuid, Source: d.Rejoin.Source, Why: "test", At: time.Now(),
		}, errant.Tail{Path: tail.File, Preamble: tail.Preamble, Position: tail.Position, End: tail.End, Size: tail.Size})
		if err != nil {
			t.Fatal(err)
		}
	}
	if done >= 1 {
		s.Promised, s.Rejoin = d.Epoch, &next
	}
	if done >= 2 {
		if err := trim.Cut(tail.File, tail.Position, tail.Size); err != nil {
			t.Fatal(err)
		}
	}
	if done >= 3 {
		if err := os.Remove(filepath.Join(data, "auto.cnf")); err != nil {
			t.Fatal(err)
		}
	}
	if done >= 4 {
		next.Phase, s.Recovered = state.PhaseRemoved, s.Served
	}
	if err := store.Save(s); err != nil {
		t.Fatal(err)
	}
}
