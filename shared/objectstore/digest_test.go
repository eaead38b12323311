package objectstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/kapok-operators/kapok/shared/objectstore"
	"github.com/kapok-operators/kapok/shared/objectstore/folder"
)

// lying is a store that does not keep its word.
type lying struct {
	objectstore.Store
	// keep, if set, is what becomes of a body that is put.
	keep func(io.Reader) io.Reader
	// lose makes a put store nothing.
	lose bool
	// answer, if set, is what becomes of the n-th answer to Get.
	answer func(n int, body io.Reader) (io.Reader, error)
	gets   int
}

// Put implements objectstore.Store, after a fashion.
func (l *lying) Put(ctx context.Context, key string, body io.Reader) error {
	if l.lose {
		_, err := io.Copy(io.Discard, body)
		return err
	}
	if l.keep != nil {
		kept := l.keep(body)
		err := l.Store.Put(ctx, key, kept)
		_, rest := io.Copy(io.Discard, body)
		return errors.Join(err, rest)
	}
	return l.Store.Put(ctx, key, body)
}

// Get implements objectstore.Store, after a fashion.
func (l *lying) Get(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	body, err := l.Store.Get(ctx, key, offset)
	if err != nil || l.answer == nil {
		return body, err
	}
	l.gets++
	said, err := l.answer(l.gets, body)
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{said, body}, nil
}

// store returns an honest store.
func store(t *testing.T) objectstore.Store {
	t.Helper()
	s, err := folder.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSavedIsWhatIsRead(t *testing.T) {
	for _, size := range []int{0, 1, 100_000} {
		s := store(t)
		content := bytes.Repeat([]byte("x"), size)
		digest, err := objectstore.Save(t.Context(), s, "a", bytes.NewReader(content))
		if err != nil || digest.Size != int64(size) {
			t.Fatalf("save: %+v, %v", digest, err)
		}
		body := objectstore.Open(t.Context(), s, "a", digest)
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d of %d bytes, %v", len(got), size, err)
		}
		if _, err := body.Read(make([]byte, 1)); err == nil {
			t.Error("a closed reader can be read")
		}
	}
}

func TestAStoreThatLosesIsNotBelieved(t *testing.T) {
	for name, s := range map[string]*lying{
		"everything":  {lose: true},
		"the end":     {keep: func(r io.Reader) io.Reader { return io.LimitReader(r, 4) }},
		"and invents": {keep: func(r io.Reader) io.Reader { return io.MultiReader(r, strings.NewReader("!")) }},
	} {
		t.Run(name, func(t *testing.T) {
			s.Store = store(t)
			if _, err := objectstore.Save(t.Context(), s, "a", strings.NewReader("hello")); !errors.Is(err, objectstore.ErrCorrupt) {
				t.Errorf("save: %v", err)
			}
		})
	}
}

func TestWhatCannotBeStoredIsNotReportedStored(t *testing.T) {
	broke := errors.New("the source broke")
	digest, err := objectstore.Save(t.Context(), store(t), "a", iotest.ErrReader(broke))
	if !errors.Is(err, broke) || digest != (objectstore.Digest{}) {
		t.Errorf("save: %+v, %v", digest, err)
	}
}

func TestAnswersThatBreakOffAreContinued(t *testing.T) {
	reset := errors.New("connection reset")
	random := rand.New(rand.NewPCG(1, 2))
	for name, answer := range map[string]func(int, io.Reader) (io.Reader, error){
		"at random, silently": func(_ int, body io.Reader) (io.Reader, error) {
			return io.LimitReader(body, 1+random.Int64N(3000)), nil
		},
		"at random, with an error": func(n int, body io.Reader) (io.Reader, error) {
			if n%4 == 0 {
				return body, nil
			}
			return io.MultiReader(io.LimitReader(body, random.Int64N(3000)), iotest.ErrReader(reset)), nil
		},
		"before they begin": func(n int, body io.Reader) (io.Reader, error) {
			if n%5 != 0 {
				return nil, reset
			}
			return io.LimitReader(body, 9999), nil
		},
		"with the last bytes": func(_ int, body io.Reader) (io.Reader, error) { return iotest.DataErrReader(body), nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &lying{Store: store(t), answer: answer}
				content := strings.Repeat("0123456789", 2000)
				digest, err := objectstore.Save(t.Context(), s, "a", strings.NewReader(content))
				if err != nil {
					t.Fatal(err)
				}
				body := objectstore.Open(t.Context(), s, "a", digest)
				got, err := io.ReadAll(body)
				if err := errors.Join(err, body.Close()); err != nil || string(got) != content {
					t.Errorf("%d of %d bytes, %v", len(got), len(content), err)
				}
			})
		})
	}
}

func TestWhatIsNotWhatWasWrittenIsNeverReadToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store(t)
		digest, err := objectstore.Save(t.Context(), s, "a", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		for _, instead := range []string{"", "hell", "hellO", "hello!", "hello hello"} {
			if err := s.Put(t.Context(), "a", strings.NewReader(instead)); err != nil {
				t.Fatal(err)
			}
			body := objectstore.Open(t.Context(), s, "a", digest)
			_, err := io.ReadAll(body)
			if !errors.Is(err, objectstore.ErrCorrupt) {
				t.Errorf("%q in place of hello: %v", instead, err)
			}
			if _, again := body.Read(make([]byte, 1)); !errors.Is(again, objectstore.ErrCorrupt) {
				t.Errorf("reading on: %v", again)
			}
			if err := body.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAReaderGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &lying{Store: store(t)}
		digest, err := objectstore.Save(t.Context(), s, "a", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		reset := errors.New("connection reset")
		s.answer = func(int, io.Reader) (io.Reader, error) { return nil, reset }
		began := time.Now()
		if _, err := io.ReadAll(objectstore.Open(t.Context(), s, "a", digest)); !errors.Is(err, reset) {
			t.Errorf("read: %v", err)
		}
		// 200 + 400 + 800 + 1600 ms lie between five attempts.
		if took := time.Since(began); s.gets != 5 || took != 3*time.Second {
			t.Errorf("it gave up after %d attempts and %s", s.gets, took)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if _, err := io.ReadAll(objectstore.Open(ctx, s, "a", digest)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("it went on for %s after its context had a second", took)
		}
	})
}

func TestWhatWillNotPassIsNotTriedAgain(t *testing.T) {
	s := &lying{Store: store(t)}
	digest, err := objectstore.Save(t.Context(), s, "a", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []error{objectstore.ErrNotFound, objectstore.ErrDenied, objectstore.ErrAbsent} {
		s.gets = 0
		s.answer = func(int, io.Reader) (io.Reader, error) { return nil, fmt.Errorf("the store says: %w", reason) }
		if _, err := io.ReadAll(objectstore.Open(t.Context(), s, "a", digest)); !errors.Is(err, reason) || s.gets != 1 {
			t.Errorf("%d attempts, then %v", s.gets, err)
		}
	}
}
