package volume

import (
	"context"
	"testing"
	"time"
)

func TestAHangingWriteIsAStall(t *testing.T) {
	w := NewWatch(t.TempDir())
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
	w := NewWatch(t.TempDir())
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
