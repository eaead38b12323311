package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kapok-operators/kapok/shared/testkit"
)

// server is an API server that can be killed and started again; etcd stays.
type server struct {
	env        *testkit.Env
	kubeconfig string
	folder     string
	again      *exec.Cmd
}

func startServer() (*server, error) {
	env, err := testkit.NewEnv(testkit.EnvOptions{Scheme: newScheme()})
	if err != nil {
		return nil, err
	}
	s := &server{env: env}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *server) prepare() error {
	if _, err := envtest.InstallCRDs(s.env.Config, envtest.CRDInstallOptions{CRDs: crds()}); err != nil {
		return fmt.Errorf("install the Widget's definition: %w", err)
	}
	user, err := s.env.AddUser(envtest.User{Name: operatorName, Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return fmt.Errorf("make a user: %w", err)
	}
	raw, err := user.KubeConfig()
	if err != nil {
		return fmt.Errorf("make a kubeconfig: %w", err)
	}
	if s.folder, err = os.MkdirTemp("", operatorName); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	s.kubeconfig = filepath.Join(s.folder, "kubeconfig")
	if err := os.WriteFile(s.kubeconfig, raw, 0o600); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	return nil
}

func (s *server) stop() error {
	if s.again != nil {
		_ = s.again.Process.Signal(syscall.SIGTERM)
		_ = s.again.Wait()
	}
	return errors.Join(s.env.Stop(), os.RemoveAll(s.folder))
}

// restart kills the API server, starts it again with the arguments it had, and returns when it was killed and when it was
// ready again. The one that envtest has started keeps its folder of certificates, because it was not envtest that ended it.
func (s *server) restart(ctx context.Context) (killed, back time.Time, err error) {
	var args []string
	if s.again == nil {
		pid, words, err := child("kube-apiserver")
		if err != nil {
			return killed, back, err
		}
		killed, args = time.Now(), words
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return killed, back, fmt.Errorf("kill the API server: %w", err)
		}
		if err := gone(ctx, pid); err != nil {
			return killed, back, err
		}
	} else {
		killed, args = time.Now(), s.again.Args
		_ = s.again.Process.Kill()
		_ = s.again.Wait()
	}
	s.again = exec.Command(args[0], args[1:]...)
	s.again.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := s.again.Start(); err != nil {
		return killed, back, fmt.Errorf("start the API server again: %w", err)
	}
	err = until(ctx, 20*time.Millisecond, func() (bool, error) {
		_, err := s.readyz(ctx)
		return err == nil, nil
	})
	return killed, time.Now(), err
}

// child finds a process that this one has started, and its arguments.
func child(name string) (int, []string, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, nil, fmt.Errorf("look for %s: %w", name, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			// Ended since.
			continue
		}
		_, rest, _ := strings.Cut(string(raw), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[1] != strconv.Itoa(os.Getpid()) || fields[0] == "Z" {
			continue
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err != nil {
			continue
		}
		words := strings.Split(string(bytes.TrimRight(line, "\x00")), "\x00")
		if filepath.Base(words[0]) != name {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		return pid, words, err
	}
	return 0, nil, fmt.Errorf("this program has started no %s", name)
}

func gone(ctx context.Context, pid int) error {
	return until(ctx, 5*time.Millisecond, func() (bool, error) {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH), nil
	})
}

// until asks again and again, until the answer is yes, an error, or the context ends.
func until(ctx context.Context, every time.Duration, ask func() (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		done, err := ask()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
