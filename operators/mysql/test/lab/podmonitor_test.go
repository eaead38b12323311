package lab

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/monitoring"
)

func watched() *mysqlv1.MySQLCluster {
	return &mysqlv1.MySQLCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: "trade", Name: "shop"},
		Spec: mysqlv1.MySQLClusterSpec{Instances: 3, Monitoring: mysqlv1.Monitoring{
			ScrapeInterval: &metav1.Duration{Duration: 5 * time.Second},
		}},
	}
}

func TestScrapeConfigs(t *testing.T) {
	configs, err := ScrapeConfigs(monitoring.PodMonitor(watched()))
	if err != nil || len(configs) != 2 {
		t.Fatalf("%d configurations, %v", len(configs), err)
	}
	want := []map[string]any{
		{"source_labels": []string{"__meta_kubernetes_pod_phase"}, "regex": "(Failed|Succeeded)", "action": "drop"},
		{
			"source_labels": []string{"__meta_kubernetes_pod_label_app_kubernetes_io_name", "__meta_kubernetes_pod_labelpresent_app_kubernetes_io_name"},
			"regex":         "(mysql);true", "action": "keep",
		},
		{
			"source_labels": []string{"__meta_kubernetes_pod_label_mysql_kapok_dev_cluster", "__meta_kubernetes_pod_labelpresent_mysql_kapok_dev_cluster"},
			"regex":         "(shop);true", "action": "keep",
		},
		{"source_labels": []string{"__meta_kubernetes_pod_container_port_name"}, "regex": "metrics", "action": "keep"},
		{"source_labels": []string{"__meta_kubernetes_namespace"}, "target_label": "namespace"},
		{"source_labels": []string{"__meta_kubernetes_pod_container_name"}, "target_label": "container"},
		{"source_labels": []string{"__meta_kubernetes_pod_name"}, "target_label": "pod"},
		{"target_label": "job", "replacement": "trade/shop-mysql"},
		{"target_label": "endpoint", "replacement": "metrics"},
		{"source_labels": []monitoringv1.LabelName{"__meta_kubernetes_pod_label_mysql_kapok_dev_cluster"}, "target_label": "mysql_cluster"},
		{"source_labels": []monitoringv1.LabelName{"__meta_kubernetes_pod_uid"}, "target_label": "pod_uid"},
	}
	if diff := cmp.Diff(want, configs[0]["relabel_configs"]); diff != "" {
		t.Error(diff)
	}
	if configs[0]["scrape_interval"] != "5s" || configs[0]["metrics_path"] != "/metrics" {
		t.Errorf("the interval is %v, the path %v", configs[0]["scrape_interval"], configs[0]["metrics_path"])
	}
}

// TestWhatTheLabDoesNotKnowIsRefused: a translation that passes over a field would scrape something else than was asked for.
func TestWhatTheLabDoesNotKnowIsRefused(t *testing.T) {
	for name, change := range map[string]func(*monitoringv1.PodMonitorSpec){
		"another path of discovery": func(s *monitoringv1.PodMonitorSpec) { s.NamespaceSelector.Any = true },
		"labels by expression": func(s *monitoringv1.PodMonitorSpec) {
			s.Selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: metav1.LabelSelectorOpExists}}
		},
		"labels of the pod":  func(s *monitoringv1.PodMonitorSpec) { s.PodTargetLabels = []string{"app"} },
		"labels of a scrape": func(s *monitoringv1.PodMonitorSpec) { s.PodMetricsEndpoints[1].HonorLabels = true },
		"metrics renamed": func(s *monitoringv1.PodMonitorSpec) {
			s.PodMetricsEndpoints[0].MetricRelabelConfigs = []monitoringv1.RelabelConfig{{Action: "drop"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			monitor := monitoring.PodMonitor(watched())
			change(&monitor.Spec)
			if _, err := ScrapeConfigs(monitor); err == nil || !strings.Contains(err.Error(), "does not know") {
				t.Errorf("it was taken: %v", err)
			}
		})
	}
}

// TestHasten: time runs faster, and nothing else changes.
func TestHasten(t *testing.T) {
	given := monitoring.PrometheusRule(watched())
	faster, err := Hasten(given, 30)
	if err != nil {
		t.Fatal(err)
	}
	back := strings.NewReplacer("[120000ms]", "[1h]", "[60000ms]", "[30m]")
	ranges := 0
	for i, rule := range faster.Spec.Groups[0].Rules {
		was := given.Spec.Groups[0].Rules[i]
		if rule.Expr.StrVal != was.Expr.StrVal {
			ranges++
		}
		if back.Replace(rule.Expr.StrVal) != was.Expr.StrVal {
			t.Errorf("%s became %s", was.Expr.StrVal, rule.Expr.StrVal)
		}
		if (rule.For == nil) != (was.For == nil) {
			t.Errorf("%s waits %v, not %v", rule.Alert, rule.For, was.For)
		}
		if rule.Alert == "MySQLFailoverBlocked" && *rule.For != "6000ms" {
			t.Errorf("three minutes became %s", *rule.For)
		}
	}
	if ranges != 3 {
		t.Errorf("%d expressions look back for half an hour or longer, want 3", ranges)
	}
}
