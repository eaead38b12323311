// Package box runs a part of the cluster, a node or the control plane, as if on a machine of its own: in its own mount,
// process, network, IPC, host name and control group namespaces, with a root made of Debian packages. A box dies with the
// process that started it, and everything in a box dies with its first process.
package box

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/cgroup"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/store"
)

// Folders inside a box.
const (
	// Etc is where a box finds its configuration.
	Etc = "/etc/localcluster"
	// Bin is where a box finds the Kubernetes programs.
	Bin = "/opt/localcluster/kube"
	// DNSBin is where a box finds the DNS server.
	DNSBin = "/opt/localcluster/dns"
	// Logs is where a box's programs write their logs.
	Logs = "/var/log/localcluster"
	// Volumes is where a node keeps the volumes provisioned on it.
	Volumes = "/var/lib/localcluster/volumes"
)

// Subcommands of the program that run inside a new box.
const (
	// EnterCommand takes over a new box's namespaces.
	EnterCommand = "box-enter"
	// InitCommand is the first process of a box.
	InitCommand = "box-init"
)

// Bind is a folder of the machine that a box sees.
type Bind struct {
	// From is the folder on the machine, To the folder in the box.
	From, To string
	// ReadOnly keeps the box from changing it.
	ReadOnly bool
}

// Config describes a box.
type Config struct {
	// Name is the box's name and host name.
	Name string
	// Cluster is the name of its cluster.
	Cluster string
	// RootFS is the folder with the packages' files; it is not changed.
	RootFS string
	// Dir is the folder of the box's own files.
	Dir string
	// Binds are the folders of the machine that the box sees.
	Binds []Bind
	// Cgroups are the trees of control groups.
	Cgroups []cgroup.Hierarchy
	// Hosts is the content of its /etc/hosts.
	Hosts string
	// Nameserver is the address in its /etc/resolv.conf.
	Nameserver string
	// BootID is by what kubelet tells one start of the box from another.
	BootID string
}

// Service is a program that a box keeps running.
type Service struct {
	// Name is the service's name, and its log's.
	Name string
	// Args are the program and its arguments.
	Args []string
	// Env is added to the box's environment.
	Env []string
}

// Command is a program that runs in a box once.
type Command struct {
	// Args are the program and its arguments.
	Args []string
	// Timeout ends it.
	Timeout time.Duration
}

// Signal is a signal to the process of a service.
type Signal struct {
	// Service is the service's name.
	Service string
	// Number is the signal.
	Number syscall.Signal
}

// Box is a running box.
type Box struct {
	// Config is what it was started with.
	Config Config
	// Pid is the process on the machine that is the box's first.
	Pid int
	// Started is when it was started.
	Started time.Time

	client *rpc.Client
	done   chan struct{}
}

// Spawner starts boxes from one thread that lives as long as the process. The kernel ends a box when the thread that
// started it ends, and a Go program's threads come and go.
type Spawner struct {
	work chan func()
}

// NewSpawner starts the thread.
func NewSpawner() *Spawner {
	s := &Spawner{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range s.work {
			f()
		}
	}()
	return s
}

func (s *Spawner) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	s.work <- func() { result <- cmd.Start() }
	return <-result
}

// Start starts a box and returns when its namespaces and mounts are made; its network is empty but for the loopback
// device.
func (s *Spawner) Start(ctx context.Context, cfg Config) (*Box, error) {
	configPath := filepath.Join(cfg.Dir, "box.json")
	data, err := json.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("encode configuration of box %s: %w", cfg.Name, err)
	}
	if err := store.WriteFile(configPath, data, 0o600); err != nil {
		return nil, err
	}
	if err := cgroup.Create(cfg.Cgroups, cfg.Cluster, cfg.Name); err != nil {
		return nil, fmt.Errorf("prepare box %s: %w", cfg.Name, err)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	log, err := openLog(cfg)
	if err != nil {
		return nil, errors.Join(err, ours.Close(), theirs.Close())
	}
	cmd := exec.Command("/proc/self/exe", EnterCommand, configPath)
	cmd.Env = []string{"PATH=" + path(), "LANG=C.UTF-8"}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
	}
	startErr := s.start(cmd)
	closeErr := errors.Join(theirs.Close(), log.Close())
	if startErr != nil {
		return nil, errors.Join(fmt.Errorf("start box %s: %w", cfg.Name, startErr), closeErr, ours.Close())
	}
	b := &Box{Config: cfg, Pid: cmd.Process.Pid, Started: time.Now(), done: make(chan struct{})}
	go func() {
		defer close(b.done)
		// How a box ends says nothing: it is killed.
		_ = cmd.Wait()
	}()
	if closeErr != nil {
		return nil, errors.Join(closeErr, ours.Close(), b.Kill(context.WithoutCancel(ctx), nil))
	}
	if err := b.handOver(ctx, ours); err != nil {
		return nil, errors.Join(fmt.Errorf("start box %s (its log: %s): %w", cfg.Name, logPath(cfg), err), b.Kill(context.WithoutCancel(ctx), nil))
	}
	return b, nil
}

// handOver moves the waiting process into its control groups, lets it go on, and waits for its mounts.
func (b *Box) handOver(ctx context.Context, socket *os.File) error {
	if err := cgroup.Enter(b.Config.Cgroups, b.Config.Cluster, b.Config.Name, b.Pid); err != nil {
		return errors.Join(err, socket.Close())
	}
	if _, err := socket.Write([]byte{1}); err != nil {
		return errors.Join(fmt.Errorf("let the box go on: %w", err), socket.Close())
	}
	conn, err := net.FileConn(socket)
	if err := errors.Join(err, socket.Close()); err != nil {
		return fmt.Errorf("open the box's control connection: %w", err)
	}
	b.client = rpc.NewClient(conn)
	return b.call(ctx, "Init.Ready", 0, new(int), 20*time.Second)
}

// ErrStopped is returned for a request to a box that no longer runs.
var ErrStopped = errors.New("the box is stopped")

func (b *Box) call(ctx context.Context, method string, args, reply any, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	call := b.client.Go(method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		return call.Error
	case <-b.done:
		return ErrStopped
	case <-timer.C:
		return fmt.Errorf("box %s did not answer %s within %s", b.Config.Name, method, timeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// StartService starts a program that the box then keeps running.
func (b *Box) StartService(ctx context.Context, s Service) error {
	if err := b.call(ctx, "Init.Start", s, new(int), 10*time.Second); err != nil {
		return fmt.Errorf("start %s in %s: %w", s.Name, b.Config.Name, err)
	}
	return nil
}

// SignalService sends a signal to the process of a service. A service that ends of it is started again.
func (b *Box) SignalService(ctx context.Context, service string, signal syscall.Signal) error {
	if err := b.call(ctx, "Init.Signal", Signal{Service: service, Number: signal}, new(int), 10*time.Second); err != nil {
		return fmt.Errorf("%s: %w", b.Config.Name, err)
	}
	return nil
}

// Run runs a program in the box and returns what it printed.
func (b *Box) Run(ctx context.Context, timeout time.Duration, args ...string) (string, error) {
	var output string
	if err := b.call(ctx, "Init.Run", Command{Args: args, Timeout: timeout}, &output, timeout+5*time.Second); err != nil {
		return output, fmt.Errorf("run %s in %s: %w", filepath.Base(args[0]), b.Config.Name, err)
	}
	return output, nil
}

// Done is closed when the box has ended.
func (b *Box) Done() <-chan struct{} { return b.done }

// Kill ends the box with everything in it, as a loss of power would, and removes its control groups. Once its end has
// begun it calls struck, where that is not nil, to let go of what processes wait for that cannot be killed.
func (b *Box) Kill(ctx context.Context, struck func()) error {
	// A frozen process does not die before it is let go on; a machine without a freezer has no frozen process.
	_ = cgroup.Freeze(b.Config.Cgroups, b.Config.Cluster, b.Config.Name, false)
	if err := unix.Kill(b.Pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end box %s: %w", b.Config.Name, err)
	}
	if struck != nil {
		struck()
	}
	select {
	case <-b.done:
	case <-time.After(20 * time.Second):
		return fmt.Errorf("box %s did not end within 20s", b.Config.Name)
	case <-ctx.Done():
		return ctx.Err()
	}
	if b.client != nil {
		// Closing twice is the only error here.
		_ = b.client.Close()
	}
	dirs := make([]string, 0, len(b.Config.Cgroups))
	for _, h := range b.Config.Cgroups {
		dirs = append(dirs, h.Folder(b.Config.Cluster, b.Config.Name))
	}
	return cgroup.Remove(dirs, 20*time.Second)
}

// Namespace returns the path by which others enter one of the box's namespaces, such as "net".
func (b *Box) Namespace(kind string) string {
	return "/proc/" + strconv.Itoa(b.Pid) + "/ns/" + kind
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make control connection: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "box-control"), os.NewFile(uintptr(fds[1]), "box-control"), nil
}

func logPath(cfg Config) string {
	return filepath.Join(cfg.Dir, "var", "log", "localcluster", "box.log")
}

func openLog(cfg Config) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(logPath(cfg)), 0o755); err != nil {
		return nil, fmt.Errorf("make log folder: %w", err)
	}
	f, err := os.OpenFile(logPath(cfg), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log of box %s: %w", cfg.Name, err)
	}
	return f, nil
}

func path() string {
	return Bin + ":" + DNSBin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}
