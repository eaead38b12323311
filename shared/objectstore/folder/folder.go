// Package folder keeps objects as files in a folder, usually one of a PersistentVolume.
package folder

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kapok-operators/kapok/shared/objectstore"
)

// unfinished is where objects are written until they are whole. No name of an object begins with a dot.
const unfinished = ".unfinished"

// Store keeps each object in a file below one folder. Nothing outside of that folder is reached, whatever links there are in it. Unlike in
// a bucket, a name cannot be an object and the beginning of the path to another at once.
type Store struct {
	root *os.Root
}

var _ objectstore.Store = (*Store)(nil)

// Open returns the store in an existing folder. The error wraps objectstore.ErrAbsent if it does not exist.
func Open(dir string) (*Store, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, fmt.Errorf("open the folder %s: %w", dir, objectstore.ErrAbsent)
	}
	if err != nil {
		return nil, fmt.Errorf("look at the folder %s: %w", dir, meaning(err))
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder %s: %w", dir, meaning(err))
	}
	return &Store{root: root}, nil
}

// Close gives the folder back. What is read of it can be read to its end.
func (s *Store) Close() error {
	if err := s.root.Close(); err != nil {
		return fmt.Errorf("close the folder: %w", err)
	}
	return nil
}

// meaning puts the store's words to an error of the file system.
func meaning(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", objectstore.ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %w", objectstore.ErrDenied, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", objectstore.ErrFull, err)
	}
	return err
}

// Put implements objectstore.Store: the object is written elsewhere, synced, and given its name at the end. What a process that was
// killed has left is removed by Sweep.
func (s *Store) Put(ctx context.Context, key string, body io.Reader) error {
	if err := objectstore.ValidKey(key); err != nil {
		return err
	}
	if err := s.root.MkdirAll(unfinished, 0o700); err != nil {
		return fmt.Errorf("make a folder for unfinished objects: %w", meaning(err))
	}
	f, name, err := s.temporary()
	if err != nil {
		return err
	}
	if err := errors.Join(fill(ctx, f, body), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", key, meaning(err)), s.root.Remove(name))
	}
	if err := s.publish(name, key); err != nil {
		return errors.Join(fmt.Errorf("name %s: %w", key, meaning(err)), s.discard(name))
	}
	return nil
}

// temporary makes a file of a name that nobody else has.
func (s *Store) temporary() (*os.File, string, error) {
	for {
		name := path.Join(unfinished, rand.Text())
		f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, "", fmt.Errorf("begin an object: %w", meaning(err))
		}
		return f, name, nil
	}
}

// fill writes and syncs a file.
func fill(ctx context.Context, f *os.File, body io.Reader) error {
	if _, err := io.Copy(f, &interruptible{body, ctx.Err}); err != nil {
		return err
	}
	return f.Sync()
}

// interruptible ends with its context.
type interruptible struct {
	in  io.Reader
	err func() error
}

// Read implements io.Reader.
func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.err(); err != nil {
		return 0, err
	}
	return i.in.Read(p)
}

// publish gives a finished file its name, durably: the folders on the way are synced from the file upwards, so that none of
// them can be missing after a loss of power.
func (s *Store) publish(name, key string) error {
	dir := path.Dir(key)
	if err := s.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := s.root.Rename(name, key); err != nil {
		return err
	}
	for ; ; dir = path.Dir(dir) {
		if err := s.sync(dir); err != nil {
			return err
		}
		if dir == "." {
			return nil
		}
	}
}

// discard removes an unfinished object, if it still is one.
func (s *Store) discard(name string) error {
	if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sync makes what was done in a folder durable.
func (s *Store) sync(dir string) error {
	f, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get implements objectstore.Store.
func (s *Store) Get(_ context.Context, key string, offset int64) (io.ReadCloser, error) {
	if err := objectstore.ValidKey(key); err != nil {
		return nil, err
	}
	if _, err := s.stat(key); err != nil {
		return nil, err
	}
	f, err := s.root.Open(key)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", key, meaning(err))
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("find byte %d of %s: %w", offset, key, err), f.Close())
	}
	return f, nil
}

// Stat implements objectstore.Store.
func (s *Store) Stat(_ context.Context, key string) (objectstore.Info, error) {
	if err := objectstore.ValidKey(key); err != nil {
		return objectstore.Info{}, err
	}
	return s.stat(key)
}

// stat looks at a file. A folder is no object.
func (s *Store) stat(key string) (objectstore.Info, error) {
	info, err := s.root.Lstat(key)
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return objectstore.Info{}, fmt.Errorf("look at %s: %w", key, objectstore.ErrNotFound)
	case err != nil:
		return objectstore.Info{}, fmt.Errorf("look at %s: %w", key, meaning(err))
	case !info.Mode().IsRegular():
		return objectstore.Info{}, fmt.Errorf("look at %s, which is no file: %w", key, objectstore.ErrNotFound)
	}
	return objectstore.Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// List implements objectstore.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		keys, err := s.keys(ctx, prefix)
		if err != nil {
			yield(objectstore.Info{}, fmt.Errorf("list %s: %w", prefix, meaning(err)))
			return
		}
		for _, key := range keys {
			info, err := s.stat(key)
			if errors.Is(err, objectstore.ErrNotFound) {
				continue // It was deleted meanwhile.
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}

// keys returns the names that begin with a prefix, sorted. The order of a walk is not that of the names: "a/b" comes before "a-b"
// there.
func (s *Store) keys(ctx context.Context, prefix string) ([]string, error) {
	var found []string
	err := fs.WalkDir(s.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist) && name != ".":
			return nil // It was deleted meanwhile.
		case err != nil:
			return err
		case entry.IsDir():
			return enter(name, prefix)
		case entry.Type().IsRegular() && strings.HasPrefix(name, prefix) && objectstore.ValidKey(name) == nil:
			found = append(found, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(found)
	return found, nil
}

// enter says whether a folder can hold names that begin with a prefix.
func enter(dir, prefix string) error {
	if dir == "." {
		return nil
	}
	inside := dir + "/"
	if path.Base(dir)[0] == '.' || !strings.HasPrefix(inside, prefix) && !strings.HasPrefix(prefix, inside) {
		return fs.SkipDir
	}
	return nil
}

// Delete implements objectstore.Store. Folders stay.
func (s *Store) Delete(_ context.Context, key string) error {
	if err := objectstore.ValidKey(key); err != nil {
		return err
	}
	if _, err := s.stat(key); errors.Is(err, objectstore.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if err := s.discard(key); err != nil {
		return fmt.Errorf("delete %s: %w", key, meaning(err))
	}
	if err := s.sync(path.Dir(key)); err != nil {
		return fmt.Errorf("delete %s: %w", key, meaning(err))
	}
	return nil
}

// Sweep removes what was begun before a time and never finished: a process that is killed leaves it behind.
func (s *Store) Sweep(before time.Time) error {
	left, err := fs.ReadDir(s.root.FS(), unfinished)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list unfinished objects: %w", meaning(err))
	}
	var failed []error
	for _, entry := range left {
		info, err := entry.Info()
		if err != nil || !info.ModTime().Before(before) {
			continue // It was finished meanwhile, or is still being written.
		}
		if err := s.discard(path.Join(unfinished, entry.Name())); err != nil {
			failed = append(failed, fmt.Errorf("remove an unfinished object: %w", meaning(err)))
		}
	}
	return errors.Join(failed...)
}
