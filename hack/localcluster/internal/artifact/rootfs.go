package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"time"
)

// packages are the Debian packages that a box is made of; what they depend on is added by apt.
func packages() []string {
	return []string{
		"bash", "conntrack", "containerd", "containernetworking-plugins", "coreutils", "dash", "e2fsprogs", "grep",
		"iproute2", "iptables", "mount", "nftables", "procps", "runc", "sed", "usr-is-merged", "util-linux",
	}
}

// rootFSVersion changes when the way a root is laid out does.
const rootFSVersion = "1"

// RootFS returns the folder with the files of the packages that a box is made of. They are taken from the machine's own
// package sources and unpacked there; nothing is installed, and none of their scripts is run. The key holds the names of
// the packages and the Debian release: a newer build of a package is taken when the folder is made anew.
func (m *Maker) RootFS(ctx context.Context) (string, error) {
	release, err := debianRelease()
	if err != nil {
		return "", err
	}
	key := hash(append([]string{rootFSVersion, release, runtime.GOARCH}, packages()...)...)
	dir, err := m.ensure(ctx, "rootfs", key, func(ctx context.Context, out string) error {
		m.out.Line("fetching containerd, runc, CNI plugins and what they need from the machine's Debian package sources (about 30 seconds; done once; nothing is installed)")
		apt, err := newApt(filepath.Join(out, "apt"))
		if err != nil {
			return err
		}
		debs, err := apt.download(ctx, packages())
		if err != nil {
			return err
		}
		m.out.Line("unpacking %d packages", len(debs))
		if err := unpack(ctx, debs, filepath.Join(out, "root")); err != nil {
			return err
		}
		if err := writePackageList(debs, filepath.Join(out, "packages.txt")); err != nil {
			return err
		}
		return os.RemoveAll(filepath.Join(out, "apt"))
	})
	return filepath.Join(dir, "root"), err
}

func debianRelease() (string, error) {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("find out the Debian release: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(name, `"`), nil
		}
	}
	return "", errors.New("find out the Debian release: /etc/os-release names none")
}

// apt is a package manager with state of its own and nothing installed: it reads the machine's sources and keys, and
// changes nothing of the machine.
type apt struct {
	dir string
}

func newApt(dir string) (*apt, error) {
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("prepare apt: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "status"), nil, 0o644); err != nil {
		return nil, fmt.Errorf("prepare apt: %w", err)
	}
	return &apt{dir: dir}, nil
}

func (a *apt) options() []string {
	options := []string{
		"Dir::State=" + filepath.Join(a.dir, "state"),
		"Dir::State::status=" + filepath.Join(a.dir, "status"),
		"Dir::Cache=" + filepath.Join(a.dir, "cache"),
		"APT::Sandbox::User=root",
		"APT::Install-Recommends=false",
		"Acquire::Languages=none",
		"Acquire::ForceHash=SHA256",
		"Acquire::Retries=3",
		// A release file may have expired where the machine's clock or its mirror is off; signatures are checked all
		// the same.
		"Acquire::Check-Valid-Until=false",
		"Dpkg::Use-Pty=false",
	}
	var args []string
	for _, o := range options {
		args = append(args, "-o", o)
	}
	return args
}

func (a *apt) run(ctx context.Context, timeout time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "apt-get", append(a.options(), args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("apt-get %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// download fetches the packages and all they depend on and returns the paths of their files.
func (a *apt) download(ctx context.Context, names []string) ([]string, error) {
	// One of several sources may fail without the packages being out of reach, so what update says counts only if they are.
	_, updateErr := a.run(ctx, 5*time.Minute, "update", "-q")
	args := append([]string{"install", "-q", "-y", "--download-only"}, names...)
	if _, err := a.run(ctx, 15*time.Minute, args...); err != nil {
		return nil, errors.Join(fmt.Errorf("fetch packages: %w", err), updateErr)
	}
	debs, err := filepath.Glob(filepath.Join(a.dir, "cache", "archives", "*.deb"))
	if err != nil {
		return nil, fmt.Errorf("list fetched packages: %w", err)
	}
	if len(debs) < len(names) {
		return nil, fmt.Errorf("apt-get fetched %d packages where at least %d were asked for", len(debs), len(names))
	}
	sort.Strings(debs)
	return debs, nil
}

// unpack lays the files of the packages into a root, without running their scripts.
func unpack(ctx context.Context, debs []string, root string) error {
	// Packages hold files under /bin, /lib and so on; in a merged root those are links into /usr.
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", dir), 0o755); err != nil {
			return fmt.Errorf("lay out root: %w", err)
		}
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			return fmt.Errorf("lay out root: %w", err)
		}
	}
	for _, deb := range debs {
		if err := unpackOne(ctx, deb, root); err != nil {
			return err
		}
	}
	// What is read by nothing in a box only takes room.
	for _, dir := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var"} {
		if err := os.RemoveAll(filepath.Join(root, dir)); err != nil {
			return fmt.Errorf("trim root: %w", err)
		}
	}
	// The packages' scripts would make these links.
	links := map[string]string{
		"usr/sbin/iptables": "iptables-nft", "usr/sbin/iptables-save": "iptables-nft-save",
		"usr/sbin/iptables-restore": "iptables-nft-restore", "usr/sbin/ip6tables": "ip6tables-nft",
		"usr/sbin/ip6tables-save": "ip6tables-nft-save", "usr/sbin/ip6tables-restore": "ip6tables-nft-restore",
	}
	for link, target := range links {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("lay out root: %w", err)
		}
	}
	return nil
}

func unpackOne(ctx context.Context, deb, root string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	files := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	extract := exec.CommandContext(ctx, "tar", "-x", "-C", root, "--keep-directory-symlink", "--no-same-owner", "-f", "-")
	pipe, err := files.StdoutPipe()
	if err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
	}
	extract.Stdin = pipe
	var stderr bytes.Buffer
	extract.Stderr, files.Stderr = &stderr, &stderr
	if err := files.Start(); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
	}
	extractErr := extract.Run()
	if err := errors.Join(extractErr, files.Wait()); err != nil {
		return fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

func writePackageList(debs []string, to string) error {
	var list strings.Builder
	for _, deb := range debs {
		list.WriteString(strings.TrimSuffix(filepath.Base(deb), ".deb") + "\n")
	}
	if err := os.WriteFile(to, []byte(list.String()), 0o644); err != nil {
		return fmt.Errorf("list packages: %w", err)
	}
	return nil
}
