// Package event makes Kubernetes events values: what may happen is a catalogue
// of definitions, what did happen is an Event, and an Emitter sends it.
//
// Events fire on transitions only. Whoever compares an old with a new status
// already has the transition (condition.Changed) and uses Emit; who does not
// uses EmitOnce, which remembers the last state of each object.
package event

import (
	"container/list"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// maxNote is the limit of the events API, in bytes.
const maxNote = 1024

// Type says how loud an event is.
type Type string

// The two types that the events API knows.
const (
	Normal  Type = "Normal"
	Warning Type = "Warning"
)

// Definition is an entry of an operator's catalogue of events.
type Definition struct {
	Type Type
	// Reason is UpperCamel and says what happened.
	Reason string
	// Action is UpperCamel and says what the operator did or tried.
	Action string
	// Meaning is one sentence for the reference documentation.
	Meaning string
}

// Event is something that happened.
type Event struct {
	Type   Type
	Reason string
	Action string
	// Note is for a human.
	Note string
}

// Event returns an event of this definition with a formatted note.
func (d Definition) Event(format string, args ...any) Event {
	return Event{Type: d.Type, Reason: d.Reason, Action: d.Action, Note: fmt.Sprintf(format, args...)}
}

// Table renders a catalogue as a Markdown table, in the order given.
func Table(catalogue []Definition) string {
	var b strings.Builder
	b.WriteString("| Reason | Type | Action | Meaning |\n|---|---|---|---|\n")
	for _, d := range catalogue {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", d.Reason, d.Type, d.Action, strings.ReplaceAll(d.Meaning, "|", `\|`))
	}
	return b.String()
}

// Recorder is the part of the manager's event recorder that is used.
type Recorder interface {
	Eventf(regarding, related runtime.Object, eventtype, reason, action, note string, args ...any)
}

// Object is what an event is about.
type Object interface {
	runtime.Object
	GetUID() types.UID
}

// Emitter sends events. It is safe for concurrent use.
type Emitter struct {
	recorder Recorder
	limit    int

	mu     sync.Mutex
	states map[stateKey]*list.Element
	recent *list.List // of stateEntry, newest first
}

type stateKey struct {
	uid types.UID
	key string
}

type stateEntry struct {
	key   stateKey
	state string
}

// NewEmitter returns an emitter whose EmitOnce remembers at most limit states;
// the one not used for longest is forgotten first.
func NewEmitter(recorder Recorder, limit int) *Emitter {
	return &Emitter{recorder: recorder, limit: max(limit, 1), states: map[stateKey]*list.Element{}, recent: list.New()}
}

// Emit sends an event about an object.
func (e *Emitter) Emit(about Object, ev Event) { e.EmitRelated(about, nil, ev) }

// EmitRelated sends an event about an object that has to do with another one.
func (e *Emitter) EmitRelated(about Object, related runtime.Object, ev Event) {
	e.recorder.Eventf(about, related, string(ev.Type), ev.Reason, ev.Action, "%s", truncate(ev.Note))
}

// EmitOnce sends the event if state is not what it was at the last call for the
// same object and key, and says whether it did. After a restart the first call
// sends again.
func (e *Emitter) EmitOnce(about Object, key, state string, ev Event) bool {
	if !e.transition(stateKey{uid: about.GetUID(), key: key}, state) {
		return false
	}
	e.Emit(about, ev)
	return true
}

func (e *Emitter) transition(key stateKey, state string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if el, ok := e.states[key]; ok {
		e.recent.MoveToFront(el)
		entry := el.Value.(*stateEntry)
		if entry.state == state {
			return false
		}
		entry.state = state
		return true
	}
	e.states[key] = e.recent.PushFront(&stateEntry{key: key, state: state})
	if e.recent.Len() > e.limit {
		oldest := e.recent.Back()
		e.recent.Remove(oldest)
		delete(e.states, oldest.Value.(*stateEntry).key)
	}
	return true
}

// truncate cuts a note to what the API accepts, between characters.
func truncate(note string) string {
	if len(note) <= maxNote {
		return note
	}
	const mark = "…"
	cut := maxNote - len(mark)
	for !utf8.RuneStart(note[cut]) {
		cut--
	}
	return note[:cut] + mark
}
