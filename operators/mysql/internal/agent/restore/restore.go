// Package restore makes a data folder of what is stored of a cluster, as of a moment: it plans, asks for room, unpacks a full backup, replays the
// archive behind it, and only then puts the folder into its place. A restore that was cut short has left nothing there, and the next one
// begins anew.
package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/full"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/proof"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/replay"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/shared/agent"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

const (
	// suffix is what the folder's name has in addition until it is whole.
	suffix = ".restoring"
	// batchBytes is how much of the archive is unpacked before it is replayed, if no single piece is larger.
	batchBytes = 256 << 20
	// spare is what must be left on the volume beside the data and the archive under way, as a share of the data.
	spare = 0.1
)

// Stage is a part of a restore, for those who watch.
type Stage string

// The stages of a restore.
const (
	// StageUnpack is unpacking the full backup, part by part.
	StageUnpack Stage = "Unpacking"
	// StageReplay is replaying the archive, piece by piece.
	StageReplay Stage = "Replaying"
	// StageVerify is checking what was restored, table by table: after the full backup is unpacked, and once more after the archive is replayed.
	StageVerify Stage = "Verifying"
)

// Options say what is restored, and where.
type Options struct {
	// Store is where the backups are, below the folder Cluster: the UID of the cluster that they are of.
	Store   objectstore.Store
	Cluster string
	// Target is as of when.
	Target backup.Target
	// Identities open what is encrypted.
	Identities []age.Identity
	// DataDir is where the data are put. It must not exist, or be empty.
	DataDir string
	// Mysqld is the program, RunDir an empty folder for its socket, TempDir one for its temporary files, which may be large (empty for RunDir), PoolBytes
	// the size of its buffer pool, Supervisor who starts it.
	Mysqld     string
	RunDir     string
	TempDir    string
	PoolBytes  int64
	Supervisor *agent.Supervisor
	// Verify has the data checked before they are put into their place. After unpacking, the checksum of each table is compared with the manifest, if
	// that has any and its server was of the same version. After replaying, each table goes through CHECK TABLE, which reads all pages, and looks whether
	// the indexes are in order and have an entry for every row.
	Verify bool
	// Planned, if set, is told how, before anything is done. Progress, if set, is told how far a stage has come.
	Planned  func(plan backup.Plan)
	Progress func(stage Stage, done, of int)
}

// Result is what was restored.
type Result struct {
	// Plan is how.
	Plan backup.Plan
	// Executed is what the data hold.
	Executed gtid.Set
	// Unpacking, Replaying and Verifying are how long it took.
	Unpacking, Replaying, Verifying time.Duration
	// Sound is how many tables CHECK TABLE found sound, and Compared how many had the checksum of the manifest: none if it has none, or is of a server
	// of another version. Both are zero unless it was asked for.
	Sound, Compared int
}

// OccupiedError says that there are data already where they are to be put.
type OccupiedError struct {
	// Dir is the folder.
	Dir string
}

// Error implements error.
func (e *OccupiedError) Error() string {
	return fmt.Sprintf("%s holds data already, and a restore overwrites nothing: restore into a new cluster", e.Dir)
}

// Unfinished is the folder in which data are until they are whole, and which an agent that was killed leaves behind.
func Unfinished(dataDir string) string { return dataDir + suffix }

// Run restores. The error is a backup.Unreachable if the target cannot be reached, a full.NoSpaceError if there is no room, and a proof.WrongError if
// what is restored is not what was backed up.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.vacant(); err != nil {
		return Result{}, err
	}
	catalog, err := backup.Load(ctx, o.Store, o.Cluster)
	if err != nil {
		return Result{}, fmt.Errorf("look at what is stored: %w", err)
	}
	var result Result
	if result.Plan, err = catalog.Restore(o.Target); err != nil {
		return Result{}, err
	}
	if o.Planned != nil {
		o.Planned(result.Plan)
	}
	dir := Unfinished(o.DataDir)
	if err := os.RemoveAll(dir); err != nil {
		return Result{}, fmt.Errorf("remove what an earlier attempt has left: %w", err)
	}
	if err := o.room(result.Plan); err != nil {
		return Result{}, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return Result{}, fmt.Errorf("make the data folder: %w", err)
	}
	if err := o.fill(ctx, dir, &result); err != nil {
		return Result{}, errors.Join(err, os.RemoveAll(dir))
	}
	return result, o.place(dir)
}

// vacant refuses to restore over data.
func (o Options) vacant() error {
	entries, err := os.ReadDir(o.DataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at the data folder: %w", err)
	}
	if len(entries) > 0 {
		return &OccupiedError{o.DataDir}
	}
	return nil
}

// room refuses a restore that the volume has no room for.
func (o Options) room(plan backup.Plan) error {
	var volume unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(o.DataDir), &volume); err != nil {
		return fmt.Errorf("measure the volume: %w", err)
	}
	total, largest := int64(0), int64(0)
	for _, p := range plan.Pieces {
		total, largest = total+p.Bytes, max(largest, p.Bytes)
	}
	free := int64(volume.Bavail) * volume.Bsize //nolint:gosec // A volume of more than eight exabytes is not met.
	// What the archive adds to the data is not known; it is rarely more than it is itself.
	needed := plan.Full.Bytes + total + min(total, max(batchBytes, largest)) + int64(float64(plan.Full.Bytes)*spare)
	if free < needed {
		return &full.NoSpaceError{Free: free, Needed: needed, What: "a restore of this backup"}
	}
	return nil
}

// fill makes the folder what it is to be.
func (o Options) fill(ctx context.Context, dir string, result *Result) error {
	began := time.Now()
	if err := full.Unpack(ctx, full.Unpacking{
		Store: o.Store, Cluster: o.Cluster, Identities: o.Identities, DataDir: dir, Progress: o.progress(StageUnpack),
		Tools: full.Tools{Mysqld: o.Mysqld, Supervisor: o.Supervisor},
	}, result.Plan.Full); err != nil {
		return err
	}
	adopt, err := full.Adopted(dir, result.Plan.Full)
	if err != nil {
		return err
	}
	result.Unpacking = time.Since(began)
	box := sandbox.Options{Mysqld: o.Mysqld, DataDir: dir, RunDir: o.RunDir, TempDir: o.TempDir, PoolBytes: o.PoolBytes, Supervisor: o.Supervisor}
	if err := o.compare(ctx, box, result); err != nil {
		return err
	}
	began = time.Now()
	executed, err := replay.Run(ctx, replay.Options{
		Sandbox: box, Store: o.Store, Cluster: o.Cluster, Identities: o.Identities, BatchBytes: batchBytes, Progress: o.progress(StageReplay),
		Adopt: adopt,
	}, result.Plan)
	if err != nil {
		return err
	}
	result.Executed, result.Replaying = executed, time.Since(began)
	if err := o.check(ctx, box, result); err != nil {
		return err
	}
	return forget(dir)
}

// compare compares what was unpacked with the manifest, if that is asked for.
func (o Options) compare(ctx context.Context, box sandbox.Options, result *Result) (err error) {
	if !o.Verify {
		return nil
	}
	began := time.Now()
	if result.Compared, err = proof.Compare(ctx, box, result.Plan.Full, o.progress(StageVerify)); err != nil {
		return fmt.Errorf("compare the restored full backup %s with its manifest: %w", result.Plan.Full.Name, err)
	}
	result.Verifying += time.Since(began)
	o.progress(StageReplay)(0, len(result.Plan.Pieces))
	return nil
}

// check has a server check what was restored, if that is asked for.
func (o Options) check(ctx context.Context, box sandbox.Options, result *Result) (err error) {
	if !o.Verify {
		return nil
	}
	began := time.Now()
	if result.Sound, err = proof.Check(ctx, box, o.progress(StageVerify)); err != nil {
		return fmt.Errorf("check what was restored: %w", err)
	}
	result.Verifying += time.Since(began)
	return nil
}

// forget removes what a data folder says of the server that it was of: its UUID, under which another history would go on, the variables that
// somebody has had it remember, and how far it was.
func forget(dir string) error {
	for _, name := range []string{"auto.cnf", "mysqld-auto.cnf", full.Position} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make the restored data those of a new server: %w", err)
		}
	}
	return nil
}

// progress tells how far a stage has come.
func (o Options) progress(stage Stage) func(done, of int) {
	return func(done, of int) {
		if o.Progress != nil {
			o.Progress(stage, done, of)
		}
	}
}

// place puts the folder into its place, durably.
func (o Options) place(dir string) error {
	if err := os.Remove(o.DataDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make room for the restored data: %w", err)
	}
	if err := os.Rename(dir, o.DataDir); err != nil {
		return fmt.Errorf("put the restored data into their place: %w", err)
	}
	parent, err := os.Open(filepath.Dir(o.DataDir))
	if err != nil {
		return fmt.Errorf("put the restored data into their place: %w", err)
	}
	return errors.Join(parent.Sync(), parent.Close())
}
