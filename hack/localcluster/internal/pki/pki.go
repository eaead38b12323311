// Package pki makes the cluster's certificates and keys: one authority for everything in the cluster, one for the
// aggregation layer, and the key pair that signs service account tokens.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/store"
)

// lifetime of every certificate: a local cluster is not kept for a year.
const lifetime = 365 * 24 * time.Hour

// Names of the authorities' and key pairs' files, without suffix.
const (
	CA               = "ca"
	FrontProxyCA     = "front-proxy-ca"
	ServiceAccounts  = "service-accounts"
	APIServer        = "apiserver"
	KubeletClient    = "apiserver-kubelet-client"
	FrontProxyClient = "front-proxy-client"
	Admin            = "admin"
)

// Leaf is a certificate to be made.
type Leaf struct {
	// Name is the name of its files, without suffix.
	Name string
	// Authority is the name of the authority that signs it.
	Authority string
	// CommonName and Organization are the user and the group as which the API server knows its holder.
	CommonName, Organization string
	// Hosts are the addresses and names that it serves; empty for a client's certificate.
	Hosts []string
}

// Kubelet returns the name of a node's client certificate.
func Kubelet(node string) string { return "kubelet-" + node }

// KubeletServer returns the name of a node's serving certificate.
func KubeletServer(node string) string { return "kubelet-server-" + node }

// Leaves returns the certificates that a cluster needs.
func Leaves(s spec.Spec) []Leaf {
	leaves := []Leaf{
		{Name: APIServer, Authority: CA, CommonName: "kube-apiserver", Hosts: []string{
			"127.0.0.1", "localhost", spec.ControlPlaneIP, spec.APIServiceIP, spec.ControlPlane,
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + spec.DNSDomain,
		}},
		{Name: KubeletClient, Authority: CA, CommonName: "kube-apiserver-kubelet-client", Organization: "system:masters"},
		{Name: FrontProxyClient, Authority: FrontProxyCA, CommonName: "front-proxy-client"},
		{Name: Admin, Authority: CA, CommonName: "kubernetes-admin", Organization: "system:masters"},
		{Name: "kube-controller-manager", Authority: CA, CommonName: "system:kube-controller-manager"},
		{Name: "kube-scheduler", Authority: CA, CommonName: "system:kube-scheduler"},
		{Name: "kube-proxy", Authority: CA, CommonName: "system:kube-proxy"},
		{Name: "coredns", Authority: CA, CommonName: "system:coredns"},
	}
	for _, n := range s.NodeList() {
		leaves = append(leaves,
			Leaf{Name: Kubelet(n.Name), Authority: CA, CommonName: "system:node:" + n.Name, Organization: "system:nodes"},
			Leaf{Name: KubeletServer(n.Name), Authority: CA, CommonName: n.Name, Hosts: []string{n.Name, n.IP}})
	}
	return leaves
}

// Ensure makes every authority, certificate and key that is not in the folder yet.
func Ensure(dir string, s spec.Spec) error {
	for _, name := range []string{CA, FrontProxyCA} {
		if err := ensureAuthority(dir, name); err != nil {
			return err
		}
	}
	if err := ensureKeyPair(dir, ServiceAccounts); err != nil {
		return err
	}
	for _, l := range Leaves(s) {
		if err := ensureLeaf(dir, l); err != nil {
			return err
		}
	}
	return nil
}

// Paths returns the paths of a certificate and of its key.
func Paths(dir, name string) (certificate, key string) {
	return filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
}

func ensureAuthority(dir, name string) error {
	certPath, keyPath := Paths(dir, name)
	if present(certPath, keyPath) {
		return nil
	}
	template, err := newTemplate(name)
	if err != nil {
		return err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	key, err := newKey()
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("sign authority %s: %w", name, err)
	}
	return write(certPath, keyPath, der, key)
}

func ensureLeaf(dir string, l Leaf) error {
	certPath, keyPath := Paths(dir, l.Name)
	if present(certPath, keyPath) {
		return nil
	}
	authority, authorityKey, err := load(dir, l.Authority)
	if err != nil {
		return err
	}
	template, err := newTemplate(l.CommonName)
	if err != nil {
		return err
	}
	if l.Organization != "" {
		template.Subject.Organization = []string{l.Organization}
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(l.Hosts) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, h := range l.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), authorityKey)
	if err != nil {
		return fmt.Errorf("sign certificate %s: %w", l.Name, err)
	}
	return write(certPath, keyPath, der, key)
}

// ensureKeyPair makes an RSA key: most clusters sign service account tokens with RS256, so that is what programs that
// verify them must be tried with.
func ensureKeyPair(dir, name string) error {
	pubPath, keyPath := filepath.Join(dir, name+".pub"), filepath.Join(dir, name+".key")
	if present(pubPath, keyPath) {
		return nil
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode public key %s: %w", name, err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := store.WriteFile(keyPath, private, 0o600); err != nil {
		return err
	}
	return store.WriteFile(pubPath, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644)
}

func newTemplate(commonName string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("choose serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lifetime),
	}, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// write puts the certificate last: where it is, its key is too.
func write(certPath, keyPath string, der []byte, key *ecdsa.PrivateKey) error {
	if err := writeKey(keyPath, key); err != nil {
		return err
	}
	return store.WriteFile(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	return store.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func load(dir, name string) (*x509.Certificate, crypto.Signer, error) {
	certPath, keyPath := Paths(dir, name)
	certBlock, err := readPEM(certPath)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("parse %s: %w", certPath, err)
	}
	keyBlock, err := readPEM(keyPath)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("parse %s: %w", keyPath, err)
	}
	return cert, key, nil
}

func readPEM(path string) (*pem.Block, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("read %s: no PEM block in it", path)
	}
	return block, nil
}

func present(paths ...string) bool {
	for _, p := range paths {
		if _, err := os.Stat(p); errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}
