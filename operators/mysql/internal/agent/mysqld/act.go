package mysqld

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SetGlobal sets a variable that the agent owns. Name and value are the agent's own words.
func (c *Client) SetGlobal(ctx context.Context, name, value string) error {
	return c.exec(ctx, quick, "set "+name+" to "+value, "SET GLOBAL "+name+" = "+value)
}

// SetOption sets a variable from the user's configuration while mysqld runs. Numbers, words and texts are told apart as
// mysqld's own configuration file would.
func (c *Client) SetOption(ctx context.Context, name, value string) error {
	return c.exec(ctx, quick, "set option "+name, "SET GLOBAL "+name+" = "+literal(value))
}

// literal writes an option file's value as SQL.
func literal(value string) string {
	if _, err := strconv.ParseInt(value, 10, 64); err == nil {
		return value
	}
	if _, err := strconv.ParseFloat(value, 64); err == nil {
		return value
	}
	if n := len(value); n > 1 {
		if shift := strings.IndexByte("KMGTPE", strings.ToUpper(value)[n-1]); shift >= 0 {
			if number, err := strconv.ParseUint(value[:n-1], 10, 64); err == nil && number < 1<<53 {
				return strconv.FormatUint(number<<(10*(shift+1)), 10)
			}
		}
	}
	return Quote(value)
}

// ResetOption sets a variable back to what mysqld was compiled with.
func (c *Client) ResetOption(ctx context.Context, name string) error {
	return c.exec(ctx, quick, "reset option "+name, "SET GLOBAL "+name+" = DEFAULT")
}

// StopReceiver ends the fetching half of the channel; what was received stays. It returns when the thread is gone.
func (c *Client) StopReceiver(ctx context.Context) error {
	return c.exec(ctx, stop, "stop the receiver", "STOP REPLICA IO_THREAD")
}

// StartReceiver starts the fetching half.
func (c *Client) StartReceiver(ctx context.Context) error {
	return c.exec(ctx, stop, "start the receiver", "START REPLICA IO_THREAD")
}

// StartApplier starts the applying half.
func (c *Client) StartApplier(ctx context.Context) error {
	return c.exec(ctx, stop, "start the applier", "START REPLICA SQL_THREAD")
}

// StopApplier ends the applying half. A half-received transaction would make STOP REPLICA wait for a minute, so the
// coordinator is killed first, again and again since it may not listen at once, and only stopped once it is gone.
func (c *Client) StopApplier(ctx context.Context, coordinator uint64) error {
	if coordinator != 0 {
		if err := c.endThread(ctx, coordinator); err != nil {
			return fmt.Errorf("end the applier: %w", err)
		}
	}
	return c.exec(ctx, stop, "stop the applier", "STOP REPLICA SQL_THREAD")
}

// endThread kills a thread until it is gone.
func (c *Client) endThread(ctx context.Context, id uint64) error {
	ctx, cancel := context.WithTimeout(ctx, stop)
	defer cancel()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for {
		if err := c.Kill(ctx, id); err != nil {
			return err
		}
		var n int
		err := c.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_ID = ?`, id).Scan(&n)
		if err != nil {
			return fmt.Errorf("look for thread %d: %w", id, err)
		}
		if n == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("thread %d did not end: %w", id, ctx.Err())
		case <-ticker.C:
		}
	}
}

// Kill ends a session; one that is gone already is no error.
func (c *Client) Kill(ctx context.Context, id uint64) error {
	text := strconv.FormatUint(id, 10)
	if err := c.exec(ctx, quick, "end session "+text, "KILL "+text); err != nil && Code(err) != CodeNoSuchThread {
		return err
	}
	return nil
}

// AwaitExecuted waits until gtids are executed, for at most limit, and says whether they are.
func (c *Client) AwaitExecuted(ctx context.Context, gtids string, limit time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, limit+quick)
	defer cancel()
	var late sql.NullInt64
	err := c.db.QueryRowContext(ctx, `SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)`, gtids, limit.Seconds()).Scan(&late)
	if err != nil {
		return false, fmt.Errorf("wait for the applier: %w", err)
	}
	return late.Valid && late.Int64 == 0, nil
}

// ForgetSource removes the channel with its relay log. Only for when everything received was applied (I10).
func (c *Client) ForgetSource(ctx context.Context) error {
	return c.exec(ctx, stop, "forget the source", "RESET REPLICA ALL")
}

// Source is what a channel needs to follow somebody.
type Source struct {
	Host     string
	Port     int
	User     string
	Password string
	// CAFile is the authority that signed the source's certificate; empty accepts any over TLS.
	CAFile string
}

// Follow sets the channel up for a source, which empties the relay log: only for when everything received was applied
// (I10). It starts nothing. The password ends up in mysqld's own tables, as with every replica.
func (c *Client) Follow(ctx context.Context, s Source) error {
	statement := fmt.Sprintf(`CHANGE REPLICATION SOURCE TO SOURCE_HOST = %s, SOURCE_PORT = %d, SOURCE_USER = %s,
		SOURCE_PASSWORD = %s, SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 1, SOURCE_SSL_CA = %s, SOURCE_SSL_VERIFY_SERVER_CERT = 0,
		SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 1000000, SOURCE_HEARTBEAT_PERIOD = 1`,
		Quote(s.Host), s.Port, Quote(s.User), Quote(s.Password), Quote(s.CAFile))
	return c.exec(ctx, stop, "set up the replication channel", statement)
}

// UnlockPeers gives member accounts new passwords and opens them, all in one statement. It stays out of the binary log.
func (c *Client) UnlockPeers(ctx context.Context, passwords map[string]string, order []string) error {
	parts := make([]string, len(order))
	for i, name := range order {
		parts[i] = Quote(name) + "@'%' IDENTIFIED BY " + Quote(passwords[name])
	}
	return c.exec(ctx, account, "open the members' accounts", "ALTER USER "+strings.Join(parts, ", ")+" ACCOUNT UNLOCK")
}

// LockPeers closes member accounts. Sessions that stand are not touched. It stays out of the binary log.
func (c *Client) LockPeers(ctx context.Context, names []string) error {
	return c.exec(ctx, account, "lock members' accounts", "ALTER USER "+accounts(names)+" ACCOUNT LOCK")
}

// Clone replaces the data by the donor's. On success mysqld ends with the status that asks for a start.
func (c *Client) Clone(ctx context.Context, s Source) error {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("reach mysqld: %w", err)
	}
	defer func() { _ = conn.Close() }()
	for _, statement := range []string{
		"SET GLOBAL super_read_only = OFF",
		"SET GLOBAL clone_valid_donor_list = " + Quote(s.Host+":"+strconv.Itoa(s.Port)),
		"SET GLOBAL clone_ssl_ca = " + Quote(s.CAFile),
	} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("prepare the clone: %w", err)
		}
	}
	_, err = conn.ExecContext(ctx, fmt.Sprintf("CLONE INSTANCE FROM %s@%s:%d IDENTIFIED BY %s REQUIRE SSL",
		Quote(s.User), Quote(s.Host), s.Port, Quote(s.Password)))
	if err != nil {
		return fmt.Errorf("clone from %s: %w", s.Host, err)
	}
	return nil
}

// FlushBinaryLogs ends the current binary log file, so that no file is written to that an archive links.
func (c *Client) FlushBinaryLogs(ctx context.Context) error {
	return c.exec(ctx, stop, "flush the binary logs", "FLUSH BINARY LOGS")
}

// DropOldBinaryLogs removes all binary logs but the current one. After a clone, the older ones hold what the replaced data
// were made of, which nobody may fetch any more.
func (c *Client) DropOldBinaryLogs(ctx context.Context) error {
	if err := c.FlushBinaryLogs(ctx); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	rows, err := c.db.QueryContext(limited, "SHOW BINARY LOGS")
	if err != nil {
		return fmt.Errorf("list the binary logs: %w", err)
	}
	defer func() { _ = rows.Close() }()
	name := ""
	for rows.Next() {
		var size, encrypted string
		if err := rows.Scan(&name, &size, &encrypted); err != nil {
			return fmt.Errorf("list the binary logs: %w", err)
		}
	}
	if err := rows.Err(); err != nil || name == "" {
		return fmt.Errorf("list the binary logs: %w", err)
	}
	return c.exec(ctx, stop, "drop the old binary logs", "PURGE BINARY LOGS TO "+Quote(name))
}

// AwaitEnd blocks until mysqld ends or closes the session, and returns then.
func (c *Client) AwaitEnd(ctx context.Context) {
	_, _ = c.db.ExecContext(ctx, "DO SLEEP(31536000)")
}
