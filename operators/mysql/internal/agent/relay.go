package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
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

// relayEnd is how far the relay log is written; zero if that cannot be seen, which says nothing.
func relayEnd(data string) mysqld.RelayEnd {
	index, err := os.ReadFile(filepath.Join(data, "relay.index"))
	if err != nil {
		return mysqld.RelayEnd{}
	}
	lines := strings.Fields(string(index))
	if len(lines) == 0 {
		return mysqld.RelayEnd{}
	}
	file := filepath.Base(lines[len(lines)-1])
	info, err := os.Stat(filepath.Join(data, file))
	if err != nil {
		return mysqld.RelayEnd{}
	}
	return mysqld.RelayEnd{File: file, Size: info.Size()}
}

func syncFile(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}
