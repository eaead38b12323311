package protect

import (
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// totals count since the agent began.
type totals struct {
	pieces, failures int
	bytes            int64
	done, failed     int
	took             time.Duration
}

// ended counts a full backup.
func (t *totals) ended(state instance.FullState, took time.Duration) {
	if state == instance.FullFailed {
		t.failed++
		return
	}
	t.done++
	t.took = took
}

// Metrics are what the keeper has counted and measured.
type Metrics struct {
	// Archiving says that the binary log is to be archived.
	Archiving bool
	// Exposure is for how long something that was acknowledged has been waiting to be archived; Exposed says that this is known.
	Exposure time.Duration
	Exposed  bool
	// Pieces, Bytes and Failures are how many pieces of the archive were stored, what they hold, and how many steps have failed.
	Pieces, Failures int
	Bytes            int64
	// FullsDone and FullsFailed count the full backups that were taken; FullTook is how long the newest one of the former took.
	FullsDone, FullsFailed int
	FullTook               time.Duration
	// Drill is what the operator says about restore drills; nil unless the instance archives and there was one.
	Drill *instance.DrillResult
}

// Metrics returns them.
func (k *Keeper) Metrics() Metrics {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.totals
	m := Metrics{Pieces: t.pieces, Failures: t.failures, Bytes: t.bytes, FullsDone: t.done, FullsFailed: t.failed, FullTook: t.took}
	if m.Archiving = k.archiving.wanted != "" && k.archive.key == k.archiving.wanted; m.Archiving {
		m.Exposure, m.Exposed = k.archive.exposure(time.Now(), 3*k.pace.look)
		if duty := k.now.Duty; duty != nil && duty.Archive != nil {
			m.Drill = duty.Archive.Drill
		}
	}
	return m
}
