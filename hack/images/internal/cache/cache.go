// Package cache keeps costly results outside the repository, each under a key that is the hash of what it was made from.
// A result appears under its final name in one step, so an interrupted build leaves nothing that looks finished.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Dir is the root folder of the image cache.
type Dir string

// Open finds and creates the cache folder: KAPOK_CACHE, or the user's cache folder, with a room for images in it.
func Open() (Dir, error) {
	root := os.Getenv("KAPOK_CACHE")
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the user's cache folder (set KAPOK_CACHE instead): %w", err)
		}
		root = filepath.Join(user, "kapok")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", fmt.Errorf("resolve the cache folder: %w", err)
	}
	dir := filepath.Join(root, "images")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("create the cache folder: %w", err)
	}
	return Dir(dir), nil
}

// Path joins elements to the cache folder.
func (d Dir) Path(elements ...string) string {
	return filepath.Join(append([]string{string(d)}, elements...)...)
}

// Key hashes a value's JSON form; it is short enough for a file name and long enough never to collide.
func Key(value any) (string, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encode a cache key: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:12]), nil
}

// Lock keeps other processes out of the cache until unlock is called. It calls waiting once if somebody else holds it.
func (d Dir) Lock(ctx context.Context, waiting func()) (unlock func(), err error) {
	file, err := os.OpenFile(d.Path("lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the cache's lock file: %w", err)
	}
	said := false
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			d.sweep()
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("lock the cache: %w", err)
		}
		if !said {
			waiting()
			said = true
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("wait for another process to leave the cache: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// sweep removes what killed builds left. Whoever holds the lock knows that nobody is at work on it.
func (d Dir) sweep() {
	for _, pattern := range []string{".part-*", filepath.Join("*", ".part-*")} {
		left, err := filepath.Glob(d.Path(pattern))
		if err != nil {
			continue
		}
		for _, path := range left {
			// Failing to tidy is no reason not to build.
			_ = os.RemoveAll(path)
		}
	}
}

// WriteFile creates a file in one step: fill writes to a temporary neighbour, which is renamed when complete.
func WriteFile(path string, fill func(io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create the folder of %s: %w", filepath.Base(path), err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".part-*")
	if err != nil {
		return fmt.Errorf("create a temporary file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = temp.Close()
			_ = os.Remove(temp.Name())
		}
	}()
	if err := fill(temp); err != nil {
		return err
	}
	if err := temp.Chmod(0o644); err != nil {
		return fmt.Errorf("set the mode of %s: %w", filepath.Base(path), err)
	}
	if err := temp.Close(); err != nil {
		return fmt.Errorf("finish %s: %w", filepath.Base(path), err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return fmt.Errorf("put %s in place: %w", filepath.Base(path), err)
	}
	return nil
}

// WriteJSON creates a file with the value's JSON form in one step.
func WriteJSON(path string, value any) error {
	return WriteFile(path, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	})
}

// ReadJSON fills value from a file; found is false if there is none.
func ReadJSON(path string, value any) (found bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	if err := json.Unmarshal(data, value); err != nil {
		return false, fmt.Errorf("decode %s: %w", filepath.Base(path), err)
	}
	return true, nil
}

// CreateDir creates a folder in one step: fill works in a temporary neighbour, which is renamed when complete.
func CreateDir(path string, fill func(dir string) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create the parent of %s: %w", filepath.Base(path), err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(path), ".part-*")
	if err != nil {
		return fmt.Errorf("create a temporary folder: %w", err)
	}
	if err := errors.Join(os.Chmod(temp, 0o755), fill(temp)); err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(fmt.Errorf("put %s in place: %w", filepath.Base(path), err), os.RemoveAll(temp))
	}
	return nil
}

// Exists tells whether the path is there.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
