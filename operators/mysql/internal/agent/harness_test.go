package agent_test

import (
	"context"
	"crypto/tls"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	shared "github.com/kapok-operators/kapok/shared/agent"
)

const (
	// patience bounds every wait of these tests.
	patience = 180 * time.Second
	// appUser and appPassword are the account that the tests write with.
	appUser, appPassword = "shop", `pa'ss\w"ord;--`
	// pool is what makes a test's mysqld small.
	pool = 32 << 20
)

// server returns the mysqld that the tests run.
func server(t *testing.T) string {
	t.Helper()
	path := os.Getenv("KAPOK_MYSQLD")
	if path == "" {
		t.Fatal("KAPOK_MYSQLD does not name a mysqld to run; `make test` sets it")
	}
	return path
}

// member is one instance under test. It plays the operator's end of the link.
type member struct {
	t        *testing.T
	name     string
	root     string
	runDir   string
	port     int
	usersDir string
	// volume is where backups go, restore what the pod is told to begin with.
	volume  string
	restore agent.RestoreOptions
	mysqld  string
	grace   time.Duration
	// unmonitored members have no exporter beside them.
	unmonitored bool

	mu      sync.Mutex
	latest  instance.Report
	news    chan struct{}
	linked  bool
	grant   instance.Grant
	agent   *agent.Agent
	stop    context.CancelFunc
	stopped chan error
}

// Publish implements agent.Operator.
func (m *member) Publish(payload json.RawMessage) error {
	var r instance.Report
	if err := json.Unmarshal(payload, &r); err != nil {
		return err
	}
	if strings.Contains(string(payload), appPassword) {
		m.t.Errorf("%s: a report holds a password", m.name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if os.Getenv("KAPOK_TEST_LOG") != "" {
		fmt.Fprintf(os.Stderr, "REPORT %s\n", payload)
	}
	m.latest = r
	close(m.news)
	m.news = make(chan struct{})
	return nil
}

// cluster is a set of members with a shared epoch and term.
type cluster struct {
	t       *testing.T
	members []*member
	term    uint64
	epoch   uint64
}

// blank is a volume as an agent leaves it after its first start. It is made once, by an agent, and copied for each member,
// because initialising is most of the work of a small test.
var blank = sync.OnceValues(func() (string, error) {
	root, err := os.MkdirTemp(memory(), "kapok")
	if err != nil {
		return "", err
	}
	m := &member{name: "shop-9", root: root, runDir: filepath.Join(root, "run"), news: make(chan struct{})}
	a, err := agent.New(agent.Options{
		Instance: m.name, DataDir: m.root, RunDir: m.runDir, Mysqld: os.Getenv("KAPOK_MYSQLD"), Bind: "127.0.0.1", Port: 0,
		Logger: slog.New(slog.DiscardHandler),
	}, m, &shared.Supervisor{})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- a.Run(ctx) }()
	for m.report().State != instance.StateRunning && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-stopped; err != nil {
		return "", err
	}
	if r := m.report(); !r.Blank || r.Problem != "" {
		return "", fmt.Errorf("the first start left %+v", r)
	}
	return root, os.Remove(filepath.Join(root, "data", "auto.cnf"))
})

func TestMain(m *testing.M) {
	if options := os.Getenv(childOptions); options != "" {
		if err := child(options); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if os.Getenv("KAPOK_MYSQLD") != "" {
		if root, err := blank(); err == nil {
			_ = os.RemoveAll(root)
		}
	}
	os.Exit(code)
}

// memory is where the volumes of tests are: in memory if there is such a place, since what is proven here survives the
// death of processes, not of machines.
func memory() string {
	if _, err := os.Stat("/dev/shm"); err == nil {
		return "/dev/shm"
	}
	return ""
}

// newCluster makes n members with blank volumes; none is started.
func newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	server(t)
	template, err := blank()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, term: 1, epoch: 1}
	// Socket paths are limited to about a hundred characters, so that the test's own folder may be too deep.
	base, err := os.MkdirTemp(memory(), "kapok")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	users, backups := filepath.Join(base, "users"), filepath.Join(base, "backups")
	for _, dir := range []string{users, backups} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(users, appUser), []byte(appPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		m := &member{
			t: t, name: fmt.Sprintf("shop-%d", i), port: freePort(t), usersDir: users,
			root: filepath.Join(base, strconv.Itoa(i)), runDir: filepath.Join(base, "r"+strconv.Itoa(i)),
			news: make(chan struct{}), mysqld: server(t), grace: 10 * time.Second, volume: backups,
		}
		for _, part := range []string{"data", "kapok"} {
			if err := os.CopyFS(filepath.Join(m.root, part), os.DirFS(filepath.Join(template, part))); err != nil {
				t.Fatal(err)
			}
		}
		c.members = append(c.members, m)
		t.Cleanup(m.halt)
	}
	return c
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// start runs a member's agent inside the test.
func (m *member) start() {
	m.t.Helper()
	out := io.Writer(io.Discard)
	if os.Getenv("KAPOK_TEST_LOG") != "" {
		out = os.Stderr
	}
	credentials := m.credentials()
	if m.unmonitored {
		credentials = ""
	}
	a, err := agent.New(agent.Options{
		Instance: m.name, DataDir: m.root, RunDir: m.runDir, UsersDir: m.usersDir, Monitor: credentials, Mysqld: m.mysqld,
		Bind: "127.0.0.1", Port: m.port, Grace: m.grace, Version: "test", BackupVolume: m.volume, Restore: m.restore,
		Logger: slog.New(slog.NewTextHandler(out, nil)).With("instance", m.name),
	}, m, &shared.Supervisor{})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	m.mu.Lock()
	m.agent, m.stop, m.stopped, m.linked = a, cancel, stopped, true
	m.mu.Unlock()
	go func() { stopped <- a.Run(ctx) }()
	go m.heartbeat(ctx, a)
}

// heartbeat plays the echoes of an operator that grants the lease, as long as the member is linked.
func (m *member) heartbeat(ctx context.Context, a *agent.Agent) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		m.mu.Lock()
		linked, grant := m.linked, m.grant
		m.mu.Unlock()
		if !linked {
			continue
		}
		raw, err := json.Marshal(grant)
		if err != nil {
			m.t.Error(err)
			return
		}
		a.Heard(raw, time.Now())
	}
}

// unlink cuts the member off from the operator.
func (m *member) unlink() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.linked = false
}

// halt ends a member for good: its mysqld is killed, so that nothing waits to be relieved.
func (m *member) halt() {
	m.mu.Lock()
	stop, stopped := m.stop, m.stopped
	m.stop = nil
	m.mu.Unlock()
	if stop == nil {
		return
	}
	if pid := m.pid(); pid != 0 {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	stop()
	select {
	case err := <-stopped:
		m.t.Logf("%s ended: %v", m.name, err)
	case <-time.After(patience):
		m.t.Errorf("%s does not end", m.name)
	}
}

// pid returns the number of the member's mysqld; 0 without one.
func (m *member) pid() int {
	raw, err := os.ReadFile(filepath.Join(m.runDir, "mysqld.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0
	}
	return pid
}

// kill ends a member's mysqld with SIGKILL.
func (m *member) kill() {
	m.t.Helper()
	pid := m.pid()
	if pid == 0 {
		m.t.Fatalf("%s has no mysqld to kill", m.name)
	}
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		m.t.Fatalf("kill mysqld of %s: %v", m.name, err)
	}
}

// report returns the newest report.
func (m *member) report() instance.Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.latest
}

// await waits for a report that satisfies want.
func (m *member) await(what string, want func(instance.Report) bool) instance.Report {
	m.t.Helper()
	deadline := time.After(patience)
	for {
		m.mu.Lock()
		r, news := m.latest, m.news
		m.mu.Unlock()
		if want(r) {
			return r
		}
		select {
		case <-news:
		case <-deadline:
			text, _ := json.MarshalIndent(r, "", " ")
			m.t.Fatalf("%s did not get to: %s\nits newest report: %s", m.name, what, text)
		}
	}
}

// tell delivers a directive and returns its ID.
func (c *cluster) tell(m *member, d instance.Directive) string {
	c.t.Helper()
	id, err := c.deliver(m, d)
	if err != nil {
		c.t.Fatalf("%s refused %s: %v", m.name, d.Role, err)
	}
	return id
}

// complete gives a directive what all of them have.
func (c *cluster) complete(m *member, d instance.Directive) instance.Directive {
	c.t.Helper()
	if d.Term == 0 {
		d.Term = c.term
	}
	if d.Epoch == 0 {
		d.Epoch = c.epoch
	}
	if d.ServerID == 0 {
		ordinal, err := strconv.Atoi(m.name[len("shop-"):])
		if err != nil {
			c.t.Fatal(err)
		}
		d.ServerID = uint32(100 + ordinal)
	}
	if d.BufferPoolBytes == 0 {
		d.BufferPoolBytes = pool
	}
	return d.WithID()
}

// deliver completes a directive and hands it over.
func (c *cluster) deliver(m *member, d instance.Directive) (string, error) {
	c.t.Helper()
	d = c.complete(m, d)
	raw, err := json.Marshal(d)
	if err != nil {
		c.t.Fatal(err)
	}
	m.mu.Lock()
	m.grant = instance.Grant{Term: d.Term, Epoch: d.Epoch, Primary: m.name}
	a := m.agent
	m.mu.Unlock()
	return d.ID, a.Deliver(c.t.Context(), raw)
}

// obey delivers a directive and waits until the member is what it asks.
func (c *cluster) obey(m *member, d instance.Directive) instance.Report {
	c.t.Helper()
	id := c.tell(m, d)
	return m.await("obey "+string(d.Role), func(r instance.Report) bool { return r.Directive == id && r.Converged })
}

// primary is the directive to be the source of the epoch.
func (c *cluster) primary(acks int, serve bool, admitted ...*member) instance.Directive {
	d := instance.Directive{
		Role:    instance.RolePrimary,
		Primary: &instance.PrimaryDuty{Acks: acks, Serve: serve, LeaseMillis: 3000},
		Users:   []instance.User{{Name: appUser, Database: "shop_db", Access: instance.AccessReadWrite}},
	}
	for _, m := range admitted {
		d.Primary.Admitted = append(d.Primary.Admitted, instance.Peer{Name: m.name, Key: m.report().SealingKey})
	}
	return d
}

// source is a primary as the others need to know it.
func (c *cluster) source(p, m *member) instance.Source {
	c.t.Helper()
	r := p.await("a credential for "+m.name, func(r instance.Report) bool {
		s, ok := r.Credentials[m.name]
		return ok && s.Epoch == c.epoch && string(s.Key) == string(m.report().SealingKey)
	})
	return instance.Source{
		Name: p.name, Host: "127.0.0.1", Port: p.port, ServerUUID: r.ServerUUID, Credential: r.Credentials[m.name], CA: r.CA,
	}
}

// replica is the directive to follow p.
func (c *cluster) replica(p, m *member, acknowledge bool) instance.Directive {
	d := instance.Directive{
		Role:    instance.RoleReplica,
		Replica: &instance.ReplicaDuty{Source: c.source(p, m), Acknowledge: acknowledge},
	}
	if r := m.report(); r.Closed {
		d.Replica.OpenAfter, d.Replica.Closing = p.report().Executed, r.Closing
	}
	return d
}

// clone is the directive to take over p's data.
func (c *cluster) clone(p, m *member, why string) instance.Directive {
	s := c.source(p, m)
	return instance.Directive{
		Role:  instance.RoleClone,
		Clone: &instance.CloneDuty{Source: s, SourceExecuted: p.report().Executed, Why: why},
	}
}

// bootstrap brings a whole cluster up: the first member is the primary, all others are voters that follow it.
func bootstrap(t *testing.T, n int) *cluster {
	t.Helper()
	c := newCluster(t, n)
	c.found(c.members...)
	return c
}

// found is the same for some of the members of a cluster.
func (c *cluster) found(members ...*member) {
	for _, m := range members {
		m.start()
	}
	n, p, rest := len(members), members[0], members[1:]
	for _, m := range members {
		m.await("an empty server", func(r instance.Report) bool {
			return r.State == instance.StateRunning && r.Blank && r.Executed == ""
		})
	}
	d := c.primary(0, true, rest...)
	d.Primary.Bootstrap = true
	c.obey(p, d)
	for _, m := range rest {
		c.obey(m, c.clone(p, m, "new"))
		c.obey(m, c.replica(p, m, true))
	}
	if n > 1 {
		c.obey(p, c.primary(n/2, true, rest...))
	}
	c.app(p)
}

// app opens a client session as the application does, once its account is there.
func (c *cluster) app(m *member) *sql.DB {
	c.t.Helper()
	db := open(c.t, m, appUser, appPassword, "shop_db")
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
		_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS orders (id BIGINT PRIMARY KEY, note VARCHAR(200))")
		cancel()
		if err == nil {
			return db
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the application cannot use %s: %v; user errors: %v", m.name, err, m.report().UserErrors)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// open opens sessions to a member over TCP.
func open(t *testing.T, m *member, user, password, schema string) *sql.DB {
	t.Helper()
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", fmt.Sprintf("127.0.0.1:%d", m.port)
	cfg.User, cfg.Passwd, cfg.DBName = user, password, schema
	cfg.TLS = &tls.Config{InsecureSkipVerify: true} // The test's own loopback.
	cfg.Timeout, cfg.ReadTimeout = 2*time.Second, 20*time.Second
	cfg.Logger = log0{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// log0 drops the driver's own log.
type log0 struct{}

func (log0) Print(...any) {}

// set parses a GTID set.
func set(t *testing.T, text string) gtid.Set {
	t.Helper()
	s, err := gtid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
