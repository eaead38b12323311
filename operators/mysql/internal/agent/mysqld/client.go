// Package mysqld is the agent's only way to talk to mysqld: SQL over the Unix socket, every statement with a deadline,
// since almost any of them may block while commits wait for an acknowledgement. Nothing here decides.
package mysqld

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Admin is the agent's own account; it is made anew with a random password at each start of mysqld (see InitFile).
const Admin = "kapok_admin"

// Monitor is the account of the exporter beside mysqld. It is made anew with a random password at each start of mysqld, or
// removed if there is no exporter.
const Monitor = "kapok_monitor"

// monitorConnections bounds the sessions of the account Monitor: two scrapers at the same moment and a person.
const monitorConnections = 3

// monitored are the tables that the exporter's collectors read beside what needs no privilege on a table.
var monitored = [...]string{"events_statements_summary_by_digest", "replication_applier_status_by_worker"}

// Deadlines of the statements, by what they wait for.
const (
	// quick is for what only reads or sets a variable.
	quick = time.Second
	// account is for account statements that stay out of the binary log.
	account = 2 * time.Second
	// stop is for stopping a replication thread.
	stop = 5 * time.Second
)

// Client talks to one run of mysqld.
type Client struct {
	db *sql.DB
	// socket and password are how it connects.
	socket, password string
}

// Dial returns a client for the server behind the socket. It does not connect yet.
func Dial(socket, password string) (*Client, error) {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "unix", socket
	cfg.User, cfg.Passwd = Admin, password
	cfg.AllowNativePasswords = false
	cfg.InterpolateParams = true
	cfg.ParseTime = true
	cfg.Timeout = quick
	cfg.Logger = quiet{}
	// The quoting of literals relies on the SQL mode, and no session of the agent may end up in the binary log unless
	// it says so.
	cfg.Params = map[string]string{
		"sql_mode":          "'ANSI_QUOTES,STRICT_ALL_TABLES'",
		"sql_log_bin":       "0",
		"lock_wait_timeout": "3",
		"autocommit":        "1",
		"time_zone":         "'+00:00'",
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("prepare the connection to mysqld: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(6)
	db.SetMaxIdleConns(3)
	db.SetConnMaxLifetime(time.Hour)
	return &Client{db: db, socket: socket, password: password}, nil
}

// quiet drops the driver's own log: every error it could print is also returned.
type quiet struct{}

// Print implements the driver's logger.
func (quiet) Print(...any) {}

// Close ends all connections.
func (c *Client) Close() { _ = c.db.Close() }

// Ping says whether mysqld answers.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	if err := c.db.PingContext(ctx); err != nil {
		return fmt.Errorf("reach mysqld: %w", err)
	}
	return nil
}

// exec runs one statement that must not be logged with its text, since it may hold a password.
func (c *Client) exec(ctx context.Context, limit time.Duration, what, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if _, err := c.db.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Code returns MySQL's error number inside err, or 0.
func Code(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}

// Numbers of errors that callers branch on.
const (
	// CodeReadOnlyVariable: a variable that cannot be set while mysqld runs.
	CodeReadOnlyVariable = 1238
	// CodeUnknownVariable: mysqld knows no such variable.
	CodeUnknownVariable = 1193
	// CodeNoSuchThread: KILL came too late.
	CodeNoSuchThread = 1094
	// CodeRestartFailed: CLONE is done, but mysqld could not restart itself.
	CodeRestartFailed = 3707
)

// Quote returns text as an SQL string literal under the session's SQL mode.
func Quote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`, "\x00", `\0`).Replace(text) + "'"
}

// QuoteName returns text as an SQL identifier.
func QuoteName(text string) string { return "`" + strings.ReplaceAll(text, "`", "``") + "`" }

// InitFile writes the statements that mysqld runs at each start, before anybody can connect and although it is read-only:
// the agent's account with a fresh password, and an account for each member, locked (I12). Nothing of it gets a GTID.
//
// peers are the account names. monitor is the password of the account Monitor; empty if there is to be none. socketUser, if
// set, is the operating system's user whose root@localhost may log in over the socket; it is only looked at when first is
// true, for the first start of a new data folder.
func InitFile(w io.Writer, password string, peers []string, monitor string, first bool, socketUser string) error {
	admin := Quote(Admin) + "@'localhost'"
	lines := []string{
		"SET SESSION sql_log_bin = 0",
		"CREATE USER IF NOT EXISTS " + admin + " IDENTIFIED BY " + Quote(password),
		"ALTER USER " + admin + " IDENTIFIED WITH caching_sha2_password BY " + Quote(password) +
			" ACCOUNT UNLOCK PASSWORD EXPIRE NEVER",
		"GRANT ALL ON *.* TO " + admin + " WITH GRANT OPTION",
	}
	if len(peers) > 0 {
		names := accounts(peers)
		random := make([]string, len(peers))
		for i, name := range peers {
			random[i] = Quote(name) + "@'%' IDENTIFIED BY " + Quote(rand.Text())
		}
		lines = append(lines,
			"CREATE USER IF NOT EXISTS "+strings.Join(random, ", ")+" REQUIRE SSL ACCOUNT LOCK",
			"ALTER USER "+names+" REQUIRE SSL PASSWORD EXPIRE NEVER ACCOUNT LOCK",
			// BACKUP_ADMIN makes a clone's donor. CONNECTION_ADMIN lets a replica attach while the server is closed to
			// clients, and when clients have taken all connections.
			"GRANT REPLICATION SLAVE, BACKUP_ADMIN, CONNECTION_ADMIN ON *.* TO "+names)
	}
	lines = append(lines, monitorAccount(monitor)...)
	switch {
	case first && socketUser != "":
		lines = append(lines, "ALTER USER IF EXISTS 'root'@'localhost' IDENTIFIED WITH auth_socket AS "+Quote(socketUser)+" ACCOUNT UNLOCK")
	case first:
		lines = append(lines, "ALTER USER IF EXISTS 'root'@'localhost' ACCOUNT LOCK")
	}
	for _, line := range lines {
		if _, err := io.WriteString(w, line+";\n"); err != nil {
			return fmt.Errorf("write the start statements: %w", err)
		}
	}
	return nil
}

// monitorAccount returns the statements that make the exporter's account, or remove it. It is made from nothing each time, so
// that it never has a right more than these, whatever a clone or a hand has given it. With names left unresolved, localhost
// means the socket: the account cannot be used from another pod, not even over TCP from this one.
//
// PROCESS is for the InnoDB metrics, REPLICATION CLIENT for the replica's status and the size of the binary log; there is no
// narrower privilege for either. The account reads no table of any user.
func monitorAccount(password string) []string {
	account := Quote(Monitor) + "@'localhost'"
	out := []string{"DROP USER IF EXISTS " + account}
	if password == "" {
		return out
	}
	out = append(out,
		"CREATE USER "+account+" IDENTIFIED WITH caching_sha2_password BY "+Quote(password)+
			fmt.Sprintf(" WITH MAX_USER_CONNECTIONS %d PASSWORD EXPIRE NEVER", monitorConnections),
		"GRANT PROCESS, REPLICATION CLIENT ON *.* TO "+account)
	for _, table := range monitored {
		out = append(out, "GRANT SELECT ON performance_schema."+table+" TO "+account)
	}
	return out
}

// accounts joins account names for a statement.
func accounts(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = Quote(name) + "@'%'"
	}
	return strings.Join(quoted, ", ")
}
