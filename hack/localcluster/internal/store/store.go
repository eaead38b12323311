// Package store knows where a cluster's files are and how they are written so that a process killed at any moment leaves
// either the old content or the new, never half of one.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
)

// Cache returns the folder of what is costly to make: $KAPOK_CACHE, or kapok in the user's cache folder.
func Cache() (string, error) {
	if dir := os.Getenv("KAPOK_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder (set KAPOK_CACHE to choose one): %w", err)
	}
	return filepath.Join(base, "kapok"), nil
}

// Root returns the folder of every cluster's run-time state: $KAPOK_STATE, or kapok-state beside the cache.
func Root() (string, error) {
	if dir := os.Getenv("KAPOK_STATE"); dir != "" {
		return filepath.Abs(dir)
	}
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(cache), "kapok-state"), nil
}

// Dir is the state folder of one cluster.
type Dir struct {
	root, name string
}

// Open returns the state folder of the cluster of that name; nothing is created.
func Open(name string) (Dir, error) {
	root, err := Root()
	if err != nil {
		return Dir{}, err
	}
	return Dir{root: root, name: name}, nil
}

// Path returns the path of a file in the folder.
func (d Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{d.root, d.name}, elem...)...)
}

// Box returns the path of a file of one box.
func (d Dir) Box(box string, elem ...string) string {
	return d.Path(append([]string{"boxes", box}, elem...)...)
}

// VolumeImages returns the pattern of the files that hold the file systems of limited volumes.
func (d Dir) VolumeImages() string { return d.Box("*", "var/lib/localcluster/volumes/*.ext4") }

// StalledSuffix ends the name of the mark beside the file of a volume that is stalled.
const StalledSuffix = ".stalled"

// Kubeconfig returns the path of the administrator's kubeconfig for use on the machine.
func (d Dir) Kubeconfig() string { return d.Path("kubeconfig") }

// Socket returns the path of the supervisor's control socket.
func (d Dir) Socket() string { return d.Path("control.sock") }

// Log returns the path of the supervisor's log.
func (d Dir) Log() string { return d.Path("supervisor.log") }

// Lock returns the path of the lock that `up` and `down` hold while they work. It is beside the folder, not in it,
// because `down` removes the folder while it holds the lock.
func (d Dir) Lock() string { return filepath.Join(d.root, d.name+".lock") }

// SupervisorLock returns the path of the lock that the supervisor holds as long as it lives.
func (d Dir) SupervisorLock() string { return d.Path("supervisor.lock") }

// Exists says whether the folder is there.
func (d Dir) Exists() bool {
	_, err := os.Stat(d.Path())
	return err == nil
}

// Record is what must be remembered to resume a cluster, and to clean up after it if its supervisor was killed.
type Record struct {
	// Spec is what the cluster was created as.
	Spec spec.Spec `json:"spec"`
	// Cgroups are the control group folders made for the cluster, parents before children.
	Cgroups []string `json:"cgroups,omitempty"`
	// Namespaces are the network namespaces made for the cluster, as in "net:[4026532301]".
	Namespaces []string `json:"namespaces,omitempty"`
	// HostRoutes are the machine's routes and links before the cluster was made.
	HostRoutes []string `json:"hostRoutes,omitempty"`
}

func (d Dir) record() string { return d.Path("cluster.json") }

// ReadRecord reads the record; found is false where no cluster of this name was ever begun.
func (d Dir) ReadRecord() (rec Record, found bool, err error) {
	data, err := os.ReadFile(d.record())
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("read the cluster's record: %w", err)
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return Record{}, false, fmt.Errorf("parse %s: %w", d.record(), err)
	}
	return rec, true, nil
}

// WriteRecord replaces the record.
func (d Dir) WriteRecord(rec Record) error { return d.WriteJSON(filepath.Base(d.record()), rec) }

// ReadJSON reads a file of the folder.
func (d Dir) ReadJSON(name string, v any) error {
	data, err := os.ReadFile(d.Path(name))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("parse %s: %w", d.Path(name), err)
	}
	return nil
}

// WriteJSON replaces a file of the folder.
func (d Dir) WriteJSON(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return WriteFile(d.Path(name), append(data, '\n'), 0o600)
}

// WriteFile replaces a file at once: a reader, or a process killed midway, sees the old content or the new.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp.Name()))
	}
	return nil
}

// ErrLocked is returned for a lock that another process holds.
var ErrLocked = errors.New("held by another process")

// Lock is a held lock. The kernel gives it up when the process ends, however it ends.
type Lock struct {
	path string
	file *os.File
}

// TryLock takes the lock of that path, or returns ErrLocked at once.
func TryLock(path string) (*Lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			closeErr := f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errors.Join(fmt.Errorf("lock %s: %w", path, ErrLocked), closeErr)
			}
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), closeErr)
		}
		// The holder before us may have removed the file: then what we hold is not what the next one will open.
		if held, err := sameFile(f, path); err != nil || !held {
			if closeErr := f.Close(); err != nil || closeErr != nil {
				return nil, errors.Join(err, closeErr)
			}
			continue
		}
		return &Lock{path: path, file: f}, nil
	}
}

// WaitLock takes the lock of that path, waiting at most that long.
func WaitLock(path string, timeout time.Duration) (*Lock, error) {
	deadline := time.Now().Add(timeout)
	for {
		l, err := TryLock(path)
		if err == nil || !errors.Is(err, ErrLocked) || time.Now().After(deadline) {
			return l, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func sameFile(f *os.File, path string) (bool, error) {
	opened, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	named, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	return os.SameFile(opened, named), nil
}

// Release gives the lock up.
func (l *Lock) Release() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("release %s: %w", l.path, err)
	}
	return nil
}

// Remove removes the lock's file and gives the lock up.
func (l *Lock) Remove() error {
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("remove lock: %w", err), l.Release())
	}
	return l.Release()
}
