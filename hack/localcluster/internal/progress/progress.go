// Package progress prints what is being done, with the time since the command began.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Printer prints lines with the time since it was made.
type Printer struct {
	mu    sync.Mutex
	out   io.Writer
	begun time.Time
}

// New returns a printer whose time begins now.
func New(out io.Writer) *Printer {
	return &Printer{out: out, begun: time.Now()}
}

// Line prints one line.
func (p *Printer) Line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A line that cannot be printed stops no work.
	_, _ = fmt.Fprintf(p.out, "[%6.1fs] %s\n", time.Since(p.begun).Seconds(), fmt.Sprintf(format, args...))
}

// Step prints a line when the step ends, with how long it took.
func (p *Printer) Step(name string) (done func()) {
	begun := time.Now()
	return func() { p.Line("%s (%.1fs)", name, time.Since(begun).Seconds()) }
}
