package exporter

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Renamed are metrics by the name that the exporter gives them, with the name that the same column of the replica's status
// had before MySQL 8.4. They are served under both.
func Renamed() map[string]string {
	return map[string]string{
		"mysql_slave_status_seconds_behind_source": "mysql_slave_status_seconds_behind_master",
		"mysql_slave_status_replica_io_running":    "mysql_slave_status_slave_io_running",
		"mysql_slave_status_replica_sql_running":   "mysql_slave_status_slave_sql_running",
		"mysql_slave_status_source_server_id":      "mysql_slave_status_master_server_id",
		"mysql_slave_status_exec_source_log_pos":   "mysql_slave_status_exec_master_log_pos",
		"mysql_slave_status_read_source_log_pos":   "mysql_slave_status_read_master_log_pos",
	}
}

// longestLine bounds one line of the exporter's text, in bytes.
const longestLine = 1 << 20

// WithOldNames copies metrics in Prometheus' text format and adds, at the end, those of Renamed under their old names, unless
// the exporter knows them by these itself. All lines of a metric must be together, so they cannot be added in between.
func WithOldNames(to io.Writer, from io.Reader) error {
	renamed := Renamed()
	held := map[string]*bytes.Buffer{}
	known := map[string]bool{}
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, 64<<10), longestLine)
	for lines.Scan() {
		line := lines.Bytes()
		name, prefix, rest := split(line)
		known[name] = true
		if old, ok := renamed[name]; ok {
			if held[old] == nil {
				held[old] = &bytes.Buffer{}
			}
			_, _ = fmt.Fprintf(held[old], "%s%s%s\n", prefix, old, rest)
		}
		if _, err := fmt.Fprintf(to, "%s\n", line); err != nil {
			return fmt.Errorf("pass the metrics on: %w", err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the exporter's metrics: %w", err)
	}
	for _, old := range slices.Sorted(maps.Keys(held)) {
		if known[old] {
			continue
		}
		if _, err := held[old].WriteTo(to); err != nil {
			return fmt.Errorf("pass the metrics on: %w", err)
		}
	}
	return nil
}

// split finds the metric's name in a line: in "# HELP name text", "# TYPE name kind" or "name{labels} value".
func split(line []byte) (name, prefix, rest string) {
	start := 0
	for _, comment := range []string{"# HELP ", "# TYPE "} {
		if bytes.HasPrefix(line, []byte(comment)) {
			start = len(comment)
		}
	}
	end := bytes.IndexAny(line[start:], "{ ")
	if end < 0 {
		return "", "", string(line)
	}
	return string(line[start : start+end]), string(line[:start]), string(line[start+end:])
}
