package pki

import (
	"crypto/x509"
	"net"
	"testing"
	"time"
)

func signer(t *testing.T, now Moment, change func(*SignerOptions)) *Signer {
	t.Helper()
	opts := SignerOptions{Group: "ns/operator", Replica: "operator-1", DNSNames: []string{"hooks.ns.svc"}, Life: DefaultAuthorityLife}
	if change != nil {
		change(&opts)
	}
	s, err := NewSigner(now, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// accepts says what a client says that trusts an authority and has the true time.
func accepts(ca *Signer, leaf *x509.Certificate, name string, when time.Time) error {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, CurrentTime: when})
	return err
}

func TestIssue(t *testing.T) {
	now := at(0, 0)
	ca := signer(t, now, nil)
	cert, leaf, err := ca.Issue(now, DefaultLeafLife)
	if err != nil {
		t.Fatal(err)
	}
	if err := accepts(ca, cert.Leaf, "hooks.ns.svc", now.Wall); err != nil {
		t.Error(err)
	}
	if err := accepts(ca, cert.Leaf, "other.ns.svc", now.Wall); err == nil {
		t.Error("good for a name that nobody asked for")
	}
	if leaf.Authority != ca.ID || leaf.Life != DefaultLeafLife || !leaf.NotAfter.Equal(epoch.Add(DefaultLeafLife)) {
		t.Errorf("issued %+v", leaf)
	}
	if ca.ID != Fingerprint(ca.Certificate) || ca.Life != DefaultAuthorityLife {
		t.Errorf("authority %+v", ca.Authority)
	}
	late := at(DefaultAuthorityLife-time.Hour, 0)
	if _, leaf, err = ca.Issue(late, DefaultLeafLife); err != nil || !leaf.NotAfter.Equal(ca.NotAfter) || leaf.Life != time.Hour {
		t.Errorf("at the end of the authority: %+v, %v", leaf, err)
	}
}

// TestClockAhead: what is made while the clock is ahead is good at once to those
// whose clock is right, by however much it was ahead.
func TestClockAhead(t *testing.T) {
	first := signer(t, at(0, 0), nil)
	ahead := at(time.Hour, 1000*24*time.Hour)
	next := signer(t, ahead, func(o *SignerOptions) { o.Since = first.NotBefore })
	cert, _, err := next.Issue(ahead, DefaultLeafLife)
	if err != nil {
		t.Fatal(err)
	}
	if err := accepts(next, cert.Leaf, "hooks.ns.svc", epoch.Add(time.Hour)); err != nil {
		t.Error(err)
	}
	// The very first authority has nothing to follow, and a day to be wrong by.
	if first = signer(t, at(0, 23*time.Hour), nil); epoch.Before(first.NotBefore) {
		t.Errorf("not valid before %s", first.NotBefore)
	}
}

// TestAuthorityIsConstrained: whoever trusts an authority does not trust it with
// more than the names that it is for.
func TestAuthorityIsConstrained(t *testing.T) {
	now := at(0, 0)
	ip := net.IPv4(127, 0, 0, 1)
	for name, tc := range map[string]struct {
		own   func(*SignerOptions)
		forge func(*SignerOptions)
		host  string
	}{
		"another name":                    {forge: func(o *SignerOptions) { o.DNSNames = []string{"kubernetes.default.svc"} }, host: "kubernetes.default.svc"},
		"an address":                      {forge: func(o *SignerOptions) { o.IPs = []net.IP{ip} }, host: "127.0.0.1"},
		"an address of six":               {forge: func(o *SignerOptions) { o.IPs = []net.IP{net.IPv6loopback} }, host: "::1"},
		"another address":                 {own: func(o *SignerOptions) { o.IPs = []net.IP{ip} }, forge: func(o *SignerOptions) { o.IPs = []net.IP{net.IPv4(10, 0, 0, 1)} }, host: "10.0.0.1"},
		"a name of an address' authority": {own: func(o *SignerOptions) { o.DNSNames, o.IPs = nil, []net.IP{ip} }, forge: func(*SignerOptions) {}, host: "hooks.ns.svc"},
	} {
		ca := signer(t, now, tc.own)
		tc.forge(&ca.opts)
		cert, _, err := ca.Issue(now, DefaultLeafLife)
		if err != nil {
			t.Fatal(err)
		}
		if err := accepts(ca, cert.Leaf, tc.host, now.Wall); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	ca := signer(t, now, func(o *SignerOptions) { o.IPs = []net.IP{ip} })
	cert, _, err := ca.Issue(now, DefaultLeafLife)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "hooks.ns.svc"} {
		if err := accepts(ca, cert.Leaf, host, now.Wall); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestSignerNeedsItsNames(t *testing.T) {
	for _, opts := range []SignerOptions{
		{Replica: "a", DNSNames: []string{"x"}, Life: time.Hour},
		{Group: "a", DNSNames: []string{"x"}, Life: time.Hour},
		{Group: "a", Replica: "a", Life: time.Hour},
		{Group: "a", Replica: "a", DNSNames: []string{"x"}},
	} {
		if _, err := NewSigner(at(0, 0), opts); err == nil {
			t.Errorf("%+v is accepted", opts)
		}
	}
}
