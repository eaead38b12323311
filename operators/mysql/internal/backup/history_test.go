package backup_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

// began is when the histories of these tests begin.
var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// transaction is one of a history.
type transaction struct {
	gtid      gtid.Set
	committed time.Time
}

// history is what happened, in the order in which it happened, and what was stored of it.
type history struct {
	all     []transaction
	catalog backup.Catalog
	// copied is how much of the history a full backup really holds, by its name; content what a piece holds, by its key.
	copied  map[string]int
	content map[string][]transaction
}

// upTo is what the first n transactions are.
func (h history) upTo(n int) gtid.Set {
	var out gtid.Set
	for _, t := range h.all[:min(max(n, 0), len(h.all))] {
		out = out.Union(t.gtid)
	}
	return out
}

// newest is the latest time of the first n transactions.
func (h history) newest(n int) time.Time {
	out := began
	for _, t := range h.all[:min(n, len(h.all))] {
		if t.committed.After(out) {
			out = t.committed
		}
	}
	return out
}

// random makes a history of several primaries, whose clocks differ a little, full backups at moments that are not known exactly, and an
// archive by archivers that relieve each other, overlap, and begin again with what is stored already.
func random(t *testing.T, r *rand.Rand) history {
	t.Helper()
	h := history{copied: map[string]int{}, content: map[string][]transaction{}}
	clock, primary, number := began, 0, map[int]int{}
	for range 20 + r.IntN(60) {
		if r.IntN(12) == 0 {
			primary = r.IntN(4)
		}
		number[primary]++
		clock = clock.Add(time.Duration(r.IntN(5)) * time.Second)
		skew := time.Duration(primary) * 700 * time.Millisecond
		h.all = append(h.all, transaction{parse(t, fmt.Sprintf("00000000-0000-0000-0000-00000000000%d:%d", primary, number[primary])), clock.Add(skew)})
	}
	for at, n := 0, 0; at < len(h.all); at += 1 + r.IntN(30) {
		n++
		full := backup.Full{
			Name: fmt.Sprintf("full-%d", n), Holds: h.upTo(at - r.IntN(4)), Within: h.upTo(at + r.IntN(4)), Newest: h.newest(at + 4),
			Parts: []backup.Part{{Number: 1}, {Number: 2}},
		}
		full.Began = full.Newest
		full.Finished = full.Newest.Add(time.Second)
		h.copied[full.Name] = min(at, len(h.all))
		h.catalog.Fulls = append(h.catalog.Fulls, full)
	}
	for from, n := 0, uint64(1); from < len(h.all); n++ {
		to := min(from+1+r.IntN(8), len(h.all))
		h.archive(n, 1, from, to)
		if r.IntN(5) == 0 {
			// Another one that has not heard of it.
			h.archive(n, 2, max(0, from-r.IntN(3)), min(to+r.IntN(5), len(h.all)))
		}
		from = to
	}
	h.catalog.Mark = backup.Mark{At: h.newest(len(h.all)).Add(time.Minute), Archived: h.upTo(len(h.all))}
	return h
}

// archive stores a piece with the transactions from, to (exclusive).
func (h *history) archive(number, epoch uint64, from, to int) {
	p := backup.Piece{Number: number, Epoch: epoch, Instance: "shop-0", After: h.upTo(from)}
	for _, t := range h.all[from:to] {
		p.Holds = p.Holds.Union(t.gtid)
		if p.Oldest.IsZero() || t.committed.Before(p.Oldest) {
			p.Oldest = t.committed
		}
		if t.committed.After(p.Newest) {
			p.Newest = t.committed
		}
	}
	h.content[p.Key("c")] = h.all[from:to]
	h.catalog.Pieces = append(h.catalog.Pieces, p)
}

// restore does what a plan says and returns how many transactions of the history the result has. It fails the test if that is not the beginning
// of the history.
func (h history) restore(t *testing.T, plan backup.Plan) int {
	t.Helper()
	n := h.copied[plan.Full.Name]
	has := h.upTo(n)
	for i, p := range plan.Pieces {
		for _, tr := range h.content[p.Key("c")] {
			if has.Contains(tr.gtid) {
				continue
			}
			until := plan.Until
			if !until.Time.IsZero() && tr.committed.After(until.Time) || !until.Before.IsEmpty() && tr.gtid.Equal(until.Before) {
				if i != len(plan.Pieces)-1 {
					t.Errorf("replaying stops in piece %d of %d", i+1, len(plan.Pieces))
				}
				return n
			}
			if !tr.gtid.Equal(h.all[n].gtid) {
				t.Fatalf("%s is replayed where %s comes next", tr.gtid, h.all[n].gtid)
			}
			has = has.Union(tr.gtid)
			n++
			if tr.gtid.Equal(until.Through) {
				return n
			}
		}
	}
	return n
}

// want is how much of the history a target asks for.
func (h history) want(target backup.Target) int {
	for i, t := range h.all {
		switch {
		case !target.Time.IsZero() && t.committed.After(target.Time), t.gtid.Equal(target.Before):
			return i
		case t.gtid.Equal(target.Through):
			return i + 1
		}
	}
	return len(h.all)
}

// targets are all that make a difference in a history.
func (h history) targets() []backup.Target {
	out := []backup.Target{{}}
	for _, t := range h.all {
		out = append(out, backup.Target{Time: t.committed}, backup.Target{Time: t.committed.Add(-time.Nanosecond)},
			backup.Target{Through: t.gtid}, backup.Target{Before: t.gtid})
	}
	return append(out, backup.Target{Time: h.catalog.Mark.At})
}

// possible says whether a target can be reached from some full backup if nothing of the archive is missing.
func (h history) possible(target backup.Target) bool {
	return slices.ContainsFunc(h.catalog.Fulls, func(f backup.Full) bool {
		switch {
		case !target.Time.IsZero():
			return !f.Newest.After(target.Time)
		case !target.Through.IsEmpty():
			return !f.Within.Contains(target.Through)
		case !target.Before.IsEmpty():
			return !f.Within.Contains(target.Before)
		}
		return true
	})
}

// TestWhatIsRestoredIsWhatWas compares, for random histories and all targets that make a difference, what a restore brings back with
// what was there at that moment.
func TestWhatIsRestoredIsWhatWas(t *testing.T) {
	reached := 0
	for seed := range uint64(150) {
		h := random(t, rand.New(rand.NewPCG(seed, 1)))
		for _, target := range h.targets() {
			plan, err := h.catalog.Restore(target)
			if err != nil {
				if h.possible(target) {
					t.Fatalf("seed %d, %+v: %v", seed, target, err)
				}
				continue
			}
			reached++
			if got, want := h.restore(t, plan), h.want(target); got != want {
				t.Fatalf("seed %d, %+v (%s): %d transactions come back, want %d", seed, target, plan.Why, got, want)
			}
			if plan.Why == "" {
				t.Error("a plan without a reason")
			}
		}
	}
	if reached < 10_000 {
		t.Errorf("only %d targets were reached", reached)
	}
}

// TestNoGapIsPassedOver takes pieces away: a restore must then either bring back exactly what was there, or say what is missing.
func TestNoGapIsPassedOver(t *testing.T) {
	refused := 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 2))
		h := random(t, r)
		for range 1 + r.IntN(3) {
			at := r.IntN(len(h.catalog.Pieces))
			h.catalog.Pieces = slices.Delete(h.catalog.Pieces, at, at+1)
		}
		for _, target := range h.targets() {
			plan, err := h.catalog.Restore(target)
			if err != nil {
				if _, ok := errors.AsType[*backup.Unreachable](err); !ok {
					t.Fatal(err)
				}
				refused++
				continue
			}
			if got, want := h.restore(t, plan), h.want(target); got != want {
				t.Fatalf("seed %d, %+v (%s): %d transactions come back, want %d", seed, target, plan.Why, got, want)
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was missing")
	}
}

// TestWhatIsKeptIsEnough deletes what is not kept, and then brings back every state within the time.
func TestWhatIsKeptIsEnough(t *testing.T) {
	deletions := 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 3))
		h := random(t, r)
		keep := backup.Retention{For: time.Duration(1+r.IntN(120)) * time.Second}
		if r.IntN(3) == 0 {
			keep.Count = 1 + r.IntN(3)
		}
		now := h.catalog.Mark.At
		before := h.catalog
		deleted := map[string]bool{}
		for _, d := range h.catalog.Expire("c", keep, now) {
			deletions++
			if d.Why == "" {
				t.Error("a deletion without a reason")
			}
			for _, key := range d.Keys {
				deleted[key] = true
			}
		}
		after := backup.Catalog{Mark: before.Mark}
		for _, f := range before.Fulls {
			if !deleted[backup.FullKey("c", f.Name)] {
				after.Fulls = append(after.Fulls, f)
			}
		}
		for _, p := range before.Pieces {
			if deleted[p.Key("c")] != deleted[p.Key("c")+".json"] {
				t.Fatalf("of piece %s only a half goes", p.Key("c"))
			}
			if !deleted[p.Key("c")] {
				after.Pieces = append(after.Pieces, p)
			}
		}
		if n := len(after.Fulls); n == 0 || after.Fulls[n-1].Name != before.Fulls[len(before.Fulls)-1].Name || keep.Count > 0 && n > keep.Count {
			t.Fatalf("seed %d: of %d full backups %d are left", seed, len(before.Fulls), n)
		}
		h.catalog = after
		for _, target := range h.targets() {
			if keep.Count == 0 && !target.Time.IsZero() && !target.Time.Before(now.Add(-keep.For)) {
				h.catalog = before
				possible := h.possible(target)
				h.catalog = after
				if _, err := after.Restore(target); err != nil && possible {
					t.Fatalf("seed %d: %s is within the time and cannot be brought back any more: %v", seed, target.Time, err)
				}
			}
			if plan, err := after.Restore(target); err == nil {
				if got, want := h.restore(t, plan), h.want(target); got != want {
					t.Fatalf("seed %d, %+v: %d transactions come back, want %d", seed, target, got, want)
				}
			}
		}
	}
	if deletions < 100 {
		t.Errorf("only %d deletions", deletions)
	}
}

func parse(t *testing.T, text string) gtid.Set {
	t.Helper()
	set, err := gtid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
