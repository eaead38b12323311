// Package metrics exposes the links of an operator replica: who is linked, for how long, and what becomes of directives. It
// is apart from the link itself because agents carry that into every pod.
package metrics

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/kapok-operators/kapok/shared/link"
	"github.com/kapok-operators/kapok/shared/observability"
)

// scope is the instrumentation scope of the spans.
const scope = "github.com/kapok-operators/kapok/shared/link"

// Recorder records deliveries.
type Recorder struct {
	// tracer is nil if nobody wants spans.
	tracer  trace.Tracer
	took    prometheus.Histogram
	refused prometheus.Counter
}

// NewRecorder registers the metrics of deliveries. A nil provider makes no spans; a nil registerer exposes nothing.
func NewRecorder(spans trace.TracerProvider, metrics prometheus.Registerer) (*Recorder, error) {
	r := &Recorder{
		took: prometheus.NewHistogram(observability.Histogram("kapok_link_directive_duration_seconds",
			"Time from sending a directive to the agent's answer that it has taken or refused it.")),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kapok_link_directives_refused_total", Help: "Directives that agents refused; each says why in its log."}),
	}
	if spans != nil {
		r.tracer = spans.Tracer(scope)
	}
	if metrics == nil {
		return r, nil
	}
	for _, c := range []prometheus.Collector{r.took, r.refused} {
		if err := metrics.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of the link: %w", err)
		}
	}
	return r, nil
}

// Delivered records a delivery: it is a HubOptions.OnDelivered. The span is below that which sent the directive, and ends
// after it.
func (r *Recorder) Delivered(ctx context.Context, d link.Delivery) {
	observability.Observe(r.took, d.Span, d.Answered.Sub(d.Sent))
	if d.Refusal != "" {
		r.refused.Inc()
	}
	if r.tracer == nil || !d.Span.IsSampled() {
		return
	}
	_, span := r.tracer.Start(trace.ContextWithSpanContext(ctx, d.Span), "deliver directive", trace.WithTimestamp(d.Sent),
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
			observability.AttributeNamespace.String(d.Key.Namespace), observability.AttributePod.String(d.Key.Pod),
			observability.AttributePodUID.String(d.Key.UID)))
	if d.Refusal != "" {
		span.SetStatus(codes.Error, d.Refusal)
	}
	span.End(trace.WithTimestamp(d.Answered))
}

// Peers lists the peers; the Hub is one.
type Peers interface {
	// List returns the peers of a namespace, or of all with an empty name.
	List(namespace string) []link.Peer
}

// streams exposes what stands.
type streams struct {
	peers Peers
	now   func() time.Time
}

// NewCollector exposes every peer's stream, on every replica: a standby has links too. The series of a peer go when the hub
// forgets it, at the latest its retention after the stream has ended.
func NewCollector(peers Peers, now func() time.Time) prometheus.Collector { return streams{peers, now} }

func labels() []string { return []string{"namespace", "pod", "pod_uid"} }

func connectedDesc() *prometheus.Desc {
	return prometheus.NewDesc("kapok_link_connected", "1 if an agent's stream to this replica stands and the agent is heard, else 0.", labels(), nil)
}

func ageDesc() *prometheus.Desc {
	return prometheus.NewDesc("kapok_link_stream_age_seconds", "How long an agent's stream to this replica has stood; absent while there is none.", labels(), nil)
}

func silenceDesc() *prometheus.Desc {
	return prometheus.NewDesc("kapok_link_silence_seconds", "How long ago an agent was last heard by this replica.", labels(), nil)
}

// Describe implements prometheus.Collector.
func (streams) Describe(out chan<- *prometheus.Desc) {
	out <- connectedDesc()
	out <- ageDesc()
	out <- silenceDesc()
}

// Collect implements prometheus.Collector.
func (s streams) Collect(out chan<- prometheus.Metric) {
	connected, age, silence, now := connectedDesc(), ageDesc(), silenceDesc(), s.now()
	for _, p := range s.peers.List("") {
		gauge := func(desc *prometheus.Desc, value float64) {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, p.Key.Namespace, p.Key.Pod, p.Key.UID)
		}
		heard := 0.0
		if p.Connected && !p.Silent {
			heard = 1
		}
		gauge(connected, heard)
		if p.Connected {
			gauge(age, now.Sub(p.ConnectedAt).Seconds())
		}
		gauge(silence, now.Sub(p.HeartbeatAt).Seconds())
	}
}
