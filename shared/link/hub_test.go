package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// pipe is a transport in memory, for tests in a time bubble.
type pipe struct {
	ctx    context.Context
	toHub  chan *Envelope
	toPeer chan *Envelope
}

func (p *pipe) Recv() (*Envelope, error) {
	select {
	case env, ok := <-p.toHub:
		if !ok {
			return nil, io.EOF
		}
		return env, nil
	case <-p.ctx.Done():
		return nil, p.ctx.Err()
	}
}

func (p *pipe) Send(env *Envelope) error {
	select {
	case p.toPeer <- env:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// fakePeer is one stream of an agent to a hub.
type fakePeer struct {
	t      *testing.T
	pipe   *pipe
	ended  chan error
	cancel context.CancelFunc
}

func join(t *testing.T, h *Hub, id Identity) *fakePeer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &fakePeer{
		t: t, ended: make(chan error, 1), cancel: cancel,
		pipe: &pipe{ctx: ctx, toHub: make(chan *Envelope), toPeer: make(chan *Envelope, 100)},
	}
	go func() {
		err := h.serve(ctx, id, p.pipe)
		cancel()
		p.ended <- err
	}()
	hello, err := helloEnvelope(Hello{Protocol: ProtocolVersion, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	p.say(hello)
	if env := p.hear(); env.Kind != KindHello {
		t.Fatalf("the hub's first message is %q", env.Kind)
	}
	return p
}

func (p *fakePeer) say(env *Envelope) {
	p.t.Helper()
	select {
	case p.pipe.toHub <- env:
	case <-p.pipe.ctx.Done():
		p.t.Fatal("the hub has ended the stream")
	}
	synctest.Wait()
}

func (p *fakePeer) hear() *Envelope {
	p.t.Helper()
	select {
	case env := <-p.pipe.toPeer:
		return env
	case <-time.After(time.Minute):
		p.t.Fatal("the hub says nothing")
		return nil
	}
}

func (p *fakePeer) heartbeat(n uint64) {
	p.t.Helper()
	p.say(&Envelope{Kind: KindHeartbeat, ID: n, Sent: int64(n) * 10})
}

// changes counts the calls of OnChange.
type changes struct {
	mu sync.Mutex
	n  int
}

func (c *changes) note(PeerKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

// take returns the number since the last call.
func (c *changes) take() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.n
	c.n = 0
	return n
}

func identity(pod, uid string) Identity {
	return Identity{Namespace: "shop", ServiceAccount: "agent", Pod: pod, PodUID: uid, Expiry: time.Now().Add(24 * time.Hour)}
}

func mustGet(t *testing.T, h *Hub, pod string) Peer {
	t.Helper()
	p, ok := h.Get("shop", pod)
	if !ok {
		t.Fatalf("the hub knows nothing about %s", pod)
	}
	return p
}

func TestHubKeepsTheNewestSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c changes
		h := NewHub(HubOptions{OnChange: c.note})
		p := join(t, h, identity("shop-0", "u0"))
		if c.take() != 1 {
			t.Error("the connect was not reported once")
		}
		p.say(&Envelope{Kind: KindSnapshot, Payload: json.RawMessage(`{"a":1}`)})
		p.say(&Envelope{Kind: KindSnapshot, Payload: json.RawMessage(`{"a":2}`)})
		if got := mustGet(t, h, "shop-0"); string(got.Snapshot) != `{"a":2}` || !got.SnapshotAt.Equal(time.Now()) {
			t.Errorf("unexpected peer %+v", got)
		}
		if n := c.take(); n != 2 {
			t.Errorf("%d changes reported, want 2", n)
		}
		time.Sleep(time.Second)
		p.say(&Envelope{Kind: KindSnapshot, Payload: json.RawMessage(`{"a":2}`)})
		if n := c.take(); n != 0 {
			t.Errorf("an unchanged snapshot was reported %d times", n)
		}
		if !mustGet(t, h, "shop-0").SnapshotAt.Equal(time.Now()) {
			t.Error("an unchanged snapshot is not known to be fresh")
		}
		p.cancel()
		<-p.ended
	})
}

func TestHubKeepsTheLastWordOfALostPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c changes
		h := NewHub(HubOptions{OnChange: c.note})
		p := join(t, h, identity("shop-0", "u0"))
		p.say(&Envelope{Kind: KindSnapshot, Payload: json.RawMessage(`{"a":1}`)})
		c.take()
		close(p.pipe.toHub)
		<-p.ended
		got := mustGet(t, h, "shop-0")
		if got.Connected || !got.LostAt.Equal(time.Now()) || string(got.Snapshot) != `{"a":1}` || got.LostWhy == "" {
			t.Errorf("unexpected lost peer %+v", got)
		}
		if c.take() != 1 {
			t.Error("the loss was not reported once")
		}
		if err := h.Send(t.Context(), got.Key, json.RawMessage(`{}`)); !errors.Is(err, ErrNotConnected) {
			t.Errorf("send to a lost peer: got %v", err)
		}

		// The same pod comes back: its last snapshot stands until the next one.
		p = join(t, h, identity("shop-0", "u0"))
		if got := mustGet(t, h, "shop-0"); !got.Connected || string(got.Snapshot) != `{"a":1}` || !got.LostAt.IsZero() {
			t.Errorf("unexpected returned peer %+v", got)
		}
		p.cancel()
		<-p.ended

		// A pod of the same name made anew has nothing to do with it.
		p = join(t, h, identity("shop-0", "u1"))
		if got := mustGet(t, h, "shop-0"); got.Snapshot != nil || got.Key.UID != "u1" {
			t.Errorf("a new pod inherited the snapshot of an old one: %+v", got)
		}
		p.cancel()
		<-p.ended
	})
}

func TestHubReportsSilenceAndItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c changes
		h := NewHub(HubOptions{OnChange: c.note, HeartbeatTimeout: 2 * time.Second})
		p := join(t, h, identity("shop-0", "u0"))
		c.take()
		for n := range uint64(10) {
			p.heartbeat(n + 1)
			time.Sleep(1500 * time.Millisecond)
		}
		if c.take() != 0 || mustGet(t, h, "shop-0").Silent {
			t.Fatal("a peer that speaks counts as silent")
		}
		time.Sleep(499 * time.Millisecond)
		synctest.Wait()
		if c.take() != 0 {
			t.Fatal("silence was reported too early")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if c.take() != 1 || !mustGet(t, h, "shop-0").Silent {
			t.Fatal("silence was not reported once, after the timeout")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := mustGet(t, h, "shop-0"); c.take() != 0 || !got.Connected {
			t.Fatal("silence was reported again, or taken for a verdict")
		}
		p.heartbeat(11)
		if c.take() != 1 || mustGet(t, h, "shop-0").Silent {
			t.Fatal("the end of silence was not reported")
		}
		p.cancel()
		<-p.ended
	})
}

func TestHubReportsAPeerThatNeverSpeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(HubOptions{HeartbeatTimeout: 2 * time.Second})
		p := join(t, h, identity("shop-0", "u0"))
		time.Sleep(2*time.Second + time.Millisecond)
		synctest.Wait()
		if !mustGet(t, h, "shop-0").Silent {
			t.Error("a peer without any heartbeat is not silent")
		}
		p.cancel()
		<-p.ended
	})
}

func TestHubEchoesWithTheReplyOfThatMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reply := `{"term":7}`
		h := NewHub(HubOptions{HeartbeatReply: func(key PeerKey) json.RawMessage {
			if key.Pod != "shop-0" {
				t.Errorf("reply asked for %s", key)
			}
			return json.RawMessage(reply)
		}})
		p := join(t, h, identity("shop-0", "u0"))
		p.heartbeat(1)
		if env := p.hear(); env.Kind != KindHeartbeat || env.ID != 1 || env.Sent != 10 || string(env.Payload) != `{"term":7}` {
			t.Errorf("unexpected echo %+v", env)
		}
		reply = "" // A standby answers without a grant.
		p.heartbeat(2)
		if env := p.hear(); env.ID != 2 || env.Payload != nil {
			t.Errorf("unexpected echo %+v", env)
		}
		reply = `{"broken`
		p.heartbeat(3)
		if env := p.hear(); env.ID != 3 || env.Payload != nil {
			t.Errorf("a reply that is not JSON must be dropped, not break the link: %+v", env)
		}
		p.cancel()
		<-p.ended
	})
}

func TestHubSendsTheNewestDirectiveOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(HubOptions{})
		key := identity("shop-0", "u0").Key()
		// The peer's buffer is small, so that directives pile up in the hub.
		p := join(t, h, identity("shop-0", "u0"))
		p.pipe.toPeer = make(chan *Envelope)
		for n := 1; n <= 50; n++ {
			if err := h.Send(t.Context(), key, json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		var last *Envelope
		count := 0
		for last == nil || string(last.Payload) != `{"n":50}` {
			env := p.hear()
			if last != nil && env.ID <= last.ID {
				t.Fatalf("directive %d after %d", env.ID, last.ID)
			}
			last = env
			count++
		}
		if count > 2 {
			t.Errorf("%d directives delivered; all but the one under way and the newest should have been replaced", count)
		}

		// The same wish again is no news.
		if err := h.Send(t.Context(), key, json.RawMessage(`{"n":50}`)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case env := <-p.pipe.toPeer:
			t.Errorf("an unchanged directive was sent again: %+v", env)
		default:
		}

		// Unless it was refused.
		p.say(&Envelope{Kind: KindAck, ID: last.ID, Text: "not now"})
		if got := mustGet(t, h, "shop-0"); got.Refusal != "not now" || got.Acked != last.ID {
			t.Errorf("the refusal was not kept: %+v", got)
		}
		if err := h.Send(t.Context(), key, json.RawMessage(`{"n":50}`)); err != nil {
			t.Fatal(err)
		}
		env := p.hear()
		if string(env.Payload) != `{"n":50}` || env.ID <= last.ID {
			t.Errorf("unexpected directive after a refusal: %+v", env)
		}
		p.say(&Envelope{Kind: KindAck, ID: env.ID})
		if got := mustGet(t, h, "shop-0"); got.Refusal != "" || got.Acked != got.Sent {
			t.Errorf("the ack was not kept: %+v", got)
		}
		p.cancel()
		<-p.ended
	})
}

func TestHubRefusesABadDirective(t *testing.T) {
	h := NewHub(HubOptions{})
	for name, payload := range map[string]string{"empty": "", "torn": `{"a":`, "huge": `"` + strings.Repeat("x", maxPayload) + `"`} {
		if err := h.Send(t.Context(), PeerKey{}, json.RawMessage(payload)); !errors.Is(err, ErrPayload) {
			t.Errorf("%s: got %v, want a refusal of the payload", name, err)
		}
	}
}

func TestHubReplacesAnOlderStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c changes
		h := NewHub(HubOptions{OnChange: c.note})
		older := join(t, h, identity("shop-0", "u0"))
		newer := join(t, h, identity("shop-0", "u0"))
		if err := <-older.ended; status.Code(err) != codes.Aborted {
			t.Errorf("the older stream ended with %v", err)
		}
		synctest.Wait()
		if got := mustGet(t, h, "shop-0"); !got.Connected {
			t.Error("the end of the older stream marked the pod as lost")
		}
		if n := c.take(); n != 2 {
			t.Errorf("%d changes reported, want the two connects", n)
		}
		newer.heartbeat(1)
		if newer.hear().ID != 1 {
			t.Error("the newer stream does not work")
		}
		newer.cancel()
		<-newer.ended
	})
}

func TestHubEndsTheStreamWithTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(HubOptions{})
		id := identity("shop-0", "u0")
		id.Expiry = time.Now().Add(time.Hour)
		p := join(t, h, id)
		start := time.Now()
		err := <-p.ended
		if lived := time.Since(start); status.Code(err) != codes.Unauthenticated || lived != time.Hour {
			t.Errorf("the stream ended after %s with %v, want an hour and unauthenticated", lived, err)
		}
	})
}

// verifierFunc makes a function a Verifier.
type verifierFunc func(token string) (Identity, error)

func (f verifierFunc) Verify(_ context.Context, token string) (Identity, error) { return f(token) }

func TestHubTakesAFreshTokenOfTheSamePodOnly(t *testing.T) {
	for name, test := range map[string]struct {
		token string
		lived time.Duration
	}{
		"a fresh token":           {"fresh", 30*time.Minute + time.Hour},
		"another pod's token":     {"other", time.Hour},
		"a token that is no good": {"bad", time.Hour},
		"a deleted pod's token":   {"deleted", time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				deleted := false
				h := NewHub(HubOptions{
					HeartbeatTimeout: 24 * time.Hour,
					Verifier: verifierFunc(func(token string) (Identity, error) {
						id := identity("shop-0", "u0")
						id.Expiry = time.Now().Add(time.Hour)
						switch token {
						case "bad":
							return Identity{}, ErrUntrusted
						case "other":
							id.Pod = "shop-1"
						}
						return id, nil
					}),
					Authorize: func(Identity) error {
						if deleted {
							return errors.New("the pod is being deleted")
						}
						return nil
					},
				})
				id := identity("shop-0", "u0")
				id.Expiry = time.Now().Add(time.Hour)
				start := time.Now()
				p := join(t, h, id)
				time.Sleep(30 * time.Minute)
				deleted = test.token == "deleted"
				p.say(&Envelope{Kind: KindToken, Text: test.token})
				if err := <-p.ended; status.Code(err) != codes.Unauthenticated {
					t.Errorf("ended with %v", err)
				}
				if lived := time.Since(start); lived != test.lived {
					t.Errorf("the stream lived %s, want %s", lived, test.lived)
				}
			})
		})
	}
}

func TestHubForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(HubOptions{Retention: 10 * time.Minute})
		p := join(t, h, identity("shop-0", "u0"))
		h.Forget(PeerKey{Namespace: "shop", Pod: "shop-0", UID: "of an earlier pod"})
		if !mustGet(t, h, "shop-0").Connected {
			t.Fatal("forgetting an earlier pod ended the present one's stream")
		}
		h.Forget(identity("shop-0", "u0").Key())
		if err := <-p.ended; status.Code(err) != codes.Aborted {
			t.Errorf("the stream ended with %v", err)
		}
		if _, ok := h.Get("shop", "shop-0"); ok {
			t.Error("the peer is still known")
		}

		p = join(t, h, identity("shop-1", "u1"))
		p.cancel()
		<-p.ended
		time.Sleep(10*time.Minute - time.Second)
		if len(h.List("shop")) != 1 {
			t.Error("a lost peer was dropped before its time")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(h.List("")) != 0 {
			t.Error("a lost peer that nobody forgets stays for ever")
		}
	})
}

func TestHubRefusesABadHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(HubOptions{})
		for name, first := range map[string]*Envelope{
			"no hello":         {Kind: KindSnapshot, Payload: json.RawMessage(`{}`)},
			"another protocol": {Kind: KindHello, Payload: json.RawMessage(`{"protocol":99}`)},
			"nothing":          nil,
		} {
			ctx, cancel := context.WithCancel(t.Context())
			p := &pipe{ctx: ctx, toHub: make(chan *Envelope, 1), toPeer: make(chan *Envelope, 10)}
			if first != nil {
				p.toHub <- first
			}
			start := time.Now()
			if err := h.serve(ctx, identity("shop-0", "u0"), p); err == nil {
				t.Errorf("%s: accepted", name)
			}
			if time.Since(start) > DefaultHelloTimeout {
				t.Errorf("%s: it took %s to refuse", name, time.Since(start))
			}
			cancel()
		}
		if len(h.List("")) != 0 {
			t.Error("a refused stream left a peer behind")
		}
	})
}

func TestHubListIsOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(HubOptions{})
		for _, pod := range []string{"c", "a", "b"} {
			p := join(t, h, identity(pod, "u"))
			defer func() { p.cancel(); t.Log("ended:", <-p.ended) }()
		}
		got := ""
		for _, p := range h.List("shop") {
			got += p.Key.Pod
		}
		if got != "abc" || len(h.List("elsewhere")) != 0 {
			t.Errorf("listed %q", got)
		}
	})
}
