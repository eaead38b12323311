package box

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/cgroup"
)

// controlFD is the file descriptor of the connection to the process that started the box.
const controlFD = 3

// Enter is the program EnterCommand. It waits until it has been moved into its control groups, takes a view of them of its
// own, and becomes InitCommand: what a thread has unshared, only a new program has as a whole. The caller must have
// locked the goroutine to the main thread.
func Enter(configPath string) error {
	var b [1]byte
	if n, err := unix.Read(controlFD, b[:]); err != nil || n != 1 {
		return fmt.Errorf("the process that started this box is gone: %w", errors.Join(err, syscall.EPIPE))
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("take an own view of the control groups: %w", err)
	}
	err := syscall.Exec("/proc/self/exe", []string{os.Args[0], InitCommand, configPath}, os.Environ())
	return fmt.Errorf("become the box's first process: %w", err)
}

func readConfig(path string) (Config, error) {
	var cfg Config
	data, err := os.ReadFile(path)
	if err != nil {
		return cfg, fmt.Errorf("read box configuration: %w", err)
	}
	if err := json.Unmarshal(data, &cfg); err != nil {
		return cfg, fmt.Errorf("parse box configuration: %w", err)
	}
	return cfg, nil
}

// mountRoot builds the box's root and makes it the root of this mount namespace.
func mountRoot(cfg Config) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	base := filepath.Join(cfg.Dir, "root")
	if err := mountOn("tmpfs", base, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	root, upper, work := filepath.Join(base, "root"), filepath.Join(base, "upper"), filepath.Join(base, "work")
	for _, d := range []string{root, upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return fmt.Errorf("build root: %w", err)
		}
	}
	overlay := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", cfg.RootFS, upper, work)
	if err := mountOn("overlay", root, "overlay", 0, overlay); err != nil {
		return err
	}
	if err := mountSystem(root); err != nil {
		return err
	}
	binds := append([]Bind{
		{From: filepath.Join(cfg.Dir, "var"), To: "/var"},
		{From: filepath.Join(cfg.Dir, "etc"), To: Etc, ReadOnly: true},
	}, cfg.Binds...)
	for _, b := range binds {
		if err := bind(b, root); err != nil {
			return err
		}
	}
	if err := mountCgroups(cfg.Cgroups, root); err != nil {
		return err
	}
	if err := writeIdentity(cfg, root); err != nil {
		return err
	}
	if err := hideHostSettings(root, cfg.BootID); err != nil {
		return err
	}
	return pivot(root)
}

// mountSystem mounts the kernel's file systems. /dev is the machine's, because loop devices come and go there; terminals
// and shared memory are the box's own.
func mountSystem(root string) error {
	at := func(p string) string { return filepath.Join(root, p) }
	if err := mountOn("proc", at("/proc"), "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := mountOn("sysfs", at("/sys"), "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := bind(Bind{From: "/dev", To: "/dev"}, root); err != nil {
		return err
	}
	for path, fsType := range map[string]string{"/dev/pts": "devpts", "/dev/shm": "tmpfs"} {
		if _, err := os.Stat(at(path)); err != nil {
			continue
		}
		data := map[string]string{"devpts": "newinstance,ptmxmode=0666,mode=0620", "tmpfs": "mode=1777"}[fsType]
		if err := mountOn(fsType, at(path), fsType, unix.MS_NOSUID, data); err != nil {
			return err
		}
	}
	for _, path := range []string{"/run", "/tmp"} {
		if err := mountOn("tmpfs", at(path), "tmpfs", unix.MS_NOSUID, "mode=1777"); err != nil {
			return err
		}
	}
	return nil
}

func mountCgroups(trees []cgroup.Hierarchy, root string) error {
	top := filepath.Join(root, "/sys/fs/cgroup")
	for _, h := range trees {
		if h.V2 {
			if err := mountOn("cgroup2", top, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
				return err
			}
			return leaveTop(top)
		}
	}
	if err := mountOn("tmpfs", top, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755"); err != nil {
		return err
	}
	for _, h := range trees {
		dir := filepath.Join(top, h.Name)
		if err := mountOn("cgroup", dir, "cgroup", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, h.Options); err != nil {
			return err
		}
		// A tree with several controllers is looked for by the name of each.
		for c := range strings.SplitSeq(h.Options, ",") {
			if c == h.Name || c == "none" || strings.HasPrefix(c, "name=") {
				continue
			}
			if err := os.Symlink(h.Name, filepath.Join(top, c)); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("name control group tree: %w", err)
			}
		}
	}
	return nil
}

// leaveTop moves this process out of the top of the box's version 2 tree: a group with processes cannot hand its
// controllers down.
func leaveTop(top string) error {
	own := filepath.Join(top, "init")
	if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the first process's control group: %w", err)
	}
	if err := os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("0"), 0o644); err != nil {
		return fmt.Errorf("move the first process into its control group: %w", err)
	}
	return cgroup.Delegate(top)
}

// writeIdentity gives the box the files that tell machines apart.
func writeIdentity(cfg Config, root string) error {
	machineID, err := persistentID(filepath.Join(cfg.Dir, "machine-id"))
	if err != nil {
		return err
	}
	files := map[string]string{
		"/etc/hostname":    cfg.Name + "\n",
		"/etc/hosts":       cfg.Hosts,
		"/etc/resolv.conf": "nameserver " + cfg.Nameserver + "\n",
		"/etc/machine-id":  machineID + "\n",
		"/etc/passwd":      "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"/etc/group":       "root:x:0:\nnogroup:x:65534:\n",
	}
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	if err := unix.Sethostname([]byte(cfg.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	return nil
}

// hideHostSettings puts files of the box's own over kernel settings that belong to the whole machine and that kubelet
// sets, and over the identity of the machine's boot, by which kubelet knows that a node was started anew.
func hideHostSettings(root, bootID string) error {
	settings := map[string]string{
		"sys/vm/overcommit_memory":      "1",
		"sys/vm/panic_on_oom":           "0",
		"sys/kernel/panic":              "10",
		"sys/kernel/panic_on_oops":      "1",
		"sys/kernel/keys/root_maxkeys":  "1000000",
		"sys/kernel/keys/root_maxbytes": "25000000",
		"sys/kernel/random/boot_id":     bootID,
	}
	dir := filepath.Join(root, "run", "localcluster-settings")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("hide kernel settings: %w", err)
	}
	for name, value := range settings {
		target := filepath.Join(root, "proc", name)
		if _, err := os.Stat(target); err != nil {
			continue
		}
		own := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(own, []byte(value+"\n"), 0o644); err != nil {
			return fmt.Errorf("hide kernel setting %s: %w", name, err)
		}
		if err := unix.Mount(own, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hide kernel setting %s: %w", name, err)
		}
	}
	return nil
}

// pivot makes root the root, and lets mounts made by one program in the box be seen by the others.
func pivot(root string) error {
	old := filepath.Join(root, ".old")
	if err := os.Mkdir(old, 0o700); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.PivotRoot(root, old); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Unmount("/.old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the machine's root: %w", err)
	}
	if err := os.Remove("/.old"); err != nil {
		return fmt.Errorf("let go of the machine's root: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts within the box: %w", err)
	}
	return nil
}

func mountOn(source, target, fsType string, flags uintptr, data string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.Mount(source, target, fsType, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", fsType, target, err)
	}
	return nil
}

func bind(b Bind, root string) error {
	target := filepath.Join(root, b.To)
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.Mount(b.From, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("show %s at %s: %w", b.From, b.To, err)
	}
	if !b.ReadOnly {
		return nil
	}
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", b.To, err)
	}
	return nil
}

// persistentID returns the identity in the file, which it makes when it is not there.
func persistentID(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(data))) == 32 {
		return strings.TrimSpace(string(data)), nil
	}
	id, err := newID()
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path, []byte(id+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("write machine identity: %w", err)
	}
	return id, nil
}

func newID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make identity: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}
