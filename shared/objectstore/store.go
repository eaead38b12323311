package objectstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
	"unicode/utf8"
)

// What a store can answer besides success. Everything else is a failure that may pass, and may be tried again.
var (
	// ErrNotFound says that there is no object of that name.
	ErrNotFound = errors.New("no such object")
	// ErrDenied says that the store does not accept the credentials, or that they do not allow what was asked.
	ErrDenied = errors.New("access denied")
	// ErrAbsent says that the bucket or folder itself does not exist. Nobody makes it: a name that is wrong would be kept in
	// a place that nobody looks at.
	ErrAbsent = errors.New("the bucket or folder does not exist")
	// ErrFull says that there is no room for the object.
	ErrFull = errors.New("no space left")
	// ErrInvalidKey says that a name cannot be that of an object.
	ErrInvalidKey = errors.New("invalid name of an object")
)

// maxKey is the length of the longest name in bytes, that of S3.
const maxKey = 1024

// Info is what a store says of an object.
type Info struct {
	// Key is the object's name.
	Key string
	// Size is its length in bytes.
	Size int64
	// Modified is when it was written, by the clock of the store.
	Modified time.Time
}

// Store keeps objects. Names are parts joined by slashes (ValidKey). Its methods may be called side by side. Their errors wrap
// those of this package where one fits.
type Store interface {
	// Put stores what body yields until its end, in place of an older object of that name. When body or the store fails,
	// or ctx ends, no part of it is seen, and an older object stays.
	Put(ctx context.Context, key string, body io.Reader) error
	// Get returns the object from an offset on, in bytes. One at or behind the end yields nothing. The caller closes it.
	Get(ctx context.Context, key string, offset int64) (io.ReadCloser, error)
	// Stat says what is stored under a name.
	Stat(ctx context.Context, key string) (Info, error)
	// List yields the objects whose names begin with prefix, in the order of their names, byte by byte. It ends at the first error,
	// which it yields: what came before is no complete list.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
	// Delete removes an object. One that is not there is no error.
	Delete(ctx context.Context, key string) error
}

// ValidKey returns an error that wraps ErrInvalidKey and says why, unless key can name an object in every kind of store: parts
// joined by single slashes, none of them empty, "." or "..", or beginning with a dot, of printable UTF-8, 1024 bytes at the most.
func ValidKey(key string) error {
	refuse := func(why string) error { return fmt.Errorf("%w: %q %s", ErrInvalidKey, key, why) }
	switch {
	case key == "":
		return refuse("is empty")
	case len(key) > maxKey:
		return fmt.Errorf("%w: it has %d bytes, and %d are allowed", ErrInvalidKey, len(key), maxKey)
	case !utf8.ValidString(key):
		return refuse("is not UTF-8")
	case strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return refuse("has a control character or a backslash")
	}
	for part := range strings.SplitSeq(key, "/") {
		switch {
		case part == "":
			return refuse("has an empty part")
		case part[0] == '.':
			return refuse("has a part that begins with a dot")
		}
	}
	return nil
}
