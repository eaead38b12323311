package sandbox

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// leanBytes is what a lean server takes of memory, most of it by being there, with something to spare.
	leanBytes = 128 << 20
	// cgroup is where a container finds its own limits.
	cgroup = "/sys/fs/cgroup"
)

// NoMemoryError says that there is not enough memory for a server beside the one that there is: both would be killed.
type NoMemoryError struct {
	// Free is what is left below the limit, Needed what it takes, in bytes.
	Free, Needed int64
}

// Error implements error.
func (e *NoMemoryError) Error() string {
	const mib = 1 << 20
	return fmt.Sprintf("a private server needs %d MiB of memory beside mysqld, and %d MiB are left: raise resources.limits.memory, or lower bufferPoolSize",
		e.Needed/mib, e.Free/mib)
}

// roomy refuses a lean server that the container has no memory for. What cannot be found out is no reason.
func roomy(cgroup string) error {
	if free, known := headroom(cgroup); known && free < leanBytes {
		return &NoMemoryError{Free: free, Needed: leanBytes}
	}
	return nil
}

// headroom is how much memory is left below the limit; known is false where there is no limit. What the kernel gives back by itself counts as left.
func headroom(cgroup string) (free int64, known bool) {
	limit, limited := number(cgroup, "memory.max")
	used, measured := number(cgroup, "memory.current")
	if !limited || !measured {
		return 0, false
	}
	stat, err := os.ReadFile(filepath.Join(cgroup, "memory.stat"))
	if err != nil {
		return 0, false
	}
	for lines := bufio.NewScanner(bytes.NewReader(stat)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "active_file", "inactive_file", "slab_reclaimable":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				used -= n
			}
		}
	}
	return limit - used, true
}

// number reads a file with a number in it.
func number(cgroup, name string) (int64, bool) {
	content, err := os.ReadFile(filepath.Join(cgroup, name))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
	return n, err == nil
}

// offer has the kernel take a process before any other, if memory runs out all the same. Where it cannot be told so it finds one by itself.
func offer(pid int) {
	_ = os.WriteFile(filepath.Join("/proc", strconv.Itoa(pid), "oom_score_adj"), []byte("1000"), 0)
}
