package observability

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
)

// scope is the instrumentation scope of all spans.
const scope = "github.com/kapok-operators/kapok/shared/observability"

// The attributes of spans. Those about pods and objects are called like the keys of log lines.
const (
	AttributeController = attribute.Key("controller")
	AttributeKind       = attribute.Key(jsonlog.KeyKind)
	AttributeNamespace  = attribute.Key(jsonlog.KeyNamespace)
	AttributeName       = attribute.Key(jsonlog.KeyName)
	AttributePod        = attribute.Key(jsonlog.KeyPod)
	AttributePodUID     = attribute.Key(jsonlog.KeyPodUID)
)

// Telemetry is what rounds and actions are recorded with: how long each took goes into a histogram, with the trace as
// exemplar, and becomes a span if there is an exporter. The nil Telemetry records nothing.
type Telemetry struct {
	// tracer is nil if nobody wants spans.
	tracer  trace.Tracer
	rounds  *prometheus.HistogramVec
	actions *prometheus.HistogramVec
}

// NewTelemetry registers the histograms. A nil provider makes no spans; a nil registerer exposes nothing.
func NewTelemetry(spans trace.TracerProvider, metrics prometheus.Registerer) (*Telemetry, error) {
	t := &Telemetry{
		rounds: prometheus.NewHistogramVec(Histogram("kapok_operator_reconcile_duration_seconds",
			"How long a round of a controller took, by its result: success or error."), []string{"controller", "result"}),
		actions: prometheus.NewHistogramVec(Histogram("kapok_operator_action_duration_seconds",
			"How long an action of a round took, by its result: success or error."), []string{"action", "result"}),
	}
	if spans != nil {
		t.tracer = spans.Tracer(scope)
	}
	if metrics == nil {
		return t, nil
	}
	for _, c := range []prometheus.Collector{t.rounds, t.actions} {
		if err := metrics.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of rounds and actions: %w", err)
		}
	}
	return t, nil
}

// result is the value of the label result.
func result(err error) string {
	if err != nil {
		return "error"
	}
	return "success"
}

// Action is an action that has begun. The zero Action records nothing.
type Action struct {
	telemetry *Telemetry
	name      string
	span      trace.Span
	begun     time.Time
}

// Begin begins an action of a round. Its name is one of few; what differs from one to the next goes into Set. The context
// is for what the action does: its logger writes the action's span.
func (t *Telemetry) Begin(ctx context.Context, name string) (context.Context, Action) {
	if t == nil {
		return ctx, Action{}
	}
	a := Action{telemetry: t, name: name, begun: time.Now()}
	if t.tracer != nil {
		ctx, a.span = t.tracer.Start(ctx, name)
		ctx = logged(ctx, a.span)
	}
	return ctx, a
}

// Set adds attributes to the action's span. Building them costs something: ask Recording first where many are.
func (a Action) Set(attributes ...attribute.KeyValue) {
	if a.span != nil {
		a.span.SetAttributes(attributes...)
	}
}

// Recording says whether attributes are of use to anybody.
func (a Action) Recording() bool { return a.span != nil && a.span.IsRecording() }

// End ends the action.
func (a Action) End(err error) {
	if a.telemetry == nil {
		return
	}
	observe(a.telemetry.actions.WithLabelValues(a.name, result(err)), a.span, time.Since(a.begun))
	finish(a.span, err)
}

func finish(span trace.Span, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// logged gives the logger of the context the span.
func logged(ctx context.Context, span trace.Span) context.Context {
	if !span.SpanContext().IsValid() {
		return ctx
	}
	return ctrl.LoggerInto(ctx, ctrl.LoggerFrom(ctx).WithValues("span", jsonlog.Span{SpanContext: span.SpanContext()}))
}

// Histogram is how durations are counted everywhere: classic buckets from 1 ms to 60 s for whoever scrapes text, and
// native ones, which are finer than that for less, for whoever scrapes protobuf.
func Histogram(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help,
		Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		// The settings of the Kubernetes components: at most 10 % between two buckets, at most 100 of them.
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}
}

// Observe counts a duration, with the given span's trace as exemplar if that trace is recorded: one that is not leads
// nowhere.
func Observe(o prometheus.Observer, span trace.SpanContext, took time.Duration) {
	if exemplars, ok := o.(prometheus.ExemplarObserver); ok && span.IsSampled() {
		exemplars.ObserveWithExemplar(took.Seconds(), prometheus.Labels{jsonlog.KeyTraceID: span.TraceID().String()})
		return
	}
	o.Observe(took.Seconds())
}

func observe(o prometheus.Observer, span trace.Span, took time.Duration) {
	if span == nil {
		o.Observe(took.Seconds())
		return
	}
	Observe(o, span.SpanContext(), took)
}
