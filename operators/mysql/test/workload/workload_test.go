package main

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

func TestClassify(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want history.Outcome
	}{
		"an answer":                       {err: nil, want: history.Acknowledged},
		"nothing was sent":                {err: driver.ErrBadConn, want: history.Failed},
		"super_read_only":                 {err: &mysql.MySQLError{Number: 1290}, want: history.Failed},
		"offline mode":                    {err: fmt.Errorf("insert: %w", &mysql.MySQLError{Number: 3032}), want: history.Failed},
		"a lost connection":               {err: mysql.ErrInvalidConn, want: history.Unknown},
		"a timeout":                       {err: os.ErrDeadlineExceeded, want: history.Unknown},
		"a query that was interrupted":    {err: &mysql.MySQLError{Number: 1317}, want: history.Unknown},
		"a server that shuts down":        {err: &mysql.MySQLError{Number: 1053}, want: history.Unknown},
		"an error nobody thought of":      {err: &mysql.MySQLError{Number: 9999}, want: history.Unknown},
		"the end of the stream, half way": {err: io.ErrUnexpectedEOF, want: history.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			if got := classify(tc.err); got != tc.want {
				t.Errorf("classify(%v) = %d, want %d", tc.err, got, tc.want)
			}
		})
	}
}

// fakeServer answers each insert by a script: the n-th insert over all sessions gets the n-th answer, then OK.
type fakeServer struct {
	mu       sync.Mutex
	answers  []error
	refuse   int // how many dials are refused first
	dials    int
	inserted map[string]int
	inserts  int
	after    int // calls done at this many inserts
	done     func()
}

func (f *fakeServer) dial(context.Context) (session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials++
	if f.dials <= f.refuse {
		return nil, errors.New("connection refused")
	}
	return &fakeSession{server: f}, nil
}

type fakeSession struct {
	server *fakeServer
	closed bool
}

func (s *fakeSession) Insert(_ context.Context, run string, writer int, seq int64, content []byte) error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.closed {
		panic("insert on a closed session")
	}
	if !bytes.Equal(content, payload(run, writer, seq, len(content))) {
		panic("the row's content is not the one that will be compared")
	}
	s.server.inserted[fmt.Sprintf("%d/%d", writer, seq)]++
	s.server.inserts++
	if s.server.inserts == s.server.after {
		s.server.done()
	}
	if n := s.server.inserts; n <= len(s.server.answers) {
		return s.server.answers[n-1]
	}
	return nil
}

func (s *fakeSession) Close() error {
	s.closed = true
	return nil
}

func newTestRun(writers int, out io.Writer) *run {
	return newRun(plan{writers: writers, duration: time.Minute, payload: 16, timeout: time.Second, table: "t"}, endpoint{}, out)
}

func TestWriterGoesOnAfterEachKindOfError(t *testing.T) {
	server := &fakeServer{refuse: 2, after: 10, inserted: map[string]int{},
		answers: []error{nil, mysql.ErrInvalidConn, nil, &mysql.MySQLError{Number: 1290}, driver.ErrBadConn, nil}}
	r := newTestRun(1, io.Discard)
	server.done = func() { close(r.stop) }
	r.write(t.Context(), server.dial)

	// The writer may send some more before it notices the end.
	tally := r.recorder.Tally()
	want := history.Tally{Attempted: tally.Attempted, Acknowledged: tally.Attempted - 3, Failed: 2, Unknown: 1}
	if diff := cmp.Diff(want, tally); diff != "" || tally.Attempted < 10 || int(tally.Attempted) != server.inserts {
		t.Errorf("%d inserts, tally (-want +got):\n%s", server.inserts, diff)
	}
	for row, times := range server.inserted {
		if times != 1 {
			t.Errorf("row %s was sent %d times", row, times)
		}
	}
	// Two refused, the first session, and one more after each of the three errors.
	if server.dials != 6 {
		t.Errorf("dialled %d times, want 6", server.dials)
	}
	if n := r.report().Errors["connection refused"]; n != 2 {
		t.Errorf("counted %d refused connections, want 2", n)
	}
}

func TestRowsOfWritersAreApart(t *testing.T) {
	server := &fakeServer{after: 100, inserted: map[string]int{}}
	r := newTestRun(4, io.Discard)
	server.done = func() { close(r.stop) }
	r.write(t.Context(), server.dial)
	if tally := r.recorder.Tally(); tally.Attempted != tally.Acknowledged || int(tally.Attempted) != len(server.inserted) {
		t.Errorf("%+v, %d different rows", tally, len(server.inserted))
	}
}

func TestTheDurationEndsTheWriting(t *testing.T) {
	server := &fakeServer{inserted: map[string]int{}}
	r := newTestRun(1, io.Discard)
	r.duration, r.interval = 50*time.Millisecond, time.Millisecond
	r.write(t.Context(), server.dial)
	if tally := r.recorder.Tally(); tally.Acknowledged == 0 || r.report().Writing {
		t.Errorf("after the duration: %+v, writing %t", tally, r.report().Writing)
	}
}

func TestPayloadDependsOnTheRow(t *testing.T) {
	seen := [][]byte{}
	for _, p := range [][]byte{payload("a", 0, 0, 32), payload("b", 0, 0, 32), payload("a", 1, 0, 32), payload("a", 0, 1, 32)} {
		if slices.ContainsFunc(seen, func(other []byte) bool { return bytes.Equal(p, other) }) {
			t.Errorf("two rows share the payload %x", p)
		}
		seen = append(seen, p)
	}
	if !bytes.Equal(payload("a", 0, 0, 32), seen[0]) {
		t.Error("the same row has two payloads")
	}
}

func TestControl(t *testing.T) {
	var log bytes.Buffer
	r := newTestRun(1, &log)
	control := httptest.NewServer(r.handler())
	defer control.Close()
	post := func(path string, into any) int {
		t.Helper()
		response, err := http.Post(control.URL+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode == http.StatusOK {
			if err := json.NewDecoder(response.Body).Decode(into); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
		return response.StatusCode
	}
	ack := func() {
		r.recorder.End(0, r.recorder.Begin(0), history.Acknowledged, r.now())
	}
	var event eventView
	if code := post("/close", &event); code != http.StatusConflict {
		t.Errorf("closing nothing: %d", code)
	}
	if code := post("/mark", &event); code != http.StatusBadRequest {
		t.Errorf("an event without a name: %d", code)
	}
	ack()
	post("/mark?name=kill", &struct{}{})
	time.Sleep(150 * time.Millisecond)
	if code := post("/current", &event); code != http.StatusOK || event.Ended || event.Milliseconds < 150 {
		t.Errorf("while nobody answers: %d %+v", code, event)
	}
	ack()
	event = eventView{}
	if code := post("/close", &event); code != http.StatusOK || event.Name != "kill" || !event.Ended ||
		event.Milliseconds < 150 || event.Acknowledged != 1 || event.Closed.IsZero() {
		t.Errorf("the event: %d %+v", code, event)
	}
	close(r.stopped)
	var whole report
	if code := post("/stop", &whole); code != http.StatusOK || whole.Writing || whole.Tally.Acknowledged != 2 ||
		len(whole.Events) != 1 || len(whole.Gaps) != 1 {
		t.Errorf("the report: %d %+v", code, whole)
	}
	if !strings.Contains(log.String(), `"event":{"name":"kill","gap_ms":1`) {
		t.Errorf("the log says nothing of the event:\n%s", log.String())
	}
}

func TestPlanIsChecked(t *testing.T) {
	good := plan{writers: 1, duration: time.Second, payload: 1, timeout: time.Second, table: "kapok_workload"}
	if err := good.check(); err != nil {
		t.Errorf("a good plan: %v", err)
	}
	for name, spoil := range map[string]func(*plan){
		"no writers":                            func(p *plan) { p.writers = 0 },
		"no duration":                           func(p *plan) { p.duration = 0 },
		"no timeout":                            func(p *plan) { p.timeout = 0 },
		"no payload":                            func(p *plan) { p.payload = 0 },
		"too much payload":                      func(p *plan) { p.payload = 1 << 16 },
		"a table name that is more than a name": func(p *plan) { p.table = "t`; DROP TABLE t" },
	} {
		bad := good
		spoil(&bad)
		if bad.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAnEndpointNeedsItsFlagsAndItsPassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := settings{address: "127.0.0.1:3306", user: "app", passwordFile: file, database: "shop", tls: "preferred"}
	e, err := s.endpoint(t.Context())
	want := endpoint{address: "127.0.0.1:3306", user: "app", password: "secret", database: "shop", tls: "preferred"}
	if err != nil || e != want {
		t.Errorf("endpoint %+v, %v", e, err)
	}
	s.passwordFile += "-missing"
	if _, err := s.endpoint(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing password file: %v", err)
	}
	s.database = ""
	if _, err := s.endpoint(t.Context()); err == nil {
		t.Error("a missing database was accepted")
	}
}
