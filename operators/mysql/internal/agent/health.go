package agent

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// Handler serves the container's probes: /healthz says that the agent lives, /readyz that the instance is what it was
// told to be and takes clients. /metrics says how it is (see collector).
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		why := "no report yet"
		if r := a.published.Load(); r != nil {
			why = notReady(*r)
		}
		if why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{a.published.Load, a.keeper.Metrics})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

// notReady says why an instance does not take clients; "" if it does.
func notReady(r instance.Report) string {
	switch {
	case r.State != instance.StateRunning:
		return "mysqld is " + string(r.State)
	case r.Unresponsive:
		return "mysqld does not answer"
	case !r.Converged:
		return "not what it was told to be"
	case r.Role == instance.RolePrimary && r.Serving:
		return ""
	case r.Role == instance.RoleReplica && r.Receiver.Running:
		return ""
	}
	return fmt.Sprintf("role %q does not take clients", r.Role)
}
