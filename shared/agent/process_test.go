package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roleVariable makes this test binary play an agent of its own.
const roleVariable = "KAPOK_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "parent":
		// Starts a child and waits to be killed.
		var s Supervisor
		p, err := s.Start(Spec{Path: "/bin/sleep", Args: []string{"300"}})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(p.PID())
		time.Sleep(time.Minute)
	case "terminated":
		// Has a child, and tells what a SIGTERM does.
		var s Supervisor
		ctx, stop := Terminating(context.Background())
		defer stop()
		p, err := s.Start(Spec{Path: "/bin/sleep", Args: []string{"300"}})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ready")
		<-ctx.Done()
		time.Sleep(200 * time.Millisecond)
		_, exited := p.Exit()
		fmt.Printf("%v; child gone: %v\n", context.Cause(ctx), exited)
	}
}

func role(t *testing.T, name string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewReader(out)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

func sh(t *testing.T, s *Supervisor, script string, change func(*Spec)) *Process {
	t.Helper()
	spec := Spec{Path: "/bin/sh", Args: []string{"-c", script}}
	if change != nil {
		change(&spec)
	}
	p, err := s.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

func wait(t *testing.T, p *Process) Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	exit, err := p.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

// buffer is a writer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !check() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30s for this: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func gone(pid int) bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

func TestExitStatus(t *testing.T) {
	var s Supervisor
	for script, want := range map[string]string{
		"exit 0":        "exited with code 0",
		"exit 42":       "exited with code 42",
		"kill -9 $$":    "killed by SIGKILL",
		"kill -TERM $$": "killed by SIGTERM",
	} {
		p := sh(t, &s, script, nil)
		if got := wait(t, p).String(); got != want {
			t.Errorf("%s: %s, want %s", script, got, want)
		}
		if exit, ok := p.Exit(); !ok || exit.String() != want {
			t.Errorf("%s: the exit is not remembered", script)
		}
	}
}

func TestStartFails(t *testing.T) {
	var s Supervisor
	for name, spec := range map[string]Spec{
		"no such program": {Path: "/nonexistent"},
		"no such folder":  {Path: "/bin/true", Dir: "/nonexistent"},
	} {
		if _, err := s.Start(spec); err == nil {
			t.Errorf("%s: started", name)
		}
	}
	if len(s.children) != 0 {
		t.Error("a child that never was is registered")
	}
}

func TestStartPassesItsSpecOn(t *testing.T) {
	var s Supervisor
	var out, errs buffer
	dir := t.TempDir()
	p := sh(t, &s, "echo $WHO; pwd; id -u; echo oops >&2", func(spec *Spec) {
		spec.Env = []string{"WHO=kapok", "PATH=" + os.Getenv("PATH")}
		spec.Dir, spec.Stdout, spec.Stderr = dir, &out, &errs
		if os.Getuid() == 0 {
			spec.Dir = "/"
			spec.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
		}
	})
	wait(t, p)
	want := fmt.Sprintf("kapok\n%s\n%d\n", dir, os.Getuid())
	if os.Getuid() == 0 {
		want = "kapok\n/\n65534\n"
	}
	eventually(t, "the output arrives", func() bool { return out.String() == want && errs.String() == "oops\n" })
}

func TestAProcessReadsWhatItIsGiven(t *testing.T) {
	var s Supervisor
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var said buffer
	p := sh(t, &s, "cat; echo end", func(spec *Spec) { spec.Stdin, spec.Stdout = in, &said })
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.WriteString("a line\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has read", func() bool { return said.String() == "a line\n" })
	// It ends with its input: nobody else holds the other end.
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	eventually(t, "it has come to the end", func() bool { return said.String() == "a line\nend\n" })
	// Without any input there is nothing to read.
	if exit := wait(t, sh(t, &s, "[ -z \"$(cat)\" ]", nil)); exit.Code != 0 {
		t.Errorf("without an input it %s", exit)
	}
}

func TestKillTakesTheWholeGroup(t *testing.T) {
	var s Supervisor
	var out buffer
	p := sh(t, &s, "sleep 300 & echo $!; wait", func(spec *Spec) { spec.Stdout = &out })
	eventually(t, "the grandchild runs", func() bool { return strings.HasSuffix(out.String(), "\n") })
	grandchild, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	if pgid, err := unix.Getpgid(grandchild); err != nil || pgid != p.PID() || pgid == unix.Getpgrp() {
		t.Errorf("the group of the grandchild is %d (%v), want %d", pgid, err, p.PID())
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, p); got.Signal != syscall.SIGKILL {
		t.Errorf("the child %s", got)
	}
	eventually(t, "the grandchild is dead", func() bool { return dead(grandchild) })
}

// dead says that a process runs no more, collected or not.
func dead(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	state, _, ok := parseStat(stat)
	return ok && state == 'Z'
}

func TestEndOfTheLeaderEndsItsGroup(t *testing.T) {
	var s Supervisor
	var out buffer
	// The grandchild keeps the output open, which must not delay the news.
	p := sh(t, &s, "sleep 300 & echo $!; exit 3", func(spec *Spec) { spec.Stdout = &out })
	if got := wait(t, p); got.Code != 3 {
		t.Errorf("the child %s", got)
	}
	eventually(t, "the output arrives", func() bool { return strings.HasSuffix(out.String(), "\n") })
	grandchild, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the grandchild is dead", func() bool { return dead(grandchild) })
}

func TestDeadProcessGetsNoSignal(t *testing.T) {
	var s Supervisor
	p := sh(t, &s, "exit 0", nil)
	wait(t, p)
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, ErrExited) {
		t.Errorf("got %v, want ErrExited", err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("killing the dead: %v", err)
	}
	if exit, err := p.Terminate(t.Context()); err != nil || exit.Code != 0 {
		t.Errorf("terminating the dead: %v, %v", exit, err)
	}
}

func TestTerminateWaitsAndDoesNotKill(t *testing.T) {
	var s Supervisor
	var out buffer
	p := sh(t, &s, `trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done`, func(spec *Spec) { spec.Stdout = &out })
	eventually(t, "the child is ready", func() bool { return strings.Contains(out.String(), "ready") })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := p.Terminate(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the deadline", err)
	}
	if _, ok := p.Exit(); ok || !strings.Contains(out.String(), "asked") {
		t.Error("the child should have been asked, and not been killed")
	}
	polite := sh(t, &s, "exec sleep 300", nil)
	exit, err := polite.Terminate(t.Context())
	if err != nil || exit.Signal != syscall.SIGTERM {
		t.Errorf("the polite child: %v, %v", exit, err)
	}
}

func TestExitIsNoticedAtOnce(t *testing.T) {
	var s Supervisor
	best := time.Hour
	for range 20 {
		p := sh(t, &s, "exec sleep 300", nil)
		start := time.Now()
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		best = min(best, time.Since(start))
	}
	// The best of many, so that a loaded machine does not decide.
	if best > 20*time.Millisecond {
		t.Errorf("the news of a kill took at least %s", best)
	}
	t.Logf("kill to news: best of 20 is %s", best)
}

func TestChildDiesWithTheAgent(t *testing.T) {
	cmd, out := role(t, "parent")
	pid, err := strconv.Atoi(line(t, out))
	if err != nil {
		t.Fatal(err)
	}
	if dead(pid) {
		t.Fatal("the child does not run")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child is dead", func() bool { return dead(pid) })
}

func TestSIGTERMIsTheAgentsAlone(t *testing.T) {
	cmd, out := role(t, "terminated")
	if got := line(t, out); got != "ready" {
		t.Fatal(got)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := line(t, out); !strings.Contains(got, "terminated") || !strings.HasSuffix(got, "child gone: false") {
		t.Errorf("the agent says %q", got)
	}
}

// TestReapLeavesTheStatusToItsOwner makes this process inherit orphans, as PID 1
// does, and starts children in every way while it reaps.
func TestReapLeavesTheStatusToItsOwner(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	var s Supervisor
	var mu sync.Mutex
	reaped := map[int]bool{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Reap(ctx, func(pid int) {
			mu.Lock()
			defer mu.Unlock()
			reaped[pid] = true
		})
	}()

	var orphans []int
	for range 5 {
		// The child ends at once and leaves an orphan that ends a little later.
		// setsid takes it out of the group, which would end with the child.
		out, err := exec.Command("/bin/sh", "-c", "setsid sh -c 'echo $$; exec >&- 2>&-; sleep 0.2' &").Output()
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil {
			t.Fatal(err)
		}
		orphans = append(orphans, pid)
	}

	late, err := s.Start(Spec{Path: "/bin/sh", Args: []string{"-c", "exit 7"}})
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(3500 * time.Millisecond)
	for n := 0; time.Now().Before(until); n++ {
		p, err := s.Start(Spec{Path: "/bin/sh", Args: []string{"-c", fmt.Sprintf("exit %d", n%100)}})
		if err != nil {
			t.Fatal(err)
		}
		if got := wait(t, p); got.Code != n%100 {
			t.Fatalf("own child %s, want code %d", got, n%100)
		}
		var exit *exec.ExitError
		if err := exec.Command("/bin/sh", "-c", "exit 9").Run(); !errors.As(err, &exit) || exit.ExitCode() != 9 {
			t.Fatalf("a child of os/exec: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	eventually(t, "all orphans are collected", func() bool {
		for _, pid := range orphans {
			if !gone(pid) {
				return false
			}
		}
		return true
	})
	if exit, ok := late.Exit(); !ok || exit.Code != 7 {
		t.Errorf("the first child %v", exit)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, pid := range orphans {
		if !reaped[pid] {
			t.Errorf("orphan %d was collected by somebody else", pid)
		}
	}
	if len(reaped) != len(orphans) {
		t.Errorf("collected %d processes, want the %d orphans", len(reaped), len(orphans))
	}
}

func TestParseStat(t *testing.T) {
	for in, want := range map[string]string{
		"12 (sh) Z 1 12 12":                "Z 1 true",
		"12 (a) b) (c) S 7 12":             "S 7 true",
		"12 (x (y) Z 9) R 4 1":             "R 4 true",
		"":                                 "\x00 0 false",
		"12 (sh)":                          "\x00 0 false",
		"12 (sh) Z x":                      "Z 0 false",
		"12 (" + strings.Repeat(")", 20):   "\x00 0 false",
		"12 (new\nline) Z 3 0 0 0 0 0 0 0": "Z 3 true",
	} {
		state, ppid, ok := parseStat([]byte(in))
		if got := fmt.Sprintf("%c %d %v", state, ppid, ok); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestOutputWriterThatFailsDoesNotStopTheChild(t *testing.T) {
	var s Supervisor
	path := filepath.Join(t.TempDir(), "done")
	// More than a pipe holds, so that the child blocks if nobody reads.
	p := sh(t, &s, "head -c 1000000 /dev/zero; touch "+path, func(spec *Spec) { spec.Stdout = failing{} })
	wait(t, p)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }
