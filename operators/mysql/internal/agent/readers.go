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
	// relay is how far the relay log was. A large transaction is on its way for long, without a heartbeat in between, and mysqld says nothing of it
	// before it is there as a whole: but its source is heard with every event of it.
	relay mysqld.RelayEnd
	// at is when something was first seen to have come, since the look before, when it had not.
	at, since time.Time
	looked    time.Time
	// present: what was heard came while the receiver ran as it does now. mysqld goes on showing when the source before
	// was heard, and how long that has been dead says nothing of the next one. begun: the next look is the first one since.
	present, begun bool
}

// take looks whether anything came from the source since the observation before.
func (h *hearing) take(o mysqld.Observation, now time.Time) {
	before := h.looked
	h.looked = now
	if o.Channel == nil || !o.Channel.Receiver {
		h.begin()
		return
	}
	grown := o.Channel.Relay.File == h.relay.File && o.Channel.Relay.Size > h.relay.Size && h.relay.Size > 0
	h.relay = o.Channel.Relay
	if h.begun {
		h.begun, grown = false, false
		if !o.Channel.HeardAt.After(h.mark) {
			// A start may put back what is shown, which is no news of the source.
			h.mark = o.Channel.HeardAt
			return
		}
	}
	if (o.Channel.HeardAt.IsZero() || o.Channel.HeardAt.Equal(h.mark)) && !grown {
		return
	}
	if before.IsZero() {
		before = now
	}
	h.mark, h.at, h.since, h.present = o.Channel.HeardAt, now, before, true
}

// begin notes that the receiver is told to run: what was heard before does not count any more.
func (h *hearing) begin() { h.present, h.begun, h.relay = false, true, mysqld.RelayEnd{} }

// silence is how long the source has not been heard, 0 if it never was since the receiver runs. heardAt is what mysqld notes:
// it is more exact than the looks of this process, and not believed beyond them.
func (h *hearing) silence(heardAt, now time.Time) time.Duration {
	if !h.present {
		return 0
	}
	return min(max(now.Sub(heardAt), now.Sub(h.at)), now.Sub(h.since))
}

// unheard is how long neither the operator nor the source has been heard.
func (a *Agent) unheard(now time.Time) time.Duration {
	last := a.inbox.lastHeard()
	if a.memory.source.at.After(last) {
		last = a.memory.source.at
	}
	return now.Sub(last)
}
