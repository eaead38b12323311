package history

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"
)

// Epoch says which server alone may acknowledge from its commit on, until a later epoch is committed.
type Epoch struct {
	// Number grows with each commit. Epochs that follow each other may name the same server.
	Number int64  `json:"number"`
	Server string `json:"server"`
	// From is a time that is not after the commit: the last look that did not show the epoch yet. A later time, like that of
	// the first look that did, accuses a server that acknowledged between commit and look.
	From time.Duration `json:"from"`
}

// WriterVerdict is the comparison of who acknowledged with who was allowed to.
type WriterVerdict struct {
	// Acknowledged counts the acknowledged changes, and Epochs the epochs.
	Acknowledged int64 `json:"acknowledged"`
	Epochs       int64 `json:"epochs"`
	// Dual counts changes that were acknowledged by a server whose epochs had all been superseded by another's
	// acknowledgement before they were invoked.
	Dual int64 `json:"dual"`
	// Unelected counts changes that were acknowledged by a server before any epoch of it was committed.
	Unelected int64 `json:"unelected"`
	// Conflicting counts epochs that were committed for two servers.
	Conflicting int64 `json:"conflicting"`
	// Undecided counts acknowledged changes of which nobody knows the server.
	Undecided int64 `json:"undecided"`
	// Malformed counts operations that cannot be judged.
	Malformed int64 `json:"malformed"`
	// Examples names the first findings.
	Examples []string `json:"examples,omitempty"`
}

// Good says that every acknowledged change fits an epoch.
func (v WriterVerdict) Good() bool {
	return v.Dual == 0 && v.Unelected == 0 && v.Conflicting == 0 && v.Undecided == 0 && v.Malformed == 0
}

// CheckOneWriter judges that at most one server acknowledges in an epoch. Each acknowledged change must be attributable to an
// epoch of the server that answered, so that
//
//	(1) the epoch was committed before the answer: its From is not after the operation's Returned, and
//	(2) epochs do not go back: if A returned before B was invoked, B's epoch is not lower than A's.
//
// It is no violation that a server acknowledges after the commit of a later epoch, as long as nobody has acknowledged in that
// epoch: a commit comes first, and what makes it true comes after.
//
// The operations are taken in the order of their invocation, and each gets the lowest epoch that (2) leaves to it. Whatever
// must be lower returned before it was invoked, so it was invoked earlier and has its epoch already. This is complete: by
// induction no attribution that keeps (2) gives any operation a lower epoch than this one; and since (1) only bounds epochs
// from above, a lower one never breaks it. So if any attribution is right, this one is. It is sound for the same reason: an
// operation that gets none has none in any attribution of those before it. Such an operation is counted, named and left out,
// so that one wrong acknowledgement does not accuse all that come after.
func CheckOneWriter(ops []Operation, epochs []Epoch) WriterVerdict {
	v := WriterVerdict{}
	line := newTimeline(epochs, &v)
	var changes []*Operation
	for i := range ops {
		if o := &ops[i]; v.judges(o) {
			changes = append(changes, o)
		}
	}
	slices.SortStableFunc(changes, func(a, b *Operation) int { return cmp.Compare(a.Invoked, b.Invoked) })
	returned := make([]int, len(changes))
	for i := range returned {
		returned[i] = i
	}
	slices.SortStableFunc(returned, func(a, b int) int { return cmp.Compare(changes[a].Returned, changes[b].Returned) })

	given := make([]int, len(changes))
	// floor is the index of the highest epoch that is forced by what returned, and forcing the change that forces it.
	floor, forcing := 0, -1
	for i, o := range changes {
		for ; len(returned) > 0 && changes[returned[0]].Returned < o.Invoked; returned = returned[1:] {
			if done := returned[0]; given[done] > floor {
				floor, forcing = given[done], done
			}
		}
		index, found := line.lowest(o.Server, floor, o.Returned)
		if found {
			given[i] = index
			continue
		}
		given[i] = -1
		if _, ever := line.lowest(o.Server, 0, o.Returned); ever {
			v.Dual++
			note(&v.Examples, "dual writer: %s, after %s, which needs epoch %s", o, changes[forcing], line.epochs[floor])
		} else {
			v.Unelected++
			note(&v.Examples, "no epoch of %s was committed by then: %s", o.Server, o)
		}
	}
	return v
}

// judges counts an operation, and says whether it is an acknowledged change that can be judged.
func (v *WriterVerdict) judges(o *Operation) bool {
	if o.Outcome != Acknowledged || !o.Mutates() {
		return false
	}
	v.Acknowledged++
	if err := o.Validate(); err != nil {
		v.Malformed++
		note(&v.Examples, "%s: %v", o, err)
		return false
	}
	if o.Server == "" {
		v.Undecided++
		note(&v.Examples, "%s: undecided, since nobody knows who answered", o)
		return false
	}
	return true
}

// String names the epoch in examples.
func (e Epoch) String() string { return fmt.Sprintf("%d of %s", e.Number, e.Server) }

// timeline is the epochs in the order of their commits.
type timeline struct {
	epochs []Epoch
	// of holds the indices of each server's epochs.
	of map[string][]int
}

// newTimeline puts epochs in order. Where two observers saw the same one, the later bound is the better one; and what bounds
// an epoch bounds all that come after it.
func newTimeline(epochs []Epoch, v *WriterVerdict) timeline {
	line := timeline{of: map[string][]int{}}
	ordered := slices.Clone(epochs)
	slices.SortStableFunc(ordered, func(a, b Epoch) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Server, b.Server))
	})
	var from time.Duration
	for _, e := range ordered {
		from = max(from, e.From)
		e.From = from
		if last := len(line.epochs) - 1; last >= 0 && line.epochs[last].Number == e.Number {
			was := &line.epochs[last]
			if was.Server == e.Server {
				was.From = e.From
				continue
			}
			v.Conflicting++
			note(&v.Examples, "epoch %d was committed for %s and for %s", e.Number, was.Server, e.Server)
		} else {
			v.Epochs++
		}
		line.of[e.Server] = append(line.of[e.Server], len(line.epochs))
		line.epochs = append(line.epochs, e)
	}
	return line
}

// lowest finds the first epoch from the floor on that is the server's and was committed by then.
func (l timeline) lowest(server string, floor int, by time.Duration) (int, bool) {
	own := l.of[server]
	next := sort.SearchInts(own, floor)
	if next == len(own) || l.epochs[own[next]].From > by {
		return 0, false
	}
	return own[next], true
}
