package promtest_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/monitoring"
	"github.com/kapok-operators/kapok/operators/mysql/internal/monitoring/promtest"
)

// TestExpressionsNameOnlyWhatExists has the real Prometheus take every expression of the alerts and the dashboard apart, and
// looks for each metric in the list for users, all of which the agent's component test finds on a real server.
func TestExpressionsNameOnlyWhatExists(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(docs, "mysql", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	// Prometheus makes this one itself, of each scrape.
	known := map[string]bool{"up": true}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [a-z]+ \\|").FindAllStringSubmatch(string(raw), -1) {
		known[row[1]] = true
	}
	config := filepath.Join(t.TempDir(), "prometheus.yaml")
	if err := os.WriteFile(config, []byte("scrape_configs: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := address(t)
	start(t, "http://"+at, exec.Command(program(t, "prometheus"), "--config.file="+config, "--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+at))

	scope := monitoring.ScopeOf(shop(15 * time.Second))
	expressions := monitoring.Queries(scope)
	for _, alert := range monitoring.Alerts(scope) {
		expressions = append(expressions, alert.Expr)
	}
	named := map[string]bool{}
	for _, expr := range expressions {
		found := selectors(t, "http://"+at, expr)
		if len(found) == 0 {
			t.Errorf("no metric in %s", expr)
		}
		for _, name := range found {
			named[name] = true
			if !known[name] {
				t.Errorf("%s is not in docs/mysql/metrics.md: %s", name, expr)
			}
		}
	}
	if len(named) < 30 {
		t.Errorf("only %d metrics are named", len(named))
	}
}

// selectors names the metrics of an expression, as Prometheus reads it.
func selectors(t *testing.T, server, expr string) []string {
	t.Helper()
	response, err := http.Get(server + "/api/v1/parse_query?query=" + url.QueryEscape(expr))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Status, Error string
		Data          any
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("Prometheus does not read %s: %s (%v)", expr, answer.Error, err)
	}
	return promtest.Metrics(answer.Data)
}
