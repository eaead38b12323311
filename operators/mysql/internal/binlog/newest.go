package binlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Newest returns the latest time at which a transaction in a file was committed, by the clock of its primary; zero if there is none. The file may
// still be written to.
func Newest(path string) (at time.Time, err error) {
	f, err := os.Open(path)
	if err != nil {
		return time.Time{}, fmt.Errorf("open the binary log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return time.Time{}, fmt.Errorf("look at the binary log: %w", err)
	}
	r, err := NewReader(f, info.Size())
	if err != nil {
		return time.Time{}, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	r.NamesOnly = true
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, ErrTorn) {
			return at, nil
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("read %s: %w", filepath.Base(path), err)
		}
		if e.Type != GTID && e.Type != TaggedGTID {
			continue
		}
		tr, err := Begin(e)
		if err != nil {
			return time.Time{}, fmt.Errorf("read %s: %w", filepath.Base(path), err)
		}
		if tr.Committed.After(at) {
			at = tr.Committed
		}
	}
}
