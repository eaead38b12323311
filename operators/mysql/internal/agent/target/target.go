// Package target opens the place that a cluster's backups are in, as a duty names it, and says in one word what is wrong with it.
package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/objectstore"
	"github.com/kapok-operators/kapok/shared/objectstore/folder"
	"github.com/kapok-operators/kapok/shared/objectstore/s3"
)

// Open opens a store. credentials is the folder of the mounted Secret with the keys access-key-id, secret-access-key and perhaps
// session-token, which are read anew for each request; volume is where a volume for backups is mounted. What is wrong with a bucket shows
// at its first use only. The store is closed by the function that comes with it. Reason tells what its errors mean.
func Open(store instance.Store, credentials, volume string) (objectstore.Store, func() error, error) {
	switch {
	case store.S3 != nil && store.Volume:
		return nil, nil, errors.New("open the store: both a bucket and a volume are given")
	case store.S3 != nil:
		bucket, err := s3.Open(s3.Config{
			Endpoint: store.S3.Endpoint, Bucket: store.S3.Bucket, Region: store.S3.Region, Prefix: store.S3.Prefix, PathStyle: store.S3.PathStyle,
			CA: []byte(store.S3.CA), Credentials: named(credentials),
		})
		if err != nil {
			return nil, nil, err
		}
		return &marked{Store: bucket, sweep: bucket.Sweep}, func() error { return nil }, nil
	case store.Volume:
		dir, err := folder.Open(volume)
		if err != nil {
			return nil, nil, &failure{err}
		}
		return &marked{Store: dir, sweep: func(_ context.Context, before time.Time) error { return dir.Sweep(before) }}, dir.Close, nil
	}
	return nil, nil, errors.New("open the store: neither a bucket nor a volume is given")
}

// named returns the credentials in a folder. A key that the Secret lacks is an error that names it, and never what others hold.
func named(dir string) func(context.Context) (s3.Credentials, error) {
	read := s3.CredentialsIn(dir)
	return func(ctx context.Context) (s3.Credentials, error) {
		got, err := read(ctx)
		lacks, missing := errors.AsType[*fs.PathError](err)
		switch {
		case missing && errors.Is(err, fs.ErrNotExist):
			return s3.Credentials{}, &keyError{fmt.Sprintf("the Secret with the credentials of the bucket is missing, or has no key %s", filepath.Base(lacks.Path))}
		case err != nil:
			return s3.Credentials{}, fmt.Errorf("%w: %w", objectstore.ErrDenied, err)
		}
		for name, value := range map[string]string{s3.KeyIDFile: got.KeyID, s3.SecretFile: got.Secret} {
			if value == "" {
				return s3.Credentials{}, &keyError{fmt.Sprintf("the key %s of the Secret with the credentials of the bucket is empty", name)}
			}
		}
		return got, nil
	}
}

// keyError says what is wrong with the Secret.
type keyError struct{ text string }

func (e *keyError) Error() string { return e.text }

// Unwrap makes it one of those that the store would refuse.
func (e *keyError) Unwrap() error { return objectstore.ErrDenied }

// Words are what people have to know of an error: where a Secret is wrong, that alone, and not on which of many requests it was noticed.
func Words(err error) string {
	if wrong, ok := errors.AsType[*keyError](err); ok {
		return wrong.text
	}
	return err.Error()
}
