package link

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"testing"
	"time"
)

func newAuthority(t testing.TB, c *clock, replica string) *Authority {
	t.Helper()
	opts := AuthorityOptions{Replica: replica}
	if c != nil {
		opts.Now = c.now
	}
	a, err := NewAuthority(opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func caPEM(t testing.TB, a *Authority) []byte {
	t.Helper()
	out, err := a.CAPEM()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// served returns the leaf that a client would get now.
func served(t testing.TB, a *Authority) *x509.Certificate {
	t.Helper()
	cert, err := a.certificate()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func verifies(leaf *x509.Certificate, bundle []byte, at time.Time) error {
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: poolOf(bundle), DNSName: DefaultServerName, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

func TestExpiryIsThatOfWhatIsServed(t *testing.T) {
	var c clock
	a := newAuthority(t, &c, "op-0")
	first := served(t, a).NotAfter
	for range 40 {
		leaf, authority, err := a.Expiry()
		if err != nil {
			t.Fatal(err)
		}
		if got := served(t, a); !leaf.Equal(got.NotAfter) || !leaf.After(c.now()) || authority.Before(leaf) {
			t.Errorf("at %s the leaf ends at %s, want %s; its authority at %s", c.now(), leaf, got.NotAfter, authority)
		}
		c.advance(20 * time.Hour)
	}
	if !served(t, a).NotAfter.After(first) {
		t.Error("the leaf was never renewed, so that nothing was seen to move")
	}
}

func TestLeafIsRenewedAtTwoThirds(t *testing.T) {
	var c clock
	a := newAuthority(t, &c, "op-0")
	first := served(t, a)
	c.advance(DefaultLeafLifetime*2/3 - time.Minute)
	if !served(t, a).Equal(first) {
		t.Error("the leaf was renewed before two thirds of its life")
	}
	c.advance(2 * time.Minute)
	second := served(t, a)
	if second.Equal(first) {
		t.Error("the leaf was not renewed after two thirds of its life")
	}
	if err := verifies(second, caPEM(t, a), c.now()); err != nil {
		t.Error(err)
	}
}

// An agent that has read the bundle at any time in the last day must always be
// able to connect, through years of rotations.
func TestAuthorityRotatesWithoutAGap(t *testing.T) {
	var c clock
	a := newAuthority(t, &c, "op-0")
	type reading struct {
		at     time.Time
		bundle []byte
	}
	readings := []reading{{c.now(), caPEM(t, a)}}
	authorities := map[string]bool{}
	const step = 5 * time.Hour
	for range 365 * 24 / 5 {
		c.advance(step)
		leaf := served(t, a)
		authorities[string(leaf.AuthorityKeyId)+leaf.Issuer.String()] = true
		for _, r := range readings {
			if err := verifies(leaf, r.bundle, c.now()); err != nil {
				t.Fatalf("with the bundle of %s before: %v", c.now().Sub(r.at), err)
			}
		}
		readings = append(readings, reading{c.now(), caPEM(t, a)})
		for c.now().Sub(readings[0].at) > 19*time.Hour {
			readings = readings[1:]
		}
		if n := len(ParseBundle(caPEM(t, a))); n < 1 || n > 2 {
			t.Fatalf("%d authorities published, want one or two", n)
		}
	}
	if len(authorities) < 12 {
		t.Errorf("only %d authorities signed in a year; the authority did not rotate", len(authorities))
	}
}

func TestAuthorityCertifiesItsNameOnly(t *testing.T) {
	a := newAuthority(t, nil, "op-0")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := a.cas[0]
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"kubernetes.default.svc"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: poolOf(caPEM(t, a)), DNSName: "kubernetes.default.svc"})
	if err == nil {
		t.Error("the authority certifies a name that is not its own")
	}
}

func TestMergeBundles(t *testing.T) {
	var c clock
	a := caPEM(t, newAuthority(t, &c, "op-0"))
	c.advance(time.Hour)
	b := caPEM(t, newAuthority(t, &c, "op-1"))
	now := c.now()

	merged := MergeBundles(now, a, b)
	if n := len(ParseBundle(merged)); n != 2 {
		t.Fatalf("merged %d authorities, want 2", n)
	}
	if ParseBundle(merged)[0].Subject.CommonName != "op-1 link authority" {
		t.Error("the newest authority is not first")
	}
	if !bytes.Equal(merged, MergeBundles(now, b, a, merged, a)) {
		t.Error("order or repetition of the inputs changes the result")
	}
	spoiled := append([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\nrubbish\n"), merged...)
	if !bytes.Equal(merged, MergeBundles(now, spoiled)) {
		t.Error("a bad entry changes the result")
	}
	if got := MergeBundles(now.Add(DefaultCALifetime-30*time.Minute), merged); len(ParseBundle(got)) != 1 {
		t.Error("an expired authority was kept")
	}
	if !BundleExpired(now.Add(DefaultCALifetime), merged) || BundleExpired(now, merged) {
		t.Error("the expiry of a bundle is misjudged")
	}
	var many [][]byte
	for range maxBundle + 5 {
		many = append(many, caPEM(t, newAuthority(t, &c, "op-n")))
	}
	if n := len(ParseBundle(MergeBundles(c.now(), many...))); n != maxBundle {
		t.Errorf("merged %d authorities, want at most %d", n, maxBundle)
	}
}

func TestLeafIsNoAuthority(t *testing.T) {
	a := newAuthority(t, nil, "op-0")
	leaf := encodeBundle([]*x509.Certificate{served(t, a)})
	if len(ParseBundle(leaf)) != 0 {
		t.Error("a leaf certificate was taken into a bundle of authorities")
	}
}
