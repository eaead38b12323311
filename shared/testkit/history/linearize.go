package history

import (
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// step is what an operation did to a register, as the search for an order takes it.
type step struct {
	by *Operation
	// spoilers is how many changes of unknown outcome, whose value nobody saw, can have overwritten the value that a
	// compare-and-set expected before it did not match.
	spoilers int
}

// state is what a register holds.
type state struct {
	value int64
	// set is false as long as there is no value.
	set bool
	// spoilt says that a value is there which nobody saw, and spent how often that was assumed.
	spoilt bool
	spent  int
}

func (s state) holds(value int64) bool { return s.set && !s.spoilt && s.value == value }

// next is the state after a step, and whether the step is possible.
func (s state) next(t step) (state, bool) {
	switch o := t.by; {
	case o.Kind == KindReadRegister:
		if len(o.Seen) == 0 {
			return s, !s.set
		}
		return s, s.holds(o.Seen[0])
	case o.Kind == KindWrite:
		return state{value: o.Value, set: true, spent: s.spent}, true
	case o.Mutates():
		return state{value: o.Value, set: true, spent: s.spent}, s.holds(o.Expected)
	case !s.holds(o.Expected):
		return s, true
	default:
		return state{set: true, spoilt: true, spent: s.spent + 1}, s.spent < t.spoilers
	}
}

// search looks for an order of the register's changes and reads.
//
// A change that was not acknowledged is given its place by what was seen. If its value was seen, it took effect, and before
// it was certainly there: it takes part like an acknowledged one that returned at that moment. If nobody saw it, it is left
// out: whatever order there is with it, there is one without it, in which it comes last or never. Only a compare-and-set that
// did not match may need it, because something must have replaced the value that it expected; so it is told how many such
// changes there were. That keeps the search small, where operations that never return would double it each. It is lenient in
// one way: it does not ask which of those changes explains which compare-and-set.
func (r *register) search(reads []*Operation, options RegisterOptions) {
	changes := r.searched()
	var all []porcupine.Operation
	for _, read := range reads {
		all = append(all, entry(step{by: read}, read.Returned))
	}
	all = append(all, changes...)
	switch linearizable(all, options.Timeout) {
	case porcupine.Ok:
		return
	case porcupine.Unknown:
		r.verdict.Undecided++
		note(&r.verdict.Examples, "%s: undecided, since %d operations have no order that was found within %s", r.object, len(all), options.Timeout)
		return
	case porcupine.Illegal:
	}
	r.verdict.NotLinearizable++
	for _, read := range reads {
		if options.Current != nil && options.Current(*read) {
			changes = append(changes, entry(step{by: read}, read.Returned))
		}
	}
	why := "there is no order of its operations"
	if len(changes) < len(all) && linearizable(changes, options.Timeout) == porcupine.Ok {
		r.verdict.Contradictory++
		why = "its reads contradict each other"
	}
	placed, stuck := longestOrder(all, options.Timeout)
	note(&r.verdict.Examples, "%s: %s; %d of %d can be placed, but not %s", r.object, why, placed, len(all), stuck)
}

// searched returns the changes that take part in the search.
func (r *register) searched() []porcupine.Operation {
	var entries []porcupine.Operation
	var unseen []*Operation
	for _, c := range r.changes {
		switch {
		case c.by.Outcome == Failed || !c.by.Mutates():
		case c.certain == never:
			unseen = append(unseen, c.by)
		default:
			entries = append(entries, entry(step{by: c.by}, c.certain))
		}
	}
	for _, c := range r.changes {
		if c.by.Outcome != Acknowledged || c.by.Mutates() {
			continue
		}
		t := step{by: c.by}
		for _, o := range unseen {
			if o.Invoked <= c.by.Returned && (o.Kind == KindWrite || o.Expected == c.by.Expected) {
				t.spoilers++
			}
		}
		entries = append(entries, entry(t, c.by.Returned))
	}
	return entries
}

func entry(t step, until time.Duration) porcupine.Operation {
	return porcupine.Operation{Input: t, Call: int64(t.by.Invoked), Return: int64(until)}
}

func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, input, _ any) (bool, any) {
			next, possible := s.(state).next(input.(step))
			return possible, next
		},
	}
}

func linearizable(entries []porcupine.Operation, timeout time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(model(), entries, timeout)
}

// longestOrder searches once more and returns how many operations could be placed, and the first that returned of the others.
func longestOrder(entries []porcupine.Operation, timeout time.Duration) (int, *Operation) {
	_, info := porcupine.CheckOperationsVerbose(model(), entries, timeout)
	var longest []int
	for _, orders := range info.PartialLinearizations() {
		for _, order := range orders {
			// Porcupine gives them in no order; the same history must give the same words.
			if len(order) > len(longest) || len(order) == len(longest) && slices.Compare(order, longest) < 0 {
				longest = order
			}
		}
	}
	placed := make([]bool, len(entries))
	for _, i := range longest {
		placed[i] = true
	}
	var stuck *porcupine.Operation
	for i := range entries {
		if !placed[i] && (stuck == nil || entries[i].Return < stuck.Return) {
			stuck = &entries[i]
		}
	}
	return len(longest), stuck.Input.(step).by
}
