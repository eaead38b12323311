package agent

import (
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// opening is what a replica that keeps readers out waits for before it lets them in.
type opening struct {
	epoch uint64
	after string
	// withdrawn: it closed because it heard nobody.
	withdrawn bool
}

// take keeps the first point that is told in an epoch. Another epoch has another primary, which need not have all that the
// one before had executed.
func (w *opening) take(o mysqld.Observation, d *instance.Directive) {
	switch {
	case !o.Offline:
		*w = opening{}
	case d.Replica == nil || d.Replica.OpenAfter == "":
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
