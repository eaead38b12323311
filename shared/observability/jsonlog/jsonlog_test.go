package jsonlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"
)

func span(n byte) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{15: n}, SpanID: trace.SpanID{7: n}})
}

const (
	trace1, span1 = "00000000000000000000000000000001", "0000000000000001"
	trace2, span2 = "00000000000000000000000000000002", "0000000000000002"
)

// line decodes the one line that was written and fails if a key is in it twice.
func line(t *testing.T, written *bytes.Buffer) map[string]any {
	t.Helper()
	text := written.String()
	if strings.Count(text, "\n") != 1 {
		t.Fatalf("want one line, got %q", text)
	}
	for _, key := range []string{KeyTraceID, KeySpanID, KeyPod, KeyPodUID} {
		if strings.Count(text, `"`+key+`"`) > 1 {
			t.Errorf("%s is in the line twice: %s", key, text)
		}
	}
	var out map[string]any
	if err := json.Unmarshal(written.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLinesCarryTheKeys(t *testing.T) {
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		write       func(*Handler)
		trace, span string
	}{
		"no span": {write: func(h *Handler) { slog.New(h).Info("x") }},
		"given to a logr logger": {
			write: func(h *Handler) { logr.FromSlogHandler(h).WithValues("span", Span{span(1)}).Info("x") },
			trace: trace1, span: span1,
		},
		"given to a slog logger, beside others": {
			write: func(h *Handler) { slog.New(h).With("a", 1, "span", Span{span(1)}).Info("x") },
			trace: trace1, span: span1,
		},
		"the later one replaces the earlier one": {
			write: func(h *Handler) {
				logr.FromSlogHandler(h).WithValues("span", Span{span(1)}).WithValues("span", Span{span(2)}).Info("x")
			},
			trace: trace2, span: span2,
		},
		"of the context": {
			write: func(h *Handler) {
				slog.New(h).InfoContext(trace.ContextWithSpanContext(context.Background(), span(2)), "x")
			},
			trace: trace2, span: span2,
		},
		"of an error that is logged elsewhere": {
			write: func(h *Handler) {
				logr.FromSlogHandler(h).Error(fmt.Errorf("wrapped: %w", Spanned(boom, span(2))), "x")
			},
			trace: trace2, span: span2,
		},
		"an error without a span": {write: func(h *Handler) { logr.FromSlogHandler(h).Error(boom, "x") }},
	} {
		t.Run(name, func(t *testing.T) {
			var written bytes.Buffer
			tc.write(New(&written, slog.LevelInfo, Pod{Name: "op-0", UID: "uid-0"}))
			got := line(t, &written)
			if got[KeyPod] != "op-0" || got[KeyPodUID] != "uid-0" || got["msg"] != "x" {
				t.Errorf("got %v", got)
			}
			for key, want := range map[string]string{KeyTraceID: tc.trace, KeySpanID: tc.span} {
				if value, ok := got[key]; ok != (want != "") || ok && value != want {
					t.Errorf("%s is %v, want %q", key, value, want)
				}
			}
		})
	}
}

func TestWhatIsUnknownIsLeftOut(t *testing.T) {
	var written bytes.Buffer
	slog.New(New(&written, slog.LevelInfo, Pod{})).Info("x")
	got := line(t, &written)
	for _, key := range []string{KeyPod, KeyPodUID, KeyTraceID} {
		if _, ok := got[key]; ok {
			t.Errorf("%s is in %v", key, got)
		}
	}
}

func TestSpannedErrorsAreWhatTheyWere(t *testing.T) {
	boom := errors.New("boom")
	err := Spanned(boom, span(1))
	if !errors.Is(err, boom) || err.Error() != "boom" {
		t.Errorf("got %v", err)
	}
	if Spanned(nil, span(1)) != nil {
		t.Error("no error became one")
	}
	if got := Spanned(boom, trace.SpanContext{}); got != boom { //nolint:errorlint // The very same value is meant.
		t.Errorf("got %v", got)
	}
}

// TestALineKeepsItsOwnValues: a record is shared with other handlers, so that what is added must not show in it.
func TestALineKeepsItsOwnValues(t *testing.T) {
	var written bytes.Buffer
	h := New(&written, slog.LevelInfo, Pod{}).WithAttrs([]slog.Attr{slog.Any("span", Span{span(1)})})
	var r slog.Record
	for i := range 8 {
		r.Add(fmt.Sprint("k", i), i)
	}
	if err := h.Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if n := r.NumAttrs(); n != 8 {
		t.Errorf("the record has %d values now", n)
	}
	if got := line(t, &written); got["k7"] != float64(7) || got[KeyTraceID] != trace1 {
		t.Errorf("got %v", got)
	}
}
