package parcel_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/parcel"
)

func key(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func pack(t *testing.T, content []byte, recipients ...age.Recipient) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := parcel.Pack(&out, recipients)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unpack(parcelled []byte, sealed bool, ids ...age.Identity) ([]byte, error) {
	r, err := parcel.Unpack(bytes.NewReader(parcelled), sealed, ids)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

func contents() map[string][]byte {
	random := make([]byte, 300_000)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(random)
	return map[string][]byte{"nothing": {}, "text": bytes.Repeat([]byte("all work and no play "), 50_000), "noise": random}
}

func TestWhatIsPackedIsUnpacked(t *testing.T) {
	a, b := key(t), key(t)
	for name, content := range contents() {
		plain := pack(t, content)
		if got, err := unpack(plain, false); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s, plain: %d of %d bytes, %v", name, len(got), len(content), err)
		}
		sealed := pack(t, content, a.Recipient(), b.Recipient())
		for _, id := range []age.Identity{a, b} {
			if got, err := unpack(sealed, true, key(t), id); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s, sealed: %d of %d bytes, %v", name, len(got), len(content), err)
			}
		}
		if name == "text" && (len(plain) > len(content)/50 || len(sealed) > len(content)/50) {
			t.Errorf("%d bytes of the same become %d and %d", len(content), len(plain), len(sealed))
		}
		if name == "text" && (bytes.Contains(sealed, []byte("no play")) || bytes.Contains(sealed, plain[8:64])) {
			t.Error("what is sealed can be read")
		}
	}
}

func TestOnlyTheKeyOpens(t *testing.T) {
	sealed := pack(t, []byte("hello"), key(t).Recipient())
	for _, ids := range [][]age.Identity{nil, {key(t)}} {
		if got, err := unpack(sealed, true, ids...); !errors.Is(err, parcel.ErrSealed) {
			t.Errorf("it gives %q, %v", got, err)
		}
	}
	id := key(t)
	if got, err := unpack(pack(t, []byte("hello")), true, id); err == nil {
		t.Errorf("a plain one in the place of a sealed one gives %q", got)
	}
	if got, err := unpack(pack(t, []byte("hello"), id.Recipient()), false, id); err == nil {
		t.Errorf("a sealed one in the place of a plain one gives %q", got)
	}
}

func TestNothingThatWasChangedIsUnpacked(t *testing.T) {
	id := key(t)
	for name, content := range contents() {
		for _, sealed := range []bool{false, true} {
			var recipients []age.Recipient
			if sealed {
				recipients = append(recipients, id.Recipient())
			}
			whole := pack(t, content, recipients...)
			step := 1 + len(whole)/97
			for at := 0; at < len(whole); at += step {
				changed := bytes.Clone(whole)
				changed[at] ^= 1
				if got, err := unpack(changed, sealed, id); err == nil && !bytes.Equal(got, content) {
					t.Errorf("%s, sealed %t: byte %d was changed, and that gives %d other bytes", name, sealed, at, len(got))
				}
				if got, err := unpack(whole[:at], sealed, id); err == nil && !bytes.Equal(got, content) {
					t.Errorf("%s, sealed %t: cut at %d it gives %d bytes", name, sealed, at, len(got))
				}
			}
		}
	}
}
