package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/kapok-operators/kapok/shared/objectstore"
)

// failure marks an error as one of the store: what a store cannot name by itself, such as that it is not reached, could as well be of the
// instance.
type failure struct{ err error }

// Error implements error.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap gives the store's own error.
func (f *failure) Unwrap() error { return f.err }

// marked marks the errors of a store.
type marked struct {
	objectstore.Store
	sweep func(ctx context.Context, before time.Time) error
}

// mark marks an error. That a caller has lost his patience is none of the store.
func mark(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return &failure{err}
}

// Put implements objectstore.Store. If it is the body that fails, its error is all that is told: the store may take it for its own.
func (m *marked) Put(ctx context.Context, key string, body io.Reader) error {
	source := &source{in: body}
	err := m.Store.Put(ctx, key, source)
	if err != nil && source.err != nil {
		return fmt.Errorf("read what is to be stored as %s: %w", key, source.err)
	}
	return mark(ctx, err)
}

// source remembers why a body ended.
type source struct {
	in  io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// Get implements objectstore.Store.
func (m *marked) Get(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	body, err := m.Store.Get(ctx, key, offset)
	if err != nil {
		return nil, mark(ctx, err)
	}
	return &content{ReadCloser: body, ctx: ctx}, nil
}

// content marks the errors of an object that is read.
type content struct {
	io.ReadCloser
	ctx context.Context //nolint:containedctx // It is that of Get, which the reader is good for.
}

// Read implements io.Reader.
func (c *content) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = mark(c.ctx, err)
	}
	return n, err
}

// Stat implements objectstore.Store.
func (m *marked) Stat(ctx context.Context, key string) (objectstore.Info, error) {
	info, err := m.Store.Stat(ctx, key)
	return info, mark(ctx, err)
}

// List implements objectstore.Store.
func (m *marked) List(ctx context.Context, prefix string) iter.Seq2[objectstore.Info, error] {
	return func(yield func(objectstore.Info, error) bool) {
		for info, err := range m.Store.List(ctx, prefix) {
			if !yield(info, mark(ctx, err)) {
				return
			}
		}
	}
}

// Delete implements objectstore.Store.
func (m *marked) Delete(ctx context.Context, key string) error {
	return mark(ctx, m.Store.Delete(ctx, key))
}

// Sweep removes what was begun before a time and never finished: what a process that was killed leaves in the store.
func (m *marked) Sweep(ctx context.Context, before time.Time) error {
	return mark(ctx, m.sweep(ctx, before))
}
