// Package sandbox runs a mysqld that nobody else can reach on a data folder: to bring a history into a restored backup, and to see
// whether a backup is good. It listens on a socket in a folder of its own, runs no event, and writes no binary log. It is not durable
// while it runs: if it does not stop properly, the data folder is worth nothing, and whoever made it makes it again.
package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/errorlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/shared/agent"
)

const (
	// poll is the pause between two looks at a server that starts.
	poll = 20 * time.Millisecond
	// stopPatience is how long a server may take to shut down.
	stopPatience = 10 * time.Minute
	// longestSocket is the longest path of a socket that Linux allows, in bytes.
	longestSocket = 107
)

// lean are the options of a server that does with little. What it reads it reads once, so that there is nothing to keep in a cache; and the list of
// pages that the next server warms up with is not that of this one.
var lean = []string{
	"innodb_buffer_pool_size = 16M", "innodb_buffer_pool_load_at_startup = OFF", "innodb_buffer_pool_dump_at_shutdown = OFF",
	"innodb_redo_log_capacity = 8M", "innodb_log_buffer_size = 1M", "innodb_adaptive_hash_index = OFF",
	"performance_schema = OFF", "max_connections = 10", "table_open_cache = 64", "table_open_cache_instances = 1", "table_definition_cache = 400",
	"key_buffer_size = 1M", "temptable_max_ram = 2M", "tmp_table_size = 1M", "max_heap_table_size = 1M",
}

// Options say what to run.
type Options struct {
	// Mysqld is the program.
	Mysqld string
	// DataDir is the data folder.
	DataDir string
	// RunDir is an empty folder for socket and configuration. Its path is short, as the socket's has to be.
	RunDir string
	// TempDir is a folder for temporary files, with room for the sorting of a large table; empty for RunDir.
	TempDir string
	// PoolBytes is the size of the buffer pool; 0 leaves mysqld's default of 128 MiB, or what is lean.
	PoolBytes int64
	// Lean has the server do with little memory, and write little to the data folder: it is started beside another one, within the same limit, only to
	// look at the data once. It is not started where there is no memory for it, and is the first to go if memory runs out. It cannot replay.
	Lean bool
	// Cgroup is where the limits of the container are; empty for where the kernel shows them.
	Cgroup string
	// Supervisor starts the process.
	Supervisor *agent.Supervisor
}

// Server is a mysqld in the sandbox.
type Server struct {
	process *agent.Process
	client  *mysqld.Client
	log     *errorlog.Tail
}

// Start starts a server, and returns when it answers. A data folder that was not shut down properly is recovered first, which takes
// its time; ctx bounds it. A server that does not come up is an error that says what mysqld said last, and leaves no process.
func Start(ctx context.Context, o Options) (*Server, error) {
	socket := filepath.Join(o.RunDir, "s")
	if len(socket) > longestSocket {
		return nil, fmt.Errorf("the folder %s is too long a path for a socket", o.RunDir)
	}
	if o.Lean {
		if err := roomy(cmp.Or(o.Cgroup, cgroup)); err != nil {
			return nil, err
		}
	}
	password := rand.Text()
	config, err := o.write(socket, password)
	if err != nil {
		return nil, err
	}
	client, err := mysqld.Dial(socket, password)
	if err != nil {
		return nil, fmt.Errorf("prepare a private server: %w", err)
	}
	s := &Server{client: client, log: &errorlog.Tail{}}
	s.process, err = o.Supervisor.Start(agent.Spec{
		Path: o.Mysqld, Args: []string{"--defaults-file=" + config}, Dir: o.RunDir, Stderr: s.log,
	})
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("start a private server: %w", err)
	}
	if o.Lean {
		offer(s.process.PID())
	}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.Kill())
	}
	// What it complained of on the way is no concern any more.
	s.log.Reset()
	return s, nil
}

// write writes what the server reads when it starts, and returns the path of its configuration.
func (o Options) write(socket, password string) (config string, err error) {
	var statements bytes.Buffer
	if err := mysqld.InitFile(&statements, password, nil, "", false, ""); err != nil {
		return "", fmt.Errorf("prepare a private server: %w", err)
	}
	if o.TempDir == "" {
		o.TempDir = o.RunDir
	}
	init := filepath.Join(o.RunDir, "init.sql")
	if err := agent.WriteFileAtomic(init, statements.Bytes(), 0o600); err != nil {
		return "", fmt.Errorf("prepare a private server: %w", err)
	}
	lines := []string{
		"[mysqld]",
		"datadir = " + o.DataDir, "tmpdir = " + o.TempDir, "socket = " + socket, "pid_file = " + filepath.Join(o.RunDir, "pid"), "init_file = " + init,
		"skip_networking = ON", "mysqlx = OFF", "skip_name_resolve = ON", "secure_file_priv = NULL", "persisted_globals_load = OFF",
		"event_scheduler = DISABLED", "skip_replica_start = ON", "partial_revokes = ON",
		// What is replayed keeps its name and its order, and is in no log besides: the one that it came from is archived already.
		// It may have been written by a server of the same number.
		"server_id = 1", "replicate_same_server_id = ON", "gtid_mode = ON", "enforce_gtid_consistency = ON", "skip_log_bin = ON", "relay_log = relay",
		"replica_parallel_workers = 4", "replica_preserve_commit_order = ON", "relay_log_recovery = OFF",
		// A crash costs a new beginning and no data, so that nothing has to be on the disk before the end.
		"innodb_flush_log_at_trx_commit = 0", "innodb_doublewrite = OFF", "sync_relay_log = 0",
		"plugin_load_add = auth_socket.so",
		// Keys in the data folder would go wherever the folder goes. Who serves from it makes its own.
		"auto_generate_certs = OFF", "caching_sha2_password_auto_generate_rsa_keys = OFF",
		"loose_sha256_password_auto_generate_rsa_keys = OFF",
	}
	if o.Lean {
		lines = append(lines, lean...)
	}
	if o.PoolBytes > 0 {
		lines = append(lines, "innodb_buffer_pool_size = "+strconv.FormatInt(o.PoolBytes, 10))
	}
	if os.Geteuid() == 0 {
		lines = append(lines, "user = root")
	}
	config = filepath.Join(o.RunDir, "my.cnf")
	if err := agent.WriteFileAtomic(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("prepare a private server: %w", err)
	}
	return config, nil
}

// await waits until the server answers.
func (s *Server) await(ctx context.Context) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		err := s.client.Ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.process.Done():
			exit, _ := s.process.Exit()
			return fmt.Errorf("the private server %s: %s", exit, s.log.LastWithin(100*time.Millisecond))
		case <-ctx.Done():
			return fmt.Errorf("the private server does not answer: %w", errors.Join(context.Cause(ctx), err))
		case <-ticker.C:
		}
	}
}

// Client talks to the server. It is good until Stop or Kill.
func (s *Server) Client() *mysqld.Client { return s.client }

// Problem returns the first error that the server has written to its log since it answered, or "".
func (s *Server) Problem() string { return s.log.Earliest() }

// Ended says how the server has ended, if it ends within the patience: a connection may be gone a little before the process is.
func (s *Server) Ended(ctx context.Context, patience time.Duration) (exit agent.Exit, ended bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-s.process.Done():
	case <-timer.C:
	case <-ctx.Done():
	}
	exit, ended = s.process.Exit()
	if ended {
		// Its last words may still be on their way.
		_ = s.log.LastWithin(100 * time.Millisecond)
	}
	return exit, ended
}

// Stop shuts the server down. The data folder is then whole and needs no recovery; after an error it is not.
func (s *Server) Stop(ctx context.Context) error {
	s.client.Close()
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	exit, err := s.process.Terminate(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("stop the private server: %w", err), s.Kill())
	}
	if exit.Code != 0 {
		return fmt.Errorf("stop the private server: it %s: %s", exit, s.log.Last())
	}
	return nil
}

// Kill ends the server at once and waits for its end.
func (s *Server) Kill() error {
	s.client.Close()
	if err := s.process.Kill(); err != nil && !errors.Is(err, agent.ErrExited) {
		return fmt.Errorf("kill the private server: %w", err)
	}
	<-s.process.Done()
	return nil
}
