//go:build e2e

package test

import (
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// footprint is what of the machine a cluster could change, seen without the help of the program under test.
type footprint struct {
	network, mounts, cgroups, processes, state []string
}

func (f footprint) all() []string {
	var all []string
	for _, part := range [][]string{f.network, f.mounts, f.cgroups, f.processes, f.state} {
		all = append(all, part...)
	}
	return all
}

func (s *suite) machine(t *testing.T) footprint {
	t.Helper()
	return footprint{network: network(t), mounts: mounts(t), cgroups: s.cgroups(t), processes: s.boxProcesses(t), state: s.state(t)}
}

// network lists links, addresses and routes of the machine.
func network(t *testing.T) []string {
	t.Helper()
	var lines []string
	for _, dir := range []string{"/sys/class/net"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			lines = append(lines, "link "+e.Name())
		}
	}
	for _, file := range []string{"/proc/net/route", "/proc/net/fib_trie", "/proc/sys/net/ipv4/ip_forward"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			lines = append(lines, file+": "+strings.TrimSpace(line))
		}
	}
	return lines
}

func mounts(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		lines = append(lines, "mount "+strings.Fields(line)[4])
	}
	sort.Strings(lines)
	return lines
}

// cgroups lists the control groups of this cluster, wherever they are.
func (s *suite) cgroups(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // Other groups come and go.
		}
		if d.IsDir() && d.Name() == "kapok-"+s.name {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// boxProcesses lists processes that run in boxes of this cluster: those whose first process was started for it.
func (s *suite) boxProcesses(t *testing.T) []string {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		data, err := os.ReadFile(e)
		if err == nil && strings.Contains(string(data), "/kapok-"+s.name+"/") {
			found = append(found, filepath.Dir(e))
		}
	}
	return found
}

// state lists what is in the state folder for this cluster.
func (s *suite) state(t *testing.T) []string {
	t.Helper()
	root := os.Getenv("KAPOK_STATE")
	if root == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		root = filepath.Join(base, "kapok-state")
	}
	found, err := filepath.Glob(filepath.Join(root, s.name+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func same(t *testing.T, before, after []string) {
	t.Helper()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the machine is not as it was (-before +after):\n%s", diff)
	}
}

func eventually(t *testing.T, timeout time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", timeout, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

func buildBinary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("KAPOK_LOCALCLUSTER"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "localcluster")
	goBuild(t, path, "..")
	return path
}

func goBuild(t *testing.T, to, pkg string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-o", to, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

func httpGet(url string) (string, error) {
	client := &http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(resp.Body)
	return string(data), errors.Join(err, resp.Body.Close())
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s + "\n")) }
