package history_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

func wrote(value int64, invoked, returned int) history.Operation {
	return acked(history.KindWrite, "r", value, invoked, returned)
}

// swapped is an acknowledged compare-and-set that matched.
func swapped(expected, value int64, invoked, returned int) history.Operation {
	o := acked(history.KindCompareAndSet, "r", value, invoked, returned)
	o.Expected, o.Applied = expected, true
	return o
}

// missed is an acknowledged compare-and-set that did not match.
func missed(expected, value int64, invoked, returned int) history.Operation {
	o := swapped(expected, value, invoked, returned)
	o.Applied = false
	return o
}

// got is an acknowledged read of a register; no value if there was none.
func got(invoked, returned int, seen ...int64) history.Operation {
	o := acked(history.KindReadRegister, "r", 0, invoked, returned)
	o.Seen = seen
	return o
}

// unknown makes an operation one whose client gave up, so that nothing says that it was applied.
func unknown(o history.Operation) history.Operation {
	o.Outcome, o.Applied = history.Unknown, false
	return o
}

// goodRegister is a history without any finding, with everything that can happen to an operation.
func goodRegister() []history.Operation {
	return []history.Operation{
		got(1, 5), wrote(1, 10, 20), got(12, 14), got(15, 18, 1), swapped(1, 2, 30, 40), got(45, 50, 2), missed(1, 3, 52, 54),
		unknown(wrote(4, 60, 70)), got(80, 90, 2), got(100, 110, 4), with(history.Failed, wrote(5, 120, 130)), got(140, 150, 4),
		{Client: "d", Kind: history.KindWrite, Object: "r", Value: 6, Invoked: ms(141)[0]},
		unknown(got(142, 150, 99)),
	}
}

func TestRegisterFindings(t *testing.T) {
	current := func(history.Operation) bool { return true }
	for name, tc := range map[string]struct {
		plant   []history.Operation
		current func(history.Operation) bool
		want    func(v *history.RegisterVerdict)
		bad     bool
	}{
		"nothing is wrong":                            {want: func(*history.RegisterVerdict) {}},
		"nothing is wrong with current reads either":  {current: current, want: func(*history.RegisterVerdict) {}},
		"an unknown write may take effect at the end": {plant: []history.Operation{got(200, 210, 6)}, want: func(v *history.RegisterVerdict) { v.Reads++ }},
		"a read saw what nobody wrote": {bad: true, plant: []history.Operation{got(200, 210, 99)}, want: func(v *history.RegisterVerdict) {
			v.Reads, v.Phantom = v.Reads+1, 1
			v.Examples = []string{"read of r that saw 99 by c (acknowledged, 200ms to 210ms): the value was never written"}
		}},
		"a read saw what was refused": {bad: true, plant: []history.Operation{got(200, 210, 5)}, want: func(v *history.RegisterVerdict) {
			v.Reads, v.Phantom = v.Reads+1, 1
			v.Examples = []string{"read of r that saw 5 by c (acknowledged, 200ms to 210ms): the value was refused"}
		}},
		"a read saw what did not match": {bad: true, plant: []history.Operation{got(200, 210, 3)}, want: func(v *history.RegisterVerdict) {
			v.Reads, v.Phantom = v.Reads+1, 1
			v.Examples = []string{"read of r that saw 3 by c (acknowledged, 200ms to 210ms): the value belongs to a compare-and-set that did not match"}
		}},
		"a read saw the future": {bad: true, plant: []history.Operation{got(7, 8, 1)}, want: func(v *history.RegisterVerdict) {
			v.Reads, v.Phantom = v.Reads+1, 1
			v.Examples = []string{"read of r that saw 1 by c (acknowledged, 7ms to 8ms): the value was written only at 10ms"}
		}},
		"a read saw what an acknowledged write had replaced": {plant: []history.Operation{wrote(7, 200, 210), got(230, 240, 4)},
			want: func(v *history.RegisterVerdict) {
				v.Attempted, v.Acknowledged, v.Reads = v.Attempted+1, v.Acknowledged+1, v.Reads+1
				stale(v, 20, "read of r that saw 4 by c (acknowledged, 230ms to 240ms)")
			}},
		"a read saw no value, long after the first one": {plant: []history.Operation{got(30, 35)},
			want: func(v *history.RegisterVerdict) {
				v.Reads++
				// The first value was certainly there when it was read, before its write was acknowledged.
				stale(v, 12, "read of r that saw no value by c (acknowledged, 30ms to 35ms)")
			}},
		"a read saw what a compare-and-set had replaced": {plant: []history.Operation{got(43, 44, 1)},
			want: func(v *history.RegisterVerdict) {
				v.Reads++
				stale(v, 3, "read of r that saw 1 by c (acknowledged, 43ms to 44ms)")
			}},
		"a read saw what a compare-and-set had replaced before its write was acknowledged": {
			plant: []history.Operation{wrote(7, 200, 210), swapped(7, 8, 205, 220), got(230, 240, 7)},
			want: func(v *history.RegisterVerdict) {
				v.Attempted, v.Acknowledged, v.Reads = v.Attempted+2, v.Acknowledged+2, v.Reads+1
				stale(v, 10, "read of r that saw 7 by c (acknowledged, 230ms to 240ms)")
			}},
		"what an unknown write replaced cannot be read any more": {bad: true,
			plant: []history.Operation{wrote(0, 200, 210), missed(0, 7, 220, 230), got(240, 250, 0)},
			want: func(v *history.RegisterVerdict) {
				v.Attempted, v.Acknowledged, v.Reads = v.Attempted+2, v.Acknowledged+2, v.Reads+1
				v.NotLinearizable, v.Contradictory = 1, 1
				v.Examples = []string{"r: its reads contradict each other; 13 of 14 can be placed, " +
					"but not read of r that saw 0 by c (acknowledged, 240ms to 250ms)"}
			}},
		"a read saw what another read had seen replaced": {plant: []history.Operation{got(115, 118, 2)},
			want: func(v *history.RegisterVerdict) {
				v.Reads++
				stale(v, 5, "read of r that saw 2 by c (acknowledged, 115ms to 118ms)")
			}},
		"a stale read is no excuse for the rest": {bad: true, plant: []history.Operation{wrote(7, 200, 210), got(230, 240, 4), swapped(4, 8, 250, 260)},
			want: func(v *history.RegisterVerdict) {
				v.Attempted, v.Acknowledged, v.Reads, v.NotLinearizable = v.Attempted+2, v.Acknowledged+2, v.Reads+1, 1
				stale(v, 20, "read of r that saw 4 by c (acknowledged, 230ms to 240ms)")
				v.Examples = []string{"r: there is no order of its operations; 12 of 13 can be placed, " +
					"but not cas of 4 to 8 in r by c (acknowledged, 250ms to 260ms)"}
			}},
		"a read that promised to be current is stale": {bad: true, current: current, plant: []history.Operation{wrote(7, 200, 210), got(230, 240, 4)},
			want: func(v *history.RegisterVerdict) {
				v.Attempted, v.Acknowledged, v.Reads, v.NotLinearizable = v.Attempted+1, v.Acknowledged+1, v.Reads+1, 1
				stale(v, 20, "read of r that saw 4 by c (acknowledged, 230ms to 240ms)")
				v.Examples = []string{"r: there is no order of its operations; 12 of 13 can be placed, " +
					"but not read of r that saw 4 by c (acknowledged, 230ms to 240ms)"}
			}},
		"reads contradict each other": {bad: true, plant: []history.Operation{
			wrote(7, 200, 290), wrote(8, 200, 290), got(210, 220, 7), got(230, 240, 8), got(250, 260, 7)},
			want: func(v *history.RegisterVerdict) {
				v.Attempted, v.Acknowledged, v.Reads = v.Attempted+2, v.Acknowledged+2, v.Reads+3
				v.NotLinearizable, v.Contradictory = 1, 1
				v.Examples = []string{"r: its reads contradict each other; 15 of 16 can be placed, " +
					"but not read of r that saw 7 by c (acknowledged, 250ms to 260ms)"}
			}},
		"two compare-and-sets of one value": {bad: true, plant: []history.Operation{wrote(7, 200, 210), swapped(7, 8, 220, 250), swapped(7, 9, 220, 240)},
			want: func(v *history.RegisterVerdict) {
				v.Attempted, v.Acknowledged, v.NotLinearizable = v.Attempted+3, v.Acknowledged+3, 1
				v.Examples = []string{"r: there is no order of its operations; 13 of 14 can be placed, " +
					"but not cas of 7 to 9 in r by c (acknowledged, 220ms to 240ms)"}
			}},
		"an acknowledged write is lost": {bad: true, plant: []history.Operation{
			wrote(7, 200, 210), swapped(7, 8, 220, 230), wrote(9, 240, 250), swapped(8, 10, 260, 270)},
			want: func(v *history.RegisterVerdict) {
				v.Attempted, v.Acknowledged, v.NotLinearizable = v.Attempted+4, v.Acknowledged+4, 1
				v.Examples = []string{"r: there is no order of its operations; 14 of 15 can be placed, " +
					"but not cas of 8 to 10 in r by c (acknowledged, 260ms to 270ms)"}
			}},
		"a compare-and-set matched what nobody wrote": {bad: true, plant: []history.Operation{swapped(99, 7, 200, 210)},
			want: func(v *history.RegisterVerdict) {
				v.Attempted, v.Acknowledged, v.NotLinearizable = v.Attempted+1, v.Acknowledged+1, 1
				v.Examples = []string{"cas of 99 to 7 in r by c (acknowledged, 200ms to 210ms): the value that it expected was never written"}
			}},
		"a compare-and-set did not match although it should": {bad: true, plant: []history.Operation{missed(2, 7, 46, 48)},
			want: func(v *history.RegisterVerdict) {
				v.Attempted, v.Acknowledged, v.NotLinearizable = v.Attempted+1, v.Acknowledged+1, 1
				v.Examples = []string{"r: there is no order of its operations; 6 of 12 can be placed, " +
					"but not cas of 2 to 7 in r, which did not match, by c (acknowledged, 46ms to 48ms)"}
			}},
		"a compare-and-set did not match, thanks to an unknown write": {plant: []history.Operation{missed(4, 7, 200, 210)},
			want: func(v *history.RegisterVerdict) { v.Attempted, v.Acknowledged = v.Attempted+1, v.Acknowledged+1 }},
		"one unknown write does not explain two that did not match": {bad: true,
			plant: []history.Operation{missed(4, 7, 200, 210), wrote(8, 220, 230), missed(8, 9, 240, 250)},
			want: func(v *history.RegisterVerdict) {
				v.Attempted, v.Acknowledged, v.NotLinearizable = v.Attempted+3, v.Acknowledged+3, 1
				v.Examples = []string{"r: there is no order of its operations; 13 of 14 can be placed, " +
					"but not cas of 8 to 9 in r, which did not match, by c (acknowledged, 240ms to 250ms)"}
			}},
		"a value was written twice": {bad: true, plant: []history.Operation{wrote(5, 200, 210)}, want: func(v *history.RegisterVerdict) {
			v.Malformed = 1
			v.Examples = []string{"write of 5 to r by c (acknowledged, 200ms to 210ms): value: 5 was tried before in r; it must be unique"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			want := history.RegisterVerdict{Registers: 1, Staleness: history.Staleness{Reads: 7},
				Tally: history.Tally{Attempted: 6, Acknowledged: 3, Failed: 1, Unknown: 1}}
			tc.want(&want)
			v := history.CheckRegisters(append(goodRegister(), tc.plant...), history.RegisterOptions{Current: tc.current})
			if diff := cmp.Diff(want, v); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
			if v.Good() == tc.bad {
				t.Errorf("good = %t", v.Good())
			}
			if excused := v.GoodForReplicas(); excused != (!tc.bad || v.Contradictory > 0) {
				t.Errorf("good for replicas = %t", excused)
			}
		})
	}
}

// stale is the finding of one stale read.
func stale(v *history.RegisterVerdict, by int, read string) {
	v.Stale, v.Widest, v.Worst = 1, ms(by)[0], read
	v.StaleExamples = []string{read + ": stale by " + v.Widest.String()}
}

func TestARegisterThatTakesTooLongIsUndecided(t *testing.T) {
	// Thirty writes at once have more orders than anybody can try, and none of them ends with two values.
	var ops []history.Operation
	for value := range int64(30) {
		ops = append(ops, wrote(value, 10, 20))
	}
	ops = append(ops, got(30, 40, 1), got(50, 60, 2))
	v := history.CheckRegisters(append(ops, acked(history.KindWrite, "other", 1, 10, 20)), history.RegisterOptions{Timeout: 100 * time.Millisecond})
	if v.Registers != 2 || v.Undecided != 1 || v.NotLinearizable != 0 || v.Good() {
		t.Errorf("verdict %+v", v)
	}
	const want = "r: undecided, since 32 operations have no order that was found within 100ms"
	if len(v.Examples) != 1 || v.Examples[0] != want {
		t.Errorf("examples %q", v.Examples)
	}
}

// orders tries every order of a few operations on a register by brute force: each takes place between its invocation and its
// return, and one of unknown outcome any time after its invocation, or never. Reads for which past is true only have to see
// a value that had been there.
type orders struct {
	ops  []history.Operation
	past func(i int) bool
}

func (b orders) exist() bool { return b.from(0, nil) }

// from goes on after the operations in done; had is the values that were there, the last of them the latest.
func (b orders) from(done uint, had []int64) bool {
	missing := false
	for i, o := range b.ops {
		if done&(1<<i) != 0 {
			continue
		}
		certain := o.Outcome == history.Acknowledged
		missing = missing || certain
		if !b.mayBeNext(i, done) {
			continue
		}
		then, possible := b.take(i, had)
		if possible && b.from(done|1<<i, then) {
			return true
		}
	}
	return !missing
}

// mayBeNext says that nothing which is not done had returned before the operation was invoked.
func (b orders) mayBeNext(i int, done uint) bool {
	o := b.ops[i]
	if o.Outcome == history.Failed || o.Outcome != history.Acknowledged && o.Kind == history.KindReadRegister {
		return false
	}
	if o.Kind == history.KindReadRegister && b.past(i) {
		return true
	}
	for j, other := range b.ops {
		if done&(1<<j) == 0 && other.Outcome == history.Acknowledged && other.Returned < o.Invoked {
			return false
		}
	}
	return true
}

func (b orders) take(i int, had []int64) ([]int64, bool) {
	o := b.ops[i]
	holds := func(value int64) bool { return len(had) > 0 && had[len(had)-1] == value }
	switch {
	case o.Kind == history.KindWrite:
		return append(slices.Clone(had), o.Value), true
	case o.Kind == history.KindReadRegister && b.past(i):
		return had, len(o.Seen) == 0 || slices.Contains(had, o.Seen[0])
	case o.Kind == history.KindReadRegister && len(o.Seen) == 0:
		return had, len(had) == 0
	case o.Kind == history.KindReadRegister:
		return had, holds(o.Seen[0])
	case o.Mutates():
		return append(slices.Clone(had), o.Value), holds(o.Expected)
	default:
		return had, !holds(o.Expected)
	}
}

// anyRegister makes a small history at random, right or wrong.
func anyRegister(r *rand.Rand) []history.Operation {
	var ops []history.Operation
	for i := range 2 + r.IntN(5) {
		from := 1 + r.IntN(20)
		to := from + r.IntN(8)
		seen := int64(1 + r.IntN(6))
		var o history.Operation
		switch r.IntN(6) {
		case 0, 1:
			o = wrote(int64(i+1), from, to)
		case 2:
			o = swapped(seen, int64(i+1), from, to)
		case 3:
			o = missed(seen, int64(i+1), from, to)
		case 4:
			o = got(from, to, seen)
		default:
			o = got(from, to)
		}
		switch r.IntN(8) {
		case 0:
			o = unknown(o)
		case 1:
			o = unknown(o)
			o.Outcome, o.Returned = history.Pending, 0
		case 2:
			o = unknown(o)
			o.Outcome = history.Failed
		}
		if o.Validate() == nil {
			ops = append(ops, o)
		}
	}
	return ops
}

// TestRegistersAgreeWithEveryOrder compares the search, with all that is given a place or left out before it, with brute force.
func TestRegistersAgreeWithEveryOrder(t *testing.T) {
	count := map[string]int{}
	for seed := range uint64(60000) {
		ops := anyRegister(rand.New(rand.NewPCG(seed, 2)))
		strict := history.CheckRegisters(ops, history.RegisterOptions{Current: func(history.Operation) bool { return true }})
		want := orders{ops: ops, past: func(int) bool { return false }}.exist()
		if want && !strict.Good() || strict.Undecided+strict.Malformed != 0 || !want && strict.Good() && !mayBeLenient(ops) {
			t.Fatalf("seed %d: in order = %t, but %+v\nof %v", seed, want, strict, ops)
		}
		if strict.Good() != want {
			count["lenient"]++
			continue
		}
		if want && strict.Stale != 0 {
			t.Fatalf("seed %d: in order, but %+v\nof %v", seed, strict, ops)
		}
		lax := history.CheckRegisters(ops, history.RegisterOptions{})
		if want && !lax.Good() {
			t.Fatalf("seed %d: in order, but %+v\nof %v", seed, lax, ops)
		}
		explained := orders{ops: ops, past: func(int) bool { return true }}.exist()
		if got := lax.Phantom == 0 && lax.NotLinearizable == lax.Contradictory; got != explained && (explained || !mayBeLenient(ops)) {
			t.Fatalf("seed %d: explained by stale reads = %t, but %+v\nof %v", seed, explained, lax, ops)
		}
		if explained {
			certain(t, seed, ops, lax)
		}
		switch {
		case want:
			count["in order"]++
		case explained:
			count["explained"]++
		default:
			count["impossible"]++
		}
		count["stale"] += int(lax.Stale)
		count["contradictory"] += int(lax.Contradictory)
	}
	for _, class := range []string{"in order", "explained", "impossible", "stale"} {
		if count[class] < 1000 {
			t.Errorf("the histories are too much alike: %v", count)
		}
	}
	if count["lenient"] > 10 {
		t.Errorf("the search overlooked %d histories without an order", count["lenient"])
	}
}

// mayBeLenient says that something which nobody saw may explain why a compare-and-set did not match: the search counts such
// explanations, but forgets what they were.
func mayBeLenient(ops []history.Operation) bool {
	return slices.ContainsFunc(ops, func(o history.Operation) bool {
		return o.Kind == history.KindCompareAndSet && o.Outcome == history.Acknowledged && !o.Applied
	}) && slices.ContainsFunc(ops, func(o history.Operation) bool {
		return o.Mutates() && (o.Outcome == history.Unknown || o.Outcome == history.Pending)
	})
}

// certain checks reads that are called stale: there is an order in which every read sees a past value, but none in which this
// one sees the latest.
func certain(t *testing.T, seed uint64, ops []history.Operation, v history.RegisterVerdict) {
	t.Helper()
	for i, o := range ops {
		accused := slices.ContainsFunc(v.StaleExamples, func(e string) bool { return strings.HasPrefix(e, o.String()+":") })
		if accused && (orders{ops: ops, past: func(n int) bool { return n != i }}).exist() {
			t.Fatalf("seed %d: %s is called stale, and there is an order in which it is not\nof %v", seed, o, ops)
		}
	}
}
