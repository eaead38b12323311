package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// orphanAge is how long a child must have been a zombie before it counts as
// one that nobody else waits for.
const orphanAge = 2 * time.Second

// Supervisor starts children and collects orphans. A program has one. The zero
// value is ready to use.
type Supervisor struct {
	// starting is held for reading while a child is started, so that Reap cannot
	// meet it between its start and its registration.
	starting sync.RWMutex

	mu sync.Mutex
	// children are the processes that have a waiter of their own.
	children map[int]struct{}
}

func (s *Supervisor) add(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.children == nil {
		s.children = map[int]struct{}{}
	}
	s.children[pid] = struct{}{}
}

func (s *Supervisor) remove(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.children, pid)
}

func (s *Supervisor) has(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.children[pid]
	return ok
}

// Reap collects orphans until ctx ends, as PID 1 must. It tells each one to
// onReaped, which may be nil.
func (s *Supervisor) Reap(ctx context.Context, onReaped func(pid int)) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	defer signal.Stop(signals)
	// since remembers when each zombie was first seen.
	since := map[int]time.Time{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-signals:
		case <-timer.C:
		}
		if err := s.reapOnce(since, time.Now(), onReaped); err != nil {
			return err
		}
		// A zombie that was too young is looked at again; without one, the next
		// signal is soon enough. The slow beat covers a lost signal.
		if len(since) > 0 {
			timer.Reset(orphanAge / 4)
		} else {
			timer.Reset(30 * time.Second)
		}
	}
}

// reapOnce collects the zombies that have been orphans for long enough.
func (s *Supervisor) reapOnce(since map[int]time.Time, now time.Time, onReaped func(pid int)) error {
	s.starting.Lock()
	defer s.starting.Unlock()
	zombies, err := zombieChildren(os.Getpid())
	if err != nil {
		return err
	}
	for pid := range since {
		if _, ok := zombies[pid]; !ok {
			delete(since, pid)
		}
	}
	for pid := range zombies {
		if s.has(pid) {
			continue
		}
		first, ok := since[pid]
		if !ok {
			since[pid] = now
			continue
		}
		if now.Sub(first) < orphanAge {
			continue
		}
		var ws unix.WaitStatus
		got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		if err == nil && got == pid {
			delete(since, pid)
			if onReaped != nil {
				onReaped(pid)
			}
		}
	}
	return nil
}

// zombieChildren lists the children of parent that have ended and were not
// collected yet.
func zombieChildren(parent int) (map[int]struct{}, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	out := map[int]struct{}{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // It is gone already.
		}
		if state, ppid, ok := parseStat(stat); ok && state == 'Z' && ppid == parent {
			out[pid] = struct{}{}
		}
	}
	return out, nil
}

// parseStat reads the state and the parent from a line of /proc/PID/stat, whose
// second field, the name in parentheses, may contain anything.
func parseStat(stat []byte) (state byte, ppid int, ok bool) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, 0, false
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 2 || len(fields[0]) != 1 {
		return 0, 0, false
	}
	ppid, err := strconv.Atoi(string(fields[1]))
	return fields[0][0], ppid, err == nil
}

// Terminating returns a context that ends when the agent is asked to stop
// (SIGTERM or SIGINT); context.Cause names the signal. The signal itself goes
// to nobody else.
func Terminating(parent context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(parent, syscall.SIGTERM, syscall.SIGINT)
}
