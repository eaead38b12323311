package mysqld

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// CopyTo makes a copy of the data by CLONE in a folder that does not exist yet, on the server's own machine. Clients go on meanwhile. It takes as
// long as it takes; when ctx ends, the server gives up and removes what it has copied.
func (c *Client) CopyTo(ctx context.Context, dir string) error {
	if _, err := c.db.ExecContext(ctx, "CLONE LOCAL DATA DIRECTORY = "+Quote(dir)); err != nil {
		return fmt.Errorf("copy the data: %w", err)
	}
	return nil
}

// Version returns the version of the server, as it says it.
func (c *Client) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	var version string
	if err := c.db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return "", fmt.Errorf("ask for the version: %w", err)
	}
	return version, nil
}

const (
	// catalogue is how long it may take to look through the names of all tables.
	catalogue = time.Minute
	// namedUncopied is how many tables Uncopied names.
	namedUncopied = 10
)

// Uncopied returns tables of clients whose rows a copy by CLONE lacks, a few of them: CLONE copies what InnoDB holds, and of any other engine the
// empty table. Engines that keep no rows on the disk of this server lose nothing by that.
func (c *Client) Uncopied(ctx context.Context) (tables []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, catalogue)
	defer cancel()
	rows, err := c.db.QueryContext(ctx, `SELECT table_schema, table_name, engine FROM information_schema.tables
		WHERE table_type = 'BASE TABLE' AND engine IS NOT NULL
		AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema', 'ndbinfo')
		AND engine NOT IN ('InnoDB', 'MEMORY', 'BLACKHOLE', 'FEDERATED', 'MRG_MYISAM', 'PERFORMANCE_SCHEMA')
		ORDER BY table_schema, table_name LIMIT ?`, namedUncopied)
	if err != nil {
		return nil, fmt.Errorf("look for tables that are not copied: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var schema, name, engine string
		if err := rows.Scan(&schema, &name, &engine); err != nil {
			return nil, fmt.Errorf("look for tables that are not copied: %w", err)
		}
		tables = append(tables, fmt.Sprintf("%s.%s (%s)", schema, name, engine))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look for tables that are not copied: %w", err)
	}
	return tables, nil
}

// OptionFile returns the content of an option file by which a program on the same machine connects as the agent does. Further options of the group may
// follow. It holds the password: it belongs into a file that only the agent's user can read, and is good until mysqld starts anew.
func (c *Client) OptionFile(group string) string {
	return fmt.Sprintf("[%s]\nuser = %s\npassword = \"%s\"\nsocket = \"%s\"\n", group, Admin, c.password, c.socket)
}
