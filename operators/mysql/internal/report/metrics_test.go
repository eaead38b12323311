package report

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/status"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/condition"
)

var db = types.NamespacedName{Namespace: "shop", Name: "db"} //nolint:gochecknoglobals // A constant that Go cannot write as one.

func start() time.Time { return time.Unix(1_800_000_000, 0) }

// pair is a cluster of two in which db-0 leads epoch 1, or db-1 epoch 2.
func pair(epoch uint64, at time.Time) topology.Observation {
	o := topology.Observation{Now: at, Term: 1, Spec: topology.Spec{Instances: 2},
		Record: instance.Record{Epoch: epoch, Term: 1, Primary: "db-0", Voters: []string{"db-0", "db-1"}}}
	for i, name := range []string{"db-0", "db-1"} {
		o.Members = append(o.Members, topology.Member{Name: name, Ordinal: i, Connected: true, Pod: &topology.Pod{Ready: true},
			Report: &instance.Report{Instance: name, State: instance.StateRunning, Term: 1, Promised: epoch, Epoch: epoch, Record: o.Record, ServerVersion: "9.7.1"}})
	}
	primary, replica := o.Members[0].Report, o.Members[1].Report
	if epoch == 2 {
		o.Record.Primary = "db-1"
		primary, replica = replica, primary
	}
	primary.Role, primary.Serving, primary.Served = instance.RolePrimary, true, epoch
	replica.Role, replica.Acknowledging = instance.RoleReplica, true
	replica.Receiver = instance.Receiver{Running: true, Connected: true, Source: o.Record.Primary}
	replica.Applier = instance.Applier{Running: true, LagSeconds: 3}
	return o
}

// dead is the same with a primary whose mysqld has ended.
func dead(at time.Time) topology.Observation {
	o := pair(1, at)
	o.Members[0].Report.State, o.Members[0].Report.Role, o.Members[0].Report.Serving = instance.StateDown, "", false
	o.Members[0].UnfitFor = 50 * time.Millisecond
	return o
}

func measure(o topology.Observation) status.Measure {
	in := status.Input{Cluster: &v1alpha1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}}, Observation: o, Plan: topology.Decide(o)}
	return status.Measured(in, status.Derive(in))
}

func pods() map[string]*corev1.Pod {
	return map[string]*corev1.Pod{
		"db-0": {ObjectMeta: metav1.ObjectMeta{UID: "uid-0"}}, "db-1": {ObjectMeta: metav1.ObjectMeta{UID: "uid-1"}},
	}
}

func span(n byte) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{15: n}, SpanID: trace.SpanID{7: n}, TraceFlags: trace.FlagsSampled})
}

// failover runs the rounds of a failover: open, dead, committed, open again.
func failover(m *Metrics) {
	at := start()
	m.round(db, span(1), pair(1, at), act.Outcome{}, at)
	m.set(db, measure(pair(1, at)), pods())
	at = at.Add(time.Second)
	m.round(db, span(2), dead(at), act.Outcome{}, at)
	at = at.Add(100 * time.Millisecond)
	m.round(db, span(3), dead(at), act.Outcome{Committed: &topology.Commit{Kind: topology.CommitPromote}}, at)
	at = at.Add(200 * time.Millisecond)
	m.round(db, span(4), pair(2, at), act.Outcome{Deleted: "db-0"}, at)
	m.set(db, measure(pair(2, at)), pods())
}

func TestAFailoverIsTold(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	failover(m)
	want := `
kapok_mysql_epoch{name="db",namespace="shop"} 2
kapok_mysql_failovers_total{name="db",namespace="shop",reason="ended"} 1
kapok_mysql_failovers_total{name="db",namespace="shop",reason="silent"} 0
kapok_mysql_instance_info{name="db",namespace="shop",pod="db-1",pod_uid="uid-1",version="9.7.1"} 1
kapok_mysql_instance_lag_seconds{name="db",namespace="shop",pod="db-0",pod_uid="uid-0"} 3
kapok_mysql_instance_role{name="db",namespace="shop",pod="db-1",pod_uid="uid-1",role="Primary"} 1
kapok_mysql_instances_by_role{name="db",namespace="shop",role="Primary"} 1
kapok_mysql_instances_by_role{name="db",namespace="shop",role="Replica"} 1
kapok_mysql_instances_ready{name="db",namespace="shop"} 2
kapok_mysql_instances_replaced_total{name="db",namespace="shop"} 1
kapok_mysql_last_write_gap_seconds{cause="failover",name="db",namespace="shop"} 0.35
kapok_mysql_phase{name="db",namespace="shop",phase="Healthy"} 1
kapok_mysql_switchovers_total{name="db",namespace="shop",reason="asked",result="given-up"} 0
kapok_mysql_voters_fit{name="db",namespace="shop"} 2
kapok_mysql_writable{name="db",namespace="shop"} 1
kapok_mysql_write_quorum{name="db",namespace="shop"} 2
`
	got := text(t, registry)
	for line := range strings.Lines(strings.TrimSpace(want)) {
		if !strings.Contains(got, "\n"+strings.TrimSpace(line)+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	for part, want := range map[string]float64{"detect": 0.05, "commit": 0.1, "promote": 0.2} {
		h := histogram(t, registry, "kapok_mysql_failover_duration_seconds", part)
		if got := h.GetSampleSum(); h.GetSampleCount() != 1 || got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%s: %d times, %v s, want %v s", part, h.GetSampleCount(), got, want)
		}
		if id := exemplar(h); id != span(3).TraceID().String() {
			t.Errorf("%s: the exemplar is %q, want the trace of the commit", part, id)
		}
	}
	if h := histogram(t, registry, "kapok_mysql_write_gap_seconds", "failover"); h.GetSampleCount() != 1 || exemplar(h) != span(3).TraceID().String() {
		t.Errorf("gaps: %v", h)
	}
}

// TestASwitchoverIsTold: its reason is of the round that began it, its end of another.
func TestASwitchoverIsTold(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	at := start()
	asked := pair(1, at)
	asked.Request.Switchover = "db-1"
	m.round(db, span(1), pair(1, at), act.Outcome{}, at)
	m.round(db, span(2), asked, act.Outcome{Committed: &topology.Commit{Kind: topology.CommitHandover}}, at)
	m.round(db, span(3), dead(at), act.Outcome{Committed: &topology.Commit{Kind: topology.CommitSwitchover}}, at.Add(100*time.Millisecond))
	m.round(db, span(4), pair(2, at.Add(150*time.Millisecond)), act.Outcome{}, at.Add(150*time.Millisecond))
	if got := text(t, registry); !strings.Contains(got, `kapok_mysql_switchovers_total{name="db",namespace="shop",reason="asked",result="done"} 1`) {
		t.Error(got)
	}
	if h := histogram(t, registry, "kapok_mysql_write_gap_seconds", "switchover"); h.GetSampleCount() != 1 || exemplar(h) != span(3).TraceID().String() {
		t.Errorf("gaps: %v", h)
	}
}

// TestAllSeriesGoWithTheirCluster: a cluster of the same name that is made later begins anew.
func TestAllSeriesGoWithTheirCluster(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	failover(m)
	reporter := &Reporter{Metrics: m}
	reporter.Forget(db)
	if got := text(t, registry); strings.Contains(got, `name="db"`) {
		t.Errorf("left behind:\n%s", got)
	}
	if len(m.stories) != 0 {
		t.Error("something is remembered of it")
	}
	m.set(db, measure(pair(1, start())), pods())
	if got := text(t, registry); strings.Contains(got, "kapok_mysql_last_write_gap_seconds") || !strings.Contains(got, `reason="ended"} 0`) {
		t.Errorf("the next one inherits:\n%s", got)
	}
}

// TestUnknownIsNotZero: a cluster that cannot be looked at has no epoch and no instances, rather than none of them.
func TestUnknownIsNotZero(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	failover(m)
	m.set(db, status.Measure{Phase: v1alpha1.SummaryUnknown,
		Conditions: condition.AllUnknown(status.Types(), v1alpha1.ReasonNotObserved, "the API server does not answer")}, nil)
	got := text(t, registry)
	for _, name := range []string{"epoch", "instances_ready", "writable", "instance_ready", "voters"} {
		if strings.Contains(got, "\nkapok_mysql_"+name+"{") {
			t.Errorf("%s is told", name)
		}
	}
	for _, line := range []string{`phase="Unknown"} 1`, `phase="Healthy"} 0`, `type="Available"} -1`, `reason="ended"} 1`} {
		if !strings.Contains(got, line) {
			t.Errorf("missing: %s", line)
		}
	}
}

func TestNilMetricsCountNothing(t *testing.T) {
	var m *Metrics
	m.round(db, span(1), pair(1, start()), act.Outcome{}, start())
	m.set(db, status.Measure{}, nil)
	m.forget(db)
}

// TestNamesAreGood asks Prometheus's own linter.
func TestNamesAreGood(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	failover(m)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// BenchmarkClusters is what the metrics of a thousand clusters of two cost: memory, and the processor at each scrape.
func BenchmarkClusters(b *testing.B) {
	const clusters = 1000
	registry := prometheus.NewRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		b.Fatal(err)
	}
	measure, pods := measure(pair(1, start())), pods()
	used := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := used()
	for i := range clusters {
		name := types.NamespacedName{Namespace: "shop", Name: fmt.Sprint("db-", i)}
		m.round(name, trace.SpanContext{}, pair(1, start()), act.Outcome{}, start())
		m.set(name, measure, pods)
	}
	held := used() - before
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(held)/clusters, "B/cluster")
}
