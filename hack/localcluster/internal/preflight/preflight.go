// Package preflight says, before anything is changed, what the machine lacks to run a local cluster.
package preflight

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/cgroup"
)

// What a cluster of three nodes with some load takes.
const (
	needMemory = 3 << 30
	needDisk   = 10 << 30
	needFiles  = 4096
)

const overlayMagic = 0x794c7630

// WayOut is what to do on a machine that cannot run a local cluster.
const WayOut = "where this cannot be had, run with CLUSTER=kind (needs Docker) or CLUSTER=existing (the cluster of the current kubeconfig)"

// Check is one thing that the machine must have.
type Check struct {
	// Name says what was looked at.
	Name string
	// Problem says what is missing; empty where nothing is.
	Problem string
}

// Run looks at everything. cache and state are the folders that will be written to.
func Run(cache, state string) []Check {
	checks := []Check{
		{"Linux with root", root()},
		{"namespaces", namespaces()},
		{"control groups", cgroups()},
		{"file systems", filesystems()},
		{"programs", programs()},
		{"memory", memory()},
		{"open files", openFiles()},
	}
	for _, f := range []struct{ name, dir string }{{"cache folder", cache}, {"state folder", state}} {
		checks = append(checks, Check{f.name + " " + f.dir, disk(f.dir)})
	}
	return checks
}

// Error returns what is missing as one error with the way out, or nil.
func Error(checks []Check) error {
	var missing []string
	for _, c := range checks {
		if c.Problem != "" {
			missing = append(missing, "  - "+c.Name+": "+c.Problem)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return errors.New("this machine cannot run a local cluster; nothing was changed:\n" + strings.Join(missing, "\n") + "\n  " + WayOut)
}

func root() string {
	if os.Geteuid() != 0 {
		return "not root; run as root (sudo -E)"
	}
	uidMap, err := os.ReadFile("/proc/self/uid_map")
	if err == nil && len(strings.Fields(string(uidMap))) == 3 && strings.Fields(string(uidMap))[2] != "4294967295" {
		return "root only inside a user namespace, as in a rootless container"
	}
	return ""
}

func namespaces() string {
	var missing []string
	for _, ns := range []string{"mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		if _, err := os.Stat("/proc/self/ns/" + ns); err != nil {
			missing = append(missing, ns)
		}
	}
	if len(missing) > 0 {
		return "the kernel has none for " + strings.Join(missing, ", ")
	}
	// Making one and leaving it at once shows whether this process may.
	cmd := exec.Command("/proc/self/exe", "help")
	cmd.SysProcAttr = cloneAll()
	if err := cmd.Run(); err != nil {
		return fmt.Sprintf("cannot make them (%v); in a container, run it privileged", err)
	}
	return ""
}

func cgroups() string {
	trees, err := cgroup.Discover()
	if err != nil {
		return err.Error()
	}
	for _, h := range trees {
		if err := unix.Access(h.Base, unix.W_OK); err != nil {
			return fmt.Sprintf("cannot write %s: %v", h.Base, err)
		}
	}
	return ""
}

func filesystems() string {
	data, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err.Error()
	}
	var missing []string
	for _, fs := range []string{"overlay", "tmpfs", "proc", "sysfs"} {
		if !strings.Contains(string(data), "\t"+fs+"\n") {
			missing = append(missing, fs)
		}
	}
	if len(missing) > 0 {
		return "the kernel offers no " + strings.Join(missing, ", ") + " (as root: modprobe overlay)"
	}
	return ""
}

func programs() string {
	var missing []string
	for _, p := range []string{"apt-get", "dpkg-deb", "tar", "go", "nsenter"} {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		return "not found: " + strings.Join(missing, ", ")
	}
	return ""
}

func memory() string {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err.Error()
	}
	available, err := availableMemory(string(data))
	if err != nil {
		return err.Error()
	}
	if available < needMemory {
		return fmt.Sprintf("%d MiB available, %d MiB needed", available>>20, needMemory>>20)
	}
	return ""
}

func availableMemory(meminfo string) (int64, error) {
	for line := range strings.Lines(meminfo) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("parse available memory: %w", err)
			}
			return kib << 10, nil
		}
	}
	return 0, errors.New("the kernel does not say how much memory is available")
}

func openFiles() string {
	limit, err := MaxOpenFiles()
	if err != nil {
		return err.Error()
	}
	if limit < needFiles {
		return fmt.Sprintf("the hard limit is %d, at least %d is needed (ulimit -Hn)", limit, needFiles)
	}
	return ""
}

// MaxOpenFiles returns the hard limit of open files, capped at what any program here can use.
func MaxOpenFiles() (uint64, error) {
	const enough = 1 << 20
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("find the limit of open files: %w", err)
	}
	return min(limit.Max, enough), nil
}

func disk(dir string) string {
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err.Error()
	}
	if st.Type == overlayMagic {
		return "is on an overlay file system, on which containers cannot be run; choose a folder on a disk (KAPOK_CACHE, KAPOK_STATE)"
	}
	if free := int64(st.Bavail) * st.Bsize; free < needDisk {
		return fmt.Sprintf("%d MiB free, %d MiB needed", free>>20, needDisk>>20)
	}
	return ""
}

func cloneAll() *unix.SysProcAttr {
	return &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL,
	}
}
