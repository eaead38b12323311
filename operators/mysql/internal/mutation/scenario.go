package mutation

import "slices"

// Newcomer is the name of accounts that changes add; Stranger is one for which nobody ever makes a password.
const (
	Newcomer = newcomer
	Stranger = "stranger"
)

// Surroundings are what scenarios need to know besides the spec.
type Surroundings struct {
	// ImageWithoutServer is an image that can be pulled and has no mysqld.
	ImageWithoutServer string
	// VolumesGrow says that the storage class of the volumes allows expansion.
	VolumesGrow bool
}

// The reasons that scenarios expect, as the API spells them. They are repeated here because a rename would break alerts
// of users, and should fail here.
const (
	reasonConfiguration = "ConfigurationRefused"
	reasonUnschedulable = "Unschedulable"
	reasonImage         = "ImageUnusable"
	reasonNoServer      = "ServerMissingInImage"
	reasonPassword      = "PasswordMissing"
)

// Base is the spec that scenarios change, for a cluster that a small machine bears. Its account is named app and owns a
// database of that name.
func Base() map[string]any {
	return map[string]any{
		"instances":      int64(3),
		"version":        "9.7",
		"storage":        map[string]any{"size": "2Gi"},
		"ha":             map[string]any{"failover": "automatic", "probeInterval": "10s"},
		"configuration":  map[string]any{"max_connections": "200"},
		"users":          []any{account("app")},
		"resources":      map[string]any{"requests": map[string]any{"cpu": "50m", "memory": "512Mi"}},
		"bufferPoolSize": "64Mi",
		"placement":      map[string]any{"zones": "Preferred", "nodes": "Preferred"},
		"deletionPolicy": "Retain",
	}
}

// Everything is Base with the fields that it leaves out.
func Everything() map[string]any {
	spec := Base()
	spec["image"] = "registry.example.com/mysql:9.7"
	spec["storage"] = map[string]any{"size": "2Gi", "storageClassName": "standard",
		"autoGrow": map[string]any{"limit": "20Gi", "freePercent": int64(15), "stepPercent": int64(50)}}
	spec["backup"] = map[string]any{
		"schedule": "0 2 * * *", "timeZone": "Europe/Berlin", "retention": int64(7), "keep": int64(30),
		"recipients": []any{"age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq"},
		"target": map[string]any{"s3": map[string]any{
			"endpoint": "https://minio.example.com:9000", "bucket": "backups", "region": "eu-central-1", "prefix": "prod", "pathStyle": true,
			"credentials": map[string]any{"name": "store"}, "caBundle": "-----BEGIN CERTIFICATE-----",
		}},
	}
	spec["usersSecret"] = map[string]any{"name": "accounts"}
	spec["users"] = []any{account("app"), map[string]any{"name": "report", "database": "app", "access": "ReadOnly"}}
	amounts := map[string]any{"cpu": "500m", "memory": "1Gi"}
	spec["resources"] = map[string]any{"requests": amounts, "limits": map[string]any{"cpu": "1", "memory": "2Gi"}}
	spec["placement"] = map[string]any{
		"zones": "Required", "nodes": "Preferred", "nodeSelector": map[string]any{"disk": "nvme"},
		"tolerations": []any{map[string]any{"key": "dedicated", "operator": "Equal", "value": "mysql", "effect": "NoExecute", "tolerationSeconds": int64(60)}},
	}
	return spec
}

func account(name string) map[string]any { return map[string]any{"name": name, "database": "app"} }

// Scenarios are changes of Base that a schema does not tell.
func Scenarios(s Surroundings) []Change {
	return slices.Concat(scales(), versions(s), storages(s), places(), accounts(), options(), owned(), modes(), together())
}

// scenario makes a change of one step.
func scenario(name string, expect Verdict, edits ...Edit) Change {
	c := Change{Name: "scenario: " + name, Steps: [][]Edit{edits}, Expect: expect, Scenario: true}
	for _, e := range edits {
		c.Fields = append(c.Fields, Path(e.At))
	}
	return c
}

// saying sets the words that the refusal or the condition holds.
func (c Change) saying(words ...string) Change {
	c.Says = words
	return c
}

// because sets the reason of the condition.
func (c Change) because(reason string) Change {
	c.Reason = reason
	return c
}

// shows adds a system variable to look at.
func (c Change) shows(variable, want string) Change {
	c.Sights = append(c.Sights, Sight{Query: "SELECT @@GLOBAL." + variable, Want: want})
	return c
}

// lasting marks a change that cannot be taken back.
func (c Change) lasting() Change {
	c.Lasting = true
	return c
}

// after puts a step before, which is given up while it is under way.
func (c Change) after(edits ...Edit) Change {
	c.Steps = append([][]Edit{edits}, c.Steps...)
	return c
}

func set(value any, at ...string) Edit { return Edit{At: at, Value: value} }

func option(name, value string) Edit { return set(value, "configuration", name) }

func scales() []Change {
	return []Change{
		scenario("scale to 1", Converged, set(int64(1), "instances")),
		scenario("scale to 2", Converged, set(int64(2), "instances")),
		scenario("scale to 5", Converged, set(int64(5), "instances")),
		scenario("scale to 5 after 1 was asked for", Converged, set(int64(5), "instances")).after(set(int64(1), "instances")),
		scenario("scale to 1 after 5 was asked for", Converged, set(int64(1), "instances")).after(set(int64(5), "instances")),
		scenario("scale to none", Refused, set(int64(0), "instances")).saying("greater than or equal to 1"),
	}
}

func versions(s Surroundings) []Change {
	return []Change{
		scenario("version down", Refused, set("8.4", "version")).saying("must not go down", "logical dump"),
		scenario("version of another MySQL", Refused, set("8.0", "version")).saying("8.4 or 9.x"),
		scenario("version of which there is no image", RejectedLater, set("9.7.99", "version")).because(reasonImage).saying("9.7.99"),
		// It cannot go down again: the way out is to name the image that ran.
		scenario("release of which there is no image", RejectedLater, set("9.99", "version")).because(reasonImage).saying("9.99").lasting(),
		scenario("image that does not exist", RejectedLater, set("registry.invalid/mysql:9.7", "image")).because(reasonImage).
			saying("registry.invalid/mysql:9.7"),
		scenario("image without mysqld", RejectedLater, set(s.ImageWithoutServer, "image")).because(reasonNoServer).saying("mysqld", "spec.image"),
		scenario("image of two that do not exist", RejectedLater, set("registry.invalid/second:1", "image")).because(reasonImage).
			after(set("registry.invalid/first:1", "image")),
		scenario("image that is no reference", Refused, set("two words", "image")).saying("without blanks"),
	}
}

func storages(s Surroundings) []Change {
	grow := scenario("larger volumes", RejectedLater, set("3Gi", "storage", "size")).because("ExpansionRefused").saying("3Gi").lasting()
	if s.VolumesGrow {
		grow.Expect, grow.Reason, grow.Says = Converged, "", nil
	}
	return []Change{
		grow,
		scenario("smaller volumes", Refused, set("1Gi", "storage", "size")).saying("must not shrink"),
		scenario("volumes that grow by themselves", Converged, set(map[string]any{"limit": "4Gi"}, "storage", "autoGrow")),
		scenario("a limit below the size of the volumes", Refused, set(map[string]any{"limit": "1Gi"}, "storage", "autoGrow")).
			saying("autoGrow.limit must not be smaller"),
		scenario("another storage class", Refused, set("elsewhere", "storage", "storageClassName")).saying("cannot be changed"),
	}
}

func places() []Change {
	amount := func(v string, at ...string) Edit { return set(v, append([]string{"resources"}, at...)...) }
	return []Change{
		scenario("more memory than any node has", RejectedLater, amount("800Gi", "requests", "memory")).because(reasonUnschedulable).saying("memory"),
		scenario("more CPU than any node has", RejectedLater, amount("900", "requests", "cpu")).because(reasonUnschedulable).saying("cpu"),
		scenario("a limit below the request", Refused, amount("300Mi", "limits", "memory")).saying("must not be larger than"),
		scenario("a buffer pool as large as the limit", Refused, amount("1Gi", "limits", "memory"), set("1Gi", "bufferPoolSize")).
			saying("bufferPoolSize must be smaller"),
		scenario("other resources", Converged, amount("60m", "requests", "cpu"), amount("1Gi", "limits", "memory")),
		scenario("the least memory", Open, set(map[string]any{"requests": map[string]any{"cpu": "50m", "memory": "256Mi"},
			"limits": map[string]any{"memory": "256Mi"}}, "resources"), Edit{At: []string{"bufferPoolSize"}}),
		scenario("a node label that no node has", RejectedLater, set(map[string]any{"mutate.kapok.dev/nowhere": "true"}, "placement", "nodeSelector")).
			because(reasonUnschedulable).saying("node"),
		scenario("apart on nodes and in zones", Converged, set("Required", "placement", "nodes"), set("Required", "placement", "zones")),
		scenario("a toleration", Converged, set([]any{map[string]any{"key": "mutate", "operator": "Exists"}}, "placement", "tolerations")),
	}
}

func accounts() []Change {
	users := func(names ...string) Edit {
		var list []any
		for _, name := range names {
			list = append(list, account(name))
		}
		return set(list, "users")
	}
	reader := map[string]any{"name": Newcomer, "database": "app", "access": "ReadOnly"}
	return []Change{
		scenario("an account more", Converged, users("app", Newcomer)),
		scenario("all accounts removed", Converged, Edit{At: []string{"users"}}),
		scenario("an account renamed", Converged, users(Newcomer)),
		scenario("an account without a password", RejectedLater, users("app", Stranger)).because(reasonPassword).saying(Stranger, "Secret"),
		scenario("an account without a password, before one with", RejectedLater, users(Stranger, "app", Newcomer)).
			because(reasonPassword).saying(Stranger, "Secret"),
		scenario("an account twice", Refused, users("app", "app")).saying("Duplicate"),
		scenario("a reserved account", Refused, users("app", "root")).saying("reserved"),
		scenario("a second account on a database that is not there yet", Converged,
			set([]any{account("app"), map[string]any{"name": Newcomer, "database": "fresh-one"}}, "users")),
		scenario("an account that may only read", Converged, set([]any{account("app"), reader}, "users")),
		scenario("a users Secret that does not exist", RejectedLater, set("nowhere", "usersSecret", "name")).because(reasonPassword).saying("nowhere"),
	}
}

// options are those of mysqld that a user may set: good ones, wrong ones, and good ones that get in the way of whoever
// works with the server, the operator included. Those that keep every client from writing are left out: that is then what
// the user wants.
func options() []Change {
	refuse := func(name, value string) Change {
		return scenario("option "+name+"="+value, RejectedLater, option(name, value)).because(reasonConfiguration).saying(name)
	}
	dynamic := func(name, value, shown string) Change {
		return scenario("option "+name+"="+value, Converged, option(name, value)).shows(name, shown)
	}
	out := []Change{
		refuse("no_such_option", "1"), refuse("sql_mode", "NONSENSE"),
		refuse("character_set_server", "klingon"),
		dynamic("max_connections", "123", "123"), dynamic("long_query_time", "2.5", "2.500000"), dynamic("sort_buffer_size", "1M", "1048576"),
		dynamic("back_log", "77", "77"), dynamic("sql_mode", "", ""), dynamic("binlog_row_image", "MINIMAL", "MINIMAL"),
		scenario("option max_connections=many", Refused, option("max_connections", "many")).saying("whole number"),
		scenario("option max_connections=1", Refused, option("max_connections", "1")).saying("whole number"),
		scenario("the configuration removed", Converged, Edit{At: []string{"configuration"}}),
		scenario("another buffer pool", Converged, set("96Mi", "bufferPoolSize")),
		scenario("a wrong option after a good one that restarts", RejectedLater, option("no_such_option", "1")).
			because(reasonConfiguration).saying("no_such_option").after(option("back_log", "88")),
		scenario("an option's value of two lines", Refused, option("init_connect", "SET @a=1\nskip_grant_tables")).saying("control character"),
	}
	for _, hostile := range [][2]string{
		{"innodb_thread_concurrency", "1000"}, {"max_user_connections", "1"}, {"max_allowed_packet", "1024"}, {"wait_timeout", "1"},
		{"interactive_timeout", "1"}, {"lock_wait_timeout", "1"}, {"max_execution_time", "1"}, {"sql_mode", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT"},
		{"sql_require_primary_key", "ON"}, {"default_storage_engine", "MEMORY"},
		{"sql_safe_updates", "ON"}, {"binlog_checksum", "NONE"}, {"max_binlog_size", "4096"},
		{"binlog_expire_logs_seconds", "1"}, {"innodb_flush_method", "nosync"}, {"innodb_redo_log_capacity", "1"},
		{"transaction_isolation", "SERIALIZABLE"}, {"character_set_server", "utf32"}, {"collation_server", "utf8mb4_bin"},
		{"default_time_zone", "+14:00"}, {"general_log", "ON"}, {"event_scheduler", "DISABLED"}, {"table_open_cache", "1"},
		{"open_files_limit", "10"}, {"thread_stack", "1"}, {"innodb_buffer_pool_size", "5242880"}, {"net_read_timeout", "1"},
		{"skip_show_database", "ON"}, {"sql_log_off", "ON"}, {"local_infile", "ON"}, {"activate_all_roles_on_login", "ON"},
		{"password_require_current", "ON"}, {"default_password_lifetime", "1"}, {"innodb_lock_wait_timeout", "1"},
		{"session_track_gtids", "ALL_GTIDS"}, {"read_rnd_buffer_size", "1"}, {"innodb_rollback_on_timeout", "ON"},
		{"connect_timeout", "2"}, {"protocol_compression_algorithms", "zstd"}, {"authentication_policy", "sha256_password"},
	} {
		out = append(out, scenario("option "+hostile[0]+"="+hostile[1], Open, option(hostile[0], hostile[1])))
	}
	return out
}

// owned are some of the options that belong to the operator, spelled as people spell them.
func owned() []Change {
	var out []Change
	for _, name := range []string{"sync_binlog", "gtid_mode", "super_read_only", "skip_grant_tables", "loose_log_bin", "datadir",
		"rpl_semi_sync_source_timeout", "relay_log_recovery", "init_file", "plugin_load_add", "innodb_flush_log_at_trx_commit"} {
		out = append(out, scenario("owned option "+name, Refused, option(name, "1")).saying("must not set "+name, "belongs to the operator"))
	}
	return out
}

func modes() []Change {
	return []Change{
		scenario("failovers by hand", Converged, set("manual", "ha", "failover")),
		scenario("failovers by hand and back", Converged, set("automatic", "ha", "failover")).after(set("manual", "ha", "failover")),
		scenario("a quick routine", Converged, set("1s", "ha", "probeInterval")),
		scenario("volumes go with the cluster", Converged, set("Delete", "deletionPolicy")),
		scenario("backups", Converged, set(map[string]any{"schedule": "0 2 * * *", "retention": int64(1)}, "backup")),
		scenario("backups to a service that does not answer", Converged, set(map[string]any{"s3": map[string]any{
			"endpoint": "https://127.0.0.1:1", "bucket": "backups", "credentials": map[string]any{"name": "store"},
		}}, "backup", "target")),
		scenario("backups to a volume that does not exist", RejectedLater, set(map[string]any{"volume": map[string]any{"claimName": "no-such-claim"}},
			"backup", "target")).because(reasonUnschedulable).saying("no-such-claim"),
	}
}

// together are several changes at once.
func together() []Change {
	return []Change{
		scenario("larger, other options and another pool at once", Converged, set(int64(5), "instances"), option("max_connections", "150"),
			set("96Mi", "bufferPoolSize"), set("manual", "ha", "failover")).shows("max_connections", "150"),
		scenario("smaller and restarted at once", Converged, set(int64(2), "instances"), option("back_log", "66")).shows("back_log", "66"),
		scenario("larger and replaced at once", Converged, set(int64(4), "instances"), set("60m", "resources", "requests", "cpu")),
		scenario("larger with a wrong option", RejectedLater, set(int64(4), "instances"), option("no_such_option", "1")).
			because(reasonConfiguration).saying("no_such_option"),
		scenario("something good with something refused", Refused, option("max_connections", "150"), set("8.4", "version")).saying("must not go down"),
		scenario("an image that does not exist while restarting", RejectedLater, set("registry.invalid/mysql:9.7", "image")).
			because(reasonImage).after(option("back_log", "99")),
		scenario("smaller with an image that does not exist", Open, set(int64(2), "instances"), set("registry.invalid/mysql:9.7", "image")),
	}
}
