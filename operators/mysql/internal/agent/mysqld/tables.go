package mysqld

import (
	"context"
	"database/sql"
	"fmt"
)

// TableName names a table.
type TableName struct{ Schema, Name string }

// String returns the name as SQL writes it.
func (t TableName) String() string { return QuoteName(t.Schema) + "." + QuoteName(t.Name) }

// listing is how long the list of all tables may take: the server may have to open the description of each.
const listing = endReplayWithin

// Tables returns the tables that are not the server's own, in the order of their names. Views are none.
func (c *Client) Tables(ctx context.Context) (tables []TableName, err error) {
	ctx, cancel := context.WithTimeout(ctx, listing)
	defer cancel()
	rows, err := c.db.QueryContext(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND "+
		"TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema') ORDER BY BINARY TABLE_SCHEMA, BINARY TABLE_NAME")
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var t TableName
		if err := rows.Scan(&t.Schema, &t.Name); err != nil {
			return nil, fmt.Errorf("list the tables: %w", err)
		}
		tables = append(tables, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	return tables, nil
}

// ChecksumTable returns the checksum of a table's rows, for which the server reads all of them: it takes as long as it takes. problem is what the
// server says if it cannot read the table, and the error is one of the connection.
func (c *Client) ChecksumTable(ctx context.Context, t TableName) (sum uint64, problem string, err error) {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return 0, "", fmt.Errorf("reach mysqld: %w", err)
	}
	defer func() { _ = conn.Close() }()
	var name string
	var value sql.Null[uint64]
	err = conn.QueryRowContext(ctx, "CHECKSUM TABLE "+t.String()).Scan(&name, &value)
	switch {
	case Code(err) != 0:
		return 0, err.Error(), nil
	case err != nil:
		return 0, "", fmt.Errorf("read table %s: %w", t, err)
	case value.Valid:
		return value.V, "", nil
	}
	// There is no error then, but a warning.
	var level string
	var number int
	if err := conn.QueryRowContext(ctx, "SHOW WARNINGS LIMIT 1").Scan(&level, &number, &problem); err != nil {
		return 0, "", fmt.Errorf("ask why table %s cannot be read: %w", t, err)
	}
	return 0, problem, nil
}

// CheckTable has the server look whether a table is sound: that its pages can be read, that its indexes are in order, and that each has an entry for
// every row. sound is false without a problem for a table of an engine that has no such check. The error is one of the connection.
func (c *Client) CheckTable(ctx context.Context, t TableName) (sound bool, problem string, err error) {
	rows, err := c.db.QueryContext(ctx, "CHECK TABLE "+t.String())
	if Code(err) != 0 {
		return false, err.Error(), nil
	}
	if err != nil {
		return false, "", fmt.Errorf("check table %s: %w", t, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name, operation, kind, text string
		if err := rows.Scan(&name, &operation, &kind, &text); err != nil {
			return false, "", fmt.Errorf("check table %s: %w", t, err)
		}
		switch kind {
		case "status":
			// Anything else than these, such as "Corrupt", says the same once more as the line before.
			if sound = text == "OK" || text == "Table is already up to date"; !sound && problem == "" {
				problem = text
			}
		case "error", "warning":
			if problem == "" {
				problem = text
			}
		}
	}
	if err := rows.Err(); err != nil {
		if Code(err) != 0 {
			return false, err.Error(), nil
		}
		return false, "", fmt.Errorf("check table %s: %w", t, err)
	}
	if sound {
		// What it warns of then is no damage.
		problem = ""
	}
	return sound, problem, nil
}
