package mysqld

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Schema is the agent's own schema. It is replicated like any other: its writes prove that replicas acknowledge.
const Schema = "kapok_internal"

// ErrNotSetUp is returned while the agent's schema does not exist yet.
var ErrNotSetUp = errors.New("the schema " + Schema + " is not set up yet")

// errNoTable is MySQL's number for a missing table, errNoSchema for a missing schema.
const (
	errNoTable  = 1146
	errNoSchema = 1049
)

// logged runs f on a session whose statements are written to the binary log.
func (c *Client) logged(ctx context.Context, f func(*sql.Conn) error) error {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("reach mysqld: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, "SET SESSION sql_log_bin = 1"); err != nil {
		return fmt.Errorf("turn the binary log on: %w", err)
	}
	if err := f(conn); err != nil {
		return err
	}
	// A session that goes back to the pool must be like the others. If this fails, the session is not reused.
	if _, err := conn.ExecContext(ctx, "SET SESSION sql_log_bin = 0"); err != nil {
		return fmt.Errorf("turn the binary log off: %w", err)
	}
	return nil
}

// discard keeps a session whose state is unknown from going back to the pool.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return errDiscard })
}

// Probe writes one small row and waits until it was acknowledged.
func (c *Client) Probe(ctx context.Context, slot int, epoch uint64, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := c.logged(ctx, func(conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, "REPLACE INTO "+Schema+".probe (slot, epoch, at) VALUES (?, ?, NOW(6))", slot, epoch)
		if err != nil {
			discard(conn)
		}
		return err
	})
	if code := Code(err); code == errNoTable || code == errNoSchema {
		return ErrNotSetUp
	}
	if err != nil {
		return fmt.Errorf("write a proof of the quorum: %w", err)
	}
	return nil
}

// SetUp makes the agent's schema if it is missing.
func (c *Client) SetUp(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var tables int
	err := c.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?
		AND TABLE_NAME IN ('probe', 'account')`, Schema).Scan(&tables)
	if err != nil {
		return fmt.Errorf("look for the schema %s: %w", Schema, err)
	}
	if tables == 2 {
		return nil
	}
	return c.logged(ctx, func(conn *sql.Conn) error {
		for _, statement := range []string{
			"CREATE DATABASE IF NOT EXISTS " + Schema,
			"CREATE TABLE IF NOT EXISTS " + Schema + ".probe (slot INT PRIMARY KEY, epoch BIGINT UNSIGNED NOT NULL, at DATETIME(6) NOT NULL) ENGINE=InnoDB",
			"CREATE TABLE IF NOT EXISTS " + Schema + ".account (name VARCHAR(64) COLLATE utf8mb4_bin PRIMARY KEY, salt VARBINARY(16) NOT NULL, digest VARBINARY(32) NOT NULL) ENGINE=InnoDB",
		} {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				discard(conn)
				return fmt.Errorf("make the schema %s: %w", Schema, err)
			}
		}
		return nil
	})
}
