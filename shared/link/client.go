package link

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// Defaults of ClientOptions.
const (
	DefaultHeartbeatInterval = 500 * time.Millisecond
	DefaultEchoTimeout       = 2500 * time.Millisecond
	DefaultConnectTimeout    = 5 * time.Second
	DefaultResolveInterval   = 2 * time.Second
	DefaultTokenInterval     = 10 * time.Second
	DefaultMinBackoff        = 100 * time.Millisecond
	DefaultMaxBackoff        = 3 * time.Second
)

// ClientOptions configures a Client.
type ClientOptions struct {
	// Target is the operator's headless Service as host:port. It is resolved
	// again and again, and one stream is kept to every address. The Service
	// should publish addresses that are not ready. Either Target or Addresses
	// is required.
	Target string
	// Addresses replaces Target by a fixed list of host:port.
	Addresses []string
	// ServerName is what the server's certificate must certify.
	ServerName string
	// CAFile holds the PEM bundle of trusted authorities. It is read at every
	// dial, as it changes when operator replicas come and go. Required.
	CAFile string
	// TokenFile holds the projected token. It is read at every dial, and sent
	// over standing links when it has changed. Required.
	TokenFile string
	// Name says which agent this is, for the operator's logs.
	Name string
	// OnDirective receives directives: in order and each once per stream, where
	// a newer one replaces an older one that has not been delivered yet. An
	// error is returned to the operator as the refusal. Streams to several
	// replicas deliver concurrently; the receiver decides by what is inside.
	// It must return soon after ctx ends, which is when the stream has ended:
	// the replica is not dialled again before. The span that the directive was sent
	// by is in ctx.
	OnDirective func(ctx context.Context, d Directive) error
	// OnServers is called after the state of a server has changed (connected,
	// disconnected, echo received). It must not block.
	OnServers func()

	// HeartbeatInterval is the time between heartbeats on each stream.
	HeartbeatInterval time.Duration
	// EchoTimeout is how long a server may leave heartbeats unanswered before
	// the stream is given up and dialled anew.
	EchoTimeout time.Duration
	// ConnectTimeout bounds one attempt, from dialling to the server's hello.
	ConnectTimeout time.Duration
	// ResolveInterval is the time between two resolutions of Target.
	ResolveInterval time.Duration
	// TokenInterval is the time between two looks at TokenFile.
	TokenInterval time.Duration
	// MinBackoff and MaxBackoff bound the jittered wait between attempts.
	MinBackoff, MaxBackoff time.Duration

	// Resolve replaces the system's resolver.
	Resolve func(ctx context.Context, host string) ([]string, error)
	// Dial replaces the TCP dialler.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Logger receives failed attempts and lost links, each once per change.
	Logger logr.Logger
}

// Directive is a desired state from one operator replica.
type Directive struct {
	// Server is the address of the replica that sent it.
	Server string
	// ID is the replica's number for it.
	ID uint64
	// Payload is opaque to the link.
	Payload json.RawMessage
}

// ServerState is what a client knows about one operator replica.
type ServerState struct {
	// Address is where the replica was dialled.
	Address string
	// Server is what the replica said in its hello.
	Server Hello
	// Connected says whether a stream stands.
	Connected bool
	// Since is when Connected last changed.
	Since time.Time
	// EchoAt is when the newest echo arrived; zero if there was none yet.
	EchoAt time.Time
	// EchoSent is when the heartbeat was made that the newest echo answers.
	// Whatever the echo grants counts from here.
	EchoSent time.Time
	// EchoPayload is what the server attached to the newest echo.
	EchoPayload json.RawMessage
	// Err says why there is no stream; empty while connected.
	Err string
}

// Client holds the agent's end of its links to all operator replicas.
type Client struct {
	opts        ClientOptions
	incarnation string
	// epoch is the origin of the heartbeats' monotonic time.
	epoch time.Time

	mu       sync.Mutex
	snapshot json.RawMessage
	dialers  map[string]*dialer
	learned  []byte
}

// NewClient returns a client that has not dialled yet.
func NewClient(opts ClientOptions) (*Client, error) {
	if (opts.Target == "") == (len(opts.Addresses) == 0) {
		return nil, errors.New("make a link client: exactly one of target and addresses is required")
	}
	if opts.CAFile == "" || opts.TokenFile == "" {
		return nil, errors.New("make a link client: the CA file and the token file are required")
	}
	if opts.Target != "" {
		if _, _, err := net.SplitHostPort(opts.Target); err != nil {
			return nil, fmt.Errorf("make a link client: target: %w", err)
		}
	}
	opts.ServerName = cmp.Or(opts.ServerName, DefaultServerName)
	opts.HeartbeatInterval = cmp.Or(opts.HeartbeatInterval, DefaultHeartbeatInterval)
	opts.EchoTimeout = cmp.Or(opts.EchoTimeout, max(DefaultEchoTimeout, 5*opts.HeartbeatInterval))
	opts.ConnectTimeout = cmp.Or(opts.ConnectTimeout, DefaultConnectTimeout)
	opts.ResolveInterval = cmp.Or(opts.ResolveInterval, DefaultResolveInterval)
	opts.TokenInterval = cmp.Or(opts.TokenInterval, DefaultTokenInterval)
	opts.MinBackoff = cmp.Or(opts.MinBackoff, DefaultMinBackoff)
	opts.MaxBackoff = cmp.Or(opts.MaxBackoff, DefaultMaxBackoff)
	if opts.Resolve == nil {
		opts.Resolve = net.DefaultResolver.LookupHost
	}
	if opts.Dial == nil {
		opts.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	return &Client{
		opts: opts, incarnation: rand.Text(), epoch: time.Now(),
		dialers: map[string]*dialer{},
	}, nil
}

// Publish makes payload the current snapshot and sends it on every stream, now
// and at each connect. It never blocks; a newer snapshot replaces an unsent
// older one, and an unchanged one is not sent again.
func (c *Client) Publish(payload json.RawMessage) error {
	if err := checkPayload(payload); err != nil {
		return fmt.Errorf("publish a snapshot: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snapshot != nil && bytes.Equal(c.snapshot, payload) {
		return nil
	}
	c.snapshot = bytes.Clone(payload)
	for _, d := range c.dialers {
		if d.out != nil {
			d.out.put(slotSnapshot, &Envelope{Kind: KindSnapshot, Payload: c.snapshot})
		}
	}
	return nil
}

// Servers returns the state of every operator replica known, ordered by address.
func (c *Client) Servers() []ServerState {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]ServerState, 0, len(c.dialers))
	for _, d := range c.dialers {
		out = append(out, d.state)
	}
	slices.SortFunc(out, func(a, b ServerState) int { return cmp.Compare(a.Address, b.Address) })
	return out
}

// Run keeps the links up until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		addresses, err := c.resolve(ctx)
		if err != nil && ctx.Err() == nil {
			// Names may be unavailable exactly when links matter most, so the
			// known addresses stay.
			c.opts.Logger.V(1).Info("Could not resolve the operator", "target", c.opts.Target, "reason", err.Error())
		}
		if err == nil {
			c.follow(ctx, addresses, &running)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.opts.ResolveInterval):
		}
	}
}

func (c *Client) resolve(ctx context.Context) ([]string, error) {
	if len(c.opts.Addresses) > 0 {
		return c.opts.Addresses, nil
	}
	host, port, err := net.SplitHostPort(c.opts.Target)
	if err != nil {
		return nil, fmt.Errorf("split target: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.ConnectTimeout)
	defer cancel()
	hosts, err := c.opts.Resolve(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", host, err)
	}
	out := make([]string, 0, len(hosts))
	for _, h := range hosts {
		out = append(out, net.JoinHostPort(h, port))
	}
	return out, nil
}

// follow starts a dialer for every new address. One whose address is no longer
// named ends when its stream ends: a link that stands is a good link, whatever
// the names say.
func (c *Client) follow(ctx context.Context, addresses []string, running *sync.WaitGroup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for address, d := range c.dialers {
		d.named = slices.Contains(addresses, address)
		if !d.named && d.out == nil {
			d.cancel()
		}
	}
	for _, address := range addresses {
		if _, ok := c.dialers[address]; ok {
			continue
		}
		dctx, cancel := context.WithCancel(ctx)
		d := &dialer{client: c, cancel: cancel, named: true, state: ServerState{Address: address, Since: time.Now(), Err: "not dialled yet"}}
		c.dialers[address] = d
		running.Go(func() {
			defer cancel()
			d.run(dctx, address)
			c.mu.Lock()
			delete(c.dialers, address)
			c.mu.Unlock()
		})
	}
}

// learn adds authorities received over a proven link to those trusted.
func (c *Client) learn(bundle []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.learned = MergeBundles(time.Now(), c.learned, bundle)
}

func (c *Client) notify() {
	if c.opts.OnServers != nil {
		c.opts.OnServers()
	}
}
