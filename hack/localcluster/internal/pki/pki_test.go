package pki

import (
	"crypto/x509"
	"os"
	"testing"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
)

func TestEnsureMakesCertificatesThatTheirAuthoritySigned(t *testing.T) {
	dir, s := t.TempDir(), spec.Default()
	if err := Ensure(dir, s); err != nil {
		t.Fatal(err)
	}
	for _, l := range Leaves(s) {
		authority, _, err := load(dir, l.Authority)
		if err != nil {
			t.Fatal(err)
		}
		cert, _, err := load(dir, l.Name)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(authority)
		options := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if len(l.Hosts) > 0 {
			options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}
		if _, err := cert.Verify(options); err != nil {
			t.Errorf("%s: %v", l.Name, err)
		}
		for _, h := range l.Hosts {
			if err := cert.VerifyHostname(h); err != nil {
				t.Errorf("%s: %v", l.Name, err)
			}
		}
		if cert.Subject.CommonName != l.CommonName {
			t.Errorf("%s: common name %s", l.Name, cert.Subject.CommonName)
		}
	}
}

func TestEnsureKeepsWhatIsThereAndMakesWhatAKilledRunDidNot(t *testing.T) {
	dir, s := t.TempDir(), spec.Spec{Nodes: 1}
	if err := Ensure(dir, s); err != nil {
		t.Fatal(err)
	}
	caPath, _ := Paths(dir, CA)
	lost, _ := Paths(dir, Admin)
	before, err := os.ReadFile(caPath)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(dir, s); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(caPath)
	if err != nil || string(after) != string(before) {
		t.Errorf("the authority was made again (%v)", err)
	}
	if _, _, err := load(dir, Admin); err != nil {
		t.Error(err)
	}
}
