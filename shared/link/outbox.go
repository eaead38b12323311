package link

import (
	"context"
	"sync"
)

// slot is a place for one unsent message. Messages of a slot replace each
// other, so that a slow peer costs a bounded amount of memory and always gets
// the newest word.
type slot int

// The slots in the order in which they are sent.
const (
	slotHello slot = iota
	slotToken
	slotTrust
	slotDirective
	slotAck
	slotSnapshot
	slotHeartbeat
	slotCount
)

// outbox holds what is to be sent on one stream: at most one message per slot.
type outbox struct {
	mu    sync.Mutex
	slots [slotCount]*Envelope
	wake  chan struct{}
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// put places a message and never blocks.
func (o *outbox) put(s slot, env *Envelope) {
	o.mu.Lock()
	o.slots[s] = env
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take empties all slots, in sending order.
func (o *outbox) take() []*Envelope {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []*Envelope
	for i, env := range o.slots {
		if env != nil {
			out = append(out, env)
			o.slots[i] = nil
		}
	}
	return out
}

// transport is one stream as the two ends of the link see it.
type transport interface {
	Send(env *Envelope) error
	Recv() (*Envelope, error)
}

// drain sends the outbox until ctx ends or sending fails.
func (o *outbox) drain(ctx context.Context, t transport) error {
	for {
		for _, env := range o.take() {
			if err := t.Send(env); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-o.wake:
		}
	}
}
