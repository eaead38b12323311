//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/monitoring"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
	"github.com/kapok-operators/kapok/shared/testkit"
)

const (
	// scrapeInterval is the shortest that the API allows, and faster how many times faster time runs for the rules (lab.Hasten):
	// five minutes become ten seconds, an hour becomes two minutes.
	scrapeInterval = 5 * time.Second
	faster         = 30
	// sessionsLimit is how many sessions the clusters allow.
	sessionsLimit = 60
)

// watched is what the scenario works on: three clusters, so that faults which do not concern each other happen at the same
// time, and the Prometheus that watches them.
type watched struct {
	// orders lags, restarts and runs out of sessions; stock loses its replicas and then its quorum; notes, of one instance,
	// has trouble with its volume and its exporter.
	orders, stock, notes *scene
	prometheus           *lab.Prometheus
}

func (w *watched) all() []*scene { return []*scene{w.orders, w.stock, w.notes} }

// each does something for each cluster at the same time.
func (w *watched) each(t *testing.T, what string, do func(s *scene) error) {
	t.Helper()
	var all errgroup.Group
	for _, s := range w.all() {
		all.Go(func() error { return do(s) })
	}
	must(t, what, all.Wait())
}

// TestMonitoring: what wires a cluster into Prometheus comes when its kinds come, all that it asks for is there, and each
// alert fires on the fault that it is for, reaches people, and ends with the fault.
func TestMonitoring(t *testing.T) {
	if suite.lab.PrometheusImage == "" {
		t.Skipf("CLUSTER=%s: PROMETHEUS_IMAGE names no image with Prometheus and Alertmanager", suite.lab.Provider)
	}
	const namespace = "e2e-monitoring"
	cluster := func(name string) *scene { return &scene{Cluster: suite.lab.Cluster(namespace, name)} }
	w := &watched{orders: cluster("orders"), stock: cluster("stock"), notes: cluster("notes")}
	discard(t, namespace)
	definitions := definitionObjects(t)
	t.Cleanup(func() {
		// The scenarios after this one begin as those before it.
		for _, d := range definitions {
			if err := client.IgnoreNotFound(suite.lab.Client.Delete(context.Background(), d)); err != nil {
				t.Errorf("remove the definition %s: %v", d.GetName(), err)
			}
		}
	})
	play(t, w.orders,
		step{"while nobody knows their kinds, clusters come up and say so", func(ctx context.Context, t *testing.T, _ *scene) {
			must(t, "load Prometheus", suite.lab.Load(ctx, strings.Fields(suite.lab.PrometheusArchive)...))
			must(t, "create the namespace", suite.lab.Namespace(ctx, namespace))
			w.each(t, "create", func(s *scene) error { return s.Create(ctx, watchedSpec(s, w)) })
			w.each(t, "say that nobody watches", func(s *scene) error {
				return errOf(s.WaitCondition(ctx, time.Minute, mysqlv1.ConditionMonitored, metav1.ConditionFalse, mysqlv1.ReasonNoPrometheusOperator))
			})
		}},
		step{"when the definitions come, all are watched within a minute", func(ctx context.Context, t *testing.T, _ *scene) {
			for _, d := range definitions {
				must(t, "install "+d.GetName(), suite.lab.Client.Create(ctx, d.DeepCopy()))
			}
			w.each(t, "be watched", func(s *scene) error {
				return errOf(s.WaitCondition(ctx, time.Minute, mysqlv1.ConditionMonitored, metav1.ConditionTrue, ""))
			})
			w.each(t, "become healthy", func(s *scene) error { return errOf(s.WaitHealthy(ctx, healthyTimeout, 1)) })
		}},
		step{"Prometheus finds every instance by what the operator has made", w.start},
		step{"every metric that an alert or the dashboard names is there", w.metrics},
		step{"while all is well, no alert is active", w.silence},
		step{"each alert fires on its fault and ends with it", w.faults},
		step{"the lag alert fires on the third sample over the limit", w.thirdSample},
		step{"people were told of each alert and of its end", w.told},
		step{"when the definitions go, clusters say so and go on", func(ctx context.Context, t *testing.T, _ *scene) {
			for _, d := range definitions {
				must(t, "remove "+d.GetName(), suite.lab.Client.Delete(ctx, d.DeepCopy()))
			}
			w.each(t, "say that nobody watches", func(s *scene) error {
				return errOf(s.WaitCondition(ctx, time.Minute, mysqlv1.ConditionMonitored, metav1.ConditionFalse, mysqlv1.ReasonNoPrometheusOperator))
			})
			w.each(t, "be well", func(s *scene) error { return errOf(s.WaitHealthy(ctx, time.Minute, 1)) })
			verify(ctx, t, w.stock)
		}},
	)
}

// definitionObjects are the definitions of prometheus-operator's kinds.
func definitionObjects(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, d := range testkit.MonitoringCRDs(t) {
		d.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
		raw := got(json.Marshal(d))(t, "encode the definition")
		object := &unstructured.Unstructured{}
		must(t, "decode the definition", json.Unmarshal(raw, &object.Object))
		delete(object.Object, "status")
		out = append(out, object)
	}
	return out
}

// watchedSpec is what each of the clusters asks for: volumes of the size that they say, so that they can be filled and that the
// machine's own disk does not matter.
func watchedSpec(s *scene, w *watched) mysqlv1.MySQLClusterSpec {
	pool, class := resource.MustParse("32Mi"), limitedClass
	spec := mysqlv1.MySQLClusterSpec{
		Instances: 3, BufferPoolSize: &pool,
		Storage:       mysqlv1.Storage{Size: resource.MustParse("1Gi"), StorageClassName: &class},
		Configuration: map[string]mysqlv1.OptionValue{"max_connections": mysqlv1.OptionValue(fmt.Sprint(sessionsLimit))},
		Monitoring:    mysqlv1.Monitoring{ScrapeInterval: &metav1.Duration{Duration: scrapeInterval}},
	}
	if s == w.notes {
		spec.Instances = 1
	}
	return spec
}

// instances is how many there are in all.
const instances = 3 + 3 + 1

// start starts Prometheus with what the operator has made, and clients.
func (w *watched) start(ctx context.Context, t *testing.T, _ *scene) {
	namespace := w.orders.Key.Namespace
	o := lab.PrometheusOptions{
		Alertmanager: notifying(t),
		Templates:    map[string]string{"wecom.tmpl": string(example(t, "wecom.tmpl"))},
		Secrets:      map[string]string{"wecom": lab.ReceiverAddress + "/cgi-bin/webhook/send?key=secret"},
	}
	for _, s := range w.all() {
		key := client.ObjectKey{Namespace: namespace, Name: monitoring.Name(s.Key.Name)}
		monitor, rule := &monitoringv1.PodMonitor{}, &monitoringv1.PrometheusRule{}
		must(t, "read the PodMonitor", s.Client.Get(ctx, key, monitor))
		must(t, "read the PrometheusRule", s.Client.Get(ctx, key, rule))
		o.Monitors = append(o.Monitors, monitor)
		o.Rules = append(o.Rules, got(lab.Hasten(rule, faster))(t, "hasten the rules"))
	}
	w.prometheus = got(suite.lab.StartPrometheus(ctx, namespace, o))(t, "start Prometheus")
	// One is busy, and the other has little to catch up with when its replicas come back.
	for s, interval := range map[*scene]time.Duration{w.orders: 50 * time.Millisecond, w.stock: 200 * time.Millisecond} {
		s.workload = got(s.StartWorkload(ctx, lab.WorkloadOptions{Name: "client-" + s.Key.Name, Writers: 4, Interval: interval}))(t, "start a client")
	}
	// An exporter and an agent of each.
	must(t, "scrape", suite.lab.Wait(ctx, time.Minute, "the targets", func(ctx context.Context) (bool, string, error) {
		found, err := w.prometheus.Query(ctx, "sum(up)")
		if err != nil || len(found) == 0 {
			return false, fmt.Sprint("no target yet ", err), nil
		}
		return found[0].Value.Value == 2*instances, fmt.Sprintf("%v of %d answer", found[0].Value.Value, 2*instances), nil
	}))
}

// notifying is the configuration of Alertmanager that users are given for WeCom, with two differences: it waits less, and what
// it sends is also sent as it is, one alert at a time.
func notifying(t *testing.T) []byte {
	t.Helper()
	var config map[string]any
	must(t, "read the example", yaml.Unmarshal(example(t, "alertmanager-wecom.yaml"), &config))
	route, ok := config["route"].(map[string]any)
	if !ok {
		t.Fatalf("the example has no route: %v", config)
	}
	route["group_wait"], route["group_interval"] = "1s", "5s"
	route["routes"] = []any{
		map[string]any{"receiver": "plain", "group_by": []string{"..."}, "group_wait": "0s", "group_interval": "1s", "continue": true},
		map[string]any{"receiver": route["receiver"]},
	}
	receivers, _ := config["receivers"].([]any)
	config["receivers"] = append(receivers, map[string]any{
		"name": "plain", "webhook_configs": []any{map[string]any{"url": lab.ReceiverAddress + "/plain", "send_resolved": true}},
	})
	return got(yaml.Marshal(config))(t, "write the configuration")
}

func example(t *testing.T, name string) []byte {
	t.Helper()
	return got(os.ReadFile(filepath.Join(suite.lab.Root, "docs", "examples", name)))(t, "read the example")
}

// metrics asks for every metric that an alert or the dashboard names, and for every picture of the dashboard.
func (w *watched) metrics(ctx context.Context, t *testing.T, s *scene) {
	var rule monitoringv1.PrometheusRule
	must(t, "read the PrometheusRule", s.Client.Get(ctx, client.ObjectKey{Namespace: s.Key.Namespace, Name: monitoring.Name(s.Key.Name)}, &rule))
	var dashboard corev1.ConfigMap
	must(t, "read the dashboard", s.Client.Get(ctx, client.ObjectKey{Namespace: s.Key.Namespace, Name: monitoring.DashboardName(s.Key.Name)}, &dashboard))
	pictures := pictures(t, dashboard)
	expressions := slices.Clone(pictures)
	for _, r := range rule.Spec.Groups[0].Rules {
		expressions = append(expressions, r.Expr.String())
	}
	if len(rule.Spec.Groups[0].Rules) < 14 || len(pictures) < 24 {
		t.Fatalf("only %d alerts and %d expressions of the dashboard", len(rule.Spec.Groups[0].Rules), len(pictures))
	}
	names := map[string]bool{}
	for _, e := range expressions {
		for _, name := range got(w.prometheus.MetricsOf(ctx, e))(t, "take apart "+e) {
			names[name] = true
		}
	}
	must(t, "have all metrics and pictures", s.Wait(ctx, time.Minute, "all metrics and pictures", func(ctx context.Context) (bool, string, error) {
		var missing []string
		for name := range names {
			found, err := w.prometheus.Query(ctx, fmt.Sprintf("%s{namespace=%q,mysql_cluster=%q}", name, s.Key.Namespace, s.Key.Name))
			if err != nil {
				return false, "", err
			}
			if len(found) == 0 {
				missing = append(missing, name)
			}
		}
		for _, e := range pictures {
			found, err := w.prometheus.Query(ctx, e)
			if err != nil {
				return false, "", err
			}
			if len(found) == 0 {
				missing = append(missing, "a picture of "+e)
			}
		}
		slices.Sort(missing)
		return len(missing) == 0, "missing: " + strings.Join(missing, ", "), nil
	}))
	suite.timeline.Log("  %d metrics in %d expressions are there", len(names), len(expressions))
}

// pictures are the expressions of a dashboard; Grafana's variable for a range is given a value.
func pictures(t *testing.T, dashboard corev1.ConfigMap) []string {
	t.Helper()
	if dashboard.Labels["grafana_dashboard"] != "1" {
		t.Errorf("Grafana does not find the dashboard: its labels are %v", dashboard.Labels)
	}
	var out []string
	for _, raw := range dashboard.Data {
		var board struct {
			Panels []struct{ Targets []struct{ Expr string } }
		}
		must(t, "read the dashboard", json.Unmarshal([]byte(raw), &board))
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				out = append(out, strings.ReplaceAll(target.Expr, "$__rate_interval", "1m"))
			}
		}
	}
	return out
}

// silence waits for as many rounds of the rules as one needs that looks at three samples. Clients are writing meanwhile: an alert
// that a busy database raises is none.
func (w *watched) silence(ctx context.Context, t *testing.T, _ *scene) {
	time.Sleep(4 * scrapeInterval)
	if active := got(w.prometheus.Alerts(ctx))(t, "read the alerts"); len(active) > 0 {
		t.Errorf("active while all is well: %v", active)
	}
}
