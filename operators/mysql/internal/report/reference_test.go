package report

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kapok-operators/kapok/operators/mysql/internal/status"
	"github.com/kapok-operators/kapok/shared/link"
	"github.com/kapok-operators/kapok/shared/link/metrics"
	"github.com/kapok-operators/kapok/shared/manager"
	"github.com/kapok-operators/kapok/shared/observability/otlp"
)

// text writes what a registry exposes as Prometheus reads it.
func text(t *testing.T, g prometheus.Gatherer) string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n")
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// histogram returns the series of a histogram whose one label has the given value.
func histogram(t *testing.T, g prometheus.Gatherer, name, value string) *dto.Histogram {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && m.Label[0].GetValue() == value {
				return m.Histogram
			}
		}
	}
	t.Fatalf("there is no %s of %s", name, value)
	return nil
}

// exemplar returns the trace of a histogram's exemplar.
func exemplar(h *dto.Histogram) string {
	for _, b := range h.Bucket {
		if e := b.GetExemplar(); e != nil {
			return e.Label[0].GetValue()
		}
	}
	return ""
}

type peer struct{}

func (peer) List(string) []link.Peer {
	return []link.Peer{{Key: link.PeerKey{Namespace: "shop", Pod: "db-0", UID: "uid-0"}, Connected: true, ConnectedAt: start(), HeartbeatAt: start()}}
}

// exposed is everything that the operator registers, after it has done everything once.
func exposed(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	// Nothing is asked of the API server.
	mgr, err := manager.New(&rest.Config{Host: "http://127.0.0.1:1"}, manager.Config{
		Name: "mysql-operator", Scheme: scheme.Scheme, HealthAddress: "0", MetricsAddress: "0", Metrics: registry,
		Traces: otlp.Config{Endpoint: "127.0.0.1:1", Insecure: true},
	}, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	recorder, err := metrics.NewRecorder(nil, registry)
	if err != nil {
		t.Fatal(err)
	}
	registry.MustRegister(metrics.NewCollector(peer{}, time.Now))
	ctx, action := mgr.Telemetry.Begin(t.Context(), "commit")
	action.End(nil)
	recorder.Delivered(ctx, link.Delivery{})
	mgr.Telemetry.Reconciler("mysqlcluster", "MySQLCluster", nil)
	mgr.Certificates.Add("link", func() (time.Time, bool) { return start(), true })
	failover(m)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// TestReference compares docs/reference/metrics.md with what is exposed, in both directions.
func TestReference(t *testing.T) {
	// It exists on a leader only, which none is here.
	want := []string{"| `kapok_operator_leader_term` | gauge | | The number of this replica's leadership; absent unless it leads. It only grows. |"}
	for _, f := range exposed(t) {
		var labels []string
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if name := "`" + l.GetName() + "`"; !slices.Contains(labels, name) {
					labels = append(labels, name)
				}
			}
		}
		slices.Sort(labels)
		cell := " "
		if len(labels) > 0 {
			cell = " " + strings.Join(labels, ", ") + " "
		}
		want = append(want, fmt.Sprintf("| `%s` | %s |%s| %s |", f.GetName(), strings.ToLower(f.GetType().String()), cell, f.GetHelp()))
	}
	slices.Sort(want)
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "reference", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "| `kapok_") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/reference/metrics.md does not say what is exposed (-exposed +documented):\n%s\nthe rows are to be:\n%s", diff, strings.Join(want, "\n"))
	}
}

// TestReferenceKnowsEveryReason: a value that nobody documents is one that nobody understands at night.
func TestReferenceKnowsEveryReason(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "reference", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := func(label string) string {
		for line := range strings.Lines(string(raw)) {
			if strings.HasPrefix(line, "| "+label+" |") {
				return line
			}
		}
		t.Fatalf("no row for %s", label)
		return ""
	}
	for _, loss := range status.Failovers() {
		if !strings.Contains(row("`reason` of `kapok_mysql_failovers_total`"), "`"+string(loss)+"`: ") {
			t.Errorf("the reason %s of failovers is not documented", loss)
		}
	}
	for _, reason := range status.Switchovers() {
		if !strings.Contains(row("`reason` of `kapok_mysql_switchovers_total`"), "`"+string(reason)+"`: ") {
			t.Errorf("the reason %s of switchovers is not documented", reason)
		}
	}
	for _, cause := range status.Causes() {
		if !strings.Contains(row("`cause` of gaps"), "`"+string(cause)+"`") {
			t.Errorf("the cause %s of gaps is not documented", cause)
		}
	}
}
