package event

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) Eventf(_, related runtime.Object, eventtype, reason, action, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf("%s %s %s %v: %s", eventtype, reason, action, related != nil, fmt.Sprintf(note, args...)))
}

func pod(uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}}
}

var promoted = Definition{Type: Normal, Reason: "Promoted", Action: "Promote", Meaning: "An instance | was promoted."}

func TestEmit(t *testing.T) {
	var r recorder
	e := NewEmitter(&r, 10)
	e.Emit(pod("1"), promoted.Event("%s is at 100%%", "shop-1"))
	e.Emit(pod("1"), promoted.Event("%s", "100% safe"))
	e.EmitRelated(pod("1"), pod("2"), Event{Type: Warning, Reason: "Lost", Action: "Fence", Note: "gone"})
	want := []string{
		"Normal Promoted Promote false: shop-1 is at 100%",
		"Normal Promoted Promote false: 100% safe",
		"Warning Lost Fence true: gone",
	}
	if diff := cmp.Diff(want, r.events); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestNoteIsBounded(t *testing.T) {
	var r recorder
	e := NewEmitter(&r, 10)
	for _, pad := range []string{"", "a", "ab"} {
		r.events = nil
		e.Emit(pod("1"), promoted.Event("%s", pad+strings.Repeat("ü", maxNote)))
		note := r.events[0][strings.Index(r.events[0], ": ")+2:]
		if len(note) > maxNote || len(note) < maxNote-4 || !utf8.ValidString(note) || !strings.HasSuffix(note, "ü…") {
			t.Errorf("the note has %d bytes and ends with %q", len(note), note[len(note)-6:])
		}
	}
	r.events = nil
	fits := strings.Repeat("x", maxNote)
	e.Emit(pod("1"), promoted.Event("%s", fits))
	if !strings.HasSuffix(r.events[0], ": "+fits) {
		t.Error("a note that fits was cut")
	}
}

func TestEmitOnceFiresOnTransitionsOnly(t *testing.T) {
	var r recorder
	e := NewEmitter(&r, 100)
	ev := promoted.Event("x")
	steps := []struct {
		uid, key, state string
		want            bool
	}{
		{"1", "health", "good", true},
		{"1", "health", "good", false},
		{"1", "role", "good", true},
		{"2", "health", "good", true},
		{"1", "health", "bad", true},
		{"1", "health", "bad", false},
		{"1", "health", "good", true},
	}
	sent := 0
	for i, s := range steps {
		if got := e.EmitOnce(pod(s.uid), s.key, s.state, ev); got != s.want {
			t.Errorf("step %d: sent %v, want %v", i, got, s.want)
		}
		if s.want {
			sent++
		}
	}
	if len(r.events) != sent {
		t.Errorf("%d events sent, want %d", len(r.events), sent)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var r recorder
	e := NewEmitter(&r, 3)
	for _, uid := range []string{"1", "2", "3"} {
		e.EmitOnce(pod(uid), "k", "s", Event{})
	}
	e.EmitOnce(pod("1"), "k", "s", Event{}) // Used again, so 2 is the oldest.
	e.EmitOnce(pod("4"), "k", "s", Event{})
	if len(e.states) != 3 || e.recent.Len() != 3 {
		t.Errorf("%d states remembered, want 3", len(e.states))
	}
	if e.EmitOnce(pod("1"), "k", "s", Event{}) || !e.EmitOnce(pod("2"), "k", "s", Event{}) {
		t.Error("the state that was not used for longest should have been forgotten")
	}
}

func TestTable(t *testing.T) {
	got := Table([]Definition{promoted, {Type: Warning, Reason: "Lost", Action: "Fence", Meaning: "It is gone."}})
	want := `| Reason | Type | Action | Meaning |
|---|---|---|---|
| ` + "`Promoted` | Normal | `Promote`" + ` | An instance \| was promoted. |
| ` + "`Lost` | Warning | `Fence`" + ` | It is gone. |
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
