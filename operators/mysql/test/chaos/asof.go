package chaos

import (
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// Target is as of when a round restores, by the machine's monotonic clock.
type Target struct {
	// Must: what was acknowledged by then has to be there.
	Must time.Duration `json:"must"`
	// MayUntil: what was begun later must not be there; 0 for no such moment.
	MayUntil time.Duration `json:"mayUntil,omitempty"`
}

// asOf is a history as somebody would have recorded it who looked at the database as of a target: what was acknowledged later may be there or not,
// and what was begun later failed. Reads of other moments say nothing about this one.
func asOf(ops []history.Operation, target Target) []history.Operation {
	out := make([]history.Operation, 0, len(ops))
	for _, o := range ops {
		if !o.Mutates() {
			continue
		}
		switch {
		case target.MayUntil > 0 && o.Invoked > target.MayUntil:
			o.Outcome, o.Applied = history.Failed, false
		case o.Outcome == history.Acknowledged && o.Returned > target.Must:
			o.Outcome, o.Applied = history.Unknown, false
		}
		out = append(out, o)
	}
	return out
}

// RestoreVerdict is what a restored chapter says.
type RestoreVerdict struct {
	// Expected counts the writes that have to be there, Excluded those that must not.
	Expected int64 `json:"expected"`
	Excluded int64 `json:"excluded"`
	// Lost and Phantom count those that are not there, and those that are all the same; Disordered lists in another order than they were written.
	Lost       int64 `json:"lost"`
	Phantom    int64 `json:"phantom"`
	Disordered int64 `json:"disordered"`
	// Examples are the first findings, in words.
	Examples []string `json:"examples,omitempty"`
}

// JudgeRestored says what a restored state means: the chapter's history, what is there of its set and its lists, and as of when.
func JudgeRestored(ops []history.Operation, restored lab.FinalState, target Target) RestoreVerdict {
	var v RestoreVerdict
	seen := asOf(ops, target)
	for _, o := range seen {
		if o.Kind != history.KindInsert && o.Kind != history.KindAppend {
			continue
		}
		switch o.Outcome {
		case history.Acknowledged:
			v.Expected++
		case history.Failed:
			v.Excluded++
		case history.Pending, history.Unknown:
		}
	}
	var whole Verdict
	whole.judgeSets(seen, restored)
	lists := history.CheckLists(appends(seen), listsOf(seen, restored))
	whole.say(lists.Examples)
	v.Lost, v.Phantom = whole.Lost+lists.Lost, whole.Phantom+lists.Phantom+lists.Duplicate
	v.Disordered = lists.Disordered + lists.Diverged
	v.Examples = whole.Examples
	return v
}
