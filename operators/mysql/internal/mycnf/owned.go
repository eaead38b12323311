package mycnf

import (
	"slices"
	"strings"
)

// Normalise returns an option's name as the list spells it: lower case, underscores, without the modifiers loose, skip,
// enable, disable and maximum, which would otherwise reach an owned option under another name.
func Normalise(option string) string {
	name := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(option)), "-", "_")
	for {
		cut := name
		for _, modifier := range modifiers() {
			cut = strings.TrimPrefix(cut, modifier)
		}
		if cut == name {
			return name
		}
		name = cut
	}
}

// Variable returns the name of the system variable behind an option: the name without modifiers that mysqld accepts in a
// file only.
func Variable(option string) string {
	name := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(option)), "-", "_")
	return strings.TrimPrefix(strings.TrimPrefix(name, "loose_"), "maximum_")
}

// Owned says whether an option belongs to the operator, however it is spelled.
func Owned(option string) bool {
	name := Normalise(option)
	if name == "" {
		return true
	}
	for _, prefix := range OwnedPrefixes() {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains(OwnedNames(), name)
}

// ValidName says whether text can be an option's name at all: letters, digits, hyphens, underscores, and dots between
// the name of a component and that of its option.
func ValidName(text string) bool {
	if text == "" || len(text) > 128 {
		return false
	}
	for i, r := range text {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		other := '0' <= r && r <= '9' || r == '_' || r == '-' || r == '.'
		if !letter && (i == 0 || !other) {
			return false
		}
	}
	return true
}

// modifiers are the words that mysqld accepts in front of an option's name.
func modifiers() []string {
	return []string{"loose_", "skip_", "enable_", "disable_", "maximum_"}
}

// OwnedPrefixes returns the beginnings of names that belong to the operator whatever follows, sorted.
func OwnedPrefixes() []string {
	return []string{
		"admin_",             // the pod has one port
		"binlog_do_db",       // a filtered binary log cannot make a replica whole
		"binlog_encryption",  // archiving reads binary logs with mysqlbinlog
		"binlog_ignore_db",   // likewise
		"clone_ssl_",         // set by the agent for each clone
		"clone_valid_",       // set by the agent for each clone
		"early_plugin_load",  // the agent decides what is loaded
		"group_replication_", // another way to replicate
		"gtid_",              // everything rests on GTIDs
		"init_file",          // carries the agent's own account
		"initialize",         // the agent initialises
		"master_",            // the old names of the source_ and replica_ options
		"mysqlx",             // the pod has one port
		"plugin_dir",         // belongs to the image
		"plugin_load",        // semi-sync and clone must be there
		"relay_log",          // received transactions are never discarded (I10)
		"replicate_",         // a filtered replica cannot be promoted
		"rpl_semi_sync_",     // acknowledged means durable on a quorum (I2)
		"ssl_",               // peers verify each other's certificates
	}
}

// OwnedNames returns the names that belong to the operator, normalised and sorted.
func OwnedNames() []string {
	return []string{
		"auto_generate_certs",            // peers verify each other's certificates
		"basedir",                        // belongs to the image
		"bind_address",                   // belongs to the pod
		"binlog_format",                  // replicas need rows
		"binlog_order_commits",           // removing an unacknowledged tail rests on it
		"binlog_transaction_compression", // archiving and tail removal read single events
		"chroot",                         // belongs to the pod
		"core_file",                      // belongs to the pod
		"daemonize",                      // the agent is the parent
		"datadir",                        // belongs to the volume
		"defaults_extra_file",            // the agent renders the configuration
		"defaults_file",                  // likewise
		"defaults_group_suffix",          // likewise
		"disabled_storage_engines",       // clone and set-up need theirs
		"enforce_gtid_consistency",       // everything rests on GTIDs
		"grant_tables",                   // skip_grant_tables would open every door
		"host_cache_size",                // a replica must not be blocked for failed attempts
		"init_replica",                   // would run with every receiver
		"init_slave",
		"innodb_data_file_path",           // clone wants it equal on both sides
		"innodb_data_home_dir",            // belongs to the volume
		"innodb_directories",              // belongs to the volume
		"innodb_doublewrite",              // crash safety
		"innodb_fast_shutdown",            // the agent stops mysqld
		"innodb_flush_log_at_trx_commit",  // an acknowledgement survives a restart (I10)
		"innodb_force_recovery",           // for rescue by hand only
		"innodb_log_group_home_dir",       // belongs to the volume
		"innodb_page_size",                // clone wants it equal on both sides
		"innodb_read_only",                // decided by the role
		"innodb_redo_log_archive_dirs",    // belongs to the volume
		"innodb_redo_log_encrypt",         // needs a keyring that the agent does not set up
		"innodb_temp_data_file_path",      // belongs to the volume
		"innodb_tmpdir",                   // belongs to the volume
		"innodb_undo_directory",           // belongs to the volume
		"lc_messages_dir",                 // belongs to the image
		"log_bin",                         // a member without a binary log cannot become the primary
		"log_bin_index",                   // the agent finds the binary logs
		"log_error",                       // the agent reads the error log
		"log_replica_updates",             // a replica must be able to become the primary
		"log_slave_updates",               // its old name
		"lower_case_table_names",          // fixed at initialisation, equal on all members
		"mandatory_roles",                 // would reach the agent's accounts
		"memlock",                         // belongs to the pod
		"name_resolve",                    // skip_name_resolve: accounts are by name, not host
		"networking",                      // skip_networking
		"offline_mode",                    // decided by the role
		"partial_revokes",                 // application accounts are kept out of the system schemas with it
		"performance_schema",              // the agent finds threads with it
		"persist_only_admin_x509_subject", // nothing is persisted
		"persist_sensitive_variables_in_plaintext",
		"persisted_globals_load",        // the configuration is the agent's file alone
		"pid_file",                      // belongs to the pod
		"port",                          // belongs to the pod
		"read_only",                     // decided by the role
		"replica_load_tmpdir",           // belongs to the volume
		"replica_net_timeout",           // detection of a silent source
		"replica_preserve_commit_order", // a replica without gaps is a prefix of its source
		"replica_skip_errors",           // a replica that skips is not a copy
		"replica_start",                 // skip_replica_start: nobody follows by itself (I12)
		"replica_type_conversions",      // a replica that converts is not a copy
		"report_host",                   // belongs to the agent
		"report_port",                   // belongs to the agent
		"require_secure_transport",      // the agent uses the socket, peers use TLS
		"secure_file_priv",              // no files through SQL
		"server_id",                     // distinct for every member
		"server_uuid",                   // likewise
		"slave_net_timeout",             // the old names of replica_ options
		"slave_preserve_commit_order",
		"slave_skip_errors",
		"slave_start",
		"slave_type_conversions",
		"socket",                 // belongs to the pod
		"source_info_repository", // crash-safe replication
		"sql_log_bin",            // the agent's own sessions rely on it
		"ssl",                    // peers use TLS
		"super_read_only",        // decided by the role
		"symbolic_links",         // the data stays on its volume
		"sync_binlog",            // acknowledged means durable (I2)
		"sync_relay_log",         // an acknowledgement survives a restart (I10)
		"sync_relay_log_info",    // crash-safe replication
		"sync_source_info",       // crash-safe replication
		"tls_ciphersuites",       // peers verify each other's certificates
		"tls_version",            // peers verify each other's certificates
		"tmpdir",                 // belongs to the volume
		"upgrade",                // the agent decides when data are upgraded
		"user",                   // belongs to the pod
		"validate_config",        // the agent validates
	}
}
