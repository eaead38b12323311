// Package mycnf renders mysqld's configuration file. It is pure: the same input gives the same text.
package mycnf

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kapok-operators/kapok/operators/mysql/internal/mycnf"
)

// smallPool is the buffer pool size below which the other large tables of mysqld are made small too.
const smallPool = 256 << 20

// Input is everything that the configuration depends on.
type Input struct {
	// ServerID is distinct for every member.
	ServerID uint32
	// DataDir is mysqld's data folder, TempDir a folder on the same volume.
	DataDir, TempDir string
	// Socket, PIDFile and InitFile are paths in the run folder. Without InitFile none is named.
	Socket, PIDFile, InitFile string
	// Bind and Port are where mysqld listens.
	Bind string
	Port int
	// User is set if the agent runs as root, which mysqld refuses without being told.
	User string
	// BufferPoolBytes sizes the buffer pool; 0 leaves mysqld's default.
	BufferPoolBytes int64
	// Options is the user's part.
	Options map[string]string
}

// option is one line of the file.
type option struct{ name, value string }

// Render returns the file, or an error that names the option which cannot be part of it.
//
// The user's options come after the defaults and before what the operator owns: mysqld takes the last word on each.
func Render(in Input) (string, error) {
	user, err := userOptions(in.Options)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Written by the agent at each start of mysqld; changes by hand do not last.\n[mysqld]\n")
	section(&b, "Defaults, which spec.config may replace.", defaults(in))
	section(&b, "From spec.config.", user)
	section(&b, "Owned by the operator.", operatorOptions(in))
	return b.String(), nil
}

// section writes a group of options.
func section(b *strings.Builder, title string, options []option) {
	if len(options) == 0 {
		return
	}
	_, _ = fmt.Fprintf(b, "\n# %s\n", title)
	for _, o := range options {
		_, _ = fmt.Fprintf(b, "%s = %s\n", o.name, quote(o.value))
	}
}

// userOptions checks and sorts the user's part.
func userOptions(options map[string]string) ([]option, error) {
	var out []option
	for _, name := range slices.Sorted(maps.Keys(options)) {
		value := options[name]
		switch {
		case !mycnf.ValidName(name):
			return nil, fmt.Errorf("option %q: this is not an option's name; use letters, digits, - and _", name)
		case mycnf.Owned(name):
			return nil, fmt.Errorf("option %q belongs to the operator; remove it from spec.config", name)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return nil, fmt.Errorf("option %q: the value contains a control character", name)
		}
		out = append(out, option{name, value})
	}
	return out, nil
}

// defaults are the options that a user may replace.
func defaults(in Input) []option {
	out := []option{
		{"replica_parallel_workers", "4"},
		{"max_connect_errors", "1000000"},
		// Voters sync each event of the relay log (I10), and a large transaction in events of 8 KiB, the default, waits for thousands of syncs.
		{"binlog_row_event_max_size", "1M"},
	}
	if in.BufferPoolBytes > 0 {
		out = append(out, option{"innodb_buffer_pool_size", strconv.FormatInt(in.BufferPoolBytes, 10)})
	}
	if in.BufferPoolBytes > 0 && in.BufferPoolBytes < smallPool {
		out = append(out,
			option{"innodb_log_buffer_size", "4M"},
			option{"innodb_redo_log_capacity", "32M"},
			option{"table_open_cache", "400"},
			option{"table_definition_cache", "400"},
			option{"performance_schema_digests_size", "200"},
			option{"performance_schema_error_size", "100"},
			option{"performance_schema_events_stages_history_long_size", "0"},
			option{"performance_schema_events_statements_history_long_size", "0"},
			option{"performance_schema_events_transactions_history_long_size", "0"},
			option{"performance_schema_events_waits_history_long_size", "0"},
			option{"performance_schema_max_digest_length", "256"},
			option{"performance_schema_max_sql_text_length", "256"},
			option{"performance_schema_session_connect_attrs_size", "0"},
		)
	}
	return out
}

// operatorOptions are those on which the operator's promises rest. Those of plugins are loose because plugins are not loaded
// while a data folder is initialised; the agent sets them again before they matter.
func operatorOptions(in Input) []option {
	out := []option{
		{"server_id", strconv.FormatUint(uint64(in.ServerID), 10)},
		{"datadir", in.DataDir},
		{"tmpdir", in.TempDir},
		{"socket", in.Socket},
		{"pid_file", in.PIDFile},
		{"bind_address", in.Bind},
		{"port", strconv.Itoa(in.Port)},
		{"mysqlx", "OFF"},
		{"skip_name_resolve", "ON"},
		{"host_cache_size", "0"},
		{"secure_file_priv", "NULL"},
		{"persisted_globals_load", "OFF"},
		{"partial_revokes", "ON"},
		{"performance_schema", "ON"},

		// Up, but nobody's: the agent opens what the operator tells it to.
		{"read_only", "ON"},
		{"super_read_only", "ON"},
		{"offline_mode", "ON"},
		{"skip_replica_start", "ON"},

		// Durable before it is acknowledged (I2, I10).
		{"innodb_flush_log_at_trx_commit", "1"},
		{"sync_binlog", "1"},
		{"sync_relay_log", "1"},
		{"relay_log_recovery", "OFF"},

		// Every member can take over from every other.
		{"gtid_mode", "ON"},
		{"enforce_gtid_consistency", "ON"},
		{"log_bin", "binlog"},
		{"relay_log", "relay"},
		{"loose_binlog_format", "ROW"},
		{"log_replica_updates", "ON"},
		{"replica_preserve_commit_order", "ON"},
		// Silence is judged by heartbeats, long before this. A receiver that has noticed it itself takes two seconds to stop,
		// and a failover would wait for that.
		{"replica_net_timeout", "15"},

		{"plugin_load_add", "semisync_source.so"},
		{"plugin_load_add", "semisync_replica.so"},
		{"plugin_load_add", "mysql_clone.so"},
		{"plugin_load_add", "auth_socket.so"},
		{"loose_rpl_semi_sync_source_enabled", "OFF"},
		{"loose_rpl_semi_sync_source_timeout", "4294967295"},
		{"loose_rpl_semi_sync_source_wait_point", "AFTER_SYNC"},
		{"loose_rpl_semi_sync_source_wait_no_replica", "ON"},
		{"loose_rpl_semi_sync_replica_enabled", "OFF"},
	}
	if in.InitFile != "" {
		out = append(out, option{"init_file", in.InitFile})
	}
	if in.User != "" {
		out = append(out, option{"user", in.User})
	}
	return out
}

// quote returns a value as the file needs it: in double quotes if mysqld would read something else into it.
func quote(value string) string {
	plain := value != "" && !strings.ContainsFunc(value, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("_-./:,+@", r)
	})
	if plain {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}
