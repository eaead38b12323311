package agent_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/go-sql-driver/mysql"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/exporter"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	shared "github.com/kapok-operators/kapok/shared/agent"
)

// exporterProgram returns the exporter that the tests run.
func exporterProgram(t *testing.T) string {
	t.Helper()
	path := os.Getenv("KAPOK_MYSQLD_EXPORTER")
	if path == "" {
		t.Fatal("KAPOK_MYSQLD_EXPORTER does not name an exporter to run; `make test` sets it")
	}
	return path
}

// export runs an exporter beside a member, as its own container does, and returns where its metrics are.
func export(t *testing.T, m *member) string {
	t.Helper()
	front, err := exporter.New(exporter.Options{
		Credentials: m.credentials(), Program: exporterProgram(t), Behind: fmt.Sprintf("127.0.0.1:%d", freePort(t)),
		Logger: slog.New(slog.DiscardHandler),
	}, &shared.Supervisor{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- front.Run(ctx) }()
	server := httptest.NewServer(front.Handler())
	t.Cleanup(func() {
		server.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return server.URL
}

// metrics are the samples of one scrape, by name: the largest value of each.
type metrics map[string]float64

var sample = regexp.MustCompile(`^([a-z_:A-Z0-9]+)(?:\{.*\})? (\S+)$`)

// scrape returns what is served, or nil if nothing is.
func scrape(t *testing.T, url string) metrics {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, http.DefaultClient.Do, request)
}

// send sends a request for metrics and reads the answer.
func send(t *testing.T, do func(*http.Request) (*http.Response, error), request *http.Request) metrics {
	t.Helper()
	response, err := do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		return nil
	}
	out := metrics{}
	for line := range strings.SplitSeq(string(body), "\n") {
		if found := sample.FindStringSubmatch(line); found != nil {
			value, err := strconv.ParseFloat(found[2], 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if old, ok := out[found[1]]; !ok || value > old {
				out[found[1]] = value
			}
		}
	}
	return out
}

// until scrapes until the metrics are as wanted.
func until(t *testing.T, what, url string, want func(metrics) bool) metrics {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := scrape(t, url)
		if want(got) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s: mysql_up=%v of %d metrics", what, got["mysql_up"], len(got))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func up(m metrics) bool { return m["mysql_up"] == 1 }

// documentedMetrics reads the tables of the page for users: metric to where it is.
func documentedMetrics(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "mysql", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(string(raw), -1) {
		out[row[1]] = row[2]
	}
	return out
}

// TestDocumentedMetrics looks for every metric of the page for users, on a real primary and a real replica, through the real
// exporter with its own account.
func TestDocumentedMetrics(t *testing.T) {
	c := bootstrap(t, 2)
	primary, replica := c.members[0], c.members[1]
	db := c.app(primary)
	for i := range 20 {
		if _, err := db.Exec("REPLACE INTO orders VALUES (?, ?)", i, "note"); err != nil {
			t.Fatal(err)
		}
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	drill := &instance.DrillResult{Passed: time.Now(), Took: time.Minute}
	duty := func() instance.Directive {
		d := archiving(c.primary(1, true, replica), key)
		d.Backup.Archive.Drill = drill
		return d
	}
	c.takeFull(primary, primary, duty, key, "first")
	primary.await("archive", func(r instance.Report) bool {
		return r.Backup != nil && r.Backup.Archive != nil && !r.Backup.Archive.Complete.IsZero()
	})
	documented := documentedMetrics(t)
	served := map[*member]metrics{}
	for _, m := range c.members {
		served[m] = until(t, "metrics of "+m.name, export(t, m), up)
		server := httptest.NewServer(m.agent.Handler())
		defer server.Close()
		maps.Copy(served[m], scrape(t, server.URL))
	}
	mysqlds := 0
	for name, where := range documented {
		if strings.HasPrefix(name, "mysql_") {
			mysqlds++
		}
		for m, got := range served {
			if slices.Contains([]string{"primary", "archiver", "taker"}, where) && m != primary || where == "replica" && m != replica {
				continue
			}
			value, ok := got[name]
			if !ok || math.IsNaN(value) || value < 0 {
				t.Errorf("%s of %s: %v, served: %v", name, m.name, value, ok)
			}
		}
	}
	if mysqlds < 28 {
		t.Errorf("only %d metrics of mysqld are documented", mysqlds)
	}
	for name, value := range served[primary] {
		if _, ok := documented[name]; !ok && strings.HasPrefix(name, "kapok_") {
			t.Errorf("%s=%v is served and not documented", name, value)
		}
	}

	p, r := served[primary], served[replica]
	t.Logf("%d names of the primary, %d of the replica", len(p), len(r))
	for what, plausible := range map[string]bool{
		"the collectors work":               p["mysql_exporter_collector_success"] == 1 && r["mysql_exporter_collector_success"] == 1,
		"sessions":                          p["mysql_global_status_threads_connected"] >= 2,
		"received bytes":                    p["mysql_global_status_bytes_received"] > 1000,
		"uptime":                            p["mysql_global_status_uptime"] > 0 && p["mysql_global_status_uptime"] < 3600,
		"buffer pool":                       p["mysql_global_variables_innodb_buffer_pool_size"] >= pool,
		"the primary writes":                p["mysql_global_variables_super_read_only"] == 0 && p["kapok_mysql_agent_writable"] == 1,
		"the replica does not":              r["mysql_global_variables_super_read_only"] == 1 && r["kapok_mysql_agent_writable"] == 0,
		"the replica is not behind":         r["mysql_slave_status_seconds_behind_master"] < 5 && r["mysql_slave_status_seconds_behind_source"] < 5,
		"the replica receives and applies":  r["mysql_slave_status_slave_io_running"] == 1 && r["mysql_slave_status_slave_sql_running"] == 1,
		"the agent says the same":           r["kapok_mysql_agent_receiver_connected"] == 1 && r["kapok_mysql_agent_applier_running"] == 1,
		"binary logs":                       p["mysql_binlog_size_bytes"] > 1000 && p["mysql_binlog_files"] >= 1,
		"statements were timed":             p["mysql_perf_schema_events_statements_sum_total"] > 20,
		"the volume has a size":             p["kapok_mysql_agent_volume_size_bytes"] >= p["kapok_mysql_agent_volume_free_bytes"],
		"binary logs are archived":          p["kapok_mysql_agent_archived_pieces_total"] > 0 && p["kapok_mysql_agent_archived_bytes_total"] > 1000,
		"a full backup was taken":           p["kapok_mysql_agent_full_backups_total"] == 1 && r["kapok_mysql_agent_full_backups_total"] == 0,
		"only the primary archives":         !has(r, "kapok_mysql_agent_archive_exposure_seconds") && r["kapok_mysql_agent_archived_pieces_total"] == 0,
		"one other voter receives":          p["kapok_mysql_agent_required_acknowledgements"] == 1,
		"both are ready, epoch one":         p["kapok_mysql_agent_ready"] == 1 && r["kapok_mysql_agent_ready"] == 1 && p["kapok_mysql_agent_epoch"] == 1,
		"a primary has no replica's status": !has(p, "mysql_slave_status_seconds_behind_master") && !has(p, "kapok_mysql_agent_lag_seconds"),
	} {
		if !plausible {
			t.Errorf("not so: %s", what)
		}
	}
}

func has(m metrics, name string) bool {
	_, ok := m[name]
	return ok
}

// TestTheExporterFollowsItsPassword: each start of mysqld makes a new one, and an exporter that was there first waits for the
// file.
func TestTheExporterFollowsItsPassword(t *testing.T) {
	c := newCluster(t, 1)
	m := c.members[0]
	url := export(t, m)
	if got := scrape(t, url); got != nil {
		t.Fatalf("metrics before there is a password: %d", len(got))
	}
	m.start()
	m.await("an empty server", func(r instance.Report) bool { return r.State == instance.StateRunning })
	d := c.primary(0, true)
	d.Primary.Bootstrap = true
	c.obey(m, d)
	before := until(t, "metrics", url, up)
	first := m.password(t)
	info, err := os.Stat(m.credentials())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o640 {
		t.Errorf("the password's file has mode %v", info.Mode())
	}

	m.kill()
	m.await("report the death", func(r instance.Report) bool { return r.State != instance.StateRunning })
	m.await("come back", func(r instance.Report) bool { return r.State == instance.StateRunning })
	c.epoch++
	c.obey(m, c.primary(0, true))
	until(t, "metrics with the new password", url, func(now metrics) bool {
		return up(now) && now["mysql_global_status_uptime"] < before["mysql_global_status_uptime"]+600
	})
	if m.password(t) == first {
		t.Error("the new run of mysqld has the old password")
	}
	if _, err := monitor(t, m, first); err == nil {
		t.Error("the old password still works")
	}
}

// TestAServerThatStandsStillIsDown: the exporter waits for mysqld for as long as that takes; Prometheus does not, and must be told.
func TestAServerThatStandsStillIsDown(t *testing.T) {
	c := bootstrap(t, 1)
	m := c.members[0]
	url := export(t, m)
	until(t, "metrics", url, up)
	if err := syscall.Kill(m.pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ask := func() metrics {
		t.Helper()
		request, err := http.NewRequest(http.MethodGet, url+"/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "3")
		return send(t, (&http.Client{Timeout: 3 * time.Second}).Do, request)
	}
	if got := ask(); len(got) != 1 || got["mysql_up"] != 0 {
		t.Errorf("of a mysqld that stands still: %v", got)
	}
	if err := syscall.Kill(m.pid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, "metrics of a mysqld that goes on", url, up)
}

// credentials is where the agent of the member puts the exporter's password.
func (m *member) credentials() string { return filepath.Join(m.runDir, "exporter.cnf") }

// password reads the exporter's password.
func (m *member) password(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(m.credentials())
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(raw), "\npassword=")
	password, _, _ := strings.Cut(rest, "\n")
	if !found || len(password) < 20 {
		t.Fatal("the file holds no password")
	}
	return password
}

// monitor logs in as the exporter does.
func monitor(t *testing.T, m *member, password string) (*sql.DB, error) {
	t.Helper()
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd = "unix", filepath.Join(m.runDir, "mysqld.sock"), mysqld.Monitor, password
	cfg.Logger = log0{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db, db.Ping()
}

// TestTheMonitorCanDoNoMore tries what the exporter's account must not be able to do.
func TestTheMonitorCanDoNoMore(t *testing.T) {
	c := bootstrap(t, 1)
	m := c.members[0]
	if _, err := c.app(m).Exec("REPLACE INTO orders VALUES (1, 'secret')"); err != nil {
		t.Fatal(err)
	}
	password := m.password(t)
	db, err := monitor(t, m, password)
	if err != nil {
		t.Fatal(err)
	}
	// A schema, a table, a privilege, giving rights.
	denied := []uint16{1044, 1142, 1227, 1410, 1045}
	for _, statement := range []string{
		"SELECT note FROM shop_db.orders",
		"SELECT User FROM mysql.user",
		"SELECT name FROM kapok_internal.account",
		"SELECT USER FROM performance_schema.replication_connection_configuration",
		"SELECT SQL_TEXT FROM performance_schema.events_statements_history_long",
		"INSERT INTO shop_db.orders VALUES (2, '')",
		"CREATE DATABASE mine",
		"CREATE TABLE shop_db.mine (id INT)",
		"CREATE USER mine@localhost",
		"SET GLOBAL super_read_only = ON",
		"SET GLOBAL max_connections = 10",
		"STOP REPLICA",
		"SHUTDOWN",
		"FLUSH BINARY LOGS",
		"CLONE LOCAL DATA DIRECTORY = '/nowhere'",
		"GRANT PROCESS ON *.* TO kapok_monitor@localhost",
	} {
		var value any
		// Refused for want of a right, and not for anything else.
		if err := db.QueryRow(statement).Scan(&value); !slices.Contains(denied, mysqld.Code(err)) {
			t.Errorf("the exporter's account is not refused %s: %v", statement, err)
		}
	}

	// Over TCP there is no such account, not even from the same machine.
	if err := open(t, m, mysqld.Monitor, password, "").Ping(); mysqld.Code(err) != 1045 && mysqld.Code(err) != 1130 {
		t.Errorf("over TCP: %v", err)
	}
	// Three sessions and no more.
	db.SetMaxOpenConns(10)
	var held []*sql.Conn
	for {
		conn, err := db.Conn(t.Context())
		if err != nil {
			if mysqld.Code(err) != 1226 {
				t.Errorf("after %d sessions: %v", len(held), err)
			}
			break
		}
		defer func() { _ = conn.Close() }()
		if held = append(held, conn); len(held) > 5 {
			break
		}
	}
	if len(held) != 3 {
		t.Errorf("the exporter's account has %d sessions", len(held))
	}
}

// TestNoExporterNoAccount: an instance that is to have no exporter removes what an earlier one has left.
func TestNoExporterNoAccount(t *testing.T) {
	c := bootstrap(t, 1)
	m := c.members[0]
	password := m.password(t)
	m.halt()
	m.unmonitored = true
	m.start()
	m.await("come back", func(r instance.Report) bool { return r.State == instance.StateRunning })
	c.epoch++
	c.obey(m, c.primary(0, true))
	if _, err := monitor(t, m, password); mysqld.Code(err) != 1045 {
		t.Errorf("the account is still there: %v", err)
	}
}
