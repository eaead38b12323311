package manager

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kapok-operators/kapok/shared/observability"
	"github.com/kapok-operators/kapok/shared/observability/otlp"
)

// observe sets up what the operator tells about itself.
func (m *Manager) observe(c Config, log logr.Logger) error {
	var err error
	process := otlp.Process{Service: c.Name, Version: c.Version, Pod: c.Pod}
	// The exporter's life ends with Start, not with any context that there is now.
	if m.Exporter, err = otlp.New(context.Background(), c.Traces, process, c.Metrics, log.WithName("traces")); err != nil { //nolint:forbidigo // New has no caller's context; nothing in it waits.
		return err
	}
	if m.Telemetry, err = observability.NewTelemetry(m.Exporter.Provider(), c.Metrics); err != nil {
		return err
	}
	if c.Metrics == nil {
		return nil
	}
	for _, collector := range []prometheus.Collector{m.Certificates, leadership{m.Term}, info(c)} {
		if err := c.Metrics.Register(collector); err != nil {
			return fmt.Errorf("register the operator's metrics: %w", err)
		}
	}
	return nil
}

// info says who this is.
func info(c Config) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kapok_operator_info", Help: "1, with the operator's name, version and pod.",
		ConstLabels: prometheus.Labels{
			"operator": c.Name, "version": c.Version, "pod_namespace": c.Pod.Namespace, "pod": c.Pod.Name, "pod_uid": c.Pod.UID,
		},
	}, func() float64 { return 1 })
}

// leadership exposes the term.
type leadership struct{ term *Term }

func leaderDesc() *prometheus.Desc {
	return prometheus.NewDesc("kapok_operator_leader", "1 if this replica leads, else 0.", nil, nil)
}

func termDesc() *prometheus.Desc {
	return prometheus.NewDesc("kapok_operator_leader_term", "The number of this replica's leadership; absent unless it leads. It only grows.", nil, nil)
}

// Describe implements prometheus.Collector.
func (leadership) Describe(out chan<- *prometheus.Desc) {
	out <- leaderDesc()
	out <- termDesc()
}

// Collect implements prometheus.Collector.
func (l leadership) Collect(out chan<- prometheus.Metric) {
	term, leads := l.term.Term()
	if !leads {
		out <- prometheus.MustNewConstMetric(leaderDesc(), prometheus.GaugeValue, 0)
		return
	}
	out <- prometheus.MustNewConstMetric(leaderDesc(), prometheus.GaugeValue, 1)
	out <- prometheus.MustNewConstMetric(termDesc(), prometheus.GaugeValue, float64(term))
}
