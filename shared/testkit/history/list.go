package history

import (
	"maps"
	"math"
	"slices"
	"time"
)

// never is later than everything that happened.
const never = time.Duration(math.MaxInt64)

// ListVerdict is the comparison of what was appended to lists and read from them with what is in them at the end.
type ListVerdict struct {
	// Tally counts the appends.
	Tally
	Staleness
	// Lists counts the lists, and Found their elements at the end.
	Lists int64 `json:"lists"`
	Found int64 `json:"found"`
	// Lost counts acknowledged appends that are not in the final list.
	Lost int64 `json:"lost"`
	// Phantom counts elements of final lists that were never appended, or refused, and reads that saw such an element, or
	// one that was appended only after they had returned.
	Phantom int64 `json:"phantom"`
	// Duplicate counts elements of final lists that are there once more.
	Duplicate int64 `json:"duplicate"`
	// Disordered counts elements of final lists that stand before one which was acknowledged before they were appended.
	Disordered int64 `json:"disordered"`
	// Diverged counts reads that are no prefix of the final list: they saw what was lost later, or another order.
	Diverged int64 `json:"diverged"`
	// UnknownFound counts the elements of unknown outcome that are there; both are right.
	UnknownFound int64 `json:"unknownFound"`
	// Undecided counts lists with operations whose final state was not given.
	Undecided int64 `json:"undecided"`
	// Malformed counts operations that cannot be judged.
	Malformed int64 `json:"malformed"`
	// Examples names the first findings.
	Examples []string `json:"examples,omitempty"`
}

// Good says that every list was judged and that nothing but stale reads was found.
func (v ListVerdict) Good() bool {
	return v.Lost == 0 && v.Phantom == 0 && v.Duplicate == 0 && v.Disordered == 0 && v.Diverged == 0 &&
		v.Undecided == 0 && v.Malformed == 0
}

// CheckLists judges appends and reads of lists. The final lists are those that were read at the end, by name, from whoever
// counts then; an empty list is there without elements, while one that is missing was not read and is undecided.
//
// A read is stale if it misses an element that was certainly there before it was invoked; see Staleness.
func CheckLists(ops []Operation, finals map[string][]int64) ListVerdict {
	var v ListVerdict
	lists := map[string]*list{}
	at := func(object string) *list {
		if lists[object] == nil {
			lists[object] = &list{verdict: &v, object: object, appends: map[int64]*Operation{}}
		}
		return lists[object]
	}
	for i := range ops {
		switch o := &ops[i]; o.Kind {
		case KindAppend:
			at(o.Object).addAppend(o)
		case KindReadList:
			at(o.Object).addRead(o)
		default:
		}
	}
	for object := range finals {
		at(object)
	}
	for _, object := range slices.Sorted(maps.Keys(lists)) {
		v.Lists++
		final, read := finals[object]
		if !read {
			v.Undecided++
			note(&v.Examples, "%s: undecided, since it was not read at the end", object)
			continue
		}
		lists[object].judge(final)
	}
	return v
}

// list is what is known of one list.
type list struct {
	verdict *ListVerdict
	object  string
	tried   []*Operation
	// appends finds an append by its value.
	appends map[int64]*Operation
	reads   []*Operation
}

func (l *list) addAppend(o *Operation) {
	if l.rejects(o, l.appends[o.Value] != nil) {
		return
	}
	l.verdict.count(o.Outcome)
	l.appends[o.Value] = o
	l.tried = append(l.tried, o)
}

func (l *list) addRead(o *Operation) {
	if !l.rejects(o, false) && o.Outcome == Acknowledged {
		l.reads = append(l.reads, o)
	}
}

func (l *list) rejects(o *Operation, taken bool) bool {
	why := malformed(o, taken)
	if why != nil {
		l.verdict.Malformed++
		note(&l.verdict.Examples, "%s: %v", o, why)
	}
	return why != nil
}

// find returns the append that brought a value and could have taken effect; without one it says why the value cannot be there.
func (l *list) find(value int64) (*Operation, string) {
	o := l.appends[value]
	switch {
	case o == nil:
		return nil, "was never appended"
	case o.Outcome == Failed:
		return nil, "was refused"
	}
	return o, ""
}

func (l *list) judge(final []int64) {
	elements := l.judgeElements(final)
	l.judgeOrder(elements)
	l.judgeReads(final, elements)
}

// judgeElements compares the final list with the appends. It returns the append of each element; one that is there without
// one, or for the second time, has none.
func (l *list) judgeElements(final []int64) []*Operation {
	v := l.verdict
	v.Found += int64(len(final))
	elements := make([]*Operation, len(final))
	there := make(map[int64]bool, len(final))
	for i, value := range final {
		if there[value] {
			v.Duplicate++
			note(&v.Examples, "element %d of %s: there twice, again at %d", value, l.object, i)
			continue
		}
		there[value] = true
		o, why := l.find(value)
		if why != "" {
			v.Phantom++
			note(&v.Examples, "element %d of %s: there although it %s", value, l.object, why)
			continue
		}
		elements[i] = o
		if o.Outcome != Acknowledged {
			v.UnknownFound++
		}
	}
	for _, o := range l.tried {
		if o.Outcome == Acknowledged && !there[o.Value] {
			v.Lost++
			note(&v.Examples, "%s: acknowledged and not there", o)
		}
	}
	return elements
}

// judgeOrder goes through the final list from its end with the earliest acknowledgement of what stands behind.
func (l *list) judgeOrder(elements []*Operation) {
	first := &Operation{Returned: never}
	for _, o := range slices.Backward(elements) {
		if o == nil {
			continue
		}
		if first.Returned < o.Invoked {
			l.verdict.Disordered++
			note(&l.verdict.Examples, "%s: stands before %d, which was acknowledged earlier, at %s", o, first.Value, first.Returned)
		}
		if o.Outcome == Acknowledged && o.Returned < first.Returned {
			first = o
		}
	}
}

// judgeReads finds reads that cannot be, and measures the others.
func (l *list) judgeReads(final []int64, elements []*Operation) {
	v := l.verdict
	// newest[n] is when the newest of the first n elements was invoked.
	newest := make([]time.Duration, len(elements)+1)
	// certain[n] is when the element at n was certainly there; at first by its acknowledgement alone.
	certain := make([]time.Duration, len(elements)+1)
	for i, o := range elements {
		newest[i+1], certain[i] = newest[i], never
		if o == nil {
			continue
		}
		newest[i+1] = max(newest[i], o.Invoked)
		if o.Outcome == Acknowledged {
			certain[i] = o.Returned
		}
	}
	certain[len(elements)] = never
	var prefixes []*Operation
	for _, r := range l.reads {
		v.Reads++
		n := len(r.Seen)
		if n > len(final) || !slices.Equal(r.Seen, final[:n]) {
			l.diverges(r, final)
			continue
		}
		if r.Returned < newest[n] {
			v.Phantom++
			note(&v.Examples, "%s: it saw what was appended only at %s", r, newest[n])
			continue
		}
		prefixes = append(prefixes, r)
		if n > 0 {
			certain[n-1] = min(certain[n-1], r.Returned)
		}
	}
	// An element that was seen proves all those before it, and a read that misses one misses all those behind it. So the
	// moment by which a list of more than n elements was certainly there is the earliest of all from n on.
	for i := len(elements) - 1; i >= 0; i-- {
		certain[i] = min(certain[i], certain[i+1])
	}
	for _, r := range prefixes {
		if since := certain[len(r.Seen)]; since < r.Invoked {
			v.add(*r, r.Invoked-since)
		}
	}
}

// diverges says why a read is no prefix of the final list.
func (l *list) diverges(r *Operation, final []int64) {
	v := l.verdict
	seen := make(map[int64]bool, len(r.Seen))
	for _, value := range r.Seen {
		if _, why := l.find(value); why != "" {
			v.Phantom++
			note(&v.Examples, "%s: element %d %s", r, value, why)
			return
		}
		if seen[value] {
			v.Diverged++
			note(&v.Examples, "%s: it saw %d twice", r, value)
			return
		}
		seen[value] = true
	}
	v.Diverged++
	for i, value := range r.Seen {
		if i < len(final) && value == final[i] {
			continue
		}
		if i == len(final) || !slices.Contains(final, value) {
			note(&v.Examples, "%s: it saw %d at %d, which is not in the final list", r, value, i)
		} else {
			note(&v.Examples, "%s: it saw %d at %d, where the final list has %d", r, value, i, final[i])
		}
		return
	}
}
