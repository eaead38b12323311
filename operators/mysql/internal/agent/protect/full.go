package protect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/full"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/target"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// attemptParts is how many numbers of parts each attempt has for itself. Attempts of two instances may overlap for a moment, and what one removes
// must not be the other's.
const attemptParts = 1_000_000

// errInterrupted says that a full backup cannot go on: what it was a copy of is gone.
var errInterrupted = errors.New("mysqld has ended, or its data are being replaced")

// takeFull takes the full backup that is wanted.
func (k *Keeper) takeFull(ctx context.Context, _ string, s Situation) (forget bool) {
	wanted := *s.Duty.Full
	k.progress(func(r *instance.FullReport) {
		*r = instance.FullReport{Name: wanted.Name, Attempt: wanted.Attempt, State: instance.FullCopying}
	})
	began := time.Now()
	m, taken, err := k.take(ctx, s)
	if left := removeAll(k.opts.CopyDir); left != nil {
		k.opts.Logger.Warn("Could not remove what is left of a full backup", "error", left.Error())
	}
	if err != nil && ctx.Err() != nil {
		now, _ := k.situation()
		if now.Server == s.Server && !now.Replacing {
			// It is not wanted any more, or not in this way; or the agent ends.
			k.opts.Logger.Info("Gave a full backup up that is not wanted any more", "backup", wanted.Name, "attempt", wanted.Attempt)
			k.progress(func(r *instance.FullReport) { *r = instance.FullReport{} })
			return true
		}
		err = errInterrupted
	}
	if err != nil {
		reason := target.Reason(err)
		k.opts.Logger.Warn("A full backup has failed", "backup", wanted.Name, "attempt", wanted.Attempt, "reason", reason, "error", err.Error())
		k.ended(instance.FullFailed, func(r *instance.FullReport) { r.Problem, r.ProblemReason = target.Words(err), reason }, time.Since(began), true)
		return false
	}
	stored := storedFull(m)
	k.opts.Logger.Info("A full backup is stored", "backup", wanted.Name, "attempt", wanted.Attempt, "taken", taken, "bytes", stored.Bytes,
		"stored", stored.StoredBytes, "took", time.Since(began).Round(time.Millisecond).String())
	k.ended(instance.FullDone, func(r *instance.FullReport) { r.Percent, r.Stored = 100, &stored }, time.Since(began), taken)
	return false
}

// take takes a full backup, unless one of that name is stored already.
func (k *Keeper) take(ctx context.Context, s Situation) (m backup.Full, taken bool, err error) {
	wanted := *s.Duty.Full
	sealed, err := recipients(s.Duty.Recipients)
	if err != nil {
		return backup.Full{}, false, err
	}
	store, closing, err := k.opts.Open(s.Duty.Store)
	if err != nil {
		return backup.Full{}, false, err
	}
	defer func() { err = errors.Join(err, closing()) }()
	m, found, err := backup.LoadFull(ctx, store, s.Duty.Cluster, wanted.Name)
	if err != nil || found {
		return m, false, err
	}
	box, leave, err := k.sandbox(wanted)
	if err != nil {
		return backup.Full{}, false, err
	}
	defer func() { err = errors.Join(err, leave()) }()
	m, err = full.Take(ctx, full.Options{
		Method: wanted.Method, Tools: k.opts.Tools,
		Store: store, Cluster: s.Duty.Cluster, Name: wanted.Name, Instance: k.opts.Instance, Server: s.Server, DataDir: k.opts.DataDir,
		CopyDir: k.opts.CopyDir, Recipients: sealed, Before: wanted.Attempt * attemptParts, Prove: box,
		Progress: func(done, of int64) {
			k.progress(func(r *instance.FullReport) { r.State, r.Percent = instance.FullStoring, percent(done, of) })
		},
		Unproven: func(why error) {
			k.opts.Logger.Warn("A full backup is stored without a proof", "backup", wanted.Name, "reason", why.Error())
		},
		Confirm: func(ctx context.Context, within gtid.Set) error { return k.confirm(ctx, wanted, within.String()) },
	})
	return m, true, err
}

// sandbox makes a place for the private server that proves the copy, if it is to be proven.
func (k *Keeper) sandbox(wanted instance.FullDuty) (*sandbox.Options, func() error, error) {
	if !wanted.Prove {
		return nil, func() error { return nil }, nil
	}
	box, leave, err := k.opts.Sandbox()
	return &box, leave, err
}

// percent is how much of something is done.
func percent(done, of int64) int {
	if of <= 0 {
		return 100
	}
	return int(done * 100 / of)
}

// confirm waits until the directive says that what a full backup holds cannot be lost any more.
func (k *Keeper) confirm(ctx context.Context, wanted instance.FullDuty, within string) error {
	k.progress(func(r *instance.FullReport) { r.State, r.Within = instance.FullConfirming, within })
	timer := time.NewTimer(k.pace.confirm)
	defer timer.Stop()
	for {
		s, news := k.situation()
		if s.Duty != nil && s.Duty.Full != nil {
			if now := s.Duty.Full; now.Name == wanted.Name && now.Attempt == wanted.Attempt && now.Confirmed == within {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return fmt.Errorf("what the copy holds was not confirmed to be acknowledged within %s", k.pace.confirm)
		case <-news:
		}
	}
}

// progress changes what is said of the full backup.
func (k *Keeper) progress(change func(r *instance.FullReport)) {
	k.mu.Lock()
	change(&k.full)
	k.mu.Unlock()
	k.changed()
}

// ended takes note of the end of an attempt; counts says that one was made.
func (k *Keeper) ended(state instance.FullState, change func(r *instance.FullReport), took time.Duration, counts bool) {
	k.mu.Lock()
	k.full.State = state
	change(&k.full)
	if counts {
		k.totals.ended(state, took)
	}
	if state == instance.FullDone {
		// It may close a gap, and there may be one too many now.
		k.archive.tidy, k.archive.reopen = true, true
		k.wake()
	}
	k.mu.Unlock()
	k.changed()
}
