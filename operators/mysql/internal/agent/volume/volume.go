// Package volume watches the data volume: whether small synced writes still complete, and how full it is. A disk that
// hangs is a failure that no process notices by itself.
package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

const (
	// interval is the time between two test writes.
	interval = 2 * time.Second
	// patience is how long a test write may take before the volume counts as stalled.
	patience = 5 * time.Second
	// full is the free space below which the volume counts as full.
	full = 16 << 20
	// grain is what sizes are rounded to, so that a report does not change with every write.
	grain = 64 << 20
	// logInterval is the time between two looks at the size of the logs: they grow slowly, and there can be thousands.
	logInterval = 10 * time.Second
)

// Watch keeps an eye on one volume.
type Watch struct {
	dir, data string
	// begun is when the test write under way was begun, in Unix nanoseconds; 0 between two.
	begun atomic.Int64
	fill  atomic.Pointer[instance.Volume]
	full  atomic.Bool
	logs  atomic.Int64
	write func(path string) error
}

// NewWatch returns a watch over the volume that holds dir, a folder for its test file, and data, mysqld's folder.
func NewWatch(dir, data string) *Watch { return &Watch{dir: dir, data: data, write: syncedWrite} }

// Run watches until ctx ends. A write that hangs keeps Run from returning: nothing can call it back.
func (w *Watch) Run(ctx context.Context) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var measured time.Time
	for {
		w.look()
		w.begun.Store(time.Now().UnixNano())
		// A volume that does not list a folder is stalled too.
		if time.Since(measured) >= logInterval {
			w.logs.Store(logBytes(w.data) / grain * grain)
			measured = time.Now()
		}
		err := w.write(filepath.Join(w.dir, "heartbeat"))
		w.begun.Store(0)
		if err != nil && !w.full.Load() {
			// A volume that refuses the write is not stalled; mysqld and the fill say the rest.
			w.full.Store(isFull(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Stalled says whether a test write is late at now.
func (w *Watch) Stalled(now time.Time) bool {
	begun := w.begun.Load()
	return begun != 0 && now.Sub(time.Unix(0, begun)) > patience
}

// Fill returns the size, the free space and what logs take, rounded, and whether the volume is full.
func (w *Watch) Fill() (instance.Volume, bool) {
	fill := w.fill.Load()
	if fill == nil {
		return instance.Volume{}, false
	}
	out := *fill
	out.LogBytes = w.logs.Load()
	return out, w.full.Load()
}

func (w *Watch) look() {
	var fs unix.Statfs_t
	if err := unix.Statfs(w.dir, &fs); err != nil {
		return
	}
	size, free := int64(fs.Blocks)*fs.Bsize, int64(fs.Bavail)*fs.Bsize
	w.full.Store(free < full)
	w.fill.Store(&instance.Volume{Size: size / grain * grain, Free: free / grain * grain})
}

// logBytes is the size of the binary logs and relay logs in mysqld's folder. What cannot be read counts as nothing: it may be
// gone by now.
func logBytes(data string) int64 {
	entries, err := os.ReadDir(data)
	if err != nil {
		return 0
	}
	var total int64
	for _, entry := range entries {
		if !isLog(entry.Name()) {
			continue
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	return total
}

// isLog says whether a file is a binary log or a relay log. Their names are fixed by the configuration that the agent writes; the
// indexes beside them are not counted.
func isLog(name string) bool {
	base, number, _ := strings.Cut(name, ".")
	_, err := strconv.ParseUint(number, 10, 64)
	return err == nil && (base == "binlog" || base == "relay")
}

// syncedWrite replaces a small file and waits until it is on the disk.
func syncedWrite(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the test file: %w", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt([]byte(time.Now().UTC().Format(time.RFC3339Nano)+"\n"), 0); err != nil {
		return fmt.Errorf("write the test file: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync the test file: %w", err)
	}
	return nil
}
