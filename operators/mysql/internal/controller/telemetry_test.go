package controller_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/kapok-operators/kapok/operators/mysql/internal/report"
	"github.com/kapok-operators/kapok/shared/observability"
	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
	"github.com/kapok-operators/kapok/shared/observability/otlp"
	"github.com/kapok-operators/kapok/shared/testkit/collector"
)

// record gives a world everything that an operator tells about itself: traces go to a collector over OTLP.
func (w *world) recordTo(collectorAddress string, lines *bytes.Buffer) (*prometheus.Registry, *otlp.Exporter) {
	w.t.Helper()
	pod := jsonlog.Pod{Namespace: "kapok-mysql-system", Name: "mysql-operator-0", UID: "operator-uid"}
	log := logr.FromSlogHandler(jsonlog.New(lines, slog.LevelInfo, pod))
	req := ctrl.Request{NamespacedName: w.name}
	w.log = observability.LogConstructor(log, "mysqlcluster", "MySQLCluster")(&req)
	registry := prometheus.NewRegistry()
	exporter, err := otlp.New(w.t.Context(), otlp.Config{Endpoint: collectorAddress, Insecure: true, Ratio: 1},
		otlp.Process{Service: "mysql-operator", Pod: pod}, registry, log)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.Telemetry, err = observability.NewTelemetry(exporter.Provider(), registry); err != nil {
		w.t.Fatal(err)
	}
	w.Actor.Telemetry = w.Telemetry
	if w.Reporter.Metrics, err = report.NewMetrics(registry); err != nil {
		w.t.Fatal(err)
	}
	return registry, exporter
}

// TestAFailoverIsFollowedThroughMetricTraceAndLog does what the documentation says that a person does: from the metric to
// the trace, and from the trace to the lines of the operator and to the pod.
func TestAFailoverIsFollowedThroughMetricTraceAndLog(t *testing.T) {
	spans, lines := collector.Start(t), &bytes.Buffer{}
	w := newWorld(t)
	registry, exporter := w.recordTo(spans.Address, lines)
	w.create(nil)
	w.until("healthy cluster", w.healthy(w.pod(0)))
	w.agents.kill(w.pod(0))
	w.until("failover", func() bool { return w.healthy("")() && w.record().Epoch > 1 })
	primary := w.record().Primary
	if err := exporter.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	families := gathered(t, registry)
	var failovers float64
	for _, m := range families["kapok_mysql_failovers_total"].GetMetric() {
		failovers += m.GetCounter().GetValue()
	}
	if failovers != 1 {
		t.Errorf("%v failovers were counted", failovers)
	}
	id := ""
	for _, m := range families["kapok_mysql_write_gap_seconds"].GetMetric() {
		for _, b := range m.GetHistogram().GetBucket() {
			if e := b.GetExemplar(); e != nil && m.Label[0].GetValue() == "failover" {
				id = e.Label[0].GetValue()
			}
		}
	}
	if id == "" {
		t.Fatalf("the gap has no exemplar: %v", families["kapok_mysql_write_gap_seconds"])
	}

	// The trace is the round that committed the new primary, with its actions.
	var trace []collector.Span
	for _, s := range spans.Spans() {
		if hex.EncodeToString(s.TraceId) == id {
			trace = append(trace, s)
		}
	}
	if len(trace) < 2 {
		t.Fatalf("%d spans in the trace %s", len(trace), id)
	}
	root, commit := trace[0], trace[1]
	for key, want := range map[string]string{"controller": "mysqlcluster", "kind": "MySQLCluster", "namespace": w.name.Namespace, "name": w.name.Name, "mysql.state": "FailingOver"} {
		if root.Attributes[key] != want {
			t.Errorf("%s of the round is %q, want %q", key, root.Attributes[key], want)
		}
	}
	if root.Name != "reconcile mysqlcluster" || len(root.ParentSpanId) != 0 || root.Resource["k8s.pod.uid"] != "operator-uid" {
		t.Errorf("the round is %v", root)
	}
	if commit.Name != "commit" || !bytes.Equal(commit.ParentSpanId, root.SpanId) || commit.Attributes["mysql.step"] != "Promote" || commit.Attributes["mysql.primary"] != primary {
		t.Errorf("the commit is %v", commit)
	}

	// A round that commits does nothing else; one in haste does what writers wait for; a quiet one looks after everything.
	trees := spans.Trees()
	for what, want := range map[string]string{
		"a commit": "reconcile mysqlcluster\n  commit\n", "the first round": "reconcile mysqlcluster\n  keep\n  direct\n  surround\n",
		"a round in haste": "reconcile mysqlcluster\n  direct\n  redirect\n", "a quiet round": "reconcile mysqlcluster\n  direct\n  surround\n",
	} {
		if !slices.Contains(trees, want) {
			t.Errorf("%s is not among the traces:\n%s", what, strings.Join(slices.Compact(slices.Sorted(slices.Values(trees))), "\n"))
		}
	}

	// The lines with that trace say it in words, and name both pods.
	var committed map[string]any
	for text := range strings.Lines(lines.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if line["trace_id"] == id && line["msg"] == "Committed" {
			committed = line
		}
	}
	var pod corev1.Pod
	if err := api.Get(t.Context(), types.NamespacedName{Namespace: w.name.Namespace, Name: primary}, &pod); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"span_id": hex.EncodeToString(root.SpanId), "step": "Promote", "kind": "MySQLCluster", "namespace": w.name.Namespace, "name": w.name.Name,
		"pod": "mysql-operator-0", "pod_uid": "operator-uid", "operand_pod": primary, "operand_pod_uid": string(pod.UID),
	} {
		if committed[key] != want {
			t.Errorf("%s of the line is %v, want %q (%v)", key, committed[key], want, committed)
		}
	}

	// The pod's UID is in the metrics too.
	found := false
	for _, m := range families["kapok_mysql_instance_role"].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.Label {
			labels[l.GetName()] = l.GetValue()
		}
		found = found || labels["pod_uid"] == string(pod.UID) && labels["pod"] == primary && labels["role"] == "Primary"
	}
	if !found {
		t.Errorf("no instance has the UID %s and the role Primary: %v", pod.UID, families["kapok_mysql_instance_role"])
	}

	// What was told to the agent came from an action of a round, so that its own lines can name it.
	w.agents.with(primary, func(a *agent) {
		sent := a.sentBy.SpanID()
		for _, s := range spans.Spans() {
			if bytes.Equal(s.SpanId, sent[:]) && s.Name == "direct" {
				return
			}
		}
		t.Errorf("the directive was sent by %v, which is no action of a round", a.sentBy)
	})
}

// TestMetricsGoWithTheCluster: after a deletion nothing is left of it, by the real loop.
func TestMetricsGoWithTheCluster(t *testing.T) {
	w := newWorld(t)
	registry, exporter := w.recordTo(collector.Start(t).Address, &bytes.Buffer{})
	w.create(instances(1))
	w.until("healthy cluster", w.healthy(""))
	ours := func() int {
		n := 0
		for _, f := range gathered(t, registry) {
			for _, m := range f.Metric {
				for _, l := range m.Label {
					if l.GetName() == "name" && l.GetValue() == w.name.Name {
						n++
					}
				}
			}
		}
		return n
	}
	if ours() < 50 {
		t.Errorf("only %d series", ours())
	}
	if err := api.Delete(t.Context(), w.cluster()); err != nil {
		t.Fatal(err)
	}
	w.until("end of the cluster", func() bool { return w.find() == nil })
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	if n := ours(); n != 0 {
		t.Errorf("%d series are left", n)
	}
	if err := exporter.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

func gathered(t testing.TB, registry *prometheus.Registry) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.MetricFamily{}
	for _, f := range families {
		out[f.GetName()] = f
	}
	return out
}

// BenchmarkRound is a round of a healthy cluster of three with the reads of its cache answered at once: what the telemetry
// adds to it. Read cpu-ns/op: a busy machine changes the time that passes, and not the work that is done.
func BenchmarkRound(b *testing.B) {
	for name, setup := range map[string]func(*world){
		"without": func(*world) {},
		"metrics": func(w *world) {
			registry := prometheus.NewRegistry()
			var err error
			if w.Telemetry, err = observability.NewTelemetry(nil, registry); err != nil {
				b.Fatal(err)
			}
			w.Actor.Telemetry = w.Telemetry
			if w.Reporter.Metrics, err = report.NewMetrics(registry); err != nil {
				b.Fatal(err)
			}
		},
		"exporter": func(w *world) { w.recordTo(collector.Start(b).Address, &bytes.Buffer{}) },
	} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			w.cached = true
			w.restart(api)
			w.create(nil)
			w.until("healthy cluster", w.healthy(""))
			w.settle()
			setup(w)
			b.ReportAllocs()
			begun := processorTime(b)
			for b.Loop() {
				if _, err := w.reconcile(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processorTime(b)-begun)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
