// Package volume watches the data volume: whether small synced writes still complete, and how full it is. A disk that
// hangs is a failure that no process notices by itself.
package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
)

// Watch keeps an eye on one volume.
type Watch struct {
	dir string
	// begun is when the test write under way was begun, in Unix nanoseconds; 0 between two.
	begun atomic.Int64
	fill  atomic.Pointer[instance.Volume]
	full  atomic.Bool
	write func(path string) error
}

// NewWatch returns a watch over the volume that holds dir.
func NewWatch(dir string) *Watch { return &Watch{dir: dir, write: syncedWrite} }

// Run watches until ctx ends. A write that hangs keeps Run from returning: nothing can call it back.
func (w *Watch) Run(ctx context.Context) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		w.look()
		w.begun.Store(time.Now().UnixNano())
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

// Fill returns the size and the free space, rounded, and whether the volume is full.
func (w *Watch) Fill() (instance.Volume, bool) {
	if fill := w.fill.Load(); fill != nil {
		return *fill, w.full.Load()
	}
	return instance.Volume{}, false
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
