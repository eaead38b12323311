package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

const testAudience = "kapok-link"

// issuer plays the API server's part: it signs tokens and publishes its keys.
type issuer struct {
	url     string
	fetches atomic.Int64
	down    atomic.Bool

	mu   sync.Mutex
	keys []jose.JSONWebKey // private
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{}
	i.addKey(t, "key-1")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.down.Load() {
			http.Error(w, "down", http.StatusInternalServerError)
			return
		}
		switch r.URL.Path {
		case jwksPath:
			i.fetches.Add(1)
			i.mu.Lock()
			defer i.mu.Unlock()
			var set jose.JSONWebKeySet
			for _, k := range i.keys {
				set.Keys = append(set.Keys, k.Public())
			}
			_ = json.NewEncoder(w).Encode(set)
		case discoveryPath:
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.url})
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

func (i *issuer) addKey(t testing.TB, id string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"})
}

// claims are those of a good token; tests spoil them.
func (i *issuer) claims(pod, uid string) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": i.url,
		"aud": []string{testAudience},
		"nbf": now.Unix(),
		"exp": now.Add(time.Hour).Unix(),
		"sub": "system:serviceaccount:shop:agent",
		"kubernetes.io": map[string]any{
			"namespace":      "shop",
			"pod":            map[string]any{"name": pod, "uid": uid},
			"serviceaccount": map[string]any{"name": "agent", "uid": "sa-uid"},
		},
	}
}

// sign signs with the newest key.
func (i *issuer) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	i.mu.Lock()
	key := i.keys[len(i.keys)-1]
	i.mu.Unlock()
	return signWith(t, jose.SigningKey{Algorithm: jose.ES256, Key: key}, claims)
}

func signWith(t testing.TB, key jose.SigningKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (i *issuer) verifier(t testing.TB, change func(*JWKSOptions)) *JWKSVerifier {
	t.Helper()
	client, err := rest.UnversionedRESTClientFor(&rest.Config{
		Host:          i.url,
		ContentConfig: rest.ContentConfig{NegotiatedSerializer: scheme.Codecs.WithoutConversion()},
	})
	if err != nil {
		t.Fatal(err)
	}
	opts := JWKSOptions{Client: client, Audience: testAudience}
	if change != nil {
		change(&opts)
	}
	v, err := NewJWKSVerifier(opts)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
