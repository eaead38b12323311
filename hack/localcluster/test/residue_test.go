//go:build e2e

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/residue"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/store"
)

// TestResidueIsFound leaves one thing of each kind behind and expects each to be found: a check that finds nothing says
// something only if it can find.
func TestResidueIsFound(t *testing.T) {
	t.Setenv("KAPOK_STATE", t.TempDir())
	dir, err := store.Open("left")
	if err != nil {
		t.Fatal(err)
	}
	image := dir.Box("node1", "var/lib/localcluster/volumes/v.ext4")
	mountPoint := dir.Path("mounted")
	for _, d := range []string{filepath.Dir(image), mountPoint} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	group := t.TempDir()
	namespace, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	loop := strings.TrimSpace(command(t, "losetup", "--find", "--show", image))
	t.Cleanup(func() { command(t, "losetup", "--detach", loop) })
	command(t, "mount", "-t", "tmpfs", "tmpfs", mountPoint)
	t.Cleanup(func() { command(t, "umount", mountPoint) })

	found, err := residue.Find(dir, store.Record{Cgroups: []string{group}, Namespaces: []string{namespace}})
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(found, "\n") + "\n"
	for _, want := range []string{
		"loop device " + filepath.Base(loop) + "\n", "mount " + mountPoint + "\n", "control group " + group + "\n",
		"in network namespace " + namespace + "\n",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("not found: %s", want)
		}
	}
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}
