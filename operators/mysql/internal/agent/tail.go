package agent

import (
	"os"
	"strings"
	"sync"
	"time"
)

// tailLimit is how much of a line is kept.
const tailLimit = 4 << 10

// tail passes mysqld's log on and remembers its first and its last error line.
type tail struct {
	// pass hands the log on to the container's own.
	pass bool

	mu      sync.Mutex
	partial string
	// first and line are the first and the last error line.
	first, line string
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	if t.pass {
		// A log that cannot be written is no reason to stop mysqld.
		_, _ = os.Stderr.Write(p)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(t.partial+string(p), "\n")
	for _, line := range lines[:len(lines)-1] {
		if words := plainError(line); words != "" && words != "Aborting" {
			t.line = words
			if t.first == "" {
				t.first = words
			}
		}
	}
	t.partial = lines[len(lines)-1]
	if len(t.partial) > tailLimit {
		t.partial = t.partial[:tailLimit]
	}
	return len(p), nil
}

// last returns the last error line; "" without one.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.line
}

// earliest returns the first error line; "" without one. What comes after it mostly follows from it.
func (t *tail) earliest() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.first
}

// lastWithin returns the last error line, and waits for one for at most limit: the process may end before all it wrote was
// read.
func (t *tail) lastWithin(limit time.Duration) string {
	deadline := time.Now().Add(limit)
	for {
		if line := t.last(); line != "" || time.Now().After(deadline) {
			return line
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// reset forgets the error lines.
func (t *tail) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first, t.line = "", ""
}
