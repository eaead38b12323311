package manager

import (
	"context"
	"errors"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

var (
	errUnsharded = errors.New("the operator offers -shards and has no reconciler that keeps to its shard (Manager.Sharded)")
	errUnsure    = errors.New("another process may lead this shard by now")
)

// Sharded returns a reconciler that hands on to r the objects of this shard alone.
// Its context ends at the moment from which on another process may act on them.
// Without shards it returns r itself. All reconcilers of an operator that offers
// shards go through it; the key of a request is that of the object which decides
// about its shard.
func (m *Manager) Sharded(r reconcile.Reconciler) reconcile.Reconciler {
	if !m.Shard.divided() {
		return r
	}
	m.keepsToShard = true
	return &sharded{shard: m.Shard, term: m.Term, within: r}
}

type sharded struct {
	shard  Shard
	term   *Term
	within reconcile.Reconciler
}

// Reconcile implements reconcile.Reconciler.
func (s *sharded) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if !s.shard.Owns(req.NamespacedName) {
		return reconcile.Result{}, nil
	}
	ctx, cancel := s.term.whileSure(ctx)
	defer cancel(nil)
	if err := context.Cause(ctx); err != nil {
		return reconcile.Result{}, err
	}
	return s.within.Reconcile(ctx, req)
}

// whileSure returns a context that ends when this replica is not sure any more that
// nobody else leads.
func (t *Term) whileSure(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	left := t.Sure()
	if left == 0 {
		cancel(errUnsure)
	}
	go func() {
		for ; left > 0; left = t.Sure() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(left):
			}
		}
		cancel(errUnsure)
	}()
	return ctx, cancel
}
