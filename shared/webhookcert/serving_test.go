package webhookcert

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/kapok-operators/kapok/shared/pki"
)

// refusal is what the validating webhook says.
const refusal = "the label refuse is set"

// calls counts what the webhooks have answered.
type calls struct{ validated, mutated, converted, handshakes, starts atomic.Int64 }

func (c *calls) validate(_ context.Context, r admission.Request) admission.Response {
	c.validated.Add(1)
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(r.Object.Raw, &object.Object); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	switch labels := object.GetLabels(); {
	case labels["refuse"] != "":
		return admission.Denied(refusal)
	case labels["mutated"] == "":
		return admission.Denied("the mutating webhook was not asked")
	}
	return admission.Allowed("")
}

func (c *calls) mutate(_ context.Context, r admission.Request) admission.Response {
	c.mutated.Add(1)
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(r.Object.Raw, &object.Object); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels["mutated"] = "true"
	object.SetLabels(labels)
	raw, err := json.Marshal(object.Object)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(r.Object.Raw, raw)
}

// convert changes nothing but the version.
func (c *calls) convert(w http.ResponseWriter, r *http.Request) {
	c.converted.Add(1)
	var review apiextensionsv1.ConversionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for _, raw := range review.Request.Objects {
		object := &unstructured.Unstructured{}
		if err := json.Unmarshal(raw.Raw, &object.Object); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		object.SetAPIVersion(review.Request.DesiredAPIVersion)
		answer.ConvertedObjects = append(answer.ConvertedObjects, runtime.RawExtension{Object: object})
	}
	review.Request, review.Response = nil, answer
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// afresh makes the client connect anew for each request, so that each asks
// whether the certificate is trusted.
func afresh(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		next.ServeHTTP(w, r)
	})
}

// served is a Source at work behind a webhook server.
type served struct {
	Source
	name, address string
	stop          func() error
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
		TLSOpts: []func(*tls.Config){func(config *tls.Config) {
			config.NextProtos = []string{"http/1.1"}
			get := config.GetCertificate
			config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				c.handshakes.Add(1)
				return get(hello)
			}
		}},
	})
	server.Register("/validate", afresh(&admission.Webhook{Handler: admission.HandlerFunc(c.validate)}))
	server.Register("/mutate", afresh(&admission.Webhook{Handler: admission.HandlerFunc(c.mutate)}))
	server.Register("/convert", afresh(http.HandlerFunc(c.convert)))
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
	var backend net.Conn
	for range 20 {
		var err error
		if member := b.pick(); member != nil {
			if backend, err = net.Dial("tcp", member.address); err == nil {
				break
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	if backend == nil {
		return
	}
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

func (b *balancer) pick() *served {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.members {
		b.next++
		if m := b.members[b.next%len(b.members)]; m.Ready(nil) == nil {
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

// dials are two clocks that a test can turn.
type dials struct {
	start        time.Time
	wall, uptime atomic.Int64
}

func newDials() *dials { return &dials{start: time.Now()} }

func (d *dials) now() pki.Moment {
	return pki.Moment{
		Wall:   time.Now().Round(0).Add(time.Duration(d.wall.Load())),
		Uptime: time.Since(d.start) + time.Duration(d.uptime.Load()),
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

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
