// Package standin has stand-ins for programs that tests cannot have. They do what the documentation of the real ones says as far as the code under
// test relies on it, and are shell scripts, so that a test reads what they do.
package standin

import (
	"os"
	"path/filepath"
	"testing"
)

// Program writes a stand-in into a folder.
func Program(t testing.TB, dir, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nset -eu\n"+script), 0o755); err != nil { //nolint:gosec // It is run.
		t.Fatal(err)
	}
}

// Unwritten is a transaction that a backup by the stand-in for xtrabackup holds, and whose data do not say so.
const Unwritten = "33333333-3333-3333-3333-333333333333:1"

// XtraBackup returns a folder with stand-ins for xtrabackup and xbstream. In place of reading the files of the server as the real one does, xtrabackup
// has the server itself copy them by CLONE, over the connection that the option file describes; its stream is one of tar. Before, it does what the real
// one needs privileges for. Like the real one it says in files of its own what had been executed, which the data need not know: an empty transaction
// that is executed after the copy makes sure of that. clients is the folder of MySQL's own client programs.
func XtraBackup(t testing.TB, clients string) string {
	t.Helper()
	dir := t.TempDir()
	Program(t, dir, "xtrabackup", `
say() { echo "2026-01-01T00:00:00.000000-00:00 0 [$1] [MY-011825] [Xtrabackup] $2" >&2; }
case $1 in
--prepare)
	[ $# = 2 ] && [ -f "${2#--target-dir=}/backup-my.cnf" ] || { say ERROR "not an unpacked backup"; exit 1; }
	say Note "completed OK!"
	exit 0 ;;
--defaults-file=*) config=${1#*=} ;;
*) say ERROR "the options file must be named first"; exit 1 ;;
esac
for option in "$@"; do
	case $option in
	--target-dir=*) target=${option#*=} ;;
	--extra-lsndir=*) info=${option#*=} ;;
	esac
done
account=$("`+clients+`/my_print_defaults" --defaults-file="$config" --show xtrabackup | grep -e '^--user=' -e '^--password=' -e '^--socket=')
ask() { "`+clients+`/mysql" --no-defaults $account -N -B -r -e "$1"; }
ask "LOCK INSTANCE FOR BACKUP; SELECT LOCAL FROM performance_schema.log_status" >/dev/null
ask "SHOW ENGINE INNODB STATUS; FLUSH ENGINE LOGS; FLUSH TABLES WITH READ LOCK" >/dev/null
ask "SELECT * FROM performance_schema.keyring_component_status; SELECT * FROM performance_schema.replication_group_members" >/dev/null
ask "CLONE LOCAL DATA DIRECTORY = '$target/copy'"
ask "SET gtid_next = '`+Unwritten+`'; COMMIT"
executed=$(ask "SELECT @@global.gtid_executed")
printf 'binlog.000001\t4\t%s\n' "$executed" > "$target/copy/xtrabackup_binlog_info"
printf "binlog_pos = filename 'binlog.000001', position '4', GTID of the last change '%s'\n" "$executed" | tee "$info/xtrabackup_info" > "$target/copy/xtrabackup_info"
echo "[mysqld]" > "$target/copy/backup-my.cnf"
rm -f "$target/copy/auto.cnf"
tar -C "$target/copy" -cf - .
say Note "completed OK!"
`)
	Program(t, dir, "xbstream", `
[ $# = 3 ] && [ "$1" = -x ] && [ "$2" = -C ] || { echo "xbstream: error: unknown options" >&2; exit 1; }
exec tar -C "$3" -xf -
`)
	return dir
}
