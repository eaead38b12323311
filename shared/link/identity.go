package link

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
)

// Identity is what a verified token says about the agent that sent it.
type Identity struct {
	Namespace      string
	ServiceAccount string
	Pod            string
	PodUID         string
	// Expiry is when the token ends. The stream is closed then, unless the agent
	// has sent a fresh token over it before.
	Expiry time.Time
}

// Key returns the peer that the identity stands for.
func (i Identity) Key() PeerKey {
	return PeerKey{Namespace: i.Namespace, Pod: i.Pod, UID: i.PodUID}
}

// Verifier proves a token. An error that wraps ErrUntrusted is about the token;
// any other error says that the verifier itself cannot tell at the moment.
type Verifier interface {
	Verify(ctx context.Context, token string) (Identity, error)
}

// ErrUntrusted is wrapped by every error that is the token's own fault.
var ErrUntrusted = errors.New("token is not trusted")

// PeerKey names one pod; a pod of the same name made anew has another UID.
type PeerKey struct {
	Namespace string
	Pod       string
	UID       string
}

// String returns namespace/pod (uid).
func (k PeerKey) String() string {
	return fmt.Sprintf("%s/%s (%s)", k.Namespace, k.Pod, k.UID)
}

const (
	authorizationHeader = "authorization"
	bearerPrefix        = "Bearer "
)

// tokenFrom reads the bearer token of an incoming stream.
func tokenFrom(ctx context.Context) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get(authorizationHeader)
	if len(values) != 1 {
		return "", fmt.Errorf("%w: expected one authorization header, got %d", ErrUntrusted, len(values))
	}
	token, ok := strings.CutPrefix(values[0], bearerPrefix)
	if !ok || token == "" {
		return "", fmt.Errorf("%w: the authorization header is not a bearer token", ErrUntrusted)
	}
	return token, nil
}

// bearer attaches the token to a stream; gRPC refuses to send it without TLS.
type bearer struct{ token string }

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{authorizationHeader: bearerPrefix + b.token}, nil
}

func (b bearer) RequireTransportSecurity() bool { return true }
