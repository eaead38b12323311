// Package supervisor is the process that a running cluster hangs on: it starts the boxes, joins them, starts their
// programs in order, carries out faults, provisions volumes and lets the machine reach the API. When it ends, so does
// every box.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/artifact"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/box"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/cgroup"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/control"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/lan"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/store"
	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
)

// Launch is what `up` hands to the supervisor, in a file of the state folder.
type Launch struct {
	// Artifacts are what the cluster runs.
	Artifacts artifact.Set `json:"artifacts"`
	// Cgroups are the trees under which the boxes' control groups are made.
	Cgroups []cgroup.Hierarchy `json:"cgroups"`
	// MaxOpenFiles is the machine's limit.
	MaxOpenFiles uint64 `json:"maxOpenFiles"`
}

// Supervisor keeps one cluster.
type Supervisor struct {
	dir     store.Dir
	record  store.Record
	launch  Launch
	spawner *box.Spawner
	events  *events

	api    net.Listener
	lan    *lan.LAN
	client kubernetes.Interface

	// operations is held while a box is started or stopped, and taken before disturbing.
	operations sync.Mutex
	// disturbing is held while something is done to boxes that run, or to their network: that must not wait for a node
	// that is being started, which may take minutes.
	disturbing sync.Mutex
	mu         sync.Mutex
	boxes      map[string]*member
	// faults are the rules about the network that are in force.
	faults []netfault.Rule

	stop context.CancelCauseFunc
}

// member is a box and what was done to it.
type member struct {
	box    *box.Box
	bootID string
	cut    bool
	frozen bool
	// paused are the services whose processes stand still.
	paused map[string]bool
	// stalled are the volumes on which writes hang, by their name.
	stalled map[string]*os.File
}

var errShutdown = errors.New("shutdown was asked for")

// Run keeps the cluster of that folder until it is told to shut down, or a signal ends ctx.
func Run(ctx context.Context, dir store.Dir) error {
	lock, err := store.TryLock(dir.SupervisorLock())
	if err != nil {
		return fmt.Errorf("become the cluster's supervisor: %w", err)
	}
	defer func() { _ = lock.Release() }()
	record, found, err := dir.ReadRecord()
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("no cluster was begun in %s", dir.Path())
	}
	launch, err := readLaunch(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &Supervisor{
		dir: dir, record: record, launch: launch, spawner: box.NewSpawner(), events: newEvents(),
		boxes: map[string]*member{}, stop: cancel,
	}
	closeSocket, err := s.serveControl(ctx)
	if err != nil {
		return err
	}
	defer closeSocket()
	if err := s.bringUp(ctx); err != nil {
		s.events.end(control.Failed, err)
		fmt.Fprintf(os.Stderr, "%s bring up: %v\n", now(), err)
		s.events.drain(3 * time.Second)
	} else {
		s.events.end(control.Ready, nil)
		<-ctx.Done()
		fmt.Fprintf(os.Stderr, "%s ending: %v\n", now(), context.Cause(ctx))
	}
	return s.end(ctx)
}

// end kills every box, the nodes first.
func (s *Supervisor) end(ctx context.Context) error {
	s.operations.Lock()
	defer s.operations.Unlock()
	s.disturbing.Lock()
	defer s.disturbing.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 45*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, len(s.record.Spec.Boxes()))
	for _, name := range s.record.Spec.Boxes() {
		m := s.member(name)
		if m == nil {
			continue
		}
		wg.Go(func() { errs <- m.box.Kill(ctx, func() { s.releaseAll(m) }) })
	}
	wg.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	if s.lan != nil {
		all = errors.Join(all, s.lan.Close())
	}
	if s.api != nil {
		all = errors.Join(all, s.api.Close())
	}
	return all
}

func (s *Supervisor) member(name string) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.boxes[name]
}

// startBox starts a box and notes its network namespace, so that its end can be verified later.
func (s *Supervisor) startBox(ctx context.Context, name string) (*member, error) {
	bootID, err := newBootID()
	if err != nil {
		return nil, err
	}
	b, err := s.spawner.Start(ctx, box.Config{
		Name: name, Cluster: s.record.Spec.Name, RootFS: s.launch.Artifacts.RootFS, Dir: s.dir.Box(name),
		Binds: []box.Bind{
			{From: s.launch.Artifacts.Kube, To: box.Bin, ReadOnly: true},
			{From: s.launch.Artifacts.DNS, To: box.DNSBin, ReadOnly: true},
		},
		Cgroups: s.launch.Cgroups, Hosts: hosts(s.record.Spec), Nameserver: spec.ControlPlaneIP, BootID: bootID,
	})
	if err != nil {
		return nil, err
	}
	namespace, err := os.Readlink(b.Namespace("net"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find network namespace of %s: %w", name, err), b.Kill(ctx, nil))
	}
	m := &member{box: b, bootID: bootID, paused: map[string]bool{}, stalled: map[string]*os.File{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boxes[name] = m
	s.record.Namespaces = append(s.record.Namespaces, namespace)
	if err := s.dir.WriteRecord(s.record); err != nil {
		return nil, err
	}
	go s.watch(name, m)
	return m, nil
}

// watch notes when a box ends. Without its control plane the cluster is nothing, so then it ends as a whole.
func (s *Supervisor) watch(name string, m *member) {
	<-m.box.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.boxes[name] == m {
		delete(s.boxes, name)
	}
	if name == spec.ControlPlane {
		s.stop(errors.New("the control-plane box ended"))
	}
}

func readLaunch(dir store.Dir) (Launch, error) {
	var l Launch
	err := dir.ReadJSON(launchFile, &l)
	return l, err
}

// WriteLaunch hands over what the supervisor needs.
func WriteLaunch(dir store.Dir, l Launch) error { return dir.WriteJSON(launchFile, l) }

const launchFile = "launch.json"

// Alive returns the process that keeps the cluster, or 0.
func Alive(dir store.Dir) (int, error) {
	if !dir.Exists() {
		return 0, nil
	}
	lock, err := store.TryLock(dir.SupervisorLock())
	if err == nil {
		return 0, lock.Release()
	}
	if !errors.Is(err, store.ErrLocked) {
		return 0, err
	}
	data, err := os.ReadFile(dir.Path(pidFile))
	if err != nil {
		return 0, fmt.Errorf("find the supervisor: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("find the supervisor: %w", err)
	}
	return pid, nil
}

const pidFile = "supervisor.pid"

func now() string { return time.Now().UTC().Format(time.RFC3339) }
