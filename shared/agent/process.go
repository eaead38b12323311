package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec says what to start.
type Spec struct {
	// Path is the executable.
	Path string
	// Args are the arguments after the program's name.
	Args []string
	// Env is the whole environment; nil inherits that of the agent.
	Env []string
	// Dir is the working directory; empty inherits it.
	Dir string
	// Credential changes the user; nil inherits it.
	Credential *syscall.Credential
	// Stdin is what the process reads; nil is an empty input.
	Stdin *os.File
	// Stdout and Stderr receive the output; nil discards it. A writer that is
	// not an *os.File is fed by a pipe, and must not block for long.
	Stdout, Stderr io.Writer
	// ExtraFiles become the descriptors from 3 on.
	ExtraFiles []*os.File
}

// Exit says how a process ended.
type Exit struct {
	// Code is the exit code, or -1 if a signal ended the process.
	Code int
	// Signal is the signal that ended the process, or 0.
	Signal syscall.Signal
	// CoreDumped says that a core was written.
	CoreDumped bool
	// At is when the end was noticed.
	At time.Time
}

// String returns the exit in words.
func (e Exit) String() string {
	switch {
	case e.Signal != 0 && e.CoreDumped:
		return fmt.Sprintf("killed by %s (core dumped)", unix.SignalName(e.Signal))
	case e.Signal != 0:
		return "killed by " + unix.SignalName(e.Signal)
	default:
		return fmt.Sprintf("exited with code %d", e.Code)
	}
}

// ErrExited is returned when a signal is meant for a process that has ended.
var ErrExited = errors.New("process has exited")

// Process is a running child: the leader of a process group of its own, killed
// by the kernel if the agent dies. When it ends, what is left of its group is
// killed too, so that no stray holds on to its files.
type Process struct {
	// StartedAt is when the process was started.
	StartedAt time.Time

	pid  int
	done chan struct{}

	// mu is held while the process is collected: until then its number cannot
	// belong to anybody else.
	mu   sync.Mutex
	exit *Exit
}

// Start starts a child.
func (s *Supervisor) Start(spec Spec) (*Process, error) {
	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Env, cmd.Dir, cmd.ExtraFiles = spec.Env, spec.Dir, spec.ExtraFiles
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:    true,
		Pdeathsig:  syscall.SIGKILL,
		Credential: spec.Credential,
	}
	if spec.Stdin != nil {
		// A nil file in the interface would not be no input.
		cmd.Stdin = spec.Stdin
	}
	closers, err := wire(cmd, spec)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}

	p := &Process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the parent-death signal when the thread that started
		// the child ends, so this thread stays for as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		s.starting.RLock()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
			p.StartedAt = time.Now()
			s.add(p.pid)
		}
		s.starting.RUnlock()
		// The child has its own copies.
		for _, c := range closers {
			_ = c.Close()
		}
		started <- err
		if err == nil {
			p.collect(cmd)
			s.remove(p.pid)
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	return p, nil
}

// wire connects the output. The pipes are not left to os/exec, whose Wait would
// also wait for a grandchild that keeps them open.
func wire(cmd *exec.Cmd, spec Spec) ([]io.Closer, error) {
	var closers []io.Closer
	connect := func(w io.Writer) (io.Writer, error) {
		if w == nil {
			return nil, nil
		}
		if f, ok := w.(*os.File); ok {
			return f, nil
		}
		r, pw, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("make an output pipe: %w", err)
		}
		closers = append(closers, pw)
		go func() {
			defer func() { _ = r.Close() }()
			if _, err := io.Copy(w, r); err != nil {
				// The child must not be stopped by a writer that fails.
				_, _ = io.Copy(io.Discard, r)
			}
		}()
		return pw, nil
	}
	stdout, err := connect(spec.Stdout)
	if err == nil && stdout != nil {
		cmd.Stdout = stdout
	}
	var stderr io.Writer
	if err == nil {
		stderr, err = connect(spec.Stderr)
		if err == nil && stderr != nil {
			cmd.Stderr = stderr
		}
	}
	if err != nil {
		for _, c := range closers {
			_ = c.Close()
		}
		return nil, err
	}
	return closers, nil
}

// collect waits for the end and records it.
func (p *Process) collect(cmd *exec.Cmd) {
	// Look without collecting first, so that nothing can be sent to the number
	// after it was freed.
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	at := time.Now()
	p.mu.Lock()
	_ = unix.Kill(-p.pid, unix.SIGKILL)
	_ = cmd.Wait()
	exit := Exit{Code: -1, At: at}
	if state, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		exit.Code = state.ExitStatus()
		if state.Signaled() {
			exit.Signal, exit.CoreDumped = state.Signal(), state.CoreDump()
		}
	}
	p.exit = &exit
	p.mu.Unlock()
}

// PID returns the process's number.
func (p *Process) PID() int { return p.pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit returns how the process ended; false while it runs.
func (p *Process) Exit() (Exit, bool) {
	select {
	case <-p.done:
		return *p.exit, true
	default:
		return Exit{}, false
	}
}

// Wait waits for the end of the process or of ctx.
func (p *Process) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-p.done:
		return *p.exit, nil
	case <-ctx.Done():
		return Exit{}, fmt.Errorf("wait for process %d to end: %w", p.pid, context.Cause(ctx))
	}
}

// Signal sends a signal to the process alone.
func (p *Process) Signal(sig syscall.Signal) error { return p.send(p.pid, sig) }

// Kill ends the process and its whole group at once. A process that has ended
// already is no error.
func (p *Process) Kill() error {
	if err := p.send(-p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, ErrExited) {
		return err
	}
	return nil
}

func (p *Process) send(target int, sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exit != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), p.pid, ErrExited)
	}
	if err := unix.Kill(target, sig); err != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), p.pid, err)
	}
	return nil
}

// Terminate asks the process to end (SIGTERM) and waits for it, or for ctx. It
// does not kill when ctx ends; that is the caller's decision.
func (p *Process) Terminate(ctx context.Context) (Exit, error) {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, ErrExited) {
		return Exit{}, err
	}
	return p.Wait(ctx)
}
