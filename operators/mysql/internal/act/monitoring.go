package act

import (
	"context"
	"errors"
	"fmt"
	"maps"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/monitoring"
	"github.com/kapok-operators/kapok/shared/apply"
	"github.com/kapok-operators/kapok/shared/observability/monitors"
)

// dashboardLabel tells a cluster's dashboard from its other ConfigMaps.
var dashboardLabel = map[string]string{"grafana_dashboard": "1"}

// monitor keeps what wires a cluster into Prometheus and Grafana, where their kinds are known. Nothing of it holds up the
// database: what cannot be done is told and tried again in the next round.
func (k *KubernetesObjects) monitor(ctx context.Context, cluster *v1alpha1.MySQLCluster) []Failure {
	told := func(what, reason string, err error) []Failure {
		return []Failure{{What: what, Reason: reason, Err: err, Monitoring: true}}
	}
	wanted := monitoring.Wanted(cluster)
	state := k.Monitors.State()
	if !wanted {
		return k.unmonitor(ctx, cluster, state)
	}
	const what = "tell Prometheus and Grafana of the cluster"
	switch state.Availability {
	case monitors.Available:
	case monitors.Absent:
		return told(what, v1alpha1.ReasonNoPrometheusOperator, errors.New(state.Why))
	case monitors.Forbidden:
		return told(what, v1alpha1.ReasonMonitoringForbidden, errors.New(state.Why))
	case monitors.Unknown:
		return told(what, v1alpha1.ReasonNotObserved, errors.New("it was not found out yet whether prometheus-operator's kinds are there"))
	}
	if taken, err := k.monitoringTaken(ctx, cluster); err != nil || taken != "" {
		if err != nil {
			return told(what, monitoringReason(err), err)
		}
		return told("make "+taken, v1alpha1.ReasonNameTaken, errTaken)
	}
	objects, err := monitoringObjects(cluster, k.Client.Scheme())
	if err == nil {
		_, err = k.MonitorApplier.Apply(ctx, objects...)
	}
	if err != nil {
		return told(what, monitoringReason(err), err)
	}
	return nil
}

// monitoringTaken names an object that is to be made and belongs to somebody else; empty if there is none.
func (k *KubernetesObjects) monitoringTaken(ctx context.Context, cluster *v1alpha1.MySQLCluster) (string, error) {
	version := monitoringv1.SchemeGroupVersion.String()
	look := looker{cached: k.MonitorApplier.Client, live: k.Live}
	for _, n := range []named{
		{"ConfigMap", monitoring.DashboardName(cluster.Name), &corev1.ConfigMap{}, "v1"},
		{monitoringv1.PodMonitorsKind, monitoring.Name(cluster.Name), &monitoringv1.PodMonitor{}, version},
		{monitoringv1.PrometheusRuleKind, monitoring.Name(cluster.Name), &monitoringv1.PrometheusRule{}, version},
	} {
		taken, err := look.isTaken(ctx, cluster, n)
		if err != nil {
			return "", fmt.Errorf("look for %s %s: %w", n.kind, n.name, err)
		}
		if taken {
			return n.kind + " " + n.name, nil
		}
	}
	return "", nil
}

// unmonitor removes the objects of a cluster that is not to have them any more.
func (k *KubernetesObjects) unmonitor(ctx context.Context, cluster *v1alpha1.MySQLCluster, state monitors.State) []Failure {
	if k.MonitorApplier == nil {
		return nil
	}
	scopes := []apply.PruneScope{{Owner: cluster, Labels: withLabels(cluster, dashboardLabel), Kinds: []client.ObjectList{&corev1.ConfigMapList{}}}}
	if state.Availability == monitors.Available {
		scopes = append(scopes, apply.PruneScope{Owner: cluster, Labels: withLabels(cluster, nil),
			Kinds: []client.ObjectList{&monitoringv1.PodMonitorList{}, &monitoringv1.PrometheusRuleList{}}})
	}
	for _, scope := range scopes {
		if _, err := k.MonitorApplier.Prune(ctx, scope); err != nil {
			return []Failure{{What: "remove what told Prometheus and Grafana of the cluster", Reason: monitoringReason(err), Err: err, Monitoring: true}}
		}
	}
	return nil
}

func withLabels(cluster *v1alpha1.MySQLCluster, more map[string]string) map[string]string {
	out := manifest.SelectorLabels(cluster.Name)
	maps.Copy(out, more)
	return out
}

// monitoringReason is the reason of a condition for an error of the API server.
func monitoringReason(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return v1alpha1.ReasonMonitoringForbidden
	case errors.Is(err, monitors.ErrUnavailable):
		// The definitions have just gone; the watcher says more a moment later.
		return v1alpha1.ReasonNoPrometheusOperator
	}
	return v1alpha1.ReasonApplyFailed
}

// monitoringObjects are the objects of a cluster that is watched.
func monitoringObjects(cluster *v1alpha1.MySQLCluster, scheme *runtime.Scheme) ([]runtime.ApplyConfiguration, error) {
	dashboard, err := monitoring.DashboardConfigMap(cluster)
	if err != nil {
		return nil, err
	}
	out := []runtime.ApplyConfiguration{dashboard}
	for _, object := range []client.Object{monitoring.PodMonitor(cluster), monitoring.PrometheusRule(cluster)} {
		configuration, err := monitors.Configuration(object, scheme)
		if err != nil {
			return nil, fmt.Errorf("build the monitoring of %s: %w", cluster.Name, err)
		}
		out = append(out, configuration)
	}
	return out, nil
}
