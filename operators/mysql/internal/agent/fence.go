package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

const (
	// probeInterval is the time between two proofs of a quorum while the lease cannot be renewed otherwise.
	probeInterval = 500 * time.Millisecond
	// probeLimit is how many proofs may be on their way at once. More than one, because a write that was received just
	// before its replica's session ended is only released by the acknowledgement of a later one.
	probeLimit = 4
	// nudgeAfter is how long commits may wait before a write of the agent's own tries to free them.
	nudgeAfter = 700 * time.Millisecond
)

// fence ends a primary whose lease ran out. It is called by the guard, whatever else hangs.
func (a *Agent) fence() {
	r := a.current.Load()
	if r == nil {
		return
	}
	a.log.Error("Neither the operator nor a quorum of voters was seen in time: killing mysqld")
	a.inbox.mu.Lock()
	a.inbox.isolated = true
	a.inbox.mu.Unlock()
	a.ignoreEnd(r.kill())
	a.poke()
}

// Heard takes note of an operator's echo: grant is what it carried, sent is when the answered heartbeat was made.
func (a *Agent) Heard(grant json.RawMessage, sent time.Time) {
	if !sent.IsZero() {
		a.inbox.heard(sent)
	}
	var g instance.Grant
	if len(grant) == 0 || json.Unmarshal(grant, &g) != nil || g.Primary != a.opts.Instance {
		return
	}
	a.guard.Renew(g.Epoch, sent)
}

// prober proves a quorum by writing: a row that replicas acknowledged was on a quorum after it was begun.
type prober struct {
	log *slog.Logger

	mu      sync.Mutex
	client  *mysqld.Client
	epoch   uint64
	flying  int
	slot    int
	last    time.Time
	waiting time.Time
}

func newProber(log *slog.Logger) *prober { return &prober{log: log} }

// serve lets the prober write through client.
func (p *prober) serve(client *mysqld.Client, epoch uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.client, p.epoch = client, epoch
}

// stop keeps it from writing.
func (p *prober) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.client, p.epoch, p.waiting = nil, 0, time.Time{}
}

// observed tells it whether commits wait.
func (p *prober) observed(waiting bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !waiting:
		p.waiting = time.Time{}
	case p.waiting.IsZero():
		p.waiting = now
	}
}

// begin says whether a proof is due, and reserves it.
func (p *prober) begin(needed bool, now time.Time) (client *mysqld.Client, epoch uint64, slot int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stuck := !p.waiting.IsZero() && now.Sub(p.waiting) > nudgeAfter
	if p.client == nil || !needed && !stuck || p.flying >= probeLimit || now.Sub(p.last) < probeInterval {
		return nil, 0, 0, false
	}
	p.last = now
	p.flying++
	p.slot = (p.slot + 1) % (2 * probeLimit)
	return p.client, p.epoch, p.slot, true
}

// end gives a reservation back.
func (p *prober) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying--
}

// proveQuorum keeps the lease of a primary that still has its quorum although no operator is heard (I5).
func (a *Agent) proveQuorum(ctx context.Context) {
	ticker := time.NewTicker(probeInterval / 5)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		left, length, armed := a.guard.Remaining()
		// Heartbeats come several times within a lease; more than a third of it without one is not normal.
		client, epoch, slot, ok := a.prober.begin(armed && left < length*2/3, now)
		if !ok {
			continue
		}
		go func() {
			defer a.prober.end()
			limit := 5 * time.Second
			if armed {
				limit = length
			}
			if err := client.Probe(ctx, slot, epoch, limit); err != nil {
				a.log.Debug("A write could not prove a quorum", "error", err.Error())
				return
			}
			a.guard.Renew(epoch, now)
		}()
	}
}
