// Package lease keeps a primary's right to go on without being told: a deadline that echoes of the operator's grant and
// proofs of a quorum move forward, and that ends the primary by itself when neither comes (I5).
package lease

import (
	"sync"
	"time"
)

// Guard calls fence once when its deadline passes. It is a dead man's switch: nothing else has to run for it to act.
type Guard struct {
	fence func()

	mu       sync.Mutex
	timer    *time.Timer
	epoch    uint64
	length   time.Duration
	deadline time.Time
}

// NewGuard returns a guard that is not armed. fence must not block.
func NewGuard(fence func()) *Guard { return &Guard{fence: fence} }

// Arm starts the guard for an epoch, or gives a running one another length. A lease begins at from. Arming again for the
// same epoch never moves the deadline backward in the life of the lease, unless the length got shorter.
func (g *Guard) Arm(epoch uint64, length time.Duration, from time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer != nil && g.epoch == epoch {
		if g.length != length {
			g.deadline = g.deadline.Add(length - g.length)
			g.length = length
			g.timer.Reset(time.Until(g.deadline))
		}
		return
	}
	g.stop()
	g.epoch, g.length, g.deadline = epoch, length, from.Add(length)
	g.timer = time.AfterFunc(time.Until(g.deadline), g.expire)
}

// Disarm ends the lease: there is nothing to fence any more.
func (g *Guard) Disarm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stop()
}

// stop is called with the lock held.
func (g *Guard) stop() {
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	g.epoch, g.length, g.deadline = 0, 0, time.Time{}
}

// Renew moves the deadline of an epoch's lease to from plus its length. from is when the proof was begun (when the
// answered heartbeat was sent, when the acknowledged write was started), never when its answer came.
func (g *Guard) Renew(epoch uint64, from time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer == nil || g.epoch != epoch {
		return
	}
	if deadline := from.Add(g.length); deadline.After(g.deadline) {
		g.deadline = deadline
		g.timer.Reset(time.Until(deadline))
	}
}

// Remaining returns how much of the lease is left, and its length; false while not armed.
func (g *Guard) Remaining() (left, length time.Duration, armed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer == nil {
		return 0, 0, false
	}
	return time.Until(g.deadline), g.length, true
}

// expire runs on the timer's goroutine.
func (g *Guard) expire() {
	g.mu.Lock()
	// A renewal may have come between the timer's end and the lock.
	if g.timer == nil {
		g.mu.Unlock()
		return
	}
	if left := time.Until(g.deadline); left > 0 {
		g.timer.Reset(left)
		g.mu.Unlock()
		return
	}
	g.stop()
	g.mu.Unlock()
	g.fence()
}
