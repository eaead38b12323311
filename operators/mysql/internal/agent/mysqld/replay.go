package mysqld

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// ReplayState is how far a replay has come.
type ReplayState struct {
	// Executed is the server's gtid_executed.
	Executed string
	// Running says that the applier runs. It ends by itself where it was told to, and at an error.
	Running bool
	// Problem is why it ended at an error: the number of the error and the transaction, without the data in it; "" without one.
	Problem string
}

// BeginReplay has the applier execute files in the format of a relay log, which lie in the data folder and were in the index of the relay log
// when the server started, from the first on. stop, if not empty, is where it ends: before the transaction of that name, or after it.
func (c *Client) BeginReplay(ctx context.Context, first, before, after string) error {
	until := ""
	switch {
	case before != "":
		until = " UNTIL SQL_BEFORE_GTIDS = " + Quote(before)
	case after != "":
		until = " UNTIL SQL_AFTER_GTIDS = " + Quote(after)
	}
	// There is no source to go to, but it takes the name of one to have an applier.
	if err := c.exec(ctx, stop, "point the applier at the archive", "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'archive', RELAY_LOG_FILE = "+
		Quote(first)+", RELAY_LOG_POS = 4"); err != nil {
		return err
	}
	return c.exec(ctx, stop, "start the applier", "START REPLICA SQL_THREAD"+until)
}

// ReplayState asks how far a replay has come.
func (c *Client) ReplayState(ctx context.Context) (ReplayState, error) {
	ctx, cancel := context.WithTimeout(ctx, stop)
	defer cancel()
	var s ReplayState
	var number int
	var transaction sql.NullString
	err := c.db.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed, service_state = 'ON' FROM performance_schema.replication_applier_status "+
		"WHERE channel_name = ''").Scan(&s.Executed, &s.Running)
	if err != nil {
		return ReplayState{}, fmt.Errorf("look at the applier: %w", err)
	}
	err = c.db.QueryRowContext(ctx, "SELECT last_error_number, applying_transaction FROM ("+
		"SELECT last_error_number, applying_transaction, last_error_timestamp FROM performance_schema.replication_applier_status_by_worker UNION ALL "+
		"SELECT last_error_number, processing_transaction, last_error_timestamp FROM performance_schema.replication_applier_status_by_coordinator"+
		") errors WHERE last_error_number <> 0 ORDER BY last_error_timestamp LIMIT 1").Scan(&number, &transaction)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return s, nil
	case err != nil:
		return ReplayState{}, fmt.Errorf("look at the applier's errors: %w", err)
	}
	s.Problem = fmt.Sprintf("error %d of MySQL in transaction %s", number, transaction.String)
	return s, nil
}

// endReplayWithin is how long the applier may take to end the transaction that it is at.
const endReplayWithin = 10 * time.Minute

// EndReplay ends the applier and forgets that there was a replay. Its files are deleted.
func (c *Client) EndReplay(ctx context.Context) error {
	if err := c.exec(ctx, endReplayWithin, "stop the applier", "STOP REPLICA SQL_THREAD"); err != nil {
		return err
	}
	return c.exec(ctx, endReplayWithin, "forget the replay", "RESET REPLICA ALL")
}

// Adopt has the server take transactions for executed that it does not know to be in its data.
func (c *Client) Adopt(ctx context.Context, lacking string) error {
	return c.exec(ctx, stop, "write down what the data hold", "SET GLOBAL gtid_purged = "+Quote("+"+lacking))
}

// Executed returns the server's gtid_executed.
func (c *Client) Executed(ctx context.Context) (string, error) {
	return c.global(ctx, "gtid_executed")
}

// Purged returns which of them are in no file of the binary log.
func (c *Client) Purged(ctx context.Context) (string, error) {
	return c.global(ctx, "gtid_purged")
}

func (c *Client) global(ctx context.Context, variable string) (value string, err error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	if err := c.db.QueryRowContext(ctx, "SELECT @@GLOBAL."+variable).Scan(&value); err != nil {
		return "", fmt.Errorf("read %s: %w", variable, err)
	}
	return value, nil
}
