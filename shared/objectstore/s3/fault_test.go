package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kapok-operators/kapok/shared/objectstore"
	"github.com/kapok-operators/kapok/shared/objectstore/s3"
	"github.com/kapok-operators/kapok/shared/testkit/s3server"
)

// fault is what happens to a request; n counts those of its kind, from one. It returns false to let the request pass.
type fault func(n int, w http.ResponseWriter, r *http.Request) bool

// between stands between a client and a server and is not to be relied upon.
type between struct {
	s3.Config
	server *s3server.Server
	pass   *httputil.ReverseProxy

	mu     sync.Mutex
	faults map[string]fault
	seen   map[string]int
}

// kind says what a request is for.
func kind(r *http.Request) string {
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPut && query.Has("partNumber"):
		return "part"
	case r.Method == http.MethodPost && query.Has("uploads"):
		return "begin"
	case r.Method == http.MethodPost:
		return "complete"
	case r.Method == http.MethodDelete && query.Has("uploadId"):
		return "abort"
	case query.Has("list-type"):
		return "list"
	}
	return strings.ToLower(r.Method)
}

// unreliable puts something between a new server and its clients.
func unreliable(t *testing.T) *between {
	t.Helper()
	server := s3server.Start(t)
	target, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	b := &between{server: server, faults: map[string]fault{}, seen: map[string]int{}}
	b.pass = &httputil.ReverseProxy{
		// The host is signed, and stays what the client has called it.
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host },
		// A client that is gone, or is being cut off, is what these tests are about.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	front := httptest.NewServer(b)
	t.Cleanup(front.Close)
	b.Config = config(server, server.Bucket(t))
	b.Endpoint = front.URL
	return b
}

// ServeHTTP implements http.Handler.
func (b *between) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := kind(r)
	b.mu.Lock()
	b.seen[name]++
	n, fault := b.seen[name], b.faults[name]
	b.mu.Unlock()
	if fault == nil || !fault(n, w, r) {
		b.pass.ServeHTTP(w, r)
	}
}

// set says what happens from now on, and begins to count anew.
func (b *between) set(faults map[string]fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults, b.seen = faults, map[string]int{}
}

// count says how many requests of a kind there were.
func (b *between) count(kind string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen[kind]
}

// store returns a store with parts of 5 MiB whose connections may stand still so long.
func (b *between) store(t *testing.T, silence time.Duration) *s3.Store {
	t.Helper()
	s, err := s3.OpenImpatient(b.Config, silence, 100)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// clean checks that the server has these objects and nothing that was begun.
func (b *between) clean(t *testing.T, want ...string) {
	t.Helper()
	out, err := b.server.Client().ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &b.Bucket})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, object := range out.Contents {
		found = append(found, *object.Key)
	}
	if !slices.Equal(found, want) {
		t.Errorf("there is %v, want %v", found, want)
	}
	if left := unfinished(t, b.server, b.Bucket); len(left) > 0 {
		t.Errorf("left unfinished: %v", left)
	}
}

// answer answers with an error.
func answer(status int, code string) fault {
	return func(_ int, w http.ResponseWriter, r *http.Request) bool {
		// Who answers sooner resets the connection, and the answer can be lost.
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>so it is</Message></Error>", code)
		return true
	}
}

// first lets a fault happen to the first requests of a kind only.
func first(times int, f fault) fault {
	return func(n int, w http.ResponseWriter, r *http.Request) bool { return n <= times && f(n, w, r) }
}

// cut ends the connection after a part of the request.
func cut(_ int, _ http.ResponseWriter, r *http.Request) bool {
	// How much of it there was does not matter.
	_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
	panic(http.ErrAbortHandler)
}

// stall takes nothing and says nothing until the client gives up.
func stall(_ int, _ http.ResponseWriter, r *http.Request) bool {
	// Only when the request is read is it noticed that the client has gone.
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// deafen carries a request out and loses the answer.
func (b *between) deafen(_ int, _ http.ResponseWriter, r *http.Request) bool {
	b.pass.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// content returns bytes that are not like each other.
func content(size int) []byte {
	raw := make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	// It does not fail.
	_, _ = random.Read(raw)
	return raw
}

// parts is an object of three parts and a bit.
const parts = 15<<20 + 7

func TestWhatPassesIsTriedAgain(t *testing.T) {
	b := unreliable(t)
	s := b.store(t, time.Minute)
	kinds := []string{"put", "part", "begin", "complete", "get", "head", "list"}
	for name, f := range map[string]fault{
		"too many requests":   answer(http.StatusServiceUnavailable, "SlowDown"),
		"too many, in short":  answer(http.StatusTooManyRequests, "TooManyRequests"),
		"an internal failure": answer(http.StatusInternalServerError, "InternalError"),
		"a damaged body":      answer(http.StatusBadRequest, "BadDigest"),
		"a connection cut":    cut,
		"an answer cut": func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "<?xml ")
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			faults := map[string]fault{}
			for _, k := range kinds {
				faults[k] = first(2, f)
			}
			switch name {
			case "an answer cut":
				// The beginning of a body is handed on, and whoever reads it goes on from there; objectstore.Open does.
				delete(faults, "get")
			case "a damaged body":
				faults = map[string]fault{"put": faults["put"], "part": faults["part"]}
			}
			b.set(faults)
			for key, size := range map[string]int{"small": 10, "large": parts} {
				want := content(size)
				digest, err := objectstore.Save(t.Context(), s, key, bytes.NewReader(want))
				if err != nil {
					t.Fatalf("save %s: %v", key, err)
				}
				got, err := io.ReadAll(objectstore.Open(t.Context(), s, key, digest))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("read %s: %d of %d bytes, %v", key, len(got), size, err)
				}
			}
			for _, err := range s.List(t.Context(), "") {
				if err != nil {
					t.Errorf("list: %v", err)
				}
			}
			for _, k := range kinds {
				if faults[k] != nil && b.count(k) < 3 {
					t.Errorf("%s was asked for %d times", k, b.count(k))
				}
			}
			b.set(nil)
			b.clean(t, "large", "small")
		})
	}
}

func TestWhatDoesNotPassIsSaid(t *testing.T) {
	b := unreliable(t)
	s := b.store(t, time.Minute)
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{http.StatusForbidden, "AccessDenied", objectstore.ErrDenied},
		{http.StatusForbidden, "SignatureDoesNotMatch", objectstore.ErrDenied},
		{http.StatusBadRequest, "ExpiredToken", objectstore.ErrDenied},
		{http.StatusNotFound, "NoSuchBucket", objectstore.ErrAbsent},
		{http.StatusForbidden, "QuotaExceeded", objectstore.ErrFull},
		{http.StatusInsufficientStorage, "Whatever", objectstore.ErrFull},
		{http.StatusBadRequest, "KeyTooLongError", objectstore.ErrInvalidKey},
	} {
		for _, k := range []string{"put", "begin", "part", "complete"} {
			t.Run(c.code+" to "+k, func(t *testing.T) {
				b.set(map[string]fault{k: answer(c.status, c.code)})
				size := parts
				if k == "put" {
					size = 10
				}
				if err := s.Put(t.Context(), "a", bytes.NewReader(content(size))); !errors.Is(err, c.want) {
					t.Errorf("put: %v", err)
				}
				// Two parts are on their way at a time.
				if n := b.count(k); n < 1 || n > 2 {
					t.Errorf("it was asked for %d times", n)
				}
				b.set(nil)
				b.clean(t)
			})
		}
	}
}

func TestAnUploadThatFailsForGoodLeavesNothing(t *testing.T) {
	b := unreliable(t)
	s := b.store(t, time.Minute)
	for name, faults := range map[string]map[string]fault{
		"the small one":  {"put": cut},
		"its beginning":  {"begin": cut},
		"its parts":      {"part": cut},
		"its last part":  {"part": func(n int, w http.ResponseWriter, r *http.Request) bool { return n > 3 && cut(n, w, r) }},
		"its completion": {"complete": cut},
	} {
		t.Run(name, func(t *testing.T) {
			b.set(faults)
			size := parts
			if name == "the small one" {
				size = 10
			}
			if err := s.Put(t.Context(), "a", bytes.NewReader(content(size))); err == nil {
				t.Error("put: it is said to have worked")
			}
			b.set(nil)
			b.clean(t)
		})
	}
}

func TestAnAnswerThatIsLostDoesNotMakeAPutFail(t *testing.T) {
	b := unreliable(t)
	s := b.store(t, time.Minute)
	put(t, s, "small", "an older one")
	b.set(map[string]fault{"put": b.deafen, "complete": b.deafen})
	for key, size := range map[string]int{"small": 10, "large": parts} {
		if _, err := objectstore.Save(t.Context(), s, key, bytes.NewReader(content(size))); err != nil {
			t.Errorf("save %s: %v", key, err)
		}
	}
	b.set(nil)
	b.clean(t, "large", "small")
}

func TestAnOlderObjectIsNotTakenForTheNewOne(t *testing.T) {
	b := unreliable(t)
	s := b.store(t, time.Minute)
	put(t, s, "a", "old text")
	b.set(map[string]fault{"put": cut})
	if err := s.Put(t.Context(), "a", strings.NewReader("new text")); err == nil {
		t.Error("put: it is said to have worked")
	}
}

func TestAServerThatLiesIsNotBelieved(t *testing.T) {
	b := unreliable(t)
	s := b.store(t, time.Minute)
	well := func(body string) fault {
		return func(_ int, w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("ETag", `"5d41402abc4b2a76b9719d911017c592"`)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	halve := func(_ int, w http.ResponseWriter, r *http.Request) bool {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		key := strings.TrimPrefix(r.URL.Path, "/"+b.Bucket+"/")
		if _, err := b.server.Client().PutObject(t.Context(), &awss3.PutObjectInput{
			Bucket: &b.Bucket, Key: &key, Body: bytes.NewReader(raw[:len(raw)/2]),
		}); err != nil {
			t.Error(err)
		}
		return true
	}
	for name, c := range map[string]struct {
		size   int
		faults map[string]fault
		want   error
	}{
		"it stores nothing":        {10, map[string]fault{"put": well("")}, objectstore.ErrCorrupt},
		"it stores half":           {10, map[string]fault{"put": halve}, objectstore.ErrCorrupt},
		"it forgets a part":        {parts, map[string]fault{"part": first(1, well(""))}, nil},
		"it assembles nothing":     {parts, map[string]fault{"complete": well("<CompleteMultipartUploadResult/>")}, objectstore.ErrCorrupt},
		"it says well, and failed": {parts, map[string]fault{"complete": well("<Error><Code>InternalError</Code></Error>")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b.set(c.faults)
			digest, err := objectstore.Save(t.Context(), s, "a", bytes.NewReader(content(c.size)))
			if err == nil || c.want != nil && !errors.Is(err, c.want) || digest != (objectstore.Digest{}) {
				t.Errorf("save: %+v, %v", digest, err)
			}
			b.set(nil)
			if err := errors.Join(s.Delete(t.Context(), "a"), s.Sweep(t.Context(), time.Now().Add(time.Hour))); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDownloadsThatBreakOffAreContinued(t *testing.T) {
	b := unreliable(t)
	s := b.store(t, time.Minute)
	want := content(parts)
	digest, err := objectstore.Save(t.Context(), s, "a", bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	shortened := func(size int64, honest bool) fault {
		return func(_ int, w http.ResponseWriter, r *http.Request) bool {
			whole := httptest.NewRecorder()
			b.pass.ServeHTTP(whole, r)
			if whole.Code >= 300 {
				t.Errorf("get: %d", whole.Code)
			}
			some := min(size, int64(whole.Body.Len()))
			maps.Copy(w.Header(), whole.Header())
			if honest {
				w.Header().Set("Content-Length", fmt.Sprint(some))
			}
			w.WriteHeader(whole.Code)
			if _, err := io.CopyN(w, whole.Body, some); err != nil {
				t.Error(err)
			}
			if !honest && whole.Body.Len() > 0 {
				panic(http.ErrAbortHandler)
			}
			return true
		}
	}
	for name, f := range map[string]fault{
		"cut":                        shortened(4<<20+random.Int64N(1<<20), false),
		"short, as if that were all": shortened(3<<20+random.Int64N(1<<20), true),
		"cut at once, now and again": func(n int, w http.ResponseWriter, r *http.Request) bool { return n%2 == 1 && cut(n, w, r) },
		"failing, before they begin": first(4, answer(http.StatusServiceUnavailable, "SlowDown")),
	} {
		t.Run(name, func(t *testing.T) {
			b.set(map[string]fault{"get": f})
			sum := sha256.New()
			if _, err := io.Copy(sum, objectstore.Open(t.Context(), s, "a", digest)); err != nil || hex.EncodeToString(sum.Sum(nil)) != digest.SHA256 {
				t.Errorf("read: %v", err)
			}
			if b.count("get") < 2 {
				t.Error("nothing broke off")
			}
		})
	}
	t.Run("standing still in the middle", func(t *testing.T) {
		b.set(map[string]fault{"get": first(1, func(n int, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Length", fmt.Sprint(len(want)))
			_, _ = w.Write(want[:1<<20])
			return stall(n, w, r)
		})})
		got, err := io.ReadAll(objectstore.Open(t.Context(), b.store(t, 2*time.Second), "a", digest))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("read: %d of %d bytes, %v", len(got), len(want), err)
		}
	})
	t.Run("another range than was asked for", func(t *testing.T) {
		b.set(map[string]fault{"get": func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write(want[:10])
			return true
		}})
		if _, err := s.Get(t.Context(), "a", 5); err == nil {
			t.Error("it is taken for the right one")
		}
	})
}

func TestAServerThatSaysNothingDoesNotHoldAnybody(t *testing.T) {
	b := unreliable(t)
	put(t, b.store(t, time.Minute), "a", "a")
	s := b.store(t, 300*time.Millisecond)
	mute := map[string]fault{}
	for _, k := range []string{"put", "part", "begin", "complete", "abort", "delete", "get", "head", "list"} {
		mute[k] = stall
	}
	b.set(mute)
	began := time.Now()
	errs := all(t, s)
	errs["put in parts"] = s.Put(t.Context(), "b", bytes.NewReader(content(parts)))
	for what, err := range errs {
		if err == nil {
			t.Errorf("%s has worked", what)
		}
	}
	for _, k := range []string{"delete", "list"} {
		// An attempt that does not even connect in time is not seen here.
		if n := b.count(k); n < 2 || n > 5 {
			t.Errorf("%s was asked for %d times", k, n)
		}
	}
	// Seven calls of five attempts each, and what is done in the end: more than ten seconds, and far from for ever.
	if took := time.Since(began); took > 3*time.Minute {
		t.Errorf("it took %s", took)
	}

	b.set(map[string]fault{"complete": stall, "part": first(1, stall)})
	if err := b.store(t, 2*time.Second).Put(t.Context(), "b", bytes.NewReader(content(parts))); err == nil {
		t.Error("put in parts, of which the completion is not answered, has worked")
	}
	b.set(nil)
	b.clean(t, "a")
}

func TestAServerThatTakesNothingDoesNotHoldAnybody(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	for _, scheme := range []string{"http", "https"} {
		// Connections are accepted by the system, and nobody reads from them.
		s, err := s3.OpenImpatient(s3.Config{
			Endpoint: scheme + "://" + listener.Addr().String(), Bucket: "b", PathStyle: true, Credentials: with(s3server.Key{ID: "a", Secret: "b"}),
		}, 300*time.Millisecond, 100)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := s.Put(t.Context(), "a", bytes.NewReader(content(4<<20))); err == nil {
			t.Error("put has worked")
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("it took %s", took)
		}
	}
}

func TestACancelledCallEndsAtOnce(t *testing.T) {
	b := unreliable(t)
	s := b.store(t, time.Minute)
	for k, call := range map[string]func(context.Context) error{
		"get":  func(ctx context.Context) error { _, err := s.Get(ctx, "a", 0); return err },
		"head": func(ctx context.Context) error { _, err := s.Stat(ctx, "a"); return err },
		"part": func(ctx context.Context) error { return s.Put(ctx, "a", bytes.NewReader(content(parts))) },
		"list": func(ctx context.Context) error {
			for _, err := range s.List(ctx, "") {
				return err
			}
			return nil
		},
	} {
		t.Run(k, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b.set(map[string]fault{k: func(n int, w http.ResponseWriter, r *http.Request) bool {
				cancel()
				return stall(n, w, r)
			}})
			began := time.Now()
			if err := call(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", k, err)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
			b.set(nil)
			b.clean(t)
		})
	}
}

func TestWhatIsSentCannotBeDamagedUnseen(t *testing.T) {
	b := unreliable(t)
	check := func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if sum := r.Header.Get("X-Amz-Content-Sha256"); len(sum) != 64 {
			t.Errorf("the checksum in the signature is %q", sum)
		}
		if r.Header.Get("Content-Md5") == "" {
			t.Error("a bucket with a retention lock would refuse it")
		}
		return false
	}
	damage := func(n int, w http.ResponseWriter, r *http.Request) bool {
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader("\x00"), io.LimitReader(r.Body, r.ContentLength-1)))
		return check(n, w, r)
	}
	s := b.store(t, time.Minute)
	for key, size := range map[string]int{"small": 10, "large": parts} {
		b.set(map[string]fault{"put": check, "part": check})
		if err := s.Put(t.Context(), key, bytes.NewReader(content(size))); err != nil {
			t.Errorf("put %s: %v", key, err)
		}
		b.set(map[string]fault{"put": damage, "part": damage})
		if err := s.Put(t.Context(), key+"-damaged", bytes.NewReader(content(size))); err == nil {
			t.Errorf("put %s, which arrives as something else, has worked", key)
		}
	}
	b.set(nil)
	b.clean(t, "large", "small")
}

func TestOnlyTheAuthorityThatIsNamedIsTrusted(t *testing.T) {
	server := s3server.StartTLS(t)
	c := config(server, server.Bucket(t))
	put(t, open(t, c), "a", "a")
	for name, ca := range map[string][]byte{"another": s3server.StartTLS(t).CA, "the system's": nil} {
		c.CA = ca
		if err := open(t, c).Put(t.Context(), "b", strings.NewReader("b")); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("put with the authority of %s: %v", name, err)
		}
	}

	var connections atomic.Int32
	stranger := httptest.NewUnstartedServer(http.NotFoundHandler())
	stranger.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	stranger.StartTLS()
	c.CA, c.Endpoint = server.CA, stranger.URL
	if _, err := open(t, c).Stat(t.Context(), "a"); err == nil {
		t.Error("stat has worked")
	}
	stranger.Close()
	if n := connections.Load(); n != 1 {
		t.Errorf("a server that is not trusted was asked %d times", n)
	}
}
