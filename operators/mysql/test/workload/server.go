package main

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// dialTimeout bounds one attempt to connect. It is short because a lost SYN is sent again only after a second: a fresh
// attempt finds the new primary sooner.
const dialTimeout = 300 * time.Millisecond

// endpoint is a server and how to log in there.
type endpoint struct {
	address, user, password, database, tls string
	// dial bounds one attempt to connect; dialTimeout if zero.
	dial time.Duration
}

// resolve looks the host up once: a Service's address does not change, and a lost name server must not be mistaken for
// a lost database.
func resolve(ctx context.Context, address string, timeout time.Duration) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("read the address %q: %w", address, err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		addresses, err := net.DefaultResolver.LookupHost(ctx, host)
		if err == nil {
			return net.JoinHostPort(addresses[0], port), nil
		}
		if !pause(ctx, time.Second) {
			return "", fmt.Errorf("look up %s for %s: %w", host, timeout, err)
		}
	}
}

// config returns the driver's configuration with a bound on how long an answer may take.
func (e endpoint) config(timeout time.Duration) (*mysql.Config, error) {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName = "tcp", e.address, e.user, e.password, e.database
	c.Timeout, c.ReadTimeout, c.WriteTimeout = cmp.Or(e.dial, dialTimeout), timeout, timeout
	c.InterpolateParams = true
	c.TLSConfig = e.tls
	if err := c.Apply(mysql.EnableCompression(false)); err != nil {
		return nil, fmt.Errorf("configure the driver: %w", err)
	}
	// The driver's own log repeats what is counted by message already.
	c.Logger = log.New(io.Discard, "", 0)
	return c, nil
}

// open returns a pool for statements that are not measured.
func (e endpoint) open(timeout time.Duration) (*sql.DB, error) {
	c, err := e.config(timeout)
	if err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("configure the driver: %w", err)
	}
	return sql.OpenDB(connector), nil
}

// session is one connection of a writer.
type session interface {
	// Insert sends one row and waits for the answer.
	Insert(ctx context.Context, run string, writer int, seq int64, payload []byte) error
	Close() error
}

// dialer opens a session.
type dialer func(ctx context.Context) (session, error)

// dialer returns a dialer of plain driver connections. The pool of database/sql is left out on purpose: it sends a
// statement again when it believes that it was not sent.
func (e endpoint) dialer(table string, timeout time.Duration) (dialer, error) {
	c, err := e.config(timeout)
	if err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("configure the driver: %w", err)
	}
	statement := "INSERT INTO `" + table + "` (run, writer, seq, payload) VALUES (?, ?, ?, ?)"
	return func(ctx context.Context) (session, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		conn, err := connector.Connect(ctx)
		if err != nil {
			return nil, err
		}
		execer, ok := conn.(driver.ExecerContext)
		if !ok {
			return nil, errors.Join(errors.New("the driver's connection runs no statements"), conn.Close())
		}
		return &connection{Conn: conn, execer: execer, statement: statement}, nil
	}, nil
}

// connection is a session on the driver's connection.
type connection struct {
	driver.Conn
	execer    driver.ExecerContext
	statement string
}

// Insert implements session.
func (c *connection) Insert(ctx context.Context, run string, writer int, seq int64, payload []byte) error {
	_, err := c.execer.ExecContext(ctx, c.statement, []driver.NamedValue{
		{Ordinal: 1, Value: run}, {Ordinal: 2, Value: int64(writer)}, {Ordinal: 3, Value: seq}, {Ordinal: 4, Value: payload}})
	return err
}

// refusals lists the server's errors after which a row is certainly not there and never will be: access denied (1044,
// 1045), too many connections (1040), no such database or table (1049, 1146), read-only (1290, 1792, 1836), offline
// (3032), duplicate (1062: somebody else's row), table full (1114). Every other error may come while a commit waits
// for its acknowledgement and leaves the outcome open.
func refusals() []uint16 {
	return []uint16{1040, 1044, 1045, 1049, 1062, 1114, 1146, 1290, 1792, 1836, 3032}
}

// classify says what an answer means for the row.
func classify(err error) history.Outcome {
	var answer *mysql.MySQLError
	switch {
	case err == nil:
		return history.Acknowledged
	case errors.Is(err, driver.ErrBadConn):
		// The driver's promise: not one byte was sent.
		return history.Failed
	case errors.As(err, &answer) && slices.Contains(refusals(), answer.Number):
		return history.Failed
	default:
		return history.Unknown
	}
}

// query runs one statement and returns its rows, each value as text.
func query(ctx context.Context, e endpoint, statement string) ([]map[string]any, error) {
	db, err := e.open(time.Minute)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	result := []map[string]any{}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		pointers := make([]any, len(columns))
		for i := range values {
			pointers[i] = &values[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			return nil, err
		}
		row := make(map[string]any, len(columns))
		for i, c := range columns {
			if values[i].Valid {
				row[c] = values[i].String
			} else {
				row[c] = nil
			}
		}
		result = append(result, row)
	}
	return result, rows.Err()
}

// pause waits; false means that the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
