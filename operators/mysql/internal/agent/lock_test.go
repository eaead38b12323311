package agent_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// TestLockOfAnEarlierContainerIsNoObstacle: a container that is killed leaves the lock of its mysqld's socket behind, and in
// the next one the process number in it may be somebody else's.
func TestLockOfAnEarlierContainerIsNoObstacle(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	m := c.members[0]
	if err := os.MkdirAll(m.runDir, 0o750); err != nil {
		t.Fatal(err)
	}
	// mysqld ignores its own number and its parent's.
	other := exec.Command("sleep", "300")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	lock := filepath.Join(m.runDir, "mysqld.sock.lock")
	if err := os.WriteFile(lock, fmt.Appendf(nil, "%d\n", other.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	m.await("a running mysqld", func(r instance.Report) bool { return r.State == instance.StateRunning })
}
