package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// replica is a process with an operator. It is started again when it ends, as a kubelet would, but at once.
type replica struct {
	args   []string
	client *http.Client

	mu      sync.Mutex
	cmd     *exec.Cmd
	address string
	starts  int
	closed  bool
	done    chan struct{}
}

func startReplica(ctx context.Context, kubeconfig string, args ...string) (*replica, error) {
	r := &replica{args: append([]string{operatorCommand, "-kubeconfig", kubeconfig}, args...), client: &http.Client{Timeout: time.Minute}, done: make(chan struct{})}
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	go r.keep(ctx)
	return r, nil
}

func (r *replica) begin(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, r.args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start an operator: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start an operator: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cmd, r.address = cmd, ""
	r.starts++
	go func() {
		line := bufio.NewScanner(out)
		if line.Scan() {
			r.mu.Lock()
			r.address = line.Text()
			r.mu.Unlock()
		}
	}()
	return nil
}

func (r *replica) keep(ctx context.Context) {
	defer close(r.done)
	for {
		r.mu.Lock()
		cmd := r.cmd
		r.mu.Unlock()
		_ = cmd.Wait()
		r.mu.Lock()
		closed := r.closed
		r.mu.Unlock()
		if closed || ctx.Err() != nil {
			return
		}
		if err := r.begin(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
	}
}

// kill ends the process without a word, and returns when it was sent.
func (r *replica) kill() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now()
	_ = r.cmd.Process.Kill()
	return at
}

func (r *replica) stop() {
	r.mu.Lock()
	r.closed = true
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	r.mu.Unlock()
	select {
	case <-r.done:
	case <-time.After(20 * time.Second):
		r.kill()
		<-r.done
	}
}

func (r *replica) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starts
}

func (r *replica) ask(ctx context.Context, method, path string, out any) error {
	r.mu.Lock()
	address := r.address
	r.mu.Unlock()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
	if err != nil {
		return fmt.Errorf("ask an operator: %w", err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask an operator: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the figures of an operator: %w", err)
	}
	return nil
}

func (r *replica) figures(ctx context.Context, query string) (figures, error) {
	var f figures
	err := r.ask(ctx, http.MethodGet, "/figures"+query, &f)
	return f, err
}

func (r *replica) post(ctx context.Context, path string) error {
	return r.ask(ctx, http.MethodPost, path, nil)
}

func (r *replica) reset(ctx context.Context) error { return r.post(ctx, "/reset") }
