package testkit

import (
	"context"
	"errors"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// ErrCrashed is what every call of a crashed client returns.
var ErrCrashed = errors.New("the client has crashed, as the test asked")

// Mode says what happens at a crash point.
type Mode int

const (
	// AfterWrite lets the write through and crashes then, so that its caller
	// never learns of it.
	AfterWrite Mode = iota
	// BeforeWrite crashes instead of writing.
	BeforeWrite
	// LostAnswer lets the write through, reports an error for it, and goes on
	// working: an answer that was lost on the way.
	LostAnswer
)

// String names the mode for subtests.
func (m Mode) String() string {
	return [...]string{"after-write", "before-write", "lost-answer"}[m]
}

// CrashPoint is a client that crashes at its n-th write. Once crashed it neither
// reads nor writes, like a process that is no more.
type CrashPoint struct {
	client.WithWatch

	mode Mode
	at   int

	mu      sync.Mutex
	writes  int
	crashed bool
}

// NewCrashPoint wraps a client. The writes are counted from 1; with at 0 it
// never crashes and only counts.
func NewCrashPoint(c client.WithWatch, mode Mode, at int) *CrashPoint {
	p := &CrashPoint{mode: mode, at: at}
	p.WithWatch = interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			return p.read(func() error { return c.Get(ctx, key, obj, opts...) })
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return p.read(func() error { return c.List(ctx, list, opts...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return p.write(func() error { return c.Create(ctx, obj, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return p.write(func() error { return c.Delete(ctx, obj, opts...) })
		},
		DeleteAllOf: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteAllOfOption) error {
			return p.write(func() error { return c.DeleteAllOf(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return p.write(func() error { return c.Update(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return p.write(func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return p.write(func() error { return c.Apply(ctx, obj, opts...) })
		},
		SubResourceGet: func(ctx context.Context, c client.Client, sub string, obj, subObj client.Object, opts ...client.SubResourceGetOption) error {
			return p.read(func() error { return c.SubResource(sub).Get(ctx, obj, subObj, opts...) })
		},
		SubResourceCreate: func(ctx context.Context, c client.Client, sub string, obj, subObj client.Object, opts ...client.SubResourceCreateOption) error {
			return p.write(func() error { return c.SubResource(sub).Create(ctx, obj, subObj, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
			return p.write(func() error { return c.SubResource(sub).Update(ctx, obj, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return p.write(func() error { return c.SubResource(sub).Patch(ctx, obj, patch, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return p.write(func() error { return c.SubResource(sub).Apply(ctx, obj, opts...) })
		},
	})
	return p
}

// Writes returns how many writes were tried.
func (p *CrashPoint) Writes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writes
}

// Reached says whether the crash point was reached.
func (p *CrashPoint) Reached() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at > 0 && p.writes >= p.at
}

func (p *CrashPoint) read(do func() error) error {
	p.mu.Lock()
	crashed := p.crashed
	p.mu.Unlock()
	if crashed {
		return ErrCrashed
	}
	return do()
}

func (p *CrashPoint) write(do func() error) error {
	p.mu.Lock()
	if p.crashed {
		p.mu.Unlock()
		return ErrCrashed
	}
	p.writes++
	here := p.writes == p.at
	if here && p.mode != LostAnswer {
		p.crashed = true
	}
	p.mu.Unlock()
	if !here {
		return do()
	}
	if p.mode == BeforeWrite {
		return ErrCrashed
	}
	if err := do(); err != nil {
		return err
	}
	return ErrCrashed
}

// maxCrashPoints ends a run that never gets through.
const maxCrashPoints = 1000

// EachCrashPoint runs a scenario once for every write of it and every mode. The
// scenario makes its own fresh state, runs with the given wrapper around its
// client until that crashes or the work is done, runs again without it, and
// checks that it has converged. It returns the crash point it was given.
func EachCrashPoint(t *testing.T, scenario func(t *testing.T, crash func(client.WithWatch) *CrashPoint) *CrashPoint) {
	t.Helper()
	for _, mode := range []Mode{AfterWrite, BeforeWrite, LostAnswer} {
		t.Run(mode.String(), func(t *testing.T) {
			for n := 1; ; n++ {
				if n > maxCrashPoints {
					t.Fatalf("more than %d writes: the scenario does not settle", maxCrashPoints)
				}
				point := scenario(t, func(c client.WithWatch) *CrashPoint { return NewCrashPoint(c, mode, n) })
				if t.Failed() {
					t.Fatalf("did not converge after a crash at write %d (%s)", n, mode)
				}
				if !point.Reached() {
					if n == 1 {
						t.Fatal("the scenario writes nothing, so nothing was tested")
					}
					return
				}
			}
		})
	}
}
