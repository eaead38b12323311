package target_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/full"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/parcel"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/proof"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/target"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/objectstore"
	"github.com/kapok-operators/kapok/shared/objectstore/s3"
	"github.com/kapok-operators/kapok/shared/testkit/s3server"
	"github.com/kapok-operators/kapok/shared/testkit/storetest"
)

// open opens a store that can be opened.
func open(t *testing.T, store instance.Store, credentials, volume string) objectstore.Store {
	t.Helper()
	s, closing, err := target.Open(store, credentials, volume)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closing(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// secret writes the files of a Secret.
func secret(t *testing.T, dir string, key s3server.Key) {
	t.Helper()
	for name, value := range map[string]string{s3.KeyIDFile: key.ID, s3.SecretFile: key.Secret} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAVolumeIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objectstore.Store { return open(t, instance.Store{Volume: true}, "", t.TempDir()) })
}

func TestABucketIsAStoreWhoseKeyCanBeReplaced(t *testing.T) {
	server := s3server.StartTLS(t)
	bucket := server.Bucket(t)
	dir := t.TempDir()
	store := func() instance.Store {
		return instance.Store{S3: &instance.S3Store{
			Endpoint: server.Endpoint, Bucket: bucket, Region: s3server.Region, Prefix: "a/b", PathStyle: true, CA: string(server.CA),
		}}
	}
	s := open(t, store(), dir, "")
	put := func() error { return s.Put(t.Context(), "x", strings.NewReader("x")) }
	refused := func(what, says string) {
		t.Helper()
		err := put()
		if target.Reason(err) != instance.ProblemStoreDenied || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %q, %v", what, target.Reason(err), err)
		}
	}
	refused("without a Secret", "has no key ")
	if words := target.Words(put()); !strings.HasPrefix(words, "the Secret with the credentials") {
		t.Errorf("people are told %q", words)
	}
	key := server.User(t)
	secret(t, dir, s3server.Key{ID: key.ID})
	refused("with half of a pair", s3.SecretFile+" of the Secret with the credentials of the bucket is empty")
	secret(t, dir, key)
	refused("with a key that may do nothing", "AccessDenied")
	secret(t, dir, s3server.Key{ID: key.ID, Secret: "another"})
	if err := put(); target.Reason(err) != instance.ProblemStoreDenied || strings.Contains(err.Error(), "another") {
		t.Errorf("with a wrong secret: %v", err)
	}
	secret(t, dir, server.Root)
	if err := put(); err != nil {
		t.Errorf("with another key: %v", err)
	}
	missing := store()
	missing.S3.Bucket = "b-nobody-made-it"
	if err := open(t, missing, dir, "").Put(t.Context(), "x", strings.NewReader("x")); target.Reason(err) != instance.ProblemStoreMissing {
		t.Errorf("without the bucket: %v", err)
	}
}

func TestWhatCannotBeOpened(t *testing.T) {
	for name, c := range map[string]struct {
		store  instance.Store
		volume string
		reason string
	}{
		"nothing at all": {instance.Store{}, t.TempDir(), instance.ProblemBackupFailed},
		"two stores":     {instance.Store{Volume: true, S3: &instance.S3Store{Bucket: "b", Region: "r"}}, t.TempDir(), instance.ProblemBackupFailed},
		"no volume":      {instance.Store{Volume: true}, filepath.Join(t.TempDir(), "x"), instance.ProblemStoreMissing},
		"no CA":          {instance.Store{S3: &instance.S3Store{Bucket: "b", Region: "r", CA: "x"}}, "", instance.ProblemBackupFailed},
	} {
		if _, _, err := target.Open(c.store, t.TempDir(), c.volume); target.Reason(err) != c.reason {
			t.Errorf("%s: %q, %v", name, target.Reason(err), err)
		}
	}
}

func TestAStoreThatDoesNotAnswer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	secret(t, dir, s3server.Key{ID: "a", Secret: "b"})
	s := open(t, instance.Store{S3: &instance.S3Store{Endpoint: "http://" + address, Bucket: "b", PathStyle: true}}, dir, "")
	if err := s.Delete(t.Context(), "x"); target.Reason(err) != instance.ProblemStoreFailing {
		t.Errorf("%q: %v", target.Reason(err), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Delete(ctx, "x"); !errors.Is(err, context.Canceled) || target.Reason(err) != instance.ProblemBackupFailed {
		t.Errorf("of a caller that has gone away: %q, %v", target.Reason(err), err)
	}
}

func TestWhatCannotBeReadIsNoFaultOfTheStore(t *testing.T) {
	s := open(t, instance.Store{Volume: true}, "", t.TempDir())
	for _, own := range []error{os.ErrNotExist, os.ErrPermission, errors.New("torn")} {
		err := s.Put(t.Context(), "x", io.MultiReader(strings.NewReader("x"), iotest.ErrReader(own)))
		if !errors.Is(err, own) || target.Reason(err) != instance.ProblemBackupFailed {
			t.Errorf("%v: %q, %v", own, target.Reason(err), err)
		}
	}
}

func TestWhatIsLeftUnfinishedIsSwept(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, ".unfinished", "x")
	if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, ok := open(t, instance.Store{Volume: true}, "", dir).(interface {
		Sweep(ctx context.Context, before time.Time) error
	})
	if !ok {
		t.Fatal("it cannot be swept")
	}
	if err := s.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestReason(t *testing.T) {
	for want, errs := range map[string][]error{
		"":                           {nil},
		instance.ProblemNoSpace:      {&full.NoSpaceError{What: "a copy"}, syscall.ENOSPC},
		instance.ProblemUnreachable:  {&backup.Unreachable{Why: "gone"}, parcel.ErrSealed},
		instance.ProblemStoreDenied:  {objectstore.ErrDenied},
		instance.ProblemStoreMissing: {objectstore.ErrAbsent},
		instance.ProblemStoreDamaged: {objectstore.ErrCorrupt, objectstore.ErrNotFound, backup.ErrDamaged},
		instance.ProblemStoreFailing: {fmt.Errorf("%w: %w", objectstore.ErrFull, syscall.ENOSPC)},
		instance.ProblemDataWrong:    {&proof.WrongError{Tables: []string{"`shop`.`t`: it is missing"}, Of: 1}},
		instance.ProblemBackupFailed: {errors.New("the server has gone away"), context.Canceled},
	} {
		for _, err := range errs {
			if err != nil {
				err = fmt.Errorf("take a backup: %w", err)
			}
			if got := target.Reason(err); got != want {
				t.Errorf("%v: %q, not %q", err, got, want)
			}
		}
	}
}
