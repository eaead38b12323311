// Package parcel is how what is backed up is wrapped: compressed with zstd, then encrypted with age if there is a key. The compressor's
// and the cipher's own checks make what was changed on the way an error and not other data.
package parcel

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// window bounds the memory that a parcel takes to be unpacked, in bytes.
const window = 8 << 20

// ErrSealed says that a parcel is encrypted and that none of the keys at hand opens it.
var ErrSealed = errors.New("it is encrypted, and none of the given keys opens it")

// Pack returns a writer that wraps what is written to it into out. With recipients only their keys open it. It must be closed; out stays
// open.
func Pack(out io.Writer, recipients []age.Recipient) (io.WriteCloser, error) {
	p := &packer{}
	if len(recipients) > 0 {
		sealed, err := age.Encrypt(out, recipients...)
		if err != nil {
			return nil, fmt.Errorf("encrypt: %w", err)
		}
		p.sealed, out = sealed, sealed
	}
	var err error
	p.Encoder, err = zstd.NewWriter(out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithEncoderCRC(true),
		zstd.WithZeroFrames(true))
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return p, nil
}

// packer closes the compressor, then the cipher.
type packer struct {
	*zstd.Encoder
	sealed io.Closer
}

// Close ends the parcel.
func (p *packer) Close() error {
	if err := p.Encoder.Close(); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if p.sealed == nil {
		return nil
	}
	if err := p.sealed.Close(); err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	return nil
}

// Unpack returns a reader of what is in a parcel. sealed says whether it is to be encrypted: a parcel that is not what it is to be is an
// error, so that nobody can put a plain one in the place of one that only the owner of the key could have read. Reading to io.EOF has read all of
// it.
func Unpack(in io.Reader, sealed bool, identities []age.Identity) (io.ReadCloser, error) {
	if sealed {
		if len(identities) == 0 {
			return nil, ErrSealed
		}
		opened, err := age.Decrypt(in, identities...)
		if _, none := errors.AsType[*age.NoIdentityMatchError](err); none {
			return nil, ErrSealed
		}
		if err != nil {
			return nil, fmt.Errorf("decrypt: %w", err)
		}
		in = opened
	}
	// To the decompressor nothing at all is a whole stream. A parcel of nothing is more than that.
	whole := bufio.NewReader(in)
	if _, err := whole.Peek(1); err != nil {
		return nil, fmt.Errorf("decompress: %w", errors.Join(io.ErrUnexpectedEOF, err))
	}
	decoder, err := zstd.NewReader(whole, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return decoder.IOReadCloser(), nil
}
