package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/box"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/control"
)

// imageSuffix ends the names of files that hold the file system of a limited volume.
const imageSuffix = ".ext4"

// volumeTimeout bounds each program run for a volume.
const volumeTimeout = time.Minute

// volumes makes and removes volumes in the nodes' folders, which the machine sees too.
type volumes struct {
	s *Supervisor
}

func (v *volumes) folder(node string) string {
	return v.s.dir.Box(node, strings.TrimPrefix(box.Volumes, "/"))
}

// Create makes a volume on a node and returns its path there. With a limit it is a file system of that size.
func (v *volumes) Create(ctx context.Context, node, name string, limit int64) (string, error) {
	if _, ok := v.s.record.Spec.Node(node); !ok {
		return "", fmt.Errorf("there is no node %q", node)
	}
	dir := filepath.Join(v.folder(node), name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", fmt.Errorf("make volume: %w", err)
	}
	if limit > 0 {
		if err := v.createLimited(ctx, node, name, limit); err != nil {
			return "", err
		}
		return path.Join(box.Volumes, name), nil
	}
	// The folder's mode is cut by the process's umask.
	if err := os.Chmod(dir, 0o777); err != nil {
		return "", fmt.Errorf("make volume: %w", err)
	}
	return path.Join(box.Volumes, name), nil
}

func (v *volumes) createLimited(ctx context.Context, node, name string, limit int64) error {
	m := v.s.member(node)
	if m == nil {
		return fmt.Errorf("make volume on %s: %w", node, box.ErrStopped)
	}
	mountPoint := path.Join(box.Volumes, name)
	image := mountPoint + imageSuffix
	if _, err := m.box.Run(ctx, volumeTimeout, "mountpoint", "-q", mountPoint); err == nil {
		return nil // An attempt before this one was not reported to the API.
	}
	for _, args := range [][]string{
		{"rm", "-f", image},
		{"truncate", "-s", strconv.FormatInt(limit, 10), image},
		{"mkfs.ext4", "-q", "-F", "-m", "0", image},
		{"mount", "-o", "loop", image, mountPoint},
		{"chmod", "0777", mountPoint},
	} {
		if _, err := m.box.Run(ctx, volumeTimeout, args...); err != nil {
			return fmt.Errorf("make volume of %d bytes: %w", limit, err)
		}
	}
	return nil
}

// Delete removes a volume from a node, also from one that is stopped.
func (v *volumes) Delete(ctx context.Context, node, name string) error {
	dir := filepath.Join(v.folder(node), name)
	if _, err := os.Stat(dir + imageSuffix); err == nil {
		if m := v.s.member(node); m != nil {
			if err := v.s.disturbVolume(control.Release, node, name); err != nil {
				return fmt.Errorf("remove volume: %w", err)
			}
			if _, err := m.box.Run(ctx, volumeTimeout, "umount", path.Join(box.Volumes, name)); err != nil {
				return fmt.Errorf("remove volume: %w", err)
			}
		}
		if err := os.Remove(dir + imageSuffix); err != nil {
			return fmt.Errorf("remove volume: %w", err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove volume: %w", err)
	}
	return nil
}

// mountVolumes mounts the limited volumes of a node that has been started.
func (s *Supervisor) mountVolumes(ctx context.Context, node string, b *box.Box) error {
	images, err := filepath.Glob(filepath.Join((&volumes{s: s}).folder(node), "*"+imageSuffix))
	if err != nil {
		return fmt.Errorf("look for volumes: %w", err)
	}
	for _, image := range images {
		inside := path.Join(box.Volumes, filepath.Base(image))
		_, err := b.Run(ctx, volumeTimeout, "mount", "-o", "loop", inside, strings.TrimSuffix(inside, imageSuffix))
		if err != nil {
			return fmt.Errorf("mount volume on %s: %w", node, err)
		}
	}
	return nil
}

// loadTimeout bounds the import of one archive on one node.
const loadTimeout = 5 * time.Minute

// Load imports an image archive on the node whose first process that is.
func Load(ctx context.Context, pid int, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("open image archive: %w", err)
	}
	defer func() { _ = f.Close() }()
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	return Enter(ctx, pid, f, nil, "ctr", "-n", "k8s.io", "images", "import", "-")
}

// Enter runs a program in the box whose first process that is. Where out is nil, what the program prints is in the error.
func Enter(ctx context.Context, pid int, in, out *os.File, args ...string) error {
	enter := []string{"--target", strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = []string{"PATH=/opt/localcluster/kube:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdin = in
	cmd.WaitDelay = 5 * time.Second
	if out != nil {
		cmd.Stdout, cmd.Stderr = out, out
		return cmd.Run()
	}
	if printed, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", args[0], err), errors.New(strings.TrimSpace(string(printed))))
	}
	return nil
}
