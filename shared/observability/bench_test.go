package observability

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
	"github.com/kapok-operators/kapok/shared/observability/otlp"
	"github.com/kapok-operators/kapok/shared/testkit/collector"
)

// BenchmarkRound is what the telemetry of one round costs: five actions, one log line, nothing else.
func BenchmarkRound(b *testing.B) {
	round := func(b *testing.B, t *Telemetry) {
		b.Helper()
		log := logr.FromSlogHandler(jsonlog.New(io.Discard, slog.LevelInfo, jsonlog.Pod{Name: "op-0", UID: "uid-0"}))
		req := reconcile.Request{}
		req.Namespace, req.Name = "shop", "db"
		ctx := ctrl.LoggerInto(b.Context(), LogConstructor(log, "things", "Thing")(&req))
		r := t.Reconciler("things", "Thing", reconcile.Func(func(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
			for _, name := range []string{"keep", "direct", "direct", "direct", "surround"} {
				_, action := t.Begin(ctx, name)
				action.End(nil)
			}
			ctrl.LoggerFrom(ctx).Info("The cluster stands", "state", "Healthy")
			return reconcile.Result{}, nil
		}))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Reconcile(ctx, req); err != nil {
				b.Fatal(err)
			}
		}
	}
	with := func(b *testing.B, spans trace.TracerProvider) *Telemetry {
		b.Helper()
		t, err := NewTelemetry(spans, prometheus.NewRegistry())
		if err != nil {
			b.Fatal(err)
		}
		return t
	}
	exporter := func(b *testing.B, ratio float64) trace.TracerProvider {
		b.Helper()
		e, err := otlp.New(b.Context(), otlp.Config{Endpoint: collector.Start(b).Address, Insecure: true, Ratio: ratio},
			otlp.Process{Service: "bench"}, nil, logr.Discard())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = e.Flush(context.Background()) })
		return e.Provider()
	}
	b.Run("nothing", func(b *testing.B) { round(b, nil) })
	b.Run("metrics", func(b *testing.B) { round(b, with(b, nil)) })
	b.Run("exporter, 1 of 100", func(b *testing.B) { round(b, with(b, exporter(b, 0.01))) })
	b.Run("exporter, all", func(b *testing.B) { round(b, with(b, exporter(b, 1))) })
}
