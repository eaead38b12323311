package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"
)

// recordDialTimeout bounds one attempt to connect while a recording is made: long enough for a slow network.
const recordDialTimeout = 1500 * time.Millisecond

// The tables of a recording. Every object of every chapter has its own rows in them.
const (
	createSets      = "CREATE TABLE IF NOT EXISTS kapok_set (chapter VARCHAR(64) NOT NULL, value BIGINT NOT NULL, PRIMARY KEY (chapter, value)) CHARACTER SET ascii"
	createLists     = "CREATE TABLE IF NOT EXISTS kapok_list (object VARCHAR(128) NOT NULL PRIMARY KEY, items LONGTEXT NOT NULL) CHARACTER SET ascii"
	createRegisters = "CREATE TABLE IF NOT EXISTS kapok_register (object VARCHAR(128) NOT NULL PRIMARY KEY, value BIGINT NOT NULL) CHARACTER SET ascii"
)

// recordSession is one connection of a client, and who answers on it.
type recordSession struct {
	driver.Conn
	execer  driver.ExecerContext
	queryer driver.QueryerContext
	// server is the instance that answers, by its host name.
	server string
}

// recordDialer returns a dialer of plain driver connections, for the reason that dialer has.
func (e endpoint) recordDialer(timeout time.Duration) (func(ctx context.Context) (*recordSession, error), error) {
	c, err := e.config(timeout)
	if err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("configure the driver: %w", err)
	}
	return func(ctx context.Context) (*recordSession, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		conn, err := connector.Connect(ctx)
		if err != nil {
			return nil, err
		}
		s := &recordSession{Conn: conn}
		var writes, reads bool
		s.execer, writes = conn.(driver.ExecerContext)
		s.queryer, reads = conn.(driver.QueryerContext)
		if !writes || !reads {
			return nil, errors.Join(errors.New("the driver's connection runs no statements"), conn.Close())
		}
		if s.server, err = s.value(ctx, "SELECT @@hostname"); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return s, nil
	}, nil
}

// insert puts a value into a set.
func (s *recordSession) insert(ctx context.Context, set string, value int64) error {
	_, err := s.exec(ctx, "INSERT INTO kapok_set (chapter, value) VALUES (?, ?)", set, value)
	return err
}

// append puts a value at the end of a list.
func (s *recordSession) append(ctx context.Context, list string, value int64) error {
	item := fmt.Sprint(value)
	_, err := s.exec(ctx, "INSERT INTO kapok_list (object, items) VALUES (?, ?) ON DUPLICATE KEY UPDATE items = CONCAT(items, ',', ?)",
		list, item, item)
	return err
}

// write sets a register.
func (s *recordSession) write(ctx context.Context, register string, value int64) error {
	_, err := s.exec(ctx, "INSERT INTO kapok_register (object, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = ?", register, value, value)
	return err
}

// compareAndSet sets a register that has the expected value, and says whether it had.
func (s *recordSession) compareAndSet(ctx context.Context, register string, expected, value int64) (bool, error) {
	n, err := s.exec(ctx, "UPDATE kapok_register SET value = ? WHERE object = ? AND value = ?", value, register, expected)
	return n == 1, err
}

// readList returns a list's elements; none if nothing was appended yet.
func (s *recordSession) readList(ctx context.Context, list string) ([]int64, error) {
	items, err := s.value(ctx, "SELECT items FROM kapok_list WHERE object = ?", list)
	if err != nil {
		return nil, err
	}
	return parseItems(items)
}

// readRegister returns a register's value in a slice of one; none if nothing was written yet.
func (s *recordSession) readRegister(ctx context.Context, register string) ([]int64, error) {
	value, err := s.value(ctx, "SELECT value FROM kapok_register WHERE object = ?", register)
	if err != nil {
		return nil, err
	}
	return parseItems(value)
}

// exec runs a statement and returns how many rows it changed.
func (s *recordSession) exec(ctx context.Context, statement string, args ...driver.Value) (int64, error) {
	result, err := s.execer.ExecContext(ctx, statement, named(args))
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// value runs a query that gives one value or none, as text.
func (s *recordSession) value(ctx context.Context, query string, args ...driver.Value) (string, error) {
	rows, err := s.queryer.QueryContext(ctx, query, named(args))
	if err != nil {
		return "", err
	}
	into := make([]driver.Value, 1)
	text := ""
	switch err = rows.Next(into); {
	case errors.Is(err, io.EOF):
		err = nil
	case err == nil:
		if raw, ok := into[0].([]byte); ok {
			text = string(slices.Clone(raw))
		} else {
			text = fmt.Sprint(into[0])
		}
	}
	return text, errors.Join(err, rows.Close())
}

func named(args []driver.Value) []driver.NamedValue {
	out := make([]driver.NamedValue, 0, len(args))
	for i, arg := range args {
		out = append(out, driver.NamedValue{Ordinal: i + 1, Value: arg})
	}
	return out
}
