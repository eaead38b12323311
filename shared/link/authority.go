package link

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// Lifetimes of what an Authority issues.
const (
	DefaultServerName   = "kapok-link"
	DefaultLeafLifetime = 24 * time.Hour
	DefaultCALifetime   = 30 * 24 * time.Hour

	// backdate allows for clocks of agents that are behind.
	backdate = 5 * time.Minute
	// overlap is for how long a new authority is published before a leaf of it
	// is served: far longer than a ConfigMap takes to reach every pod.
	overlap = 24 * time.Hour
)

// AuthorityOptions configures an Authority.
type AuthorityOptions struct {
	// ServerName is the only name that the authority may certify. Agents ask
	// for it whatever address they dial.
	ServerName string
	// Replica is this operator replica's name; it becomes the common name.
	Replica string
	// Folder is where the authority outlives a restart of the container: a
	// volume in memory that ends with the pod. Without one every start makes an
	// authority that nobody trusts until it is published, so that an operator
	// that restarts in a bad network is of no use to its agents for as long.
	Folder string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// LeafLifetime and CALifetime are for tests; zero means the defaults.
	LeafLifetime, CALifetime time.Duration
}

// Authority is the certificate authority of one operator replica. It lives in
// memory only: its key is at most in a volume in memory that ends with the pod
// (AuthorityOptions.Folder), and the leaf's is nowhere else. A replaced replica
// has a new one. The public part is published for agents (Publisher,
// Hub.SetTrust).
//
// The leaf is issued anew when two thirds of its life are spent. The authority
// itself is followed by a new one when two thirds of its own life are spent;
// both are published, and the new one signs only after a day.
type Authority struct {
	opts AuthorityOptions

	mu   sync.Mutex
	cas  []*signer // oldest first, one or two
	leaf *tls.Certificate
	// leafFrom and leafBy say when the leaf was issued and by which signer.
	leafFrom time.Time
	leafBy   *signer
}

type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	from time.Time
}

// NewAuthority makes a new authority and its first leaf.
func NewAuthority(opts AuthorityOptions) (*Authority, error) {
	opts.ServerName = cmp.Or(opts.ServerName, DefaultServerName)
	opts.LeafLifetime = cmp.Or(opts.LeafLifetime, DefaultLeafLifetime)
	opts.CALifetime = cmp.Or(opts.CALifetime, DefaultCALifetime)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Replica == "" {
		return nil, errors.New("make a link authority: the replica's name is missing")
	}
	a := &Authority{opts: opts}
	if err := a.recall(); err != nil {
		return nil, err
	}
	if _, err := a.certificate(); err != nil {
		return nil, err
	}
	if err := a.keep(); err != nil {
		return nil, err
	}
	return a, nil
}

// CAPEM returns what agents must trust to reach this replica, now and after the
// next change of the authority.
func (a *Authority) CAPEM() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.rotate(a.opts.Now()); err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, ca := range a.cas {
		certs = append(certs, ca.cert)
	}
	return encodeBundle(certs), nil
}

// TLSConfig returns the server's side of the link.
func (a *Authority) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.certificate() },
	}
}

// Expiry returns when the certificate that is served now ends to be valid, and
// when the authority does that agents trust it by.
func (a *Authority) Expiry() (leaf, authority time.Time, err error) {
	served, err := a.certificate()
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	cert, err := x509.ParseCertificate(served.Certificate[0])
	if err != nil {
		return time.Time{}, time.Time{}, fmt.Errorf("read back the link certificate: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return cert.NotAfter, a.leafBy.cert.NotAfter, nil
}

// certificate returns the leaf to serve now.
func (a *Authority) certificate() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.opts.Now()
	if err := a.rotate(now); err != nil {
		return nil, err
	}
	ca := a.signerAt(now)
	if a.leaf != nil && a.leafBy == ca && now.Sub(a.leafFrom) < a.opts.LeafLifetime*2/3 {
		return a.leaf, nil
	}
	leaf, err := a.issue(ca, now)
	if err != nil {
		return nil, err
	}
	a.leaf, a.leafFrom, a.leafBy = leaf, now, ca
	return leaf, nil
}

// rotate adds the next authority in time and drops an expired one.
func (a *Authority) rotate(now time.Time) error {
	for len(a.cas) > 0 && !now.Before(a.cas[0].cert.NotAfter) {
		a.cas = a.cas[1:]
	}
	if len(a.cas) > 0 && now.Sub(a.cas[len(a.cas)-1].from) < a.opts.CALifetime*2/3 {
		return nil
	}
	next, err := a.found(now)
	if err != nil {
		return err
	}
	a.cas = append(a.cas, next)
	// Whom it serves matters more than the next start: without a copy that one makes a new authority, as it always may.
	_ = a.keep()
	return nil
}

// signerAt is the newest authority that has been published long enough, else
// the oldest one that is left.
func (a *Authority) signerAt(now time.Time) *signer {
	for i := len(a.cas) - 1; i > 0; i-- {
		if now.Sub(a.cas[i].from) >= min(overlap, a.opts.CALifetime/6) {
			return a.cas[i]
		}
	}
	return a.cas[0]
}

// found makes a new authority that can certify the server name and nothing else.
func (a *Authority) found(now time.Time) (*signer, error) {
	key, serial, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:                serial,
		Subject:                     pkix.Name{CommonName: authorityName(a.opts.Replica)},
		NotBefore:                   now.Add(-backdate),
		NotAfter:                    now.Add(a.opts.CALifetime),
		IsCA:                        true,
		BasicConstraintsValid:       true,
		MaxPathLenZero:              true,
		KeyUsage:                    x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{a.opts.ServerName},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the link authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back the link authority: %w", err)
	}
	return &signer{cert: cert, key: key, from: now}, nil
}

// authorityName is the common name of a replica's authorities.
func authorityName(replica string) string { return replica + " link authority" }

func (a *Authority) issue(ca *signer, now time.Time) (*tls.Certificate, error) {
	key, serial, err := newKey()
	if err != nil {
		return nil, err
	}
	notAfter := now.Add(a.opts.LeafLifetime)
	if notAfter.After(ca.cert.NotAfter) {
		notAfter = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: a.opts.Replica},
		NotBefore:    now.Add(-backdate),
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{a.opts.ServerName},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue the link certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func newKey() (*ecdsa.PrivateKey, *big.Int, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key for the link: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("make a serial number for the link: %w", err)
	}
	return key, serial.Add(serial, big.NewInt(1)), nil
}
