package monitoring

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// query is one expression of a panel; legend may quote labels.
type query struct{ expr, legend string }

// panel is one picture of the dashboard.
type panel struct {
	title, unit string
	// stat shows the present value in large letters instead of a course.
	stat    bool
	queries []query
}

// panels are the pictures of a dashboard, in the order in which one looks for a cause.
func panels() []panel {
	const pod = "{{pod}}"
	rate := func(metric string) string { return "rate(" + metric + "{$sel}[$__rate_interval])" }
	return []panel{
		{"Instances that take writes", "none", true, []query{{"sum(kapok_mysql_agent_writable{$sel})", "primary"}}},
		{"Instances that serve", "none", true, []query{{"sum(kapok_mysql_agent_ready{$sel})", "ready"}}},
		{"Voters attached to the primary", "none", true, []query{{"kapok_mysql_agent_attached_voters{$sel}", pod}}},
		{"Epoch", "none", true, []query{{"max(kapok_mysql_agent_epoch{$sel})", "epoch"}}},
		{"mysqld answers", "none", false, []query{{"mysql_up{$sel}", pod}}},
		{"Role", "none", false, []query{{`kapok_mysql_agent_role{$sel,role="Primary"}`, pod + " is primary"}}},
		{"Statements", "ops", false, []query{{rate("mysql_global_status_questions"), pod}}},
		{"Mean time of a statement", "s", false, []query{{
			rate("mysql_perf_schema_events_statements_sum_timer_wait") + " / " + rate("mysql_perf_schema_events_statements_sum_total"), pod,
		}}},
		{"Slow statements", "ops", false, []query{{rate("mysql_global_status_slow_queries"), pod}}},
		{"Statements by kind", "ops", false, []query{{
			`topk(8, sum by (command) (rate(mysql_global_status_commands_total{$sel}[$__rate_interval])) > 0)`, "{{command}}",
		}}},
		{"Sessions", "none", false, []query{
			{"mysql_global_status_threads_connected{$sel}", pod}, {"mysql_global_status_threads_running{$sel}", pod + " at work"},
			{"mysql_global_variables_max_connections{$sel}", pod + " limit"},
		}},
		{"Failed and broken sessions", "ops", false, []query{
			{rate("mysql_global_status_aborted_connects"), pod + " refused"}, {rate("mysql_global_status_aborted_clients"), pod + " broken"},
		}},
		{"Network", "Bps", false, []query{
			{rate("mysql_global_status_bytes_received"), pod + " in"}, {rate("mysql_global_status_bytes_sent"), pod + " out"},
		}},
		{"Seconds behind the primary", "s", false, []query{
			{"mysql_slave_status_seconds_behind_master{$sel}", pod}, {"kapok_mysql_agent_lag_seconds{$sel}", pod + " (agent)"},
		}},
		{"Replication runs", "none", false, []query{
			{"kapok_mysql_agent_receiver_connected{$sel}", pod + " receives"}, {"kapok_mysql_agent_applier_running{$sel}", pod + " applies"},
		}},
		{"Commits that wait for an acknowledgement", "none", false, []query{{"kapok_mysql_agent_waiting_commits{$sel}", pod}}},
		{"Buffer pool: reads that miss", "percentunit", false, []query{{
			rate("mysql_global_status_innodb_buffer_pool_reads") + " / " + rate("mysql_global_status_innodb_buffer_pool_read_requests"), pod,
		}}},
		{"Buffer pool: dirty pages", "none", false, []query{{"mysql_global_status_buffer_pool_dirty_pages{$sel}", pod}}},
		{"Rows", "ops", false, []query{{`sum by (operation) (rate(mysql_global_status_innodb_row_ops_total{$sel}[$__rate_interval]))`, "{{operation}}"}}},
		{"Waits for row locks", "ops", false, []query{
			{rate("mysql_global_status_innodb_row_lock_waits"), pod}, {rate("mysql_info_schema_innodb_metrics_lock_lock_deadlocks_total"), pod + " deadlocks"},
		}},
		{"Redo log written", "Bps", false, []query{{rate("mysql_global_status_innodb_os_log_written"), pod}}},
		{"Old row versions that wait for purge", "none", false, []query{{"mysql_info_schema_innodb_metrics_transaction_trx_rseg_history_len{$sel}", pod}}},
		{"Data volume used", "percentunit", false, []query{{
			"1 - kapok_mysql_agent_volume_free_bytes{$sel} / kapok_mysql_agent_volume_size_bytes{$sel}", pod,
		}}},
		{"Binary logs", "bytes", false, []query{{"mysql_binlog_size_bytes{$sel}", pod}}},
	}
}

// Queries are all expressions of the dashboard, with Grafana's interval replaced by one that Prometheus knows.
func Queries(s Scope) []string {
	var out []string
	for _, p := range panels() {
		for _, q := range p.queries {
			out = append(out, replaceInterval(s.expand(q.expr)))
		}
	}
	return out
}

// The size of panels in Grafana's grid, which is 24 wide.
const (
	width      = 24
	statWidth  = 6
	statHeight = 4
	chartWidth = 12
	chartTall  = 8
)

// Dashboard returns Grafana's JSON of a cluster's dashboard.
func Dashboard(s Scope) ([]byte, error) {
	sum := sha256.Sum256([]byte(s.Namespace + "/" + s.Cluster))
	source := map[string]any{"type": "prometheus", "uid": "${datasource}"}
	built := make([]any, 0, len(panels()))
	x, y, row := 0, 0, 0
	for i, p := range panels() {
		kind, w, h := "timeseries", chartWidth, chartTall
		if p.stat {
			kind, w, h = "stat", statWidth, statHeight
		}
		if x+w > width {
			x, y, row = 0, y+row, 0
		}
		targets := make([]any, 0, len(p.queries))
		for n, q := range p.queries {
			targets = append(targets, map[string]any{"refId": string(rune('A' + n)), "expr": s.expand(q.expr), "legendFormat": q.legend, "datasource": source})
		}
		built = append(built, map[string]any{
			"id": i + 1, "type": kind, "title": p.title, "datasource": source, "targets": targets,
			"gridPos":     map[string]any{"x": x, "y": y, "w": w, "h": h},
			"fieldConfig": map[string]any{"defaults": map[string]any{"unit": p.unit}, "overrides": []any{}},
		})
		x, row = x+w, max(row, h)
	}
	raw, err := json.Marshal(map[string]any{
		"uid": "kapok-mysql-" + hex.EncodeToString(sum[:8]), "title": fmt.Sprintf("MySQL %s/%s", s.Namespace, s.Cluster),
		"tags": []string{"kapok", "mysql"}, "schemaVersion": 39, "editable": false, "refresh": "30s", "timezone": "browser",
		"time":       map[string]string{"from": "now-3h", "to": "now"},
		"templating": map[string]any{"list": []any{map[string]any{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}}},
		"panels":     built,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the dashboard of %s/%s: %w", s.Namespace, s.Cluster, err)
	}
	return raw, nil
}

// replaceInterval gives Grafana's variable a value.
func replaceInterval(expr string) string { return strings.ReplaceAll(expr, "$__rate_interval", "1m") }
