package history_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

func ms(values ...int) []time.Duration {
	out := make([]time.Duration, len(values))
	for i, v := range values {
		out[i] = time.Duration(v) * time.Millisecond
	}
	return out
}

func TestWidest(t *testing.T) {
	for name, tc := range map[string]struct {
		acks      []time.Duration
		open, now int
		from, to  int
		ended     bool
	}{
		"the silence around the opening counts from the last acknowledgement before it": {
			acks: ms(10, 20, 520, 530), open: 25, now: 540, from: 20, to: 520, ended: true},
		"writes that were still acknowledged after the opening move the beginning": {
			acks: ms(10, 20, 30, 40, 400, 410), open: 25, now: 420, from: 40, to: 400, ended: true},
		"an earlier, longer silence does not count": {
			acks: ms(0, 900, 910, 1000, 1010), open: 905, now: 1015, from: 910, to: 1000, ended: true},
		"a later, longer silence does not count": {
			acks: ms(10, 20, 100, 110, 900), open: 15, now: 105, from: 20, to: 100, ended: true},
		"a silence that begins in the window and ends after it counts whole": {
			acks: ms(10, 20, 30, 700), open: 15, now: 50, from: 30, to: 700, ended: true},
		"a silence that goes on is not ended":      {acks: ms(10, 20), open: 15, now: 820, from: 20, to: 820},
		"nothing acknowledged before the opening":  {acks: ms(500), open: 100, now: 510, from: 100, to: 500, ended: true},
		"nothing acknowledged at all":              {open: 100, now: 510, from: 100, to: 510},
		"the longest of several silences is taken": {acks: ms(0, 300, 310, 900, 910), open: 1, now: 915, from: 310, to: 900, ended: true},
	} {
		t.Run(name, func(t *testing.T) {
			got := history.Widest(tc.acks, ms(tc.open)[0], ms(tc.now)[0])
			want := history.Gap{From: ms(tc.from)[0], To: ms(tc.to)[0], Ended: tc.ended}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("widest gap (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGapsAreStrictlyLongerThanTheThreshold(t *testing.T) {
	got := history.Gaps(ms(0, 100, 201, 210, 400), 100*time.Millisecond)
	want := []history.Gap{
		{From: 100 * time.Millisecond, To: 201 * time.Millisecond, Ended: true},
		{From: 210 * time.Millisecond, To: 400 * time.Millisecond, Ended: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}

func TestPercentile(t *testing.T) {
	thirty := make([]time.Duration, 30)
	for i := range thirty {
		thirty[29-i] = time.Duration(i+1) * time.Millisecond
	}
	for name, tc := range map[string]struct {
		values []time.Duration
		p      float64
		want   int
	}{
		"no values":                                {p: 50, want: 0},
		"one value is every percentile":            {values: ms(7), p: 95, want: 7},
		"the median of an even count is the lower": {values: ms(4, 1, 3, 2), p: 50, want: 2},
		"p95 of thirty is the 29th":                {values: thirty, p: 95, want: 29},
		"p100 is the maximum":                      {values: thirty, p: 100, want: 30},
		"p0 is the minimum":                        {values: thirty, p: 0, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := history.Percentile(tc.values, tc.p); got != ms(tc.want)[0] {
				t.Errorf("got %s, want %d ms", got, tc.want)
			}
		})
	}
}

func TestPercentileLeavesItsInputAsItWas(t *testing.T) {
	values := ms(3, 1, 2)
	history.Percentile(values, 50)
	if diff := cmp.Diff(ms(3, 1, 2), values); diff != "" {
		t.Errorf("values changed (-want +got):\n%s", diff)
	}
}

// attempts builds a recorder with one writer per list of outcomes.
func attempts(t *testing.T, writers ...[]history.Outcome) *history.Recorder {
	t.Helper()
	r := history.NewRecorder(len(writers))
	for w, outcomes := range writers {
		for i, o := range outcomes {
			seq := r.Begin(w)
			if o != history.Pending {
				r.End(w, seq, o, time.Duration(i)*time.Millisecond)
			}
		}
	}
	return r
}

func TestVerdict(t *testing.T) {
	const (
		ack, fail, unknown, pending = history.Acknowledged, history.Failed, history.Unknown, history.Pending
	)
	type row struct {
		writer  int
		seq     int64
		damaged bool
	}
	for name, tc := range map[string]struct {
		writers []history.Outcome
		found   []row
		want    history.Verdict
		good    bool
	}{
		"everything acknowledged is there": {
			writers: []history.Outcome{ack, ack}, found: []row{{seq: 0}, {seq: 1}},
			want: history.Verdict{Tally: history.Tally{Attempted: 2, Acknowledged: 2}, Found: 2}, good: true},
		"an acknowledged row that is missing is lost": {
			writers: []history.Outcome{ack, ack}, found: []row{{seq: 1}},
			want: history.Verdict{Tally: history.Tally{Attempted: 2, Acknowledged: 2}, Found: 1, Lost: 1,
				Examples: []string{"row 0 of writer 0: acknowledged and not there"}}},
		"an acknowledged row with other content is lost": {
			writers: []history.Outcome{ack}, found: []row{{damaged: true}},
			want: history.Verdict{Tally: history.Tally{Attempted: 1, Acknowledged: 1}, Found: 1, Lost: 1,
				Examples: []string{"row 0 of writer 0: there with other content"}}},
		"unknown and pending rows may be there": {
			writers: []history.Outcome{unknown, pending}, found: []row{{seq: 0}, {seq: 1}},
			want: history.Verdict{Tally: history.Tally{Attempted: 2, Unknown: 1}, Found: 2, UnknownFound: 2}, good: true},
		"unknown and pending rows may be missing": {
			writers: []history.Outcome{unknown, pending},
			want:    history.Verdict{Tally: history.Tally{Attempted: 2, Unknown: 1}}, good: true},
		"an unknown row with other content is a phantom": {
			writers: []history.Outcome{unknown}, found: []row{{damaged: true}},
			want: history.Verdict{Tally: history.Tally{Attempted: 1, Unknown: 1}, Found: 1, Phantom: 1,
				Examples: []string{"row 0 of writer 0: there with other content"}}},
		"a refused row that is missing is right": {
			writers: []history.Outcome{fail},
			want:    history.Verdict{Tally: history.Tally{Attempted: 1, Failed: 1}}, good: true},
		"a refused row that is there is a phantom": {
			writers: []history.Outcome{fail}, found: []row{{}},
			want: history.Verdict{Tally: history.Tally{Attempted: 1, Failed: 1}, Found: 1, Phantom: 1,
				Examples: []string{"row 0 of writer 0: there although refused"}}},
		"a row beyond the last attempt is a phantom": {
			writers: []history.Outcome{ack}, found: []row{{}, {seq: 1}},
			want: history.Verdict{Tally: history.Tally{Attempted: 1, Acknowledged: 1}, Found: 2, Phantom: 1,
				Examples: []string{"row 1 of writer 0: never attempted"}}},
		"a row of a writer that does not exist is a phantom": {
			writers: []history.Outcome{ack}, found: []row{{}, {writer: 1}},
			want: history.Verdict{Tally: history.Tally{Attempted: 1, Acknowledged: 1}, Found: 2, Phantom: 1,
				Examples: []string{"row 0 of writer 1: never attempted"}}},
		"a row told twice is a phantom": {
			writers: []history.Outcome{ack}, found: []row{{}, {}},
			want: history.Verdict{Tally: history.Tally{Attempted: 1, Acknowledged: 1}, Found: 2, Phantom: 1,
				Examples: []string{"row 0 of writer 0: there twice"}}},
	} {
		t.Run(name, func(t *testing.T) {
			judge := attempts(t, tc.writers).Judge()
			for _, r := range tc.found {
				judge.Found(r.writer, r.seq, !r.damaged)
			}
			got := judge.Verdict()
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
			if got.Good() != tc.good {
				t.Errorf("good = %t, want %t", got.Good(), tc.good)
			}
		})
	}
}

func TestAVerdictNamesOnlySomeRows(t *testing.T) {
	outcomes := make([]history.Outcome, 100)
	for i := range outcomes {
		outcomes[i] = history.Acknowledged
	}
	v := attempts(t, outcomes).Judge().Verdict()
	if v.Lost != 100 || len(v.Examples) != 20 {
		t.Errorf("lost %d with %d examples, want 100 with 20", v.Lost, len(v.Examples))
	}
}

func TestEventWindows(t *testing.T) {
	r := history.NewRecorder(2)
	ack := func(writer int, at time.Duration) history.Gap {
		return r.End(writer, r.Begin(writer), history.Acknowledged, at)
	}
	for i, at := range ms(10, 20, 30) {
		ack(i%2, at)
	}
	r.Open("kill", ms(32)[0])
	if now, ok := r.Current(ms(300)[0]); !ok || now.Gap.Ended || now.Gap.Length() != ms(270)[0] {
		t.Errorf("while nobody answers: %+v, %t", now, ok)
	}
	r.End(0, r.Begin(0), history.Unknown, ms(310)[0])
	if gap := ack(1, ms(430)[0]); gap.Length() != ms(400)[0] {
		t.Errorf("the acknowledgement ended a gap of %s, want 400ms", gap.Length())
	}
	ack(0, ms(440)[0])
	kill, ok := r.Close(ms(450)[0])
	want := history.Event{Name: "kill", Opened: ms(32)[0], Closed: ms(450)[0], Acknowledged: 2,
		Gap: history.Gap{From: ms(30)[0], To: ms(430)[0], Ended: true}}
	if diff := cmp.Diff(want, kill); diff != "" || !ok {
		t.Errorf("event %t (-want +got):\n%s", ok, diff)
	}
	if _, ok := r.Close(ms(460)[0]); ok {
		t.Error("an event was closed twice")
	}
	if _, ok := r.Current(ms(460)[0]); ok {
		t.Error("a closed event is still current")
	}
	r.Open("first", ms(470)[0])
	r.Open("second", ms(480)[0])
	r.Close(ms(490)[0])
	var names []string
	for _, e := range r.Events() {
		names = append(names, e.Name)
	}
	if diff := cmp.Diff([]string{"kill", "first", "second"}, names); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestAcknowledgementsOutOfOrderMakeNoNegativeGap(t *testing.T) {
	r := history.NewRecorder(1)
	r.End(0, r.Begin(0), history.Acknowledged, ms(20)[0])
	if gap := r.End(0, r.Begin(0), history.Acknowledged, ms(19)[0]); gap.Length() != 0 {
		t.Errorf("gap %s, want none", gap.Length())
	}
	if gap := r.End(0, r.Begin(0), history.Acknowledged, ms(50)[0]); gap.Length() != ms(30)[0] {
		t.Errorf("gap %s, want 30ms", gap.Length())
	}
}
