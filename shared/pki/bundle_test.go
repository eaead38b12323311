package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"testing"
)

func encode(cert *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw}))
}

func TestEdit(t *testing.T) {
	now := at(0, 0)
	mine, next := signer(t, now, nil), signer(t, now, nil)
	theirs := signer(t, now, func(o *SignerOptions) { o.Replica = "operator-2" })
	other := signer(t, now, func(o *SignerOptions) { o.Group = "ns/another" })
	const note = "# the CA of our own PKI, do not remove\n"
	const broken = "-----BEGIN CERTIFICATE-----\nnonsense\n"
	one, two, three, four := encode(mine.Certificate), encode(theirs.Certificate), encode(other.Certificate), encode(next.Certificate)
	for name, tc := range map[string]struct {
		bundle string
		add    []*x509.Certificate
		remove []string
		want   string
	}{
		"into nothing":              {add: []*x509.Certificate{mine.Certificate}, want: one},
		"into a blank":              {bundle: "\n", add: []*x509.Certificate{mine.Certificate}, want: one},
		"beside others":             {bundle: note + three + two, add: []*x509.Certificate{mine.Certificate}, want: note + three + two + one},
		"without an end of line":    {bundle: note + three[:len(three)-1], add: []*x509.Certificate{mine.Certificate}, want: note + three + one},
		"what is there":             {bundle: one + two, add: []*x509.Certificate{mine.Certificate}, want: one + two},
		"switch":                    {bundle: three + note + one + two, add: []*x509.Certificate{next.Certificate}, remove: []string{mine.ID}, want: three + note + two + four},
		"remove the last":           {bundle: one, remove: []string{mine.ID}, want: ""},
		"remove twice":              {bundle: one + two + one, remove: []string{mine.ID}, want: two},
		"what cannot be read stays": {bundle: broken + one + "the end", remove: []string{mine.ID}, want: broken + "the end"},
		"nothing":                   {bundle: note + broken, want: note + broken},
	} {
		if got := string(Edit([]byte(tc.bundle), tc.add, tc.remove)); got != tc.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, tc.want)
		}
	}
	want := []Entry{
		{ID: mine.ID, Replica: "operator-1", NotAfter: mine.NotAfter},
		{ID: other.ID, NotAfter: other.NotAfter},
		{ID: theirs.ID, Replica: "operator-2", NotAfter: theirs.NotAfter},
	}
	if got := Entries([]byte(note+one+broken+three+two), "ns/operator"); !slices.Equal(got, want) {
		t.Errorf("entries %+v, want %+v", got, want)
	}
}

// FuzzEdit: whatever is in a bundle, adding an authority and removing it again
// leaves what was there, and everybody else's authorities.
func FuzzEdit(f *testing.F) {
	now := Moment{Wall: epoch}
	make := func(replica string) *Signer {
		s, err := NewSigner(now, SignerOptions{Group: "g", Replica: replica, DNSNames: []string{"x"}, Life: DefaultAuthorityLife})
		if err != nil {
			f.Fatal(err)
		}
		return s
	}
	mine, theirs := make("mine"), make("theirs")
	pemTheirs := []byte(encode(theirs.Certificate))
	f.Add([]byte(""), []byte("\n"))
	f.Add([]byte("# note\n"), []byte("-----BEGIN CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN X-----\n"), []byte("-----END X-----"))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		bundle := slices.Concat(before, []byte("\n"), pemTheirs, after)
		if joined := Edit(bundle, nil, nil); !bytes.Equal(joined, bundle) {
			t.Fatalf("changed without reason:\n%q\n%q", bundle, joined)
		}
		added := Edit(bundle, []*x509.Certificate{mine.Certificate}, nil)
		if !bytes.HasPrefix(added, bundle) {
			t.Fatalf("did not keep what was there:\n%q\n%q", bundle, added)
		}
		removed := Edit(added, nil, []string{mine.ID})
		if !bytes.HasPrefix(removed, bundle) || len(removed) > len(bundle)+1 {
			t.Fatalf("left something:\n%q\n%q", bundle, removed)
		}
		ids := func(b []byte) (out []string) {
			for _, entry := range Entries(b, "g") {
				out = append(out, entry.ID)
			}
			return out
		}
		if had := slices.Contains(ids(bundle), theirs.ID); had != slices.Contains(ids(added), theirs.ID) {
			t.Fatalf("lost somebody else's authority: %q", added)
		}
		// What the replica reads is what whoever trusts the bundle reads.
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(added)
		leaf, _, err := mine.Issue(now, DefaultLeafLife)
		if err != nil {
			t.Fatal(err)
		}
		_, err = leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now.Wall})
		if slices.Contains(ids(added), mine.ID) != (err == nil) {
			t.Fatalf("entries %v, but a client says %v", ids(added), err)
		}
	})
}
