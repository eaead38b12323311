package observability

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
)

// signals are all three of a process.
type signals struct {
	*Telemetry
	spans   *tracetest.InMemoryExporter
	metrics *prometheus.Registry
	lines   bytes.Buffer
	log     logr.Logger
}

func record(t *testing.T, options ...sdktrace.TracerProviderOption) *signals {
	t.Helper()
	s := &signals{spans: tracetest.NewInMemoryExporter(), metrics: prometheus.NewRegistry()}
	s.log = logr.FromSlogHandler(jsonlog.New(&s.lines, slog.LevelInfo, jsonlog.Pod{Name: "op-0", UID: "uid-0"}))
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSyncer(s.spans))...)
	var err error
	if s.Telemetry, err = NewTelemetry(provider, s.metrics); err != nil {
		t.Fatal(err)
	}
	return s
}

// reconcile runs one round as the controller-runtime does: with a logger of the controller in the context, and it is the
// one to log the error.
func (s *signals) reconcile(inner reconcile.Func) error {
	req := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: "db"}}
	log := LogConstructor(s.log, "things", "Thing")(&req)
	_, err := s.Reconciler("things", "Thing", inner).Reconcile(ctrl.LoggerInto(context.Background(), log), req)
	if err != nil {
		log.Error(err, "Reconciler error")
	}
	return err
}

func (s *signals) decoded(t *testing.T) []map[string]any {
	t.Helper()
	var out []map[string]any
	for text := range strings.Lines(s.lines.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		out = append(out, line)
	}
	return out
}

// histogram returns the one series of a histogram with the given label values.
func (s *signals) histogram(t *testing.T, name string, labels map[string]string) *dto.Histogram {
	t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			got := map[string]string{}
			for _, l := range m.Label {
				got[l.GetName()] = l.GetValue()
			}
			if f.GetName() == name && cmp.Equal(got, labels) {
				return m.Histogram
			}
		}
	}
	t.Fatalf("there is no %s%v", name, labels)
	return nil
}

// exemplar returns the trace of the one exemplar of a histogram.
func exemplar(t *testing.T, h *dto.Histogram) string {
	t.Helper()
	found := ""
	for _, b := range h.Bucket {
		for _, l := range b.GetExemplar().GetLabel() {
			if l.GetName() != jsonlog.KeyTraceID || found != "" {
				t.Fatalf("unexpected exemplar %v", b.Exemplar)
			}
			found = l.GetValue()
		}
	}
	return found
}

// TestOneTraceInAllThreeSignals is what the whole package is for: from a metric to the trace to the log lines, and back.
func TestOneTraceInAllThreeSignals(t *testing.T) {
	s := record(t)
	boom := errors.New("boom")
	err := s.reconcile(func(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
		ctrl.LoggerFrom(ctx).Info("in the round")
		actx, action := s.Begin(ctx, "apply")
		action.Set(AttributePod.String("db-0"), AttributePodUID.String("uid-db-0"))
		ctrl.LoggerFrom(actx).Info("in the action", jsonlog.KeyOperandPod, "db-0", jsonlog.KeyOperandPodUID, "uid-db-0")
		action.End(nil)
		return reconcile.Result{}, boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	spans := s.spans.GetSpans()
	if len(spans) != 2 {
		t.Fatalf("got %d spans", len(spans))
	}
	action, round := spans[0], spans[1]
	if round.Name != "reconcile things" || action.Name != "apply" || action.Parent.SpanID() != round.SpanContext.SpanID() || round.Parent.IsValid() {
		t.Fatalf("got %s below %s", action.Name, round.Name)
	}
	if round.Status.Description != "boom" || action.Status.Description != "" {
		t.Errorf("statuses %+v, %+v", round.Status, action.Status)
	}
	id := round.SpanContext.TraceID().String()
	lines := s.decoded(t)
	if len(lines) != 3 {
		t.Fatalf("got %d lines:\n%s", len(lines), s.lines.String())
	}
	for i, want := range []map[string]string{
		{"msg": "in the round", "span_id": round.SpanContext.SpanID().String()},
		{"msg": "in the action", "span_id": action.SpanContext.SpanID().String(), "operand_pod": "db-0", "operand_pod_uid": "uid-db-0"},
		{"msg": "Reconciler error", "err": "boom", "span_id": round.SpanContext.SpanID().String()},
	} {
		want["trace_id"], want["pod"], want["pod_uid"], want["controller"] = id, "op-0", "uid-0", "things"
		want["kind"], want["namespace"], want["name"] = "Thing", "shop", "db"
		for key, value := range want {
			if lines[i][key] != value {
				t.Errorf("line %d: %s is %v, want %q", i, key, lines[i][key], value)
			}
		}
	}
	for what, h := range map[string]*dto.Histogram{
		"round":  s.histogram(t, "kapok_operator_reconcile_duration_seconds", map[string]string{"controller": "things", "result": "error"}),
		"action": s.histogram(t, "kapok_operator_action_duration_seconds", map[string]string{"action": "apply", "result": "success"}),
	} {
		if h.GetSampleCount() != 1 || exemplar(t, h) != id {
			t.Errorf("the %s was counted %d times, with the trace %q, want %q", what, h.GetSampleCount(), exemplar(t, h), id)
		}
		if h.GetSchema() == 0 || len(h.GetPositiveSpan()) == 0 || len(h.Bucket) < 10 {
			t.Errorf("the histogram of the %s is not both native and classic", what)
		}
	}
}

// TestWithoutSpans: nobody wants traces. Durations are counted all the same, and nothing names a trace.
func TestWithoutSpans(t *testing.T) {
	for name, spans := range map[string]trace.TracerProvider{
		"no exporter": nil, "not sampled": sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())),
	} {
		t.Run(name, func(t *testing.T) {
			s := &signals{metrics: prometheus.NewRegistry()}
			s.log = logr.FromSlogHandler(jsonlog.New(&s.lines, slog.LevelInfo, jsonlog.Pod{}))
			var err error
			if s.Telemetry, err = NewTelemetry(spans, s.metrics); err != nil {
				t.Fatal(err)
			}
			err = s.reconcile(func(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
				_, action := s.Begin(ctx, "apply")
				if action.Recording() {
					t.Error("attributes are asked for")
				}
				action.Set(AttributePod.String("db-0"))
				action.End(errors.New("boom"))
				return reconcile.Result{}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			round := s.histogram(t, "kapok_operator_reconcile_duration_seconds", map[string]string{"controller": "things", "result": "success"})
			action := s.histogram(t, "kapok_operator_action_duration_seconds", map[string]string{"action": "apply", "result": "error"})
			for _, h := range []*dto.Histogram{round, action} {
				if h.GetSampleCount() != 1 || exemplar(t, h) != "" {
					t.Errorf("counted %d times, with the trace %q", h.GetSampleCount(), exemplar(t, h))
				}
			}
		})
	}
}

func TestNilRecordsNothing(t *testing.T) {
	var none *Telemetry
	inner := reconcile.Func(func(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
		got, action := none.Begin(ctx, "apply")
		if got != ctx {
			t.Error("the context was changed")
		}
		action.Set(AttributePod.String("db-0"))
		action.End(nil)
		return reconcile.Result{RequeueAfter: time.Second}, nil
	})
	got, err := none.Reconciler("things", "Thing", inner).Reconcile(t.Context(), reconcile.Request{})
	if err != nil || got.RequeueAfter != time.Second {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestTerminalErrorsStayTerminal(t *testing.T) {
	s := record(t)
	err := s.reconcile(func(context.Context, reconcile.Request) (reconcile.Result, error) {
		return reconcile.Result{}, reconcile.TerminalError(errors.New("boom"))
	})
	if !errors.Is(err, reconcile.TerminalError(nil)) {
		t.Errorf("got %v", err)
	}
}

func TestASpanIsNotLostInAPanic(t *testing.T) {
	s := record(t)
	func() {
		defer func() { _ = recover() }()
		_ = s.reconcile(func(context.Context, reconcile.Request) (reconcile.Result, error) { panic("boom") })
	}()
	if n := len(s.spans.GetSpans()); n != 1 {
		t.Errorf("got %d spans", n)
	}
}
