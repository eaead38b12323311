// Package s3 keeps objects in a bucket of S3, or of any service that speaks its protocol.
//
// An object of up to 64 MiB is one request; a larger one is sent in parts of 64 MiB, of which a bucket takes 10,000: 625 GiB are the
// most that an object can have, and Put fails at the first byte after them. Two parts are in memory at a time: one is read while
// another is on its way. A smaller object takes as much memory as it has bytes.
//
// A server that accepts and then says nothing does not hold anybody for ever. A request fails when its connection is not there within 10
// seconds, or has stood still for a minute (five while an object is made of its parts), and is made five times at the most, with pauses
// of up to 20 seconds: five and a half minutes, half an hour for the last step of a large object. Reading has the same minute for each
// standstill. When the context ends, so does all of it; what was begun is given up within 10 more seconds.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kapok-operators/kapok/shared/objectstore"
)

// longest is the length of the longest name in a bucket, in bytes.
const longest = 1024

// Store keeps each object below one prefix of one bucket.
type Store struct {
	client *s3.Client
	// patient is what the client talks through while the server makes an object of its parts.
	patient *http.Client
	bucket  string
	// prefix is in front of each name, with its slash.
	prefix string
	limits limits
}

var _ objectstore.Store = (*Store)(nil)

// Open returns the store that config describes. Nothing is asked of the service: what is wrong with it shows at the first use.
func Open(config Config) (*Store, error) {
	return open(config, usual)
}

func open(config Config, l limits) (*Store, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("open the bucket: %w", err)
	}
	authorities, err := config.authorities()
	if err != nil {
		return nil, fmt.Errorf("open the bucket: %w", err)
	}
	s := &Store{
		client: config.client(l, authorities), patient: transport(l.connect, l.assembly, authorities),
		bucket: config.Bucket, limits: l,
	}
	if config.Prefix != "" {
		s.prefix = config.Prefix + "/"
	}
	return s, nil
}

// name returns what an object is called in the bucket.
func (s *Store) name(key string) (*string, error) {
	if err := objectstore.ValidKey(key); err != nil {
		return nil, err
	}
	if name := s.prefix + key; len(name) <= longest {
		return &name, nil
	}
	return nil, fmt.Errorf("%w: with the prefix it has %d bytes, and %d are allowed", objectstore.ErrInvalidKey, len(s.prefix)+len(key), longest)
}

// Get implements objectstore.Store.
func (s *Store) Get(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	name, err := s.name(key)
	if err != nil {
		return nil, err
	}
	input := &s3.GetObjectInput{Bucket: &s.bucket, Key: name}
	if offset != 0 {
		input.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	out, err := s.client.GetObject(ctx, input)
	if status(err) == http.StatusRequestedRangeNotSatisfiable {
		return http.NoBody, nil // There is nothing from there on.
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, meaning(err))
	}
	if offset != 0 && !strings.HasPrefix(aws.ToString(out.ContentRange), fmt.Sprintf("bytes %d-", offset)) {
		return nil, errors.Join(fmt.Errorf("get %s from byte %d: the service answers with another range", key, offset), out.Body.Close())
	}
	return out.Body, nil
}

// Stat implements objectstore.Store.
func (s *Store) Stat(ctx context.Context, key string) (objectstore.Info, error) {
	name, err := s.name(key)
	if err != nil {
		return objectstore.Info{}, err
	}
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: name})
	if errors.Is(word(err), objectstore.ErrNotFound) {
		// This answer has no body: it does not say what was not found, the object or the bucket.
		if absent := s.exists(ctx, name); absent != nil {
			return objectstore.Info{}, fmt.Errorf("look at %s: %w", key, absent)
		}
	}
	if err != nil {
		return objectstore.Info{}, fmt.Errorf("look at %s: %w", key, meaning(err))
	}
	return objectstore.Info{Key: key, Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified)}, nil
}

// exists returns an error if the bucket is not there. It lists below a name, because that is all that a policy has to allow.
func (s *Store) exists(ctx context.Context, name *string) error {
	_, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: name, MaxKeys: aws.Int32(1)})
	return meaning(err)
}

// List implements objectstore.Store. What has a name that is not that of an object, like the mark of an empty folder, is not listed.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix)},
			func(o *s3.ListObjectsV2PaginatorOptions) { o.StopOnDuplicateToken = true })
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(objectstore.Info{}, fmt.Errorf("list %s: %w", prefix, meaning(err)))
				return
			}
			for _, object := range page.Contents {
				key, below := strings.CutPrefix(aws.ToString(object.Key), s.prefix)
				if !below || objectstore.ValidKey(key) != nil {
					continue
				}
				if !yield(objectstore.Info{Key: key, Size: aws.ToInt64(object.Size), Modified: aws.ToTime(object.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

// Delete implements objectstore.Store. A bucket with versions keeps the object as an older one.
func (s *Store) Delete(ctx context.Context, key string) error {
	name, err := s.name(key)
	if err != nil {
		return err
	}
	_, err = s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: name})
	if err != nil && !errors.Is(word(err), objectstore.ErrNotFound) {
		return fmt.Errorf("delete %s: %w", key, meaning(err))
	}
	return nil
}

// Sweep gives up what was begun below the prefix before a time and never finished: a process that is killed leaves it behind, and it
// is paid for although nobody sees it.
func (s *Store) Sweep(ctx context.Context, before time.Time) error {
	var failed []error
	pages := s3.NewListMultipartUploadsPaginator(s.client, &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &s.prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return errors.Join(append(failed, fmt.Errorf("list unfinished objects: %w", meaning(err)))...)
		}
		for _, begun := range page.Uploads {
			if !strings.HasPrefix(aws.ToString(begun.Key), s.prefix) || !aws.ToTime(begun.Initiated).Before(before) {
				continue
			}
			if _, err := s.abort(ctx, begun.Key, begun.UploadId); err != nil {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

// abort gives up an object that is sent in parts, and says whether it was gone before.
func (s *Store) abort(ctx context.Context, name, id *string) (gone bool, err error) {
	_, err = s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: name, UploadId: id})
	if code(err) == "NoSuchUpload" {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("give up an unfinished object: %w", meaning(err))
	}
	return false, nil
}
