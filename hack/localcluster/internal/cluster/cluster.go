// Package cluster is what the commands do: it prepares a cluster, starts its supervisor, and takes it down again.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/artifact"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/cgroup"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/control"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/loop"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/preflight"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/progress"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/residue"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/store"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/supervisor"
	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
)

// SuperviseCommand is the subcommand of the program that becomes the supervisor.
const SuperviseCommand = "supervise"

// Up brings a cluster up, or finds that it is. A cluster whose supervisor was killed is resumed with what it holds.
func Up(ctx context.Context, want spec.Spec, out *progress.Printer) error {
	if err := want.Validate(); err != nil {
		return err
	}
	dir, err := store.Open(want.Name)
	if err != nil {
		return err
	}
	lock, err := lockCluster(dir, want.Name)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	pid, err := supervisor.Alive(dir)
	if err != nil {
		return err
	}
	rec, found, err := dir.ReadRecord()
	if err != nil {
		return err
	}
	if found && !sameCluster(rec.Spec, want) {
		return fmt.Errorf("cluster %s exists with other options (now: %+v); take it down first", want.Name, rec.Spec)
	}
	if pid != 0 {
		return attach(ctx, dir, out)
	}
	if err := launch(ctx, dir, rec, found, want, out); err != nil {
		return err
	}
	return attach(ctx, dir, out)
}

// sameCluster says whether a cluster is what is wanted. A port that was chosen is fine where none was asked for.
func sameCluster(have, want spec.Spec) bool {
	if want.APIPort == 0 {
		want.APIPort = have.APIPort
	}
	return cmp.Equal(have, want)
}

func lockCluster(dir store.Dir, name string) (*store.Lock, error) {
	lock, err := store.TryLock(dir.Lock())
	if errors.Is(err, store.ErrLocked) {
		return nil, fmt.Errorf("another command is bringing cluster %s up or down; wait for it, or choose another --name: %w", name, err)
	}
	return lock, err
}

// launch makes what the cluster needs and starts its supervisor.
func launch(ctx context.Context, dir store.Dir, rec store.Record, found bool, want spec.Spec, out *progress.Printer) error {
	cache, err := store.Cache()
	if err != nil {
		return err
	}
	root, err := store.Root()
	if err != nil {
		return err
	}
	if err := preflight.Error(preflight.Run(cache, root)); err != nil {
		return err
	}
	set, err := Artifacts(ctx, out)
	if err != nil {
		return err
	}
	trees, err := cgroup.Discover()
	if err != nil {
		return err
	}
	if trees, err = cgroup.Settle(trees); err != nil {
		return err
	}
	files, err := preflight.MaxOpenFiles()
	if err != nil {
		return err
	}
	if err := releaseVolumes(dir); err != nil {
		return err
	}
	// Groups of a run before this one may be under another caller's group: they are removed now, and then forgotten.
	if err := cgroup.Remove(rec.Cgroups, 20*time.Second); err != nil {
		return err
	}
	if !found {
		rec.Spec = want
		if rec.HostRoutes, err = residue.HostRoutes(); err != nil {
			return err
		}
	}
	rec.Cgroups = cgroup.Folders(trees, want.Name, want.Boxes())
	if err := dir.WriteRecord(rec); err != nil {
		return err
	}
	err = supervisor.WriteLaunch(dir, supervisor.Launch{Artifacts: set, Cgroups: trees, MaxOpenFiles: files})
	if err != nil {
		return err
	}
	if found {
		out.Line("resuming cluster %s", want.Name)
	}
	return spawn(dir, want.Name)
}

// Artifacts makes everything that a cluster runs.
func Artifacts(ctx context.Context, out *progress.Printer) (artifact.Set, error) {
	maker, err := Maker(out)
	if err != nil {
		return artifact.Set{}, err
	}
	return maker.All(ctx)
}

// Maker returns the maker of artefacts for this machine's cache.
func Maker(out *progress.Printer) (*artifact.Maker, error) {
	cache, err := store.Cache()
	if err != nil {
		return nil, err
	}
	source, err := artifact.FindSource()
	if err != nil {
		return nil, err
	}
	return artifact.NewMaker(cache, source, out), nil
}

// spawn starts the supervisor as a process of its own session, so that it outlives this command and its terminal.
func spawn(dir store.Dir, name string) error {
	log, err := os.OpenFile(dir.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the supervisor's log: %w", err)
	}
	cmd := exec.Command("/proc/self/exe", SuperviseCommand, "--name", name)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.Env = append(os.Environ(), "KAPOK_STATE="+rootOf(dir))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := errors.Join(cmd.Start(), log.Close()); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	if err := cmd.Process.Release(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	return nil
}

func rootOf(dir store.Dir) string { return dir.Path("..") }

// attach follows a supervisor until the cluster is up.
func attach(ctx context.Context, dir store.Dir, out *progress.Printer) error {
	client := control.NewClient(dir.Socket())
	deadline := time.Now().Add(15 * time.Second)
	for {
		err := client.Follow(ctx, func(line string) { out.Line("%s", line) })
		if err == nil {
			return nil
		}
		if !errors.Is(err, control.ErrNoSupervisor) {
			return fmt.Errorf("%w (the supervisor's log: %s)", err, dir.Log())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the supervisor does not answer after 15s (its log: %s): %w", dir.Log(), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Down takes a cluster down, removes everything it holds, and verifies that nothing is left. A cluster that is not there
// is no error.
func Down(ctx context.Context, name string, out *progress.Printer) error {
	dir, err := store.Open(name)
	if err != nil {
		return err
	}
	if !dir.Exists() {
		out.Line("cluster %s is not there", name)
		return nil
	}
	lock, err := lockCluster(dir, name)
	if err != nil {
		return err
	}
	rec, _, err := dir.ReadRecord()
	if err != nil {
		return errors.Join(err, lock.Release())
	}
	if err := takeDown(ctx, dir, rec, out); err != nil {
		return errors.Join(err, lock.Release())
	}
	return lock.Remove()
}

func takeDown(ctx context.Context, dir store.Dir, rec store.Record, out *progress.Printer) error {
	if err := endSupervisor(ctx, dir); err != nil {
		return err
	}
	if err := releaseVolumes(dir); err != nil {
		return err
	}
	// The supervisor may have noted more since.
	if now, found, err := dir.ReadRecord(); err == nil && found {
		rec = now
	}
	if err := cgroup.Remove(rec.Cgroups, 20*time.Second); err != nil {
		return err
	}
	var left []string
	// The kernel takes a moment to let go of a dead box's namespaces and loop devices.
	for deadline := time.Now().Add(15 * time.Second); ; {
		var err error
		if left, err = residue.Find(dir, rec); err != nil {
			return err
		}
		if len(left) == 0 || time.Now().After(deadline) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if len(left) > 0 {
		return fmt.Errorf("left on the machine after 15s (state folder kept: %s): %v", dir.Path(), left)
	}
	if err := os.RemoveAll(dir.Path()); err != nil {
		return fmt.Errorf("remove the state folder: %w", err)
	}
	out.Line("cluster %s is down: no process, mount, loop device, control group, namespace or route of it is left", rec.Spec.Name)
	return nil
}

// releaseVolumes releases volumes that a supervisor had stalled when it was killed. What writes to them could not be ended
// otherwise, and they would hold their loop devices for ever.
func releaseVolumes(dir store.Dir) error {
	marks, err := filepath.Glob(dir.VolumeImages() + store.StalledSuffix)
	if err != nil {
		return fmt.Errorf("list stalled volumes: %w", err)
	}
	for _, mark := range marks {
		if err := errors.Join(loop.ReleaseImage(strings.TrimSuffix(mark, store.StalledSuffix)), os.Remove(mark)); err != nil {
			return err
		}
	}
	return nil
}

// endSupervisor asks the supervisor to end, and kills it where it does not: its boxes die with it.
func endSupervisor(ctx context.Context, dir store.Dir) error {
	pid, err := supervisor.Alive(dir)
	if err != nil || pid == 0 {
		return err
	}
	// An answer is not needed: what counts is that the supervisor gives up its lock.
	_ = control.NewClient(dir.Socket()).Shutdown(ctx)
	if lock, err := store.WaitLock(dir.SupervisorLock(), 50*time.Second); err == nil {
		return lock.Release()
	}
	if pid, err = supervisor.Alive(dir); err != nil || pid == 0 {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end supervisor %d: %w", pid, err)
	}
	lock, err := store.WaitLock(dir.SupervisorLock(), 10*time.Second)
	if err != nil {
		return fmt.Errorf("the supervisor does not end: %w", err)
	}
	return lock.Release()
}

// Status returns what a cluster is doing; found is false where there is none of that name.
func Status(ctx context.Context, name string) (st control.Status, found bool, err error) {
	dir, err := store.Open(name)
	if err != nil {
		return st, false, err
	}
	rec, found, err := dir.ReadRecord()
	if err != nil || !found {
		return control.Status{Name: name, State: control.Stopped}, false, err
	}
	st, err = control.NewClient(dir.Socket()).Status(ctx)
	if errors.Is(err, control.ErrNoSupervisor) {
		return control.Status{Name: rec.Spec.Name, State: control.Stopped, Kubeconfig: dir.Kubeconfig()}, true, nil
	}
	return st, true, err
}

// Disturb makes a cluster's network as bad as the rule says.
func Disturb(ctx context.Context, name string, rule netfault.Rule) error {
	return ask(name, "disturb "+rule.Node, func(c *control.Client) error { return c.Disturb(ctx, rule) })
}

// Service carries out an operation on a program of a cluster's control plane.
func Service(ctx context.Context, name, operation, service string) error {
	return ask(name, operation+" "+service, func(c *control.Client) error { return c.Service(ctx, operation, service) })
}

// Volume carries out an operation on a volume of a cluster's node.
func Volume(ctx context.Context, name, operation, node, volume string) error {
	return ask(name, operation+" "+volume, func(c *control.Client) error { return c.Volume(ctx, operation, node, volume) })
}

// Node carries out an operation on a node of a cluster.
func Node(ctx context.Context, name, operation, node string) error {
	return ask(name, operation+" "+node, func(c *control.Client) error { return c.Node(ctx, operation, node) })
}

func ask(name, what string, f func(*control.Client) error) error {
	dir, err := store.Open(name)
	if err != nil {
		return err
	}
	if err := f(control.NewClient(dir.Socket())); err != nil {
		return fmt.Errorf("%s of cluster %s: %w", what, name, err)
	}
	return nil
}
