package mysqld

import (
	"context"
	"fmt"
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
