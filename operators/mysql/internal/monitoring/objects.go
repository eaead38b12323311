package monitoring

import (
	"fmt"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
)

// runbooks is where the pages of the alerts are.
const runbooks = "https://github.com/kapok-operators/kapok/blob/main/docs/runbooks/"

// defaultInterval is for a cluster from before the field had a default.
const defaultInterval = 15 * time.Second

// Name is the name of a cluster's PodMonitor and PrometheusRule; not the cluster's own, which an application might use.
func Name(cluster string) string { return cluster + "-mysql" }

// DashboardName is the name of the ConfigMap with the dashboard.
func DashboardName(cluster string) string { return cluster + "-mysql-dashboard" }

// Wanted says whether a cluster has these objects.
func Wanted(cluster *v1alpha1.MySQLCluster) bool {
	return cluster.Spec.Monitoring.Exporter != v1alpha1.ExporterNone
}

// ScopeOf is what the expressions of a cluster are about.
func ScopeOf(cluster *v1alpha1.MySQLCluster) Scope {
	interval := defaultInterval
	if set := cluster.Spec.Monitoring.ScrapeInterval; set != nil {
		interval = set.Duration
	}
	scope := Scope{Namespace: cluster.Namespace, Cluster: cluster.Name, Instances: cluster.Spec.Instances, Interval: interval}
	if backup := cluster.Spec.Backup; backup != nil && backup.Target != nil {
		scope.Backups, scope.Overdue, scope.Drills, scope.Unproven = true, protect.Overdue(backup), backup.Verify != nil, protect.Unproven(backup)
	}
	return scope
}

// PodMonitor tells Prometheus where the metrics of a cluster are. An agent and its exporter are two targets, so that what one
// says is known when the other is silent.
func PodMonitor(cluster *v1alpha1.MySQLCluster) *monitoringv1.PodMonitor {
	interval := monitoringv1.Duration(promDuration(ScopeOf(cluster).Interval))
	labels := []monitoringv1.RelabelConfig{
		{SourceLabels: []monitoringv1.LabelName{"__meta_kubernetes_pod_label_mysql_kapok_dev_cluster"}, TargetLabel: "mysql_cluster"},
		{SourceLabels: []monitoringv1.LabelName{"__meta_kubernetes_pod_uid"}, TargetLabel: "pod_uid"},
	}
	endpoint := func(port string) monitoringv1.PodMetricsEndpoint {
		return monitoringv1.PodMetricsEndpoint{Port: new(port), Path: "/metrics", Interval: interval, RelabelConfigs: labels}
	}
	return &monitoringv1.PodMonitor{
		ObjectMeta: meta(cluster, Name(cluster.Name)),
		Spec: monitoringv1.PodMonitorSpec{
			Selector:            metav1.LabelSelector{MatchLabels: manifest.SelectorLabels(cluster.Name)},
			PodMetricsEndpoints: []monitoringv1.PodMetricsEndpoint{endpoint(manifest.PortNameExporter), endpoint(manifest.PortNameAgent)},
		},
	}
}

// PrometheusRule holds the alerts of a cluster.
func PrometheusRule(cluster *v1alpha1.MySQLCluster) *monitoringv1.PrometheusRule {
	scope := ScopeOf(cluster)
	alerts := Alerts(scope)
	rules := make([]monitoringv1.Rule, 0, len(alerts))
	for _, alert := range alerts {
		rule := monitoringv1.Rule{
			Alert:  alert.Name,
			Expr:   intstr.FromString(alert.Expr),
			Labels: map[string]string{"severity": string(alert.Severity), "namespace": cluster.Namespace, "mysql_cluster": cluster.Name},
			Annotations: map[string]string{
				"summary": alert.Summary, "description": alert.Description, "runbook_url": runbooks + alert.Name + ".md",
			},
		}
		if alert.For > 0 {
			rule.For = new(monitoringv1.Duration(promDuration(alert.For)))
		}
		rules = append(rules, rule)
	}
	return &monitoringv1.PrometheusRule{
		ObjectMeta: meta(cluster, Name(cluster.Name)),
		Spec: monitoringv1.PrometheusRuleSpec{Groups: []monitoringv1.RuleGroup{{
			Name: fmt.Sprintf("kapok-mysql/%s/%s", cluster.Namespace, cluster.Name), Interval: new(monitoringv1.Duration(promDuration(scope.Interval))), Rules: rules,
		}}},
	}
}

// DashboardConfigMap holds the dashboard of a cluster, for Grafana's sidecar to find by its label.
func DashboardConfigMap(cluster *v1alpha1.MySQLCluster) (*corev1ac.ConfigMapApplyConfiguration, error) {
	dashboard, err := Dashboard(ScopeOf(cluster))
	if err != nil {
		return nil, err
	}
	labels := manifest.Labels(cluster.Name)
	labels["grafana_dashboard"] = "1"
	return corev1ac.ConfigMap(DashboardName(cluster.Name), cluster.Namespace).
		WithLabels(labels).
		WithOwnerReferences(metav1ac.OwnerReference().
			WithAPIVersion(v1alpha1.SchemeGroupVersion.String()).
			WithKind("MySQLCluster").
			WithName(cluster.Name).
			WithUID(cluster.UID).
			WithController(true).
			WithBlockOwnerDeletion(true)).
		WithData(map[string]string{fmt.Sprintf("mysql-%s-%s.json", cluster.Namespace, cluster.Name): string(dashboard)}), nil
}

// meta is the metadata of an object of prometheus-operator's that goes with its cluster.
func meta(cluster *v1alpha1.MySQLCluster, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: cluster.Namespace, Labels: manifest.Labels(cluster.Name),
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "MySQLCluster", Name: cluster.Name, UID: cluster.UID,
			Controller: new(true), BlockOwnerDeletion: new(true),
		}},
	}
}
