package history_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// acked is an acknowledged operation between two milliseconds.
func acked(kind history.Kind, object string, value int64, invoked, returned int) history.Operation {
	return history.Operation{Client: "c", Kind: kind, Object: object, Value: value, Outcome: history.Acknowledged,
		Invoked: ms(invoked)[0], Returned: ms(returned)[0]}
}

// with is the operation with another outcome.
func with(outcome history.Outcome, o history.Operation) history.Operation {
	o.Outcome = outcome
	return o
}

// listRead is an acknowledged read of list l.
func listRead(invoked, returned int, seen ...int64) history.Operation {
	o := acked(history.KindReadList, "l", 0, invoked, returned)
	o.Seen = seen
	return o
}

func appended(value int64, invoked, returned int) history.Operation {
	return acked(history.KindAppend, "l", value, invoked, returned)
}

// goodList is a history without any finding: 4 is unknown and there, 5 is refused, 6 never came back.
func goodList() ([]history.Operation, []int64) {
	return []history.Operation{
		appended(1, 10, 20), appended(2, 30, 40), appended(3, 50, 60),
		with(history.Unknown, appended(4, 70, 80)),
		with(history.Failed, appended(5, 90, 100)),
		{Client: "d", Kind: history.KindAppend, Object: "l", Value: 6, Invoked: ms(95)[0]},
		appended(7, 110, 120),
		listRead(1, 5), listRead(22, 24, 1), listRead(35, 45, 1, 2), listRead(130, 140, 1, 2, 3, 4, 7),
		with(history.Unknown, listRead(130, 140, 99)),
	}, []int64{1, 2, 3, 4, 7}
}

func TestListFindings(t *testing.T) {
	type change func(ops []history.Operation, final []int64) ([]history.Operation, []int64)
	add := func(more ...history.Operation) change {
		return func(ops []history.Operation, final []int64) ([]history.Operation, []int64) {
			return append(ops, more...), final
		}
	}
	final := func(values ...int64) change {
		return func(ops []history.Operation, _ []int64) ([]history.Operation, []int64) { return ops, values }
	}
	both := func(a, b change) change {
		return func(ops []history.Operation, final []int64) ([]history.Operation, []int64) { return b(a(ops, final)) }
	}
	for name, tc := range map[string]struct {
		plant change
		want  func(v *history.ListVerdict)
		bad   bool
	}{
		"nothing is wrong": {plant: add(), want: func(*history.ListVerdict) {}},
		"an acknowledged append is lost": {bad: true, plant: add(appended(8, 150, 160)), want: func(v *history.ListVerdict) {
			v.Attempted, v.Acknowledged, v.Lost = 8, 5, 1
			v.Examples = []string{"append of 8 to l by c (acknowledged, 150ms to 160ms): acknowledged and not there"}
		}},
		"an element from nowhere": {bad: true, plant: final(1, 2, 3, 4, 7, 99), want: func(v *history.ListVerdict) {
			v.Found, v.Phantom = 6, 1
			v.Examples = []string{"element 99 of l: there although it was never appended"}
		}},
		"a refused element is there": {bad: true, plant: final(1, 2, 3, 4, 7, 5), want: func(v *history.ListVerdict) {
			v.Found, v.Phantom = 6, 1
			v.Examples = []string{"element 5 of l: there although it was refused"}
		}},
		"an element is there twice": {bad: true, plant: final(1, 2, 3, 4, 7, 2), want: func(v *history.ListVerdict) {
			v.Found, v.Duplicate = 6, 1
			v.Examples = []string{"element 2 of l: there twice, again at 5"}
		}},
		"what never came back may be there": {plant: final(1, 2, 3, 4, 7, 6), want: func(v *history.ListVerdict) {
			v.Found, v.UnknownFound = 6, 2
		}},
		"order against real time": {bad: true, plant: both(add(appended(8, 150, 160), appended(9, 170, 180)), final(1, 2, 3, 4, 7, 9, 8)),
			want: func(v *history.ListVerdict) {
				v.Attempted, v.Acknowledged, v.Found, v.Disordered = 9, 6, 7, 1
				v.Examples = []string{"append of 9 to l by c (acknowledged, 170ms to 180ms): stands before 8, " +
					"which was acknowledged earlier, at 160ms"}
			}},
		"an unknown one that stands before what was acknowledged earlier": {bad: true,
			plant: both(add(appended(8, 150, 160), with(history.Unknown, appended(9, 170, 180))), final(1, 2, 3, 4, 7, 9, 8)),
			want: func(v *history.ListVerdict) {
				v.Attempted, v.Acknowledged, v.Unknown, v.Found, v.UnknownFound, v.Disordered = 9, 5, 2, 7, 2, 1
				v.Examples = []string{"append of 9 to l by c (unknown, 170ms to 180ms): stands before 8, " +
					"which was acknowledged earlier, at 160ms"}
			}},
		"an unknown one may come late": {plant: both(add(appended(8, 150, 160), with(history.Unknown, appended(9, 145, 147))), final(1, 2, 3, 4, 7, 8, 9)),
			want: func(v *history.ListVerdict) {
				v.Attempted, v.Acknowledged, v.Unknown, v.Found, v.UnknownFound = 9, 5, 2, 7, 2
			}},
		"concurrent ones stand in any order": {plant: both(add(appended(8, 150, 160), appended(9, 160, 180)), final(1, 2, 3, 4, 7, 9, 8)),
			want: func(v *history.ListVerdict) { v.Attempted, v.Acknowledged, v.Found = 9, 6, 7 }},
		"a read saw what was lost later": {bad: true, plant: add(listRead(150, 160, 1, 2, 3, 4, 7, 6)), want: func(v *history.ListVerdict) {
			v.Reads, v.Diverged = 5, 1
			v.Examples = []string{"read of l that saw 6 elements by c (acknowledged, 150ms to 160ms): it saw 6 at 5, which is not in the final list"}
		}},
		"a read saw another order": {bad: true, plant: add(listRead(150, 160, 1, 3, 2)), want: func(v *history.ListVerdict) {
			v.Reads, v.Diverged = 5, 1
			v.Examples = []string{"read of l that saw 3 elements by c (acknowledged, 150ms to 160ms): it saw 3 at 1, where the final list has 2"}
		}},
		"a read saw an element twice": {bad: true, plant: add(listRead(150, 160, 1, 1)), want: func(v *history.ListVerdict) {
			v.Reads, v.Diverged = 5, 1
			v.Examples = []string{"read of l that saw 2 elements by c (acknowledged, 150ms to 160ms): it saw 1 twice"}
		}},
		"a read saw an element from nowhere": {bad: true, plant: add(listRead(150, 160, 1, 99)), want: func(v *history.ListVerdict) {
			v.Reads, v.Phantom = 5, 1
			v.Examples = []string{"read of l that saw 2 elements by c (acknowledged, 150ms to 160ms): element 99 was never appended"}
		}},
		"a read saw a refused element": {bad: true, plant: add(listRead(150, 160, 1, 2, 3, 4, 7, 5)), want: func(v *history.ListVerdict) {
			v.Reads, v.Phantom = 5, 1
			v.Examples = []string{"read of l that saw 6 elements by c (acknowledged, 150ms to 160ms): element 5 was refused"}
		}},
		"a read saw the future": {bad: true, plant: add(listRead(41, 49, 1, 2, 3)), want: func(v *history.ListVerdict) {
			v.Reads, v.Phantom = 5, 1
			v.Examples = []string{"read of l that saw 3 elements by c (acknowledged, 41ms to 49ms): it saw what was appended only at 50ms"}
		}},
		"a read misses what was acknowledged": {plant: add(listRead(65, 66, 1)), want: func(v *history.ListVerdict) {
			v.Reads, v.Stale, v.Widest = 5, 1, ms(25)[0]
			v.Worst = "read of l that saw 1 elements by c (acknowledged, 65ms to 66ms)"
			v.StaleExamples = []string{v.Worst + ": stale by 25ms"}
		}},
		"the stalest of two reads is the worst": {plant: add(listRead(62, 63, 1, 2), listRead(65, 66, 1)), want: func(v *history.ListVerdict) {
			v.Reads, v.Stale, v.Widest = 6, 2, ms(25)[0]
			v.Worst = "read of l that saw 1 elements by c (acknowledged, 65ms to 66ms)"
			v.StaleExamples = []string{"read of l that saw 2 elements by c (acknowledged, 62ms to 63ms): stale by 2ms", v.Worst + ": stale by 25ms"}
		}},
		"of all that a read misses the earliest acknowledgement counts": {
			plant: both(add(appended(8, 150, 200), appended(9, 160, 170), listRead(180, 190, 1, 2, 3, 4, 7)), final(1, 2, 3, 4, 7, 8, 9)),
			want: func(v *history.ListVerdict) {
				v.Attempted, v.Acknowledged, v.Found, v.Reads = 9, 6, 7, 5
				v.Stale, v.Widest = 1, ms(10)[0]
				v.Worst = "read of l that saw 5 elements by c (acknowledged, 180ms to 190ms)"
				v.StaleExamples = []string{v.Worst + ": stale by 10ms"}
			}},
		"a read misses what is acknowledged while it goes on": {plant: add(listRead(35, 45, 1)), want: func(v *history.ListVerdict) { v.Reads = 5 }},
		"a read misses what another one saw": {
			plant: both(add(with(history.Unknown, appended(8, 150, 160)), listRead(170, 175, 1, 2, 3, 4, 7, 8), listRead(180, 185, 1, 2, 3, 4, 7)),
				final(1, 2, 3, 4, 7, 8)),
			want: func(v *history.ListVerdict) {
				v.Attempted, v.Unknown, v.Found, v.UnknownFound, v.Reads = 8, 2, 6, 2, 6
				v.Stale, v.Widest = 1, ms(5)[0]
				v.Worst = "read of l that saw 5 elements by c (acknowledged, 180ms to 185ms)"
				v.StaleExamples = []string{v.Worst + ": stale by 5ms"}
			}},
		"a value was appended twice": {bad: true, plant: add(appended(7, 150, 160)), want: func(v *history.ListVerdict) {
			v.Malformed = 1
			v.Examples = []string{"append of 7 to l by c (acknowledged, 150ms to 160ms): value: 7 was tried before in l; it must be unique"}
		}},
		"a read without an end": {bad: true, plant: add(listRead(150, 0, 1)), want: func(v *history.ListVerdict) {
			v.Malformed = 1
			v.Examples = []string{"read of l that saw 1 elements by c (acknowledged, since 150ms): " +
				"returned: must be set, since the operation is acknowledged"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			ops, last := tc.plant(goodList())
			want := history.ListVerdict{Lists: 1, Found: 5, UnknownFound: 1, Staleness: history.Staleness{Reads: 4},
				Tally: history.Tally{Attempted: 7, Acknowledged: 4, Failed: 1, Unknown: 1}}
			tc.want(&want)
			got := history.CheckLists(ops, map[string][]int64{"l": last})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
			if got.Good() == tc.bad {
				t.Errorf("good = %t", got.Good())
			}
		})
	}
}

func TestListsAreJudgedByThemselves(t *testing.T) {
	ops := []history.Operation{appended(1, 10, 20), acked(history.KindAppend, "m", 1, 10, 20), acked(history.KindAppend, "n", 1, 10, 20)}
	got := history.CheckLists(ops, map[string][]int64{"l": {1}, "m": {}, "o": {4}})
	want := history.ListVerdict{Tally: history.Tally{Attempted: 3, Acknowledged: 3}, Lists: 4, Found: 2, Lost: 1, Phantom: 1, Undecided: 1,
		Examples: []string{
			"append of 1 to m by c (acknowledged, 10ms to 20ms): acknowledged and not there",
			"n: undecided, since it was not read at the end",
			"element 4 of o: there although it was never appended",
		}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	undecided := history.CheckLists(ops[2:], nil)
	if undecided.Good() {
		t.Error("a list that was not read at the end is good")
	}
}

func TestSetFindings(t *testing.T) {
	ops := []history.Operation{
		acked(history.KindInsert, "s", 1, 10, 20), acked(history.KindInsert, "s", 2, 10, 20),
		with(history.Unknown, acked(history.KindInsert, "s", 3, 10, 20)), with(history.Failed, acked(history.KindInsert, "s", 4, 10, 20)),
		acked(history.KindInsert, "other", 9, 10, 20), acked(history.KindAppend, "s", 10, 10, 20),
	}
	twice := append(slices.Clone(ops), acked(history.KindInsert, "s", 2, 30, 40))
	type row struct {
		value   int64
		damaged bool
	}
	for name, tc := range map[string]struct {
		ops  []history.Operation
		rows []row
		want history.Verdict
		good bool
	}{
		"everything is there": {rows: []row{{value: 1}, {value: 2}}, want: history.Verdict{Found: 2}, good: true},
		"an unknown one too":  {rows: []row{{value: 1}, {value: 2}, {value: 3}}, want: history.Verdict{Found: 3, UnknownFound: 1}, good: true},
		"an acknowledged one lost": {rows: []row{{value: 2}},
			want: history.Verdict{Found: 1, Lost: 1, Examples: []string{"element 1 of s: acknowledged and not there"}}},
		"an acknowledged one changed": {rows: []row{{value: 1, damaged: true}, {value: 2}},
			want: history.Verdict{Found: 2, Lost: 1, Examples: []string{"element 1 of s: there with other content"}}},
		"one from nowhere": {rows: []row{{value: 1}, {value: 2}, {value: 9}},
			want: history.Verdict{Found: 3, Phantom: 1, Examples: []string{"element 9 of s: never attempted"}}},
		"a refused one": {rows: []row{{value: 1}, {value: 2}, {value: 4}},
			want: history.Verdict{Found: 3, Phantom: 1, Examples: []string{"element 4 of s: there although refused"}}},
		"one twice": {rows: []row{{value: 1}, {value: 2}, {value: 1}},
			want: history.Verdict{Found: 3, Phantom: 1, Examples: []string{"element 1 of s: there twice"}}},
		"one tried twice": {ops: twice, rows: []row{{value: 1}, {value: 2}}, want: history.Verdict{Found: 2, Malformed: 1,
			Examples: []string{"insert of 2 to s by c (acknowledged, 30ms to 40ms): value: 2 was tried before in s; it must be unique"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.ops == nil {
				tc.ops = ops
			}
			judge := history.JudgeSet(tc.ops, "s")
			for _, r := range tc.rows {
				judge.Found(r.value, !r.damaged)
			}
			tc.want.Tally = history.Tally{Attempted: 4, Acknowledged: 2, Failed: 1, Unknown: 1}
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

func TestStaleWindow(t *testing.T) {
	part := func(reads, stale int64, widest int, worst string) history.Staleness {
		s := history.Staleness{Reads: reads, Stale: stale, Widest: ms(widest)[0], Worst: worst}
		for i := range stale {
			s.StaleExamples = append(s.StaleExamples, fmt.Sprint(worst, i))
		}
		return s
	}
	got := history.StaleWindow(part(10, 15, 7, "a"), part(20, 16, 9, "b"), part(5, 0, 0, ""))
	if got.Reads != 35 || got.Stale != 31 || got.Widest != 9*time.Millisecond || got.Worst != "b" {
		t.Errorf("joined %+v", got)
	}
	if n := len(got.StaleExamples); n != 20 || got.StaleExamples[19] != "b4" {
		t.Errorf("%d examples: %v", n, got.StaleExamples)
	}
}
