package seal

import (
	"bytes"
	"errors"
	"testing"
)

func TestOnlyTheAddresseeOpens(t *testing.T) {
	mine, err := NewOpener()
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewOpener()
	if err != nil {
		t.Fatal(err)
	}
	password := Password()
	if len(password) < 20 || len(password) > 32 {
		t.Fatalf("a password of %d characters", len(password))
	}
	s, err := Seal(3, "kapok_peer_1", password, mine.Public())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(s.Box, []byte(password)) {
		t.Fatal("the password is readable")
	}
	if got, err := mine.Open(s); err != nil || got != password {
		t.Fatalf("Open = %q, %v", got, err)
	}
	if _, err := other.Open(s); !errors.Is(err, ErrNotForUs) {
		t.Fatalf("another agent opened it: %v", err)
	}
}

func TestFingerprintTellsCredentialsApart(t *testing.T) {
	o, err := NewOpener()
	if err != nil {
		t.Fatal(err)
	}
	a, errA := Seal(3, "kapok_peer_1", "x", o.Public())
	b, errB := Seal(3, "kapok_peer_1", "x", o.Public())
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	again := a
	if Fingerprint(a) != Fingerprint(again) || Fingerprint(a) == Fingerprint(b) {
		t.Error("fingerprints do not follow the sealed box")
	}
}

func TestSealRefusesABadKey(t *testing.T) {
	if _, err := Seal(1, "a", "p", []byte("short")); err == nil {
		t.Error("a short key was accepted")
	}
}
