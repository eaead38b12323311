package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/box"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/control"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/loop"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/render"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/store"
)

// disturbService pauses, resumes or ends one program of the control plane.
func (s *Supervisor) disturbService(ctx context.Context, operation, service string) error {
	if err := s.ready(); err != nil {
		return err
	}
	signal, ok := map[string]syscall.Signal{
		control.Pause: unix.SIGSTOP, control.Resume: unix.SIGCONT, control.Restart: unix.SIGKILL,
	}[operation]
	if !ok {
		return errors.New("unknown operation " + operation)
	}
	s.disturbing.Lock()
	defer s.disturbing.Unlock()
	m := s.member(spec.ControlPlane)
	if m == nil {
		return box.ErrStopped
	}
	if m.frozen {
		return fmt.Errorf("cannot %s %s: the control plane is frozen; thaw it first", operation, service)
	}
	if err := m.box.SignalService(ctx, service, signal); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(m.paused, service)
	if operation == control.Pause {
		m.paused[service] = true
	}
	return nil
}

// apiAnswers says whether it makes sense to ask the API anything.
func (s *Supervisor) apiAnswers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.boxes[spec.ControlPlane]
	return m != nil && !m.frozen && !m.paused[render.APIServerName] && !m.paused[render.EtcdName]
}

// disturbVolume stalls or releases a limited volume.
func (s *Supervisor) disturbVolume(operation, node, name string) error {
	if err := s.ready(); err != nil {
		return err
	}
	if _, ok := s.record.Spec.Node(node); !ok {
		return fmt.Errorf("there is no node %q; the nodes are %v", node, s.nodeNames())
	}
	s.disturbing.Lock()
	defer s.disturbing.Unlock()
	m := s.member(node)
	switch {
	case operation != control.Stall && operation != control.Release:
		return errors.New("unknown operation " + operation)
	case m == nil && operation == control.Release:
		return nil // A volume is released when its node is stopped.
	case m == nil:
		return fmt.Errorf("cannot stall a volume of %s: it is stopped", node)
	case operation == control.Release:
		return s.release(m, name)
	}
	return s.stall(m, name)
}

func (s *Supervisor) stall(m *member, name string) error {
	node := m.box.Config.Name
	image := s.volumeImage(node, name)
	if name != filepath.Base(name) || !isFile(image) {
		return fmt.Errorf("%s has no volume %q of class limited", node, name)
	}
	if m.stalled[name] != nil {
		return nil
	}
	// The mark comes first: should this process be killed, it tells what is left to be released.
	if err := store.WriteFile(image+store.StalledSuffix, nil, 0o600); err != nil {
		return err
	}
	inside := path.Join("/proc", strconv.Itoa(m.box.Pid), "root", box.Volumes, name)
	stalled, err := loop.Stall(inside)
	if err != nil {
		return errors.Join(err, os.Remove(image+store.StalledSuffix))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.stalled[name] = stalled
	return nil
}

// release lets writes to a volume go on. One that is not stalled is no error.
func (s *Supervisor) release(m *member, name string) error {
	s.mu.Lock()
	stalled := m.stalled[name]
	delete(m.stalled, name)
	s.mu.Unlock()
	if stalled == nil {
		return nil
	}
	return errors.Join(loop.Release(stalled), os.Remove(s.volumeImage(m.box.Config.Name, name)+store.StalledSuffix))
}

// releaseAll releases the volumes of a box that is ending: a process that writes to a stalled volume cannot be killed.
func (s *Supervisor) releaseAll(m *member) {
	s.mu.Lock()
	names := slices.Collect(maps.Keys(m.stalled))
	s.mu.Unlock()
	for _, name := range names {
		if err := s.release(m, name); err != nil {
			fmt.Fprintf(os.Stderr, "%s %s: %v\n", now(), m.box.Config.Name, err)
		}
	}
}

func (s *Supervisor) volumeImage(node, name string) string {
	return filepath.Join((&volumes{s: s}).folder(node), name) + imageSuffix
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
