package link

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace"
)

func sender(n byte) context.Context {
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{15: n}, SpanID: trace.SpanID{7: n}, TraceFlags: trace.FlagsSampled}))
}

// TestADirectiveSaysWhatSentIt: the agent learns the span, and the operator how long the delivery took and what came of it.
func TestADirectiveSaysWhatSentIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var delivered []Delivery
		h := NewHub(HubOptions{OnDelivered: func(_ context.Context, d Delivery) { delivered = append(delivered, d) }})
		p := join(t, h, identity("shop-0", "u0"))
		key := identity("shop-0", "u0").Key()
		send := func(ctx context.Context, payload string) *Envelope {
			t.Helper()
			if err := h.Send(ctx, key, json.RawMessage(payload)); err != nil {
				t.Fatal(err)
			}
			return p.hear()
		}
		first := send(sender(1), `{"n":1}`)
		if got := trace.SpanContextFromContext(withTrace(t.Context(), first.Trace)); got.TraceID() != (trace.TraceID{15: 1}) ||
			got.SpanID() != (trace.SpanID{7: 1}) || !got.IsSampled() || !got.IsRemote() {
			t.Errorf("the agent learns %v from %q", got, first.Trace)
		}
		time.Sleep(30 * time.Millisecond)
		p.say(&Envelope{Kind: KindAck, ID: first.ID})
		// An answer that comes twice is one.
		p.say(&Envelope{Kind: KindAck, ID: first.ID})
		second := send(sender(2), `{"n":2}`)
		third := send(t.Context(), `{"n":3}`)
		if third.Trace != "" {
			t.Errorf("a directive that nobody traces names %q", third.Trace)
		}
		// The answer to one that was replaced says nothing about the newest.
		p.say(&Envelope{Kind: KindAck, ID: second.ID})
		p.say(&Envelope{Kind: KindAck, ID: third.ID, Text: "not now"})
		if len(delivered) != 2 {
			t.Fatalf("%d deliveries were told: %+v", len(delivered), delivered)
		}
		if d := delivered[0]; d.Key != key || d.ID != first.ID || d.Answered.Sub(d.Sent) != 30*time.Millisecond ||
			d.Span.TraceID() != (trace.TraceID{15: 1}) || d.Refusal != "" {
			t.Errorf("the first: %+v", d)
		}
		if d := delivered[1]; d.ID != third.ID || d.Span.IsValid() || d.Refusal != "not now" {
			t.Errorf("the refused one: %+v", d)
		}
		p.cancel()
		<-p.ended
	})
}

func TestATraceThatCannotBeReadIsLeftOut(t *testing.T) {
	for _, text := range []string{"", "nonsense", "00-0-0-00", "ff-00000000000000000000000000000001-0000000000000001-01"} {
		if got := trace.SpanContextFromContext(withTrace(t.Context(), text)); got.IsValid() {
			t.Errorf("%q became %v", text, got)
		}
	}
}
