package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// dialer keeps the stream to one address.
type dialer struct {
	client *Client
	cancel context.CancelFunc

	// Guarded by the client's lock.
	state ServerState
	out   *outbox // nil without a stream
	named bool    // the address is still among those resolved
}

// run dials until ctx ends or the address is no longer named.
func (d *dialer) run(ctx context.Context, address string) {
	opts := &d.client.opts
	wait := opts.MinBackoff
	lastErr := ""
	for {
		connected, err := d.attempt(ctx, address)
		if ctx.Err() != nil {
			return
		}
		if connected {
			wait = opts.MinBackoff
		}
		if msg := err.Error(); msg != lastErr {
			lastErr = msg
			opts.Logger.Info("No link to an operator replica", "address", address, "reason", msg)
		}
		if !d.mayContinue(err) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait/2 + rand.N(wait/2+1)):
		}
		wait = min(wait*2, opts.MaxBackoff)
	}
}

// mayContinue records the failure and says whether the address is still wanted.
func (d *dialer) mayContinue(err error) bool {
	d.client.mu.Lock()
	if d.state.Connected {
		d.state.Connected = false
		d.state.Since = time.Now()
	}
	d.state.Err = err.Error()
	d.out = nil
	named := d.named
	d.client.mu.Unlock()
	d.client.notify()
	return named
}

// attempt dials once and serves the stream to its end. It says whether the link
// was up in between; its error is never nil.
func (d *dialer) attempt(ctx context.Context, address string) (bool, error) {
	opts := &d.client.opts
	token, err := d.client.token()
	if err != nil {
		return false, err
	}
	config, err := d.client.tlsConfig()
	if err != nil {
		return false, err
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithPerRPCCredentials(bearer{token: token}),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return opts.Dial(ctx, address)
		}),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodec(jsonCodec{}),
			grpc.MaxCallRecvMsgSize(MaxMessageSize),
			grpc.MaxCallSendMsgSize(MaxMessageSize),
		),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: opts.ConnectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithReadBufferSize(8<<10),
		grpc.WithWriteBufferSize(8<<10),
	)
	if err != nil {
		return false, fmt.Errorf("prepare the connection: %w", err)
	}
	defer func() { _ = conn.Close() }()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(opts.ConnectTimeout, func() {
		cancel(fmt.Errorf("no hello from the operator within %s", opts.ConnectTimeout))
	})
	defer late.Stop()
	stream, err := conn.NewStream(ctx, clientStreamDesc(), methodPath)
	if err != nil {
		return false, attemptError(ctx, err)
	}
	return d.serve(ctx, cancel, late, token, clientTransport{stream})
}

// attemptError prefers the reason for which this side gave up.
func attemptError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// serve runs an open stream to its end.
func (d *dialer) serve(ctx context.Context, cancel context.CancelCauseFunc, late *time.Timer, token string, t transport) (bool, error) {
	out := newOutbox()
	hello, err := helloEnvelope(Hello{Protocol: ProtocolVersion, Name: d.client.opts.Name, Incarnation: d.client.incarnation})
	if err != nil {
		return false, err
	}
	out.put(slotHello, hello)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil)
	running.Go(func() {
		if err := out.drain(ctx, t); err != nil {
			cancel(fmt.Errorf("send: %w", err))
		}
	})

	env, err := t.Recv()
	if err != nil {
		return false, attemptError(ctx, err)
	}
	server, err := readHello(env)
	if err != nil {
		return false, err
	}
	if !late.Stop() {
		return false, attemptError(ctx, context.DeadlineExceeded)
	}
	d.connected(server, out)

	inbox := newOutbox()
	running.Go(func() { d.deliver(ctx, inbox, out) })
	echo := time.AfterFunc(d.client.opts.EchoTimeout, func() {
		cancel(fmt.Errorf("no echo from the operator for %s", d.client.opts.EchoTimeout))
	})
	defer echo.Stop()
	running.Go(func() { d.beat(ctx, out) })
	running.Go(func() { d.renew(ctx, token, out) })
	for {
		env, err := t.Recv()
		if err != nil {
			return true, attemptError(ctx, err)
		}
		switch env.Kind {
		case KindHeartbeat:
			echo.Reset(d.client.opts.EchoTimeout)
			d.echoed(env)
		case KindDirective:
			inbox.put(slotDirective, env)
		case KindTrust:
			d.client.learn([]byte(env.Text))
		default:
			// A kind of a later release, or one that only agents send: nothing to do.
		}
	}
}

// connected opens the stream for snapshots, beginning with the current one.
func (d *dialer) connected(server Hello, out *outbox) {
	c := d.client
	c.mu.Lock()
	d.out = out
	d.state.Server = server
	d.state.Connected = true
	d.state.Since = time.Now()
	d.state.Err = ""
	if c.snapshot != nil {
		out.put(slotSnapshot, &Envelope{Kind: KindSnapshot, Payload: c.snapshot})
	}
	c.mu.Unlock()
	c.opts.Logger.Info("Linked to an operator replica", "address", d.state.Address, "replica", server.Name)
	c.notify()
}

// beat sends heartbeats, the first one at once.
func (d *dialer) beat(ctx context.Context, out *outbox) {
	ticker := time.NewTicker(d.client.opts.HeartbeatInterval)
	defer ticker.Stop()
	for seq := uint64(1); ; seq++ {
		out.put(slotHeartbeat, &Envelope{Kind: KindHeartbeat, ID: seq, Sent: int64(time.Since(d.client.epoch))})
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// renew sends the token again whenever it was renewed, so that a stream need not
// end with the token that it began with.
func (d *dialer) renew(ctx context.Context, sent string, out *outbox) {
	ticker := time.NewTicker(d.client.opts.TokenInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// A token that cannot be read now may be readable next time; if not, the
		// next dial says so.
		if token, err := d.client.token(); err == nil && token != sent {
			sent = token
			out.put(slotToken, &Envelope{Kind: KindToken, Text: token})
		}
	}
}

func (d *dialer) echoed(env *Envelope) {
	c := d.client
	c.mu.Lock()
	d.state.EchoAt = time.Now()
	d.state.EchoSent = c.epoch.Add(time.Duration(env.Sent))
	d.state.EchoPayload = env.Payload
	c.mu.Unlock()
	c.notify()
}

// deliver hands directives over without holding up the echoes.
func (d *dialer) deliver(ctx context.Context, inbox, out *outbox) {
	for {
		for _, env := range inbox.take() {
			if ctx.Err() != nil {
				return
			}
			ack := &Envelope{Kind: KindAck, ID: env.ID}
			if d.client.opts.OnDirective != nil {
				directive := Directive{Server: d.state.Address, ID: env.ID, Payload: env.Payload}
				if err := d.client.opts.OnDirective(withTrace(ctx, env.Trace), directive); err != nil {
					ack.Text = err.Error()
				}
			}
			out.put(slotAck, ack)
		}
		select {
		case <-ctx.Done():
			return
		case <-inbox.wake:
		}
	}
}

func (c *Client) token() (string, error) {
	raw, err := os.ReadFile(c.opts.TokenFile)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	return string(bytes.TrimSpace(raw)), nil
}

// tlsConfig trusts the authorities in the file and those learned over links.
func (c *Client) tlsConfig() (*tls.Config, error) {
	file, err := os.ReadFile(c.opts.CAFile)
	c.mu.Lock()
	learned := c.learned
	c.mu.Unlock()
	if err != nil && len(learned) == 0 {
		return nil, fmt.Errorf("read the trusted authorities: %w", err)
	}
	trusted := MergeBundles(time.Now(), file, learned)
	if len(trusted) == 0 {
		return nil, fmt.Errorf("no valid authority in %s", c.opts.CAFile)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: c.opts.ServerName,
		RootCAs:    poolOf(trusted),
	}, nil
}
