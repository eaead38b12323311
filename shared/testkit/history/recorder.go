package history

import (
	"fmt"
	"sync"
	"time"
)

// Outcome is what a client knows about what it tried.
type Outcome uint8

// The outcomes of an attempt.
const (
	// Pending: sent, or about to be, and not answered yet. Judged like Unknown.
	Pending Outcome = iota
	// Acknowledged: the server answered OK.
	Acknowledged
	// Failed: refused by the server, or never sent. It must not have taken effect.
	Failed
	// Unknown: the connection was lost while the answer was due. It may have taken effect or not.
	Unknown
)

// String is the outcome's word.
func (o Outcome) String() string {
	switch o {
	case Pending:
		return "pending"
	case Acknowledged:
		return "acknowledged"
	case Failed:
		return "failed"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// MarshalText encodes the outcome as its word.
func (o Outcome) MarshalText() ([]byte, error) {
	if o > Unknown {
		return nil, fmt.Errorf("outcome: %d is none", o)
	}
	return []byte(o.String()), nil
}

// UnmarshalText decodes the outcome's word.
func (o *Outcome) UnmarshalText(text []byte) error {
	for _, known := range []Outcome{Pending, Acknowledged, Failed, Unknown} {
		if string(text) == known.String() {
			*o = known
			return nil
		}
	}
	return fmt.Errorf("outcome: %q is none of pending, acknowledged, failed, unknown", text)
}

// Tally counts attempts by outcome.
type Tally struct {
	Attempted    int64 `json:"attempted"`
	Acknowledged int64 `json:"acknowledged"`
	Failed       int64 `json:"failed"`
	Unknown      int64 `json:"unknown"`
}

// count adds an attempt that has ended, or never will.
func (t *Tally) count(outcome Outcome) {
	t.Attempted++
	t.end(outcome)
}

// end adds the outcome of an attempt that was counted when it began.
func (t *Tally) end(outcome Outcome) {
	switch outcome {
	case Pending:
	case Acknowledged:
		t.Acknowledged++
	case Failed:
		t.Failed++
	case Unknown:
		t.Unknown++
	}
}

// Recorder keeps the outcome of every attempt and the time of every acknowledgement. It is safe for concurrent use.
type Recorder struct {
	mu      sync.Mutex
	writers [][]Outcome
	acks    []time.Duration
	events  []Event
	tally   Tally
}

// NewRecorder returns a recorder for writers 0 to writers-1.
func NewRecorder(writers int) *Recorder {
	return &Recorder{writers: make([][]Outcome, writers)}
}

// Begin notes that the writer is about to send its next row and returns the row's sequence number. A number is given
// out once, so a row is never sent twice.
func (r *Recorder) Begin(writer int) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	seq := int64(len(r.writers[writer]))
	r.writers[writer] = append(r.writers[writer], Pending)
	r.tally.Attempted++
	return seq
}

// End notes the outcome of an attempt. For an acknowledgement it returns the gap that it ended: how long before it
// nobody was answered; 0 for the first one and for every other outcome.
func (r *Recorder) End(writer int, seq int64, outcome Outcome, at time.Duration) Gap {
	r.mu.Lock()
	defer r.mu.Unlock()
	if was := r.writers[writer][seq]; was != Pending {
		panic(fmt.Sprintf("history: row %d/%d ended twice", writer, seq))
	}
	if outcome == Pending {
		panic("history: an attempt cannot end as pending")
	}
	r.writers[writer][seq] = outcome
	r.tally.end(outcome)
	if outcome == Acknowledged {
		return r.acknowledge(at)
	}
	return Gap{}
}

// acknowledge appends an acknowledgement's time. Two writers may take the time in one order and the lock in the other;
// the later time stands for both then.
func (r *Recorder) acknowledge(at time.Duration) Gap {
	if len(r.acks) == 0 {
		r.acks = append(r.acks, at)
		return Gap{}
	}
	last := r.acks[len(r.acks)-1]
	at = max(at, last)
	r.acks = append(r.acks, at)
	return Gap{From: last, To: at, Ended: true}
}

// Tally returns the counts so far.
func (r *Recorder) Tally() Tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tally
}

// Event is a window of time in which something was done to the cluster.
type Event struct {
	Name   string        `json:"name"`
	Opened time.Duration `json:"opened"`
	Closed time.Duration `json:"closed,omitempty"`
	// Gap is the longest silence that touches the window.
	Gap Gap `json:"gap"`
	// Acknowledged counts the acknowledgements within the window.
	Acknowledged int `json:"acknowledged"`
}

// Open begins an event's window, and ends that of an event which is still open.
func (r *Recorder) Open(name string, at time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.close(at)
	r.events = append(r.events, Event{Name: name, Opened: at})
}

// Close ends the window of the open event and returns it; false if there is none.
func (r *Recorder) Close(at time.Duration) (Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.close(at) {
		return Event{}, false
	}
	return r.events[len(r.events)-1], true
}

// Current returns the open event as it would be if it were closed at the given time; false if there is none.
func (r *Recorder) Current(at time.Duration) (Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == 0 || r.events[len(r.events)-1].Closed != 0 {
		return Event{}, false
	}
	return measure(r.events[len(r.events)-1], r.acks, at), true
}

func (r *Recorder) close(at time.Duration) bool {
	if len(r.events) == 0 || r.events[len(r.events)-1].Closed != 0 {
		return false
	}
	last := &r.events[len(r.events)-1]
	*last = measure(*last, r.acks, at)
	last.Closed = at
	return true
}

func measure(e Event, acks []time.Duration, at time.Duration) Event {
	e.Gap = Widest(acks, e.Opened, at)
	e.Acknowledged = within(acks, e.Opened, at)
	return e
}

// Events returns the closed events.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var closed []Event
	for _, e := range r.events {
		if e.Closed != 0 {
			closed = append(closed, e)
		}
	}
	return closed
}

// Gaps returns every silence longer than the threshold, in order.
func (r *Recorder) Gaps(threshold time.Duration) []Gap {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Gaps(r.acks, threshold)
}
