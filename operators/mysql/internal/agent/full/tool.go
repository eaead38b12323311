package full

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/kapok-operators/kapok/shared/agent"
)

// The programs of Percona XtraBackup.
const (
	// programBackup takes a backup, and prepares one that is unpacked.
	programBackup = "xtrabackup"
	// programUnpack unpacks the stream.
	programUnpack = "xbstream"
)

const (
	// success is how xtrabackup ends what it says when nothing went wrong.
	success = "completed OK!"
	// longestLine is how much is kept of a line that a program says, in bytes.
	longestLine = 500
	// hearing is how long the end of a program's words is waited for once the program has ended.
	hearing = time.Second
)

// Tools are the programs of Percona XtraBackup, and how they are run.
type Tools struct {
	// Mysqld is the server's program. What is not in PATH is looked for beside it.
	Mysqld string
	// RunDir is a folder for the file with the account, which goes with the program. Whatever is there is removed, before and after. At best it is in
	// memory. It is needed for taking backups only.
	RunDir string
	// Supervisor starts the programs.
	Supervisor *agent.Supervisor
}

// MissingToolError says that the image of an instance lacks a program of Percona XtraBackup.
type MissingToolError struct {
	// Program is its name.
	Program string
}

// Error implements error.
func (e *MissingToolError) Error() string {
	return fmt.Sprintf("the image has no program %s, which the method xtrabackup of full backups needs: set spec.image to one that carries Percona "+
		"XtraBackup; to take backups, spec.backup.method: clone does without", e.Program)
}

// find returns the path of a program.
func (t Tools) find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	if t.Mysqld != "" {
		// With a slash in it only that very file is looked at.
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(t.Mysqld), program)); err == nil {
			return path, nil
		}
	}
	return "", &MissingToolError{Program: program}
}

// running is a program that runs.
type running struct {
	name    string
	process *agent.Process
	said    *words
	heard   chan struct{}
	// release has the end of a context end the program no more.
	release func() bool
}

// start starts a program, which ends with its whole process group when ctx does. in and out may be nil; the caller closes them.
func (t Tools) start(ctx context.Context, program string, in, out *os.File, args ...string) (*running, error) {
	path, err := t.find(program)
	if err != nil {
		return nil, err
	}
	// The words are read here and not by the supervisor, to have heard the last of them before it is said how it ended.
	hear, say, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", program, err)
	}
	spec := agent.Spec{Path: path, Args: args, Stdin: in, Stderr: say}
	if out != nil {
		spec.Stdout = out
	}
	process, err := t.Supervisor.Start(spec)
	_ = say.Close()
	if err != nil {
		_ = hear.Close()
		return nil, fmt.Errorf("run %s: %w", program, err)
	}
	r := &running{name: program, process: process, said: &words{}, heard: make(chan struct{})}
	go func() {
		defer close(r.heard)
		// What could not be read is not said; how the program ended counts.
		_, _ = io.Copy(r.said, hear)
		_ = hear.Close()
	}()
	r.release = context.AfterFunc(ctx, r.kill)
	return r, nil
}

// kill ends the program and what it has started. One that has ended is left alone.
func (r *running) kill() { _ = r.process.Kill() }

// wait waits for the end, and returns an error unless the program has ended well. Percona's programs exit with 0 then and only then.
func (r *running) wait(ctx context.Context) error {
	<-r.process.Done()
	r.release()
	select {
	case <-r.heard:
	case <-time.After(hearing):
	}
	if ctx.Err() != nil {
		return fmt.Errorf("run %s: %w", r.name, context.Cause(ctx))
	}
	exit, _ := r.process.Exit()
	if exit.Code == 0 {
		return nil
	}
	if told := r.said.problem(); told != "" {
		return fmt.Errorf("%s %s: %s", r.name, exit, told)
	}
	return fmt.Errorf("%s %s", r.name, exit)
}

// succeeded is wait for xtrabackup, which says itself whether it has done everything.
func (r *running) succeeded(ctx context.Context) error {
	if err := r.wait(ctx); err != nil {
		return err
	}
	if !strings.HasSuffix(r.said.end(), success) {
		return fmt.Errorf("%s ended without saying that it is complete; the last it said is: %s", r.name, r.said.end())
	}
	return nil
}

// prefix is what stands before the words of a line: the time, the thread, the kind, the number and the part of the program.
var prefix = regexp.MustCompile(`^[-0-9:.TZ+ ]*(\[[A-Za-z]+\] )?(\[MY-\d+\] )?(\[\w+\] )?`)

// fault is what marks a line as an error, and suspect what makes it likely: not every program marks them.
var (
	fault   = regexp.MustCompile(`(?i)\[error\]`)
	suspect = regexp.MustCompile(`(?i)\berror\b|\bfatal\b|\bfailed\b`)
)

// words are what a program says, as far as it is of interest: its last line, and the last that is about an error.
type words struct {
	mu      sync.Mutex
	partial string
	last    string
	// fault is the last line that is marked as an error, and suspect the last that is likely to be one.
	fault, suspect string
}

// Write implements io.Writer.
func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := strings.Split(w.partial+string(p), "\n")
	for _, line := range lines[:len(lines)-1] {
		w.hear(line)
	}
	w.partial = cut(lines[len(lines)-1])
	return len(p), nil
}

// hear takes note of a line.
func (w *words) hear(line string) {
	plain := strings.TrimSpace(prefix.ReplaceAllString(cut(strings.ToValidUTF8(line, "")), ""))
	if plain == "" {
		return
	}
	w.last = plain
	switch {
	case fault.MatchString(line):
		w.fault = plain
	case suspect.MatchString(line):
		w.suspect = plain
	}
}

// cut cuts what is too long.
func cut(line string) string { return line[:min(len(line), longestLine)] }

// end returns the last line.
func (w *words) end() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hear(w.partial)
	w.partial = ""
	return w.last
}

// problem returns the last line that is about an error; the last line if none is.
func (w *words) problem() string {
	last := w.end()
	w.mu.Lock()
	defer w.mu.Unlock()
	return cmp.Or(w.fault, w.suspect, last)
}
