// Package protect does for backups what an instance is told to do, beside the agent's loop: it archives the binary log, takes full backups, deletes
// what is not kept any longer, and says how far all that is.
//
// The loop tells the keeper how things are, and asks it what it has to report; neither ever waits for the other, and the keeper touches nothing of
// the loop's. What goes on under a situation that has changed is cancelled before Tell returns: an instance that is told to be primary no more has
// read for the last time what it has executed before anything is done about its role.
package protect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/full"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/target"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

// Server is a run of the instance's server.
type Server interface {
	full.Server
	// Purged is what it has executed and does not hold in its binary log.
	Purged(ctx context.Context) (string, error)
}

// Options say for which instance the keeper works, and where everything is.
type Options struct {
	// Instance is the instance's name.
	Instance string
	// DataDir is its data folder. CopyDir is where the copies for full backups are made: a folder on the same volume, which is the keeper's alone.
	DataDir, CopyDir string
	// Tools are the programs of Percona XtraBackup, for those full backups that are taken by them.
	Tools full.Tools
	// Open opens a store. The function that comes with it closes it.
	Open func(instance.Store) (objectstore.Store, func() error, error)
	// Sandbox makes a place for a private server that proves a copy, and says how to start it. The function that comes with it removes the place.
	Sandbox func() (sandbox.Options, func() error, error)
	// Changed, if set, is called when there is something new to report.
	Changed func()
	// Logger receives what happens.
	Logger *slog.Logger
}

// Situation is what the loop knows that the keeper needs.
type Situation struct {
	// Told says that there is a directive; Duty is what it says, nil for no duty. It is never changed.
	Told bool
	Duty *instance.BackupDuty
	// Server is the run of mysqld that answers; nil without one.
	Server Server
	// Serving says that the instance is the primary that serves in Epoch: what it has executed is acknowledged.
	Serving bool
	Epoch   uint64
	// Replacing says that the data are about to be replaced.
	Replacing bool
}

// pace is how often things are done.
type pace struct {
	// look is the time between two looks at what the server has executed; rest is how long it is after a piece until the next one, so that a
	// history is not cut into more pieces than it takes. mark is how often the archive is marked complete while nothing happens.
	look, rest, mark time.Duration
	// fulls is the time between two looks at the full backups that are stored, retention that between two looks at what is not kept any longer.
	fulls, retention time.Duration
	// confirm is how long a full backup waits to be confirmed.
	confirm time.Duration
	// first and longest are the pauses after failures; each is twice as long as the one before.
	first, longest time.Duration
}

// usual is the pace outside of tests.
var usual = pace{
	look: time.Second, rest: 5 * time.Second, mark: 30 * time.Second, fulls: 5 * time.Minute, retention: time.Hour,
	confirm: 10 * time.Minute, first: time.Second, longest: time.Minute,
}

// after is the pause after so many failures in a row.
func (p pace) after(failures int) time.Duration {
	pause := p.first
	for range min(failures, 30) - 1 {
		if pause *= 2; pause >= p.longest {
			return p.longest
		}
	}
	return pause
}

// Keeper does what a duty for backups says.
type Keeper struct {
	opts Options
	pace pace

	mu sync.Mutex
	// now is what the loop said last; news is closed when it says something else, or when tidying is due.
	now  Situation
	news chan struct{}
	// archiving and taking are the two things that may be under way.
	archiving, taking task
	archive           archiveState
	// full is how far the full backup is that was wanted last.
	full   instance.FullReport
	totals totals
}

// New returns a keeper. It does nothing until it runs.
func New(opts Options) *Keeper { return &Keeper{opts: opts, pace: usual, news: make(chan struct{})} }

// Run works until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	// An agent that was killed half-way has left a copy, which may be as large as the data.
	if err := os.RemoveAll(k.opts.CopyDir); err != nil {
		k.opts.Logger.Warn("Could not remove what is left of a full backup", "error", err.Error())
	}
	var both sync.WaitGroup
	both.Go(func() { k.work(ctx, &k.archiving, k.keepArchive) })
	both.Go(func() { k.work(ctx, &k.taking, k.takeFull) })
	both.Wait()
	return context.Cause(ctx)
}

// Tell says how things are. What must not go on has been cancelled when it returns.
func (k *Keeper) Tell(s Situation) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s == k.now {
		return
	}
	k.now = s
	k.archiving.want(s.archiving())
	k.taking.want(s.taking())
	if s.Told && (s.Duty == nil || s.Duty.Full == nil) {
		// Should it be wanted again it is another one, even under the same name.
		k.taking.forget()
		k.full = instance.FullReport{}
	}
	k.wake()
}

// wake lets everybody look again. The lock is held.
func (k *Keeper) wake() {
	close(k.news)
	k.news = make(chan struct{})
}

// situation returns what the loop said last, and what is closed when it says something else.
func (k *Keeper) situation() (Situation, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now, k.news
}

// changed says that there is something to report.
func (k *Keeper) changed() {
	if k.opts.Changed != nil {
		k.opts.Changed()
	}
}

// task is something that goes on for as long as it is the same that is wanted.
type task struct {
	// wanted is what is wanted, "" for nothing; running is what goes on, and cancel ends it. ended is what has come to its end by itself, and is not
	// begun again.
	wanted, running, ended string
	cancel                 context.CancelFunc
	// forgotten says that what is running counts for nothing when it has ended.
	forgotten bool
}

// forget lets what has ended, or is about to, be begun anew if it is wanted once more.
func (t *task) forget() { t.ended, t.forgotten = "", true }

// want says what is wanted.
func (t *task) want(key string) {
	t.wanted = key
	if t.running != "" && t.running != key {
		t.cancel()
	}
}

// work does whatever is wanted of a task, one after the other. do returns when its context ends, or when there is no more to do; forget says that
// the same is to be begun anew if it is wanted once more.
func (k *Keeper) work(ctx context.Context, t *task, do func(ctx context.Context, key string, s Situation) (forget bool)) {
	for ctx.Err() == nil {
		inner, cancel := context.WithCancel(ctx)
		s, news, key := k.begin(t, cancel)
		if key == "" {
			cancel()
			select {
			case <-ctx.Done():
			case <-news:
			}
			continue
		}
		forget := do(inner, key, s)
		cancel()
		k.mu.Lock()
		t.running, t.cancel, t.ended = "", nil, key
		if forget || t.forgotten {
			t.ended = ""
		}
		k.mu.Unlock()
		k.changed()
	}
}

// begin takes on what is wanted, if that is to be begun.
func (k *Keeper) begin(t *task, cancel context.CancelFunc) (s Situation, news <-chan struct{}, key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t.wanted == "" || t.wanted == t.ended {
		return k.now, k.news, ""
	}
	t.running, t.cancel, t.forgotten = t.wanted, cancel, false
	return k.now, k.news, t.wanted
}

// sleep waits, and says whether the context goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// archiving says what is archived, in a form that changes with everything that makes it another task; "" for nothing. What is kept and deleted may
// change meanwhile.
func (s Situation) archiving() string {
	if s.Duty == nil || s.Duty.Archive == nil || !s.Serving || s.Server == nil {
		return ""
	}
	return fmt.Sprintf("%s in epoch %d of %p", s.destination(), s.Epoch, s.Server)
}

// taking says the same of the full backup. Another role of the instance is none of its business.
func (s Situation) taking() string {
	if s.Duty == nil || s.Duty.Full == nil || s.Server == nil || s.Replacing {
		return ""
	}
	return fmt.Sprintf("%s as attempt %d at %s by %s", s.destination(), s.Duty.Full.Attempt, s.Duty.Full.Name, s.Duty.Full.Method)
}

// destination is where backups go, and for whom.
func (s Situation) destination() string {
	// Nothing in it can fail to be encoded.
	raw, _ := json.Marshal(instance.BackupDuty{Store: s.Duty.Store, Cluster: s.Duty.Cluster, Recipients: s.Duty.Recipients})
	return string(raw)
}

// recipients are those for whom everything is encrypted.
func recipients(keys []string) ([]age.Recipient, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	parsed, err := age.ParseRecipients(strings.NewReader(strings.Join(keys, "\n")))
	if err != nil {
		return nil, fmt.Errorf("read the public keys that backups are encrypted for: %w", err)
	}
	return parsed, nil
}

// Report returns what there is to say about backups; nil without a duty.
func (k *Keeper) Report() *instance.BackupReport {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now.Duty == nil {
		return nil
	}
	out := &instance.BackupReport{}
	if k.archiving.wanted != "" && k.archive.key == k.archiving.wanted {
		out.Archive = k.archive.report(time.Now())
	}
	if wanted := k.now.Duty.Full; wanted != nil && k.full.Name == wanted.Name && k.full.Attempt == wanted.Attempt {
		report := k.full
		out.Full = &report
	}
	return out
}

// problem is what fails at present. Its words stay for a while, although a store says something else each time.
type problem struct {
	text, reason string
	since        time.Time
}

// stale is how long words stay.
const stale = 5 * time.Minute

// fails takes note of a failure, and says whether that is news.
func (p *problem) fails(err error, reason string, now time.Time) (news bool) {
	if p.reason == reason && now.Sub(p.since) < stale {
		return false
	}
	p.text, p.reason, p.since = target.Words(err), reason, now
	return true
}

// removeAll removes a folder to which somebody may still be writing.
func removeAll(dir string) error {
	var err error
	for range 10 {
		if err = os.RemoveAll(dir); err == nil {
			time.Sleep(50 * time.Millisecond)
			if _, err = os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
				return nil
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	return fmt.Errorf("remove %s: %w", dir, err)
}
