package testkit

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// EventMode says what becomes of events.
type EventMode int

const (
	// DropEvents loses them.
	DropEvents EventMode = iota
	// MergeEvents holds them back and then lets only the newest about each thing pass, as when a watch breaks and what
	// happened meanwhile is seen in one look.
	MergeEvents
	// DelayEvents lets them come later, in their order, behind as many others.
	DelayEvents
)

// EventModes are all modes.
func EventModes() []EventMode { return []EventMode{DropEvents, MergeEvents, DelayEvents} }

// String names the mode for subtests.
func (m EventMode) String() string {
	return [...]string{"drop-events", "merge-events", "delay-events"}[m]
}

// Events stands between a source of events and whoever acts on them. It is safe for concurrent use.
type Events[T any] struct {
	mode     EventMode
	at, span int
	key      func(T) string

	mu   sync.Mutex
	seen int
	held []T
}

// NewEvents makes a filter for span events from the n-th on, counted from 1; with at 0 all pass and are only counted. The
// key names what an event is about, for merging.
func NewEvents[T any](mode EventMode, at, span int, key func(T) string) *Events[T] {
	return &Events[T]{mode: mode, at: at, span: max(1, span), key: key}
}

// Pass takes an event and returns those that are seen now.
func (e *Events[T]) Pass(event T) []T {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen++
	last := e.at + e.span - 1
	switch {
	case e.at == 0 || e.seen < e.at:
		return []T{event}
	case e.mode == DropEvents && e.seen <= last:
		return nil
	case e.mode == MergeEvents && e.seen <= last:
		e.held = slices.DeleteFunc(e.held, func(older T) bool { return e.key(older) == e.key(event) })
		e.held = append(e.held, event)
		if e.seen < last {
			return nil
		}
		return e.take()
	case e.mode == DelayEvents && e.seen <= last:
		e.held = append(e.held, event)
		return nil
	case e.mode == DelayEvents && e.seen == last+e.span:
		return append([]T{event}, e.take()...)
	}
	return []T{event}
}

// Flush returns what is held back. Dropped events stay lost.
func (e *Events[T]) Flush() []T {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.take()
}

func (e *Events[T]) take() []T {
	held := e.held
	e.held = nil
	return held
}

// Seen returns how many events came.
func (e *Events[T]) Seen() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen
}

// Reached says whether the first event came to which something happens.
func (e *Events[T]) Reached() bool { return e.at > 0 && e.Seen() >= e.at }

// WatchKey names the object that a watch event is about.
func WatchKey(event watch.Event) string {
	obj, err := meta.Accessor(event.Object)
	if err != nil {
		return fmt.Sprintf("%T", event.Object)
	}
	return fmt.Sprintf("%T %s/%s", event.Object, obj.GetNamespace(), obj.GetName())
}

// FilterWatches returns a client whose watches pass through a filter each; none if the function returns nil. What a
// filter still holds back when a watch ends is sent before its end. Bookmarks and errors are no events of an object:
// they pass and do not count.
func FilterWatches(c client.WithWatch, filter func(client.ObjectList) *Events[watch.Event]) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Watch: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			below, err := c.Watch(ctx, list, opts...)
			events := filter(list)
			if err != nil || events == nil {
				return below, err
			}
			w := &filteredWatch{below: below, events: events, out: make(chan watch.Event), stopped: make(chan struct{})}
			go w.run()
			return w, nil
		},
	})
}

// filteredWatch is a watch with a filter behind it.
type filteredWatch struct {
	below   watch.Interface
	events  *Events[watch.Event]
	out     chan watch.Event
	once    sync.Once
	stopped chan struct{}
}

func (w *filteredWatch) ResultChan() <-chan watch.Event { return w.out }

func (w *filteredWatch) Stop() {
	w.once.Do(func() { close(w.stopped) })
	w.below.Stop()
}

func (w *filteredWatch) run() {
	defer close(w.out)
	for event := range w.below.ResultChan() {
		seen := []watch.Event{event}
		if event.Type != watch.Bookmark && event.Type != watch.Error {
			seen = w.events.Pass(event)
		}
		w.send(seen)
	}
	w.send(w.events.Flush())
}

func (w *filteredWatch) send(events []watch.Event) {
	for _, event := range events {
		select {
		case w.out <- event:
		case <-w.stopped:
			return
		}
	}
}
