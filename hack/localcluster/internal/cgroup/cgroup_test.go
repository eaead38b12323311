package cgroup

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		own, mounts string
		want        []Hierarchy
		fails       bool
	}{
		"a tree per controller, the caller nested in one": {
			own: "4:memory:/outer/inner\n3:cpuset:/\n9:name=systemd:/\n0::/\n",
			mounts: `32 30 0:28 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
33 30 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
34 30 0:30 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
35 30 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`,
			want: []Hierarchy{
				{Name: "cpuset", Options: "cpuset", Base: "/sys/fs/cgroup/cpuset"},
				{Name: "memory", Options: "memory", Base: "/sys/fs/cgroup/memory/outer/inner"},
				{Name: "systemd", Options: "none,name=systemd", Base: "/sys/fs/cgroup/systemd"},
			},
		},
		"two controllers in one tree": {
			own: "2:cpu,cpuacct:/a\n1:memory:/\n",
			mounts: `32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
`,
			want: []Hierarchy{
				{Name: "cpu,cpuacct", Options: "cpu,cpuacct", Base: "/sys/fs/cgroup/cpu,cpuacct/a"},
				{Name: "memory", Options: "memory", Base: "/sys/fs/cgroup/memory"},
			},
		},
		"a container sees a part of the tree as its root": {
			own:    "1:memory:/docker/abc/x\n",
			mounts: "33 30 0:29 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			want:   []Hierarchy{{Name: "memory", Options: "memory", Base: "/sys/fs/cgroup/memory/x"}},
		},
		"one tree of version 2": {
			own:    "0::/user.slice/session-1.scope\n",
			mounts: "33 30 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			want:   []Hierarchy{{V2: true, Base: "/sys/fs/cgroup/user.slice/session-1.scope"}},
		},
		"no memory controller anywhere": {
			own:    "1:cpu:/\n",
			mounts: "33 30 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
			fails:  true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parse(test.own, test.mounts)
			if (err != nil) != test.fails {
				t.Fatalf("error %v, want one: %v", err, test.fails)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestFoldersNameParentsFirst(t *testing.T) {
	got := Folders([]Hierarchy{{Base: "/m"}, {Base: "/c"}}, "x", []string{"a", "b"})
	want := []string{"/m/kapok-x", "/m/kapok-x/a", "/m/kapok-x/b", "/c/kapok-x", "/c/kapok-x/a", "/c/kapok-x/b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNewCPUSetTakesItsParentsProcessors(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "box")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{
		filepath.Join(parent, "cpuset.cpus"): "0-3\n", filepath.Join(parent, "cpuset.mems"): "0\n",
		filepath.Join(dir, "cpuset.cpus"): "\n", filepath.Join(dir, "cpuset.mems"): "1\n",
		filepath.Join(dir, "cgroup.clone_children"): "0\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := fillCPUSet(dir); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"cpuset.cpus": "0-3\n", "cpuset.mems": "1\n", "cgroup.clone_children": "1"} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
			t.Errorf("%s is %q (%v), want %q", file, got, err, want)
		}
	}
}

func TestRemoveOfGroupsThatAreNotThere(t *testing.T) {
	if err := Remove([]string{filepath.Join(t.TempDir(), "gone")}, time.Second); err != nil {
		t.Error(err)
	}
}
