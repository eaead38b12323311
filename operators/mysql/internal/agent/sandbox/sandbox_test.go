package sandbox_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/servers"
	"github.com/kapok-operators/kapok/shared/agent"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := servers.Forget(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// TestTemporaryFilesAreWhereThereIsRoom: the folder of the socket may be small and in memory, and an index that is built sorts its whole table.
func TestTemporaryFilesAreWhereThereIsRoom(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	run, temp := servers.Folder(t), servers.Folder(t)
	s, err := sandbox.Start(t.Context(), sandbox.Options{
		Mysqld: program, DataDir: servers.Blank(t, program), RunDir: run, TempDir: temp, PoolBytes: 32 << 20, Supervisor: &agent.Supervisor{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	pid, err := os.ReadFile(filepath.Join(run, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	// InnoDB opens some for as long as it runs, and gives them no name.
	open, err := filepath.Glob(filepath.Join("/proc", strings.TrimSpace(string(pid)), "fd", "*"))
	if err != nil {
		t.Fatal(err)
	}
	inTemp, inRun := 0, 0
	for _, fd := range open {
		file, err := os.Readlink(fd)
		if err != nil || !strings.HasSuffix(file, "(deleted)") {
			continue
		}
		if strings.HasPrefix(file, temp) {
			inTemp++
		}
		if strings.HasPrefix(file, run) {
			inRun++
		}
	}
	if inTemp == 0 || inRun > 0 {
		t.Errorf("%d temporary files where they belong, %d beside the socket", inTemp, inRun)
	}
}

// TestALeanServerTakesLittle starts a lean server, which may be beside another one within the same limit.
func TestALeanServerTakesLittle(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	run := servers.Folder(t)
	s, err := sandbox.Start(t.Context(), sandbox.Options{
		Mysqld: program, DataDir: servers.Blank(t, program), RunDir: run, Lean: true, Supervisor: &agent.Supervisor{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if _, err := s.Client().Tables(t.Context()); err != nil {
		t.Error(err)
	}
	pid, err := os.ReadFile(filepath.Join(run, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	of := filepath.Join("/proc", strings.TrimSpace(string(pid)))
	status, err := os.ReadFile(filepath.Join(of, "status"))
	if err != nil {
		t.Fatal(err)
	}
	var anonymous int64
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &anonymous); err == nil {
			break
		}
	}
	t.Logf("it takes %d MiB", anonymous>>10)
	if anonymous == 0 || anonymous > 128<<10 {
		t.Errorf("it takes %d KiB", anonymous)
	}
	if score, err := os.ReadFile(filepath.Join(of, "oom_score_adj")); err != nil || strings.TrimSpace(string(score)) != "1000" {
		t.Errorf("the kernel kills it with a score of %s, %v", score, err)
	}
}
