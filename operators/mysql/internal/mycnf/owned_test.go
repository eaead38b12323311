package mycnf

import (
	"slices"
	"testing"
)

func TestOwnedKnowsEverySpelling(t *testing.T) {
	for option, want := range map[string]bool{
		"server_id":                       true,
		"server-id":                       true,
		"SERVER_ID":                       true,
		"loose-gtid-mode":                 true,
		"loose_skip_replica_start":        true,
		"skip-networking":                 true,
		"skip-grant-tables":               true,
		"skip_log_bin":                    true,
		"disable-log-bin":                 true,
		"rpl_semi_sync_source_timeout":    true,
		"relay-log-recovery":              true,
		"mysqlx":                          true,
		"mysqlx_port":                     true,
		"plugin-load-add":                 true,
		"innodb_flush_log_at_trx_commit":  true,
		"replicate-do-db":                 true,
		"":                                true,
		"max_connections":                 false,
		"loose_max_connections":           false,
		"innodb_buffer_pool_size":         false,
		"innodb-redo-log-capacity":        false,
		"replica_parallel_workers":        false,
		"binlog_expire_logs_seconds":      false,
		"sql_mode":                        false,
		"log_bin_trust_function_creators": false,
		"event_scheduler":                 false,
		"general_log":                     false,
		"validate_password.policy":        false,
	} {
		if got := Owned(option); got != want {
			t.Errorf("Owned(%q) = %v, want %v", option, got, want)
		}
	}
}

func TestListsAreNormalisedAndSorted(t *testing.T) {
	for _, list := range [][]string{OwnedNames(), OwnedPrefixes()} {
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			t.Errorf("not sorted or not unique: %v", list)
		}
		for _, name := range list {
			if Normalise(name) != name {
				t.Errorf("%q can never match: it is normalised to %q", name, Normalise(name))
			}
		}
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"max_connections": true, "max-connections": true, "validate_password.policy": true,
		"": false, "1abc": false, "a b": false, "a=b": false, "a\nb": false, "!include": false, "[mysqld]": false, "#x": false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v, want %v", name, got, want)
		}
	}
}
