package mysqld

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// errDiscard makes database/sql drop a session.
var errDiscard = driver.ErrBadConn

// User is an application account as it shall be.
type User struct {
	Name, Password, Database string
	// Writes says that the account may change data and schema.
	Writes bool
	// Salt and Digest stand for all of the above, so that an account is only touched when something changed.
	Salt, Digest []byte
}

// UserDigest returns what an account was last set to; found is false if it is not known or the account does not exist.
func (c *Client) UserDigest(ctx context.Context, name string) (salt, digest []byte, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	err = c.db.QueryRowContext(ctx, `SELECT salt, digest FROM `+Schema+`.account WHERE name = ?
		AND EXISTS (SELECT 1 FROM mysql.user WHERE user = ? AND host = '%')`, name, name).Scan(&salt, &digest)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, false, nil
	}
	if err != nil {
		return nil, nil, false, fmt.Errorf("look for the account %s: %w", name, err)
	}
	return salt, digest, true, nil
}

// Privileges of application accounts.
const (
	readPrivileges  = "SELECT, SHOW VIEW"
	writePrivileges = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, " +
		"LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER"
)

// ApplyUser makes an account what it shall be, on this server and, through the binary log, on every other.
//
// An account statement that waits for an acknowledgement keeps every login waiting, those of replicas included. So it
// must only be called while commits are known to be answered.
func (c *Client) ApplyUser(ctx context.Context, u User, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	account := Quote(u.Name) + "@'%'"
	var statements []string
	if u.Database != "" {
		statements = append(statements, "CREATE DATABASE IF NOT EXISTS "+QuoteName(u.Database))
	}
	statements = append(statements,
		"CREATE USER IF NOT EXISTS "+account+" IDENTIFIED BY "+Quote(u.Password),
		"ALTER USER "+account+" IDENTIFIED BY "+Quote(u.Password),
		"REVOKE ALL PRIVILEGES, GRANT OPTION FROM "+account)
	statements = append(statements, grants(u, account)...)
	return c.logged(ctx, func(conn *sql.Conn) error {
		for _, statement := range statements {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				discard(conn)
				return fmt.Errorf("set up the account %s: %w", u.Name, err)
			}
		}
		_, err := conn.ExecContext(ctx, "REPLACE INTO "+Schema+".account (name, salt, digest) VALUES (?, ?, ?)", u.Name, u.Salt, u.Digest)
		if err != nil {
			discard(conn)
			return fmt.Errorf("note what the account %s was set to: %w", u.Name, err)
		}
		return nil
	})
}

// grants returns the statements that give an account its rights. With partial_revokes, which the agent always sets, the
// characters _ and % in a schema's name mean themselves.
func grants(u User, account string) []string {
	privileges := readPrivileges
	if u.Writes {
		privileges = writePrivileges
	}
	if u.Database != "" {
		return []string{"GRANT " + privileges + " ON " + QuoteName(u.Database) + ".* TO " + account}
	}
	out := []string{"GRANT " + privileges + " ON *.* TO " + account}
	if !u.Writes {
		return append(out, "REVOKE SELECT ON mysql.* FROM "+account, "REVOKE SELECT ON "+Schema+".* FROM "+account)
	}

	for _, schema := range []string{"mysql", "sys", Schema} {
		out = append(out, "REVOKE "+writePrivileges+" ON "+QuoteName(schema)+".* FROM "+account)
	}
	// The sys schema's views are for everybody to read.
	return append(out, "GRANT SELECT, EXECUTE, SHOW VIEW ON sys.* TO "+account)
}
