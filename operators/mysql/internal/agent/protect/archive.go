package protect

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/archive"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/target"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// archiveState is how far the archive is.
type archiveState struct {
	// key is of which task this is the state.
	key string
	// destination is where that goes.
	destination string
	// complete is a moment up to which all is archived; zero if none is known.
	complete time.Time
	// idle is the newest moment at which nothing was waiting; zero if something is.
	idle time.Time
	// caught is up to when everything is archived that could be: what is missing for good does not hold it back. It begins with the task.
	caught  time.Time
	missing string
	// archiving and tidying are what fails.
	archiving, tidying problem
	listed             bool
	stored             []instance.StoredFull
	// damaged are the full backups whose manifests cannot be read, unread the pieces of the archive.
	damaged, unread []string
	// gone are those that are to be deleted and were not there at the newest look.
	gone []string
	// reopen says that the archive's own picture of the store is not right any more; tidy that tidying is due.
	reopen, tidy bool
}

// report says it.
func (a *archiveState) report(now time.Time) *instance.ArchiveReport {
	failing := a.archiving
	if failing.reason == "" {
		failing = a.tidying
	}
	damaged := append(append([]string{}, a.damaged...), a.unread...)
	if len(damaged) == 0 {
		damaged = nil
	}
	return &instance.ArchiveReport{
		Complete: a.complete.Truncate(time.Minute), Lagging: now.Sub(a.caught) > instance.LagBound, Missing: a.missing,
		Problem: failing.text, ProblemReason: failing.reason,
		Listed: a.listed, Stored: a.stored, Damaged: damaged[:min(len(damaged), damagedLimit)], Gone: a.gone,
	}
}

// exposure is for how long something that was acknowledged has been waiting to be archived; known is false if that is not known. fresh is how old a
// look may be.
func (a *archiveState) exposure(now time.Time, fresh time.Duration) (age time.Duration, known bool) {
	switch {
	case !a.idle.IsZero() && now.Sub(a.idle) <= fresh:
		return 0, true
	case a.complete.IsZero():
		return 0, false
	}
	return max(0, now.Sub(a.complete)), true
}

// keepArchive archives and tidies until ctx ends.
func (k *Keeper) keepArchive(ctx context.Context, key string, s Situation) (forget bool) {
	fresh := archiveState{key: key, destination: s.destination(), caught: time.Now()}
	k.mu.Lock()
	if k.archive.destination == fresh.destination {
		// What was complete up to a moment stays so.
		fresh.complete = k.archive.complete
	}
	k.archive = fresh
	k.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { k.archiveLog(ctx, s) })
	both.Go(func() { k.tidyUp(ctx, s) })
	both.Wait()
	return true
}

// note changes the state of the archive.
func (k *Keeper) note(change func(a *archiveState)) {
	k.mu.Lock()
	change(&k.archive)
	k.mu.Unlock()
	k.changed()
}

// archiveLog archives the binary log until ctx ends.
func (k *Keeper) archiveLog(ctx context.Context, s Situation) {
	for failures := 0; ctx.Err() == nil; {
		w := &writer{keeper: k, server: s.Server, failures: failures}
		err := w.run(ctx, s)
		failures = w.failures
		if err == nil || ctx.Err() != nil {
			continue
		}
		failures++
		k.archivingFailed(err)
		sleep(ctx, k.pace.after(failures))
	}
}

// archivingFailed takes note of a failure.
func (k *Keeper) archivingFailed(err error) {
	reason := target.Reason(err)
	k.note(func(a *archiveState) {
		k.totals.failures++
		if a.archiving.fails(err, reason, time.Now()) {
			k.opts.Logger.Warn("The binary log is not archived", "reason", reason, "error", err.Error())
		}
	})
}

// writer writes the archive, from one look at the store on.
type writer struct {
	keeper *Keeper
	server Server
	// archive is nil until the store was looked at.
	archive *archive.Archive
	// failures counts those in a row.
	failures int
	// whole is what had been executed, and was archived, when the archive was marked complete at marked.
	whole  string
	marked time.Time
	// stored is when the newest piece was.
	stored time.Time
}

// run archives until something fails, or until the store is to be looked at anew.
func (w *writer) run(ctx context.Context, s Situation) (err error) {
	k := w.keeper
	sealed, err := recipients(s.Duty.Recipients)
	if err != nil {
		return err
	}
	store, closing, err := k.opts.Open(s.Duty.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	k.note(func(a *archiveState) { a.reopen = false })
	w.archive, err = archive.Open(ctx, archive.Options{
		Store: store, Cluster: s.Duty.Cluster, Instance: k.opts.Instance, Epoch: s.Epoch, DataDir: k.opts.DataDir, Recipients: sealed,
	})
	if err != nil {
		return err
	}
	k.note(func(a *archiveState) { a.complete = later(a.complete, w.archive.Complete()) })
	for !k.reopens() {
		pause, err := w.step(ctx)
		if err != nil {
			return err
		}
		if !sleep(ctx, pause) {
			return nil
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// reopens says whether the store is to be looked at anew.
func (k *Keeper) reopens() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.archive.reopen
}

// step archives what has been executed, and returns how long it is until the next step.
func (w *writer) step(ctx context.Context) (time.Duration, error) {
	k := w.keeper
	// Whoever was told of a commit before this moment finds it in what is read after it.
	at := time.Now().UTC().Round(0)
	text, err := w.server.Executed(ctx)
	if ctx.Err() != nil {
		// Whatever it was, it may have been read of an instance that is no primary any more.
		return 0, context.Cause(ctx)
	}
	if err != nil {
		w.failures++
		k.archivingFailed(err)
		return k.pace.after(w.failures), nil
	}
	switch {
	case text == w.whole && at.Sub(w.marked) < k.pace.mark:
		w.succeeded(archive.Result{}, at, text)
		return k.pace.look, nil
	case text != w.whole && at.Sub(w.stored) < k.pace.rest:
		k.note(func(a *archiveState) { a.idle = time.Time{} })
		return k.pace.look, nil
	}
	executed, err := gtid.Parse(text)
	if err != nil {
		return 0, fmt.Errorf("read what the server has executed: %w", err)
	}
	if text != w.whole {
		k.note(func(a *archiveState) { a.idle = time.Time{} })
	}
	purged, err := w.purged(ctx)
	if err != nil {
		return 0, err
	}
	result, err := w.archive.Step(ctx, archive.Permit{Set: executed, Purged: purged, At: at})
	w.count(result)
	if err != nil {
		return 0, err
	}
	if w.archive.Complete().Equal(at) {
		w.whole, w.marked = text, at
	}
	w.succeeded(result, at, text)
	return k.pace.look, nil
}

// purged reads what the binary log does not hold of what was executed.
func (w *writer) purged(ctx context.Context) (gtid.Set, error) {
	text, err := w.server.Purged(ctx)
	if err != nil {
		return gtid.Set{}, err
	}
	purged, err := gtid.Parse(text)
	if err != nil {
		return gtid.Set{}, fmt.Errorf("read what the server has purged: %w", err)
	}
	return purged, nil
}

// count counts what was stored.
func (w *writer) count(result archive.Result) {
	if result.Pieces == 0 {
		return
	}
	w.stored = time.Now()
	k := w.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	k.totals.pieces += result.Pieces
	k.totals.bytes += result.Bytes
}

// succeeded takes note of a step, at the beginning of which text had been executed.
func (w *writer) succeeded(result archive.Result, at time.Time, text string) {
	w.failures = 0
	k := w.keeper
	k.note(func(a *archiveState) {
		if a.archiving.reason != "" {
			k.opts.Logger.Info("The binary log is archived again")
		}
		a.archiving = problem{}
		a.caught, a.idle = at, time.Time{}
		if text == w.whole {
			a.idle, a.complete = at, at
		}
		if result.Archived.IsEmpty() {
			return // It was a look only.
		}
		missing := result.Missing.String()
		if missing != "" && missing != a.missing {
			k.opts.Logger.Warn("Transactions are in no archive and in no binary log any more; a full backup closes the gap", "missing", missing)
		}
		a.missing = missing
	})
}
