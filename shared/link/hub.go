package link

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Defaults of HubOptions.
const (
	DefaultHeartbeatTimeout = 2 * time.Second
	DefaultHelloTimeout     = 5 * time.Second
	DefaultRetention        = 15 * time.Minute
)

// ErrNotConnected is returned by Hub.Send for a peer without a standing stream.
var ErrNotConnected = errors.New("peer is not connected")

// HubOptions configures a Hub.
type HubOptions struct {
	// Verifier proves the token of every incoming stream. Required.
	Verifier Verifier
	// Authorize is the operator's own view of the pod behind a verified token:
	// it returns an error unless the pod exists with this UID and is not being
	// deleted. Nil accepts every verified token.
	Authorize func(Identity) error
	// OnChange is called when a peer connects, changes its snapshot, answers a
	// directive with a refusal, disconnects, falls silent, or speaks again. It
	// is called from the peer's own goroutine and must not block.
	OnChange func(PeerKey)
	// OnDelivered is called when a peer has answered the newest directive. It is
	// called from the peer's own goroutine and must not block. Nil is not called.
	OnDelivered func(context.Context, Delivery)
	// HeartbeatReply gives the payload of the echo, one JSON value or nothing.
	// It is called at the moment at which the heartbeat is answered and must
	// not block.
	HeartbeatReply func(PeerKey) json.RawMessage
	// HeartbeatTimeout is how long a peer may be silent before it is marked.
	HeartbeatTimeout time.Duration
	// HelloTimeout is how long a new stream may take to say hello.
	HelloTimeout time.Duration
	// Retention is how long the last snapshot of a lost peer stays visible if
	// nobody calls Forget. It bounds the memory of a standby replica.
	Retention time.Duration
	// Name is this replica's name, for the agents' logs.
	Name string
	// Logger receives refusals and lost links.
	Logger logr.Logger
}

// Peer is a copy of what the hub knows about one agent.
type Peer struct {
	// Key names the pod.
	Key PeerKey
	// ServiceAccount is the account of the verified token.
	ServiceAccount string
	// Agent is what the agent said in its hello.
	Agent Hello
	// Connected says whether a stream stands now.
	Connected bool
	// ConnectedAt is when the newest stream was accepted.
	ConnectedAt time.Time
	// LostAt is when the newest stream ended; zero while connected.
	LostAt time.Time
	// LostWhy says why the newest stream ended.
	LostWhy string
	// Snapshot is the newest payload received, possibly over an older stream.
	Snapshot json.RawMessage
	// SnapshotAt is when it was received; zero if there was none yet.
	SnapshotAt time.Time
	// HeartbeatAt is when the peer was last heard.
	HeartbeatAt time.Time
	// Silent says that the stream stands but the peer has not been heard for
	// HeartbeatTimeout.
	Silent bool
	// Sent is the number of the newest directive given to Send on this stream.
	Sent uint64
	// Acked is the number of the newest directive that the agent has answered.
	Acked uint64
	// Refusal is the agent's reason if it refused the directive Acked.
	Refusal string
}

// Hub holds the server's end of all links of one operator replica.
type Hub struct {
	opts        HubOptions
	incarnation string

	mu    sync.Mutex
	trust string
	peers map[podName]*record
}

type podName struct{ namespace, pod string }

// record is one peer and its stream, if one stands.
type record struct {
	peer    Peer
	session *session
	expire  *time.Timer
}

// session is one accepted stream.
type session struct {
	key     PeerKey
	out     *outbox
	cancel  context.CancelCauseFunc
	silence *time.Timer
	expiry  *time.Timer
	// last is the payload of the newest directive, unless it was refused.
	last json.RawMessage
	// sending is the newest directive until it is answered.
	sending sending
}

var (
	errReplaced  = errors.New("replaced by a newer stream of the pod")
	errForgotten = errors.New("the operator dropped the peer")
	errExpired   = errors.New("the token has expired")
)

// NewHub returns a hub without peers.
func NewHub(opts HubOptions) *Hub {
	opts.HeartbeatTimeout = cmp.Or(opts.HeartbeatTimeout, DefaultHeartbeatTimeout)
	opts.HelloTimeout = cmp.Or(opts.HelloTimeout, DefaultHelloTimeout)
	opts.Retention = cmp.Or(opts.Retention, DefaultRetention)
	return &Hub{opts: opts, incarnation: rand.Text(), peers: map[podName]*record{}}
}

// Get returns what is known about a pod's agent.
func (h *Hub) Get(namespace, pod string) (Peer, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rec, ok := h.peers[podName{namespace, pod}]
	if !ok {
		return Peer{}, false
	}
	return rec.peer, true
}

// List returns the peers of a namespace, or of all with an empty name, ordered
// by namespace and pod.
func (h *Hub) List(namespace string) []Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Peer, 0, len(h.peers))
	for name, rec := range h.peers {
		if namespace == "" || name.namespace == namespace {
			out = append(out, rec.peer)
		}
	}
	slices.SortFunc(out, func(a, b Peer) int {
		return cmp.Or(cmp.Compare(a.Key.Namespace, b.Key.Namespace), cmp.Compare(a.Key.Pod, b.Key.Pod))
	})
	return out
}

// Send gives the peer a directive: a desired state, so that a newer one
// replaces an unsent older one. It never blocks. Sending what was sent last on
// the same stream is a no-op, unless the agent refused it, so that a caller may
// state its wish as often as it likes. The agent answers with an ack or a
// refusal and, above all, with its next snapshot. The span of the context goes
// with the directive, so that the agent's log lines name it.
func (h *Hub) Send(ctx context.Context, key PeerKey, payload json.RawMessage) error {
	if err := checkPayload(payload); err != nil {
		return fmt.Errorf("send directive to %s: %w", key, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	rec, ok := h.peers[podName{key.Namespace, key.Pod}]
	if !ok || rec.session == nil || rec.peer.Key != key {
		return fmt.Errorf("send directive to %s: %w", key, ErrNotConnected)
	}
	if rec.session.last != nil && bytes.Equal(rec.session.last, payload) {
		return nil
	}
	rec.session.last = bytes.Clone(payload)
	rec.peer.Sent++
	rec.session.sending = sending{id: rec.peer.Sent, span: trace.SpanContextFromContext(ctx), at: time.Now()}
	rec.session.out.put(slotDirective, &Envelope{Kind: KindDirective, ID: rec.peer.Sent, Payload: rec.session.last, Trace: traceOf(ctx)})
	return nil
}

// SetTrust gives all agents, now and when they connect, the authorities that
// they may trust besides those they were started with.
func (h *Hub) SetTrust(bundle []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.trust == string(bundle) {
		return
	}
	h.trust = string(bundle)
	for _, rec := range h.peers {
		if rec.session != nil {
			rec.session.out.put(slotTrust, &Envelope{Kind: KindTrust, Text: h.trust})
		}
	}
}

// Forget drops all knowledge of a pod and ends its stream, for example because
// the pod was deleted. A pod of the same name with another UID is left alone.
func (h *Hub) Forget(key PeerKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := podName{key.Namespace, key.Pod}
	rec, ok := h.peers[name]
	if !ok || rec.peer.Key != key {
		return
	}
	h.drop(name, rec, errForgotten)
}

// drop removes a record; the caller holds the lock.
func (h *Hub) drop(name podName, rec *record, why error) {
	delete(h.peers, name)
	if rec.expire != nil {
		rec.expire.Stop()
	}
	if rec.session != nil {
		rec.session.cancel(why)
	}
}

// connect serves one stream from its first byte to its end.
func (h *Hub) connect(ctx context.Context, t transport) error {
	id, err := h.authenticate(ctx)
	if err != nil {
		h.opts.Logger.Info("Refused a link", "reason", err.Error())
		return err
	}
	err = h.serve(ctx, id, t)
	h.opts.Logger.V(1).Info("Link ended", "peer", id.Key().String(), "reason", err.Error())
	return err
}

func (h *Hub) authenticate(ctx context.Context) (Identity, error) {
	token, err := tokenFrom(ctx)
	if err != nil {
		return Identity{}, status.Error(codes.Unauthenticated, err.Error())
	}
	return h.verify(ctx, token)
}

// verify proves a token and asks the operator about the pod behind it.
func (h *Hub) verify(ctx context.Context, token string) (Identity, error) {
	id, err := h.opts.Verifier.Verify(ctx, token)
	switch {
	case errors.Is(err, ErrUntrusted):
		return Identity{}, status.Error(codes.Unauthenticated, err.Error())
	case err != nil:
		return Identity{}, status.Error(codes.Unavailable, err.Error())
	}
	if h.opts.Authorize != nil {
		if err := h.opts.Authorize(id); err != nil {
			return Identity{}, status.Errorf(codes.PermissionDenied, "%s may not connect: %v", id.Key(), err)
		}
	}
	return id, nil
}

// serve runs the stream of a proven agent. Its result is never nil.
func (h *Hub) serve(parent context.Context, id Identity, t transport) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	s := &session{key: id.Key(), out: newOutbox(), cancel: cancel}
	s.expiry = time.AfterFunc(time.Until(id.Expiry), func() { cancel(errExpired) })
	defer s.expiry.Stop()
	go h.read(ctx, id, s, t)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if err := s.out.drain(ctx, t); err != nil {
			cancel(fmt.Errorf("send: %w", err))
		}
	}()

	<-ctx.Done()
	// A sender that is held up by flow control is released by returning.
	select {
	case <-sent:
	case <-time.After(time.Second):
	}
	cause := context.Cause(ctx)
	h.unregister(s, cause)
	switch {
	case errors.Is(cause, errExpired):
		return status.Error(codes.Unauthenticated, cause.Error())
	case errors.Is(cause, errReplaced), errors.Is(cause, errForgotten):
		return status.Error(codes.Aborted, cause.Error())
	default:
		return status.Error(codes.Canceled, cause.Error())
	}
}

// read handles what the agent sends, until the stream ends.
func (h *Hub) read(ctx context.Context, id Identity, s *session, t transport) {
	late := time.AfterFunc(h.opts.HelloTimeout, func() { s.cancel(errors.New("no hello in time")) })
	defer late.Stop()
	env, err := t.Recv()
	if err != nil {
		s.cancel(fmt.Errorf("receive: %w", err))
		return
	}
	hello, err := readHello(env)
	if err != nil {
		s.cancel(err)
		return
	}
	late.Stop()
	if err := h.register(ctx, id, hello, s); err != nil {
		s.cancel(err)
		return
	}
	for {
		env, err := t.Recv()
		if err != nil {
			s.cancel(fmt.Errorf("receive: %w", err))
			return
		}
		if env.Kind == KindToken {
			h.renew(ctx, s, env.Text)
			continue
		}
		h.handle(ctx, s, env)
	}
}

// renew lengthens the life of a stream by a fresh token of the same pod. What
// cannot be proven now changes nothing: the old token's end still stands, and
// the agent dials again then.
func (h *Hub) renew(ctx context.Context, s *session, token string) {
	// Heartbeats must not wait for the API server.
	ctx, cancel := context.WithTimeout(ctx, h.opts.HeartbeatTimeout/4)
	defer cancel()
	id, err := h.verify(ctx, token)
	if err == nil && id.Key() != s.key {
		err = fmt.Errorf("it is the token of %s", id.Key())
	}
	if err != nil {
		h.opts.Logger.Info("Refused a renewed token", "peer", s.key.String(), "reason", err.Error())
		return
	}
	// A timer that has fired already has ended the stream for good.
	if s.expiry.Stop() {
		s.expiry.Reset(time.Until(id.Expiry))
	}
}

// register makes the stream the one of its pod.
func (h *Hub) register(ctx context.Context, id Identity, hello Hello, s *session) error {
	greeting, err := helloEnvelope(Hello{Protocol: ProtocolVersion, Name: h.opts.Name, Incarnation: h.incarnation})
	if err != nil {
		return err
	}
	h.mu.Lock()
	if ctx.Err() != nil {
		h.mu.Unlock()
		return context.Cause(ctx)
	}
	name := podName{id.Namespace, id.Pod}
	now := time.Now()
	fresh := Peer{
		Key: s.key, ServiceAccount: id.ServiceAccount, Agent: hello,
		Connected: true, ConnectedAt: now, HeartbeatAt: now,
	}
	if old, ok := h.peers[name]; ok {
		h.drop(name, old, errReplaced)
		if old.peer.Key == s.key {
			fresh.Snapshot, fresh.SnapshotAt = old.peer.Snapshot, old.peer.SnapshotAt
		}
	}
	h.peers[name] = &record{peer: fresh, session: s}
	s.silence = time.AfterFunc(h.opts.HeartbeatTimeout, func() { h.fallSilent(s) })
	s.out.put(slotHello, greeting)
	if h.trust != "" {
		s.out.put(slotTrust, &Envelope{Kind: KindTrust, Text: h.trust})
	}
	h.mu.Unlock()
	h.changed(s.key)
	return nil
}

// unregister marks the pod as lost, unless a newer stream has taken over.
func (h *Hub) unregister(s *session, why error) {
	h.mu.Lock()
	rec := h.current(s)
	if rec == nil {
		h.mu.Unlock()
		return
	}
	s.silence.Stop()
	rec.session = nil
	rec.peer.Connected = false
	rec.peer.Silent = false
	rec.peer.LostAt = time.Now()
	rec.peer.LostWhy = why.Error()
	rec.expire = time.AfterFunc(h.opts.Retention, func() { h.retire(rec) })
	h.mu.Unlock()
	h.changed(s.key)
}

// retire drops a record that nobody has asked to forget.
func (h *Hub) retire(rec *record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := podName{rec.peer.Key.Namespace, rec.peer.Key.Pod}
	if h.peers[name] == rec && rec.session == nil {
		delete(h.peers, name)
	}
}

// current returns the record if s is still its stream; the caller holds the lock.
func (h *Hub) current(s *session) *record {
	rec, ok := h.peers[podName{s.key.Namespace, s.key.Pod}]
	if !ok || rec.session != s {
		return nil
	}
	return rec
}

// handle takes in one message. Unknown kinds are ignored, so that an agent of a
// later release may say more than this operator understands.
func (h *Hub) handle(ctx context.Context, s *session, env *Envelope) {
	changed := false
	var delivered *Delivery
	h.mu.Lock()
	rec := h.current(s)
	if rec == nil {
		h.mu.Unlock()
		return
	}
	switch env.Kind {
	case KindSnapshot:
		changed = rec.peer.SnapshotAt.IsZero() || !bytes.Equal(rec.peer.Snapshot, env.Payload)
		rec.peer.Snapshot, rec.peer.SnapshotAt = env.Payload, time.Now()
	case KindHeartbeat:
		changed = rec.peer.Silent
		rec.peer.Silent = false
		rec.peer.HeartbeatAt = time.Now()
		s.silence.Reset(h.opts.HeartbeatTimeout)
	case KindAck:
		if env.ID <= rec.peer.Sent && env.ID >= rec.peer.Acked {
			rec.peer.Acked, rec.peer.Refusal = env.ID, env.Text
			delivered = s.answered(env)
			if env.Text != "" && env.ID == rec.peer.Sent {
				s.last = nil
				changed = true
			}
		}
	default:
		// A kind of a later release, or one that only operators send: nothing to do.
	}
	h.mu.Unlock()
	if env.Kind == KindHeartbeat {
		h.echo(s, env)
	}
	if delivered != nil && h.opts.OnDelivered != nil {
		h.opts.OnDelivered(ctx, *delivered)
	}
	if changed {
		h.changed(s.key)
	}
}

// answered returns what came of the newest directive if that is what is answered;
// the caller holds the lock.
func (s *session) answered(ack *Envelope) *Delivery {
	if s.sending.id == 0 || s.sending.id != ack.ID {
		return nil
	}
	out := &Delivery{Key: s.key, ID: ack.ID, Span: s.sending.span, Sent: s.sending.at, Answered: time.Now(), Refusal: ack.Text}
	s.sending = sending{}
	return out
}

func (h *Hub) echo(s *session, heartbeat *Envelope) {
	echo := &Envelope{Kind: KindHeartbeat, ID: heartbeat.ID, Sent: heartbeat.Sent}
	if h.opts.HeartbeatReply != nil {
		if payload := h.opts.HeartbeatReply(s.key); len(payload) > 0 {
			if err := checkPayload(payload); err != nil {
				h.opts.Logger.Error(err, "Dropped the payload of a heartbeat reply", "peer", s.key.String())
			} else {
				echo.Payload = payload
			}
		}
	}
	s.out.put(slotHeartbeat, echo)
}

// fallSilent marks a peer whose stream stands but says nothing.
func (h *Hub) fallSilent(s *session) {
	h.mu.Lock()
	rec := h.current(s)
	// A heartbeat may have been handled between the timer and the lock.
	if rec == nil || rec.peer.Silent || time.Since(rec.peer.HeartbeatAt) < h.opts.HeartbeatTimeout {
		h.mu.Unlock()
		return
	}
	rec.peer.Silent = true
	h.mu.Unlock()
	h.changed(s.key)
}

func (h *Hub) changed(key PeerKey) {
	if h.opts.OnChange != nil {
		h.opts.OnChange(key)
	}
}
