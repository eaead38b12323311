package s3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/shared/objectstore"
	"github.com/kapok-operators/kapok/shared/objectstore/s3"
	"github.com/kapok-operators/kapok/shared/testkit/s3server"
	"github.com/kapok-operators/kapok/shared/testkit/storetest"
)

// with returns what asks for a key.
func with(key s3server.Key) func(context.Context) (s3.Credentials, error) {
	return func(context.Context) (s3.Credentials, error) {
		return s3.Credentials{KeyID: key.ID, Secret: key.Secret}, nil
	}
}

// config describes a bucket of a server to whoever may do everything.
func config(server *s3server.Server, bucket string) s3.Config {
	return s3.Config{
		Endpoint: server.Endpoint, Region: s3server.Region, Bucket: bucket, PathStyle: true, CA: server.CA, Credentials: with(server.Root),
	}
}

// open opens a store.
func open(t *testing.T, c s3.Config) *s3.Store {
	t.Helper()
	s, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// put stores a text.
func put(t *testing.T, s objectstore.Store, key, text string) {
	t.Helper()
	if err := s.Put(t.Context(), key, strings.NewReader(text)); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// all tries everything that a store can do and returns the errors.
func all(t *testing.T, s *s3.Store) map[string]error {
	t.Helper()
	errs := map[string]error{
		"put":    s.Put(t.Context(), "a", strings.NewReader("a")),
		"delete": s.Delete(t.Context(), "a"),
		"sweep":  s.Sweep(t.Context(), time.Now()),
	}
	_, errs["stat"] = s.Stat(t.Context(), "a")
	body, err := s.Get(t.Context(), "a", 0)
	if errs["get"] = err; err == nil {
		errs["get"] = body.Close()
	}
	for _, err := range s.List(t.Context(), "") {
		errs["list"] = err
	}
	return errs
}

// unfinished returns the names of what was begun in a bucket and not finished.
func unfinished(t *testing.T, server *s3server.Server, bucket string) []string {
	t.Helper()
	// A test is asked this when it ends, too, and its context has ended by then.
	out, err := server.Client().ListMultipartUploads(context.WithoutCancel(t.Context()), &awss3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, upload := range out.Uploads {
		names = append(names, aws.ToString(upload.Key))
	}
	return names
}

func TestContract(t *testing.T) {
	for prefix, server := range map[string]*s3server.Server{"": s3server.Start(t), "kapok/shop": s3server.StartTLS(t)} {
		t.Run("below "+prefix, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) objectstore.Store {
				c := config(server, server.Bucket(t))
				c.Prefix = prefix
				t.Cleanup(func() {
					if left := unfinished(t, server, c.Bucket); len(left) > 0 {
						t.Errorf("left unfinished: %v", left)
					}
				})
				// With small parts, so that a few megabytes are several.
				s, err := s3.OpenImpatient(c, time.Minute, 100)
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
	t.Run("with parts of full length", func(t *testing.T) {
		server := s3server.Start(t)
		storetest.Run(t, func(t *testing.T) objectstore.Store { return open(t, config(server, server.Bucket(t))) })
	})
}

func TestKeysThatAreNotAccepted(t *testing.T) {
	server := s3server.Start(t)
	c := config(server, server.Bucket(t))
	stranger, revoked := s3server.Key{ID: "nobody", Secret: "no-secret"}, server.User(t)
	server.Revoke(t, revoked)
	for name, key := range map[string]s3server.Key{
		"an unknown one":        stranger,
		"a wrong secret":        {ID: server.Root.ID, Secret: stranger.Secret},
		"a revoked one":         revoked,
		"one without any right": server.User(t),
	} {
		t.Run(name, func(t *testing.T) {
			c.Credentials = with(key)
			for what, err := range all(t, open(t, c)) {
				if !errors.Is(err, objectstore.ErrDenied) {
					t.Errorf("%s: %v", what, err)
				}
				if text := fmt.Sprint(err); strings.Contains(text, key.Secret) || strings.Contains(text, key.ID) {
					t.Errorf("%s: the error tells the credentials", what)
				}
			}
		})
	}
}

func TestABucketThatDoesNotExist(t *testing.T) {
	server := s3server.Start(t)
	for what, err := range all(t, open(t, config(server, "typo"))) {
		if !errors.Is(err, objectstore.ErrAbsent) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAKeyThatMayOnlyRead(t *testing.T) {
	server := s3server.Start(t)
	c := config(server, server.Bucket(t))
	put(t, open(t, c), "a", "a")
	key := server.User(t)
	server.Policy(t, c.Bucket, fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": %q},
		"Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::%s", "arn:aws:s3:::%[2]s/*"]}]}`, key.ID, c.Bucket))
	c.Credentials = with(key)
	s := open(t, c)
	errs := all(t, s)
	for what, want := range map[string]error{
		"put": objectstore.ErrDenied, "delete": objectstore.ErrDenied, "sweep": objectstore.ErrDenied, "get": nil, "stat": nil, "list": nil,
	} {
		if !errors.Is(errs[what], want) {
			t.Errorf("%s: %v", what, errs[what])
		}
	}
	if _, err := s.Stat(t.Context(), "b"); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("stat of what is not there: %v", err)
	}
}

func TestThePolicyOfTheGuideIsEnough(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "platform", "object-storage.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, policy, found := strings.Cut(string(guide), "```json\n")
	policy, _, ended := strings.Cut(policy, "```")
	if !found || !ended {
		t.Fatal("the guide has no policy")
	}
	server := s3server.Start(t)
	c := config(server, server.Bucket(t))
	put(t, open(t, c), "other", "other")
	key := server.User(t)
	// The guide's is attached to a user, and the server has policies of buckets only: these name the user.
	policy = strings.ReplaceAll(policy, `"Effect": "Allow",`, fmt.Sprintf(`"Effect": "Allow", "Principal": {"AWS": %q},`, key.ID))
	server.Policy(t, c.Bucket, strings.ReplaceAll(policy, "backups", c.Bucket))
	c.Credentials = with(key)
	outside := open(t, c)
	c.Prefix = "kapok/shop"
	s, err := s3.OpenImpatient(c, time.Minute, 100)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "b", "b")
	errs := all(t, s)
	delete(errs, "stat") // It was deleted before; what it says is tried below.
	delete(errs, "get")
	for what, err := range errs {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("stat of what was deleted: %v", err)
	}
	if _, err := s.Get(t.Context(), "b", 0); err != nil {
		t.Errorf("get: %v", err)
	}
	// Eleven megabytes are three parts, and a source that breaks has them given up.
	broke := errors.New("the source broke")
	if _, err := objectstore.Save(t.Context(), s, "c", &zeros{left: 11 << 20}); err != nil {
		t.Errorf("save: %v", err)
	}
	if err := s.Put(t.Context(), "d", io.MultiReader(&zeros{left: 11 << 20}, iotest.ErrReader(broke))); !errors.Is(err, broke) || errors.Is(err, objectstore.ErrDenied) {
		t.Errorf("put what breaks: %v", err)
	}
	if left := unfinished(t, server, c.Bucket); len(left) > 0 {
		t.Errorf("left unfinished: %v", left)
	}
	if err := outside.Put(t.Context(), "other", strings.NewReader("")); !errors.Is(err, objectstore.ErrDenied) {
		t.Errorf("put outside the prefix: %v", err)
	}
	if _, err := outside.Get(t.Context(), "other", 0); !errors.Is(err, objectstore.ErrDenied) {
		t.Errorf("get outside the prefix: %v", err)
	}
}

// mounted is a Secret as the kubelet mounts it.
type mounted struct {
	folder  string
	version int
}

// set turns the link to another version of the files.
func (m *mounted) set(t *testing.T, key s3server.Key) {
	t.Helper()
	m.version++
	version := fmt.Sprintf("..%d", m.version)
	if err := os.Mkdir(filepath.Join(m.folder, version), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{s3.KeyIDFile: key.ID + "\n", s3.SecretFile: key.Secret} {
		if err := os.WriteFile(filepath.Join(m.folder, version, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(version, filepath.Join(m.folder, "..next")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(m.folder, "..next"), filepath.Join(m.folder, "..data")); err != nil {
		t.Fatal(err)
	}
}

func TestAKeyThatIsReplacedCountsAtOnce(t *testing.T) {
	server := s3server.Start(t)
	c := config(server, server.Bucket(t))
	files := &mounted{folder: t.TempDir()}
	c.Credentials = s3.CredentialsIn(files.folder)
	s := open(t, c)
	if err := s.Put(t.Context(), "a", strings.NewReader("a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("put without a key: %v", err)
	}
	files.set(t, server.Root)
	put(t, s, "a", "a")

	first, second := server.User(t), server.User(t)
	server.Policy(t, c.Bucket, fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": [%q, %q]},
		"Action": "s3:*", "Resource": ["arn:aws:s3:::%s", "arn:aws:s3:::%[3]s/*"]}]}`, first.ID, second.ID, c.Bucket))
	files.set(t, first)
	put(t, s, "b", "b")
	server.Revoke(t, first)
	if err := s.Put(t.Context(), "c", strings.NewReader("c")); !errors.Is(err, objectstore.ErrDenied) {
		t.Errorf("put with a revoked key: %v", err)
	}
	files.set(t, second)
	put(t, s, "c", "c")
	files.set(t, s3server.Key{})
	if err := s.Put(t.Context(), "d", strings.NewReader("d")); err == nil || !strings.Contains(err.Error(), "incomplete") {
		t.Errorf("put with an empty key: %v", err)
	}
}

func TestPrefixesDoNotSeeEachOther(t *testing.T) {
	server := s3server.Start(t)
	c := config(server, server.Bucket(t))
	stores := map[string]*s3.Store{}
	for _, prefix := range []string{"a", "ab", "a/b"} {
		c.Prefix = prefix
		stores[prefix] = open(t, c)
		put(t, stores[prefix], "x/"+strings.ReplaceAll(prefix, "/", "-"), prefix)
	}
	for prefix, want := range map[string][]string{"a": {"b/x/a-b", "x/a"}, "ab": {"x/ab"}, "a/b": {"x/a-b"}} {
		var found []string
		for info, err := range stores[prefix].List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, info.Key)
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("below %s (-want +got):\n%s", prefix, diff)
		}
	}
	if _, err := stores["ab"].Stat(t.Context(), "x/a"); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("the object of another prefix: %v", err)
	}
	if err := stores["ab"].Put(t.Context(), strings.Repeat("a", 1022), strings.NewReader("")); !errors.Is(err, objectstore.ErrInvalidKey) {
		t.Errorf("a name that is too long with its prefix: %v", err)
	}
}

func TestSweepGivesUpWhatIsOldAndBelowThePrefix(t *testing.T) {
	server := s3server.Start(t)
	c := config(server, server.Bucket(t))
	begin := func(name string) {
		if _, err := server.Client().CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &c.Bucket, Key: &name}); err != nil {
			t.Fatal(err)
		}
	}
	begin("a/one")
	begin("a/two")
	begin("ab/other")
	c.Prefix = "a"
	s := open(t, c)
	put(t, s, "whole", "whole")
	if err := s.Sweep(t.Context(), time.Now().Add(-time.Hour)); err != nil {
		t.Errorf("sweep: %v", err)
	}
	if diff := cmp.Diff([]string{"a/one", "a/two", "ab/other"}, unfinished(t, server, c.Bucket)); diff != "" {
		t.Errorf("what is under way (-want +got):\n%s", diff)
	}
	if err := s.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Errorf("sweep: %v", err)
	}
	if diff := cmp.Diff([]string{"ab/other"}, unfinished(t, server, c.Bucket)); diff != "" {
		t.Errorf("after it was swept (-want +got):\n%s", diff)
	}
	if _, err := s.Stat(t.Context(), "whole"); err != nil {
		t.Errorf("the object: %v", err)
	}
}

// zeros yields so many bytes and notes how much memory is in use meanwhile.
type zeros struct {
	left int
	most uint64
}

// Read implements io.Reader.
func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	if z.left%(1<<20) == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		z.most = max(z.most, m.HeapAlloc)
	}
	n := min(len(p), z.left)
	clear(p[:n])
	z.left -= n
	return n, nil
}

func TestMemoryDoesNotGrowWithTheObject(t *testing.T) {
	server := s3server.Start(t)
	c := config(server, server.Bucket(t))
	s, err := s3.OpenImpatient(c, time.Minute, 100)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	body := &zeros{left: 100 << 20}
	digest, err := objectstore.Save(t.Context(), s, "a", body)
	if err != nil || digest.Size != 100<<20 {
		t.Fatalf("save: %+v, %v", digest, err)
	}
	// Two parts of 5 MiB, and what the collector has not come to yet.
	if grown := body.most - min(body.most, before.HeapAlloc); grown > 30<<20 {
		t.Errorf("100 MiB took %d MiB of memory", grown>>20)
	}

	s, err = s3.OpenImpatient(c, time.Minute, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "b", &zeros{left: 10 << 20}); err != nil {
		t.Errorf("an object of the greatest length: %v", err)
	}
	if err := s.Put(t.Context(), "c", &zeros{left: 10<<20 + 1}); err == nil || !strings.Contains(err.Error(), "2 parts") {
		t.Errorf("an object that is longer than it can be: %v", err)
	}
	if left := unfinished(t, server, c.Bucket); len(left) > 0 {
		t.Errorf("left unfinished: %v", left)
	}
}

func TestWhatCannotBeRightIsSaidAtOnce(t *testing.T) {
	good := s3.Config{Region: "eu-central-1", Bucket: "backups", Prefix: "kapok/shop", Credentials: with(s3server.Key{})}
	open(t, good)
	for field, spoil := range map[string]func(*s3.Config){
		"region":      func(c *s3.Config) { c.Region = "" },
		"endpoint":    func(c *s3.Config) { c.Endpoint = "https://user:hidden@s3.example.com" },
		"bucket":      func(c *s3.Config) { c.Bucket = "a/b" },
		"prefix":      func(c *s3.Config) { c.Prefix = "a/" },
		"ca":          func(c *s3.Config) { c.CA = []byte("none") },
		"credentials": func(c *s3.Config) { c.Credentials = nil },
	} {
		c := good
		spoil(&c)
		if _, err := s3.Open(c); err == nil || !strings.Contains(err.Error(), field+": ") || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", s3.Credentials{Secret: "hidden"}, s3.Credentials{Secret: "hidden"}, s3.Credentials{Secret: "hidden"}); strings.Contains(text, "hidden") {
		t.Error("credentials can be printed")
	}
}
