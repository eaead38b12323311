package observability

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
	"github.com/kapok-operators/kapok/shared/observability/otlp"
	"github.com/kapok-operators/kapok/shared/testkit/collector"
)

// example decodes one of the example files of the documentation, strictly: an unknown or doubled key is an error.
func example(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "platform", "observability", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(raw, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// TestCollectorExample: every part that a pipeline names is there, no part is there for nothing, and pods are found by the
// attribute that the operator's spans really carry.
func TestCollectorExample(t *testing.T) {
	var config struct {
		Receivers, Processors, Exporters map[string]json.RawMessage
		Service                          struct {
			Pipelines map[string]struct{ Receivers, Processors, Exporters []string }
		}
	}
	example(t, "otel-collector.yaml", &config)
	used := map[string][]string{}
	for _, p := range config.Service.Pipelines {
		used["receivers"] = append(used["receivers"], p.Receivers...)
		used["processors"] = append(used["processors"], p.Processors...)
		used["exporters"] = append(used["exporters"], p.Exporters...)
	}
	for what, parts := range map[string]map[string]json.RawMessage{"receivers": config.Receivers, "processors": config.Processors, "exporters": config.Exporters} {
		for name := range parts {
			if !slices.Contains(used[what], name) {
				t.Errorf("%s: nobody uses %s", what, name)
			}
		}
		for _, name := range used[what] {
			if _, ok := parts[name]; !ok {
				t.Errorf("%s: %s is not there", what, name)
			}
		}
	}
	var pods struct {
		Association []struct {
			Sources []struct{ From, Name string }
		} `json:"pod_association"`
	}
	if err := json.Unmarshal(config.Processors["k8sattributes"], &pods); err != nil {
		t.Fatal(err)
	}
	source := pods.Association[0].Sources[0]
	c := collector.Start(t)
	e, err := otlp.New(t.Context(), otlp.Config{Endpoint: c.Address, Insecure: true, Ratio: 1},
		otlp.Process{Service: "x", Pod: jsonlog.Pod{UID: "uid-0"}}, nil, line(&bytes.Buffer{}))
	if err != nil {
		t.Fatal(err)
	}
	_, s := e.Provider().Tracer("x").Start(t.Context(), "x")
	s.End()
	if err := e.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if source.From != "resource_attribute" || c.Spans()[0].Resource[source.Name] != "uid-0" {
		t.Errorf("pods are found by %v, spans carry %v", source, c.Spans()[0].Resource)
	}
}

// TestGrafanaExample: the expression that leads from a line to its trace finds it in a line as it is written.
func TestGrafanaExample(t *testing.T) {
	var config struct {
		Datasources []struct {
			UID      string
			JSONData struct {
				DerivedFields               []struct{ Name, MatcherRegex, DatasourceUID string }
				ExemplarTraceIDDestinations []struct{ Name, DatasourceUID string }
			}
		}
	}
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "platform", "observability", "grafana-datasources.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, d := range config.Datasources {
		known[d.UID] = true
	}
	var written bytes.Buffer
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{0: 0xab, 15: 1}, SpanID: trace.SpanID{7: 1}})
	line(&written).WithValues("span", jsonlog.Span{SpanContext: span}).Info("The cluster stands")
	derived, exemplars := 0, 0
	for _, d := range config.Datasources {
		for _, f := range d.JSONData.DerivedFields {
			derived++
			found := regexp.MustCompile(f.MatcherRegex).FindStringSubmatch(written.String())
			if len(found) != 2 || found[1] != span.TraceID().String() || f.Name != "traceID" || !known[f.DatasourceUID] {
				t.Errorf("%+v finds %q in %s", f, found, written.String())
			}
		}
		for _, e := range d.JSONData.ExemplarTraceIDDestinations {
			exemplars++
			if e.Name != jsonlog.KeyTraceID || !known[e.DatasourceUID] {
				t.Errorf("%+v", e)
			}
		}
	}
	if derived != 1 || exemplars != 1 {
		t.Errorf("%d ways from lines, %d from metrics", derived, exemplars)
	}
}

// TestFluentBitExample: what is taken out of a line is what lines have.
func TestFluentBitExample(t *testing.T) {
	var config struct {
		Pipeline struct{ Inputs, Filters, Outputs []map[string]any }
	}
	example(t, "fluent-bit.yaml", &config)
	if got := config.Pipeline.Filters[0]; got["name"] != "kubernetes" || got["merge_log"] != true {
		t.Errorf("the filter is %v", got)
	}
	fields, ok := config.Pipeline.Outputs[0]["structured_metadata"].(string)
	if !ok {
		t.Fatalf("the output is %v", config.Pipeline.Outputs[0])
	}
	var names []string
	for field := range strings.SplitSeq(fields, ",") {
		name, from, _ := strings.Cut(field, "=")
		if from != "$"+name {
			t.Errorf("%s is taken from %s", name, from)
		}
		names = append(names, name)
	}
	want := []string{jsonlog.KeyTraceID, jsonlog.KeyPodUID, jsonlog.KeyOperandPodUID, jsonlog.KeyKind, jsonlog.KeyNamespace, jsonlog.KeyName}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

func TestServiceMonitorExample(t *testing.T) {
	var monitor struct {
		Spec struct {
			Endpoints []struct {
				HonorLabels bool
				Relabelings []struct {
					SourceLabels []string
					TargetLabel  string
				}
			}
		}
	}
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "platform", "observability", "servicemonitor.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, &monitor); err != nil {
		t.Fatal(err)
	}
	endpoint := monitor.Spec.Endpoints[0]
	if !endpoint.HonorLabels || endpoint.Relabelings[0].TargetLabel != jsonlog.KeyPodUID || endpoint.Relabelings[0].SourceLabels[0] != "__meta_kubernetes_pod_uid" {
		t.Errorf("got %+v", endpoint)
	}
}

func line(w *bytes.Buffer) logr.Logger {
	return logr.FromSlogHandler(jsonlog.New(w, slog.LevelInfo, jsonlog.Pod{Name: "op-0", UID: "uid-0"}))
}
