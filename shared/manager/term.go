package manager

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// transitionBits leaves room for a million changes of leadership in the life of
// one Lease object.
const transitionBits = 20

// Term is the number of a leadership. Every later leadership of the same Lease
// has a greater one, even if the Lease was deleted and made anew in between:
// the seconds of its creation come first, then its count of transitions. (Two
// Leases made within one second, or by API servers whose clocks differ by more
// than the old Lease's age, could break that; neither happens unless somebody
// deletes the Lease again and again.)
//
// The leaderships of all shards of an operator are numbered by one Lease, so that
// a term is greater than all before it, whatever shard an object belonged to.
//
// Without leader election the term is fixed at start, from the clock.
type Term struct {
	lock   *resourcelock.LeaseLock
	tenure *tenure
	value  atomic.Uint64
}

// Term returns the number; false unless this replica leads.
func (t *Term) Term() (uint64, bool) {
	v := t.value.Load()
	return v, v != 0
}

// NeedLeaderElection says that a term begins with a leadership.
func (t *Term) NeedLeaderElection() bool { return true }

// Start is called by the manager when this replica has become the leader. It
// reads the Lease live until it has seen its own leadership there. Work that
// starts at the same moment finds no term yet and has to come back.
func (t *Term) Start(ctx context.Context) error {
	defer t.value.Store(0)
	for {
		term, err := t.read(ctx)
		if err == nil {
			t.value.Store(term)
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errNotHolder) || errors.Is(err, errWornOut) {
			return fmt.Errorf("read the term of this leadership: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
	<-ctx.Done()
	return nil
}

var (
	errNotHolder = errors.New("the Lease names another holder")
	errWornOut   = errors.New("the Lease has changed hands too often; delete it to go on")
)

func (t *Term) read(ctx context.Context) (uint64, error) {
	if t.lock == nil {
		return number(time.Now(), 0)
	}
	if g := t.tenure.generation; g != nil {
		return g.term.Load(), nil
	}
	lease, err := t.lock.Client.Leases(t.lock.LeaseMeta.Namespace).Get(ctx, t.lock.LeaseMeta.Name, metav1.GetOptions{})
	if err != nil {
		return 0, fmt.Errorf("read Lease %s: %w", t.lock.Describe(), err)
	}
	return termOf(lease, t.lock.Identity())
}

// termOf returns the term of a Lease that names the given holder.
func termOf(lease *coordinationv1.Lease, holder string) (uint64, error) {
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != holder {
		return 0, errNotHolder
	}
	transitions := int32(0)
	if lease.Spec.LeaseTransitions != nil {
		transitions = *lease.Spec.LeaseTransitions
	}
	return number(lease.CreationTimestamp.Time, transitions)
}

func number(created time.Time, transitions int32) (uint64, error) {
	if transitions < 0 || transitions >= 1<<transitionBits {
		return 0, errWornOut
	}
	return uint64(created.Unix())<<transitionBits | uint64(transitions), nil
}
