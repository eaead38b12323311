package agent

import (
	"crypto/rand"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// opening is what a replica that keeps readers out waits for before it lets them in.
type opening struct {
	// closing names this time of being closed; empty while it is open.
	closing string
	epoch   uint64
	after   string
}

// take keeps the first point that is told in an epoch for this closing. What was told for an earlier one is older than what
// readers have seen elsewhere since. Another epoch has another primary, which need not have all that the one before had
// executed.
func (w *opening) take(o mysqld.Observation, d *instance.Directive) {
	if !o.Offline {
		*w = opening{}
		return
	}
	if w.closing == "" {
		w.closing = rand.Text()
	}
	switch {
	case d == nil || d.Replica == nil || d.Replica.OpenAfter == "" || d.Replica.Closing != w.closing:
		w.epoch, w.after = 0, ""
	case w.after == "" || w.epoch != d.Epoch:
		w.epoch, w.after = d.Epoch, d.Replica.OpenAfter
	}
}

// hearing is when a source was last heard, by this process's own clock. What mysqld notes is in the time of a clock that
// somebody may set, so that only its change counts.
type hearing struct {
	mark time.Time
	at   time.Time
}

// take looks whether anything came from the source since the observation before.
func (h *hearing) take(o mysqld.Observation, now time.Time) {
	if o.Channel == nil || o.Channel.HeardAt.IsZero() || o.Channel.HeardAt.Equal(h.mark) {
		return
	}
	h.mark, h.at = o.Channel.HeardAt, now
}

// unheard is how long neither the operator nor the source has been heard.
func (a *Agent) unheard(now time.Time) time.Duration {
	last := a.inbox.lastHeard()
	if a.memory.source.at.After(last) {
		last = a.memory.source.at
	}
	return now.Sub(last)
}
