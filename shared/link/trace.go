package link

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Delivery is a directive that an agent has answered.
type Delivery struct {
	// Key names the pod.
	Key PeerKey
	// ID is the directive's number.
	ID uint64
	// Span is what it was sent by; not valid if nobody traces that.
	Span trace.SpanContext
	// Sent is when it was given to Send, Answered when the answer arrived.
	Sent, Answered time.Time
	// Refusal is the agent's reason if it refused.
	Refusal string
}

// sending is a directive that has not been answered yet.
type sending struct {
	id   uint64
	span trace.SpanContext
	at   time.Time
}

const traceParent = "traceparent"

// traceOf writes the span of a context as it travels; empty if there is none.
func traceOf(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceParent]
}

// withTrace gives a context the span that a message names. What cannot be read
// is left out: a peer of another build must not be refused for it.
func withTrace(ctx context.Context, text string) context.Context {
	if text == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceParent: text})
}
