// Package errorlog reads what mysqld writes to its error log while it runs, for the line that tells why it ended.
package errorlog

import (
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// limit is how much of a line is kept.
const limit = 4 << 10

// Tail passes mysqld's log on and remembers its first and its last error line.
type Tail struct {
	// Pass hands the log on to the container's own.
	Pass bool

	mu      sync.Mutex
	partial string
	// first and line are the first and the last error line.
	first, line string
}

// Write implements io.Writer.
func (t *Tail) Write(p []byte) (int, error) {
	if t.Pass {
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
	if len(t.partial) > limit {
		t.partial = t.partial[:limit]
	}
	return len(p), nil
}

// Last returns the last error line; "" without one.
func (t *Tail) Last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.line
}

// Earliest returns the first error line; "" without one. What comes after it mostly follows from it.
func (t *Tail) Earliest() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.first
}

// LastWithin returns the last error line, and waits for one for at most patience: the process may end before all it wrote was
// read.
func (t *Tail) LastWithin(patience time.Duration) string {
	deadline := time.Now().Add(patience)
	for {
		if line := t.Last(); line != "" || time.Now().After(deadline) {
			return line
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Reset forgets the error lines.
func (t *Tail) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first, t.line = "", ""
}

// errorLine takes the words out of a line of mysqld's error log.
var errorLine = regexp.MustCompile(`\[ERROR\] \[[^]]*\] \[[^]]*\] (.*)$`)

// plainError returns the words of an error line, or "" for any other line.
func plainError(line string) string {
	if m := errorLine.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	if rest, ok := strings.CutPrefix(line, "mysqld: "); ok {
		return rest
	}
	return ""
}
