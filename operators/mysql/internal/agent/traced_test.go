package agent

import (
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// TestLinesNameTheDirectiveUntilItIsFulfilled: what an instance does by itself, long after, was not asked for by it.
func TestLinesNameTheDirectiveUntilItIsFulfilled(t *testing.T) {
	span := func(n byte) trace.SpanContext {
		return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{15: n}, SpanID: trace.SpanID{7: n}})
	}
	b := &inbox{}
	named := func() byte {
		id := trace.SpanContextFromContext(b.traced(t.Context())).TraceID()
		return id[15]
	}
	put := func(epoch uint64, by trace.SpanContext) *instance.Directive {
		t.Helper()
		d := instance.Directive{Term: 1, Epoch: epoch, Role: instance.RoleStandby}
		if news, err := b.put(d.WithID(), by); err != nil || !news {
			t.Fatalf("news %t, %v", news, err)
		}
		return b.next()
	}
	accept := func(d *instance.Directive) { b.accept(d, state.State{Term: d.Term, Promised: d.Epoch}) }

	first := put(1, span(1))
	if named() != 0 {
		t.Error("a directive that waits is not obeyed yet")
	}
	accept(first)
	if named() != 1 {
		t.Errorf("the lines name %d, want 1", named())
	}
	second := put(2, span(2))
	if named() != 1 {
		t.Errorf("while the next one waits the lines name %d, want 1", named())
	}
	accept(second)
	b.fulfilled()
	if named() != 0 {
		t.Errorf("after it is fulfilled the lines name %d", named())
	}
	// A newer one arrives while an older one is being accepted: it is not known whose the lines are.
	third := put(3, span(3))
	put(4, span(4))
	accept(third)
	if named() != 0 {
		t.Errorf("the lines name %d", named())
	}
	accept(b.next())
	if named() != 4 {
		t.Errorf("the lines name %d, want 4", named())
	}
	// Nobody traces this one.
	accept(put(5, trace.SpanContext{}))
	if named() != 0 {
		t.Errorf("the lines name %d", named())
	}
}
