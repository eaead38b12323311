package full

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/parcel"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

// Unpacking says what is unpacked, and where to.
type Unpacking struct {
	// Store is where the backup is, below the folder Cluster.
	Store   objectstore.Store
	Cluster string
	// Identities open what is encrypted.
	Identities []age.Identity
	// DataDir is an empty folder.
	DataDir string
	// Tools is needed for a backup of MethodXtraBackup alone.
	Tools Tools
	// Progress, if set, is told after each part how many of them are unpacked.
	Progress func(done, of int)
}

// Unpack unpacks a full backup, and returns when all of it is durable. After an error the folder is worth nothing.
func Unpack(ctx context.Context, u Unpacking, m backup.Full) (err error) {
	switch m.Method {
	case MethodXtraBackup:
		return u.unstream(ctx, m)
	case MethodClone:
	default:
		return fmt.Errorf("backup %s was taken by the method %q, which this version does not know: use the version that took it, or a later one", m.Name, m.Method)
	}
	root, err := os.OpenRoot(u.DataDir)
	if err != nil {
		return fmt.Errorf("open the folder to unpack to: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := u.each(m, func(part backup.Part) (int64, error) { return u.part(ctx, root, m, part) }); err != nil {
		return err
	}
	return syncFolders(root)
}

// each unpacks all parts, one after the other; unpack returns the size of what was in one.
func (u Unpacking) each(m backup.Full, unpack func(part backup.Part) (int64, error)) error {
	size := int64(0)
	for i, part := range m.Parts {
		n, err := unpack(part)
		if err != nil {
			return fmt.Errorf("unpack part %d of backup %s: %w", part.Number, m.Name, err)
		}
		if size += n; u.Progress != nil {
			u.Progress(i+1, len(m.Parts))
		}
	}
	if size != m.Bytes {
		return fmt.Errorf("backup %s has %d bytes, and its manifest says %d", m.Name, size, m.Bytes)
	}
	return nil
}

// syncFolders makes the names of the files durable.
func syncFolders(root *os.Root) error {
	err := fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
	if err != nil {
		return fmt.Errorf("make the unpacked backup durable: %w", err)
	}
	return nil
}

// part unpacks one part, and returns the size of its files.
func (u Unpacking) part(ctx context.Context, root *os.Root, m backup.Full, part backup.Part) (size int64, err error) {
	stored := objectstore.Open(ctx, u.Store, backup.PartKey(u.Cluster, m.Name, part.Number), part.Digest)
	defer func() { err = errors.Join(err, stored.Close()) }()
	unpacked, err := parcel.Unpack(stored, m.Sealed, u.Identities)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unpacked.Close()) }()
	t := tar.NewReader(unpacked)
	var found []string
	for {
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("unpack: %w", err)
		}
		if header.Typeflag == tar.TypeDir {
			err = root.MkdirAll(strings.TrimSuffix(header.Name, "/"), 0o750)
		} else {
			err = write(root, header.Name, t)
		}
		if err != nil {
			return 0, fmt.Errorf("unpack %s: %w", header.Name, err)
		}
		found = append(found, header.Name)
		size += header.Size
	}
	if !slices.Equal(found, part.Files) {
		return 0, fmt.Errorf("it holds other files than its manifest says: %v and not %v", found, part.Files)
	}
	// Only who has read the object to its end knows that it is what was written.
	for _, rest := range []io.Reader{unpacked, stored} {
		if _, err := io.Copy(io.Discard, rest); err != nil {
			return 0, err
		}
	}
	return size, nil
}

// write writes one file, durably. No name leads out of the folder.
func write(root *os.Root, name string, content io.Reader) (err error) {
	if err := root.MkdirAll(path.Dir(name), 0o750); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	return f.Sync()
}
