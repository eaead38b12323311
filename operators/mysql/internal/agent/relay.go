package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// syncRelay brings the relay logs to the disk: what was received while mysqld did not sync it. A file that was purged
// meanwhile has been applied.
func syncRelay(data string) error {
	files, err := filepath.Glob(filepath.Join(data, "relay.[0-9]*"))
	if err != nil {
		return fmt.Errorf("list the relay logs: %w", err)
	}
	for _, file := range files {
		if err := syncFile(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sync a relay log: %w", err)
		}
	}
	return nil
}

func syncFile(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}
