package observability

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
)

// Reconciler records every round of a controller: a span with the actions of the round below it, a duration with the trace
// as exemplar, and log lines with the span. An error that the round returns still carries its span when the
// controller-runtime logs it. The nil Telemetry returns the reconciler as it is.
func (t *Telemetry) Reconciler(controller, kind string, inner reconcile.Reconciler) reconcile.Reconciler {
	if t == nil {
		return inner
	}
	return &recorded{
		inner: inner, telemetry: t, name: "reconcile " + controller,
		fixed:     []attribute.KeyValue{AttributeController.String(controller), AttributeKind.String(kind)},
		succeeded: t.rounds.WithLabelValues(controller, result(nil)), failed: t.rounds.WithLabelValues(controller, "error"),
	}
}

type recorded struct {
	inner             reconcile.Reconciler
	telemetry         *Telemetry
	name              string
	fixed             []attribute.KeyValue
	succeeded, failed prometheus.Observer
}

// Reconcile implements reconcile.Reconciler.
func (r *recorded) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	begun := time.Now()
	var span trace.Span
	if r.telemetry.tracer != nil {
		ctx, span = r.telemetry.tracer.Start(ctx, r.name, trace.WithSpanKind(trace.SpanKindInternal))
		// A reconciler that panics is caught further up; its span is not lost.
		defer span.End()
		if span.IsRecording() {
			span.SetAttributes(r.fixed...)
			span.SetAttributes(AttributeNamespace.String(req.Namespace), AttributeName.String(req.Name))
		}
		ctx = logged(ctx, span)
	}
	out, err := r.inner.Reconcile(ctx, req)
	took := r.succeeded
	if err != nil {
		took = r.failed
	}
	observe(took, span, time.Since(begun))
	if span == nil {
		return out, err
	}
	finish(span, err)
	return out, jsonlog.Spanned(err, span.SpanContext())
}

// LogConstructor gives a controller's log lines the keys of their object. Give it to the builder of the controller.
func LogConstructor(log logr.Logger, controller, kind string) func(*reconcile.Request) logr.Logger {
	log = log.WithValues("controller", controller, jsonlog.KeyKind, kind)
	return func(req *reconcile.Request) logr.Logger {
		if req == nil {
			return log
		}
		return log.WithValues(jsonlog.KeyNamespace, req.Namespace, jsonlog.KeyName, req.Name)
	}
}
