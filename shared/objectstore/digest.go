package objectstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// ErrCorrupt says that what a store returns is not what was written.
var ErrCorrupt = errors.New("the stored object is not what was written")

// Digest is what identifies the content of an object.
type Digest struct {
	// Size is its length in bytes.
	Size int64 `json:"size"`
	// SHA256 is its checksum in lower-case hexadecimal digits.
	SHA256 string `json:"sha256"`
}

// Save stores what body yields and returns what it was. It asks the store afterwards how much it has: one that has another size, or
// nothing, is ErrCorrupt.
func Save(ctx context.Context, store Store, key string, body io.Reader) (Digest, error) {
	sum := sha256.New()
	counted := &counter{in: body}
	if err := store.Put(ctx, key, io.TeeReader(counted, sum)); err != nil {
		return Digest{}, fmt.Errorf("store %s: %w", key, err)
	}
	written := Digest{Size: counted.n, SHA256: hex.EncodeToString(sum.Sum(nil))}
	info, err := store.Stat(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return Digest{}, fmt.Errorf("%w: %s was written and is not there", ErrCorrupt, key)
	case err != nil:
		return Digest{}, fmt.Errorf("look at %s after it was stored: %w", key, err)
	case info.Size != written.Size:
		return Digest{}, fmt.Errorf("%w: %s has %d bytes, and %d were written", ErrCorrupt, key, info.Size, written.Size)
	}
	return written, nil
}

// counter counts what passes through it.
type counter struct {
	in io.Reader
	n  int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.n += int64(n)
	return n, err
}

const (
	// attempts is how often in a row a reader asks again without having got a single byte more.
	attempts = 5
	// firstPause is the pause before it asks for the second time; each further one is twice as long.
	firstPause = 200 * time.Millisecond
)

// Open returns a reader of an object that must be what want says. An answer that breaks off, or ends too early, is continued where it
// ended; after five vain attempts in a row, with growing pauses, the reader gives up. Content that is longer or other is ErrCorrupt in
// place of io.EOF: who has read to io.EOF has read what was written. The reader is good for as long as ctx is.
func Open(ctx context.Context, store Store, key string, want Digest) io.ReadCloser {
	return &reader{
		want: want, key: key, sum: sha256.New(), pause: firstPause,
		get: func(offset int64) (io.ReadCloser, error) { return store.Get(ctx, key, offset) },
		wait: func(d time.Duration) error {
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-timer.C:
				return nil
			}
		},
	}
}

// reader reads one object, with as many requests as it takes.
type reader struct {
	want Digest
	key  string
	get  func(offset int64) (io.ReadCloser, error)
	wait func(time.Duration) error
	sum  hash.Hash

	part   io.ReadCloser
	offset int64
	// brought is what came of the answer under way, in bytes; vain counts the answers in a row that brought nothing.
	brought int64
	vain    int
	pause   time.Duration
	// end is the answer to every further Read.
	end error
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.end != nil || len(p) == 0 {
		return 0, r.end
	}
	for {
		n, err := r.once(p)
		if err != nil {
			r.end = r.judge(err)
		}
		if n > 0 || r.end != nil {
			return n, r.end
		}
	}
}

// once reads a piece of the answer, and asks for one if there is none. Its error is why there is no more in this answer.
func (r *reader) once(p []byte) (int, error) {
	if r.part == nil {
		r.brought = 0
		part, err := r.get(r.offset)
		if err != nil {
			return 0, err
		}
		r.part = part
	}
	n, err := r.part.Read(p)
	r.sum.Write(p[:n])
	r.offset += int64(n)
	r.brought += int64(n)
	if r.offset > r.want.Size {
		return 0, fmt.Errorf("%w: %s is longer than %d bytes", ErrCorrupt, r.key, r.want.Size)
	}
	return n, err
}

// judge says what follows from the end of an answer: nil when the rest is to be asked for.
func (r *reader) judge(err error) error {
	if r.part != nil {
		// What was read is checked by its sum; closing it says nothing more.
		_ = r.part.Close()
		r.part = nil
	}
	switch {
	case errors.Is(err, ErrCorrupt):
		return err
	case errors.Is(err, io.EOF) && r.offset == r.want.Size:
		if sum := hex.EncodeToString(r.sum.Sum(nil)); sum != r.want.SHA256 {
			return fmt.Errorf("%w: the checksum of %s is %s, and %s was written", ErrCorrupt, r.key, sum, r.want.SHA256)
		}
		return io.EOF
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrDenied), errors.Is(err, ErrAbsent):
		return fmt.Errorf("read %s: %w", r.key, err)
	}
	if r.brought > 0 {
		r.vain, r.pause = 0, firstPause
	} else {
		r.vain++
	}
	if r.vain >= attempts {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: %s ends after %d of %d bytes", ErrCorrupt, r.key, r.offset, r.want.Size)
		}
		return fmt.Errorf("read %s, %d attempts in a row: %w", r.key, attempts, err)
	}
	waited := r.wait(r.pause)
	r.pause *= 2
	if waited != nil {
		return fmt.Errorf("read %s: %w", r.key, waited)
	}
	return nil
}

// Close ends reading.
func (r *reader) Close() error {
	r.end = errors.Join(r.end, errors.New("the reader is closed"))
	if r.part == nil {
		return nil
	}
	part := r.part
	r.part = nil
	if err := part.Close(); err != nil {
		return fmt.Errorf("close %s: %w", r.key, err)
	}
	return nil
}
