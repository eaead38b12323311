package controller_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kapok-operators/kapok/shared/link"
	"github.com/kapok-operators/kapok/shared/testkit"
)

// missed is what happens to the events that wake the loop.
type missed struct {
	mode     testkit.EventMode
	at, span int
}

func (m missed) String() string { return fmt.Sprintf("%s %d from %d", m.mode, m.span, m.at) }

// misses are all that can happen to n events.
func misses(n int) []missed {
	var out []missed
	for _, mode := range testkit.EventModes() {
		for at := 1; at <= n; at++ {
			// One, and so many that it is nearly all of them.
			for _, span := range []int{1, 20} {
				out = append(out, missed{mode, at, span})
			}
		}
	}
	return out
}

// TestUnseenEvents runs every path with an operator that looks only when it is woken: by an event of an object or of an
// agent, or when the time has come that it has named itself. Events are lost, merged and late. Whatever it misses, it must
// come to the same end, if later.
func TestUnseenEvents(t *testing.T) {
	sweep(t, func(want undisturbed) []missed { return misses(want.events) },
		func(t *testing.T, p path, m missed, want undisturbed) {
			w := p.prepare(t)
			w.woken(p, testkit.NewEvents(m.mode, m.at, m.span, testkit.WatchKey))
			want.compare(w)
		})
}

// woken runs a path with an operator that looks when it is woken.
func (w *world) woken(p path, events *testkit.Events[watch.Event]) {
	w.t.Helper()
	w.restart(api)
	q := &queue{w: w, events: events, due: w.clock}
	w.agents.onChange = q.agent
	p.event(w)
	for range 4 * rounds {
		wrote := q.turn()
		w.surroundings()
		if !wrote && p.done(w) && q.rests() {
			return
		}
	}
	w.t.Fatalf("not there after %d turns: %s", 4*rounds, w.snapshot())
}

// queue stands for the controller's work queue of one cluster.
type queue struct {
	w      *world
	events *testkit.Events[watch.Event]
	// due is when the loop looks again; woken: an event wants it to look now.
	due      time.Time
	woken    bool
	failures int
}

func (q *queue) pass(event watch.Event) {
	if len(q.events.Pass(event)) > 0 {
		q.woken = true
	}
}

// agent takes what an agent says, which is about its pod.
func (q *queue) agent(key link.PeerKey) {
	q.pass(watch.Event{Type: watch.Modified, Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Pod}}})
}

// turn brings the cache to the present, wakes the loop by what has changed, and runs it if it is its turn. It says whether
// anything was written.
func (q *queue) turn() bool {
	w := q.w
	w.t.Helper()
	changed, err := w.cache.Sync(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, event := range changed {
		q.pass(event)
	}
	if !q.woken && w.clock.Before(q.due) {
		return false
	}
	q.woken = false
	before := w.writes.Writes()
	result, err := w.reconcile()
	switch {
	case err != nil:
		// As the controller's rate limiter does it.
		q.due = w.clock.Add(min(10*time.Second, 20*time.Millisecond<<min(q.failures, 10)))
		q.failures++
	case result.RequeueAfter > 0:
		q.due, q.failures = w.clock.Add(result.RequeueAfter), 0
	default:
		q.due, q.failures = w.clock.Add(never), 0
	}
	return w.writes.Writes() != before
}

// never is when a loop looks again that has not asked to.
const never = 1000 * time.Hour

// rests says whether nothing is to come but the routine look, and what comes late has come.
func (q *queue) rests() bool {
	if len(q.events.Flush()) > 0 {
		q.woken = true
	}
	return !q.woken && q.due.Sub(q.w.clock) > time.Second
}
