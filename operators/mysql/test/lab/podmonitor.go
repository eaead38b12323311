package lab

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// ScrapeConfigs turns a PodMonitor into scrape configurations of Prometheus, as prometheus-operator does: the pods that its
// selector chooses, the named port, and the labels that every target gets before the PodMonitor's own. A PodMonitor that asks
// for anything else is an error and not passed over, so that what is scraped is what was asked for.
func ScrapeConfigs(monitor *monitoringv1.PodMonitor) ([]map[string]any, error) {
	spec := monitor.Spec.DeepCopy()
	chosen := []map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(spec.Selector.MatchLabels)) {
		label := metaLabel(name)
		chosen = append(chosen, map[string]any{
			"source_labels": []string{"__meta_kubernetes_pod_label_" + label, "__meta_kubernetes_pod_labelpresent_" + label},
			"regex":         "(" + regexp.QuoteMeta(spec.Selector.MatchLabels[name]) + ");true", "action": "keep",
		})
	}
	var configs []map[string]any
	for i := range spec.PodMetricsEndpoints {
		endpoint := &spec.PodMetricsEndpoints[i]
		if endpoint.Port == nil {
			return nil, fmt.Errorf("translate endpoint %d of PodMonitor %s: it names no port", i, monitor.Name)
		}
		port := *endpoint.Port
		relabel := append([]map[string]any{
			{"source_labels": []string{"__meta_kubernetes_pod_phase"}, "regex": "(Failed|Succeeded)", "action": "drop"},
		}, chosen...)
		relabel = append(relabel,
			map[string]any{"source_labels": []string{"__meta_kubernetes_pod_container_port_name"}, "regex": regexp.QuoteMeta(port), "action": "keep"},
			map[string]any{"source_labels": []string{"__meta_kubernetes_namespace"}, "target_label": "namespace"},
			map[string]any{"source_labels": []string{"__meta_kubernetes_pod_container_name"}, "target_label": "container"},
			map[string]any{"source_labels": []string{"__meta_kubernetes_pod_name"}, "target_label": "pod"},
			map[string]any{"target_label": "job", "replacement": monitor.Namespace + "/" + monitor.Name},
			map[string]any{"target_label": "endpoint", "replacement": port},
		)
		for j := range endpoint.RelabelConfigs {
			relabel = append(relabel, relabelConfig(&endpoint.RelabelConfigs[j]))
		}
		configs = append(configs, map[string]any{
			"job_name":              fmt.Sprintf("podMonitor/%s/%s/%d", monitor.Namespace, monitor.Name, i),
			"scrape_interval":       string(endpoint.Interval),
			"metrics_path":          endpoint.Path,
			"kubernetes_sd_configs": []map[string]any{{"role": "pod", "namespaces": map[string]any{"names": []string{monitor.Namespace}}}},
			"relabel_configs":       relabel,
		})
		endpoint.Port, endpoint.Interval, endpoint.Path, endpoint.RelabelConfigs = nil, "", "", nil
		if !equality.Semantic.DeepEqual(*endpoint, monitoringv1.PodMetricsEndpoint{}) {
			return nil, fmt.Errorf("translate endpoint %d of PodMonitor %s: it asks for what the lab does not know: %+v", i, monitor.Name, *endpoint)
		}
	}
	spec.PodMetricsEndpoints, spec.Selector.MatchLabels = nil, nil
	if !equality.Semantic.DeepEqual(*spec, monitoringv1.PodMonitorSpec{}) {
		return nil, fmt.Errorf("translate PodMonitor %s: it asks for what the lab does not know: %+v", monitor.Name, *spec)
	}
	if len(configs) == 0 {
		return nil, fmt.Errorf("translate PodMonitor %s: it has no endpoint", monitor.Name)
	}
	return configs, nil
}

// metaLabel is the name of a label as Prometheus' discovery writes it.
func metaLabel(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '_'
	}, name)
}

// relabelConfig is one rule of a PodMonitor in Prometheus' own words. What is not set has the same default in both.
func relabelConfig(rule *monitoringv1.RelabelConfig) map[string]any {
	out := map[string]any{}
	if len(rule.SourceLabels) > 0 {
		out["source_labels"] = rule.SourceLabels
	}
	for key, value := range map[string]string{"target_label": rule.TargetLabel, "regex": rule.Regex, "action": strings.ToLower(rule.Action)} {
		if value != "" {
			out[key] = value
		}
	}
	if rule.Separator != nil {
		out["separator"] = *rule.Separator
	}
	if rule.Replacement != nil {
		out["replacement"] = *rule.Replacement
	}
	if rule.Modulus > 0 {
		out["modulus"] = rule.Modulus
	}
	return out
}

// longRange finds the ranges of an expression that are half an hour or longer; they say how long something is remembered, while
// shorter ones count samples.
var longRange = regexp.MustCompile(`\[(30m|1h)\]`)

// Hasten returns the rules with time running faster for them: how long a state must last before an alert fires, and how long
// something past is remembered ([30m], [1h]), are divided by the factor. Nothing else differs: not what is compared, and not the
// ranges that count samples.
func Hasten(rule *monitoringv1.PrometheusRule, factor int) (*monitoringv1.PrometheusRule, error) {
	out := rule.DeepCopy()
	divide := func(text string) (string, error) {
		d, err := time.ParseDuration(text)
		if err != nil {
			return "", fmt.Errorf("hasten PrometheusRule %s: %w", rule.Name, err)
		}
		return strconv.FormatInt(max(1, (d/time.Duration(factor)).Milliseconds()), 10) + "ms", nil
	}
	for g := range out.Spec.Groups {
		for r := range out.Spec.Groups[g].Rules {
			one := &out.Spec.Groups[g].Rules[r]
			if one.For != nil {
				shorter, err := divide(string(*one.For))
				if err != nil {
					return nil, err
				}
				*one.For = monitoringv1.Duration(shorter)
			}
			var failed error
			one.Expr.StrVal = longRange.ReplaceAllStringFunc(one.Expr.StrVal, func(found string) string {
				shorter, err := divide(strings.Trim(found, "[]"))
				failed = err
				return "[" + shorter + "]"
			})
			if failed != nil {
				return nil, failed
			}
		}
	}
	return out, nil
}
