package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

func TestSummarize(t *testing.T) {
	gaps := make([]time.Duration, 30)
	for i := range gaps {
		gaps[i] = time.Duration(30-i) * 10 * time.Millisecond
	}
	s := summarize(gaps, &history.Verdict{Tally: history.Tally{Acknowledged: 9}, Lost: 1, Phantom: 2})
	if s.Runs != 30 || s.P50 != 150 || s.P95 != 290 || s.Max != 300 || *s.Lost != 1 || *s.Phantom != 2 || *s.Acknowledged != 9 {
		t.Errorf("%+v", s)
	}
	if s.Gaps[0] != 300 || s.Gaps[29] != 10 {
		t.Errorf("the gaps are not in the order of the runs: %v", s.Gaps)
	}
}

func TestASummaryWithoutVerdictSaysSo(t *testing.T) {
	raw, err := json.Marshal(summarize(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"runs":0,"p50_ms":0,"p95_ms":0,"max_ms":0,"lost":null,"phantom":null,"acknowledged":null,"gaps_ms":[]}`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func TestPrintJudgesByTheFigures(t *testing.T) {
	b := &bench{results: map[string]summary{
		"kill":       summarize([]time.Duration{501 * time.Millisecond}, &history.Verdict{}),
		"switchover": summarize([]time.Duration{300 * time.Millisecond}, nil),
	}}
	var out strings.Builder
	b.print(&out)
	for _, want := range []string{"p95 <= 500 ms: missed", "p95 <= 300 ms: reached", "      ?   p95 <= 300"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
	out.Reset()
	(&bench{}).print(&out)
	if strings.Count(out.String(), "not measured") != 2 {
		t.Errorf("phases that did not run are not said to be:\n%s", out.String())
	}
}

func TestCount(t *testing.T) {
	for text, want := range map[string]int{"": 30, "5": 5, "0": 0} {
		if n, err := count(text, 30); n != want || err != nil {
			t.Errorf("count(%q) = %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"-1", "many"} {
		if _, err := count(text, 30); err == nil {
			t.Errorf("count(%q) was accepted", text)
		}
	}
}
