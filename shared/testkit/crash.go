package testkit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ErrCrashed is what every call of a crashed client returns.
var ErrCrashed = errors.New("the client has crashed, as the test asked")

// ErrInjected is in every error that a crash point makes up while its client goes on.
var ErrInjected = errors.New("as the test asked")

// Mode says what happens at a crash point.
type Mode int

// The first two modes kill the client. In the others it goes on, told of an error (LostAnswer, Conflict, Timeout,
// ServerError, Straggler) or of none (SlowRequest, SlowAnswer).
const (
	// AfterWrite lets the write through and crashes then, so that its caller
	// never learns of it.
	AfterWrite Mode = iota
	// BeforeWrite crashes instead of writing.
	BeforeWrite
	// LostAnswer lets the write through, reports an error for it, and goes on
	// working: an answer that was lost on the way.
	LostAnswer
	// Conflict, Timeout and ServerError write nothing and report the API server's error of that name.
	Conflict
	Timeout
	ServerError
	// SlowRequest lets Meanwhile happen before the write, and SlowAnswer between the write and its answer. Neither is an
	// error by itself; what comes of it is up to the API server and to the caller.
	SlowRequest
	SlowAnswer
	// Straggler reports a timeout, as when the caller gave up on a request that is still on its way. Land lets it arrive,
	// however much has been written meanwhile and whether its caller lives or not.
	Straggler
)

// Modes are all modes.
func Modes() []Mode {
	return []Mode{AfterWrite, BeforeWrite, LostAnswer, Conflict, Timeout, ServerError, SlowRequest, SlowAnswer, Straggler}
}

// String names the mode for subtests.
func (m Mode) String() string {
	return [...]string{
		"after-write", "before-write", "lost-answer", "conflict", "timeout", "server-error", "slow-request", "slow-answer", "straggler",
	}[m]
}

// Kills says whether the client is no more after the crash point.
func (m Mode) Kills() bool { return m == AfterWrite || m == BeforeWrite }

// CrashPoint is a client to whose n-th write something happens. Once crashed it neither
// reads nor writes, like a process that is no more.
type CrashPoint struct {
	client.WithWatch

	// Meanwhile is what others do while the n-th write is slow. The crash point is not locked meanwhile, so it may use the
	// client.
	Meanwhile func()

	mode Mode
	at   int

	mu      sync.Mutex
	writes  int
	crashed bool
	late    func(context.Context) error
}

// NewCrashPoint wraps a client. The writes are counted from 1; with at 0 it
// never crashes and only counts.
func NewCrashPoint(c client.WithWatch, mode Mode, at int) *CrashPoint {
	p := &CrashPoint{mode: mode, at: at}
	p.WithWatch = calls{read: p.read, write: p.write}.client(c)
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

// Crashed says whether the client is no more.
func (p *CrashPoint) Crashed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.crashed
}

// Crash ends the client now, wherever it is.
func (p *CrashPoint) Crash() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.crashed = true
}

// Land lets the Straggler arrive and returns what the API server said of it. It says whether there was one.
func (p *CrashPoint) Land(ctx context.Context) (bool, error) {
	p.mu.Lock()
	late := p.late
	p.late = nil
	p.mu.Unlock()
	if late == nil {
		return false, nil
	}
	return true, late(ctx)
}

func (p *CrashPoint) read(do func() error) error {
	if p.Crashed() {
		return ErrCrashed
	}
	return do()
}

func (p *CrashPoint) write(ctx context.Context, w write) error {
	p.mu.Lock()
	if p.crashed {
		p.mu.Unlock()
		return ErrCrashed
	}
	p.writes++
	here := p.writes == p.at
	if here && p.mode.Kills() {
		p.crashed = true
	}
	p.mu.Unlock()
	if !here {
		return w.do(ctx)
	}
	return p.happen(ctx, w)
}

// happen is what becomes of the n-th write.
func (p *CrashPoint) happen(ctx context.Context, w write) error {
	switch p.mode {
	case BeforeWrite:
		return ErrCrashed
	case AfterWrite, LostAnswer:
		if err := w.do(ctx); err != nil {
			return err
		}
		return ErrCrashed
	case SlowRequest:
		p.meanwhile()
		return w.do(ctx)
	case SlowAnswer:
		err := w.do(ctx)
		p.meanwhile()
		return err
	case Straggler:
		late, err := w.copied()
		if err != nil {
			return fmt.Errorf("keep the write of %s for later: %w", w.name, err)
		}
		p.mu.Lock()
		p.late = late
		p.mu.Unlock()
	case Conflict, Timeout, ServerError:
	}
	return p.refusal(w)
}

func (p *CrashPoint) meanwhile() {
	if p.Meanwhile != nil {
		p.Meanwhile()
	}
}

// refusal is the API server's error of the mode.
func (p *CrashPoint) refusal(w write) error {
	var status error
	switch p.mode {
	case Conflict:
		status = apierrors.NewConflict(w.about, w.name, errors.New("somebody else has written it"))
	case ServerError:
		status = apierrors.NewInternalError(errors.New("the store does not answer"))
	default:
		status = apierrors.NewTimeoutError("the request took too long", 1)
	}
	return fmt.Errorf("%w (%w)", status, ErrInjected)
}

// maxCrashPoints ends a run that never gets through.
const maxCrashPoints = 1000

// EachCrashPoint runs a scenario once for every write of it and every mode that kills or loses the answer. The
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
