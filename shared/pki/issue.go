package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

const (
	// marker is the organization of every authority that is made here.
	marker = "kapok.dev/pki"
	// backdate is how far the clock may be ahead when the first authority is made
	// without harm; later ones are dated like the first.
	backdate = 24 * time.Hour
)

// SignerOptions configures NewSigner.
type SignerOptions struct {
	// Group is the program whose replicas share bundles; Replica is this one.
	// Both are in the certificate's subject, so that others can tell whose it is.
	Group, Replica string
	// DNSNames and IPs are all that the authority may certify, and what each leaf
	// of it is good for. At least one is needed.
	DNSNames []string
	IPs      []net.IP
	// Life is how long it lives from now on.
	Life time.Duration
	// Since dates the certificate further back, to the beginning of the authority
	// before it. Zero: there was none.
	Since time.Time
}

// Signer is an authority with its key, which never leaves it.
type Signer struct {
	// Authority is what Decide knows of it.
	Authority
	// Certificate is public.
	Certificate *x509.Certificate

	opts SignerOptions
	key  *ecdsa.PrivateKey
}

// NewSigner makes an authority (ECDSA P-256) that can certify the given names
// and nothing else.
func NewSigner(now Moment, opts SignerOptions) (*Signer, error) {
	switch {
	case opts.Group == "" || opts.Replica == "":
		return nil, errors.New("make a certificate authority: the group and the replica must be named")
	case len(opts.DNSNames)+len(opts.IPs) == 0:
		return nil, errors.New("make a certificate authority: there is no name to certify")
	case opts.Life <= 0:
		return nil, fmt.Errorf("make a certificate authority: its life (%s) must be positive", opts.Life)
	}
	key, serial, err := newKey()
	if err != nil {
		return nil, err
	}
	since := now.Wall.Add(-backdate)
	if !opts.Since.IsZero() && opts.Since.Before(since) {
		since = opts.Since
	}
	template := &x509.Certificate{
		SerialNumber:                serial,
		Subject:                     pkix.Name{Organization: []string{marker}, OrganizationalUnit: []string{opts.Group}, CommonName: opts.Replica},
		NotBefore:                   since,
		NotAfter:                    now.Wall.Add(opts.Life),
		IsCA:                        true,
		BasicConstraintsValid:       true,
		MaxPathLenZero:              true,
		KeyUsage:                    x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         opts.DNSNames,
	}
	constrain(template, opts)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back the certificate authority: %w", err)
	}
	return &Signer{
		Authority: Authority{
			ID:   Fingerprint(cert),
			Span: Span{NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, Life: opts.Life, Made: now.Uptime},
		},
		Certificate: cert,
		opts:        opts,
		key:         key,
	}, nil
}

// constrain forbids what the options do not name. A kind of name without any
// constraint would be free.
func constrain(template *x509.Certificate, opts SignerOptions) {
	for _, ip := range opts.IPs {
		bits := 8 * len(short(ip))
		template.PermittedIPRanges = append(template.PermittedIPRanges, &net.IPNet{IP: short(ip), Mask: net.CIDRMask(bits, bits)})
	}
	if len(opts.IPs) == 0 {
		template.ExcludedIPRanges = []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		}
	}
	if len(opts.DNSNames) == 0 {
		// The empty domain holds every name.
		template.ExcludedDNSDomains = []string{""}
	}
}

func short(ip net.IP) net.IP {
	if four := ip.To4(); four != nil {
		return four
	}
	return ip
}

// Issue makes a leaf for all names of the authority. It begins with the
// authority, so that it is valid to whoever accepts that, and does not outlive it.
func (s *Signer) Issue(now Moment, life time.Duration) (*tls.Certificate, Leaf, error) {
	key, serial, err := newKey()
	if err != nil {
		return nil, Leaf{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: s.opts.Replica},
		NotBefore:    s.NotBefore,
		NotAfter:     leafEnd(now, s.Authority, life),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     s.opts.DNSNames,
		IPAddresses:  s.opts.IPs,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.Certificate, key.Public(), s.key)
	if err != nil {
		return nil, Leaf{}, fmt.Errorf("issue a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, Leaf{}, fmt.Errorf("read back the certificate: %w", err)
	}
	span := Span{NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, Life: max(0, cert.NotAfter.Sub(now.Wall)), Made: now.Uptime}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}, Leaf{Authority: s.ID, Span: span}, nil
}

// Fingerprint names a certificate: half of its SHA-256 in hexadecimal.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:16])
}

func newKey() (*ecdsa.PrivateKey, *big.Int, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("make a serial number: %w", err)
	}
	return key, serial.Add(serial, big.NewInt(1)), nil
}
