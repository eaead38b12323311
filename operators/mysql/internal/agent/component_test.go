package agent_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/errant"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// failOver does what the operator does when a primary died: stop the receivers of all others, take the most advanced one,
// promote it and have the rest follow.
func (c *cluster) failOver(t *testing.T, voters []*member, acks int) *member {
	t.Helper()
	c.epoch++
	ids := make([]string, len(voters))
	for i, m := range voters {
		ids[i] = c.tell(m, instance.Directive{Role: instance.RoleStandby})
	}
	best := voters[0]
	for i, m := range voters {
		r := m.await("be fenced", func(r instance.Report) bool { return r.Directive == ids[i] && r.Converged })
		if r.Receiver.Running || r.Serving {
			t.Fatalf("%s says that it is fenced and is not: %+v", m.name, r)
		}
		if set(t, r.Received).Contains(set(t, best.report().Received)) {
			best = m
		}
	}
	rest := without(voters, best)
	c.obey(best, c.primary(acks, true, rest...))
	for _, m := range rest {
		c.tell(m, c.replica(best, m, true))
	}
	return best
}

// without returns all members but one.
func without(all []*member, one *member) []*member {
	return slices.DeleteFunc(slices.Clone(all), func(m *member) bool { return m == one })
}

// TestLifeOfACluster leads three real servers through everything that happens to a cluster, with the test as the operator
// and clients that write all the time. The steps build on each other.
func TestLifeOfACluster(t *testing.T) {
	begun := time.Now()
	c := bootstrap(t, 3)
	t.Logf("three members from blank volumes: %v", time.Since(begun).Round(time.Millisecond))
	primary := c.members[0]
	var target atomic.Pointer[sql.DB]
	target.Store(c.app(primary))
	w := write(t, 4, target.Load)
	w.awaitRows(t, 50)

	step := func(name string, f func(t *testing.T)) {
		t.Helper()
		if !t.Run(name, f) {
			t.FailNow()
		}
	}
	step("a killed primary's death is told at once and another takes over", func(t *testing.T) {
		old, killed := primary, time.Now()
		old.kill()
		old.await("report the death", func(r instance.Report) bool { return r.State != instance.StateRunning })
		t.Logf("death told after %v", time.Since(killed).Round(100*time.Microsecond))
		primary = c.failOver(t, without(c.members, old), 1)
		t.Logf("promoted after %v", time.Since(killed).Round(100*time.Microsecond))
		target.Store(c.app(primary))
		t.Logf("first acknowledged write after %v", w.awaitRows(t, 1).Sub(killed).Round(100*time.Microsecond))
		back := old.await("come back", func(r instance.Report) bool { return r.State == instance.StateRunning })
		if back.Serving || back.Role == instance.RolePrimary || back.Directive != "" {
			t.Errorf("the old primary came back with an office: role %q, serving %v", back.Role, back.Serving)
		}
	})
	step("I6 errant transactions are archived before the data are replaced", func(t *testing.T) {
		old := without(without(c.members, primary), other(c, primary))[0]
		// The agent closes again what is opened by hand, so that it may need more than one attempt.
		for attempt := 0; ; attempt++ {
			_, err := old.tryMysql(t, "SET GLOBAL super_read_only=OFF; CREATE TABLE IF NOT EXISTS shop_db.errant (note VARCHAR(40)); "+
				"INSERT INTO shop_db.errant VALUES ('only here')")
			if err == nil {
				break
			}
			if attempt == 50 {
				t.Fatal(err)
			}
		}
		c.obey(primary, c.primary(1, true, without(c.members, primary)...))
		uuid := old.report().ServerUUID
		before := old.await("show its errant transactions", func(r instance.Report) bool {
			return !set(t, r.Executed).Subtract(set(t, primary.report().Executed)).IsEmpty()
		})
		errantSet := set(t, before.Executed).Subtract(set(t, primary.report().Executed))
		r := c.obey(old, c.clone(primary, old, "errant transactions"))
		if r.Blank || !set(t, r.Executed).Intersect(errantSet).IsEmpty() {
			t.Errorf("after the clone: blank %v, executed %s", r.Blank, r.Executed)
		}
		if r.ServerUUID == uuid {
			t.Error("the rebuilt server kept its UUID: it would number new transactions like the errant ones")
		}
		checkArchive(t, r.Archives, uuid, "only here")
		c.obey(old, c.replica(primary, old, false))
		r = old.await("follow", func(r instance.Report) bool { return r.Receiver.Connected })
		if r.Acknowledging {
			t.Error("a member that is told to be silent acknowledges")
		}
		c.obey(old, c.replica(primary, old, true))
		old.await("acknowledge", func(r instance.Report) bool { return r.Receiver.Connected && r.Acknowledging })
	})
	step("a switchover under load loses nothing and restarts nobody", func(t *testing.T) {
		old, next := primary, other(c, primary)
		starts := old.report().Starts
		next.await("be close behind", func(r instance.Report) bool {
			return set(t, old.report().Executed).Subtract(set(t, r.Executed)).Count() < 200
		})
		begin := time.Now()
		drained := c.obey(old, instance.Directive{Role: instance.RoleDrain})
		if !drained.Drained || drained.Serving || drained.WaitingCommits != 0 {
			t.Fatalf("drained without being so: %+v", drained)
		}
		next.await("hold everything", func(r instance.Report) bool {
			return set(t, r.Received).Contains(set(t, drained.Executed))
		})
		c.epoch++
		rest := without(c.members, next)
		c.obey(next, c.primary(1, true, rest...))
		for _, m := range rest {
			c.tell(m, c.replica(next, m, true))
		}
		target.Store(c.app(next))
		t.Logf("switched over, first write after %v", w.awaitRows(t, 1).Sub(begin).Round(100*time.Microsecond))
		primary = next
		follows := old.await("follow", func(r instance.Report) bool { return r.Role == instance.RoleReplica && r.Receiver.Connected })
		if follows.Starts != starts {
			t.Error("a drained primary was restarted to become a replica")
		}
	})
	step("I2 a former source that is primary again at once waits for acknowledgements", func(t *testing.T) {
		last, next := primary, other(c, primary)
		drained := c.obey(last, instance.Directive{Role: instance.RoleDrain})
		next.await("hold everything", func(r instance.Report) bool {
			return set(t, r.Received).Contains(set(t, drained.Executed))
		})
		c.epoch++
		r := c.obey(next, c.primary(1, true))
		if r.Acks != 1 || !r.Serving {
			t.Errorf("acks %d, serving %v", r.Acks, r.Serving)
		}
		target.Store(open(c.t, next, appUser, appPassword, "shop_db"))
		before, _ := w.count()
		next.await("have commits wait", func(r instance.Report) bool { return r.WaitingCommits > 0 })
		time.Sleep(300 * time.Millisecond)
		if after, _ := w.count(); after != before {
			t.Errorf("%d rows were acknowledged by nobody", after-before)
		}
		rest := without(c.members, next)
		c.obey(next, c.primary(1, true, rest...))
		for _, m := range rest {
			c.tell(m, c.replica(next, m, true))
		}
		w.awaitRows(t, 10)
		primary = next
	})
	step("an aborted switchover goes on as before", func(t *testing.T) {
		c.obey(primary, instance.Directive{Role: instance.RoleDrain})
		r := c.obey(primary, c.primary(1, true, without(c.members, primary)...))
		if !r.Serving || r.Drained {
			t.Errorf("serving %v, drained %v", r.Serving, r.Drained)
		}
		w.awaitRows(t, 10)
	})
	step("I2 who is not admitted cannot acknowledge", func(t *testing.T) {
		stays := other(c, primary)
		out := without(without(c.members, primary), stays)[0]
		c.obey(primary, c.primary(1, true, stays))
		r := primary.await("be rid of the member", func(r instance.Report) bool {
			return slices.Equal(r.Admitted, []string{stays.name}) && slices.Equal(r.Attached, []string{stays.name})
		})
		if _, ok := r.Credentials[out.name]; ok {
			t.Error("a member that is out still has a credential")
		}
		out.await("be locked out", func(r instance.Report) bool { return !r.Receiver.Connected && r.Receiver.ErrorNumber != 0 })
		w.awaitRows(t, 10)
		c.obey(primary, c.primary(1, true, stays, out))
		c.obey(out, c.replica(primary, out, true))
		out.await("be back", func(r instance.Report) bool { return r.Receiver.Connected })
	})
	step("accounts follow the Secret and stay out of the system", func(t *testing.T) {
		file := filepath.Join(primary.usersDir, "reader")
		if err := os.WriteFile(file, []byte("first"), 0o600); err != nil {
			t.Fatal(err)
		}
		duty := c.primary(1, true, without(c.members, primary)...)
		duty.Users = append(duty.Users,
			instance.User{Name: "reader", Access: instance.AccessReadOnly},
			instance.User{Name: "ghost", Access: instance.AccessReadWrite})
		c.tell(primary, duty)
		r := primary.await("miss a key", func(r instance.Report) bool { return r.UserErrors["ghost"] != "" })
		if !strings.Contains(r.UserErrors["ghost"], `no key "ghost"`) || len(r.UserErrors) != 1 {
			t.Errorf("user errors %v", r.UserErrors)
		}
		awaitQuery(t, open(t, primary, "reader", "first", "shop_db"), "SELECT COUNT(*) FROM orders")
		reader := open(t, primary, "reader", "first", "")
		for _, statement := range []string{
			"INSERT INTO shop_db.orders (id) VALUES (1)", "SELECT * FROM mysql.user", "SELECT * FROM kapok_internal.account", "SET GLOBAL offline_mode = ON",
		} {
			if _, err := reader.ExecContext(t.Context(), statement); err == nil {
				t.Errorf("a read-only account may: %s", statement)
			}
		}
		for _, statement := range []string{"DELETE FROM mysql.user", "SET GLOBAL super_read_only = OFF", "DROP DATABASE kapok_internal"} {
			if _, err := target.Load().ExecContext(t.Context(), statement); err == nil {
				t.Errorf("an application account may: %s", statement)
			}
		}
		if err := os.WriteFile(file, []byte("second"), 0o600); err != nil {
			t.Fatal(err)
		}
		awaitQuery(t, open(t, primary, "reader", "second", "shop_db"), "SELECT COUNT(*) FROM orders")
	})
	step("configuration is checked, applied and, where it must be, waits for a restart", func(t *testing.T) {
		replica := other(c, primary)
		duty := c.replica(primary, replica, true)
		duty.Config = map[string]string{"max_connections": "77", "innodb_no_such_option": "1"}
		id := c.tell(replica, duty)
		r := replica.await("refuse the option", func(r instance.Report) bool { return r.Directive == id && r.ConfigError != "" })
		if !strings.Contains(r.ConfigError, "innodb_no_such_option") {
			t.Errorf("the error does not name the option: %q", r.ConfigError)
		}
		duty.Config = map[string]string{"max_connections": "77"}
		id = c.tell(replica, duty)
		replica.await("take the option", func(r instance.Report) bool {
			return r.Directive == id && r.ConfigHash == instance.ConfigHash(duty.Config, pool) && r.ConfigError == "" && !r.RestartNeeded
		})
		if got := replica.mysql(t, "SELECT @@GLOBAL.max_connections"); got != "77" {
			t.Errorf("max_connections is %q", got)
		}
		duty.Config = map[string]string{"max_connections": "77", "innodb_read_io_threads": "2"}
		starts := r.Starts
		c.tell(replica, duty)
		replica.await("need a restart", func(r instance.Report) bool { return r.RestartNeeded })
		duty.Restart = true
		id = c.tell(replica, duty)
		r = replica.await("run with the option", func(r instance.Report) bool {
			return r.Directive == id && r.ConfigHash == instance.ConfigHash(duty.Config, pool) && r.Converged && r.Receiver.Connected
		})
		if got := replica.mysql(t, "SELECT @@GLOBAL.innodb_read_io_threads"); got != "2" || r.Starts != starts+1 {
			t.Errorf("innodb_read_io_threads is %q after %d starts", got, r.Starts-starts)
		}
	})
	step("I5 a primary that sees its quorum goes on without an operator, and one that sees neither ends itself", func(t *testing.T) {
		primary.unlink()
		time.Sleep(2 * lease)
		if r := primary.report(); r.SelfFenced || !r.Serving {
			t.Fatalf("a primary with its quorum gave up: %+v", r)
		}
		w.awaitRows(t, 10)
		c.epoch++
		for _, m := range without(c.members, primary) {
			c.obey(m, instance.Directive{Role: instance.RoleStandby})
		}
		cut := time.Now()
		r := primary.await("fence itself", func(r instance.Report) bool { return r.SelfFenced })
		took := time.Since(cut)
		t.Logf("fenced itself after %v", took.Round(time.Millisecond))
		if r.ProblemReason != instance.ProblemIsolated || took > lease+time.Second {
			t.Errorf("after %v: %s", took, r.ProblemReason)
		}
		if r.Serving || r.State == instance.StateRunning {
			t.Errorf("it says that it fenced itself, and %s, serving %v", r.State, r.Serving)
		}
		r = primary.await("come back closed", func(r instance.Report) bool { return r.State == instance.StateRunning })
		if r.Serving || r.Role != "" {
			t.Errorf("it came back with an office: %+v", r)
		}
	})
	step("I7 a primary that may not serve yet takes members and no client", func(t *testing.T) {
		voters := without(c.members, primary)
		for _, m := range voters {
			m.await("apply everything", func(r instance.Report) bool { return r.Executed == r.Received })
		}
		best, rest := voters[0], voters[1]
		if set(t, rest.report().Executed).Contains(set(t, best.report().Executed)) {
			best, rest = rest, best
		}
		r := c.obey(best, c.primary(1, false, rest))
		if r.Serving {
			t.Error("it serves")
		}
		c.obey(rest, c.replica(best, rest, true))
		rest.await("attach", func(r instance.Report) bool { return r.Receiver.Connected })
		_, err := open(t, best, appUser, appPassword, "shop_db").ExecContext(t.Context(), "SELECT 1")
		if err == nil || !strings.Contains(err.Error(), "offline mode") {
			t.Errorf("a client got in: %v", err)
		}
		c.obey(best, c.primary(1, true, rest))
		primary = best
		target.Store(c.app(primary))
		w.awaitRows(t, 10)
	})
	acked := w.finish()
	checkRows(t, target.Load(), acked)
	replica := other(c, primary)
	replica.await("have everything", func(r instance.Report) bool {
		return set(t, r.Executed).Contains(set(t, primary.report().Executed))
	})
	checkRows(t, open(t, replica, appUser, appPassword, "shop_db"), acked)
	t.Logf("%d acknowledged rows, all there", len(acked))
}

// awaitQuery waits until a statement succeeds.
func awaitQuery(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		_, err := db.ExecContext(t.Context(), statement)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", statement, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// lease is the lease that the tests' directives give.
const lease = 3 * time.Second

// other returns the first member that follows p.
func other(c *cluster, p *member) *member {
	c.t.Helper()
	for _, m := range without(c.members, p) {
		if m.report().Role == instance.RoleReplica {
			return m
		}
	}
	for _, m := range without(c.members, p) {
		if m.report().Role == instance.RoleStandby {
			return m
		}
	}
	c.t.Fatal("nobody follows " + p.name)
	return nil
}

// mysql runs statements over the socket, as a person inside the container can.
func (m *member) mysql(t *testing.T, statements string) string {
	t.Helper()
	out, err := m.tryMysql(t, statements)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tryMysql is mysql for statements that may fail.
func (m *member) tryMysql(t *testing.T, statements string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := filepath.Join(filepath.Dir(server(t)), "mysql")
	out, err := exec.CommandContext(ctx, client, "--no-defaults", "-uroot", "-N", "-B", "-S", filepath.Join(m.runDir, "mysqld.sock"), "-e", statements).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("mysql on %s: %w: %s", m.name, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// checkArchive fails unless the newest archive holds one of the texts, raw, decoded and described.
func checkArchive(t *testing.T, archives []string, uuid string, texts ...string) {
	t.Helper()
	if len(archives) == 0 {
		t.Fatal("there is no archive")
	}
	folder := archives[len(archives)-1]
	raw, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest errant.Manifest
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.ServerUUID != uuid || manifest.Missing != "" || !manifest.Decoded || len(manifest.Files) == 0 || manifest.Why == "" {
		t.Errorf("manifest %s", raw)
	}
	decoded, err := os.ReadFile(filepath.Join(folder, "transactions.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(string(decoded), text) }) {
		t.Errorf("the decoded transactions say none of %q:\n%s", texts, decoded)
	}
	for _, file := range manifest.Files {
		contents, err := errant.Scan(filepath.Join(folder, "raw", file))
		if err != nil {
			t.Fatal(err)
		}
		if contents.Set.Intersect(set(t, manifest.GTIDs)).IsEmpty() {
			t.Errorf("%s holds none of %s", file, manifest.GTIDs)
		}
	}
}

// TestABlankPrimaryWhoseServerEndsIsFoundedByTheNextRun: an operator sends a directive once. One that founds a cluster must
// not be lost with a mysqld that ends before clients were let in.
func TestABlankPrimaryWhoseServerEndsIsFoundedByTheNextRun(t *testing.T) {
	c := newCluster(t, 1)
	m := c.members[0]
	m.start()
	m.await("an empty server", func(r instance.Report) bool { return r.State == instance.StateRunning && r.Blank })
	closed := c.primary(0, false)
	closed.Primary.Bootstrap = true
	if r := c.obey(m, closed); !r.Blank {
		t.Fatalf("it keeps data before clients were let in: %+v", r)
	}
	starts := m.report().Starts
	m.kill()
	r := m.await("be primary again", func(r instance.Report) bool {
		return r.Starts > starts && r.Role == instance.RolePrimary && r.Converged
	})
	if !r.Blank || r.Serving {
		t.Errorf("after the restart: blank %v, serving %v", r.Blank, r.Serving)
	}
	open := c.primary(0, true)
	open.Primary.Bootstrap = true
	if r := c.obey(m, open); !r.Serving || r.Blank {
		t.Errorf("told to open: serving %v, blank %v", r.Serving, r.Blank)
	}
}
