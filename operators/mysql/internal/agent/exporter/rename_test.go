package exporter_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/exporter"
)

func TestOldNamesAreAddedOnce(t *testing.T) {
	const given = `# HELP mysql_up Whether the server is up.
# TYPE mysql_up gauge
mysql_up 1
# HELP mysql_slave_status_seconds_behind_source Generic metric from SHOW SLAVE STATUS.
# TYPE mysql_slave_status_seconds_behind_source untyped
mysql_slave_status_seconds_behind_source{channel_name="",master_host="a b{c} d"} 61
mysql_slave_status_seconds_behind_source{channel_name="x",master_host=""} 2
# HELP mysql_slave_status_replica_io_running Generic metric.
mysql_slave_status_replica_io_running{channel_name=""} 1
`
	const added = `# HELP mysql_slave_status_seconds_behind_master Generic metric from SHOW SLAVE STATUS.
# TYPE mysql_slave_status_seconds_behind_master untyped
mysql_slave_status_seconds_behind_master{channel_name="",master_host="a b{c} d"} 61
mysql_slave_status_seconds_behind_master{channel_name="x",master_host=""} 2
# HELP mysql_slave_status_slave_io_running Generic metric.
mysql_slave_status_slave_io_running{channel_name=""} 1
`
	pass := func(text string) string {
		var out strings.Builder
		if err := exporter.WithOldNames(&out, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if diff := cmp.Diff(given+added, pass(given)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	// An exporter that knows both names says each once: a metric that comes twice makes Prometheus drop the whole scrape.
	if diff := cmp.Diff(given+added, pass(given+added)); diff != "" {
		t.Errorf("with both names already there (-want +got)\n%s", diff)
	}
}

func TestALineWithoutEndIsAnError(t *testing.T) {
	if err := exporter.WithOldNames(&strings.Builder{}, strings.NewReader(strings.Repeat("x", 2<<20))); err == nil {
		t.Error("a line of 2 MiB was passed on")
	}
}
