package manager

import (
	"context"
	"math"
	"sync"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// tenure is the election's lock, and remembers what its Lease promises.
//
// Others count the Lease's duration from the moment at which they first saw a
// renewal. That is never before the renewal was asked for, so nobody else leads
// before the duration is over since then, as long as clocks run at the same rate.
type tenure struct {
	resourcelock.Interface
	duration time.Duration
	// deadline is how long a leader goes without a renewal before it gives up.
	deadline time.Duration
	now      func() time.Time

	mu sync.Mutex
	// holder is who held the Lease when it was last read.
	holder string
	// holding says that this replica does; renewed is when the newest renewal was
	// asked for.
	holding bool
	renewed time.Time
	// expired says that the leader before lost the Lease by letting it run out.
	expired bool
	// stolen says that the Lease named somebody else while this replica held it;
	// late that it was given up when a renewal was overdue.
	stolen, late bool
}

// Get implements resourcelock.Interface.
func (t *tenure) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := t.Interface.Get(ctx)
	if err == nil {
		t.mu.Lock()
		t.holder = record.HolderIdentity
		t.stolen = t.stolen || t.holding && t.holder != "" && t.holder != t.Identity()
		t.mu.Unlock()
	}
	return record, raw, err
}

// Create implements resourcelock.Interface.
func (t *tenure) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	asked := t.now()
	err := t.Interface.Create(ctx, record)
	if err == nil {
		t.note(record.HolderIdentity, asked)
	}
	return err
}

// Update implements resourcelock.Interface.
func (t *tenure) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	asked := t.now()
	err := t.Interface.Update(ctx, record)
	if err == nil {
		t.note(record.HolderIdentity, asked)
	}
	return err
}

// note takes note of a write that succeeded.
func (t *tenure) note(holder string, asked time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if holder != t.Identity() {
		// Released.
		t.late = t.late || t.overdue()
		t.holding, t.renewed = false, time.Time{}
		return
	}
	if !t.holding {
		t.expired = t.holder != "" && t.holder != holder
	}
	t.holding, t.renewed = true, asked
}

// overdue says whether this replica holds the Lease and has not renewed it in time.
func (t *tenure) overdue() bool { return t.holding && t.now().Sub(t.renewed) >= t.deadline }

// lost says whether a leadership ended without being given up.
func (t *tenure) lost() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stolen || t.late || t.overdue()
}

// sure is how long from now on nobody else can lead.
func (t *tenure) sure() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.holding {
		return 0
	}
	return max(0, t.duration-t.now().Sub(t.renewed))
}

// afterExpiry says whether the leader before lost its Lease by letting it run out.
func (t *tenure) afterExpiry() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.holding && t.expired
}

// Sure is how long from now on no other replica can lead: what is promised for
// no longer than that has ended before the next leadership begins, unless this
// one is given up on purpose. It is 0 while this replica does not lead.
func (t *Term) Sure() time.Duration {
	if t.tenure == nil {
		return math.MaxInt64
	}
	return t.tenure.sure()
}

// AfterExpiry says that this leadership follows one that ended because its Lease
// ran out. What that leader promised for no longer than it was Sure has ended.
func (t *Term) AfterExpiry() bool { return t.tenure != nil && t.tenure.afterExpiry() }
