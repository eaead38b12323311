package link

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/client-go/rest"
)

const (
	jwksPath      = "/openid/v1/jwks"
	discoveryPath = "/.well-known/openid-configuration"

	// maxToken is far above what the API server issues.
	maxToken = 16 << 10
)

// JWKSOptions configures a JWKSVerifier.
type JWKSOptions struct {
	// Client reaches the API server; only its two discovery paths are read,
	// which every ServiceAccount may read by default. Required.
	Client rest.Interface
	// Audience is the one the agents' tokens must be bound to. Required.
	Audience string
	// Issuer is the expected issuer; empty means what the API server publishes.
	Issuer string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// MaxAge is how old the keys may get before they are read again (default 5
	// minutes). If that fails, the old keys stay in use, so that links survive
	// the absence of the API server.
	MaxAge time.Duration
	// MinInterval is the least time between two reads (default 5 seconds), so
	// that tokens with invented key names cannot load the API server.
	MinInterval time.Duration
}

// JWKSVerifier verifies projected ServiceAccount tokens offline, against the
// signing keys that the API server publishes.
type JWKSVerifier struct {
	opts JWKSOptions

	// fetch admits one reader of the API server at a time.
	fetch sync.Mutex
	mu    sync.RWMutex
	keys  keySet
	tried time.Time
}

type keySet struct {
	jose.JSONWebKeySet
	issuer string
	readAt time.Time
}

// NewJWKSVerifier returns a verifier that has not read any key yet.
func NewJWKSVerifier(opts JWKSOptions) (*JWKSVerifier, error) {
	if opts.Client == nil || opts.Audience == "" {
		return nil, errors.New("make a token verifier: client and audience are required")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	opts.MaxAge = cmp.Or(opts.MaxAge, 5*time.Minute)
	opts.MinInterval = cmp.Or(opts.MinInterval, 5*time.Second)
	return &JWKSVerifier{opts: opts}, nil
}

// podClaims is what the API server says in a pod-bound token.
type podClaims struct {
	Kubernetes struct {
		Namespace string `json:"namespace"`
		Pod       struct {
			Name string `json:"name"`
			UID  string `json:"uid"`
		} `json:"pod"`
		ServiceAccount struct {
			Name string `json:"name"`
			UID  string `json:"uid"`
		} `json:"serviceaccount"`
	} `json:"kubernetes.io"`
}

// algorithms are those that the API server may sign with; symmetric ones and
// "none" are never among them.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512,
	}
}

// Verify proves the token and returns whose it is.
func (v *JWKSVerifier) Verify(ctx context.Context, token string) (Identity, error) {
	if len(token) > maxToken {
		return Identity{}, fmt.Errorf("%w: %d bytes long", ErrUntrusted, len(token))
	}
	parsed, err := jwt.ParseSigned(token, algorithms())
	if err != nil {
		return Identity{}, fmt.Errorf("%w: not a signed token", ErrUntrusted)
	}
	if len(parsed.Headers) != 1 || parsed.Headers[0].KeyID == "" {
		return Identity{}, fmt.Errorf("%w: it does not name its key", ErrUntrusted)
	}
	key, issuer, err := v.key(ctx, parsed.Headers[0].KeyID)
	if err != nil {
		return Identity{}, err
	}
	var std jwt.Claims
	var pod podClaims
	if err := parsed.Claims(key.Key, &std, &pod); err != nil {
		return Identity{}, fmt.Errorf("%w: the signature does not fit", ErrUntrusted)
	}
	return v.identity(std, pod, issuer)
}

// identity checks the claims of a token whose signature is good.
func (v *JWKSVerifier) identity(std jwt.Claims, pod podClaims, issuer string) (Identity, error) {
	now := v.opts.Now()
	k := pod.Kubernetes
	switch {
	case std.Issuer != issuer:
		return Identity{}, fmt.Errorf("%w: issued by %q instead of %q", ErrUntrusted, std.Issuer, issuer)
	case !std.Audience.Contains(v.opts.Audience):
		return Identity{}, fmt.Errorf("%w: not meant for audience %q", ErrUntrusted, v.opts.Audience)
	case std.Expiry == nil:
		return Identity{}, fmt.Errorf("%w: it never expires", ErrUntrusted)
	case !now.Before(std.Expiry.Time()):
		return Identity{}, fmt.Errorf("%w: expired at %s", ErrUntrusted, std.Expiry.Time().UTC().Format(time.RFC3339))
	// The API server's clock may be ahead of this one.
	case std.NotBefore != nil && now.Add(time.Minute).Before(std.NotBefore.Time()):
		return Identity{}, fmt.Errorf("%w: not valid yet", ErrUntrusted)
	case k.Namespace == "" || k.Pod.Name == "" || k.Pod.UID == "" || k.ServiceAccount.Name == "":
		return Identity{}, fmt.Errorf("%w: not bound to a pod", ErrUntrusted)
	}
	return Identity{
		Namespace:      k.Namespace,
		ServiceAccount: k.ServiceAccount.Name,
		Pod:            k.Pod.Name,
		PodUID:         k.Pod.UID,
		Expiry:         std.Expiry.Time(),
	}, nil
}

// key returns the named key, reading the published ones again if it is unknown
// or they are old.
func (v *JWKSVerifier) key(ctx context.Context, id string) (jose.JSONWebKey, string, error) {
	key, issuer, fresh := v.lookup(id)
	if key != nil {
		if !fresh && v.fetch.TryLock() {
			// Nobody waits for this: an agent must get in while the API server
			// is away. A failure shows when a new key is needed.
			go func() {
				defer v.fetch.Unlock()
				_ = v.refresh(context.WithoutCancel(ctx), id)
			}()
		}
		return *key, issuer, nil
	}
	v.fetch.Lock()
	fetchErr := v.refresh(ctx, id)
	v.fetch.Unlock()
	if key, issuer, _ = v.lookup(id); key != nil {
		return *key, issuer, nil
	}
	if fetchErr != nil {
		return jose.JSONWebKey{}, "", fmt.Errorf("read the API server's signing keys: %w", fetchErr)
	}
	return jose.JSONWebKey{}, "", fmt.Errorf("%w: signed with an unknown key", ErrUntrusted)
}

func (v *JWKSVerifier) lookup(id string) (*jose.JSONWebKey, string, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	fresh := v.opts.Now().Sub(v.keys.readAt) < v.opts.MaxAge
	for _, key := range v.keys.Key(id) {
		if key.Valid() && key.IsPublic() {
			return &key, v.keys.issuer, fresh
		}
	}
	return nil, "", fresh
}

// refresh reads the keys unless that was done, or tried, just before. The caller
// holds fetch.
func (v *JWKSVerifier) refresh(ctx context.Context, id string) error {
	if key, _, fresh := v.lookup(id); key != nil && fresh {
		return nil
	}
	v.mu.Lock()
	now := v.opts.Now()
	if !v.tried.IsZero() && now.Sub(v.tried) < v.opts.MinInterval {
		known := !v.keys.readAt.IsZero()
		v.mu.Unlock()
		if known {
			return nil
		}
		return errors.New("tried a moment ago without success")
	}
	v.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	keys, err := v.read(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tried = v.opts.Now()
	if err != nil {
		return err
	}
	v.keys = keys
	return nil
}

func (v *JWKSVerifier) read(ctx context.Context) (keySet, error) {
	out := keySet{issuer: v.opts.Issuer, readAt: v.opts.Now()}
	raw, err := v.opts.Client.Get().AbsPath(jwksPath).Do(ctx).Raw()
	if err != nil {
		return out, fmt.Errorf("get %s: %w", jwksPath, err)
	}
	if err := json.Unmarshal(raw, &out.JSONWebKeySet); err != nil {
		return out, fmt.Errorf("decode %s: %w", jwksPath, err)
	}
	if out.issuer != "" {
		return out, nil
	}
	raw, err = v.opts.Client.Get().AbsPath(discoveryPath).Do(ctx).Raw()
	if err != nil {
		return out, fmt.Errorf("get %s: %w", discoveryPath, err)
	}
	var discovery struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(raw, &discovery); err != nil {
		return out, fmt.Errorf("decode %s: %w", discoveryPath, err)
	}
	if discovery.Issuer == "" {
		return out, fmt.Errorf("%s names no issuer", discoveryPath)
	}
	out.issuer = discovery.Issuer
	return out, nil
}
