// Package progress prints what a command is doing and how long it has taken so far.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Log prints lines with the time elapsed since it was started. It is safe for use by several goroutines.
type Log struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

// Start begins the clock.
func Start(out io.Writer) *Log {
	return &Log{out: out, start: time.Now()}
}

// Step prints one line.
func (l *Log) Step(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(l.out, "[%6.1fs] images: %s\n", time.Since(l.start).Seconds(), fmt.Sprintf(format, args...))
}

// Every calls tell at the interval until the returned function is called, so that a long wait shows that it is alive.
func (l *Log) Every(interval time.Duration, tell func() string) (stop func()) {
	done := make(chan struct{})
	var finished sync.WaitGroup
	finished.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				l.Step("%s", tell())
			}
		}
	})
	return func() {
		close(done)
		finished.Wait()
	}
}
