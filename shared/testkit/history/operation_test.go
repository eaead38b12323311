package history_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

func TestOperationsAreJSONLines(t *testing.T) {
	read := listRead(30, 40, 1, 2)
	read.Server = "s-1"
	swap := acked(history.KindCompareAndSet, "r", 8, 50, 60)
	swap.Expected, swap.Applied = 7, true
	ops := []history.Operation{
		appended(1, 10, 20), with(history.Unknown, appended(2, 10, 20)), with(history.Failed, appended(3, 10, 20)),
		{Client: "d", Kind: history.KindInsert, Object: "s", Value: 4, Invoked: 5}, read, swap,
	}
	var file bytes.Buffer
	if err := history.Write(&file, ops); err != nil {
		t.Fatal(err)
	}
	const pending = `{"client":"d","kind":"insert","object":"s","value":4,"invoked":5,"outcome":"pending"}`
	const applied = `{"client":"c","kind":"cas","object":"r","value":8,"expected":7,"applied":true,` +
		`"invoked":50000000,"returned":60000000,"outcome":"acknowledged"}`
	lines := strings.Split(file.String(), "\n")
	if len(lines) != len(ops)+1 || lines[3] != pending || lines[5] != applied {
		t.Errorf("lines:\n%s", file.String())
	}
	got, err := history.Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ops, got); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
}

func TestReadNamesTheLine(t *testing.T) {
	const good = `{"client":"c","kind":"insert","object":"s","value":4,"invoked":5,"outcome":"pending"}` + "\n"
	for name, tc := range map[string]struct{ line, want string }{
		"a line that was cut short": {`{"client":"c","ki`, "line 4: unexpected EOF"},
		"a field that nobody knows": {`{"clinet":"c"}`, `line 4: json: unknown field "clinet"`},
		"an outcome that is none":   {`{"outcome":"fine"}`, `line 4: outcome: "fine" is none of pending, acknowledged, failed, unknown`},
		"two operations":            {strings.TrimSpace(good) + `{}`, `line 4: something follows the operation: "{}"`},
		"no client":                 {`{"kind":"insert","object":"s"}`, "line 4: client: must name who tried the operation"},
		"no object":                 {`{"client":"c","kind":"insert"}`, "line 4: object: must name the set, list or register"},
		"a kind that is none": {`{"client":"c","kind":"put","object":"s"}`,
			`line 4: kind: "put" is none of [insert append write cas read-list read-register]`},
		"an answer without a time": {`{"client":"c","kind":"insert","object":"s","outcome":"acknowledged"}`,
			"line 4: returned: must be set, since the operation is acknowledged"},
		"an answer before the call": {`{"client":"c","kind":"insert","object":"s","invoked":9,"returned":8,"outcome":"unknown"}`,
			"line 4: returned: must not be before invoked, 8ns is before 9ns"},
		"a time before the clock's": {`{"client":"c","kind":"insert","object":"s","invoked":-1}`,
			"line 4: invoked: must not be negative, is -1ns"},
		"a register with two values": {`{"client":"c","kind":"read-register","object":"r","seen":[1,2]}`,
			"line 4: seen: a register has one value, not 2"},
		"a write that was applied": {`{"client":"c","kind":"write","object":"r","applied":true}`,
			"line 4: applied: only a cas can be, not a write"},
		"an unknown that was applied": {`{"client":"c","kind":"cas","object":"r","value":1,"applied":true,"outcome":"unknown"}`,
			"line 4: applied: only an acknowledged operation is known to be, this one is unknown"},
		"a swap with itself": {`{"client":"c","kind":"cas","object":"r","value":1,"expected":1}`,
			"line 4: value: must differ from the expected one, both are 1"},
	} {
		t.Run(name, func(t *testing.T) {
			ops, err := history.Read(strings.NewReader(good + "\n" + good + tc.line))
			if err == nil || err.Error() != tc.want {
				t.Errorf("error %v, want %s", err, tc.want)
			}
			if len(ops) != 2 {
				t.Errorf("%d operations before it, want 2", len(ops))
			}
		})
	}
}

func TestADecoderGoesOnBehindABadLine(t *testing.T) {
	d := history.NewDecoder(strings.NewReader("{}\n" + `{"client":"c","kind":"insert","object":"s","outcome":"pending"}`))
	if _, err := d.Decode(); err == nil || !strings.HasPrefix(err.Error(), "line 1: ") {
		t.Errorf("first line: %v", err)
	}
	if o, err := d.Decode(); err != nil || o.Object != "s" {
		t.Errorf("second line: %v, %v", o, err)
	}
	if _, err := d.Decode(); !errors.Is(err, io.EOF) {
		t.Errorf("end: %v", err)
	}
}

func TestWriteNamesTheOperation(t *testing.T) {
	err := history.Write(io.Discard, []history.Operation{appended(1, 10, 20), {Client: "c"}})
	const want = "operation 1: encode an operation: object: must name the set, list or register"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

type failing struct{ calls int }

func (f *failing) Write(p []byte) (int, error) { f.calls++; return 0, io.ErrClosedPipe }

func TestWriteTellsOfAFullDisk(t *testing.T) {
	if err := history.Write(&failing{}, []history.Operation{appended(1, 10, 20)}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
}

// onceEach fails the test if a line comes in more than one piece.
type onceEach struct {
	t     *testing.T
	lines int
}

func (w *onceEach) Write(p []byte) (int, error) {
	w.lines++
	if p[0] != '{' || bytes.Count(p, []byte("\n")) != 1 || p[len(p)-1] != '\n' {
		w.t.Errorf("a piece: %q", p)
	}
	return len(p), nil
}

func TestAnEncoderIsSharedAndWritesWholeLines(t *testing.T) {
	w := &onceEach{t: t}
	encoder := history.NewEncoder(w)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for i := range 50 {
				if err := encoder.Encode(appended(int64(i), 10, 20)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	if w.lines != 400 {
		t.Errorf("%d lines, want 400", w.lines)
	}
}

func TestMergeOrdersByInvocation(t *testing.T) {
	a := []history.Operation{appended(1, 10, 90), appended(2, 95, 96)}
	b := []history.Operation{appended(3, 5, 6), appended(4, 10, 12), appended(5, 94, 99)}
	var got []int64
	for _, o := range history.Merge(a, b) {
		got = append(got, o.Value)
	}
	if diff := cmp.Diff([]int64{3, 1, 4, 5, 2}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if a[0].Value != 1 || b[0].Value != 3 {
		t.Error("merging changed a history")
	}
}

func TestAcknowledgementsAreOfChanges(t *testing.T) {
	missed := acked(history.KindCompareAndSet, "r", 6, 30, 35)
	missed.Expected = 5
	applied := acked(history.KindCompareAndSet, "r", 7, 30, 36)
	applied.Applied = true
	ops := []history.Operation{
		appended(1, 10, 90), acked(history.KindWrite, "r", 1, 5, 15), missed, applied, listRead(20, 25),
		with(history.Unknown, appended(2, 20, 26)), with(history.Failed, appended(3, 20, 27)), acked(history.KindInsert, "s", 1, 50, 60),
	}
	if diff := cmp.Diff(ms(15, 36, 60, 90), history.Acknowledgements(ops)); diff != "" {
		t.Errorf("all changes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ms(60, 90), history.Acknowledgements(ops, history.KindAppend, history.KindInsert)); diff != "" {
		t.Errorf("two kinds (-want +got):\n%s", diff)
	}
}

func TestNowIsTheMachinesMonotonicClock(t *testing.T) {
	var clock history.Clock = history.Now
	began := clock()
	time.Sleep(20 * time.Millisecond)
	passed := clock() - began
	// The upper bound only tells a clock of another unit apart; a loaded machine may take its time.
	if began <= 0 || passed < 20*time.Millisecond || passed > 20*time.Second {
		t.Errorf("began at %s and %s passed", began, passed)
	}
}
