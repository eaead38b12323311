package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"crypto/rand"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/duty"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mycnf"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/restore"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/agent"
)

const (
	// stopPatience is how long mysqld may take to shut down before it is killed.
	stopPatience = 30 * time.Second
	// configPatience is how long the first start waits for a configuration that is being checked.
	configPatience = 3 * time.Second
	// wipeAfter is how many failed starts a data folder without worth gets before it is made anew.
	wipeAfter = 2
)

// errForeign is returned for data that this agent did not make.
var errForeign = errors.New("the data folder holds data, but the agent's state beside it is missing; " +
	"restore kapok/state.json from the volume's backup, or use an empty volume")

// run is one run of mysqld.
type run struct {
	number  int
	process *agent.Process
	client  *mysqld.Client
	begun   time.Time
	// tainted: it has been a source; killing it needs no further thought, stopping it does.
	tainted atomic.Bool
	// answered: it has answered once. dying: its sockets are closed, the process may still be there.
	answered, dying atomic.Bool
	// watch starts to look out for the closing of its sockets.
	watch func()
}

// kill ends the run at once. From here on it counts as gone: nothing that it still says is of any use.
func (r *run) kill() error {
	r.dying.Store(true)
	if err := r.process.Kill(); err != nil {
		return fmt.Errorf("kill mysqld: %w", err)
	}
	return nil
}

// runEnd is the end of a run.
type runEnd struct {
	run  *run
	exit agent.Exit
}

// startMysqld is the work that brings mysqld up: initialise if need be, write the configuration, start. It returns as
// soon as the process exists.
func (a *Agent) startMysqld(ctx context.Context) func() {
	executable, err := a.executable()
	if err != nil {
		return a.startFailed(instance.ProblemNoServer, err)
	}
	if a.awaitsConfig() {
		return func() { a.nextStart = time.Now().Add(startPoll) }
	}
	if err := a.prepareData(ctx, executable); err != nil {
		return a.startFailed(instance.ProblemStartFailed, err)
	}
	if err := a.settlePast(); err != nil {
		return a.startFailed(instance.ProblemStartFailed, err)
	}
	if err := a.rollBack(); err != nil {
		return a.startFailed(instance.ProblemStartFailed, err)
	}
	password, err := a.writeStartFiles()
	if err != nil {
		return a.startFailed(instance.ProblemStartFailed, err)
	}
	client, err := mysqld.Dial(a.paths.socket, password)
	if err != nil {
		return a.startFailed(instance.ProblemStartFailed, err)
	}
	a.reporter.errors.Reset()
	// A socket of an earlier run would be taken for an answer. The lock beside it names that run's process: when the whole
	// container was killed, somebody else has the number in the next one, and mysqld would never start again.
	_ = os.Remove(a.paths.socket)
	_ = os.Remove(a.paths.socket + ".lock")
	process, err := a.supervisor.Start(agent.Spec{
		Path: executable, Args: []string{"--defaults-file=" + a.paths.config}, Dir: a.paths.root,
		// CLONE ends mysqld and relies on somebody to start it again; mysqld asks who that is by this variable.
		Env:    append(os.Environ(), "MYSQLD_PARENT_PID="+fmt.Sprint(os.Getpid())),
		Stdout: os.Stdout, Stderr: &a.reporter.errors,
	})
	if err != nil {
		client.Close()
		return a.startFailed(instance.ProblemStartFailed, fmt.Errorf("start mysqld: %w", err))
	}
	a.memory.config.run = a.memory.state.Config.Hash()
	return func() {
		a.reporter.starts++
		r := &run{number: a.reporter.starts, process: process, client: client, begun: time.Now()}
		a.current.Store(r)
		a.log.Info("Started mysqld", "run", r.number, "pid", process.PID())
		beside, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r.watch = sync.OnceFunc(func() { go a.awaitEnd(beside, r) })
		go func() {
			<-process.Done()
			cancel()
			exit, _ := process.Exit()
			a.exits <- runEnd{run: r, exit: exit}
		}()
		a.nextTurn = time.Now().Add(startPoll)
	}
}

// executable finds the server's program.
func (a *Agent) executable() (string, error) {
	path, err := exec.LookPath(a.opts.Mysqld)
	if err != nil {
		return "", fmt.Errorf("the image has no mysqld (looked for %q): use an image that carries a MySQL server", a.opts.Mysqld)
	}
	return path, nil
}

// startFailed ends a start that did not even lead to a process.
func (a *Agent) startFailed(reason string, err error) func() {
	return func() {
		a.startFailures++
		a.fail(reason, err)
		a.nextStart = time.Now().Add(min(200*time.Millisecond<<min(a.startFailures, 5), 5*time.Second))
	}
}

// awaitsConfig says whether a start should wait until a new configuration was checked.
func (a *Agent) awaitsConfig() bool {
	m := &a.memory
	if m.config.waitFrom.IsZero() {
		m.config.waitFrom = time.Now()
	}
	return m.config.checking && time.Since(m.config.waitFrom) < configPatience
}

// prepareData makes sure that there is a data folder which belongs to this agent.
func (a *Agent) prepareData(ctx context.Context, executable string) error {
	m := &a.memory
	empty, err := isEmpty(a.paths.data)
	if err != nil {
		return err
	}
	if m.fresh {
		if !empty {
			return errForeign
		}
		// From here on the state says whose data these are.
		if err := a.save(func(*state.State) {}); err != nil {
			return err
		}
		m.fresh = false
	}
	if clone := m.state.Clone; clone != nil && clone.SetAside != "" {
		if err := a.setAside(clone.SetAside, empty); err != nil {
			return err
		}
		empty = true
	}
	if clone := m.state.Clone; clone != nil && clone.Seeded {
		placed, err := a.placeSeed()
		if err != nil {
			return err
		}
		empty = empty && !placed
	}
	m.hasData = !empty
	if err := a.fillData(ctx, executable, empty); err != nil {
		return err
	}
	m.hasData = true
	if clone := m.state.Clone; clone != nil && clone.Begun {
		if err := a.forgetIdentity(); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(a.paths.temp); err != nil {
		return fmt.Errorf("empty the folder for temporary files: %w", err)
	}
	if err := os.MkdirAll(a.paths.temp, 0o750); err != nil {
		return fmt.Errorf("make the folder for temporary files: %w", err)
	}
	return nil
}

// fillData makes data where there are none, and where those that are there are worth nothing and of no use.
func (a *Agent) fillData(ctx context.Context, executable string, empty bool) error {
	m := &a.memory
	kept, restored := m.state.Kept, m.state.Restore != nil && m.state.Clone == nil
	if !empty && !kept && !restored && a.startFailures >= wipeAfter {
		a.log.Warn("Making the data folder anew: it holds nothing worth keeping and mysqld does not start with it")
		if err := os.RemoveAll(a.paths.data); err != nil {
			return fmt.Errorf("remove the unusable data folder: %w", err)
		}
		empty, m.hasData = true, false
	}
	switch {
	case !empty:
		return nil
	case kept:
		return errors.New("the data folder is gone, but it held data worth keeping: restore it, or delete the volume claim to have the member rebuilt")
	case m.state.Restore != nil && !a.begunElsewhere():
		return errors.New("the restore that this volume was to begin with has left no data, and the pod is not told of it any more: make the cluster anew")
	case m.state.Restore != nil:
		// An empty server must not be taken for what was restored.
		if err := a.save(func(st *state.State) { st.Restore = nil }); err != nil {
			return err
		}
	}
	return a.initialise(ctx, executable)
}

// forgetIdentity lets a server whose data are replaced come back under a new server UUID. CLONE keeps the old one, and
// under it the server, once it is primary again, would number new transactions like errant ones that it had before and
// that somebody may still hold: two contents under one GTID, which no comparison of sets would ever show (I6).
func (a *Agent) forgetIdentity() error {
	err := os.Remove(filepath.Join(a.paths.data, identity))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("have the rebuilt server take a new UUID: %w", err)
	}
	return nil
}

// setAside moves the whole data folder into an archive. It may have been moved by an attempt that was cut short.
func (a *Agent) setAside(folder string, moved bool) error {
	if !moved {
		if err := os.Rename(a.paths.data, filepath.Join(folder, "data")); err != nil {
			return fmt.Errorf("set the data folder aside: %w", err)
		}
		if err := errors.Join(syncFolder(folder), syncFolder(a.paths.root)); err != nil {
			return err
		}
	}
	return a.save(func(st *state.State) { st.Clone = nil })
}

// isEmpty says whether a folder is missing or empty.
func isEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look into the data folder: %w", err)
	}
	return len(entries) == 0, nil
}

// initialise makes a data folder. It is made beside its place and moved there when it is whole, so that a killed attempt
// leaves nothing that could be taken for data.
func (a *Agent) initialise(ctx context.Context, executable string) error {
	begun := time.Now()
	if err := os.RemoveAll(restore.Unfinished(a.paths.data)); err != nil {
		return fmt.Errorf("remove the remains of a restore: %w", err)
	}
	for _, dir := range []string{a.paths.fresh, a.paths.temp} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove the remains of an earlier attempt: %w", err)
		}
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("make the data folder: %w", err)
		}
	}
	in := a.configInput()
	in.DataDir = a.paths.fresh
	// Whatever the user configured has its turn at the start.
	in.Options = nil
	var statements bytes.Buffer
	statements.WriteString("SET SESSION sql_log_bin = 0;\nALTER USER 'root'@'localhost' ACCOUNT LOCK;\n")
	if err := agent.WriteFileAtomic(a.paths.init, statements.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write the first statements: %w", err)
	}
	config, err := mycnf.Render(in)
	if err != nil {
		return fmt.Errorf("render the configuration: %w", err)
	}
	if err := agent.WriteFileAtomic(a.paths.config, []byte(config), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	process, err := a.supervisor.Start(agent.Spec{
		Path: executable, Args: []string{"--defaults-file=" + a.paths.config, "--initialize-insecure"},
		Dir: a.paths.root, Stdout: os.Stdout, Stderr: &a.reporter.errors,
	})
	if err != nil {
		return fmt.Errorf("initialise the data folder: %w", err)
	}
	exit, err := process.Wait(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("initialise the data folder: %w", err), process.Kill())
	}
	if exit.Code != 0 {
		return fmt.Errorf("initialise the data folder: mysqld %s: %s", exit, a.reporter.errors.Last())
	}
	if err := os.RemoveAll(a.paths.data); err != nil {
		return fmt.Errorf("make room for the data folder: %w", err)
	}
	if err := os.Rename(a.paths.fresh, a.paths.data); err != nil {
		return fmt.Errorf("move the data folder into place: %w", err)
	}
	a.startFailures = 0
	a.log.Info("Initialised the data folder", "took", time.Since(begun).Round(time.Millisecond).String())
	return syncFolder(a.paths.root)
}

// syncFolder makes renames inside a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open the volume's root to sync it: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync the volume's root: %w", err)
	}
	return nil
}

// configInput is the configuration in force.
func (a *Agent) configInput() mycnf.Input {
	config := a.memory.state.Config
	in := mycnf.Input{
		ServerID: config.ServerID, DataDir: a.paths.data, TempDir: a.paths.temp,
		Socket: a.paths.socket, PIDFile: a.paths.pid, InitFile: a.paths.init,
		Bind: a.opts.Bind, Port: a.opts.Port,
		BufferPoolBytes: config.BufferPoolBytes, Options: config.Options,
	}
	if in.ServerID == 0 {
		in.ServerID = firstServerID + a.ordinal
	}
	if os.Geteuid() == 0 {
		in.User = "root"
	}
	return in
}

// firstServerID is the server_id of ordinal 0, as directives give it.
const firstServerID = 100

// writeStartFiles writes the configuration and the statements for a start, and returns the agent's new password.
func (a *Agent) writeStartFiles() (string, error) {
	config, err := mycnf.Render(a.configInput())
	if err != nil {
		return "", fmt.Errorf("render the configuration: %w", err)
	}
	if err := agent.WriteFileAtomic(a.paths.config, []byte(config), 0o600); err != nil {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	peers := make([]string, 0, maxMembers)
	for ordinal := range maxMembers {
		peers = append(peers, fmt.Sprintf("%s%d", duty.PeerPrefix, ordinal))
	}
	password, monitor := rand.Text(), ""
	if a.opts.Monitor != "" {
		monitor = rand.Text()
	}
	var statements bytes.Buffer
	if err := mysqld.InitFile(&statements, password, peers, monitor, !a.memory.state.Kept, socketUser()); err != nil {
		return "", err
	}
	if err := agent.WriteFileAtomic(a.paths.init, statements.Bytes(), 0o600); err != nil {
		return "", fmt.Errorf("write the start statements: %w", err)
	}
	a.tellMonitor(monitor)
	return password, nil
}

// tellMonitor hands the exporter its password: a file for its group in the run folder, which is memory. That it cannot be
// written is no reason not to start mysqld.
func (a *Agent) tellMonitor(password string) {
	if password == "" {
		return
	}
	content := fmt.Sprintf("[client]\nuser=%s\npassword=%s\nsocket=%s\n", mysqld.Monitor, password, a.paths.socket)
	if err := agent.WriteFileAtomic(a.opts.Monitor, []byte(content), 0o640); err != nil {
		a.log.Warn("The exporter was not told its password", "error", err.Error())
	}
}

// greet is done once when a run has given its first answer.
func (a *Agent) greet(r *run) {
	r.watch()
	// It holds a password.
	_ = os.Remove(a.paths.init)
	authority, err := os.ReadFile(filepath.Join(a.paths.data, "ca.pem"))
	if err == nil {
		a.memory.authority = strings.Trim(string(authority), "\x00 \r\n") + "\n"
	}
	a.memory.prove()
	a.log.Info("mysqld answers", "run", r.number, "after", time.Since(r.begun).Round(time.Millisecond).String())
}

// awaitEnd reports the end of mysqld when its sockets close. The kernel may need a good part of a second more to take a
// large process down, and a failover does not have to wait for that.
func (a *Agent) awaitEnd(ctx context.Context, r *run) {
	for ctx.Err() == nil && !processEnded(r) {
		r.client.AwaitEnd(ctx)
		conn, err := net.DialTimeout("unix", a.paths.socket, time.Second)
		switch {
		case err == nil:
			// Somebody ended the session; mysqld is there.
			_ = conn.Close()
			select {
			case <-ctx.Done():
			case <-time.After(lively):
			}
		case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist):
			r.dying.Store(true)
			a.poke()
			return
		}
	}
}

// drainedPatience is how long a drained source that is asked to stop waits for its operator to promote another one.
const drainedPatience = 5 * time.Second

// mayStop says whether mysqld may be stopped for good.
func (a *Agent) mayStop(now time.Time, r *run) bool {
	if r == nil || !r.tainted.Load() || !now.Before(a.terminateBy) {
		return true
	}
	if since := now.Sub(a.terminateBy.Add(-a.opts.Grace)); a.memory.drained && since >= drainedPatience {
		// Nothing can be written any more and nobody is waited for: the cluster is being deleted, or the operator is away.
		return true
	}
	// One copy is all there is: nobody can take over, and no commit waits for anybody.
	d := a.memory.directive
	return d != nil && d.Role == instance.RolePrimary && d.Primary != nil && d.Primary.Acks == 0
}

// stopMysqld returns the work that ends a run: gracefully where that is safe, else at once.
func (a *Agent) stopMysqld(r *run) func(context.Context) func() {
	return func(ctx context.Context) func() {
		if !a.safeToStop(ctx, r) {
			a.log.Info("Killing mysqld: its commits may wait for an acknowledgement")
			if err := r.kill(); err != nil {
				return func() { a.fail(instance.ProblemDuty, err) }
			}
			<-r.process.Done()
			return nil
		}
		begun := time.Now()
		ctx, cancel := context.WithTimeout(ctx, stopPatience)
		defer cancel()
		if err := r.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, agent.ErrExited) {
			return func() { a.fail(instance.ProblemDuty, fmt.Errorf("stop mysqld: %w", err)) }
		}
		if _, err := r.process.Wait(ctx); err != nil {
			if err := r.kill(); err != nil {
				return func() { a.fail(instance.ProblemDuty, err) }
			}
		}
		a.log.Info("Stopped mysqld", "took", time.Since(begun).Round(time.Millisecond).String())
		return nil
	}
}

// safeToStop says whether a graceful stop can answer no commit that is not on a quorum. A source is closed for writes
// first; if that hangs, commits are waiting.
func (a *Agent) safeToStop(ctx context.Context, r *run) bool {
	if !r.tainted.Load() {
		return true
	}
	if a.memory.drained {
		return true
	}
	o := a.memory.observation
	if o == nil || o.SemiSource {
		return false
	}
	for _, set := range [][2]string{{"offline_mode", "ON"}, {"super_read_only", "ON"}} {
		if err := r.client.SetGlobal(ctx, set[0], set[1]); err != nil {
			return false
		}
	}
	return true
}
