package link

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"
)

// maxBundle bounds the number of authorities that are kept, newest first. An
// operator has a handful of replicas with at most two authorities each.
const maxBundle = 64

const pemCertificate = "CERTIFICATE"

// ParseBundle returns the certificate authorities in a PEM bundle. What is not
// one is skipped, so that one bad entry cannot take the trust in all others
// away.
func ParseBundle(bundle []byte) []*x509.Certificate {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		block, bundle = pem.Decode(bundle)
		if block == nil {
			return out
		}
		if block.Type != pemCertificate {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !cert.IsCA || !cert.BasicConstraintsValid {
			continue
		}
		out = append(out, cert)
	}
}

// MergeBundles returns one PEM bundle with the authorities of all given ones:
// each once, without those expired at now, newest first, at most 64. The result
// depends only on the set of authorities, so that equal inputs in another
// order need no write.
func MergeBundles(now time.Time, bundles ...[]byte) []byte {
	var certs []*x509.Certificate
	for _, b := range bundles {
		for _, cert := range ParseBundle(b) {
			if now.Before(cert.NotAfter) {
				certs = append(certs, cert)
			}
		}
	}
	slices.SortFunc(certs, func(a, b *x509.Certificate) int {
		return cmp.Or(b.NotBefore.Compare(a.NotBefore), bytes.Compare(a.Raw, b.Raw))
	})
	certs = slices.CompactFunc(certs, func(a, b *x509.Certificate) bool { return bytes.Equal(a.Raw, b.Raw) })
	if len(certs) > maxBundle {
		certs = certs[:maxBundle]
	}
	return encodeBundle(certs)
}

// BundleExpired says whether a bundle holds no authority that is valid at now.
func BundleExpired(now time.Time, bundle []byte) bool {
	return len(MergeBundles(now, bundle)) == 0
}

func encodeBundle(certs []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, cert := range certs {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw}))
	}
	return out.Bytes()
}

func poolOf(bundle []byte) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range ParseBundle(bundle) {
		pool.AddCert(cert)
	}
	return pool
}
