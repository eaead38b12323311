package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// replica is one operator replica on a loopback address.
type replica struct {
	hub       *Hub
	authority *Authority
	address   string
	stop      func()
}

func startReplica(t testing.TB, address string, opts HubOptions, a *Authority) *replica {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{hub: NewHub(opts), authority: a, address: listener.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- (&Server{Listener: listener, Hub: r.hub, Authority: a}).Start(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("server: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the server does not stop")
		}
	})
	t.Cleanup(r.stop)
	return r
}

// station is one agent's files and client.
type station struct {
	*Client
	caFile, tokenFile string
	stop              func()
}

func startClient(t testing.TB, token string, ca []byte, opts ClientOptions) *station {
	t.Helper()
	s := &station{}
	if opts.CAFile == "" {
		dir := t.TempDir()
		opts.CAFile, opts.TokenFile = filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token")
		writeFile(t, opts.CAFile, ca)
		writeFile(t, opts.TokenFile, []byte(token+"\n"))
	}
	s.caFile, s.tokenFile = opts.CAFile, opts.TokenFile
	opts.MaxBackoff = 200 * time.Millisecond
	if opts.HeartbeatInterval == 0 {
		opts.HeartbeatInterval = 50 * time.Millisecond
	}
	var err error
	if s.Client, err = NewClient(opts); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			t.Log("the client ended:", err)
		case <-time.After(10 * time.Second):
			t.Error("the client does not stop")
		}
	})
	t.Cleanup(s.stop)
	return s
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until check is true.
func eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !check() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30s for this: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *station) connected(n int) func() bool {
	return func() bool {
		count := 0
		for _, state := range s.Servers() {
			if state.Connected && !state.EchoAt.IsZero() {
				count++
			}
		}
		return count == n
	}
}

func (s *station) refusedWith(text string) func() bool {
	return func() bool {
		for _, state := range s.Servers() {
			if !state.Connected && strings.Contains(state.Err, text) {
				return true
			}
		}
		return false
	}
}

func TestLinkCarriesEverything(t *testing.T) {
	i := newIssuer(t)
	changed := make(chan PeerKey, 1000)
	a := newAuthority(t, nil, "op-0")
	r := startReplica(t, "127.0.0.1:0", HubOptions{
		Verifier: i.verifier(t, nil), Name: "op-0",
		OnChange:       func(key PeerKey) { changed <- key },
		HeartbeatReply: func(PeerKey) json.RawMessage { return json.RawMessage(`{"term":3}`) },
	}, a)
	var got atomic.Pointer[Directive]
	var traced atomic.Value
	s := startClient(t, i.sign(t, i.claims("shop-0", "u0")), caPEM(t, a), ClientOptions{
		Addresses: []string{r.address}, Name: "agent",
		OnDirective: func(ctx context.Context, d Directive) error {
			traced.Store(trace.SpanContextFromContext(ctx).TraceID())
			got.Store(&d)
			if strings.Contains(string(d.Payload), "bad") {
				return errors.New("stale epoch")
			}
			return nil
		},
	})
	if err := s.Publish(json.RawMessage(`{"state":"early"}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first snapshot arrives", func() bool {
		p, _ := r.hub.Get("shop", "shop-0")
		return string(p.Snapshot) == `{"state":"early"}` && p.Connected && p.Agent.Name == "agent"
	})
	if key := <-changed; key != (PeerKey{"shop", "shop-0", "u0"}) {
		t.Errorf("change reported for %s", key)
	}
	if err := s.Publish(json.RawMessage(`{"state":"late"}`)); err != nil {
		t.Fatal(err)
	}
	key := PeerKey{"shop", "shop-0", "u0"}
	eventually(t, "the next snapshot arrives", func() bool {
		p, _ := r.hub.Get("shop", "shop-0")
		return string(p.Snapshot) == `{"state":"late"}`
	})

	eventually(t, "an echo arrives", s.connected(1))
	state := s.Servers()[0]
	if string(state.EchoPayload) != `{"term":3}` || state.Server.Name != "op-0" {
		t.Errorf("unexpected server state %+v", state)
	}
	if state.EchoSent.After(state.EchoAt) || time.Since(state.EchoSent) > time.Minute {
		t.Errorf("echo of %s arrived at %s", state.EchoSent, state.EchoAt)
	}

	if err := r.hub.Send(sender(9), key, json.RawMessage(`{"do":"good"}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the directive is acknowledged", func() bool {
		p, _ := r.hub.Get("shop", "shop-0")
		return p.Acked == 1 && p.Refusal == ""
	})
	if d := got.Load(); string(d.Payload) != `{"do":"good"}` || d.Server != r.address {
		t.Errorf("unexpected directive %+v", d)
	}
	if id := traced.Load(); id != (trace.TraceID{15: 9}) {
		t.Errorf("the directive came with the trace %v", id)
	}
	if err := r.hub.Send(t.Context(), key, json.RawMessage(`{"do":"bad"}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the directive is refused", func() bool {
		p, _ := r.hub.Get("shop", "shop-0")
		return p.Acked == 2 && p.Refusal == "stale epoch"
	})

	s.stop()
	eventually(t, "the loss is seen", func() bool {
		p, _ := r.hub.Get("shop", "shop-0")
		return !p.Connected && !p.LostAt.IsZero() && string(p.Snapshot) == `{"state":"late"}`
	})
}

func TestLinkRefusesAgents(t *testing.T) {
	i := newIssuer(t)
	// The operator's view: one pod exists, one is being deleted.
	authorize := func(id Identity) error {
		switch {
		case id.Pod == "shop-0" && id.PodUID == "u0":
			return nil
		case id.Pod == "shop-1":
			return errors.New("the pod is being deleted")
		default:
			return errors.New("there is no such pod with this UID")
		}
	}
	a := newAuthority(t, nil, "op-0")
	r := startReplica(t, "127.0.0.1:0", HubOptions{Verifier: i.verifier(t, nil), Authorize: authorize}, a)
	spoil := func(pod, uid string, change func(map[string]any)) string {
		claims := i.claims(pod, uid)
		change(claims)
		return i.sign(t, claims)
	}
	for name, test := range map[string]struct{ token, reason string }{
		"wrong audience":    {spoil("shop-0", "u0", func(c map[string]any) { c["aud"] = "other" }), "audience"},
		"expired":           {spoil("shop-0", "u0", func(c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() }), "expired"},
		"an earlier pod":    {i.sign(t, i.claims("shop-0", "u-old")), "no such pod"},
		"a deleted pod":     {i.sign(t, i.claims("shop-1", "u1")), "being deleted"},
		"not even a token":  {"", "Unauthenticated"},
		"a forged identity": {newIssuer(t).sign(t, i.claims("shop-0", "u0")), "Unauthenticated"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startClient(t, test.token, caPEM(t, a), ClientOptions{Addresses: []string{r.address}})
			eventually(t, "the agent is refused because of "+test.reason, s.refusedWith(test.reason))
			if peers := r.hub.List(""); len(peers) != 0 {
				t.Errorf("the hub took in %+v", peers)
			}
		})
	}
}

func TestAgentRefusesAnUnknownOperator(t *testing.T) {
	i := newIssuer(t)
	r := startReplica(t, "127.0.0.1:0", HubOptions{Verifier: i.verifier(t, nil)}, newAuthority(t, nil, "op-0"))
	other := caPEM(t, newAuthority(t, nil, "op-1"))
	s := startClient(t, i.sign(t, i.claims("shop-0", "u0")), other, ClientOptions{Addresses: []string{r.address}})
	eventually(t, "the agent refuses the certificate", s.refusedWith("unknown authority"))

	// Once the file has the right authority, it connects without a restart.
	writeFile(t, s.caFile, caPEM(t, r.authority))
	eventually(t, "the agent connects", s.connected(1))
}

// A restarted replica has a new authority. Agents learn it over the links that
// still stand, although their CA file is old and never changes.
func TestRestartedReplicaIsTrustedThroughTheOthers(t *testing.T) {
	i := newIssuer(t)
	a0, a1 := newAuthority(t, nil, "op-0"), newAuthority(t, nil, "op-1")
	opts := HubOptions{Verifier: i.verifier(t, nil)}
	r0 := startReplica(t, "127.0.0.1:0", opts, a0)
	r1 := startReplica(t, "127.0.0.1:0", opts, a1)
	s := startClient(t, i.sign(t, i.claims("shop-0", "u0")), MergeBundles(time.Now(), caPEM(t, a0), caPEM(t, a1)),
		ClientOptions{Addresses: []string{r0.address, r1.address}})
	if err := s.Publish(json.RawMessage(`{"state":1}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both replicas are linked", s.connected(2))

	r1.stop()
	eventually(t, "one link is lost", s.connected(1))
	fresh := newAuthority(t, nil, "op-1 again")
	r1 = startReplica(t, r1.address, opts, fresh)
	eventually(t, "the agent refuses the new authority", s.refusedWith("unknown authority"))

	r0.hub.SetTrust(MergeBundles(time.Now(), caPEM(t, a0), caPEM(t, fresh)))
	eventually(t, "both replicas are linked again", s.connected(2))
	eventually(t, "the restarted replica has the picture", func() bool {
		p, _ := r1.hub.Get("shop", "shop-0")
		return string(p.Snapshot) == `{"state":1}`
	})

	// The other one restarts too: what was learnt from it is kept.
	r0.stop()
	eventually(t, "one link is left", s.connected(1))
	again := newAuthority(t, nil, "op-0 again")
	r1.hub.SetTrust(MergeBundles(time.Now(), caPEM(t, fresh), caPEM(t, again)))
	startReplica(t, r0.address, opts, again)
	eventually(t, "both replicas are linked at last", s.connected(2))
}

func TestAgentDialsAgainWithAFreshToken(t *testing.T) {
	i := newIssuer(t)
	a := newAuthority(t, nil, "op-0")
	r := startReplica(t, "127.0.0.1:0", HubOptions{Verifier: i.verifier(t, nil)}, a)
	short := i.claims("shop-0", "u0")
	// Claims have whole seconds, so this is between five and six.
	short["exp"] = time.Now().Add(6 * time.Second).Unix()
	s := startClient(t, i.sign(t, short), caPEM(t, a), ClientOptions{Addresses: []string{r.address}})
	eventually(t, "the agent connects", s.connected(1))
	first, _ := r.hub.Get("shop", "shop-0")
	writeFile(t, s.tokenFile, []byte(i.sign(t, i.claims("shop-0", "u0"))))
	eventually(t, "the stream is replaced when the token expires", func() bool {
		p, ok := r.hub.Get("shop", "shop-0")
		return ok && p.Connected && p.ConnectedAt.After(first.ConnectedAt)
	})
}

func TestStreamOutlivesItsFirstToken(t *testing.T) {
	i := newIssuer(t)
	a := newAuthority(t, nil, "op-0")
	r := startReplica(t, "127.0.0.1:0", HubOptions{Verifier: i.verifier(t, nil)}, a)
	short := i.claims("shop-0", "u0")
	end := time.Now().Add(7 * time.Second)
	short["exp"] = end.Unix()
	s := startClient(t, i.sign(t, short), caPEM(t, a), ClientOptions{
		Addresses: []string{r.address}, TokenInterval: 50 * time.Millisecond,
	})
	eventually(t, "the agent connects", s.connected(1))
	first, _ := r.hub.Get("shop", "shop-0")
	writeFile(t, s.tokenFile, []byte(i.sign(t, i.claims("shop-0", "u0"))))
	time.Sleep(time.Until(end) + 500*time.Millisecond)
	if p, _ := r.hub.Get("shop", "shop-0"); !p.Connected || !p.ConnectedAt.Equal(first.ConnectedAt) {
		t.Errorf("the stream ended with its first token: %+v", p)
	}
}

func TestAgentFollowsTheNames(t *testing.T) {
	i := newIssuer(t)
	a := newAuthority(t, nil, "op")
	opts := HubOptions{Verifier: i.verifier(t, nil)}
	r0 := startReplica(t, "127.0.0.1:0", opts, a)
	_, port, err := net.SplitHostPort(r0.address)
	if err != nil {
		t.Fatal(err)
	}
	r1 := startReplica(t, net.JoinHostPort("127.0.0.2", port), opts, a)
	var names atomic.Pointer[[]string]
	set := func(hosts ...string) { names.Store(&hosts) }
	set("127.0.0.1")
	s := startClient(t, i.sign(t, i.claims("shop-0", "u0")), caPEM(t, a), ClientOptions{
		Target: net.JoinHostPort("operator-link.kapok", port), ResolveInterval: 20 * time.Millisecond,
		Resolve: func(_ context.Context, host string) ([]string, error) {
			hosts := *names.Load()
			if host != "operator-link.kapok" || len(hosts) == 0 {
				return nil, fmt.Errorf("no such host %s", host)
			}
			return hosts, nil
		},
	})
	eventually(t, "the first replica is linked", s.connected(1))
	set("127.0.0.1", "127.0.0.2")
	eventually(t, "the second replica is linked", s.connected(2))

	// Names that fail, or no longer name a link that stands, change nothing.
	set()
	time.Sleep(100 * time.Millisecond)
	set("127.0.0.2")
	time.Sleep(100 * time.Millisecond)
	if !s.connected(2)() {
		t.Fatal("a standing link was dropped because of a name")
	}
	r0.stop()
	eventually(t, "the address that is gone is given up", func() bool {
		servers := s.Servers()
		return len(servers) == 1 && servers[0].Address == r1.address && servers[0].Connected
	})
}

// stall is a network in which nothing arrives any more, without any error.
type stall struct {
	net.Conn
	stalled *atomic.Bool
	closed  chan struct{}
	once    sync.Once
}

func (c *stall) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for c.stalled.Load() {
		select {
		case <-c.closed:
			return 0, net.ErrClosed
		case <-time.After(5 * time.Millisecond):
		}
	}
	return n, err
}

func (c *stall) Write(p []byte) (int, error) {
	if c.stalled.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *stall) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func TestSilentNetworkIsNoticedOnBothSides(t *testing.T) {
	i := newIssuer(t)
	a := newAuthority(t, nil, "op-0")
	var silences atomic.Int64
	var hub atomic.Pointer[Hub]
	r := startReplica(t, "127.0.0.1:0", HubOptions{
		Verifier: i.verifier(t, nil), HeartbeatTimeout: 400 * time.Millisecond,
		OnChange: func(key PeerKey) {
			h := hub.Load()
			if h == nil {
				return
			}
			if p, ok := h.Get(key.Namespace, key.Pod); ok && p.Silent && p.Connected {
				silences.Add(1)
			}
		},
	}, a)
	hub.Store(r.hub)
	var stalled atomic.Bool
	s := startClient(t, i.sign(t, i.claims("shop-0", "u0")), caPEM(t, a), ClientOptions{
		Addresses: []string{r.address}, EchoTimeout: 1500 * time.Millisecond,
		ConnectTimeout: time.Second,
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err != nil {
				return nil, err
			}
			return &stall{Conn: conn, stalled: &stalled, closed: make(chan struct{})}, nil
		},
	})
	eventually(t, "the agent connects", s.connected(1))
	lastEcho := s.Servers()[0].EchoSent
	stalled.Store(true)
	eventually(t, "the operator hears that the agent is silent", func() bool { return silences.Load() > 0 })
	eventually(t, "the agent gives the stream up", s.refusedWith("no echo"))
	if got := s.Servers()[0].EchoSent; got.Sub(lastEcho) > 500*time.Millisecond {
		t.Errorf("an echo was counted %s into the silence", got.Sub(lastEcho))
	}
	stalled.Store(false)
	eventually(t, "the agent is linked again", s.connected(1))
}

// A directive handler that takes its time must not hold up the echoes, or a
// lease carried by them would run out for no reason.
func TestSlowDirectiveDoesNotHoldUpEchoes(t *testing.T) {
	i := newIssuer(t)
	a := newAuthority(t, nil, "op-0")
	r := startReplica(t, "127.0.0.1:0", HubOptions{Verifier: i.verifier(t, nil)}, a)
	release := make(chan struct{})
	var mu sync.Mutex
	var seen []string
	s := startClient(t, i.sign(t, i.claims("shop-0", "u0")), caPEM(t, a), ClientOptions{
		Addresses: []string{r.address},
		OnDirective: func(ctx context.Context, d Directive) error {
			mu.Lock()
			seen = append(seen, string(d.Payload))
			mu.Unlock()
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil
		},
	})
	eventually(t, "the agent connects", s.connected(1))
	key := PeerKey{"shop", "shop-0", "u0"}
	send := func(payload string) {
		t.Helper()
		if err := r.hub.Send(t.Context(), key, json.RawMessage(payload)); err != nil {
			t.Fatal(err)
		}
	}
	send("1")
	eventually(t, "the first directive is being worked on", func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == 1 })
	before := s.Servers()[0].EchoSent
	for n := 2; n <= 9; n++ {
		send(fmt.Sprint(n))
		time.Sleep(5 * time.Millisecond)
	}
	eventually(t, "echoes go on", func() bool { return s.Servers()[0].EchoSent.Sub(before) > 300*time.Millisecond })
	close(release)
	eventually(t, "the newest directive is worked on", func() bool {
		p, _ := r.hub.Get("shop", "shop-0")
		return p.Acked == 9
	})
	mu.Lock()
	defer mu.Unlock()
	if strings.Join(seen, ",") != "1,9" {
		t.Errorf("delivered %v, want the first and the newest", seen)
	}
}

func TestClientRefusesABadConfiguration(t *testing.T) {
	good := ClientOptions{Target: "host:1", CAFile: "ca", TokenFile: "token"}
	if _, err := NewClient(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ClientOptions){
		"no target":            func(o *ClientOptions) { o.Target = "" },
		"target and addresses": func(o *ClientOptions) { o.Addresses = []string{"a:1"} },
		"target without port":  func(o *ClientOptions) { o.Target = "host" },
		"no CA file":           func(o *ClientOptions) { o.CAFile = "" },
		"no token file":        func(o *ClientOptions) { o.TokenFile = "" },
	} {
		opts := good
		change(&opts)
		if _, err := NewClient(opts); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTokenIsNeverInAnError(t *testing.T) {
	i := newIssuer(t)
	a := newAuthority(t, nil, "op-0")
	var log bytes.Buffer
	r := startReplica(t, "127.0.0.1:0", HubOptions{Verifier: i.verifier(t, nil), Logger: textLogger(&log)}, a)
	claims := i.claims("shop-0", "u0")
	claims["aud"] = "other"
	token := i.sign(t, claims)
	s := startClient(t, token, caPEM(t, a), ClientOptions{Addresses: []string{r.address}})
	eventually(t, "the agent is refused", s.refusedWith("audience"))
	refusal := s.Servers()[0].Err
	s.stop()
	r.stop()
	for part := range strings.SplitSeq(token, ".") {
		if strings.Contains(refusal, part) || strings.Contains(log.String(), part) {
			t.Error("a part of the token got into an error or a log")
		}
	}
	if !strings.Contains(log.String(), "Refused a link") {
		t.Errorf("the refusal was not logged: %q", log.String())
	}
}
