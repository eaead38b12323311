// Package jsonlog writes log lines that can be joined with traces and metrics: one JSON object per line, with the keys
// below and no other spelling of them. It is the one place that adds them, for operators (through logr) and for agents
// (through slog). It depends on nothing of Kubernetes, because agents carry it into every pod.
package jsonlog

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// The keys that lines are joined by. They are flat, so that neither Fluent Bit nor Loki has to be told of a nesting.
const (
	// KeyTraceID and KeySpanID name the round or action that the line is from, as 32 and 16 hexadecimal digits.
	KeyTraceID = "trace_id"
	KeySpanID  = "span_id"
	// KeyKind, KeyNamespace and KeyName name the object that the line is about.
	KeyKind      = "kind"
	KeyNamespace = "namespace"
	KeyName      = "name"
	// KeyPod and KeyPodUID name the pod that wrote the line.
	KeyPod    = "pod"
	KeyPodUID = "pod_uid"
	// KeyOperandPod and KeyOperandPodUID name the pod that a line of an operator is about.
	KeyOperandPod    = "operand_pod"
	KeyOperandPodUID = "operand_pod_uid"
)

// Pod is the pod that a process runs in, as the downward API tells it. What is empty is left out.
type Pod struct {
	// Namespace, Name and UID are those of the pod's metadata.
	Namespace, Name, UID string
}

// Handler is a slog.Handler that writes JSON and adds the span. The span of a line is, in this order: that of an error in
// the line (Spanned), that of the context, that given by With.
type Handler struct {
	json slog.Handler
	span trace.SpanContext
}

var _ slog.Handler = (*Handler)(nil)

// New returns a handler that writes lines of at least the given level to w and says in each which pod it is from.
func New(w io.Writer, level slog.Leveler, pod Pod) *Handler {
	var json slog.Handler = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	var who []slog.Attr
	for _, a := range []slog.Attr{slog.String(KeyPod, pod.Name), slog.String(KeyPodUID, pod.UID)} {
		if a.Value.String() != "" {
			who = append(who, a)
		}
	}
	if len(who) > 0 {
		json = json.WithAttrs(who)
	}
	return &Handler{json: json}
}

// Span is the value that makes all lines of a logger those of a span: give it to With or WithValues under any key. A
// later one replaces an earlier one, which the keys themselves would not.
type Span struct{ trace.SpanContext }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.json.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler. A Span among the attributes is not written but becomes that of the lines.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *h
	rest := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		if span, ok := a.Value.Any().(Span); ok {
			out.span = span.SpanContext
			continue
		}
		rest = append(rest, a)
	}
	if len(rest) > 0 {
		out.json = out.json.WithAttrs(rest)
	}
	return &out
}

// WithGroup implements slog.Handler. Within a group the span's keys are the group's; nothing here opens one.
func (h *Handler) WithGroup(name string) slog.Handler {
	out := *h
	out.json = out.json.WithGroup(name)
	return &out
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if span := h.spanOf(ctx, r); span.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String(KeyTraceID, span.TraceID().String()), slog.String(KeySpanID, span.SpanID().String()))
	}
	return h.json.Handle(ctx, r)
}

func (h *Handler) spanOf(ctx context.Context, r slog.Record) trace.SpanContext {
	span := h.span
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		span = s
	}
	r.Attrs(func(a slog.Attr) bool {
		err, ok := a.Value.Any().(error)
		if !ok {
			return true
		}
		if spanned, ok := errors.AsType[*spannedError](err); ok {
			span = spanned.span
		}
		return false
	})
	return span
}

// Spanned returns an error that says what err says and remembers the span that it comes from, so that whoever logs it at
// last, outside that span, still writes the keys. It returns err itself if there is no span.
func Spanned(err error, span trace.SpanContext) error {
	if err == nil || !span.IsValid() {
		return err
	}
	return &spannedError{err: err, span: span}
}

type spannedError struct {
	err  error
	span trace.SpanContext
}

func (e *spannedError) Error() string { return e.err.Error() }

func (e *spannedError) Unwrap() error { return e.err }
