package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/kapok-operators/kapok/shared/link"
)

func TestDeliveries(t *testing.T) {
	spans, registry := tracetest.NewInMemoryExporter(), prometheus.NewRegistry()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	r, err := NewRecorder(provider, registry)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_800_000_000, 0)
	_, parent := provider.Tracer("test").Start(t.Context(), "direct")
	key := link.PeerKey{Namespace: "shop", Pod: "db-0", UID: "u0"}
	r.Delivered(t.Context(), link.Delivery{Key: key, ID: 1, Span: parent.SpanContext(), Sent: at, Answered: at.Add(3 * time.Millisecond)})
	r.Delivered(t.Context(), link.Delivery{Key: key, ID: 2, Span: parent.SpanContext(), Sent: at, Answered: at.Add(20 * time.Millisecond), Refusal: "stale epoch"})
	// Nobody traces this one.
	r.Delivered(t.Context(), link.Delivery{Key: key, ID: 3, Sent: at, Answered: at.Add(time.Second)})

	got := spans.GetSpans()
	if len(got) != 2 {
		t.Fatalf("got %d spans", len(got))
	}
	for i, s := range got {
		if s.Parent.SpanID() != parent.SpanContext().SpanID() || !s.StartTime.Equal(at) || len(s.Attributes) != 3 {
			t.Errorf("span %d: %+v", i, s)
		}
	}
	if took := got[0].EndTime.Sub(got[0].StartTime); took != 3*time.Millisecond || got[0].Status.Code == codes.Error {
		t.Errorf("the first took %s, status %v", took, got[0].Status)
	}
	if got[1].Status.Description != "stale epoch" {
		t.Errorf("the refusal is told as %v", got[1].Status)
	}
	if n := testutil.ToFloat64(r.refused); n != 1 {
		t.Errorf("%v refusals counted", n)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	h := families[0].Metric[0].Histogram
	if h.GetSampleCount() != 3 || len(h.PositiveSpan) == 0 {
		t.Errorf("got %v", h)
	}
	exemplars := 0
	for _, b := range h.Bucket {
		if b.Exemplar != nil && b.Exemplar.Label[0].GetValue() == parent.SpanContext().TraceID().String() {
			exemplars++
		}
	}
	if exemplars != 2 {
		t.Errorf("%d exemplars", exemplars)
	}
}

type peers []link.Peer

func (p peers) List(string) []link.Peer { return p }

func TestStreams(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	key := func(pod, uid string) link.PeerKey { return link.PeerKey{Namespace: "shop", Pod: pod, UID: uid} }
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(peers{
		{Key: key("db-0", "u0"), Connected: true, ConnectedAt: now.Add(-time.Hour), HeartbeatAt: now.Add(-time.Second)},
		{Key: key("db-1", "u1"), Connected: true, Silent: true, ConnectedAt: now.Add(-time.Minute), HeartbeatAt: now.Add(-5 * time.Second)},
		{Key: key("db-2", "u2"), ConnectedAt: now.Add(-time.Hour), HeartbeatAt: now.Add(-30 * time.Second)},
	}, func() time.Time { return now }))
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP kapok_link_connected 1 if an agent's stream to this replica stands and the agent is heard, else 0.
# TYPE kapok_link_connected gauge
kapok_link_connected{namespace="shop",pod="db-0",pod_uid="u0"} 1
kapok_link_connected{namespace="shop",pod="db-1",pod_uid="u1"} 0
kapok_link_connected{namespace="shop",pod="db-2",pod_uid="u2"} 0
# HELP kapok_link_silence_seconds How long ago an agent was last heard by this replica.
# TYPE kapok_link_silence_seconds gauge
kapok_link_silence_seconds{namespace="shop",pod="db-0",pod_uid="u0"} 1
kapok_link_silence_seconds{namespace="shop",pod="db-1",pod_uid="u1"} 5
kapok_link_silence_seconds{namespace="shop",pod="db-2",pod_uid="u2"} 30
# HELP kapok_link_stream_age_seconds How long an agent's stream to this replica has stood; absent while there is none.
# TYPE kapok_link_stream_age_seconds gauge
kapok_link_stream_age_seconds{namespace="shop",pod="db-0",pod_uid="u0"} 3600
kapok_link_stream_age_seconds{namespace="shop",pod="db-1",pod_uid="u1"} 60
`)); err != nil {
		t.Error(err)
	}
}
