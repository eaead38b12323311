package agent

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/duty"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/lease"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/protect"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/seal"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/volume"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/agent"
)

// failoverPause is how long a primary whose mysqld ended waits for a new epoch before it starts again.
const failoverPause = 2 * time.Second

// maxMembers is how many members a cluster can have; each has an account on every server.
const maxMembers = 9

// Options says which instance the agent runs and where everything is.
type Options struct {
	// Instance is the pod's name; it ends in the member's ordinal.
	Instance string
	// DataDir is the root of the data volume, RunDir a folder for sockets and the configuration, UsersDir the mounted
	// Secret with one password file per account, which may be missing.
	DataDir, RunDir, UsersDir string
	// Monitor is the file in which the exporter beside mysqld finds the account, password and socket that it uses, as a client's
	// option file. Without it there is no such account.
	Monitor string
	// Restore is what the first instance of a new cluster begins with.
	Restore RestoreOptions
	// BackupCredentials is the folder of the mounted Secret with the credentials of a bucket for backups, BackupVolume where a volume for backups
	// is mounted. Both may be missing.
	BackupCredentials, BackupVolume string
	// Mysqld is the server's executable: a path, or a name to look up.
	Mysqld string
	// Bind and Port are where mysqld listens.
	Bind string
	Port int
	// Grace is how long a primary that is asked to stop waits to be relieved.
	Grace time.Duration
	// Version is the agent's build version.
	Version string
	// Logger receives what happens, never a secret.
	Logger *slog.Logger `json:"-"`
}

// Operator is the agent's view of the link to the operator.
type Operator interface {
	// Publish sends a report; it never blocks.
	Publish(payload json.RawMessage) error
}

// Agent runs one instance.
type Agent struct {
	opts       Options
	operator   Operator
	log        *slog.Logger
	boot       string
	ordinal    uint32
	supervisor *agent.Supervisor
	opener     *seal.Opener
	store      *state.Store
	watch      *volume.Watch
	guard      *lease.Guard
	prober     *prober
	keeper     *protect.Keeper
	paths      paths

	wake  chan struct{}
	exits chan runEnd
	done  chan func()

	// inbox is what the link has delivered and the loop has not taken over yet.
	inbox inbox
	// current is the run of mysqld, for those who must not wait for the loop.
	current atomic.Pointer[run]
	// published is the newest report, for the health server.
	published atomic.Pointer[instance.Report]
	// restoring is how far the restore is; nil without one.
	restoring atomic.Pointer[instance.RestoreReport]
	// seeding is the same of a restore that stands in for a clone.
	seeding atomic.Pointer[instance.RestoreReport]

	// Everything below belongs to the loop, or to the piece of work that it runs.
	memory memory
	// working cancels the work under way; nil without one.
	working context.CancelFunc
	// turning says that the work is a turn, which a new directive cancels; turned is when the newest one began.
	turning bool
	turned  time.Time
	// later is what to do with the memory once the loop owns it again.
	later func()
	// jobs are the long tasks under way, by name; underWay waits for them.
	jobs     map[string]bool
	underWay sync.WaitGroup
	// startFailures counts starts of mysqld in a row that did not end with an answer.
	startFailures int
	// nextStart is when mysqld may be started again; nextTurn when to look again.
	nextStart, nextTurn time.Time
	// holding is what holds the start of a former primary; startAt is when the loop looks at it again.
	holding holdMemory
	startAt time.Time
	// stopping: mysqld is being stopped for good; stopped: it is.
	stopping, stopped bool
	terminateBy       time.Time
	reporter          reporter
	// situation is what the keeper was told last of the memory.
	situation protect.Situation
}

// paths are the places that the agent uses.
type paths struct {
	root, data, fresh, temp, kapok, archive string
	seed, seedTemp                          string
	socket, pid, config, trial, init, ca    string
}

// memory is what the agent knows beside what mysqld tells; it does not survive the agent.
type memory struct {
	state state.State
	// unsaved: the state has changed in a way that may be written a little later.
	unsaved bool
	// fresh: the volume had no state file when the agent came up. hasData: there is something in the data folder.
	fresh, hasData bool
	// directive is the accepted one; nil before. since is when its role was first wanted.
	directive *instance.Directive
	since     time.Time
	// accepted is the ID of the directive that was accepted last, as reports tell it.
	accepted string

	// Of the present run of mysqld:
	observation  *mysqld.Observation
	answeredAt   time.Time
	plan         duty.Plan
	drained      bool
	primaryEpoch uint64
	passwords    map[string]string
	receiver     duty.ReceiverMode
	receiverTry  time.Time
	opening      opening
	source       hearing
	role         instance.Role
	roleEpoch    uint64
	config       configMemory
	authority    string

	// credentials are the sealed passwords by member; sealedOf is which password each one holds.
	credentials map[string]instance.Sealed
	sealedOf    map[string]string
	clone       cloneMemory
	seed        seedMemory
	restore     restoreMemory
	users       userMemory
	archives    []string
	// problem is the newest failure of the agent's own doing, reason its name.
	problem, reason string
}

// inbox is what the link delivers.
type inbox struct {
	mu sync.Mutex
	// state is a copy of the durable promises, for refusing at once.
	state state.State
	// accepted is the directive that is being obeyed, pending the one that waits to be.
	accepted   string
	pending    *instance.Directive
	refused    string
	refusedWhy string
	// heardAt is when the operator was surely there: it delivered a directive, or a heartbeat that it answered was made.
	heardAt time.Time
	// isolated: the guard has killed mysqld, and nothing was accepted since.
	isolated bool
	// pendingSpan is what the pending directive was sent by, span the same of the accepted one until it is fulfilled: log
	// lines name it.
	pendingSpan, span trace.SpanContext
}

// New prepares an agent. Nothing is started yet.
func New(opts Options, operator Operator, supervisor *agent.Supervisor) (*Agent, error) {
	ordinal, err := ordinalOf(opts.Instance)
	if err != nil {
		return nil, err
	}
	if err := opts.Restore.read(); err != nil {
		return nil, err
	}
	opener, err := seal.NewOpener()
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(opts.DataDir)
	if err != nil {
		return nil, fmt.Errorf("find the data volume: %w", err)
	}
	runDir, err := filepath.Abs(opts.RunDir)
	if err != nil {
		return nil, fmt.Errorf("find the run folder: %w", err)
	}
	a := &Agent{
		opts: opts, operator: operator, log: opts.Logger, boot: rand.Text(), ordinal: ordinal,
		supervisor: supervisor, opener: opener,
		wake: make(chan struct{}, 1), exits: make(chan runEnd, 1), done: make(chan func(), 16),
		jobs: map[string]bool{},
		paths: paths{
			root: root, data: filepath.Join(root, "data"), fresh: filepath.Join(root, "data.new"),
			temp: filepath.Join(root, "tmp"), kapok: filepath.Join(root, "kapok"), archive: filepath.Join(root, "kapok", "archive"),
			seed: filepath.Join(root, "data.seed"), seedTemp: filepath.Join(root, "tmp.seed"),
			socket: filepath.Join(runDir, "mysqld.sock"), pid: filepath.Join(runDir, "mysqld.pid"),
			config: filepath.Join(runDir, "my.cnf"), trial: filepath.Join(runDir, "trial.cnf"),
			init: filepath.Join(runDir, "init.sql"), ca: filepath.Join(runDir, "source-ca.pem"),
		},
	}
	if err := os.MkdirAll(runDir, 0o750); err != nil {
		return nil, fmt.Errorf("make the run folder: %w", err)
	}
	store, st, fresh, err := state.Open(a.paths.kapok)
	if err != nil {
		return nil, err
	}
	a.store, a.memory.state, a.memory.fresh = store, st, fresh
	a.inbox.state = st
	a.memory.users = newUserMemory()
	a.memory.credentials, a.memory.sealedOf = map[string]instance.Sealed{}, map[string]string{}
	a.memory.archives = listArchives(a.paths.archive)
	a.recallSeed()
	a.watch = volume.NewWatch(a.paths.kapok, a.paths.data)
	a.guard = lease.NewGuard(a.fence)
	a.prober = newProber(a.log)
	a.keeper = a.newKeeper()
	a.reporter.errors.Pass = true
	return a, nil
}

// ordinalOf returns the number at the end of a pod's name.
func ordinalOf(name string) (uint32, error) {
	i := strings.LastIndexByte(name, '-')
	n, err := strconv.ParseUint(name[i+1:], 10, 16)
	if i < 1 || err != nil {
		return 0, fmt.Errorf("the instance's name %q does not end in its ordinal", name)
	}
	return uint32(n), nil
}

// Run runs the instance until ctx ends and mysqld has been stopped.
func (a *Agent) Run(ctx context.Context) error {
	// The work itself must outlive ctx, which only says that the agent shall come to its end.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var side sync.WaitGroup
	side.Go(func() { a.ignoreEnd(a.watch.Run(inner)) })
	side.Go(func() { a.proveQuorum(inner) })
	side.Go(func() { a.ignoreEnd(a.keeper.Run(inner)) })
	defer func() {
		cancel()
		a.guard.Disarm()
		if r := a.current.Load(); r != nil {
			a.ignoreEnd(r.kill())
		}
		// Whatever they have started ends with their context.
		a.underWay.Wait()
	}()
	a.comeUp(time.Now())
	a.reporter.base = a.picture()
	terminating := ctx.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		a.tellKeeper()
		a.advance(inner)
		a.report()
		if a.stopped {
			return nil
		}
		timer.Reset(a.pause())
		select {
		case <-terminating:
			terminating = nil
			a.terminateBy = time.Now().Add(a.opts.Grace)
			a.log.Info("Asked to stop")
		case <-a.wake:
		case finish := <-a.done:
			finish()
		case end := <-a.exits:
			a.ended(end)
		case <-timer.C:
		}
	}
}

// ignoreEnd logs the error of something that nobody can be told about.
func (a *Agent) ignoreEnd(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		a.log.Error("A background task ended", "error", err.Error())
	}
}

// poke wakes the loop.
func (a *Agent) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// terminating says whether the agent was asked to stop.
func (a *Agent) terminating() bool { return !a.terminateBy.IsZero() }

// advance starts the next piece of work, if none is under way and one is due.
func (a *Agent) advance(ctx context.Context) {
	if a.working != nil {
		if a.turning && a.inbox.waiting() {
			a.hurry()
		}
		if a.holding.rejoining && (a.terminating() || a.inbox.overtakes()) {
			a.working()
		}
		return
	}
	if a.later != nil {
		later := a.later
		a.later = nil
		later()
	}
	a.keepConfig(ctx)
	now := time.Now()
	r := a.current.Load()
	rejoin, startAt := a.held()
	a.startAt = startAt
	switch {
	case a.stopping:
		a.stopped = r == nil
		if r != nil && !processEnded(r) {
			a.work(ctx, a.stopMysqld(r))
		}
	case a.terminating() && a.mayStop(now, r):
		a.stopping = true
		a.advance(ctx)
	case a.inbox.waiting():
		a.work(ctx, a.acceptDirective)
	case r == nil && !a.terminating() && !now.Before(startAt) && rejoin:
		a.holding.rejoining = true
		a.work(ctx, a.rejoin)
	case r == nil && !a.terminating() && a.restoreFirst(ctx, now):
	case r == nil && !a.terminating() && !now.Before(startAt):
		a.work(ctx, a.startMysqld)
	case r != nil && a.restartWanted(r) && !processEnded(r):
		a.work(ctx, a.restartForConfig(r))
	case r != nil && !r.dying.Load() && !now.Before(a.nextTurn):
		a.keepUsers(ctx, r)
		a.turning, a.turned = true, now
		a.work(ctx, a.turn(r))
	}
}

// hurry ends the turn under way for a new directive. Nearly always it ends by itself within a moment; to cut its question
// short would cost the session with mysqld, and the next turn a new one.
func (a *Agent) hurry() {
	if left := turnGrace - time.Since(a.turned); left > 0 {
		a.nextTurn = time.Now().Add(left)
		return
	}
	a.working()
}

// work runs a task beside the loop. The task owns the memory until the function it returns has been called by the loop.
func (a *Agent) work(ctx context.Context, task func(context.Context) func()) {
	ctx, cancel := context.WithCancel(ctx)
	a.working = cancel
	go func() {
		finish := task(ctx)
		cancel()
		a.done <- func() {
			a.working, a.turning, a.holding.rejoining = nil, false, false
			if finish != nil {
				finish()
			}
		}
	}()
}

// job runs a long task that owns nothing. finish is called by the loop once it owns the memory.
func (a *Agent) job(ctx context.Context, name string, task func(context.Context) (finish func())) {
	if a.jobs[name] {
		return
	}
	a.jobs[name] = true
	a.underWay.Go(func() {
		finish := task(ctx)
		a.done <- func() {
			delete(a.jobs, name)
			a.later = a.then(a.later, finish)
			a.nextTurn = time.Time{}
		}
	})
}

// pause is how long the loop may sleep.
func (a *Agent) pause() time.Duration {
	wait := time.Second
	for _, at := range []time.Time{a.nextTurn, a.nextStart, a.startAt, a.terminateBy, a.reporter.due, a.memory.restore.retryAt} {
		if left := time.Until(at); left > 0 && left < wait {
			wait = left
		}
	}
	return max(wait, time.Millisecond)
}

// ended takes note of the end of mysqld.
func (a *Agent) ended(end runEnd) {
	if a.current.Load() != end.run {
		return
	}
	a.current.Store(nil)
	a.guard.Disarm()
	a.prober.stop()
	end.run.client.Close()
	if a.working != nil {
		a.working()
	}
	a.log.Info("mysqld ended", "how", end.exit.String(), "run", end.run.number, "after", time.Since(end.run.begun).Round(time.Millisecond).String())
	tainted := end.run.tainted.Load()
	a.reporter.gone = true
	// If work is under way it owns the memory; it notices its cancelled context and gives it back.
	a.later = a.then(a.later, func() { a.forgetRun(end, tainted) })
}

// forgetRun drops what was true of the run that ended, and decides when to start the next one.
func (a *Agent) forgetRun(end runEnd, tainted bool) {
	m := &a.memory
	a.reporter.gone = false
	m.observation, m.plan = nil, duty.Plan{}
	m.drained, m.primaryEpoch, m.passwords = false, 0, nil
	m.receiver, m.role, m.roleEpoch = duty.ReceiverUnknown, "", 0
	m.opening, m.source = opening{}, hearing{}
	m.credentials, m.sealedOf = map[string]instance.Sealed{}, map[string]string{}
	m.config.run = ""
	m.clone.busy, m.clone.copying = false, false
	serving := m.directive != nil && (m.directive.Role == instance.RolePrimary || m.directive.Role == instance.RoleDrain)
	alone := serving && m.directive.Primary != nil && m.directive.Primary.Acks == 0
	if serving && end.run.answered.Load() && m.state.Kept {
		// See the package's comment: a duty as primary ends with the run it was given to. One that never answered has not
		// begun with it, and a blank instance recovers nothing that would have to be decided about.
		m.directive, m.accepted = nil, ""
		a.inbox.forget()
	}
	now := time.Now()
	_, _, isolated := a.inbox.notes()
	switch {
	case isolated:
		a.holding.begin(now, isolatedPause)
	case alone:
		a.holding.begin(now, 0)
	default:
		a.holding.begin(now, failoverPause)
	}
	switch {
	case !end.run.answered.Load():
		a.startFailures++
		a.fail(instance.ProblemStartFailed, fmt.Errorf("mysqld ends while it starts (%s): %s", end.exit, a.reporter.errors.Last()))
		a.nextStart = now.Add(min(100*time.Millisecond<<min(a.startFailures, 6), 5*time.Second))
	case tainted && !alone:
		// Leave the processor to the failover. The directive of the new epoch ends the wait; the fence before it does not.
		a.startFailures = 0
		a.nextStart = now.Add(failoverPause)
	default:
		a.startFailures = 0
		a.nextStart = now
	}
	a.nextTurn = time.Time{}
}

// socketUser returns the operating system's user under whose name root@localhost may log in over the socket; "" if the
// process's user has no name.
func socketUser() string {
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil {
		return ""
	}
	return u.Username
}
