package link

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ProtocolVersion is the version of the messages exchanged. Both sides state
// theirs in their hello and refuse a peer whose version differs.
const ProtocolVersion = 1

// MaxMessageSize is the largest message accepted by either side, in bytes.
const MaxMessageSize = 4 << 20

// maxPayload leaves room for the envelope around a payload.
const maxPayload = MaxMessageSize - 64<<10

// Kind says what an Envelope carries.
type Kind string

// The kinds of messages. The comment says who sends it.
const (
	// KindHello is the first message of either side; its payload is a Hello.
	KindHello Kind = "hello"
	// KindSnapshot is sent by the agent; its payload is the agent's state.
	KindSnapshot Kind = "snapshot"
	// KindHeartbeat is sent by the agent, and by the server as the echo.
	KindHeartbeat Kind = "heartbeat"
	// KindDirective is sent by the server; its payload is the desired state.
	KindDirective Kind = "directive"
	// KindAck is sent by the agent for the directive with the same ID; a
	// non-empty Text is a refusal and says why.
	KindAck Kind = "ack"
	// KindToken is sent by the agent when its token was renewed; Text is the new
	// one, which lengthens the life of the stream.
	KindToken Kind = "token"
	// KindTrust is sent by the server; Text is a PEM bundle of authorities that
	// the agent may trust from now on.
	KindTrust Kind = "trust"
)

// Envelope is the one message type of the link.
type Envelope struct {
	// Kind says which of the other fields are meaningful.
	Kind Kind `json:"kind"`
	// ID is the directive's number (directive, ack) or the heartbeat's
	// sequence number. It only grows within a stream.
	ID uint64 `json:"id,omitempty"`
	// Sent is the heartbeat's origin in the agent's own monotonic clock,
	// echoed unchanged. It means nothing to the server.
	Sent int64 `json:"sent,omitempty"`
	// Text is a PEM bundle, a token or a refusal.
	Text string `json:"text,omitempty"`
	// Trace is the W3C traceparent of what a directive was sent by, for logs and
	// traces alone: nothing is decided by it.
	Trace string `json:"trace,omitempty"`
	// Payload is opaque to the link.
	Payload json.RawMessage `json:"payload,omitempty"`
}

// Hello is the payload of the first message of either side.
type Hello struct {
	// Protocol is the sender's ProtocolVersion.
	Protocol int `json:"protocol"`
	// Name says who speaks, for logs: the agent's build or the replica's name.
	Name string `json:"name,omitempty"`
	// Incarnation differs for every process of the sender, so that the receiver
	// can tell a reconnect from a restart.
	Incarnation string `json:"incarnation,omitempty"`
}

// ErrPayload is returned for a payload that is not one JSON value or is too large.
var ErrPayload = errors.New("payload is not acceptable")

// checkPayload refuses what would break the stream later: the codec would fail
// in the middle of a message and take the whole link down.
func checkPayload(payload json.RawMessage) error {
	if len(payload) > maxPayload {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrPayload, len(payload), maxPayload)
	}
	if !json.Valid(payload) {
		return fmt.Errorf("%w: not valid JSON", ErrPayload)
	}
	return nil
}

func helloEnvelope(h Hello) (*Envelope, error) {
	payload, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode hello: %w", err)
	}
	return &Envelope{Kind: KindHello, Payload: payload}, nil
}

// readHello decodes and checks the first message of the other side.
func readHello(env *Envelope) (Hello, error) {
	var h Hello
	if env.Kind != KindHello {
		return h, fmt.Errorf("expected a hello, got %q", env.Kind)
	}
	if err := json.Unmarshal(env.Payload, &h); err != nil {
		return h, fmt.Errorf("decode hello: %w", err)
	}
	if h.Protocol != ProtocolVersion {
		return h, fmt.Errorf("the other side speaks link protocol %d, this one speaks %d", h.Protocol, ProtocolVersion)
	}
	return h, nil
}
