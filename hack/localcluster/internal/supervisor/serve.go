package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/control"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/store"
)

// serveControl answers commands on the control socket.
func (s *Supervisor) serveControl(ctx context.Context) (closeSocket func(), err error) {
	if err := store.WriteFile(s.dir.Path(pidFile), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, err
	}
	// The lock is ours, so a socket that is there belongs to a supervisor that was killed.
	if err := os.Remove(s.dir.Socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old control socket: %w", err)
	}
	var listener net.Listener
	err = control.Short(s.dir.Socket(), func(short string) (err error) {
		listener, err = net.Listen("unix", short)
		if l, ok := listener.(*net.UnixListener); ok {
			l.SetUnlinkOnClose(false) // The short path does not last.
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /events", s.events)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		// A caller that went away needs no answer.
		_ = json.NewEncoder(w).Encode(s.status(r.Context()))
	})
	mux.HandleFunc("POST /node/{operation}/{name}", func(w http.ResponseWriter, r *http.Request) {
		// An operation begun is carried out, also when the caller goes away.
		if err := s.operate(context.WithoutCancel(r.Context()), r.PathValue("operation"), r.PathValue("name")); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	s.serveFaults(mux)
	mux.HandleFunc("POST /shutdown", func(http.ResponseWriter, *http.Request) { s.stop(errShutdown) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintf(os.Stderr, "%s serve control socket: %v\n", now(), err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		// The process is about to end.
		_ = server.Shutdown(ctx)
	}, nil
}

// status gathers what the cluster is doing.
func (s *Supervisor) status(ctx context.Context) control.Status {
	last := s.events.last()
	st := control.Status{
		Name: s.record.Spec.Name, State: last.State, Error: last.Error, API: s.apiURL(),
		Kubeconfig: s.dir.Kubeconfig(), Supervisor: os.Getpid(),
		AuditLog: s.dir.Box(spec.ControlPlane, "var/log/localcluster/audit.log"),
	}
	ready := map[string]string{}
	if last.State == control.Ready && s.apiAnswers() {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		// Without an answer, readiness stays unknown.
		if list, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err == nil {
			for i := range list.Items {
				ready[list.Items[i].Name] = string(condition(&list.Items[i]).Status)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.record.Spec.Boxes() {
		b := control.Box{Name: name, State: control.Off, IP: spec.ControlPlaneIP}
		if n, ok := s.record.Spec.Node(name); ok {
			b.IP, b.Zone, b.Ready = n.IP, n.Zone, ready[name]
			if b.Ready == "" {
				b.Ready = "Unknown"
			}
		}
		if m := s.boxes[name]; m != nil {
			b.Pid, b.State = m.box.Pid, control.Running
			if m.cut {
				b.State = control.Cut
			}
			if m.frozen {
				b.State = control.Frozen
			}
			b.Paused = slices.Sorted(maps.Keys(m.paused))
			b.Stalled = slices.Sorted(maps.Keys(m.stalled))
		}
		st.Boxes = append(st.Boxes, b)
	}
	st.NetworkFaults = slices.Clone(s.faults)
	return st
}

// listenAPI opens the port at which the machine reaches the API. The port is chosen once and then kept, so that a
// kubeconfig stays valid when the cluster is started again.
func (s *Supervisor) listenAPI() error {
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.record.Spec.APIPort)))
	if err != nil {
		return fmt.Errorf("listen for the API on the machine (another port: --api-port): %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.api = listener
	s.record.Spec.APIPort = listener.Addr().(*net.TCPAddr).Port
	return s.dir.WriteRecord(s.record)
}

func (s *Supervisor) apiURL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "https://127.0.0.1:" + strconv.Itoa(s.record.Spec.APIPort)
}

// proxyAPI passes connections on to the API server in its box.
func (s *Supervisor) proxyAPI(ctx context.Context) {
	for {
		conn, err := s.api.Accept()
		if err != nil {
			return
		}
		go s.pass(ctx, conn)
	}
}

func (s *Supervisor) pass(ctx context.Context, outer net.Conn) {
	defer func() { _ = outer.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	inner, err := s.lan.Dial(ctx, net.JoinHostPort(spec.ControlPlaneIP, strconv.Itoa(spec.APIPort)))
	if err != nil {
		return // The caller sees its connection closed, as with an API server that is not there.
	}
	defer func() { _ = inner.Close() }()
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{outer, inner}, {inner, outer}} {
		wg.Go(func() {
			// A broken connection ends both ways.
			_, _ = io.Copy(pair[0], pair[1])
			if tcp, ok := pair[0].(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
		})
	}
	wg.Wait()
}
