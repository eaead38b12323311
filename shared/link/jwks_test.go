package link

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func TestVerifyGoodToken(t *testing.T) {
	i := newIssuer(t)
	id, err := i.verifier(t, nil).Verify(t.Context(), i.sign(t, i.claims("shop-0", "uid-0")))
	if err != nil {
		t.Fatal(err)
	}
	if id.Key() != (PeerKey{Namespace: "shop", Pod: "shop-0", UID: "uid-0"}) || id.ServiceAccount != "agent" {
		t.Errorf("unexpected identity %+v", id)
	}
	if left := time.Until(id.Expiry); left < 50*time.Minute || left > time.Hour {
		t.Errorf("expiry is %s away, want about an hour", left)
	}
}

func TestVerifyRefuses(t *testing.T) {
	i := newIssuer(t)
	v := i.verifier(t, nil)
	spoiled := func(change func(claims map[string]any)) string {
		claims := i.claims("shop-0", "uid-0")
		change(claims)
		return i.sign(t, claims)
	}
	other := newIssuer(t)
	other.url = i.url // Same issuer and key name, but another key.
	good := i.sign(t, i.claims("shop-0", "uid-0"))
	tests := map[string]struct{ token, reason string }{
		"a token for another audience": {spoiled(func(c map[string]any) { c["aud"] = []string{"https://kubernetes.default.svc"} }), "audience"},
		"a token without an audience":  {spoiled(func(c map[string]any) { delete(c, "aud") }), "audience"},
		"an expired token":             {spoiled(func(c map[string]any) { c["exp"] = time.Now().Add(-time.Second).Unix() }), "expired"},
		"a token that never expires":   {spoiled(func(c map[string]any) { delete(c, "exp") }), "never expires"},
		"a token of the future":        {spoiled(func(c map[string]any) { c["nbf"] = time.Now().Add(time.Hour).Unix() }), "not valid yet"},
		"another issuer's token":       {spoiled(func(c map[string]any) { c["iss"] = "https://elsewhere" }), "issued by"},
		"a token that no pod is bound to": {spoiled(func(c map[string]any) {
			delete(c["kubernetes.io"].(map[string]any), "pod")
		}), "not bound to a pod"},
		"a token signed with a foreign key of the same name": {other.sign(t, i.claims("shop-0", "uid-0")), "signature"},
		"a token signed symmetrically": {signWith(t, jose.SigningKey{
			Algorithm: jose.HS256,
			Key:       jose.JSONWebKey{Key: []byte(strings.Repeat("k", 32)), KeyID: "key-1"},
		}, i.claims("shop-0", "uid-0")), "not a signed token"},
		"a token with a changed payload": {good[:len(good)/2] + "A" + good[len(good)/2+1:], ""},
		"a token without a key name": {signWith(t, jose.SigningKey{
			Algorithm: jose.ES256, Key: i.keys[0].Key,
		}, i.claims("shop-0", "uid-0")), "name its key"},
		"a token beyond all bounds": {strings.Repeat("x", maxToken+1), "long"},
		"nonsense":                  {"nonsense", "not a signed token"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), test.token)
			if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("got %v, want an untrusted token because of %q", err, test.reason)
			}
		})
	}
}

// clock is a hand-moved clock.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

func TestVerifierReadsKeysAgainForANewKey(t *testing.T) {
	i := newIssuer(t)
	var c clock
	v := i.verifier(t, func(o *JWKSOptions) { o.Now = c.now })
	if _, err := v.Verify(t.Context(), i.sign(t, i.claims("shop-0", "u"))); err != nil {
		t.Fatal(err)
	}
	i.addKey(t, "key-2")
	token := i.sign(t, i.claims("shop-0", "u"))
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrUntrusted) {
		t.Fatalf("within the least interval: got %v, want untrusted without another read", err)
	}
	for range 50 {
		_, _ = v.Verify(t.Context(), token)
	}
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("an unknown key within the least interval caused %d reads, want 1 in all", n)
	}
	c.advance(6 * time.Second)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatalf("after the least interval: %v", err)
	}
}

func TestVerifierWorksWhileTheAPIServerIsAway(t *testing.T) {
	i := newIssuer(t)
	var c clock
	v := i.verifier(t, func(o *JWKSOptions) { o.Now = c.now })
	token := i.sign(t, i.claims("shop-0", "u"))
	i.down.Store(true)
	if _, err := v.Verify(t.Context(), token); err == nil || errors.Is(err, ErrUntrusted) {
		t.Fatalf("without any key: got %v, want an error that does not blame the token", err)
	}
	c.advance(6 * time.Second)
	i.down.Store(false)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	i.down.Store(true)
	c.advance(30 * time.Minute) // The keys are old now; the token is not.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := v.Verify(ctx, token); err != nil {
		t.Errorf("with old keys: %v", err)
	}
}

func TestVerifierForgetsARevokedKey(t *testing.T) {
	i := newIssuer(t)
	var c clock
	v := i.verifier(t, func(o *JWKSOptions) { o.Now = c.now })
	token := i.sign(t, i.claims("shop-0", "u"))
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	i.keys = nil
	i.mu.Unlock()
	c.advance(6 * time.Minute)
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := v.Verify(t.Context(), token)
		if errors.Is(err, ErrUntrusted) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the revoked key is still trusted: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
