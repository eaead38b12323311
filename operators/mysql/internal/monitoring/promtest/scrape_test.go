package promtest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/operators/mysql/internal/monitoring"
)

// TestLagIsRaisedHoweverLongAScrapeTakes: a sample comes in when its scrape ends, and has the time at which it began. A Prometheus
// that always looks at the rules in between, as one does that happens to have such times, must not miss the third sample.
func TestLagIsRaisedHoweverLongAScrapeTakes(t *testing.T) {
	const interval = 2 * time.Second
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// Nearly the whole time a scrape is under way.
		time.Sleep(interval * 9 / 10)
		_, _ = io.WriteString(w, lag+"{namespace=\"trade\",mysql_cluster=\"shop\",pod=\"shop-1\"} 61\n")
	}))
	defer exporter.Close()
	target, err := url.Parse(exporter.URL)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	rules(t, folder, monitoring.PrometheusRule(shop(interval)))
	config, err := yaml.Marshal(map[string]any{
		"global":         map[string]any{"scrape_interval": interval.String(), "scrape_timeout": interval.String(), "evaluation_interval": interval.String()},
		"scrape_configs": []map[string]any{{"job_name": "slow", "honor_labels": true, "static_configs": []map[string]any{{"targets": []string{target.Host}}}}},
		"rule_files":     []string{"rules.yaml"},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "prometheus.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	at := address(t)
	start(t, "http://"+at, exec.Command(program(t, "prometheus"), "--config.file="+file, "--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+at))
	// Three samples, one interval to look at them, and time for a slow machine.
	var fired []float64
	for deadline := time.Now().Add(12 * interval); len(fired) == 0; time.Sleep(interval / 4) {
		if time.Now().After(deadline) {
			t.Fatal("a lag that lasts is never reported")
		}
		fired = times(t, "http://"+at, `ALERTS{alertname="MySQLReplicationLagHigh",alertstate="firing"}[5m]`)
	}
	in := 0
	for _, began := range times(t, "http://"+at, lag+"[5m]") {
		if began+(interval*9/10).Seconds() < fired[0] {
			in++
		}
	}
	if in != 3 {
		t.Errorf("it fired when %d samples had come in, want 3", in)
	}
}

// times are those of the samples of one series.
func times(t *testing.T, server, query string) []float64 {
	t.Helper()
	response, err := http.Get(server + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Data struct {
			Result []struct{ Values [][2]any }
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Data.Result) > 1 {
		t.Fatal(fmt.Sprintf("%d series of %s", len(answer.Data.Result), query), err)
	}
	var out []float64
	for _, series := range answer.Data.Result {
		for _, pair := range series.Values {
			if seconds, ok := pair[0].(float64); ok {
				out = append(out, seconds)
			}
		}
	}
	return out
}
