package webhookcert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/kapok-operators/kapok/shared/pki"
	"github.com/kapok-operators/kapok/shared/testkit/webhooks"
)

// calls counts what the webhooks have answered, and what it took.
type calls struct {
	webhooks.Answers
	handshakes, starts atomic.Int64
}

// served is a Source at work behind a webhook server.
type served struct {
	Source
	name, address string
	stop          func() error
	// passed are the connections that the balancer has passed to it and that have not ended.
	passed atomic.Int64
}

// serve runs a source and a server with it until the test or the replica ends.
func serve(t *testing.T, name string, source Source, c *calls) *served {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	server := Server(source, webhook.Options{
		Host: "127.0.0.1", Port: address.Port,
		TLSOpts: []func(*tls.Config){webhooks.HTTP1, func(config *tls.Config) {
			get := config.GetCertificate
			config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				c.handshakes.Add(1)
				return get(hello)
			}
		}},
	})
	c.Register(server)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		c.starts.Add(1)
		ended <- server.Start(ctx)
	}()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("%s ended with %v", name, err)
		}
	})
	return &served{Source: source, name: name, address: address.String(), stop: stop}
}

// balancer stands for a Service: it passes connections on to replicas that are
// ready, one after the other.
type balancer struct {
	address string
	mu      sync.Mutex
	members []*served
	next    int
}

func balance(t *testing.T) *balancer {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	b := &balancer{address: listener.Addr().String()}
	go func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go b.pass(conn)
			}
		}
	}()
	return b
}

func (b *balancer) pass(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	member, backend := b.dial()
	if backend == nil {
		return
	}
	defer member.passed.Add(-1)
	defer func() { _ = backend.Close() }()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(backend, conn)
		if tcp, ok := backend.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		close(done)
	}()
	_, _ = io.Copy(conn, backend)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	<-done
}

// dial connects to a member, as soon as one is ready.
func (b *balancer) dial() (*served, net.Conn) {
	for deadline := time.Now().Add(hanging); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		member := b.pick()
		if member == nil {
			continue
		}
		backend, err := net.Dial("tcp", member.address)
		if err == nil {
			return member, backend
		}
		member.passed.Add(-1)
	}
	return nil, nil
}

// pick returns a member that is ready, if there is one, with a connection counted that is passed to it.
func (b *balancer) pick() *served {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.members {
		b.next++
		if m := b.members[b.next%len(b.members)]; m.Ready(nil) == nil {
			m.passed.Add(1)
			return m
		}
	}
	return nil
}

func (b *balancer) add(m *served) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members = append(slices.Clone(b.members), m)
}

func (b *balancer) remove(m *served) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members = slices.DeleteFunc(slices.Clone(b.members), func(other *served) bool { return other == m })
}

// pace is an uptime that stands still while a request takes long. What is promised
// is that no request fails that is answered within the time to settle. Tests make
// that time short, so on a starved machine a request can take longer; with this
// clock the time to settle is counted in time in which the API server keeps up.
type pace struct{ elapsed atomic.Int64 }

// keepPace runs a clock until the test ends. oldest is how long the oldest request
// has been waited for.
func keepPace(t *testing.T, oldest func() time.Duration) *pace {
	const (
		tick = 10 * time.Millisecond
		// brief is well below the time to settle.
		brief = 300 * time.Millisecond
	)
	p, stop, ended := &pace{}, make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-ended })
	go func() {
		defer close(ended)
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for last := time.Now(); ; {
			select {
			case <-stop:
				return
			case now := <-ticker.C:
				// A tick that comes late is one in which nobody here got on either.
				if oldest() < brief {
					p.elapsed.Add(int64(min(now.Sub(last), 5*tick)))
				}
				last = now
			}
		}
	}()
	return p
}

// uptime is what the clock shows.
func (p *pace) uptime() time.Duration { return time.Duration(p.elapsed.Load()) }

// dials are two clocks that a test can turn.
type dials struct {
	ticks        func() time.Duration
	wall, uptime atomic.Int64
}

func newDials() *dials {
	start := time.Now()
	return &dials{ticks: func() time.Duration { return time.Since(start) }}
}

func (d *dials) now() pki.Moment {
	return pki.Moment{
		Wall:   time.Now().Round(0).Add(time.Duration(d.wall.Load())),
		Uptime: d.ticks() + time.Duration(d.uptime.Load()),
	}
}

// quick are short times to wait; certificates live as long as they always do. The
// time to settle cannot be much shorter: after a change of a custom resource
// definition an API server keeps what it had before for a second and until the
// requests in it have ended, with the bundle of before.
func quick(d *dials) times {
	policy := pki.DefaultPolicy()
	policy.Settle, policy.Grace = 3*time.Second, time.Second
	return times{now: d.now, policy: policy, look: 100 * time.Millisecond, list: 300 * time.Millisecond, retry: 50 * time.Millisecond}
}

// hanging is how long is waited for what must come. It proves nothing but that it
// comes: a loaded machine must make a test slow, not red.
const hanging = 5 * time.Minute

func until(what string, is func() bool) error {
	for deadline := time.Now().Add(hanging); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: %s", hanging, what)
		}
	}
	return nil
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	if err := until(what, is); err != nil {
		t.Fatal(err)
	}
}
