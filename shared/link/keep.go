package link

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/kapok-operators/kapok/shared/agent"
)

const (
	// authorityFile holds the authorities of a replica with their keys.
	authorityFile = "authority.pem"
	pemPrivateKey = "PRIVATE KEY"
)

// recall takes over the authorities that an earlier process of the same replica kept. What does not belong to this
// replica, does not fit together or has expired is passed over: a new authority is always a way out.
func (a *Authority) recall() error {
	if a.opts.Folder == "" {
		return nil
	}
	raw, err := os.ReadFile(filepath.Join(a.opts.Folder, authorityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the link authority that was kept: %w", err)
	}
	now := a.opts.Now()
	for {
		var first, second *pem.Block
		if first, raw = pem.Decode(raw); first == nil {
			return nil
		}
		if second, raw = pem.Decode(raw); second == nil {
			return nil
		}
		if s := a.restored(first, second); s != nil && now.Before(s.cert.NotAfter) {
			a.cas = append(a.cas, s)
		}
	}
}

// restored makes a signer of what was kept; nil if it is none of this replica's.
func (a *Authority) restored(certificate, private *pem.Block) *signer {
	if certificate.Type != pemCertificate || private.Type != pemPrivateKey {
		return nil
	}
	cert, err := x509.ParseCertificate(certificate.Bytes)
	if err != nil || !cert.IsCA || cert.Subject.CommonName != authorityName(a.opts.Replica) ||
		!slices.Equal(cert.PermittedDNSDomains, []string{a.opts.ServerName}) {
		return nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(private.Bytes)
	if err != nil {
		return nil
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil
	}
	return &signer{cert: cert, key: key, from: cert.NotBefore.Add(backdate)}
}

// keep writes the authorities down for the next process of this replica.
func (a *Authority) keep() error {
	if a.opts.Folder == "" {
		return nil
	}
	var out bytes.Buffer
	for _, ca := range a.cas {
		key, err := x509.MarshalPKCS8PrivateKey(ca.key)
		if err != nil {
			return fmt.Errorf("encode the key of the link authority: %w", err)
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: ca.cert.Raw}))
		out.Write(pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: key}))
	}
	if err := agent.WriteFileAtomic(filepath.Join(a.opts.Folder, authorityFile), out.Bytes(), 0o600); err != nil {
		return fmt.Errorf("keep the link authority for a restart: %w", err)
	}
	return nil
}
