package full

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/proof"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

const (
	// partBytes is how much goes into a part, if no single file is larger.
	partBytes = 256 << 20
	// spare is what must be left on the volume beside the copy, as a share of the data: the server goes on writing.
	spare = 0.1
)

// NoSpaceError says that there is not enough room on the data volume.
type NoSpaceError struct {
	// What needs the room.
	What string
	// Free is what the volume has, Needed what it takes, if only for a while, in bytes.
	Free, Needed int64
}

// Error implements error.
func (e *NoSpaceError) Error() string {
	const mib = 1 << 20
	return fmt.Sprintf("%s needs %d MiB on the data volume, and %d MiB are free: enlarge storage.size", e.What, e.Needed/mib, e.Free/mib)
}

// Server is the one that is backed up.
type Server interface {
	// Version is what it calls its version, Executed what it has executed.
	Version(ctx context.Context) (string, error)
	Executed(ctx context.Context) (string, error)
	// CopyTo makes a copy of its data in a folder that does not exist.
	CopyTo(ctx context.Context, dir string) error
	// Uncopied are tables whose rows such a copy lacks, a few of them.
	Uncopied(ctx context.Context) ([]string, error)
	// OptionFile is the content of a file by which a program on its machine connects to it, up to the last line of a group. It is a secret.
	OptionFile(group string) string
}

// Options say what is backed up, and where to.
type Options struct {
	// Store is where the backup goes, below the folder Cluster, the UID of the cluster.
	Store   objectstore.Store
	Cluster string
	// Name is that of the backup, Instance that of the instance.
	Name     string
	Instance string
	// Server is the instance's, with its data in DataDir.
	Server  Server
	DataDir string
	// CopyDir is where the copy is made: a folder on the same volume. Whatever is there is removed, before and after.
	CopyDir string
	// Method is how it is taken, one of those above; "" means MethodClone. Tools is needed for MethodXtraBackup alone.
	Method string
	Tools  Tools
	// Recipients are for whom the parts are encrypted; they are not without any.
	Recipients []age.Recipient
	// PartBytes is how much goes into a part, if no single file is larger; 0 means 256 MiB.
	PartBytes int64
	// Before is how many numbers of parts are left out, so that attempts at one backup do not write, or remove, each other's.
	Before int
	// Prove, if set, says how to start a private server, and has one started on the copy before it is stored: a copy that does not start is no backup.
	// The manifest then says exactly what the copy holds, and has the checksums of its tables. The data folder of the server is set here, and it is lean.
	Prove *sandbox.Options
	// Unproven, if set, is told why a copy is stored without a proof: there is no memory for a private server. A backup that nobody has proven is better
	// than none.
	Unproven func(why error)
	// Progress, if set, is told how much of the copy is stored, in bytes: nothing at first, then after each part.
	Progress func(done, of int64)
	// Confirm, if set, is asked when all parts are stored, before there is a manifest, whether what the backup holds at the most may be kept.
	Confirm func(ctx context.Context, within gtid.Set) error
}

// farewell is how long it may take to remove what a failed attempt has stored.
const farewell = time.Minute

// Take takes a full backup and returns its manifest, which is stored when it returns. After an error its parts are removed as well as can be; those
// that are left are not described by anything, and go when the catalog is swept. Only when it was the manifest itself that could not be stored,
// nobody knows whether it was.
func Take(ctx context.Context, o Options) (m backup.Full, err error) {
	if o.PartBytes == 0 {
		o.PartBytes = partBytes
	}
	if o.Method == "" {
		o.Method = MethodClone
	}
	if err := os.RemoveAll(o.CopyDir); err != nil {
		return backup.Full{}, fmt.Errorf("remove an earlier copy: %w", err)
	}
	if err := o.ready(ctx); err != nil {
		return backup.Full{}, err
	}
	m = backup.Full{Name: o.Name, Instance: o.Instance, Method: o.Method, Began: time.Now().UTC(), Sealed: len(o.Recipients) > 0}
	if m.Version, err = o.Server.Version(ctx); err != nil {
		return backup.Full{}, err
	}
	defer func() {
		if left := os.RemoveAll(o.CopyDir); left != nil && err == nil {
			err = fmt.Errorf("remove the copy: %w", left)
		}
	}()
	if err := o.copy(ctx, &m); err != nil {
		if o.Method == MethodXtraBackup {
			o.discard(ctx, m)
		}
		return backup.Full{}, err
	}
	if err := o.prove(ctx, &m); err != nil {
		return backup.Full{}, err
	}
	if err := o.store(ctx, &m); err != nil {
		o.discard(ctx, m)
		return backup.Full{}, err
	}
	m.Finished = time.Now().UTC()
	raw, err := backup.Encode(m)
	if err != nil {
		return backup.Full{}, err
	}
	if _, err := objectstore.Save(ctx, o.Store, backup.FullKey(o.Cluster, o.Name), strings.NewReader(string(raw))); err != nil {
		return backup.Full{}, fmt.Errorf("store the backup's manifest: %w", err)
	}
	return m, nil
}

// discard removes the parts of an attempt that has failed, also the one that may have been under way. What it cannot remove is swept some day.
func (o Options) discard(ctx context.Context, m backup.Full) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	for n := range len(m.Parts) + 1 {
		_ = o.Store.Delete(ctx, backup.PartKey(o.Cluster, o.Name, o.Before+n+1))
	}
}

// room refuses a backup that the volume has no room for.
func (o Options) room() error {
	size, err := dataSize(o.DataDir)
	if err != nil {
		return fmt.Errorf("measure the data: %w", err)
	}
	var volume unix.Statfs_t
	if err := unix.Statfs(o.DataDir, &volume); err != nil {
		return fmt.Errorf("measure the volume: %w", err)
	}
	free := int64(volume.Bavail) * volume.Bsize //nolint:gosec // A volume of more than eight exabytes is not met.
	if needed := size + int64(float64(size)*spare); free < needed {
		return &NoSpaceError{What: "the copy that a backup is made from", Free: free, Needed: needed}
	}
	return nil
}

// dataSize is the size of what is copied: all but the logs.
func dataSize(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // A server that runs makes and removes files.
		}
		if err != nil {
			return err
		}
		name := entry.Name()
		switch {
		case entry.IsDir() && (name == "#innodb_redo" || name == "#innodb_temp"):
			return fs.SkipDir
		case entry.IsDir(), strings.HasPrefix(name, "binlog."), strings.HasPrefix(name, "relay"), strings.HasPrefix(name, "ibtmp"):
			return nil
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		total += info.Size()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", dir, err)
	}
	return total, nil
}

// copy makes the copy, and notes between what it is.
func (o Options) copy(ctx context.Context, m *backup.Full) error {
	look := func() (gtid.Set, error) {
		text, err := o.Server.Executed(ctx)
		if err != nil {
			return gtid.Set{}, err
		}
		return gtid.Parse(text)
	}
	var err error
	if m.Holds, err = look(); err != nil {
		return err
	}
	if err := o.read(ctx, m); err != nil {
		return err
	}
	if m.Within, err = look(); err != nil {
		return err
	}
	committed, err := newest(o.DataDir)
	if err != nil {
		return err
	}
	// The clock of the instance may be behind that of the primary.
	if m.Newest = time.Now().UTC(); committed.After(m.Newest) {
		m.Newest = committed
	}
	return nil
}

// prove starts a server on the copy, and has the manifest say what it found there. What the server changes is what any does that starts on a copy: it
// recovers, and it gives the agent's own account another password, as each start of any server does.
func (o Options) prove(ctx context.Context, m *backup.Full) error {
	if o.Prove == nil || o.Method == MethodXtraBackup {
		return nil // Of a stream there is no copy to start a server on.
	}
	box := *o.Prove
	box.DataDir, box.Lean = o.CopyDir, true
	tables, holds, err := proof.Take(ctx, box)
	if _, scarce := errors.AsType[*sandbox.NoMemoryError](err); scarce {
		if o.Unproven != nil {
			o.Unproven(err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("prove the copy: %w", err)
	}
	if !holds.Contains(m.Holds) || !m.Within.Contains(holds) {
		return fmt.Errorf("prove the copy: it holds %s, and should hold %s at least and %s at most", holds, m.Holds, m.Within)
	}
	m.Tables, m.Holds, m.Within = tables, holds, holds
	// No server that is made of the backup is this one.
	if err := os.Remove(filepath.Join(o.CopyDir, "auto.cnf")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("prove the copy: %w", err)
	}
	return nil
}

// newest returns when the newest of the transactions was committed that are in the last two files of the binary log, by the clock of their primary.
func newest(dataDir string) (at time.Time, err error) {
	files, err := binlog.Files(dataDir)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the binary log: %w", err)
	}
	for _, file := range files[max(0, len(files)-2):] {
		committed, err := binlog.Newest(file)
		if err != nil {
			return time.Time{}, err
		}
		if committed.After(at) {
			at = committed
		}
	}
	return at, nil
}
