package box

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RunInit is the program InitCommand: it makes the box's mounts and then does what it is told over the control connection
// until that breaks. When it returns, the kernel ends everything in the box.
func RunInit(configPath string) error {
	cfg, err := readConfig(configPath)
	if err != nil {
		return err
	}
	unix.CloseOnExec(controlFD)
	if err := mountRoot(cfg); err != nil {
		return err
	}
	if err := prepareNetwork(); err != nil {
		return err
	}
	for _, dir := range []string{Logs, Volumes, "/var/lib/kubelet", "/var/tmp", "/root"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	conn, err := net.FileConn(os.NewFile(controlFD, "box-control"))
	if err != nil {
		return fmt.Errorf("open control connection: %w", err)
	}
	server := rpc.NewServer()
	reaper := newReaper()
	go reaper.run()
	if err := server.RegisterName("Init", &initServer{reaper: reaper, services: map[string]int{}}); err != nil {
		return fmt.Errorf("serve control connection: %w", err)
	}
	server.ServeConn(conn)
	return nil
}

// prepareNetwork sets what belongs to the box's own network namespace.
func prepareNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback device: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set loopback device up: %w", err)
	}
	for name, value := range map[string]string{
		"net/ipv4/ip_forward":                "1",
		"net/ipv4/conf/all/rp_filter":        "0",
		"net/ipv4/conf/default/rp_filter":    "0",
		"net/ipv6/conf/all/disable_ipv6":     "1",
		"net/ipv6/conf/default/disable_ipv6": "1",
		"net/bridge/bridge-nf-call-iptables": "1",
	} {
		err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// initServer answers requests over the control connection.
type initServer struct {
	reaper *reaper

	mu sync.Mutex
	// services are the processes of the services that run, by the service's name.
	services map[string]int
}

// Ready answers when the box is ready for services.
func (*initServer) Ready(int, *int) error { return nil }

// Start starts a service and keeps it running.
func (s *initServer) Start(svc Service, _ *int) error {
	log, err := os.OpenFile(filepath.Join(Logs, svc.Name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	start := func() (<-chan unix.WaitStatus, error) {
		cmd := exec.Command(svc.Args[0], svc.Args[1:]...)
		cmd.Env = append(os.Environ(), svc.Env...)
		cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
		pid, exited, err := s.reaper.start(cmd)
		if err == nil {
			s.note(svc.Name, pid)
		}
		return exited, err
	}
	exited, err := start()
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", svc.Name, err), log.Close())
	}
	go keep(svc.Name, exited, func() { s.note(svc.Name, 0) }, start)
	return nil
}

// note notes a service's process, or that it has none.
func (s *initServer) note(service string, pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services[service] = pid
}

// Signal sends a signal to a service's process.
func (s *initServer) Signal(request Signal, _ *int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, known := s.services[request.Service]
	switch {
	case !known:
		return fmt.Errorf("there is no service %q; the services are %v", request.Service, slices.Sorted(maps.Keys(s.services)))
	case pid == 0:
		return fmt.Errorf("%s does not run just now: it is started again within a second", request.Service)
	}
	if err := unix.Kill(pid, request.Number); err != nil {
		return fmt.Errorf("signal %s: %w", request.Service, err)
	}
	return nil
}

// keep starts a service again whenever it ends, at most once a second.
func keep(name string, exited <-chan unix.WaitStatus, ended func(), start func() (<-chan unix.WaitStatus, error)) {
	for {
		status := <-exited
		ended()
		fmt.Fprintf(os.Stderr, "%s %s ended (exit code %d, signal %d); starting it again\n",
			time.Now().UTC().Format(time.RFC3339), name, status.ExitStatus(), status.Signal())
		for {
			time.Sleep(time.Second)
			next, err := start()
			if err == nil {
				exited = next
				break
			}
			fmt.Fprintf(os.Stderr, "%s start %s: %v\n", time.Now().UTC().Format(time.RFC3339), name, err)
		}
	}
}

// Run runs a program once and answers with what it printed.
func (s *initServer) Run(c Command, output *string) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Dir = os.Environ(), write, write, "/"
	pid, exited, err := s.reaper.start(cmd)
	if err := errors.Join(err, write.Close()); err != nil {
		return errors.Join(err, read.Close())
	}
	text := make(chan string, 1)
	go func() {
		data, _ := io.ReadAll(io.LimitReader(read, 1<<20))
		text <- string(data)
	}()
	defer func() { _ = read.Close() }()
	select {
	case status := <-exited:
		select {
		case *output = <-text:
		case <-time.After(time.Second): // A child of the program holds the pipe open.
		}
		if !status.Exited() || status.ExitStatus() != 0 {
			return fmt.Errorf("exit code %d, signal %d: %s", status.ExitStatus(), status.Signal(), strings.TrimSpace(*output))
		}
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("not done within %s", c.Timeout), unix.Kill(pid, unix.SIGKILL))
	}
}

// reaper collects every process that ends in the box: those it started, and those that were left to the first process.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan unix.WaitStatus
}

func newReaper() *reaper { return &reaper{waiting: map[int]chan unix.WaitStatus{}} }

// start starts a program; its exit status is sent on the channel.
func (r *reaper) start(cmd *exec.Cmd) (int, <-chan unix.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	exited := make(chan unix.WaitStatus, 1)
	r.waiting[cmd.Process.Pid] = exited
	return cmd.Process.Pid, exited, nil
}

func (r *reaper) run() {
	for {
		// Wait without collecting, then collect under the lock: a process can end before start has noted it.
		if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			time.Sleep(20 * time.Millisecond) // No process to wait for.
			continue
		}
		r.mu.Lock()
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == nil && pid > 0 {
			if exited, ok := r.waiting[pid]; ok {
				delete(r.waiting, pid)
				exited <- status
			}
		}
		r.mu.Unlock()
	}
}
