// Package storetest holds every kind of object store to the same contract, so that what was tried on one holds on the others.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/shared/objectstore"
)

// Run tries the contract of objectstore.Store. Each call of fresh returns an empty store.
func Run(t *testing.T, fresh func(t *testing.T) objectstore.Store) {
	t.Helper()
	for name, try := range map[string]func(*testing.T, objectstore.Store){
		"what is put is there":                        isThere,
		"a put replaces as a whole":                   replaces,
		"a put that fails leaves nothing":             failsWithoutTrace,
		"a put that is cancelled leaves nothing":      cancelled,
		"reading begins where it is asked to":         fromAnOffset,
		"what is not there is said so":                notFound,
		"names are listed in order and by prefix":     listed,
		"names that cannot be names change nothing":   invalidNames,
		"deleting twice is no error":                  deleted,
		"writers of one name leave one whole object":  concurrent,
		"an object that is larger than a part is one": large,
	} {
		t.Run(name, func(t *testing.T) { try(t, fresh(t)) })
	}
}

// put stores a text.
func put(t *testing.T, s objectstore.Store, key, text string) {
	t.Helper()
	if err := s.Put(t.Context(), key, strings.NewReader(text)); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// get returns the text of an object from an offset on.
func get(t *testing.T, s objectstore.Store, key string, offset int64) string {
	t.Helper()
	body, err := s.Get(t.Context(), key, offset)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	text, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return string(text)
}

// keys lists names.
func keys(t *testing.T, s objectstore.Store, prefix string) []string {
	t.Helper()
	var found []string
	for info, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("list %q: %v", prefix, err)
		}
		found = append(found, info.Key)
	}
	return found
}

func isThere(t *testing.T, s objectstore.Store) {
	put(t, s, "shop/full/1", "hello")
	put(t, s, "empty", "")
	if got := get(t, s, "shop/full/1", 0); got != "hello" {
		t.Errorf("got %q", got)
	}
	if got := get(t, s, "empty", 0); got != "" {
		t.Errorf("the empty object holds %q", got)
	}
	info, err := s.Stat(t.Context(), "shop/full/1")
	if err != nil || info.Key != "shop/full/1" || info.Size != 5 || info.Modified.IsZero() {
		t.Errorf("stat: %+v, %v", info, err)
	}
}

func replaces(t *testing.T, s objectstore.Store) {
	put(t, s, "a", "a long first text")
	put(t, s, "a", "short")
	if got := get(t, s, "a", 0); got != "short" {
		t.Errorf("got %q", got)
	}
}

// broken yields some bytes and then fails.
type broken struct {
	left int
	err  error
	then func()
}

// Read implements io.Reader.
func (b *broken) Read(p []byte) (int, error) {
	if b.left == 0 {
		if b.then != nil {
			b.then()
		}
		return 0, b.err
	}
	n := min(len(p), b.left)
	b.left -= n
	return n, nil
}

func failsWithoutTrace(t *testing.T, s objectstore.Store) {
	put(t, s, "kept", "as it was")
	source := errors.New("the source broke")
	for _, size := range []int{0, 10, 7 << 20} {
		for _, key := range []string{"kept", fmt.Sprintf("new/%d", size)} {
			if err := s.Put(t.Context(), key, &broken{left: size, err: source}); !errors.Is(err, source) {
				t.Errorf("put of %d bytes that then break: %v", size, err)
			}
		}
	}
	if diff := cmp.Diff([]string{"kept"}, keys(t, s, "")); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if got := get(t, s, "kept", 0); got != "as it was" {
		t.Errorf("the older object is %q", got)
	}
}

func cancelled(t *testing.T, s objectstore.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := s.Put(ctx, "a", io.MultiReader(&broken{left: 7 << 20, err: io.EOF, then: cancel}, strings.NewReader("the rest")))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if found := keys(t, s, ""); len(found) > 0 {
		t.Errorf("there is %v", found)
	}
}

func fromAnOffset(t *testing.T, s objectstore.Store) {
	put(t, s, "a", "0123456789")
	for offset, want := range map[int64]string{0: "0123456789", 1: "123456789", 9: "9", 10: "", 11: ""} {
		if got := get(t, s, "a", offset); got != want {
			t.Errorf("from %d: %q, want %q", offset, got, want)
		}
	}
}

func notFound(t *testing.T, s objectstore.Store) {
	put(t, s, "a/b", "")
	for _, key := range []string{"b", "a", "a/b/c"} {
		if _, err := s.Get(t.Context(), key, 0); !errors.Is(err, objectstore.ErrNotFound) {
			t.Errorf("get %s: %v", key, err)
		}
		if _, err := s.Stat(t.Context(), key); !errors.Is(err, objectstore.ErrNotFound) {
			t.Errorf("stat %s: %v", key, err)
		}
	}
}

func listed(t *testing.T, s objectstore.Store) {
	names := []string{"a-b", "a/b", "a/c/1", "a/c/2", "ab", "b/1"}
	for _, key := range slices.Backward(names) {
		put(t, s, key, key)
	}
	for prefix, want := range map[string][]string{
		"": names, "a": names[:5], "a/": names[1:4], "a/c": names[2:4], "a/c/": names[2:4], "a/c/2": {"a/c/2"}, "x/": nil, "a/b/": nil,
	} {
		if diff := cmp.Diff(want, keys(t, s, prefix)); diff != "" {
			t.Errorf("below %q (-want +got):\n%s", prefix, diff)
		}
	}
	for info, err := range s.List(t.Context(), "a/c/") {
		if err != nil || info.Size != 5 {
			t.Errorf("listed %+v, %v", info, err)
		}
		break // Whoever has seen enough may stop.
	}
}

func invalidNames(t *testing.T, s objectstore.Store) {
	put(t, s, "a", "")
	for _, key := range []string{"", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", ".hidden", "a\\b", "a\nb", "\xff", strings.Repeat("a", 1025)} {
		if err := s.Put(t.Context(), key, strings.NewReader("")); !errors.Is(err, objectstore.ErrInvalidKey) {
			t.Errorf("put %q: %v", key, err)
		}
		if _, err := s.Get(t.Context(), key, 0); !errors.Is(err, objectstore.ErrInvalidKey) {
			t.Errorf("get %q: %v", key, err)
		}
		if _, err := s.Stat(t.Context(), key); !errors.Is(err, objectstore.ErrInvalidKey) {
			t.Errorf("stat %q: %v", key, err)
		}
		if err := s.Delete(t.Context(), key); !errors.Is(err, objectstore.ErrInvalidKey) {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	if diff := cmp.Diff([]string{"a"}, keys(t, s, "")); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

func deleted(t *testing.T, s objectstore.Store) {
	put(t, s, "a/b", "")
	put(t, s, "a/c", "")
	for range 2 {
		if err := s.Delete(t.Context(), "a/b"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if err := s.Delete(t.Context(), "never/there"); err != nil {
		t.Errorf("delete what never was: %v", err)
	}
	if diff := cmp.Diff([]string{"a/c"}, keys(t, s, "")); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	put(t, s, "a/b", "again")
	if got := get(t, s, "a/b", 0); got != "again" {
		t.Errorf("got %q", got)
	}
}

func concurrent(t *testing.T, s objectstore.Store) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := s.Put(t.Context(), "a", bytes.NewReader(bytes.Repeat([]byte{byte('a' + i)}, 100_000))); err != nil {
				t.Errorf("put: %v", err)
			}
		})
	}
	wg.Wait()
	got := get(t, s, "a", 0)
	if len(got) != 100_000 || strings.Trim(got, got[:1]) != "" {
		t.Errorf("the object is a mixture, or has not the length of any: %d bytes", len(got))
	}
}

func large(t *testing.T, s objectstore.Store) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 2<<20) // 32 MiB
	if err := s.Put(t.Context(), "a", bytes.NewReader(content)); err != nil {
		t.Fatalf("put: %v", err)
	}
	if got := get(t, s, "a", 1); got != string(content[1:]) {
		t.Errorf("%d bytes came back, and not those that were put", len(got))
	}
}
