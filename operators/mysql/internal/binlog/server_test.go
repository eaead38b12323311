package binlog_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/servers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := servers.Forget(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// TestWhatAServerWritesIsRead compares what is read in the files of a real server with what the server says of itself: plain and tagged
// transactions, those of other servers, and several files.
func TestWhatAServerWritesIsRead(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	s := servers.Run(t, program, servers.Blank(t, program), "--binlog-checksum=CRC32")
	before := time.Now().Add(-time.Second)
	s.Do("CREATE DATABASE shop", "CREATE TABLE shop.t (a INT PRIMARY KEY)", "INSERT INTO shop.t VALUES (1)", "ALTER TABLE shop.t ADD b LONGTEXT", "INSERT INTO shop.t VALUES (10, REPEAT('x', 100000))", "FLUSH BINARY LOGS",
		"INSERT INTO shop.t (a) VALUES (2)")
	const foreign = "c0ffee00-aab4-11df-86ab-c80aa9429444"
	past := time.Date(2020, 1, 2, 3, 4, 5, 678901000, time.UTC)
	for i, name := range []string{foreign + ":7", foreign + ":night:1", foreign + ":night:2", foreign + ":day:5", "ddffee00-aab4-11df-86ab-c80aa9429444:only:9"} {
		s.Do("SET SESSION gtid_next = '"+name+"'", fmt.Sprintf("SET SESSION original_commit_timestamp = %d", past.UnixMicro()),
			fmt.Sprintf("INSERT INTO shop.t (a) VALUES (%d)", 100+i), "SET SESSION gtid_next = 'AUTOMATIC'", "SET SESSION original_commit_timestamp = 36028797018963968")
		if i%2 == 1 {
			s.Do("FLUSH BINARY LOGS")
		}
	}
	s.Do("FLUSH BINARY LOGS", "INSERT INTO shop.t (a) VALUES (3)")
	after := time.Now().Add(time.Second)
	executed, err := gtid.Parse(s.Text("SELECT @@gtid_executed"))
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()

	files, err := filepath.Glob(filepath.Join(s.Dir, "binlog.0*"))
	if err != nil || len(files) != 5 {
		t.Fatalf("the server has written %v, %v", files, err)
	}
	var found gtid.Builder
	for _, namesOnly := range []bool{false, true} {
		found = gtid.Builder{}
		for _, file := range files {
			earlier, err := found.Set()
			if err != nil {
				t.Fatal(err)
			}
			for _, tr := range transactions(t, file, namesOnly, earlier) {
				found.Add(tr.Server, tr.Tag, tr.Number, tr.Number)
				if tr.Server != foreign && tr.Tag == "" && (tr.Committed.Before(before) || tr.Committed.After(after)) {
					t.Errorf("%s was committed at %s, it says", tr, tr.Committed)
				}
				if tr.Server == foreign && !tr.Committed.Equal(past) {
					t.Errorf("%s was committed at %s, it says, and not at %s", tr, tr.Committed, past)
				}
			}
		}
		if set, err := found.Set(); err != nil || !set.Equal(executed) || found.Count() != executed.Count() {
			t.Errorf("the files hold %s, %v; the server has %s", set, err, executed)
		}
	}
}

// transactions reads a whole file, whose earlier ones must hold what is said.
func transactions(t *testing.T, path string, namesOnly bool, earlier gtid.Set) (found []binlog.Transaction) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := binlog.NewReader(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	r.NamesOnly = namesOnly
	if _, open, err := r.Format(); err != nil || open {
		t.Fatalf("the first event of %s: open %t, %v", path, open, err)
	}
	at, length := int64(0), int64(0)
	ends := func(offset int64) {
		if length != 0 && offset-at != length {
			t.Errorf("%s: the transaction at %d is to have %d bytes and has %d", path, at, length, offset-at)
		}
	}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		switch e.Type {
		case binlog.PreviousGTIDs:
			if set, err := binlog.Previous(e); err != nil || !set.Equal(earlier) {
				t.Errorf("%s begins after %s, %v, want %s", path, set, err, earlier)
			}
		case binlog.GTID, binlog.TaggedGTID:
			tr, err := binlog.Begin(e)
			if err != nil {
				t.Fatal(err)
			}
			ends(e.Offset)
			if at, length = e.Offset, tr.Length; length == 0 {
				t.Errorf("%s does not say how long it is", tr)
			}
			found = append(found, tr)
		case binlog.Rotate, binlog.Stop:
			ends(e.Offset)
		default:
		}
	}
}
