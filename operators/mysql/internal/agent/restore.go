package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/restore"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/target"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

const (
	// restoreRetry is the wait before a failed restore is tried again; it doubles up to restoreRetryMax.
	restoreRetry    = 2 * time.Second
	restoreRetryMax = 2 * time.Minute
	// jobRestore is the job's name.
	jobRestore = "restore"
	// identityKey is the file with the age identities in the folder of the mounted Secret.
	identityKey = "identity"
)

// RestoreOptions say what the first instance of a new cluster begins with.
type RestoreOptions struct {
	// Duty says what; nil for a cluster that begins with nothing.
	Duty *instance.RestoreDuty
	// Credentials is the folder of the mounted Secret of a bucket, Volume where a volume with backups is mounted, and Identity the folder of the
	// Secret with the age identities, which may be missing if nothing is encrypted.
	Credentials, Volume, Identity string

	target backup.Target
}

// read checks the duty, and reads the target in it.
func (o *RestoreOptions) read() (err error) {
	if o.Duty == nil {
		return nil
	}
	if o.Duty.Cluster == "" {
		return errors.New("what is to be restored does not say of which cluster")
	}
	if o.Duty.Time != nil {
		o.target.Time = *o.Duty.Time
	}
	if o.target.Through, err = gtid.Parse(o.Duty.Through); err != nil {
		return fmt.Errorf("read the last transaction to restore: %w", err)
	}
	if o.target.Before, err = gtid.Parse(o.Duty.Before); err != nil {
		return fmt.Errorf("read the first transaction not to restore: %w", err)
	}
	return nil
}

// restoreMemory is what the agent knows about the restore. It belongs to the loop.
type restoreMemory struct {
	// failures counts failed attempts in a row; retryAt is when the next may begin.
	failures int
	retryAt  time.Time
}

// mustRestore says whether the data that are missing are to be restored and not initialised: on the first instance of a cluster that
// begins with a restore, as long as it holds nothing worth keeping.
func (a *Agent) mustRestore() bool {
	m := &a.memory
	if a.opts.Restore.Duty == nil || a.ordinal != 0 || m.state.Kept {
		return false
	}
	empty, err := isEmpty(a.paths.data)
	return err == nil && empty
}

// restoreData begins the restore, unless it is under way or has to wait. mysqld is not started before it has ended.
func (a *Agent) restoreData(ctx context.Context, now time.Time) {
	m := &a.memory
	if a.jobs[jobRestore] || now.Before(m.restore.retryAt) {
		return
	}
	// From here on the state says that data in this place are restored ones: the folder appears there as a whole, or not at all.
	if err := a.save(func(st *state.State) { st.Restoring = true }); err != nil {
		a.fail(instance.ProblemStartFailed, err)
		m.restore.retryAt = now.Add(restoreRetry)
		return
	}
	m.fresh = false
	a.tellRestore(instance.RestoreReport{State: instance.RestorePlanning})
	a.log.Info("Restoring", "cluster", a.opts.Restore.Duty.Cluster)
	a.job(ctx, jobRestore, func(ctx context.Context) func() {
		begun := time.Now()
		result, err := a.restore(ctx)
		return func() { a.restored(result, err, time.Since(begun)) }
	})
}

// restored takes note of the end of an attempt.
func (a *Agent) restored(result restore.Result, err error, took time.Duration) {
	m := &a.memory
	if err == nil {
		m.restore = restoreMemory{}
		a.startFailures = 0
		a.log.Info("Restored", "from", words(result.Plan), "executed", result.Executed.String(), "took", took.Round(time.Millisecond).String())
		a.tellRestore(instance.RestoreReport{State: instance.RestoreDone, Plan: words(result.Plan), Holds: result.Executed.String()})
		return
	}
	m.restore.failures++
	pause := min(restoreRetry<<min(m.restore.failures-1, 10), restoreRetryMax)
	m.restore.retryAt = time.Now().Add(pause)
	a.log.Error("The restore failed; nothing was put into place", "error", err.Error(), "again", pause.String())
	a.tellRestore(instance.RestoreReport{State: instance.RestoreFailed, Problem: target.Words(err), ProblemReason: target.Reason(err)})
}

// words say in a few words how a state is brought back.
func words(p backup.Plan) string {
	return fmt.Sprintf("full backup %s and %d pieces of the archive", p.Full.Name, len(p.Pieces))
}

// tellRestore has reports say how far the restore is.
func (a *Agent) tellRestore(r instance.RestoreReport) {
	a.restoring.Store(&r)
	a.poke()
}

// restore is the job: it owns nothing but the data folder, which nobody else touches before it has ended.
func (a *Agent) restore(ctx context.Context) (restore.Result, error) {
	o := a.opts.Restore
	identities, err := identitiesIn(o.Identity)
	if err != nil {
		return restore.Result{}, err
	}
	store, done, err := target.Open(o.Duty.Store, o.Credentials, o.Volume)
	if err != nil {
		return restore.Result{}, err
	}
	run, err := os.MkdirTemp(filepath.Dir(a.paths.socket), "restore-")
	if err != nil {
		return restore.Result{}, errors.Join(fmt.Errorf("make a folder for the restore: %w", err), done())
	}
	stages := map[restore.Stage]instance.RestoreState{restore.StageUnpack: instance.RestoreUnpacking, restore.StageReplay: instance.RestoreReplaying}
	options := restore.Options{
		Store: store, Cluster: o.Duty.Cluster, Identities: identities, DataDir: a.paths.data, Mysqld: a.opts.Mysqld, RunDir: run, Supervisor: a.supervisor,
		Target: o.target,
		Progress: func(stage restore.Stage, done, of int) {
			a.tellRestore(instance.RestoreReport{State: stages[stage], Done: done, Of: of})
		},
	}
	result, err := restore.Run(ctx, options)
	return result, errors.Join(err, done(), os.RemoveAll(run))
}

// identitiesIn reads the age identities of a mounted Secret; none if there is no such Secret.
func identitiesIn(folder string) ([]age.Identity, error) {
	if folder == "" {
		return nil, nil
	}
	file, err := os.Open(filepath.Join(folder, identityKey))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the identities: %w", err)
	}
	identities, err := age.ParseIdentities(file)
	if err := errors.Join(err, file.Close()); err != nil {
		// What cannot be parsed may be a secret, and age quotes some of it.
		return nil, fmt.Errorf("the key %q of the Secret with the identities does not hold age identities as age-keygen writes them", identityKey)
	}
	return identities, nil
}

// hasRestored says whether the data are those that a restore has brought back.
func (a *Agent) hasRestored() bool {
	if st := &a.memory.state; !st.Restoring || st.Kept {
		return st.Restoring
	}
	empty, err := isEmpty(a.paths.data)
	return err == nil && !empty
}

// settleRestore removes what restored data say of the replication that the server was part of whose copy they are.
func (a *Agent) settleRestore(ctx context.Context, r *run, o mysqld.Observation) error {
	st := &a.memory.state
	if !st.Restoring || st.Kept || st.Channel != nil || o.Channel == nil || o.Channel.Receiver || o.Channel.Applier {
		return nil
	}
	return r.client.ForgetSource(ctx)
}
