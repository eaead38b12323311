package lab

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// Timeline prints lines with the time since its start. It is safe for concurrent use.
type Timeline struct {
	mu      sync.Mutex
	out     io.Writer
	started time.Time
}

// NewTimeline starts a timeline.
func NewTimeline(out io.Writer) *Timeline {
	return &Timeline{out: out, started: time.Now()}
}

// Log prints one line.
func (t *Timeline) Log(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	elapsed := time.Since(t.started)
	fmt.Fprintf(t.out, "%02d:%04.1f  %s\n", int(elapsed.Minutes()), elapsed.Seconds()-60*float64(int(elapsed.Minutes())),
		fmt.Sprintf(format, args...))
}

// Step prints what begins, runs it, and prints how long it took or how it failed.
func (t *Timeline) Step(name string, run func() error) error {
	started := time.Now()
	t.Log("▶ %s", name)
	if err := run(); err != nil {
		t.Log("✗ %s: %v", name, err)
		return fmt.Errorf("%s: %w", name, err)
	}
	t.Log("✓ %s (%s)", name, time.Since(started).Round(100*time.Millisecond))
	return nil
}

// Follow prints every change of what the cluster is doing, its primary and its epoch, until the context ends or stop is called, which
// waits for the last line.
func (t *Timeline) Follow(ctx context.Context, c *Cluster) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		last := ""
		for ctx.Err() == nil {
			// An API server that does not answer shows in the waits; the timeline only tells changes.
			if cluster, err := c.Get(ctx); err == nil {
				seen := Describe(cluster)
				if seen != last {
					t.Log("    %s: %s", c.Key.Name, seen)
					last = seen
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(pollInterval / 2):
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
