package full

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/parcel"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

// file is a file or folder of the copy.
type file struct {
	// path is relative to the copy, with slashes. That of a folder ends in one.
	path string
	size int64
}

// folder says whether it is one.
func (f file) folder() bool { return strings.HasSuffix(f.path, "/") }

// files returns what a copy consists of, in the order of a walk, and its size. Folders count: a database without a table is an empty one.
func files(dir string) (found []file, total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			found = append(found, file{filepath.ToSlash(name) + "/", 0})
			return nil
		case !entry.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a folder: tablespaces outside of the data folder cannot be backed up", path)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		found = append(found, file{filepath.ToSlash(name), info.Size()})
		total += info.Size()
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("look at the copy: %w", err)
	}
	return found, total, nil
}

// store stores the copy part by part, and removes what is stored. What came as a stream is stored already.
func (o Options) store(ctx context.Context, m *backup.Full) error {
	if o.Method == MethodXtraBackup {
		if err := o.agreed(m); err != nil {
			return err
		}
		return o.confirm(ctx, m)
	}
	left, total, err := files(o.CopyDir)
	if err != nil {
		return err
	}
	m.Bytes = total
	done := int64(0)
	o.tell(done, total)
	for len(left) > 0 {
		n, size := 0, int64(0)
		for n < len(left) && (n == 0 || size+left[n].size <= o.PartBytes) {
			size += left[n].size
			n++
		}
		part, err := o.storePart(ctx, o.Before+len(m.Parts)+1, left[:n])
		if err != nil {
			return fmt.Errorf("store part %d of the backup: %w", len(m.Parts)+1, err)
		}
		m.Parts = append(m.Parts, part)
		for _, f := range left[:n] {
			if f.folder() {
				continue
			}
			if err := os.Remove(filepath.Join(o.CopyDir, filepath.FromSlash(f.path))); err != nil {
				return fmt.Errorf("remove what is stored of the copy: %w", err)
			}
		}
		left, done = left[n:], done+size
		o.tell(done, total)
	}
	return o.confirm(ctx, m)
}

// confirm asks whether the backup may be kept.
func (o Options) confirm(ctx context.Context, m *backup.Full) error {
	if o.Confirm == nil {
		return nil
	}
	return o.Confirm(ctx, m.Within)
}

// tell tells how much is stored.
func (o Options) tell(done, of int64) {
	if o.Progress != nil {
		o.Progress(done, of)
	}
}

// storePart stores some files.
func (o Options) storePart(ctx context.Context, number int, content []file) (part backup.Part, err error) {
	part.Number = number
	if part.Digest, err = o.save(ctx, number, func(out io.Writer) error { return o.pack(out, content) }, nil); err != nil {
		return backup.Part{}, err
	}
	for _, f := range content {
		part.Files = append(part.Files, f.path)
	}
	return part, nil
}

// save stores what pack writes as a part. stop, if set, is called when the store has failed, if pack may wait for somebody.
func (o Options) save(ctx context.Context, number int, pack func(out io.Writer) error, stop func()) (objectstore.Digest, error) {
	in, out := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := pack(out)
		// It is only an error if it is given one, and the other end learns it.
		_ = out.CloseWithError(err)
		packed <- err
	}()
	digest, err := objectstore.Save(ctx, o.Store, backup.PartKey(o.Cluster, o.Name, number), in)
	_ = in.CloseWithError(err)
	if err != nil && stop != nil {
		stop()
	}
	if packing := <-packed; packing != nil && err == nil {
		err = packing
	}
	return digest, err
}

// pack writes files as a parcel.
func (o Options) pack(out io.Writer, content []file) error {
	w, err := parcel.Pack(out, o.Recipients)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, f := range content {
		if err := o.packFile(t, f); err != nil {
			return fmt.Errorf("pack %s: %w", f.path, err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	return w.Close()
}

// packFile writes one file. Only its name and content are kept: who restores it owns it.
func (o Options) packFile(t *tar.Writer, f file) (err error) {
	if f.folder() {
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: f.path, Mode: 0o750, Format: tar.FormatPAX})
	}
	in, err := os.Open(filepath.Join(o.CopyDir, filepath.FromSlash(f.path)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.path, Size: f.size, Mode: 0o640, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = io.Copy(t, in)
	return err
}
