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
	// is what the state calls it.
	is state.Restore
}

// read checks the duty, and reads the target in it.
func (o *RestoreOptions) read() (err error) {
	d := o.Duty
	if d == nil {
		return nil
	}
	if d.Cluster == "" {
		return errors.New("what is to be restored does not say of which cluster")
	}
	if (d.Store.S3 != nil) == d.Store.Volume {
		return errors.New("what is to be restored does not say from where: from one bucket, or from a volume")
	}
	o.is = state.Restore{Cluster: d.Cluster, Through: d.Through, Before: d.Before}
	targets := 0
	if d.Time != nil {
		targets++
		o.target.Time, o.is.Time = *d.Time, d.Time.UTC().Format(time.RFC3339Nano)
	}
	for _, end := range []struct {
		text, what string
		set        *gtid.Set
	}{{d.Through, "last transaction to restore", &o.target.Through}, {d.Before, "first transaction not to restore", &o.target.Before}} {
		if end.text == "" {
			continue
		}
		targets++
		if *end.set, err = gtid.Parse(end.text); err != nil {
			return fmt.Errorf("read the %s: %w", end.what, err)
		}
		if end.set.Count() != 1 {
			return fmt.Errorf("the %s must be one transaction, and %s is %d", end.what, end.text, end.set.Count())
		}
	}
	if targets > 1 {
		return errors.New("what is to be restored has more than one target: a time, a last transaction and a first one to leave out exclude each other")
	}
	return nil
}

// restoreMemory is what the agent knows about the restore. It belongs to the loop.
type restoreMemory struct {
	// failures counts failed attempts in a row; retryAt is when the next may begin.
	failures int
	retryAt  time.Time
	// cancel ends the attempt under way.
	cancel context.CancelFunc
}

// mustRestore says whether data are to be restored before anything else: on the first instance of a cluster that begins with a restore, as long as
// it holds nothing worth keeping, and the cluster has not begun with another instance. Whatever is there of another beginning that nobody ever
// followed, such as an empty server or what another restore brought back, gives way.
func (a *Agent) mustRestore() bool {
	m := &a.memory
	if a.opts.Restore.Duty == nil || a.ordinal != 0 || m.state.Kept || a.begunElsewhere() {
		return false
	}
	unused := !m.fresh && m.state.Clone == nil && m.state.Served == 0 && m.state.Record.Epoch == 0
	return !m.hasData || unused && !a.hasRestored()
}

// begunElsewhere says whether the cluster has begun with another instance, so that this one takes over that one's data.
func (a *Agent) begunElsewhere() bool {
	record := a.memory.state.Record
	return record.Epoch > 0 && record.Primary != a.opts.Instance
}

// hasRestored says whether the data began with the restore that the pod is told of, or with one at all if it is told of none.
func (a *Agent) hasRestored() bool {
	m := &a.memory
	return m.state.Restore != nil && m.hasData && (a.opts.Restore.Duty == nil || *m.state.Restore == a.opts.Restore.is)
}

// restoreFirst says whether mysqld has to wait for a restore, and sees to it that there is one.
func (a *Agent) restoreFirst(ctx context.Context, now time.Time) bool {
	m := &a.memory
	must := a.mustRestore()
	switch {
	case a.jobs[jobRestore]:
		if !must {
			m.restore.cancel()
		}
		return true
	case must && !now.Before(m.restore.retryAt):
		a.work(ctx, func(context.Context) func() {
			err := a.makeRoom()
			return func() { a.beginRestore(ctx, err) }
		})
	}
	return must
}

// makeRoom empties the place of the data, and notes on the volume what is to come there.
func (a *Agent) makeRoom() error {
	m := &a.memory
	if m.hasData {
		a.log.Warn("Removing data that no cluster has used, to restore others in their place")
		// What is left by an attempt that is cut short is nobody's.
		if err := a.save(func(st *state.State) { st.Restore = nil }); err != nil {
			return err
		}
		if err := os.RemoveAll(a.paths.data); err != nil {
			return fmt.Errorf("make room for a restore: %w", err)
		}
		m.hasData = false
	}
	// From here on the state says whose data there are in this place: the folder appears there as a whole, or not at all.
	if err := a.save(func(st *state.State) { st.Restore = &a.opts.Restore.is }); err != nil {
		return err
	}
	m.fresh = false
	return nil
}

// beginRestore begins the restore itself.
func (a *Agent) beginRestore(ctx context.Context, err error) {
	m := &a.memory
	if err != nil {
		a.restoreFailed(err)
		return
	}
	if m.restore.failures == 0 {
		// Later, why it has failed is told until it gets further: nobody wants to be told of each attempt.
		a.tellRestore(instance.RestoreReport{State: instance.RestorePlanning})
	}
	a.log.Info("Restoring", "cluster", a.opts.Restore.Duty.Cluster)
	ctx, m.restore.cancel = context.WithCancel(ctx)
	a.job(ctx, jobRestore, func(ctx context.Context) func() {
		begun := time.Now()
		result, err := a.restore(ctx)
		took := time.Since(begun)
		return func() { a.restored(result, err, took) }
	})
}

// restored takes note of the end of an attempt.
func (a *Agent) restored(result restore.Result, err error, took time.Duration) {
	m := &a.memory
	m.restore.cancel()
	switch {
	case errors.Is(err, context.Canceled):
		a.log.Info("Left the restore: something else is asked for")
		a.restoring.Store(nil)
	case err != nil:
		a.restoreFailed(err)
	default:
		m.restore, m.hasData = restoreMemory{}, true
		a.startFailures = 0
		a.log.Info("Restored", "from", words(result.Plan), "executed", result.Executed.String(), "took", took.Round(time.Millisecond).String(),
			"sound", result.Sound, "compared", result.Compared)
		report := instance.RestoreReport{State: instance.RestoreDone, Plan: words(result.Plan), Holds: result.Executed.String(), Took: took}
		if a.opts.Restore.Duty.Verify {
			report.Verified = &instance.Verified{Tables: result.Sound, Compared: result.Compared}
		}
		a.tellRestore(report)
	}
}

// restoreFailed has the restore tried again later.
func (a *Agent) restoreFailed(err error) {
	m := &a.memory
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

// restore is the job: it owns nothing but the data folder and what mysqld uses beside it, which nobody else touches before it has ended.
func (a *Agent) restore(ctx context.Context) (result restore.Result, err error) {
	o := a.opts.Restore
	executable, err := a.executable()
	if err != nil {
		return restore.Result{}, err
	}
	identities, err := identitiesIn(o.Identity)
	if err != nil {
		return restore.Result{}, err
	}
	// What an agent that was killed has left there is of no use.
	run := filepath.Join(filepath.Dir(a.paths.socket), "restore")
	for _, dir := range []string{run, a.paths.temp} {
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
			return restore.Result{}, fmt.Errorf("make a folder for the restore: %w", err)
		}
	}
	store, closing, err := target.Open(o.Duty.Store, o.Credentials, o.Volume)
	if err != nil {
		return restore.Result{}, err
	}
	// The data are in their place by then, or the error says why not.
	defer func() { a.ignoreEnd(errors.Join(closing(), os.RemoveAll(run))) }()
	plan := ""
	return restore.Run(ctx, restore.Options{
		Store: store, Cluster: o.Duty.Cluster, Identities: identities, DataDir: a.paths.data, Target: o.target,
		Mysqld: executable, RunDir: run, TempDir: a.paths.temp, Supervisor: a.supervisor, Verify: o.Duty.Verify,
		Planned: func(p backup.Plan) {
			plan = words(p)
			a.log.Info("Restoring", "from", plan, "because", p.Why)
			a.tellRestore(instance.RestoreReport{State: instance.RestoreUnpacking, Of: len(p.Full.Parts), Plan: plan})
		},
		Progress: func(stage restore.Stage, done, of int) {
			a.tellRestore(instance.RestoreReport{State: stages[stage], Done: done, Of: of, Plan: plan})
		},
	})
}

// stages are what reports call the stages of a restore.
var stages = map[restore.Stage]instance.RestoreState{
	restore.StageUnpack: instance.RestoreUnpacking, restore.StageReplay: instance.RestoreReplaying, restore.StageVerify: instance.RestoreVerifying,
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

// settleRestore removes what restored data say of the replication that the server was part of whose copy they are.
func (a *Agent) settleRestore(ctx context.Context, r *run, o mysqld.Observation) error {
	st := &a.memory.state
	if st.Restore == nil || st.Kept || st.Channel != nil || o.Channel == nil || o.Channel.Receiver || o.Channel.Applier {
		return nil
	}
	return r.client.ForgetSource(ctx)
}
