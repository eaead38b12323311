package history

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"time"
)

// RegisterOptions say how registers are judged.
type RegisterOptions struct {
	// Timeout bounds the search for an order of one register's operations; 0 is ten seconds. A search that takes longer is
	// undecided.
	Timeout time.Duration
	// Current says of a read that it promised the latest value, so that being stale is no excuse. Without it no read does.
	Current func(Operation) bool
}

const defaultTimeout = 10 * time.Second

// RegisterVerdict says whether registers are linearizable.
type RegisterVerdict struct {
	// Tally counts the writes and the compare-and-sets.
	Tally
	Staleness
	// Registers counts the registers.
	Registers int64 `json:"registers"`
	// Phantom counts reads of a value that nobody wrote, that was refused, or that was tried only after they had returned.
	Phantom int64 `json:"phantom"`
	// NotLinearizable counts registers for whose operations there is no order. Reads that are certainly stale, and phantom
	// ones, are left out.
	NotLinearizable int64 `json:"notLinearizable"`
	// Contradictory counts those of them that have an order without their reads: two reads contradict each other, so one of
	// them was stale, and which one cannot be told. Who reads from replicas has to expect that.
	Contradictory int64 `json:"contradictory"`
	// Undecided counts registers of which the search did not end in time.
	Undecided int64 `json:"undecided"`
	// Malformed counts operations that cannot be judged.
	Malformed int64 `json:"malformed"`
	// Examples names the first findings.
	Examples []string `json:"examples,omitempty"`
}

// Good says that every register was judged and is linearizable but for stale reads.
func (v RegisterVerdict) Good() bool {
	return v.Phantom == 0 && v.NotLinearizable == 0 && v.Undecided == 0 && v.Malformed == 0
}

// GoodForReplicas is Good for whoever reads from replicas that may lag: reads that contradict each other are stale ones then.
func (v RegisterVerdict) GoodForReplicas() bool {
	v.NotLinearizable -= v.Contradictory
	return v.Good()
}

// CheckRegisters judges writes, compare-and-sets and reads, each register by itself. Registers begin without a value.
//
// Values are unique, so a read says which write it saw. A write or compare-and-set was certainly there from the moment when
// it was acknowledged, or when a read of its value returned, or when something that stands on it was certainly there: a
// compare-and-set that expected its value. The value of A was certainly superseded from the moment when a change B was
// certainly there, if B was invoked after A was certainly there, or if B is a compare-and-set that expected A's value. A read
// that was invoked after that is stale in every order of the changes; it is measured as Staleness and left out of the search
// for an order, so that the rest is still judged. Changes are never left out.
func CheckRegisters(ops []Operation, options RegisterOptions) RegisterVerdict {
	if options.Timeout == 0 {
		options.Timeout = defaultTimeout
	}
	var v RegisterVerdict
	registers := map[string]*register{}
	for i := range ops {
		o := &ops[i]
		switch o.Kind {
		case KindWrite, KindCompareAndSet, KindReadRegister:
		default:
			continue
		}
		r := registers[o.Object]
		if r == nil {
			r = &register{verdict: &v, object: o.Object, values: map[int64]*value{}}
			registers[o.Object] = r
		}
		r.add(o)
	}
	for _, object := range slices.Sorted(maps.Keys(registers)) {
		v.Registers++
		registers[object].judge(options)
	}
	return v
}

// register is what is known of one register.
type register struct {
	verdict *RegisterVerdict
	object  string
	values  map[int64]*value
	// changes are the values in the order of the history.
	changes []*value
	reads   []*Operation
}

// value is a value of a register with the operation that would bring it.
type value struct {
	by *Operation
	// certain is when it was certainly there, or had been.
	certain time.Duration
}

func (r *register) add(o *Operation) {
	brings := o.Kind != KindReadRegister
	if why := malformed(o, brings && r.values[o.Value] != nil); why != nil {
		r.verdict.Malformed++
		note(&r.verdict.Examples, "%s: %v", o, why)
		return
	}
	if brings {
		r.verdict.count(o.Outcome)
		r.values[o.Value] = &value{by: o, certain: never}
		r.changes = append(r.changes, r.values[o.Value])
		return
	}
	if o.Outcome == Acknowledged {
		r.reads = append(r.reads, o)
	}
}

// impossible says why a value cannot have been there by then; empty if it can.
func (r *register) impossible(number int64, by time.Duration) string {
	v := r.values[number]
	switch {
	case v == nil:
		return "was never written"
	case v.by.Outcome == Failed:
		return "was refused"
	case !v.by.Mutates():
		return "belongs to a compare-and-set that did not match"
	case v.by.Invoked > by:
		return "was written only at " + v.by.Invoked.String()
	}
	return ""
}

func (r *register) judge(options RegisterOptions) {
	r.rejectPhantoms()
	r.settle()
	kept := r.measureStale(options.Current)
	for _, c := range r.changes {
		if !c.by.Applied {
			continue
		}
		if why := r.impossible(c.by.Expected, c.by.Returned); why != "" {
			r.verdict.NotLinearizable++
			note(&r.verdict.Examples, "%s: the value that it expected %s", c.by, why)
			return
		}
	}
	r.search(kept, options)
}

// rejectPhantoms drops reads that no order explains, whatever else happened.
func (r *register) rejectPhantoms() {
	var kept []*Operation
	for _, read := range r.reads {
		r.verdict.Reads++
		if len(read.Seen) > 0 {
			if why := r.impossible(read.Seen[0], read.Returned); why != "" {
				r.verdict.Phantom++
				note(&r.verdict.Examples, "%s: the value %s", read, why)
				continue
			}
		}
		kept = append(kept, read)
	}
	r.reads = kept
}

// settle finds when each value was certainly there.
func (r *register) settle() {
	for _, c := range r.changes {
		if c.by.Outcome == Acknowledged && c.by.Mutates() {
			r.certainly(c.by.Value, c.by.Returned)
		}
	}
	for _, read := range r.reads {
		if len(read.Seen) > 0 {
			r.certainly(read.Seen[0], read.Returned)
		}
	}
}

// certainly notes that a value was there by then, and so were those that a chain of compare-and-sets led to it from.
func (r *register) certainly(number int64, by time.Duration) {
	for {
		v := r.values[number]
		if v == nil {
			return
		}
		// Nothing was there before it was tried. If something says so, the search will find no order.
		by = max(by, v.by.Invoked)
		if v.certain <= by {
			return
		}
		v.certain = by
		if v.by.Kind != KindCompareAndSet {
			return
		}
		number = v.by.Expected
	}
}

// measureStale finds the reads that are stale in every order, and returns the others and those that have no excuse.
func (r *register) measureStale(current func(Operation) bool) []*Operation {
	superseded := r.superseded()
	var kept []*Operation
	for _, read := range r.reads {
		since := superseded(read.Seen)
		if since >= read.Invoked {
			kept = append(kept, read)
			continue
		}
		r.verdict.add(*read, read.Invoked-since)
		if current != nil && current(*read) {
			kept = append(kept, read)
		}
	}
	return kept
}

// superseded returns a function that says since when what a read saw was certainly not the latest any more.
func (r *register) superseded() func(seen []int64) time.Duration {
	var later []*value
	next := map[int64]time.Duration{}
	for _, c := range r.changes {
		if c.certain == never {
			continue
		}
		later = append(later, c)
		if c.by.Kind == KindCompareAndSet {
			// If there are two, the search will find no order, whichever stands here.
			next[c.by.Expected] = c.certain
		}
	}
	slices.SortFunc(later, func(a, b *value) int { return cmp.Compare(a.by.Invoked, b.by.Invoked) })
	// earliest[i] is when the first of those from i on was certainly there.
	earliest := make([]time.Duration, len(later)+1)
	earliest[len(later)] = never
	for i, c := range slices.Backward(later) {
		earliest[i] = min(c.certain, earliest[i+1])
	}
	return func(seen []int64) time.Duration {
		if len(seen) == 0 {
			return earliest[0]
		}
		certain := r.values[seen[0]].certain
		since := earliest[sort.Search(len(later), func(i int) bool { return later[i].by.Invoked > certain })]
		if by, expected := next[seen[0]]; expected {
			since = min(since, by)
		}
		return since
	}
}
