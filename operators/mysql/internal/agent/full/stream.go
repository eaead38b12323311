package full

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/parcel"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/shared/agent"
)

const (
	// streamBuffer is how much of the stream is read at once, in bytes.
	streamBuffer = 1 << 20
	// infoFile is the file in which xtrabackup says what it has done.
	infoFile = "xtrabackup_info"
)

// stream has xtrabackup read the data, and stores its stream as it comes, in stretches of PartBytes. What the program keeps for itself meanwhile is in
// CopyDir, and little.
func (o Options) stream(ctx context.Context, m *backup.Full) (err error) {
	args, err := o.arguments()
	defer func() { err = errors.Join(err, o.leave()) }()
	if err != nil {
		return err
	}
	// An estimate: what the stream has is known at its end.
	estimate, err := dataSize(o.DataDir)
	if err != nil {
		return fmt.Errorf("measure the data: %w", err)
	}
	in, out, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("run %s: %w", programBackup, err)
	}
	defer func() { _ = in.Close() }()
	tool, err := o.Tools.start(ctx, programBackup, nil, out, args...)
	_ = out.Close()
	if err != nil {
		return err
	}
	stored := o.cut(ctx, in, m, estimate, tool.kill)
	if stored != nil {
		// It has nobody to write to any more.
		tool.kill()
		_ = tool.wait(ctx)
		return stored
	}
	if err := tool.succeeded(ctx); err != nil {
		return err
	}
	if len(m.Parts) == 0 {
		return fmt.Errorf("%s has written nothing", programBackup)
	}
	return nil
}

// arguments makes the folders and the file that the program needs, and returns its arguments. The account is in the file alone: everybody on the machine
// can read the arguments of a program.
func (o Options) arguments() ([]string, error) {
	target, temp, info := filepath.Join(o.CopyDir, "target"), filepath.Join(o.CopyDir, "tmp"), filepath.Join(o.CopyDir, "info")
	if err := os.RemoveAll(o.Tools.RunDir); err != nil {
		return nil, fmt.Errorf("remove what an earlier backup has left: %w", err)
	}
	for _, dir := range []string{o.Tools.RunDir, target, temp, info} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make a folder for %s: %w", programBackup, err)
		}
	}
	config := filepath.Join(o.Tools.RunDir, "xtrabackup.cnf")
	// Without the last line some versions ask a service of their maker for news.
	content := o.Server.OptionFile(programBackup) + "datadir = \"" + o.DataDir + "\"\nloose-no-version-check\n"
	if err := agent.WriteFileAtomic(config, []byte(content), 0o600); err != nil {
		return nil, fmt.Errorf("write down the account for %s: %w", programBackup, err)
	}
	return []string{
		"--defaults-file=" + config, "--backup", "--stream=xbstream", "--target-dir=" + target, "--tmpdir=" + temp, "--extra-lsndir=" + info,
	}, nil
}

// leave removes the file with the account.
func (o Options) leave() error {
	if err := os.RemoveAll(o.Tools.RunDir); err != nil {
		return fmt.Errorf("remove the file with the account: %w", err)
	}
	return nil
}

// cut stores a stream in stretches. stop ends whoever writes it.
func (o Options) cut(ctx context.Context, stream io.Reader, m *backup.Full, estimate int64, stop func()) error {
	in := bufio.NewReaderSize(stream, streamBuffer)
	o.tell(0, estimate)
	for {
		_, err := in.Peek(1)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what %s writes: %w", programBackup, err)
		}
		bytes := int64(0)
		part := backup.Part{Number: o.Before + len(m.Parts) + 1}
		part.Digest, err = o.save(ctx, part.Number, func(out io.Writer) (err error) {
			bytes, err = o.packStretch(out, io.LimitReader(in, o.PartBytes))
			return err
		}, stop)
		if err != nil {
			return fmt.Errorf("store part %d of the backup: %w", len(m.Parts)+1, err)
		}
		m.Parts = append(m.Parts, part)
		m.Bytes += bytes
		o.tell(min(m.Bytes, estimate), estimate)
	}
}

// packStretch writes a stretch of a stream as a parcel.
func (o Options) packStretch(out io.Writer, stretch io.Reader) (bytes int64, err error) {
	w, err := parcel.Pack(out, o.Recipients)
	if err != nil {
		return 0, err
	}
	if bytes, err = io.Copy(w, stretch); err != nil {
		return bytes, fmt.Errorf("pack: %w", err)
	}
	return bytes, w.Close()
}

// lastChange is where the file says what had been executed at the moment that the backup is of. It may span lines.
var lastChange = regexp.MustCompile(`(?s)GTID of the last change '([^']*)'`)

// agreed compares what the program says that the backup holds with what the server said before and after. A version that says nothing is not refused
// for that: a restore asks the backup itself.
func (o Options) agreed(m *backup.Full) error {
	raw, err := os.ReadFile(filepath.Join(o.CopyDir, "info", infoFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read what %s has done: %w", programBackup, err)
	}
	found := lastChange.FindSubmatch(raw)
	if found == nil {
		return nil
	}
	set, err := gtid.Parse(string(found[1]))
	if err != nil {
		return fmt.Errorf("read what %s has done: %w", programBackup, err)
	}
	return between(set, *m)
}

// between fails unless a set is between what a manifest promises.
func between(set gtid.Set, m backup.Full) error {
	if !set.Contains(m.Holds) || !m.Within.Contains(set) {
		return fmt.Errorf("%s says that the backup holds %s, and it should hold %s at least and %s at most", programBackup, set, m.Holds, m.Within)
	}
	return nil
}
