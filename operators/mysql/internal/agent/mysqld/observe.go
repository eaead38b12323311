package mysqld

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Observation is what mysqld said about itself at one moment.
type Observation struct {
	// At is when the questions were asked.
	At time.Time

	ServerID            uint32
	ServerUUID, Version string
	// ReadOnly, SuperReadOnly and Offline are the variables that keep writers and clients away.
	ReadOnly, SuperReadOnly, Offline bool
	// SemiSource and SemiCount are semi-sync as a source; SemiStrict says whether it waits for replicas that are not there.
	SemiSource, SemiStrict bool
	SemiCount              int
	// SemiReplica is semi-sync as a replica.
	SemiReplica bool
	// SyncsRelay says whether every received event is synced to the disk before it is acknowledged.
	SyncsRelay bool
	// WaitingCommits is how many groups of commits wait for acknowledgement.
	WaitingCommits int
	// Executed is gtid_executed.
	Executed string
	// Channel is the replication channel; nil without one.
	Channel *Channel
	// Dumps are the replicas that fetch from this server.
	Dumps []Dump
	// Sessions counts client sessions: neither the agent's, nor a member's, nor mysqld's own.
	Sessions int
	// OpenPeers are the member accounts that are not locked. Only asked with Ask.Peers.
	OpenPeers []string
}

// Channel is the replication channel.
type Channel struct {
	Host string
	Port int
	User string
	// Receiver and Applier say whether the threads exist; Connected, whether the receiver is attached.
	Receiver, Connected, Applier bool
	// SourceUUID is the server behind the channel, once known.
	SourceUUID string
	// Retrieved is what the relay log holds or held since it was last emptied.
	Retrieved string
	// HeardAt is when the newest heartbeat or transaction came; zero if never.
	HeardAt time.Time
	// Relay is how far the relay log has been written, if somebody has looked: mysqld says nothing of a transaction before it has come as a whole.
	Relay RelayEnd
	// AppliedAt is when the newest applied transaction was committed on its origin; zero if unknown.
	AppliedAt time.Time
	// ReceiverErrno and ApplierErrno, with their texts, are the last errors of the halves.
	ReceiverErrno int
	ReceiverError string
	ApplierErrno  int
	ApplierError  string
	// Coordinator is the process list number of the applier's coordinator; 0 without one.
	Coordinator uint64
}

// RelayEnd is the end of a relay log.
type RelayEnd struct {
	// File is the newest file's name, Size its size in bytes.
	File string
	Size int64
}

// Dump is a replica's session on its source.
type Dump struct {
	ID   uint64
	User string
}

// Ask says which of the costlier questions to ask.
type Ask struct {
	// Peers asks for the member accounts.
	Peers bool
	// PeerPrefix is how the names of member accounts begin.
	PeerPrefix string
}

// Observe asks mysqld for its whole picture.
func (c *Client) Observe(ctx context.Context, ask Ask) (Observation, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return Observation{}, fmt.Errorf("reach mysqld: %w", err)
	}
	defer func() { _ = conn.Close() }()
	o := Observation{At: time.Now()}
	for _, question := range []struct {
		what string
		ask  func() error
	}{
		{"variables", func() error { return o.variables(ctx, conn) }},
		{"semi-sync state", func() error { return o.semiSync(ctx, conn) }},
		{"replication channel", func() error { return o.channel(ctx, conn) }},
		{"sessions", func() error { return o.sessions(ctx, conn, ask.PeerPrefix) }},
		{"member accounts", func() error {
			if !ask.Peers {
				return nil
			}
			return o.peers(ctx, conn, ask.PeerPrefix)
		}},
	} {
		if err := question.ask(); err != nil {
			return Observation{}, fmt.Errorf("ask mysqld for its %s: %w", question.what, err)
		}
	}
	return o, nil
}

func (o *Observation) variables(ctx context.Context, conn *sql.Conn) error {
	row := conn.QueryRowContext(ctx, `SELECT @@GLOBAL.server_id, @@GLOBAL.server_uuid, @@GLOBAL.version, @@GLOBAL.read_only,
		@@GLOBAL.super_read_only, @@GLOBAL.offline_mode, @@GLOBAL.rpl_semi_sync_source_enabled,
		@@GLOBAL.rpl_semi_sync_source_wait_for_replica_count, @@GLOBAL.rpl_semi_sync_replica_enabled,
		@@GLOBAL.rpl_semi_sync_source_wait_no_replica, @@GLOBAL.sync_relay_log = 1, @@GLOBAL.gtid_executed`)
	err := row.Scan(&o.ServerID, &o.ServerUUID, &o.Version, &o.ReadOnly, &o.SuperReadOnly, &o.Offline,
		&o.SemiSource, &o.SemiCount, &o.SemiReplica, &o.SemiStrict, &o.SyncsRelay, &o.Executed)
	o.Executed = strings.ReplaceAll(o.Executed, "\n", "")
	return err
}

func (o *Observation) semiSync(ctx context.Context, conn *sql.Conn) error {
	var name string
	return conn.QueryRowContext(ctx, `SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_wait_sessions'`).Scan(&name, &o.WaitingCommits)
}

// channel reads the configuration first: without a row there is no channel, and the others are empty as well.
func (o *Observation) channel(ctx context.Context, conn *sql.Conn) error {
	ch := &Channel{}
	var receiver string
	var heard, queued sql.NullString
	err := conn.QueryRowContext(ctx, `SELECT c.HOST, c.PORT, c.USER, s.SERVICE_STATE, COALESCE(s.SOURCE_UUID, ''),
		s.RECEIVED_TRANSACTION_SET, s.LAST_HEARTBEAT_TIMESTAMP, s.LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP,
		s.LAST_ERROR_NUMBER, s.LAST_ERROR_MESSAGE
		FROM performance_schema.replication_connection_configuration c
		JOIN performance_schema.replication_connection_status s USING (CHANNEL_NAME) WHERE CHANNEL_NAME = ''`).
		Scan(&ch.Host, &ch.Port, &ch.User, &receiver, &ch.SourceUUID, &ch.Retrieved, &heard, &queued,
			&ch.ReceiverErrno, &ch.ReceiverError)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	ch.Retrieved = strings.ReplaceAll(ch.Retrieved, "\n", "")
	ch.Receiver, ch.Connected = receiver != "OFF", receiver == "ON"
	ch.HeardAt = later(parseTime(heard.String), parseTime(queued.String))
	if err := ch.applier(ctx, conn); err != nil {
		return err
	}
	if ch.Host != "" {
		o.Channel = ch
	}
	return nil
}

func (ch *Channel) applier(ctx context.Context, conn *sql.Conn) error {
	err := conn.QueryRowContext(ctx, `SELECT SERVICE_STATE = 'ON' FROM performance_schema.replication_applier_status
		WHERE CHANNEL_NAME = ''`).Scan(&ch.Applier)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	rows, err := conn.QueryContext(ctx, `SELECT LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE, '' FROM
		performance_schema.replication_applier_status_by_coordinator WHERE CHANNEL_NAME = ''
		UNION ALL SELECT LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE, LAST_APPLIED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP
		FROM performance_schema.replication_applier_status_by_worker WHERE CHANNEL_NAME = ''`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var number int
		var message string
		var applied sql.NullString
		if err := rows.Scan(&number, &message, &applied); err != nil {
			return err
		}
		// A worker's error is the cause, the coordinator's only says that a worker failed.
		if number != 0 {
			ch.ApplierErrno, ch.ApplierError = number, message
		}
		ch.AppliedAt = later(ch.AppliedAt, parseTime(applied.String))
	}
	if err := rows.Err(); err != nil {
		return err
	}
	err = conn.QueryRowContext(ctx, `SELECT COALESCE(MAX(PROCESSLIST_ID), 0) FROM performance_schema.threads
		WHERE NAME = 'thread/sql/replica_sql'`).Scan(&ch.Coordinator)
	return err
}

func (o *Observation) sessions(ctx context.Context, conn *sql.Conn, prefix string) error {
	rows, err := conn.QueryContext(ctx, `SELECT PROCESSLIST_ID, PROCESSLIST_USER FROM performance_schema.threads
		WHERE PROCESSLIST_COMMAND LIKE 'Binlog Dump%'`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var d Dump
		if err := rows.Scan(&d.ID, &d.User); err != nil {
			return err
		}
		o.Dumps = append(o.Dumps, d)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return conn.QueryRowContext(ctx, `SELECT COUNT(*) FROM performance_schema.threads WHERE TYPE = 'FOREGROUND'
		AND NAME = 'thread/sql/one_connection' AND PROCESSLIST_USER IS NOT NULL AND PROCESSLIST_USER <> ?
		AND LEFT(PROCESSLIST_USER, ?) <> ?`, Admin, len(prefix), prefix).Scan(&o.Sessions)
}

func (o *Observation) peers(ctx context.Context, conn *sql.Conn, prefix string) error {
	rows, err := conn.QueryContext(ctx, `SELECT user FROM mysql.user WHERE host = '%' AND LEFT(user, ?) = ?
		AND account_locked = 'N' ORDER BY user`, len(prefix), prefix)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		o.OpenPeers = append(o.OpenPeers, name)
	}
	return rows.Err()
}

// parseTime reads a time of performance_schema; what is no time, or its zero, gives the zero time.
func parseTime(text string) time.Time {
	for _, layout := range []string{"2006-01-02 15:04:05.999999", time.RFC3339Nano} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() > 1971 {
			return t
		}
	}
	return time.Time{}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
