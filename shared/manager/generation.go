package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"
)

// generation is the common hold of all shards of one count on the operator's Lease.
//
// The Lease is the one that an operator without shards leads under. All shards of
// a count hold it together, under one identity, and each renews it along with the
// Lease of its own. Whoever has another identity, be it shards of another count or
// an operator without shards, of this version or an older one, finds the Lease held
// by somebody else and waits until nobody renews it any more. So the proof that two
// replicas do not lead at once is also that two generations do not act at once.
//
// Nobody gives the Lease up for the others: it runs out when the last shard ends.
type generation struct {
	leases   coordinationv1client.LeaseInterface
	name     string
	shard    Shard
	duration time.Duration
	now      func() time.Time

	// others is the Lease of another generation as it was last seen, unchanged since
	// then; waits that this one could not begin because of it.
	others string
	since  time.Time
	waits  bool
	// term is the number of the leadership that joined last.
	term atomic.Uint64
}

// errConflict says that somebody else wrote the Lease at the same time.
var errConflict = errors.New("the Lease was written by somebody else at the same time")

// joinAttempts is how often a join is tried at once when other shards write, too.
const joinAttempts = 5

// identity names the generation. What must be the same for all its members is in
// it: how objects are divided (v1), into how many, and for how long they hold.
func (g *generation) identity() string {
	return fmt.Sprintf("shards-v1-of-%d-for-%s", g.shard.Count, g.duration)
}

// join makes a new leadership a member and gives it its term: the next number of
// the Lease, which counts the leaderships of all shards and generations. If another
// generation has held the Lease, this one begins when nothing has been heard of that
// for a whole duration. That holds for a Lease that was given up, too, so that all
// which was promised under it (Term.Sure) has ended.
func (g *generation) join(ctx context.Context) error {
	err := errConflict
	for range joinAttempts {
		if err = g.tryJoin(ctx); !errors.Is(err, errConflict) {
			return err
		}
	}
	return err
}

func (g *generation) tryJoin(ctx context.Context) error {
	lease, free, err := g.look(ctx)
	if err != nil {
		return err
	}
	if !free {
		g.waits = true
		return fmt.Errorf("wait to be one of %d shards: the Lease %s is held by %q, and %s must pass in which nobody renews it",
			g.shard.Count, g.name, holderOf(lease), g.duration)
	}
	now := metav1.NewMicroTime(g.stamp())
	made := lease == nil
	if made {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
	}
	spec := &lease.Spec
	if holderOf(lease) != g.identity() {
		*spec = coordinationv1.LeaseSpec{
			HolderIdentity: new(g.identity()), AcquireTime: &now, LeaseTransitions: spec.LeaseTransitions,
			LeaseDurationSeconds: new(int32(g.duration / time.Second)),
		}
	}
	spec.RenewTime = &now
	spec.LeaseTransitions = new(ptr.Deref(spec.LeaseTransitions, 0) + 1)
	if made {
		lease, err = g.leases.Create(ctx, lease, metav1.CreateOptions{})
	} else {
		lease, err = g.leases.Update(ctx, lease, metav1.UpdateOptions{})
	}
	switch {
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
		return errConflict
	case err != nil:
		return fmt.Errorf("join the shards that hold Lease %s: %w", g.name, err)
	}
	term, err := number(lease.CreationTimestamp.Time, *lease.Spec.LeaseTransitions)
	if err != nil {
		return fmt.Errorf("join the shards that hold Lease %s: %w", g.name, err)
	}
	g.waits = false
	g.term.Store(term)
	return nil
}

// look reads the Lease, nil if there is none, and says whether this generation may
// write it: it holds it already, or nobody has written it for a whole duration.
func (g *generation) look(ctx context.Context) (lease *coordinationv1.Lease, free bool, err error) {
	asked := g.now()
	lease, err = g.leases.Get(ctx, g.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		lease = nil
	case err != nil:
		return nil, false, fmt.Errorf("read Lease %s: %w", g.name, err)
	}
	if holderOf(lease) == g.identity() {
		g.others = ""
		return lease, true, nil
	}
	version, hold := "none", g.duration
	if lease != nil {
		version = string(lease.UID) + "/" + lease.ResourceVersion
		hold = max(hold, time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 0))*time.Second)
	}
	if version != g.others {
		g.others, g.since = version, g.now()
		return lease, false, nil
	}
	return lease, asked.Sub(g.since) >= hold, nil
}

// renew renews the Lease for all, if this generation still holds it. The API server
// compares and writes in one step, so that shards do not get into each other's way.
func (g *generation) renew(ctx context.Context) error {
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/spec/holderIdentity", "value": g.identity()},
		{"op": "replace", "path": "/spec/renewTime", "value": metav1.NewMicroTime(g.stamp())},
	})
	if err != nil {
		return fmt.Errorf("encode the renewal of Lease %s: %w", g.name, err)
	}
	if _, err := g.leases.Patch(ctx, g.name, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("renew Lease %s as %s: %w", g.name, g.identity(), err)
	}
	return nil
}

// stamp is the time of a renewal. Its last digits tell the shards apart, since a
// renewal that leaves the Lease as another has just made it would be none, and
// nobody would count from it.
func (g *generation) stamp() time.Time {
	now, count := g.now().UnixMicro(), int64(g.shard.Count)
	return time.UnixMicro(now - now%count + int64(g.shard.Index))
}

// longAway is more than any election waits for.
const longAway = 24 * 60 * 60

// blocking returns, while this generation waits for another, a record of the one
// that it waits for, and nil otherwise. To the election it is a leader like any other.
func (g *generation) blocking(ctx context.Context) (*resourcelock.LeaderElectionRecord, error) {
	if !g.waits {
		return nil, nil
	}
	lease, free, err := g.look(ctx)
	if err != nil {
		return nil, err
	}
	if free {
		g.waits = false
		return nil, nil
	}
	// The election must not take over from it by its own count of time.
	return &resourcelock.LeaderElectionRecord{HolderIdentity: g.name + " of " + holderOf(lease), LeaseDurationSeconds: longAway}, nil
}

func holderOf(lease *coordinationv1.Lease) string {
	if lease == nil {
		return ""
	}
	return ptr.Deref(lease.Spec.HolderIdentity, "")
}
