package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

func testRecording(t *testing.T, folder string) *recording {
	t.Helper()
	r, err := openRecording(recordPlan{folder: folder, pod: 1, timeout: time.Second}, endpoint{}, endpoint{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// do records one operation that ends with the error.
func do(t *testing.T, r *recording, op history.Operation, failed error) {
	t.Helper()
	c := &recorder{recording: r, behaviour: behaviour{name: "test"}}
	ch, leave := r.enter(t.Context())
	defer leave()
	err := c.record(ch, &recordSession{server: "db-1"}, op, func(*history.Operation) error { return failed })
	if failed != nil && !errors.Is(failed, errNotApplied) && err == nil || failed == nil && err != nil {
		t.Fatalf("recorded %v as %v", failed, err)
	}
}

func TestARecordingKeepsWhatAClientWasTold(t *testing.T) {
	folder := t.TempDir()
	r := testRecording(t, folder)
	if err := r.begin("one"); err != nil {
		t.Fatal(err)
	}
	insert := history.Operation{Kind: history.KindInsert, Object: "one", Value: 1}
	do(t, r, insert, nil)
	insert.Value = 2
	do(t, r, insert, io.ErrUnexpectedEOF)
	do(t, r, history.Operation{Kind: history.KindCompareAndSet, Object: "one/register0/1", Value: 3, Expected: 1}, errNotApplied)
	// One that is under way when the process is killed.
	ch, leave := r.enter(t.Context())
	if _, err := ch.begin(history.Operation{Client: "c", Kind: history.KindInsert, Object: "one", Value: 4, Invoked: history.Now()}); err != nil {
		t.Fatal(err)
	}
	leave()
	if last := r.current().lastAcknowledged(); last <= 0 || last > history.Now() {
		t.Errorf("the newest acknowledged write was invoked at %s", last)
	}
	// The next process takes the same chapter up.
	next := testRecording(t, folder)
	if next.boot != 2 || next.current() == nil || next.current().name != "one" {
		t.Fatalf("boot %d takes up %+v", next.boot, next.current())
	}
	insert.Value = 5
	do(t, next, insert, nil)
	if err := next.end(); err != nil {
		t.Fatal(err)
	}
	ops, err := readChapter(folder, "one")
	if err != nil {
		t.Fatal(err)
	}
	got := map[int64]history.Outcome{}
	for _, o := range ops {
		got[o.Value] = o.Outcome
		if o.Value != 4 && (o.Server != "db-1" || o.Returned < o.Invoked) {
			t.Errorf("%+v", o)
		}
	}
	want := map[int64]history.Outcome{1: history.Acknowledged, 2: history.Unknown, 3: history.Failed, 4: history.Pending, 5: history.Acknowledged}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes by value (-want +got):\n%s", diff)
	}
}

func TestALineCutShortIsNoHistory(t *testing.T) {
	folder := t.TempDir()
	r := testRecording(t, folder)
	if err := r.begin("one"); err != nil {
		t.Fatal(err)
	}
	do(t, r, history.Operation{Kind: history.KindInsert, Object: "one", Value: 1}, nil)
	path := chapterFileName(folder, "one", 1)
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"id":2,"client":"c","kind":"ins`); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if ops, err := readChapter(folder, "one"); err != nil || len(ops) != 1 {
		t.Errorf("%d operations, %v", len(ops), err)
	}
	if _, err := readChapter(folder, "two"); err == nil {
		t.Error("a chapter that nobody recorded was read")
	}
}

func TestAChapterEndsWhenItsOperationsHave(t *testing.T) {
	r := testRecording(t, t.TempDir())
	if err := r.begin("one"); err != nil {
		t.Fatal(err)
	}
	_, leave := r.enter(t.Context())
	ended := make(chan error)
	go func() { ended <- r.end() }()
	select {
	case err := <-ended:
		t.Fatalf("the chapter ended under an operation: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	// Nobody begins anything in a chapter that is about to end.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if ch, _ := r.enter(ctx); ch != nil {
		t.Error("an operation began in a chapter that is about to end")
	}
	leave()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRecordingControl(t *testing.T) {
	r := testRecording(t, t.TempDir())
	control := httptest.NewServer(r.handler())
	defer control.Close()
	post := func(path string) (int, string) {
		t.Helper()
		response, err := http.Post(control.URL+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	if code, body := post("/chapter?name=No+Name"); code != http.StatusConflict || !strings.Contains(body, "lower-case") {
		t.Errorf("a bad name: %d %s", code, body)
	}
	if code, body := post("/acknowledged?after=1ns&within=1s"); code != http.StatusConflict || !strings.Contains(body, "no chapter") {
		t.Errorf("without a chapter: %d %s", code, body)
	}
	code, body := post("/chapter?name=one")
	var report recordReport
	if err := json.Unmarshal([]byte(body), &report); err != nil || code != http.StatusOK || report.Chapter != "one" || report.Boot != 1 {
		t.Fatalf("%d %s %v", code, body, err)
	}
	before := history.Now()
	if code, body := post("/acknowledged?after=" + before.String() + "&within=30ms"); code != http.StatusConflict || !strings.Contains(body, "30ms") {
		t.Errorf("nothing acknowledged: %d %s", code, body)
	}
	do(t, r, history.Operation{Kind: history.KindReadList, Object: "one/list0/1"}, nil)
	if code, _ := post("/acknowledged?after=" + before.String() + "&within=30ms"); code != http.StatusConflict {
		t.Errorf("a read counts as a write: %d", code)
	}
	do(t, r, history.Operation{Kind: history.KindInsert, Object: "one", Value: 1}, nil)
	if code, body := post("/acknowledged?after=" + before.String() + "&within=30ms"); code != http.StatusOK {
		t.Errorf("after an acknowledged write: %d %s", code, body)
	}
	post("/end")
	code, body = post("/history?chapter=one")
	ops, err := history.Read(strings.NewReader(body))
	if err != nil || code != http.StatusOK || len(ops) != 2 || ops[1].Value != 1 {
		t.Errorf("%d %v %v", code, ops, err)
	}
}

func TestValuesAreUniqueAmongAllClientsThereEverWere(t *testing.T) {
	seen := map[int64]string{}
	for pod := range 9 {
		for boot := range 3 {
			for number := range 4 {
				c := &recorder{recording: &recording{recordPlan: recordPlan{pod: pod + 1}, boot: boot + 1}, number: number}
				for range 3 {
					v := c.value()
					if other, there := seen[v]; there || v <= 0 {
						t.Fatalf("%d of client %d in boot %d of pod %d was %s's", v, number, boot+1, pod+1, other)
					}
					seen[v] = c.name()
				}
			}
		}
	}
}

func TestParseItems(t *testing.T) {
	for items, want := range map[string][]int64{"": nil, "7": {7}, "7,8,9": {7, 8, 9}} {
		if got, err := parseItems(items); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%q: %v, %v", items, got, err)
		}
	}
	for _, items := range []string{",", "7,", "x"} {
		if _, err := parseItems(items); err == nil {
			t.Errorf("%q was read", items)
		}
	}
}
