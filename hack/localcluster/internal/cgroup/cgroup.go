// Package cgroup makes, freezes and removes the control groups of boxes. They are nested under the caller's own group, so
// that a limit set on the caller holds for the cluster too.
//
// Version 1 (a folder tree per controller) and version 2 (one tree) are both known; on a machine with both, version 1 is
// used, because there the controllers are bound to it.
package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Hierarchy is one tree of control groups.
type Hierarchy struct {
	// Name is the folder under /sys/fs/cgroup at which a box mounts the tree; empty for version 2.
	Name string `json:"name"`
	// Options are the mount options that name the tree; empty for version 2.
	Options string `json:"options"`
	// Base is the folder, on the machine, of the group under which the boxes' groups are made.
	Base string `json:"base"`
	// V2 says that this is the one tree of version 2.
	V2 bool `json:"v2"`
}

// Discover finds the trees and the caller's own group in each.
func Discover() ([]Hierarchy, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find own control groups: %w", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find control group mounts: %w", err)
	}
	return parse(string(own), string(mounts))
}

type mount struct {
	root, path, kind string
	options          []string
}

func parse(own, mountinfo string) ([]Hierarchy, error) {
	mounts := parseMounts(mountinfo)
	var v1 []Hierarchy
	var v2 *Hierarchy
	memory := false
	for line := range strings.Lines(own) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		controllers, path := fields[1], fields[2]
		if controllers == "" {
			if m, ok := find(mounts, "cgroup2", nil); ok && m.path == "/sys/fs/cgroup" {
				v2 = &Hierarchy{V2: true, Base: filepath.Join(m.path, strings.TrimPrefix(path, m.root))}
			}
			continue
		}
		m, ok := find(mounts, "cgroup", strings.Split(controllers, ","))
		if !ok {
			continue
		}
		options := controllers
		if strings.HasPrefix(controllers, "name=") {
			options = "none," + controllers
		}
		memory = memory || controllers == "memory"
		v1 = append(v1, Hierarchy{
			Name:    filepath.Base(m.path),
			Options: options,
			Base:    filepath.Join(m.path, strings.TrimPrefix(path, strings.TrimSuffix(m.root, "/"))),
		})
	}
	if memory {
		sort.Slice(v1, func(i, j int) bool { return v1[i].Name < v1[j].Name })
		return v1, nil
	}
	if v2 != nil {
		return []Hierarchy{*v2}, nil
	}
	return nil, errors.New("no control group tree with the memory controller is mounted under /sys/fs/cgroup")
}

func parseMounts(mountinfo string) []mount {
	var mounts []mount
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 6 || len(right) < 3 || !strings.HasPrefix(right[0], "cgroup") {
			continue
		}
		mounts = append(mounts, mount{root: left[3], path: left[4], kind: right[0], options: strings.Split(right[2], ",")})
	}
	return mounts
}

func find(mounts []mount, kind string, options []string) (mount, bool) {
	for _, m := range mounts {
		if m.kind != kind {
			continue
		}
		has := make(map[string]bool, len(m.options))
		for _, o := range m.options {
			has[o] = true
		}
		all := true
		for _, o := range options {
			all = all && has[o]
		}
		if all {
			return m, true
		}
	}
	return mount{}, false
}

// Folder returns the folder of a box's group in the tree.
func (h Hierarchy) Folder(cluster, box string) string {
	return filepath.Join(h.Base, "kapok-"+cluster, box)
}

// Folders returns the folders that a cluster's boxes need, parents before children.
func Folders(trees []Hierarchy, cluster string, boxes []string) []string {
	var dirs []string
	for _, h := range trees {
		dirs = append(dirs, filepath.Join(h.Base, "kapok-"+cluster))
		for _, b := range boxes {
			dirs = append(dirs, h.Folder(cluster, b))
		}
	}
	return dirs
}

// Settle returns the trees with a base under which groups with all controllers can be made. In version 2 a group that has
// processes of its own cannot hand controllers down, so there it is the nearest ancestor without processes.
func Settle(trees []Hierarchy) ([]Hierarchy, error) {
	settled := make([]Hierarchy, 0, len(trees))
	for _, h := range trees {
		if h.V2 {
			for h.Base != "/sys/fs/cgroup" {
				procs, err := os.ReadFile(filepath.Join(h.Base, "cgroup.procs"))
				if err != nil {
					return nil, fmt.Errorf("look for processes in control group: %w", err)
				}
				if len(bytes.TrimSpace(procs)) == 0 {
					break
				}
				h.Base = filepath.Dir(h.Base)
			}
		}
		settled = append(settled, h)
	}
	return settled, nil
}

// Create makes a box's group in each tree.
func Create(trees []Hierarchy, cluster, box string) error {
	for _, h := range trees {
		parent := filepath.Join(h.Base, "kapok-"+cluster)
		for _, dir := range []string{parent, filepath.Join(parent, box)} {
			if h.V2 {
				if err := Delegate(filepath.Dir(dir)); err != nil {
					return err
				}
			}
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make control group: %w", err)
			}
			if err := fillCPUSet(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delegate lets the children of a version 2 group have every controller that the group has.
func Delegate(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read controllers: %w", err)
	}
	for c := range strings.FieldsSeq(string(have)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
			return fmt.Errorf("hand controller %s down from %s: %w", c, dir, err)
		}
	}
	return nil
}

// fillCPUSet gives a new version 1 cpuset its parent's processors: it begins with none, and then takes no process.
func fillCPUSet(dir string) error {
	clone := filepath.Join(dir, "cgroup.clone_children")
	if _, err := os.Stat(filepath.Join(dir, "cpuset.cpus")); err != nil {
		return nil //nolint:nilerr // It is no cpuset.
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if len(bytes.TrimSpace(value)) > 0 {
			continue
		}
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if err != nil {
			return fmt.Errorf("read the parent's %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), parent, 0o644); err != nil {
			return fmt.Errorf("fill %s: %w", name, err)
		}
	}
	if _, err := os.Stat(clone); err != nil {
		return nil //nolint:nilerr // This version has no such switch.
	}
	if err := os.WriteFile(clone, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("let children of %s have its processors: %w", dir, err)
	}
	return nil
}

// Enter moves a process into a box's group in each tree.
func Enter(trees []Hierarchy, cluster, box string, pid int) error {
	for _, h := range trees {
		procs := filepath.Join(h.Folder(cluster, box), "cgroup.procs")
		if err := os.WriteFile(procs, []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("move process %d into control group: %w", pid, err)
		}
	}
	return nil
}

// Freeze stops every process of a box where it stands, or lets them go on.
func Freeze(trees []Hierarchy, cluster, box string, frozen bool) error {
	for _, h := range trees {
		file, value := filepath.Join(h.Folder(cluster, box), "freezer.state"), map[bool]string{true: "FROZEN", false: "THAWED"}[frozen]
		if h.V2 {
			file, value = filepath.Join(h.Folder(cluster, box), "cgroup.freeze"), map[bool]string{true: "1", false: "0"}[frozen]
		}
		if _, err := os.Stat(file); err != nil {
			continue
		}
		if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s of %s: %w", value, box, err)
		}
		return nil
	}
	return errors.New("the machine has no freezer control group")
}

// Remove ends whatever still runs in the groups and removes them with all that was made below them. Folders that are
// not there are no error.
func Remove(dirs []string, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for _, dir := range slices.Backward(dirs) {
		for {
			busy, err := removeTree(dir)
			if err != nil {
				return err
			}
			if !busy {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("control group %s is still in use after %s", dir, timeout)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func removeTree(dir string) (busy bool, err error) {
	var groups []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("walk control groups: %w", err)
	}
	for _, group := range slices.Backward(groups) {
		if err := endProcesses(group); err != nil {
			return false, err
		}
		switch err := os.Remove(group); {
		case err == nil, errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENOTEMPTY):
			busy = true
		default:
			return false, fmt.Errorf("remove control group: %w", err)
		}
	}
	return busy, nil
}

func endProcesses(dir string) error {
	// A process that version 1 has frozen does not die before it is let go on.
	if freezer := filepath.Join(dir, "freezer.state"); exists(freezer) {
		if err := os.WriteFile(freezer, []byte("THAWED"), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("thaw control group: %w", err)
		}
	}
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		return fmt.Errorf("look for processes in control group: %w", err)
	}
	for field := range strings.FieldsSeq(string(procs)) {
		pid, err := strconv.Atoi(field)
		if err != nil || pid <= 0 {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end process %d left in control group %s: %w", pid, dir, err)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
