package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/duty"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/restore"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/target"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

const (
	// seedAttempts is how often a restore that stands in for a clone is begun. Whatever cuts it short, such as too little memory for it, may do so
	// each time.
	seedAttempts = 3
	// seedAsks is how often in a row the source may fail to say what it holds before what was restored is given up.
	seedAsks = 6
)

// seedMemory is what the agent knows about a restore that stands in for a clone.
type seedMemory struct {
	// running: the job has not ended. It may outlive the run of mysqld in which it began, by as long as it takes to remove what it has made.
	running bool
}

// way is how data are replaced.
type way int

const (
	// wayClone: by CLONE.
	wayClone way = iota
	// wayRestore: what is stored is restored beside the data.
	wayRestore
	// wayTake: what was restored takes the place of the data.
	wayTake
	// wayLater: something has to end first.
	wayLater
)

// unfitError says that what is stored is not of the history that the source has, or does not reach it.
type unfitError struct{ why string }

// Error implements error.
func (e *unfitError) Error() string { return e.why }

// way decides how the data are replaced. Only an instance that holds nothing is made from a backup: there is nothing to archive then, and room for both.
// A restore that is whole is used even if the directive does not speak of it any more: whether it fits is asked anyway.
func (a *Agent) way(d instance.CloneDuty) (way, error) {
	m := &a.memory
	st := &m.state
	switch {
	case m.seed.running:
		return wayLater, nil
	case st.Kept, st.Seed == nil && d.Seed == nil, st.Seed != nil && st.Seed.Problem != "":
		return wayClone, nil
	case st.Clone != nil && st.Clone.Seeded:
		return wayClone, a.leaveSeed(errors.New("mysqld did not come up with what was restored"))
	case st.Seed != nil && st.Seed.Whole:
		return wayTake, nil
	case d.Seed == nil:
		return wayClone, nil
	case st.Seed != nil && st.Seed.Attempts >= seedAttempts:
		return wayClone, a.leaveSeed(fmt.Errorf("the restore was cut short %d times, perhaps because there is too little memory for it", st.Seed.Attempts))
	}
	return wayRestore, nil
}

// leaveSeed notes durably that the instance is not made from a backup, and why: CLONE is the way from here on.
func (a *Agent) leaveSeed(why error) error {
	reason := target.Reason(why)
	if _, unfit := errors.AsType[*unfitError](why); unfit {
		reason = instance.ProblemUnfit
	}
	var next state.Seed
	err := a.save(func(st *state.State) {
		if st.Seed != nil {
			next = *st.Seed
		}
		next.Whole, next.Holds, next.Problem, next.ProblemReason = false, "", target.Words(why), reason
		st.Seed = &next
	})
	if err != nil {
		return err
	}
	a.log.Warn("Not made from a backup, but by CLONE", "why", next.Problem, "reason", reason)
	a.tellSeed(&instance.RestoreReport{State: instance.RestoreFailed, Plan: next.Plan, Problem: next.Problem, ProblemReason: reason})
	return nil
}

// tellSeed has reports say how far it is.
func (a *Agent) tellSeed(r *instance.RestoreReport) {
	a.seeding.Store(r)
	a.poke()
}

// recallSeed has reports say what an earlier agent has left.
func (a *Agent) recallSeed() {
	if s := a.memory.state.Seed; s != nil && s.Problem != "" {
		a.seeding.Store(&instance.RestoreReport{State: instance.RestoreFailed, Plan: s.Plan, Problem: s.Problem, ProblemReason: s.ProblemReason})
	}
}

// dropSeed removes what was restored beside the data, and what an attempt that was cut short has left.
func (a *Agent) dropSeed() error {
	if err := errors.Join(os.RemoveAll(a.paths.seed), os.RemoveAll(restore.Unfinished(a.paths.seed)), os.RemoveAll(a.paths.seedTemp)); err != nil {
		return fmt.Errorf("remove what was restored: %w", err)
	}
	return nil
}

// beginSeed begins to restore. mysqld goes on with what it has: nothing of that is touched before all of the other is there.
func (a *Agent) beginSeed(ctx context.Context, r *run, d instance.CloneDuty, source mysqld.Source) error {
	m := &a.memory
	seed := state.Seed{Attempts: 1}
	if was := m.state.Seed; was != nil {
		seed.Attempts += was.Attempts
	}
	if err := a.save(func(st *state.State) { st.Seed = &seed }); err != nil {
		return err
	}
	m.clone.busy, m.clone.copying, m.seed.running = true, true, true
	a.tellSeed(&instance.RestoreReport{State: instance.RestorePlanning})
	a.log.Info("Restoring in place of a clone", "attempt", seed.Attempts, "why", d.Why)
	a.underWay.Go(func() {
		ctx, cancel := during(ctx, r)
		defer cancel()
		result, err := a.restoreSeed(ctx, d, source)
		a.done <- func() {
			a.later = a.then(a.later, func() { a.seeded(r, result, err) })
			a.nextTurn = time.Time{}
		}
	})
	return nil
}

// restoreSeed is the job behind beginSeed. It owns nothing but its folders.
func (a *Agent) restoreSeed(ctx context.Context, d instance.CloneDuty, source mysqld.Source) (result restore.Result, err error) {
	executable, err := a.executable()
	if err != nil {
		return restore.Result{}, err
	}
	run := filepath.Join(filepath.Dir(a.paths.socket), "seed")
	if err := errors.Join(a.dropSeed(), os.RemoveAll(run)); err != nil {
		return restore.Result{}, err
	}
	for _, dir := range []string{run, a.paths.seedTemp} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return restore.Result{}, fmt.Errorf("make a folder for the restore: %w", err)
		}
	}
	store, closing, err := target.Open(d.Seed.Store, a.opts.BackupCredentials, a.opts.BackupVolume)
	if err != nil {
		return restore.Result{}, err
	}
	// The data are in their place by then, or the error says why not.
	defer func() { a.ignoreEnd(errors.Join(closing(), os.RemoveAll(run), os.RemoveAll(a.paths.seedTemp))) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	plan := ""
	result, err = restore.Run(ctx, restore.Options{
		Store: store, Cluster: d.Seed.Cluster, DataDir: a.paths.seed, Mysqld: executable, RunDir: run, TempDir: a.paths.seedTemp, Supervisor: a.supervisor,
		Planned: func(p backup.Plan) {
			plan = words(p)
			a.log.Info("Restoring", "from", plan, "because", p.Why)
			a.tellSeed(&instance.RestoreReport{State: instance.RestoreUnpacking, Of: len(p.Full.Parts), Plan: plan})
			// What cannot be used in the end need not be restored. If the source does not answer now, it is asked then.
			if h, err := source.Ask(ctx); err == nil {
				if unfit, ok := errors.AsType[*unfitError](fits(d.Source, h, planned(p))); ok {
					cancel(unfit)
				}
			}
		},
		Progress: func(stage restore.Stage, done, of int) {
			a.tellSeed(&instance.RestoreReport{State: stages[stage], Done: done, Of: of, Plan: plan})
		},
	})
	if unfit, ok := errors.AsType[*unfitError](context.Cause(ctx)); ok {
		return result, unfit
	}
	return result, err
}

// planned is what a restore will hold.
func planned(p backup.Plan) gtid.Set {
	out := p.Full.Holds
	for _, piece := range p.Pieces {
		out = out.Union(piece.Holds)
	}
	return out.Subtract(p.Discarded)
}

// fits says whether a replica that holds a set can follow a source: it must hold nothing that the source does not, such as what a forced promotion has
// given up, and all that the source cannot give any more. The error is an unfitError if it cannot.
func fits(s instance.Source, h mysqld.History, holds gtid.Set) error {
	if s.ServerUUID != "" && !strings.EqualFold(h.ServerUUID, s.ServerUUID) {
		return fmt.Errorf("at the address of %s answers server %s, not %s", s.Name, h.ServerUUID, s.ServerUUID)
	}
	if excess := holds.Subtract(h.Executed); !excess.IsEmpty() {
		return &unfitError{fmt.Sprintf("what is stored holds transactions that %s does not have: %s", s.Name, excess)}
	}
	if missing := h.Purged.Subtract(holds); !missing.IsEmpty() {
		return &unfitError{fmt.Sprintf("what is stored lacks transactions that %s has in no binary log any more: %s", s.Name, missing)}
	}
	return nil
}

// seeded takes note of the end of the job.
func (a *Agent) seeded(r *run, result restore.Result, err error) {
	m := &a.memory
	m.seed.running = false
	over := processEnded(r) || a.current.Load() != r
	if !over {
		m.clone.busy, m.clone.copying = false, false
	}
	switch {
	case err == nil:
		a.log.Info("Restored beside the data", "from", words(result.Plan), "executed", result.Executed.String(),
			"unpacking", result.Unpacking.Round(time.Millisecond).String(), "replaying", result.Replaying.Round(time.Millisecond).String())
		err = a.save(func(st *state.State) {
			seed := state.Seed{Whole: true, Holds: result.Executed.String(), Plan: words(result.Plan)}
			if st.Seed != nil {
				seed.Attempts = st.Seed.Attempts
			}
			st.Seed = &seed
		})
	case over, errors.Is(err, context.Canceled):
		a.log.Info("Left the restore: mysqld has ended, or is about to")
		a.tellSeed(nil)
		return
	default:
		err = a.leaveSeed(err)
	}
	if err != nil {
		m.clone.retryAt = time.Now().Add(cloneRetry)
		a.fail(instance.ProblemCloneFailed, err)
	}
}

// takeSeed is the job that puts what was restored into the place of the data, if the source says that a replica with it can follow. It owns nothing:
// each change of the state goes through the loop.
func (a *Agent) takeSeed(ctx context.Context, r *run, step duty.Replace, clone state.Clone, holds string, source mysqld.Source) {
	ctx, cancel := during(ctx, r)
	defer cancel()
	err := func() error {
		set, err := gtid.Parse(holds)
		if err != nil {
			return fmt.Errorf("read what was restored: %w", err)
		}
		history, err := source.Ask(ctx)
		if err != nil {
			return err
		}
		if err := fits(step.Duty.Source, history, set); err != nil {
			return err
		}
		clone.SourceExecuted, clone.Seeded, clone.Begun = holds, true, true
		if err := a.change(func(st *state.State) { st.Clone, st.Kept, st.Channel = &clone, false, nil }); err != nil {
			return err
		}
		a.log.Info("Taking over what was restored", "executed", holds)
		return r.kill()
	}()
	a.done <- func() {
		a.later = a.then(a.later, func() {
			if err != nil && !processEnded(r) {
				a.notTaken(err)
			}
		})
		a.nextTurn = time.Time{}
	}
}

// notTaken takes note of restored data that did not get into their place: either never will, or are tried again.
func (a *Agent) notTaken(err error) {
	m := &a.memory
	a.cloneFailed(err)
	if _, unfit := errors.AsType[*unfitError](err); !unfit && m.clone.failures < seedAsks {
		return
	}
	if err := a.leaveSeed(err); err != nil {
		a.fail(instance.ProblemCloneFailed, err)
		return
	}
	m.clone = cloneMemory{}
}

// placeSeed puts restored data into the place of the present ones, which are worth nothing. It may have been begun by an agent that was killed: as long
// as they are in a place of their own they are still to be moved. placed says that they were.
func (a *Agent) placeSeed() (placed bool, err error) {
	if _, err := os.Stat(a.paths.seed); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("look for the restored data: %w", err)
	}
	if err := os.RemoveAll(a.paths.data); err != nil {
		return false, fmt.Errorf("make room for the restored data: %w", err)
	}
	if err := os.Rename(a.paths.seed, a.paths.data); err != nil {
		return false, fmt.Errorf("put the restored data into their place: %w", err)
	}
	return true, syncFolder(a.paths.root)
}
