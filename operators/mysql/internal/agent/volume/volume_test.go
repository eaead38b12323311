package volume

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAHangingWriteIsAStall(t *testing.T) {
	w := NewWatch(t.TempDir(), t.TempDir())
	release, begun := make(chan struct{}), make(chan struct{}, 1)
	w.write = func(string) error {
		begun <- struct{}{}
		<-release
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	<-begun
	if w.Stalled(time.Now()) {
		t.Error("stalled at once")
	}
	if !w.Stalled(time.Now().Add(patience + time.Second)) {
		t.Error("a write that hangs for longer than the patience is no stall")
	}
	cancel()
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if w.Stalled(time.Now().Add(time.Hour)) {
		t.Error("stalled without a write under way")
	}
}

func TestFillIsRounded(t *testing.T) {
	w := NewWatch(t.TempDir(), t.TempDir())
	w.look()
	fill, isFull := w.Fill()
	if fill.Size <= 0 || fill.Size%grain != 0 || fill.Free%grain != 0 || fill.Free > fill.Size {
		t.Errorf("fill %+v", fill)
	}
	if isFull {
		t.Error("the test's own volume counts as full")
	}
	if err := syncedWrite(w.dir + "/heartbeat"); err != nil {
		t.Error(err)
	}
}

// TestLogsAreMeasured counts sparse files of the names that mysqld gives its logs, and nothing else.
func TestLogsAreMeasured(t *testing.T) {
	w := NewWatch(t.TempDir(), t.TempDir())
	for name, size := range map[string]int64{
		"binlog.000001": 3 * grain, "binlog.1000000": grain, "relay.000002": grain / 2, "relay.000003": grain / 4,
		"binlog.index": grain, "relay.index": grain, "binlog": grain, "binlog.~rec~": grain, "ibdata1": grain, "shop.000001": grain,
	} {
		path := filepath.Join(w.data, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	// A schema may be called like a log.
	if err := os.Mkdir(filepath.Join(w.data, "relay.000009"), 0o700); err != nil {
		t.Fatal(err)
	}
	looked, release := make(chan struct{}), make(chan struct{})
	w.write = func(string) error {
		looked <- struct{}{}
		<-release
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	<-looked
	if fill, _ := w.Fill(); fill.LogBytes != 4*grain {
		t.Errorf("the logs take %d MiB, rounded down to whole steps of %d", fill.LogBytes>>20, grain>>20)
	}
	cancel()
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := logBytes(filepath.Join(w.data, "missing")); got != 0 {
		t.Errorf("%d bytes of logs in a folder that is not there", got)
	}
}
