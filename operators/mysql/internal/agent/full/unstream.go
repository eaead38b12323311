package full

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/parcel"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

// Position is the file in an unpacked backup of the method xtrabackup that says what the backup holds. Whoever has read it by Adopted removes it.
const Position = "xtrabackup_binlog_info"

// unstream unpacks a backup of the method xtrabackup: its parts are the stretches of one stream.
func (u Unpacking) unstream(ctx context.Context, m backup.Full) error {
	// To learn at the end that it cannot be prepared would be late.
	if _, err := u.Tools.find(programBackup); err != nil {
		return err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("run %s: %w", programUnpack, err)
	}
	defer func() { _ = out.Close() }()
	tool, err := u.Tools.start(ctx, programUnpack, in, nil, "-x", "-C", u.DataDir)
	_ = in.Close()
	if err != nil {
		return err
	}
	if err := u.each(m, func(part backup.Part) (int64, error) { return u.feed(ctx, m, part, out) }); err != nil {
		if !errors.Is(err, unix.EPIPE) {
			tool.kill()
		}
		// Why it reads no more is what is wrong, if that is so.
		if ended := tool.wait(ctx); errors.Is(err, unix.EPIPE) && ended != nil {
			return ended
		}
		return err
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("end what %s reads: %w", programUnpack, err)
	}
	if err := tool.wait(ctx); err != nil {
		return err
	}
	return u.prepare(ctx)
}

// feed writes what is in a part, and returns its size.
func (u Unpacking) feed(ctx context.Context, m backup.Full, part backup.Part, out io.Writer) (size int64, err error) {
	stored := objectstore.Open(ctx, u.Store, backup.PartKey(u.Cluster, m.Name, part.Number), part.Digest)
	defer func() { err = errors.Join(err, stored.Close()) }()
	unpacked, err := parcel.Unpack(stored, m.Sealed, u.Identities)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unpacked.Close()) }()
	if size, err = io.Copy(out, unpacked); err != nil {
		return size, err
	}
	// Only who has read the object to its end knows that it is what was written.
	_, err = io.Copy(io.Discard, stored)
	return size, err
}

// prepare makes what was unpacked data that a server can start on, durably.
func (u Unpacking) prepare(ctx context.Context) (err error) {
	tool, err := u.Tools.start(ctx, programBackup, nil, nil, "--prepare", "--target-dir="+u.DataDir)
	if err != nil {
		return err
	}
	if err := tool.succeeded(ctx); err != nil {
		return err
	}
	if err := u.tidy(); err != nil {
		return err
	}
	dir, err := os.Open(u.DataDir)
	if err != nil {
		return fmt.Errorf("make the unpacked backup durable: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	// It is not known which files the programs have written, and whether they waited for the disk.
	if err := unix.Syncfs(int(dir.Fd())); err != nil { //nolint:gosec // A descriptor is a small number.
		return fmt.Errorf("make the unpacked backup durable: %w", err)
	}
	return nil
}

// logFile is the name of a file of a binary log or a relay log.
var logFile = regexp.MustCompile(`^(binlog|relay)\.(index|\d+)$`)

// tidy removes what is not data: what the program keeps for itself, and the logs of the server that was backed up, which are those of another history
// for whoever starts on the data. What was committed is in the archive.
func (u Unpacking) tidy() error {
	entries, err := os.ReadDir(u.DataDir)
	if err != nil {
		return fmt.Errorf("look at the unpacked backup: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if !entry.Type().IsRegular() || name == Position || !strings.HasPrefix(name, "xtrabackup_") && name != "backup-my.cnf" && !logFile.MatchString(name) {
			continue
		}
		if err := os.Remove(filepath.Join(u.DataDir, name)); err != nil {
			return fmt.Errorf("remove what is not data of the unpacked backup: %w", err)
		}
	}
	return nil
}

// Adopted returns what an unpacked backup holds according to the program that took it. It is nothing for the method clone, whose copies know that
// themselves: a server with a binary log need not write down what it has executed anywhere else before it begins another file of it.
func Adopted(dataDir string, m backup.Full) (gtid.Set, error) {
	if m.Method != MethodXtraBackup {
		return gtid.Set{}, nil
	}
	raw, err := os.ReadFile(filepath.Join(dataDir, Position))
	if err != nil {
		return gtid.Set{}, fmt.Errorf("find out what backup %s holds: %w", m.Name, err)
	}
	// The file, the position in it, and the transactions, which may take several lines.
	fields := strings.SplitN(string(raw), "\t", 3)
	if len(fields) < 3 {
		return gtid.Set{}, fmt.Errorf("find out what backup %s holds: %s does not say which transactions", m.Name, Position)
	}
	set, err := gtid.Parse(fields[2])
	if err != nil {
		return gtid.Set{}, fmt.Errorf("find out what backup %s holds: %w", m.Name, err)
	}
	if err := between(set, m); err != nil {
		return gtid.Set{}, fmt.Errorf("backup %s: %w", m.Name, err)
	}
	return set, nil
}
