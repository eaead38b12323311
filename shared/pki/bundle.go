package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
)

const pemCertificate = "CERTIFICATE"

// pemBegin opens a block of PEM.
const pemBegin = "-----BEGIN "

// Entries returns the certificates in a bundle of PEM, as Decide wants to know
// them: those that replicas of the group have made carry their name.
func Entries(bundle []byte, group string) []Entry {
	var out []Entry
	for _, part := range split(bundle) {
		if part.cert == nil {
			continue
		}
		entry := Entry{ID: Fingerprint(part.cert), NotAfter: part.cert.NotAfter}
		subject := part.cert.Subject
		if slices.Equal(subject.Organization, []string{marker}) && slices.Equal(subject.OrganizationalUnit, []string{group}) {
			entry.Replica = subject.CommonName
		}
		out = append(out, entry)
	}
	return out
}

// Edit returns a bundle with some certificates added at its end and those of the
// given fingerprints removed. Everything else is kept as it is, byte for byte,
// even what cannot be read: it is somebody's.
func Edit(bundle []byte, add []*x509.Certificate, remove []string) []byte {
	var out bytes.Buffer
	present := map[string]bool{}
	for _, part := range split(bundle) {
		if part.cert != nil {
			id := Fingerprint(part.cert)
			if slices.Contains(remove, id) {
				continue
			}
			present[id] = true
		}
		out.Write(part.raw)
	}
	if len(bytes.TrimSpace(out.Bytes())) == 0 {
		// A blank bundle stands in many manifests, to be filled in.
		out.Reset()
	}
	for _, cert := range add {
		if present[Fingerprint(cert)] {
			continue
		}
		if out.Len() > 0 && !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
			out.WriteByte('\n')
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw}))
	}
	return out.Bytes()
}

// part is a piece of a bundle: a certificate, or anything else.
type part struct {
	raw  []byte
	cert *x509.Certificate
}

// split cuts a bundle into parts that make it up again when joined.
func split(bundle []byte) []part {
	var out []part
	for len(bundle) > 0 {
		block, rest := pem.Decode(bundle)
		if block == nil {
			return append(out, part{raw: bundle})
		}
		raw := bundle[:len(bundle)-len(rest)]
		bundle = rest
		// What stands before the block is no part of it. The block is the last that
		// begins in raw: one that was cut short before it is text to the decoder.
		if at := bytes.LastIndex(raw, []byte(pemBegin)); at > 0 {
			out = append(out, part{raw: raw[:at]})
			raw = raw[at:]
		}
		piece := part{raw: raw}
		if block.Type == pemCertificate {
			if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
				piece.cert = cert
			}
		}
		out = append(out, piece)
	}
	return out
}
