package history_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// store is a correct store with several clients, simulated: each operation takes effect at one moment, and what a client is
// told of it may be late, or nothing. One server answers in each epoch.
type store struct {
	*rand.Rand
	now    time.Duration
	events []event
	// lag is how far behind a read may be; 0 for none.
	lag time.Duration

	ops     []*history.Operation
	epochs  []history.Epoch
	set     []int64
	states  map[string][]past
	known   map[string]int64
	values  int64
	objects int
}

// event is something that happens.
type event struct {
	at time.Duration
	do func()
}

// past is what an object held from a moment on.
type past struct {
	from time.Duration
	held []int64
}

func (s *store) after(d time.Duration, do func()) {
	s.events = append(s.events, event{at: s.now + d, do: do})
}

// between is a duration from 1 ns to the bound.
func (s *store) between(bound time.Duration) time.Duration {
	return 1 + time.Duration(s.Int64N(int64(bound)))
}

// simulate runs clients on a store. Server "first" has the first epoch and none after it.
func simulate(seed uint64, clients, operations int, lag time.Duration) *store {
	s := &store{Rand: rand.New(rand.NewPCG(seed, 3)), lag: lag, objects: 2, states: map[string][]past{}, known: map[string]int64{}}
	s.now = time.Second
	s.elect("first")
	for c := range clients {
		s.after(s.between(time.Millisecond), func() { s.client(fmt.Sprint("client-", c), operations/clients) })
	}
	for range 1 + s.IntN(4) {
		s.after(s.between(time.Duration(operations/clients)*2*time.Millisecond), func() { s.elect(string(rune('a' + s.IntN(3)))) })
	}
	for len(s.events) > 0 {
		next := 0
		for i := range s.events {
			if s.events[i].at < s.events[next].at {
				next = i
			}
		}
		e := s.events[next]
		s.events = slices.Delete(s.events, next, next+1)
		s.now = e.at
		e.do()
	}
	return s
}

// elect commits an epoch. Its bound is when somebody looked before.
func (s *store) elect(server string) {
	s.epochs = append(s.epochs, history.Epoch{Number: int64(len(s.epochs) + 1), Server: server, From: s.now - s.between(20*time.Millisecond)})
}

// client tries one operation after the other.
func (s *store) client(name string, left int) {
	if left == 0 {
		return
	}
	o := &history.Operation{Client: name, Invoked: s.now}
	s.ops = append(s.ops, o)
	s.choose(o)
	done := s.between(4 * time.Millisecond)
	effect := s.between(done)
	next := func() {
		s.after(s.between(2*time.Millisecond), func() { s.client(name, left-1) })
	}
	switch s.IntN(12) {
	case 0:
		s.after(done, func() { o.Outcome, o.Returned = history.Failed, s.now; next() })
	case 1:
		// The connection was lost: it takes effect before, afterwards or never.
		if s.IntN(3) > 0 {
			s.after(s.between(20*time.Millisecond), func() { s.apply(o); o.Seen, o.Applied, o.Server = nil, false, "" })
		}
		s.after(done, func() { o.Outcome, o.Returned = history.Unknown, s.now; next() })
	case 2:
		// The client died, and another one takes its name.
		if s.IntN(2) > 0 {
			s.after(s.between(20*time.Millisecond), func() { s.apply(o); o.Seen, o.Applied, o.Server = nil, false, "" })
		}
		s.after(done, next)
	default:
		s.after(effect, func() { s.apply(o) })
		s.after(done, func() {
			o.Outcome, o.Returned = history.Acknowledged, s.now
			if o.Kind == history.KindReadRegister && len(o.Seen) > 0 {
				s.known[o.Object] = o.Seen[0]
			}
			next()
		})
	}
}

func (s *store) choose(o *history.Operation) {
	o.Kind = []history.Kind{history.KindInsert, history.KindAppend, history.KindReadList, history.KindWrite,
		history.KindCompareAndSet, history.KindReadRegister, history.KindReadRegister}[s.IntN(7)]
	o.Object = fmt.Sprint("object-", s.IntN(s.objects))
	switch o.Kind {
	case history.KindReadList, history.KindReadRegister:
		return
	case history.KindInsert:
		o.Object = "set"
	case history.KindCompareAndSet:
		o.Expected = s.known[o.Object]
	default:
	}
	s.values++
	o.Value = s.values
}

// apply lets an operation take effect.
func (s *store) apply(o *history.Operation) {
	o.Server = s.epochs[len(s.epochs)-1].Server
	list, register := "list "+o.Object, "register "+o.Object
	switch o.Kind {
	case history.KindInsert:
		s.set = append(s.set, o.Value)
	case history.KindAppend:
		s.hold(list, append(slices.Clone(s.held(list, s.now)), o.Value))
	case history.KindWrite:
		s.hold(register, []int64{o.Value})
	case history.KindCompareAndSet:
		if slices.Equal(s.held(register, s.now), []int64{o.Expected}) {
			o.Applied = true
			s.hold(register, []int64{o.Value})
		}
	case history.KindReadList:
		o.Seen = s.held(list, s.behind())
	case history.KindReadRegister:
		o.Seen = s.held(register, s.behind())
	}
}

// behind is the moment that a read sees.
func (s *store) behind() time.Duration {
	if s.lag == 0 || s.IntN(3) > 0 {
		return s.now
	}
	return s.now - s.between(s.lag)
}

func (s *store) hold(name string, held []int64) {
	s.states[name] = append(s.states[name], past{from: s.now, held: held})
}

func (s *store) held(name string, at time.Duration) []int64 {
	for _, p := range slices.Backward(s.states[name]) {
		if p.from <= at {
			return p.held
		}
	}
	return nil
}

// told is what the checkers are given.
type told struct {
	ops    []history.Operation
	set    []int64
	finals map[string][]int64
	epochs []history.Epoch
}

func (s *store) told() told {
	s.now += time.Second
	out := told{set: s.set, finals: map[string][]int64{}, epochs: s.epochs}
	for _, o := range s.ops {
		out.ops = append(out.ops, *o)
	}
	for n := range s.objects {
		object := fmt.Sprint("object-", n)
		out.finals[object] = slices.Clone(s.held("list "+object, s.now))
	}
	return out
}

// clone is a copy to plant a violation into.
func (d told) clone() told {
	d.ops, d.set, d.finals = slices.Clone(d.ops), slices.Clone(d.set), maps.Clone(d.finals)
	for object, final := range d.finals {
		d.finals[object] = slices.Clone(final)
	}
	return d
}

type verdicts struct {
	set       history.Verdict
	lists     history.ListVerdict
	registers history.RegisterVerdict
	writer    history.WriterVerdict
}

func (d told) judge() verdicts {
	set := history.JudgeSet(d.ops, "set")
	for _, value := range d.set {
		set.Found(value, true)
	}
	return verdicts{set: set.Verdict(), lists: history.CheckLists(d.ops, d.finals),
		registers: history.CheckRegisters(d.ops, history.RegisterOptions{}), writer: history.CheckOneWriter(d.ops, d.epochs)}
}

// acknowledged returns where acknowledged operations of a kind are, in the order of their invocation.
func (d told) acknowledged(kinds ...history.Kind) []int {
	var found []int
	for i, o := range d.ops {
		if o.Outcome == history.Acknowledged && slices.Contains(kinds, o.Kind) {
			found = append(found, i)
		}
	}
	slices.SortFunc(found, func(a, b int) int { return cmp.Compare(d.ops[a].Invoked, d.ops[b].Invoked) })
	return found
}

const seeds = 300

func TestNothingIsFoundInACorrectStore(t *testing.T) {
	var all history.Tally
	for seed := range uint64(seeds) {
		v := simulate(seed, 2+int(seed%8), 300, 0).told().judge()
		if !v.set.Good() || !v.lists.Good() || !v.registers.Good() || !v.writer.Good() || v.lists.Stale+v.registers.Stale > 0 {
			t.Fatalf("seed %d: %+v", seed, v)
		}
		all.Acknowledged += v.set.Acknowledged + v.registers.Acknowledged
		all.Unknown += v.set.UnknownFound + v.lists.UnknownFound
	}
	if all.Acknowledged < 10*seeds || all.Unknown < seeds {
		t.Errorf("too little happened: %+v", all)
	}
}

func TestReplicasThatLagAreStaleAndNothingElse(t *testing.T) {
	const lag = 30 * time.Millisecond
	var lists, registers, contradictory int64
	for seed := range uint64(seeds) {
		v := simulate(seed, 2+int(seed%8), 300, lag).told().judge()
		contradictory += v.registers.Contradictory
		if !v.lists.Good() || !v.registers.GoodForReplicas() {
			t.Fatalf("seed %d: %+v", seed, v)
		}
		window := history.StaleWindow(v.lists.Staleness, v.registers.Staleness)
		if window.Widest > lag {
			t.Fatalf("seed %d: a read is stale by %s, and nobody lags more than %s: %s", seed, window.Widest, lag, window.Worst)
		}
		lists, registers = lists+v.lists.Stale, registers+v.registers.Stale
	}
	if lists < seeds || registers < seeds || contradictory == 0 {
		t.Errorf("%d stale reads of lists, %d of registers, %d contradictions; more were to be expected", lists, registers, contradictory)
	}
}

// TestEveryMutationIsFound plants one violation into what a correct store told, at a place that the seed chooses.
func TestEveryMutationIsFound(t *testing.T) {
	var right []told
	for seed := range uint64(seeds) {
		right = append(right, simulate(seed, 2+int(seed%8), 300, 0).told())
	}
	for name, tc := range map[string]struct {
		// plant returns false if the history has no place for it.
		plant func(r *rand.Rand, d *told) bool
		found func(v verdicts) bool
	}{
		"an acknowledged element of the set is dropped": {
			plant: func(r *rand.Rand, d *told) bool {
				gone := d.ops[pick(r, d.acknowledged(history.KindInsert))].Value
				d.set = slices.DeleteFunc(d.set, func(value int64) bool { return value == gone })
				return true
			},
			found: func(v verdicts) bool { return v.set.Lost == 1 && v.set.Phantom == 0 }},
		"an element of the set is doubled": {
			plant: func(r *rand.Rand, d *told) bool { d.set = append(d.set, pick(r, d.set)); return true },
			found: func(v verdicts) bool { return v.set.Phantom == 1 && v.set.Lost == 0 }},
		"an element of the set is invented": {
			plant: func(r *rand.Rand, d *told) bool { d.set = append(d.set, -1-r.Int64N(9)); return true },
			found: func(v verdicts) bool { return v.set.Phantom == 1 && v.set.Lost == 0 }},
		"an acknowledged element of a list is dropped": {
			plant: func(r *rand.Rand, d *told) bool {
				gone := d.ops[pick(r, d.acknowledged(history.KindAppend))]
				d.finals[gone.Object] = slices.DeleteFunc(d.finals[gone.Object], func(value int64) bool { return value == gone.Value })
				return true
			},
			found: func(v verdicts) bool { return v.lists.Lost == 1 }},
		"two elements of a list are swapped": {
			plant: func(r *rand.Rand, d *told) bool {
				a := d.ops[pick(r, d.acknowledged(history.KindAppend))]
				for _, i := range d.acknowledged(history.KindAppend) {
					if b := d.ops[i]; b.Object == a.Object && a.Returned < b.Invoked {
						final := d.finals[a.Object]
						first, second := slices.Index(final, a.Value), slices.Index(final, b.Value)
						final[first], final[second] = final[second], final[first]
						return true
					}
				}
				return false
			},
			found: func(v verdicts) bool { return v.lists.Disordered > 0 && v.lists.Lost == 0 }},
		"an element of a list is doubled": {
			plant: func(r *rand.Rand, d *told) bool {
				o := d.ops[pick(r, d.acknowledged(history.KindAppend))]
				final := d.finals[o.Object]
				d.finals[o.Object] = slices.Insert(final, r.IntN(len(final)+1), o.Value)
				return true
			},
			found: func(v verdicts) bool { return v.lists.Duplicate == 1 }},
		"an element of a list is invented": {
			plant: func(r *rand.Rand, d *told) bool {
				object := pick(r, slices.Sorted(maps.Keys(d.finals)))
				d.finals[object] = slices.Insert(d.finals[object], r.IntN(len(d.finals[object])+1), -1)
				return true
			},
			found: func(v verdicts) bool { return v.lists.Phantom == 1 }},
		"a read of a list saw a suffix that was lost": {
			plant: func(r *rand.Rand, d *told) bool {
				read := &d.ops[pick(r, d.acknowledged(history.KindReadList))]
				read.Seen = append(slices.Clone(read.Seen), 1<<40)
				d.ops = append(d.ops, history.Operation{Client: "late", Kind: history.KindAppend, Object: read.Object, Value: 1 << 40,
					Invoked: read.Invoked, Outcome: history.Unknown})
				return true
			},
			found: func(v verdicts) bool { return v.lists.Diverged == 1 }},
		"a read of a register saw what nobody wrote": {
			plant: func(r *rand.Rand, d *told) bool {
				d.ops[pick(r, d.acknowledged(history.KindReadRegister))].Seen = []int64{-1}
				return true
			},
			found: func(v verdicts) bool { return v.registers.Phantom == 1 }},
		"a compare-and-set matched what had been replaced": {
			plant: func(r *rand.Rand, d *told) bool {
				writes := d.acknowledged(history.KindWrite)
				a := d.ops[pick(r, writes)]
				for _, i := range writes {
					if b := d.ops[i]; b.Object == a.Object && a.Returned < b.Invoked {
						d.ops = append(d.ops, history.Operation{Client: "late", Kind: history.KindCompareAndSet, Object: a.Object, Value: 1 << 40,
							Expected: a.Value, Applied: true, Invoked: b.Returned + 1, Returned: b.Returned + time.Millisecond,
							Outcome: history.Acknowledged, Server: b.Server})
						return true
					}
				}
				return false
			},
			found: func(v verdicts) bool { return v.registers.NotLinearizable == 1 && v.registers.Contradictory == 0 }},
		"two servers acknowledge in one epoch": {
			plant: func(r *rand.Rand, d *told) bool {
				changes := d.acknowledged(history.KindInsert, history.KindAppend, history.KindWrite)
				slices.SortFunc(changes, func(a, b int) int { return cmp.Compare(d.ops[a].Returned, d.ops[b].Returned) })
				other := slices.IndexFunc(changes, func(i int) bool { return d.ops[i].Server != "first" })
				if other < 0 {
					return false
				}
				after := slices.DeleteFunc(changes, func(i int) bool { return d.ops[i].Invoked <= d.ops[changes[other]].Returned })
				if len(after) == 0 {
					return false
				}
				d.ops[pick(r, after)].Server = "first"
				return true
			},
			found: func(v verdicts) bool { return v.writer.Dual == 1 }},
		"a server acknowledges that never had an epoch": {
			plant: func(r *rand.Rand, d *told) bool {
				d.ops[pick(r, d.acknowledged(history.KindInsert))].Server = "z"
				return true
			},
			found: func(v verdicts) bool { return v.writer.Unelected == 1 && v.writer.Dual == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			planted := 0
			for seed, d := range right {
				d = d.clone()
				if !tc.plant(rand.New(rand.NewPCG(uint64(seed), 4)), &d) {
					continue
				}
				planted++
				if v := d.judge(); !tc.found(v) {
					t.Fatalf("seed %d: not found: %+v", seed, v)
				}
			}
			if planted < seeds*9/10 {
				t.Errorf("only %d of %d histories had a place for it", planted, seeds)
			}
		})
	}
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }
