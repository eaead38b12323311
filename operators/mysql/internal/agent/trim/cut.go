package trim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog"
)

// Cut shortens a file of the binary log to a length, durably. The file must be as long as it was found, or cut already.
func Cut(path string, position, size int64) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the binary log to cut it: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at the binary log: %w", err)
	}
	switch is := info.Size(); {
	case position < int64(len(binlog.Magic)) || position >= size:
		return &Doubt{fmt.Sprintf("%s cannot be cut at %d", filepath.Base(path), position)}
	case is != size && is != position:
		return &Doubt{fmt.Sprintf("%s has changed since it was looked at", filepath.Base(path))}
	}
	if err := f.Truncate(position); err != nil {
		return fmt.Errorf("cut the binary log: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync the binary log: %w", err)
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes what was done in a folder durable.
func SyncDir(dir string) (err error) {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open %s to sync it: %w", filepath.Base(dir), err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", filepath.Base(dir), err)
	}
	return nil
}

// HeldOpen says whether some process has the data of a folder open as a server does: InnoDB locks its files.
func HeldOpen(dataDir string) (bool, error) {
	f, err := os.OpenFile(filepath.Join(dataDir, "ibdata1"), os.O_RDWR, 0)
	if err != nil {
		return false, fmt.Errorf("open InnoDB's files: %w", err)
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK}
	err = errors.Join(syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock), f.Close())
	if err != nil {
		return false, fmt.Errorf("ask who uses InnoDB's files: %w", err)
	}
	return lock.Type != syscall.F_UNLCK, nil
}
