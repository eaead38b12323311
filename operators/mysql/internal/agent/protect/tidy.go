package protect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/target"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

const (
	// damagedLimit is how much of what is damaged is reported at the most.
	damagedLimit = 8
	// unfinishedFor is for how long an object that is being written is left alone.
	unfinishedFor = 48 * time.Hour
)

// sweeper is a store that forgets what was begun and never finished.
type sweeper interface {
	Sweep(ctx context.Context, before time.Time) error
}

// tidyUp looks now and then at what is stored, and deletes what is not kept any longer, until ctx ends.
func (k *Keeper) tidyUp(ctx context.Context, s Situation) {
	var swept time.Time
	for failures := 0; ctx.Err() == nil; {
		now, news := k.situation()
		began := time.Now()
		if k.tidyDue() {
			swept = time.Time{}
		}
		due := began.Sub(swept) >= k.pace.retention
		err := k.tidy(ctx, s, due)
		if ctx.Err() != nil {
			return
		}
		k.tidied(err)
		pause := k.pace.fulls
		if err != nil {
			failures++
			pause = k.pace.after(failures)
		} else if failures = 0; due {
			swept = began
		}
		k.awaitTidying(ctx, now, news, pause)
	}
}

// tidyDue says whether somebody wants it before its time, and takes note that it is done.
func (k *Keeper) tidyDue() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	due := k.archive.tidy
	k.archive.tidy = false
	return due
}

// awaitTidying waits until tidying is due, or there is something else to delete or to see than before.
func (k *Keeper) awaitTidying(ctx context.Context, before Situation, news <-chan struct{}, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-news:
		}
		k.mu.Lock()
		now, tidy := k.now, k.archive.tidy
		news = k.news
		k.mu.Unlock()
		if tidy || now.newest() != before.newest() || !slices.Equal(now.unwanted(), before.unwanted()) {
			return
		}
	}
}

// keeping is what the archive's duty says; nil without one.
func (s Situation) keeping() *instance.ArchiveDuty {
	if s.Duty == nil {
		return nil
	}
	return s.Duty.Archive
}

// unwanted are the full backups that somebody wants deleted.
func (s Situation) unwanted() []string {
	if duty := s.keeping(); duty != nil {
		return duty.Delete
	}
	return nil
}

// newest is the newest full backup that the operator knows of; "" if it knows of none.
func (s Situation) newest() string {
	if duty := s.keeping(); duty != nil {
		return duty.Newest
	}
	return ""
}

// tidied takes note of the end of tidying.
func (k *Keeper) tidied(err error) {
	reason := target.Reason(err)
	k.note(func(a *archiveState) {
		if err == nil {
			a.tidying = problem{}
			return
		}
		k.totals.failures++
		if a.tidying.fails(err, reason, time.Now()) {
			k.opts.Logger.Warn("What is stored is not looked after", "reason", reason, "error", err.Error())
		}
	})
}

// tidy deletes what somebody wants deleted, and if it is due what is not kept any longer, and looks at what is left.
func (k *Keeper) tidy(ctx context.Context, s Situation, due bool) (err error) {
	store, closing, err := k.opts.Open(s.Duty.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	// Before the look: what is not seen then is gone.
	now, _ := k.situation()
	catalog, err := backup.LoadFulls(ctx, store, s.Duty.Cluster)
	if err != nil {
		return fmt.Errorf("look at the full backups: %w", err)
	}
	for _, name := range now.unwanted() {
		if !known(catalog, name) {
			continue
		}
		if err := k.deleteFull(ctx, store, s.Duty.Cluster, name); err != nil {
			return err
		}
		due = true
	}
	if due || k.differs(catalog) {
		if err := k.expire(ctx, store, s.Duty.Cluster); err != nil {
			return err
		}
		if catalog, err = backup.LoadFulls(ctx, store, s.Duty.Cluster); err != nil {
			return fmt.Errorf("look at the full backups: %w", err)
		}
	}
	k.list(catalog, now.unwanted())
	return nil
}

// known says whether something is stored as a full backup of that name.
func known(c backup.Catalog, name string) bool {
	return slices.ContainsFunc(c.Fulls, func(f backup.Full) bool { return f.Name == name }) ||
		slices.ContainsFunc(c.Damaged, func(d backup.Damage) bool { return d.Name() == name })
}

// deleteFull deletes a full backup because somebody wants it, even if it is the newest, or damaged: the manifest first, then all that is below its
// folder. The archive is left as it is.
func (k *Keeper) deleteFull(ctx context.Context, store objectstore.Store, cluster, name string) error {
	manifest := backup.FullKey(cluster, name)
	if err := store.Delete(ctx, manifest); err != nil {
		return fmt.Errorf("delete full backup %s: %w", name, err)
	}
	k.opts.Logger.Info("Deleted a full backup", "backup", name, "why", "somebody wants it")
	for info, err := range store.List(ctx, strings.TrimSuffix(manifest, "manifest.json")) {
		if err == nil {
			err = store.Delete(ctx, info.Key)
		}
		if err != nil {
			return fmt.Errorf("delete full backup %s: %w", name, err)
		}
	}
	return nil
}

// expire deletes what is not kept any longer.
func (k *Keeper) expire(ctx context.Context, store objectstore.Store, cluster string) error {
	catalog, err := backup.Load(ctx, store, cluster)
	if err != nil {
		return fmt.Errorf("look at what is stored: %w", err)
	}
	s, _ := k.situation()
	duty := s.keeping()
	if duty == nil {
		return nil
	}
	now := time.Now()
	keep := backup.Retention{For: time.Duration(duty.KeepDays) * 24 * time.Hour, Count: duty.KeepCount}
	if err := k.deleteAll(ctx, store, catalog.Expire(cluster, keep, now)); err != nil {
		return err
	}
	k.note(func(a *archiveState) {
		a.unread = nil
		for _, d := range catalog.Damaged {
			if d.Name() == "" {
				a.unread = append(a.unread, strings.TrimPrefix(d.Key, cluster+"/"))
			}
		}
		a.unread = a.unread[:min(len(a.unread), damagedLimit)]
	})
	if store, ok := store.(sweeper); ok {
		if err := store.Sweep(ctx, now.Add(-unfinishedFor)); err != nil {
			k.opts.Logger.Info("What was begun and never finished is left in the store", "error", err.Error())
		}
	}
	return nil
}

// deleteAll deletes what is not kept any longer.
func (k *Keeper) deleteAll(ctx context.Context, store objectstore.Store, gone []backup.Deletion) error {
	// Of pieces there are many with the same reason.
	objects := map[string]int{}
	defer func() {
		for why, n := range objects {
			k.opts.Logger.Info("Deleted what is not kept any longer", "objects", n, "why", why)
		}
	}()
	for _, d := range gone {
		for _, key := range d.Keys {
			if err := store.Delete(ctx, key); err != nil {
				return fmt.Errorf("delete what is not kept any longer: %w", err)
			}
			objects[d.Why]++
		}
	}
	return nil
}

// differs says whether other full backups are stored than at the look before: where one is new there may be one too many.
func (k *Keeper) differs(catalog backup.Catalog) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.archive.listed && !same(reported(catalog), k.archive.stored)
}

// reported are the full backups that are reported.
func reported(catalog backup.Catalog) []instance.StoredFull {
	out := make([]instance.StoredFull, 0, len(catalog.Fulls))
	for _, f := range catalog.Fulls {
		out = append(out, storedFull(f))
	}
	return out[max(0, len(out)-instance.StoredReported):]
}

// same says whether two lists are of the same full backups.
func same(a, b []instance.StoredFull) bool {
	return slices.EqualFunc(a, b, func(x, y instance.StoredFull) bool { return x.Name == y.Name && x.Finished.Equal(y.Finished) })
}

// list takes note of the full backups that are stored. Where they are others than before, the archive has to be looked at anew: one may close a gap, or
// open it again. Of those that are unwanted it notes which are not there.
func (k *Keeper) list(catalog backup.Catalog, unwanted []string) {
	gone := slices.DeleteFunc(slices.Clone(unwanted), func(name string) bool { return known(catalog, name) })
	stored := reported(catalog)
	var damaged []string
	for _, d := range catalog.Damaged[:min(len(catalog.Damaged), damagedLimit)] {
		damaged = append(damaged, d.Name())
	}
	k.note(func(a *archiveState) {
		a.reopen = a.reopen || !same(stored, a.stored) && (a.listed || a.missing != "")
		a.listed, a.stored, a.damaged, a.gone = true, stored, damaged, gone
	})
}

// storedFull is what is reported of a full backup.
func storedFull(f backup.Full) instance.StoredFull {
	out := instance.StoredFull{
		Name: f.Name, Instance: f.Instance, Version: f.Version, Began: f.Began, Finished: f.Finished, Newest: f.Newest, Holds: f.Holds.String(),
		Bytes: f.Bytes, Sealed: f.Sealed, Method: f.Method,
	}
	for _, p := range f.Parts {
		out.StoredBytes += p.Size
	}
	return out
}
