// Package seal carries passwords between agents through an operator that cannot read them: NaCl anonymous boxes to a key
// pair that is born in an agent's memory and never leaves it.
package seal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/crypto/nacl/box"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// keySize is the size of a NaCl box key.
const keySize = 32

// ErrNotForUs is returned for a box that this agent's key does not open.
var ErrNotForUs = errors.New("the credential was not sealed to this agent's key")

// Opener holds an agent's key pair.
type Opener struct {
	public, private *[keySize]byte
}

// NewOpener makes a key pair.
func NewOpener() (*Opener, error) {
	public, private, err := box.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a sealing key: %w", err)
	}
	return &Opener{public: public, private: private}, nil
}

// Public returns the key that others seal to.
func (o *Opener) Public() []byte { return o.public[:] }

// Open returns the sealed password.
func (o *Opener) Open(s instance.Sealed) (string, error) {
	password, ok := box.OpenAnonymous(nil, s.Box, o.public, o.private)
	if !ok {
		return "", fmt.Errorf("open the credential of epoch %d for %s: %w", s.Epoch, s.Account, ErrNotForUs)
	}
	return string(password), nil
}

// Seal closes password to key.
func Seal(epoch uint64, account, password string, key []byte) (instance.Sealed, error) {
	if len(key) != keySize {
		return instance.Sealed{}, fmt.Errorf("seal the credential of %s: the key has %d bytes, not %d", account, len(key), keySize)
	}
	sealed, err := box.SealAnonymous(nil, []byte(password), (*[keySize]byte)(key), rand.Reader)
	if err != nil {
		return instance.Sealed{}, fmt.Errorf("seal the credential of %s: %w", account, err)
	}
	return instance.Sealed{Epoch: epoch, Account: account, Key: key, Box: sealed}, nil
}

// Fingerprint names a sealed credential without saying anything about it.
func Fingerprint(s instance.Sealed) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d %q %x", s.Epoch, s.Account, s.Box)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Password returns a fresh random password of at most 32 characters, the most that a replication channel can hold.
func Password() string { return rand.Text() }
