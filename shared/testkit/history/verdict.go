package history

import "fmt"

// exampleCount bounds how many examples a verdict names.
const exampleCount = 20

// note words one of the first findings of a verdict.
func note(examples *[]string, format string, args ...any) {
	if len(*examples) < exampleCount {
		*examples = append(*examples, fmt.Sprintf(format, args...))
	}
}

// thing names what may be there: an element of a set, or a writer's row. It is worded only if something is wrong with it.
type thing struct {
	object string
	writer int
	number int64
}

// String is the thing's name in examples.
func (t thing) String() string {
	if t.object != "" {
		return fmt.Sprintf("element %d of %s", t.number, t.object)
	}
	return fmt.Sprintf("row %d of writer %d", t.number, t.writer)
}

// Verdict is the comparison of what clients were told with what is there: rows in a table, or elements of a set.
type Verdict struct {
	Tally
	// Found counts what is there.
	Found int64 `json:"found"`
	// Lost counts what was acknowledged and is not there, or not as it was written.
	Lost int64 `json:"lost"`
	// Phantom counts what is there although never attempted, or although refused, or twice, or not as it was written while
	// its outcome was unknown.
	Phantom int64 `json:"phantom"`
	// UnknownFound counts what is of unknown outcome and there; both are right.
	UnknownFound int64 `json:"unknownFound"`
	// Malformed counts operations that cannot be judged.
	Malformed int64 `json:"malformed,omitempty"`
	// Examples names the first that are wrong.
	Examples []string `json:"examples,omitempty"`
}

// Good says that nothing acknowledged is missing and nothing is there that should not be.
func (v Verdict) Good() bool { return v.Lost == 0 && v.Phantom == 0 && v.Malformed == 0 }

// attempt is what is known of one thing that may be there.
type attempt struct {
	outcome Outcome
	found   bool
}

// meet judges a thing that is there. Nobody attempted it if the attempt is nil.
func (v *Verdict) meet(a *attempt, intact bool, name thing) {
	v.Found++
	switch {
	case a == nil:
		v.phantom(name, "never attempted")
		return
	case a.found:
		v.phantom(name, "there twice")
		return
	}
	a.found = true
	switch {
	case a.outcome == Failed:
		v.phantom(name, "there although refused")
	case a.outcome == Acknowledged && !intact:
		v.lost(name, "there with other content")
	case a.outcome != Acknowledged && !intact:
		v.phantom(name, "there with other content")
	case a.outcome != Acknowledged:
		v.UnknownFound++
	}
}

// miss judges an attempt when everything that is there was met.
func (v *Verdict) miss(a attempt, name thing) {
	if a.outcome == Acknowledged && !a.found {
		v.lost(name, "acknowledged and not there")
	}
}

func (v *Verdict) lost(name thing, why string) {
	v.Lost++
	note(&v.Examples, "%s: %s", name, why)
}

func (v *Verdict) phantom(name thing, why string) {
	v.Phantom++
	note(&v.Examples, "%s: %s", name, why)
}

// Judge compares rows one by one with a recorder's history.
type Judge struct {
	writers [][]attempt
	verdict Verdict
}

// Judge begins a comparison with what was recorded so far.
func (r *Recorder) Judge() *Judge {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := &Judge{writers: make([][]attempt, len(r.writers)), verdict: Verdict{Tally: r.tally}}
	for w, outcomes := range r.writers {
		j.writers[w] = make([]attempt, len(outcomes))
		for seq, outcome := range outcomes {
			j.writers[w][seq].outcome = outcome
		}
	}
	return j
}

// Found tells of a row in the table; intact says that its content is what was written.
func (j *Judge) Found(writer int, seq int64, intact bool) {
	var a *attempt
	if writer >= 0 && writer < len(j.writers) && seq >= 0 && seq < int64(len(j.writers[writer])) {
		a = &j.writers[writer][seq]
	}
	j.verdict.meet(a, intact, thing{writer: writer, number: seq})
}

// Verdict ends the comparison: every acknowledged row that was not found is lost.
func (j *Judge) Verdict() Verdict {
	for w, attempts := range j.writers {
		for seq, a := range attempts {
			j.verdict.miss(a, thing{writer: w, number: int64(seq)})
		}
	}
	return j.verdict
}

// SetJudge compares the elements of a set one by one with a history, since a set may be large.
type SetJudge struct {
	object string
	// attempts are in the order of the history, and of finds the one that brought a value.
	attempts []attempt
	values   []int64
	of       map[int64]int
	verdict  Verdict
}

// JudgeSet begins the comparison of a set with the inserts of a history.
func JudgeSet(ops []Operation, object string) *SetJudge {
	j := &SetJudge{object: object, of: map[int64]int{}}
	for i := range ops {
		o := &ops[i]
		if o.Kind != KindInsert || o.Object != object {
			continue
		}
		_, taken := j.of[o.Value]
		if why := malformed(o, taken); why != nil {
			j.verdict.Malformed++
			note(&j.verdict.Examples, "%s: %v", o, why)
			continue
		}
		j.verdict.count(o.Outcome)
		j.of[o.Value] = len(j.attempts)
		j.attempts = append(j.attempts, attempt{outcome: o.Outcome})
		j.values = append(j.values, o.Value)
	}
	return j
}

// malformed says why an operation that brings a value cannot be judged; taken says that another one has brought the same.
func malformed(o *Operation, taken bool) error {
	if err := o.Validate(); err != nil {
		return err
	}
	if taken {
		return fmt.Errorf("value: %d was tried before in %s; it must be unique", o.Value, o.Object)
	}
	return nil
}

// Found tells of an element of the set; intact says that its content is what was written.
func (j *SetJudge) Found(value int64, intact bool) {
	var a *attempt
	if i, tried := j.of[value]; tried {
		a = &j.attempts[i]
	}
	j.verdict.meet(a, intact, thing{object: j.object, number: value})
}

// Verdict ends the comparison: every acknowledged element that was not found is lost.
func (j *SetJudge) Verdict() Verdict {
	for i, a := range j.attempts {
		j.verdict.miss(a, thing{object: j.object, number: j.values[i]})
	}
	return j.verdict
}
