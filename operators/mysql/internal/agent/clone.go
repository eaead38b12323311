package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/duty"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/errant"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/agent"
)

const (
	// cloneRetry is the wait before a failed attempt is repeated; it doubles up to cloneRetryMax.
	cloneRetry    = time.Second
	cloneRetryMax = 30 * time.Second
	// archivesReported is how many archives a report names.
	archivesReported = 16
	// archivePatience is how long making an archive may take.
	archivePatience = 30 * time.Minute
)

// cloneMemory is what the agent knows about a replacement of its data.
type cloneMemory struct {
	// busy: the job runs.
	busy bool
	// copying: CLONE itself has been begun, so that mysqld is about to end.
	copying bool
	// failures counts failed attempts in a row; retryAt is when the next may begin.
	failures int
	retryAt  time.Time
	// problem is why the newest attempt failed.
	problem string
}

// replace starts the job that archives what only this instance holds and then replaces its data.
func (a *Agent) replace(ctx context.Context, r *run, step duty.Replace) error {
	m := &a.memory
	password, err := a.opener.Open(step.Duty.Source.Credential)
	if err != nil {
		return err
	}
	how, err := a.way(step.Duty)
	if err != nil {
		return err
	}
	if how == wayLater {
		m.clone.retryAt = time.Now().Add(cloneRetry)
		return nil
	}
	clone := state.Clone{Source: step.Duty.Source.Name, SourceExecuted: step.Duty.SourceExecuted, Errant: step.Errant, Archived: step.Errant == "" || !m.state.Kept}
	if err := a.save(func(st *state.State) { st.Clone = &clone }); err != nil {
		return err
	}
	if step.Duty.Source.CA != "" {
		if err := agent.WriteFileAtomic(a.paths.ca, []byte(step.Duty.Source.CA), 0o644); err != nil {
			return fmt.Errorf("keep the donor's authority: %w", err)
		}
	}
	source := mysqld.Source{
		Host: step.Duty.Source.Host, Port: step.Duty.Source.Port,
		User: step.Duty.Source.Credential.Account, Password: password, CAFile: a.paths.ca,
	}
	// The turn that begins it ends long before.
	ctx = context.WithoutCancel(ctx)
	if how == wayRestore {
		return a.beginSeed(ctx, r, step.Duty, source)
	}
	m.clone.busy = true
	if how == wayTake {
		go a.takeSeed(ctx, r, step, clone, m.state.Seed.Holds, source)
		return nil
	}
	if m.state.Seed == nil {
		a.tellSeed(nil)
	}
	go a.clone(ctx, r, step, clone, m.observation.ServerUUID, m.state.Rejoin.Archived(), source)
	return nil
}

// during returns a context that ends with a run of mysqld.
func during(ctx context.Context, r *run) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-r.process.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// clone is the job behind replace. It owns nothing: each change of the state goes through the loop.
func (a *Agent) clone(ctx context.Context, r *run, step duty.Replace, clone state.Clone, uuid, kept string, source mysqld.Source) {
	ctx, cancel := during(ctx, r)
	defer cancel()
	err := func() error {
		if err := a.dropSeed(); err != nil {
			return err
		}
		if !clone.Archived {
			result, err := a.archive(ctx, r, step, uuid, kept)
			if err != nil {
				return fmt.Errorf("archive what only this instance holds: %w", err)
			}
			a.log.Info("Archived what only this instance holds", "folder", result.Folder, "gtids", step.Errant)
			clone.Archived = true
			if !result.Missing.IsEmpty() {
				a.log.Warn("Some errant transactions are in no log file any more: setting the whole data folder aside", "gtids", result.Missing.String())
				aside := clone
				aside.SetAside = result.Folder
				if err := a.change(func(st *state.State) { st.Clone, st.Kept, st.Channel = &aside, false, nil }); err != nil {
					return err
				}
				return r.kill()
			}
		}
		begun := clone
		begun.Begun = true
		if err := a.change(func(st *state.State) { st.Clone, st.Kept, st.Channel = &begun, false, nil }); err != nil {
			return err
		}
		a.log.Info("Cloning", "donor", source.Host, "why", step.Duty.Why)
		return r.client.Clone(ctx, source)
	}()
	a.done <- func() {
		m := &a.memory
		a.later = a.then(a.later, func() {
			m.archives = listArchives(a.paths.archive)
			if err == nil || processEnded(r) {
				// mysqld has ended, or is about to, and comes back with the new data: the end of the run ends this too, and
				// settleClone says whether the data are the new ones.
				return
			}
			a.cloneFailed(err)
		})
		a.nextTurn = time.Time{}
	}
}

// cloneFailed has the replacement of the data tried again later.
func (a *Agent) cloneFailed(err error) {
	m := &a.memory
	m.clone.busy, m.clone.copying = false, false
	m.clone.failures++
	m.clone.retryAt = time.Now().Add(min(cloneRetry<<min(m.clone.failures-1, 5), cloneRetryMax))
	m.clone.problem = err.Error()
	a.fail(instance.ProblemCloneFailed, err)
}

// processEnded says whether a run's process is gone.
func processEnded(r *run) bool {
	_, ended := r.process.Exit()
	return ended
}

// then chains two things to do.
func (a *Agent) then(first, second func()) func() {
	return func() {
		if first != nil {
			first()
		}
		second()
	}
}

// change changes the durable state on behalf of a job: the loop does it as soon as it owns the memory.
func (a *Agent) change(change func(*state.State)) error {
	result := make(chan error, 1)
	a.done <- func() {
		a.later = a.then(a.later, func() {
			err := a.save(change)
			if err == nil {
				a.memory.clone.copying = a.memory.state.Clone != nil && a.memory.state.Clone.Begun
			}
			result <- err
		})
	}
	return <-result
}

// settleClone ends a replacement once mysqld has come up with the new data.
func (a *Agent) settleClone(ctx context.Context, r *run, o mysqld.Observation) error {
	m := &a.memory
	clone := m.state.Clone
	if clone == nil || m.clone.busy || !clone.Begun {
		return nil
	}
	target, err := gtid.Parse(clone.SourceExecuted)
	if err != nil {
		return fmt.Errorf("read what the clone must hold: %w", err)
	}
	executed, err := gtid.Parse(o.Executed)
	if err != nil {
		return fmt.Errorf("read what the clone holds: %w", err)
	}
	errant, err := gtid.Parse(clone.Errant)
	if err != nil {
		return fmt.Errorf("read what the clone must not hold: %w", err)
	}
	if !executed.Contains(target) || !executed.Intersect(errant).IsEmpty() {
		// The old data, or what is left of them: the directive has it tried again.
		return nil
	}
	if o.Channel != nil && !o.Channel.Receiver && !o.Channel.Applier {
		// The donor's own channel came along.
		if err := r.client.ForgetSource(ctx); err != nil {
			return err
		}
	}
	if err := r.client.DropOldBinaryLogs(ctx); err != nil {
		return err
	}
	a.log.Info("Took over the data", "donor", clone.Source, "restored", clone.Seeded, "executed", o.Executed)
	if err := a.dropSeed(); err != nil {
		return err
	}
	if seed := m.state.Seed; clone.Seeded && seed != nil {
		a.tellSeed(&instance.RestoreReport{State: instance.RestoreDone, Plan: seed.Plan, Holds: seed.Holds})
	}
	m.clone = cloneMemory{}
	return a.save(func(st *state.State) {
		st.Clone, st.Kept, st.Channel, st.Cloned, st.Rejoin, st.Seed = nil, true, nil, true, nil, nil
	})
}

// archive keeps the errant transactions in a folder of their own on the volume, outside mysqld's data; kept are those which
// are in one already.
func (a *Agent) archive(ctx context.Context, r *run, step duty.Replace, uuid, kept string) (errant.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, archivePatience)
	defer cancel()
	// So that the newest file ends and can be kept as it is.
	if err := r.client.FlushBinaryLogs(ctx); err != nil {
		return errant.Result{}, err
	}
	set, err := gtid.Parse(step.Errant)
	if err != nil {
		return errant.Result{}, fmt.Errorf("read the errant transactions: %w", err)
	}
	if kept != "" {
		// What was cut off the binary log is in no file any more.
		before, err := gtid.Parse(kept)
		if err != nil {
			return errant.Result{}, fmt.Errorf("read what is archived already: %w", err)
		}
		set = set.Subtract(before)
	}
	if set.IsEmpty() {
		return errant.Result{Folder: a.paths.archive}, nil
	}
	return errant.Archive(ctx, errant.Request{
		Root: a.paths.archive, DataDir: a.paths.data, Set: set, Decoder: a.decoder(), Supervisor: a.supervisor,
		Instance: a.opts.Instance, ServerUUID: uuid, Source: step.Duty.Source.Name, Why: step.Duty.Why, At: time.Now(),
	})
}

// listArchives returns the folders of the newest archives, newest last.
func listArchives(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			out = append(out, filepath.Join(dir, entry.Name()))
		}
	}
	slices.Sort(out)
	if len(out) > archivesReported {
		out = out[len(out)-archivesReported:]
	}
	return out
}
