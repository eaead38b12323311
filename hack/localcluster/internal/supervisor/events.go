package supervisor

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/control"
)

// events keeps the lines of progress, so that an `up` that comes later sees them all.
type events struct {
	mu        sync.Mutex
	list      []control.Event
	changed   chan struct{}
	followers sync.WaitGroup
}

func newEvents() *events { return &events{changed: make(chan struct{})} }

func (e *events) add(ev control.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
	close(e.changed)
	e.changed = make(chan struct{})
}

// line tells of progress while the cluster is starting; afterwards nobody follows.
func (e *events) line(text string) {
	if e.last().State == control.Starting {
		e.add(control.Event{Line: text, State: control.Starting})
	}
}

func (e *events) end(state string, err error) {
	ev := control.Event{State: state}
	if err != nil {
		ev.Error = err.Error()
	}
	e.add(ev)
}

// last returns the state of the cluster.
func (e *events) last() control.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == 0 {
		return control.Event{State: control.Starting}
	}
	return e.list[len(e.list)-1]
}

// since returns the events from the n-th on, and a channel that is closed when there are more.
func (e *events) since(n int) ([]control.Event, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.list[n:], e.changed
}

// drain waits until those who follow have read the last event.
func (e *events) drain(timeout time.Duration) {
	done := make(chan struct{})
	go func() {
		e.followers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(timeout):
	}
}

// ServeHTTP sends every event until the last.
func (e *events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.followers.Add(1)
	defer e.followers.Done()
	encoder := json.NewEncoder(w)
	for n := 0; ; {
		list, changed := e.since(n)
		for _, ev := range list {
			if err := encoder.Encode(ev); err != nil {
				return
			}
			if ev.State != control.Starting {
				return
			}
		}
		n += len(list)
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
