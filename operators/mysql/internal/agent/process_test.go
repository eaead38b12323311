package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	shared "github.com/kapok-operators/kapok/shared/agent"
)

// childOptions is the variable that makes the test's own binary run as an agent of its own process.
const childOptions = "KAPOK_TEST_AGENT"

// child runs an agent whose link is the standard input and output, until it is killed.
func child(options string) error {
	var opts agent.Options
	if err := json.Unmarshal([]byte(options), &opts); err != nil {
		return err
	}
	opts.Logger = slog.New(slog.DiscardHandler)
	var lock sync.Mutex
	a, err := agent.New(opts, publisher(func(payload json.RawMessage) error {
		lock.Lock()
		defer lock.Unlock()
		_, err := fmt.Printf("report %s\n", payload)
		return err
	}), &shared.Supervisor{})
	if err != nil {
		return err
	}
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if err := a.Deliver(context.Background(), bytes.Clone(lines.Bytes())); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}()
	return a.Run(context.Background())
}

// publisher is an agent.Operator that is a function.
type publisher func(json.RawMessage) error

// Publish implements agent.Operator.
func (p publisher) Publish(payload json.RawMessage) error { return p(payload) }

// spawn runs a member's agent in a process of its own.
func (m *member) spawn(t *testing.T) (process *exec.Cmd, tell func(instance.Directive)) {
	t.Helper()
	options, err := json.Marshal(agent.Options{
		Instance: m.name, DataDir: m.root, RunDir: m.runDir, UsersDir: m.usersDir, Mysqld: m.mysqld, Bind: "127.0.0.1", Port: m.port, Grace: m.grace, Restore: m.restore, BackupVolume: m.volume,
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childOptions+"="+string(options))
	// What is left of it goes with the test.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if payload, ok := bytes.CutPrefix(lines.Bytes(), []byte("report ")); ok {
				if err := m.Publish(bytes.Clone(payload)); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	return cmd, func(d instance.Directive) {
		raw, err := json.Marshal(d.WithID())
		if err != nil {
			t.Error(err)
			return
		}
		// The agent may be dead by now: then there is nobody to tell.
		_, _ = in.Write(append(raw, '\n'))
	}
}

// TestAgentKilledAtAnyMoment kills the agent, and with it its mysqld, again and again while it bootstraps, serves and
// follows orders. After each death the volume must be good for going on, and no promise may be lost.
func TestAgentKilledAtAnyMoment(t *testing.T) {
	c := newCluster(t, 1)
	m := c.members[0]
	rng := rand.New(rand.NewPCG(7, 11))
	const deaths = 4
	var promised uint64
	var executed string
	for death := range deaths + 1 {
		cmd, tell := m.spawn(t)
		boot := m.report().Boot
		first := m.await("come up", func(r instance.Report) bool { return r.Boot != boot && r.Boot != "" })
		if first.Promised < promised {
			t.Fatalf("epoch %d was promised, and after death %d only %d is remembered", promised, death, first.Promised)
		}
		d := c.primary(0, true)
		d.Term, d.Epoch, d.ServerID, d.BufferPoolBytes = 1, uint64(death+1), 100, pool
		d.Primary.Bootstrap, d.Primary.LeaseMillis = true, 0
		d.Users = nil
		tell(d)
		if death < deaths {
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
			r := m.report()
			promised = max(promised, r.Promised)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if r.Serving {
				executed = r.Executed
			}
			continue
		}
		r := m.await("serve after all", func(r instance.Report) bool {
			return r.Serving && r.Converged && r.Epoch == uint64(death+1)
		})
		if !set(t, r.Executed).Contains(set(t, executed)) {
			t.Errorf("%s was executed before a death, %s is there now", executed, r.Executed)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
}

func TestAPrimaryThatIsAskedToStopWaitsToBeRelieved(t *testing.T) {
	c := newCluster(t, 2)
	for _, m := range c.members {
		m.grace = patience
		m.start()
	}
	p, next := c.members[0], c.members[1]
	next.await("a key", func(r instance.Report) bool { return len(r.SealingKey) > 0 })
	d := c.primary(0, true, next)
	d.Primary.Bootstrap = true
	c.obey(p, d)
	c.obey(next, c.replica(p, next, true))
	c.obey(p, c.primary(1, true, next))
	p.mu.Lock()
	stop, stopped := p.stop, p.stopped
	p.stop = nil
	p.mu.Unlock()
	stop()
	p.await("say that it ends", func(r instance.Report) bool { return r.Terminating })
	time.Sleep(time.Second)
	if r := p.report(); !r.Serving {
		t.Fatalf("a primary that nobody relieved gave up: %+v", r)
	}
	drained := c.obey(p, instance.Directive{Role: instance.RoleDrain})
	next.await("hold everything", func(r instance.Report) bool {
		return set(t, r.Received).Contains(set(t, drained.Executed))
	})
	c.epoch++
	c.obey(next, c.primary(0, true, p))
	c.tell(p, instance.Directive{Role: instance.RoleStandby})
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("a relieved primary does not end")
	}
	if r := p.report(); r.State == instance.StateRunning {
		t.Errorf("its last report says %s", r.State)
	}
	// A follower has nothing to wait for.
	c.obey(next, instance.Directive{Role: instance.RoleDrain})
	next.mu.Lock()
	stop, stopped = next.stop, next.stopped
	next.stop = nil
	next.mu.Unlock()
	c.tell(next, instance.Directive{Role: instance.RoleStandby})
	stop()
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("a server without an office does not end")
	}
}
