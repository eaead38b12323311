package s3

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// markName is where an object has the mark of the Put that made it.
const markName = "kapok-put"

// Put implements objectstore.Store. One that fails asks the bucket whether the object is there nevertheless, because an answer can get
// lost on its way; if so, it has not failed. What it leaves behind when even that cannot be done is removed by Sweep.
func (s *Store) Put(ctx context.Context, key string, body io.Reader) error {
	name, err := s.name(key)
	if err != nil {
		return err
	}
	first := &buffer{limit: s.limits.part}
	whole, err := first.fill(ctx, body)
	if err != nil {
		return fmt.Errorf("read what is to become %s: %w", key, err)
	}
	u := &upload{store: s, name: name, mark: rand.Text()}
	if whole {
		err = u.single(ctx, first)
	} else {
		err = u.inParts(ctx, first, body)
	}
	if err != nil {
		if err = u.end(ctx, err); err != nil {
			return fmt.Errorf("put %s: %w", key, meaning(err))
		}
	}
	return nil
}

// upload is an object on its way into the bucket.
type upload struct {
	store *Store
	name  *string
	// mark tells it from an object of that name which was there before.
	mark string
	// size is how much there is of it.
	size int64
	// id is that of an upload in parts, from its beginning.
	id    *string
	parts []*types.CompletedPart
	// decided is set when the bucket has been asked for the whole object: from then on it may be there.
	decided bool
}

// single stores an object with one request.
func (u *upload) single(ctx context.Context, body *buffer) error {
	u.size, u.decided = int64(body.size), true
	_, err := u.store.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &u.store.bucket, Key: u.name, Metadata: map[string]string{markName: u.mark},
		Body: body.reader(), ContentLength: &u.size, ContentMD5: body.md5(),
	})
	return err
}

// inParts stores an object of which the first part has been read.
func (u *upload) inParts(ctx context.Context, first *buffer, body io.Reader) error {
	begun, err := u.store.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &u.store.bucket, Key: u.name, Metadata: map[string]string{markName: u.mark},
	})
	if err != nil {
		return err
	}
	u.id = begun.UploadId
	if err := u.sendAll(ctx, first, body); err != nil {
		return err
	}
	done := make([]types.CompletedPart, len(u.parts))
	for i, part := range u.parts {
		done[i] = *part
	}
	u.decided = true
	_, err = u.store.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &u.store.bucket, Key: u.name, UploadId: u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
	}, func(o *s3.Options) { o.HTTPClient = u.store.patient })
	return err
}

// sendAll reads part after part and sends them. While one is read, another is on its way; that one is sent to its end even if nothing
// follows, because a part that is still being taken can outlast the upload that is given up.
func (u *upload) sendAll(ctx context.Context, part *buffer, body io.Reader) error {
	group, reading := errgroup.WithContext(ctx)
	free := make(chan *buffer, 2)
	free <- &buffer{limit: u.store.limits.part}
	group.Go(func() error {
		for whole := false; part.size > 0; {
			if len(u.parts) == u.store.limits.parts {
				return fmt.Errorf("it is longer than %d parts of %d bytes, which is the most that a bucket takes",
					u.store.limits.parts, u.store.limits.part)
			}
			sending, into := part, &types.CompletedPart{PartNumber: aws.Int32(int32(len(u.parts) + 1))}
			u.parts = append(u.parts, into)
			u.size += int64(part.size)
			group.Go(func() error {
				if err := u.send(ctx, sending, into); err != nil {
					return err
				}
				free <- sending
				return nil
			})
			if whole {
				return nil
			}
			select {
			case part = <-free:
			case <-reading.Done():
				return reading.Err()
			}
			var err error
			if whole, err = part.fill(reading, body); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// send sends one part.
func (u *upload) send(ctx context.Context, body *buffer, part *types.CompletedPart) error {
	out, err := u.store.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.store.bucket, Key: u.name, UploadId: u.id, PartNumber: part.PartNumber,
		Body: body.reader(), ContentLength: aws.Int64(int64(body.size)), ContentMD5: body.md5(),
	})
	if err != nil {
		return err
	}
	part.ETag = out.ETag
	return nil
}

// end settles an upload that has failed, even when its context is what has ended. It returns nil if the object is there after all.
func (u *upload) end(ctx context.Context, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.store.limits.farewell)
	defer cancel()
	if u.decided && u.isThere(ctx) {
		return nil
	}
	if u.id == nil {
		return failure
	}
	return errors.Join(failure, u.giveUp(ctx))
}

// giveUp gives up an upload in parts, and again until it is gone: whoever is cancelled leaves a server that may be taking a part.
func (u *upload) giveUp(ctx context.Context) error {
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		gone, err := u.store.abort(ctx, u.name, u.id)
		if gone || err != nil || pause > time.Second {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// isThere says whether the bucket has this very object.
func (u *upload) isThere(ctx context.Context) bool {
	out, err := u.store.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.store.bucket, Key: u.name})
	return err == nil && out.Metadata[markName] == u.mark && aws.ToInt64(out.ContentLength) == u.size
}

// block is the unit in which a buffer grows.
const block = 1 << 20

// buffer holds a part, so that it can be sent again. It takes as much memory as it was ever filled with.
type buffer struct {
	blocks [][]byte
	limit  int
	size   int
}

// fill reads until the buffer is full, and says whether that was all there is.
func (b *buffer) fill(ctx context.Context, in io.Reader) (whole bool, err error) {
	for b.size = 0; b.size < b.limit; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		i, at := b.size/block, b.size%block
		if i == len(b.blocks) {
			b.blocks = append(b.blocks, make([]byte, block))
		}
		n, err := in.Read(b.blocks[i][at:min(block, at+b.limit-b.size)])
		b.size += n
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// ReadAt implements io.ReaderAt.
func (b *buffer) ReadAt(p []byte, offset int64) (int, error) {
	n := 0
	for at := int(offset); n < len(p) && at < b.size; at = int(offset) + n {
		n += copy(p[n:], b.blocks[at/block][at%block:min(block, at%block+b.size-at)])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// reader returns what is in the buffer from the beginning.
func (b *buffer) reader() io.ReadSeeker {
	return io.NewSectionReader(b, 0, int64(b.size))
}

// md5 returns the checksum that a bucket with a retention lock asks for. It is no protection against anybody.
func (b *buffer) md5() *string {
	sum := md5.New()
	// Neither memory nor a hash can fail.
	_, _ = io.Copy(sum, b.reader())
	return aws.String(base64.StdEncoding.EncodeToString(sum.Sum(nil)))
}
