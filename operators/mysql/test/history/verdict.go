package history

import "fmt"

// exampleRows bounds how many rows a verdict names.
const exampleRows = 20

// Verdict is the comparison of what a client was told with what is in the table.
type Verdict struct {
	Tally
	// Found counts the rows in the table.
	Found int64 `json:"found"`
	// Lost counts acknowledged rows that are not there, or not as they were written.
	Lost int64 `json:"lost"`
	// Phantom counts rows that are there although never attempted, or although refused, or not as they were written
	// while their outcome was unknown.
	Phantom int64 `json:"phantom"`
	// UnknownFound counts the rows of unknown outcome that are there; both are right.
	UnknownFound int64 `json:"unknownFound"`
	// Examples names the first rows that are wrong.
	Examples []string `json:"examples,omitempty"`
}

// Good says that nothing acknowledged is missing and nothing is there that should not be.
func (v Verdict) Good() bool { return v.Lost == 0 && v.Phantom == 0 }

// Judge compares rows one by one with a recorder's history, which must not change meanwhile.
type Judge struct {
	recorder *Recorder
	seen     [][]bool
	verdict  Verdict
}

// Judge begins a comparison.
func (r *Recorder) Judge() *Judge {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := &Judge{recorder: r, seen: make([][]bool, len(r.writers)), verdict: Verdict{Tally: r.tally}}
	for w := range r.writers {
		j.seen[w] = make([]bool, len(r.writers[w]))
	}
	return j
}

// Found tells of a row in the table; intact says that its content is what was written.
func (j *Judge) Found(writer int, seq int64, intact bool) {
	j.verdict.Found++
	if writer < 0 || writer >= len(j.seen) || seq < 0 || seq >= int64(len(j.seen[writer])) {
		j.phantom(writer, seq, "never attempted")
		return
	}
	if j.seen[writer][seq] {
		j.phantom(writer, seq, "there twice")
		return
	}
	j.seen[writer][seq] = true
	switch j.recorder.writers[writer][seq] {
	case Acknowledged:
		if !intact {
			j.lost(writer, seq, "there with other content")
		}
	case Failed:
		j.phantom(writer, seq, "there although refused")
	case Unknown, Pending:
		if !intact {
			j.phantom(writer, seq, "there with other content")
			return
		}
		j.verdict.UnknownFound++
	}
}

// Verdict ends the comparison: every acknowledged row that was not found is lost.
func (j *Judge) Verdict() Verdict {
	for w, outcomes := range j.recorder.writers {
		for seq, outcome := range outcomes[:len(j.seen[w])] {
			if outcome == Acknowledged && !j.seen[w][seq] {
				j.lost(w, int64(seq), "acknowledged and not there")
			}
		}
	}
	return j.verdict
}

func (j *Judge) lost(writer int, seq int64, why string) {
	j.verdict.Lost++
	j.example(writer, seq, why)
}

func (j *Judge) phantom(writer int, seq int64, why string) {
	j.verdict.Phantom++
	j.example(writer, seq, why)
}

func (j *Judge) example(writer int, seq int64, why string) {
	if len(j.verdict.Examples) < exampleRows {
		j.verdict.Examples = append(j.verdict.Examples, fmt.Sprintf("row %d of writer %d: %s", seq, writer, why))
	}
}
