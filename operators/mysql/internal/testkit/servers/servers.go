// Package servers runs real MySQL servers for tests, with what a member of a cluster has switched on and root without a password on a
// socket.
package servers

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// patience bounds every wait.
const patience = 2 * time.Minute

// Program returns a server's program from its variable's value, and fails the test if it has none.
func Program(t testing.TB, value string) string {
	t.Helper()
	if value == "" {
		t.Fatal("KAPOK_MYSQLD does not name a mysqld to run; `make test` sets it")
	}
	return value
}

// Folder returns a folder that goes with the test and has a path short enough for a socket.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "k")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// blank is an initialised data folder: it is made once, because that takes most of the time of a small test.
var blank struct {
	once sync.Once
	dir  string
	err  error
}

// Blank returns a data folder of a server that has just been initialised.
func Blank(t testing.TB, program string) string {
	t.Helper()
	blank.once.Do(func() {
		blank.dir, blank.err = os.MkdirTemp("", "kapok-blank")
		if blank.err != nil {
			return
		}
		said, err := exec.CommandContext(t.Context(), program, append(basics(filepath.Join(blank.dir, "data")), "--initialize-insecure")...).CombinedOutput()
		if err != nil {
			blank.err = errors.New("initialise: " + err.Error() + ": " + string(said))
			return
		}
		blank.err = os.Remove(filepath.Join(blank.dir, "data", "auto.cnf"))
	})
	if blank.err != nil {
		t.Fatal(blank.err)
	}
	dir := filepath.Join(Folder(t), "data")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(blank.dir, "data"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Forget removes what Blank has kept. It is called at the end of a package's tests.
func Forget() error {
	if blank.dir == "" {
		return nil
	}
	return os.RemoveAll(blank.dir)
}

// basics are the options of every server here.
func basics(dir string) []string {
	return []string{
		"--no-defaults", "--user=root", "--datadir=" + dir, "--innodb-buffer-pool-size=32M", "--innodb-redo-log-capacity=32M", "--mysqlx=OFF",
		"--skip-networking", "--performance-schema=ON",
	}
}

// Server is a server under test.
type Server struct {
	// DB is root's connection.
	DB *sql.DB
	// Dir is its data folder, Socket where it listens.
	Dir    string
	Socket string

	t       testing.TB
	command *exec.Cmd
	done    chan struct{}
}

// Run runs a server on a data folder until the test ends, with further options.
func Run(t testing.TB, program, dir string, options ...string) *Server {
	t.Helper()
	run := Folder(t)
	socket := filepath.Join(run, "s")
	args := append(basics(dir), "--socket="+socket, "--pid-file="+filepath.Join(run, "pid"), "--tmpdir="+run, "--log-error="+filepath.Join(run, "log"),
		"--log-bin=binlog", "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--relay-log=relay", "--skip-replica-start=ON",
		"--plugin-load-add=mysql_clone.so", "--plugin-load-add=auth_socket.so", "--secure-file-priv=NULL")
	s := &Server{Dir: dir, Socket: socket, t: t, command: exec.CommandContext(context.WithoutCancel(t.Context()), program, append(args, options...)...), done: make(chan struct{})}
	// A test that is killed leaves no server behind.
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		// How it ended is in its log.
		_ = s.command.Wait()
		close(s.done)
	}()
	t.Cleanup(s.Stop)
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User = "unix", socket, "root"
	config.MultiStatements, config.ParseTime = true, true
	config.Logger = log.New(io.Discard, "", 0)
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	s.DB = sql.OpenDB(connector)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if err := s.DB.PingContext(t.Context()); err == nil {
			return s
		} else if time.Now().After(deadline) || s.ended() {
			said, _ := os.ReadFile(filepath.Join(run, "log"))
			t.Fatalf("the server does not answer: %v\n%s", err, said)
		}
	}
}

// ended says whether the process is gone.
func (s *Server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Stop shuts the server down.
func (s *Server) Stop() {
	if s.command == nil {
		return
	}
	if s.DB != nil {
		_ = s.DB.Close()
	}
	_ = s.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Error("the server does not shut down")
		_ = s.command.Process.Kill()
		<-s.done
	}
	s.command = nil
}

// Flip changes the rows of a table in its file so that no page fits its checksum any more, from the first page on that may hold rows.
func Flip(path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const page = 16 << 10
	for at := int64(4 * page); at < info.Size(); at += page {
		if _, err := f.WriteAt([]byte("flipped"), at+page/2); err != nil {
			return err
		}
	}
	return nil
}

// Do runs statements.
func (s *Server) Do(statements ...string) {
	s.t.Helper()
	if _, err := s.DB.ExecContext(s.t.Context(), strings.Join(statements, ";\n")); err != nil {
		s.t.Fatalf("%s: %v", strings.Join(statements, "; "), err)
	}
}

// Text returns the one value that a query yields.
func (s *Server) Text(query string, args ...any) string {
	s.t.Helper()
	var text string
	if err := s.DB.QueryRowContext(s.t.Context(), query, args...).Scan(&text); err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	return strings.ReplaceAll(text, "\n", "")
}
