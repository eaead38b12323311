package manager

import (
	"context"
	"math"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// tenure is the election's lock, and remembers what its Lease promises.
//
// Others count the Lease's duration from the moment at which they first saw a
// renewal. That is never before the renewal was asked for, so nobody else leads
// before the duration is over since then, as long as clocks run at the same rate.
//
// The election looks at the Lease more often than it has to be renewed, so that a
// standby sees soon what it waits for; tenure leaves out the renewals in between.
type tenure struct {
	resourcelock.Interface
	duration time.Duration
	// every is how old a renewal has to be before the next one is written.
	every time.Duration
	// deadline is how long a leader goes without a renewal before it gives up.
	deadline time.Duration
	// generation is what the shards of an operator hold together; nil without shards.
	generation *generation
	now        func() time.Time

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

// looks is how often the election looks at the Lease in the time between two
// renewals. Between two looks of a standby there are up to 2.2 of these periods,
// and a leader that has died is noticed after two such times at worst: one until
// its last renewal was seen, and one after that has run out.
const looks = 3

// look is the election's period for the given time between renewals.
func look(retry time.Duration) time.Duration { return retry / looks }

// Get implements resourcelock.Interface.
//
// The election takes two records for the same if their bytes are, and they hold
// whole seconds only. The time of the renewal as the Lease has it goes with them:
// else a standby would count from the first renewal that it saw of a second, and
// would lead up to a second before the newest one has run out.
func (t *tenure) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if t.generation != nil {
		if record, err := t.generation.blocking(ctx); record != nil || err != nil {
			return record, nil, err
		}
	}
	record, raw, err := t.Interface.Get(ctx)
	if err == nil {
		t.mu.Lock()
		t.holder = record.HolderIdentity
		t.stolen = t.stolen || t.holding && t.holder != "" && t.holder != t.Identity()
		t.mu.Unlock()
		raw = strconv.AppendInt(raw, record.RenewTime.UnixMicro(), 10)
	}
	return record, raw, err
}

// Create implements resourcelock.Interface.
func (t *tenure) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	asked := t.now()
	if err := t.holdGeneration(ctx, record.HolderIdentity); err != nil {
		return err
	}
	err := t.Interface.Create(ctx, record)
	if err == nil {
		t.note(record.HolderIdentity, asked)
	}
	return err
}

// Update implements resourcelock.Interface.
func (t *tenure) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	asked := t.now()
	if t.fresh(record.HolderIdentity, asked) {
		return nil
	}
	if err := t.holdGeneration(ctx, record.HolderIdentity); err != nil {
		return err
	}
	err := t.Interface.Update(ctx, record)
	if err == nil {
		t.note(record.HolderIdentity, asked)
	}
	return err
}

// holdGeneration sees to it that this replica's generation holds the operator's
// Lease, before the Lease of the shard is written. The election has read that one
// before, and it is written only if nobody else did since: so whoever led the shard
// earlier has joined earlier, and has a smaller term.
func (t *tenure) holdGeneration(ctx context.Context, holder string) error {
	if t.generation == nil || holder != t.Identity() {
		return nil
	}
	t.mu.Lock()
	holding := t.holding
	t.mu.Unlock()
	if holding {
		return t.generation.renew(ctx)
	}
	return t.generation.join(ctx)
}

// fresh says whether a renewal would come too soon after the one before.
func (t *tenure) fresh(holder string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.holding && holder == t.Identity() && now.Sub(t.renewed) < t.every
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
