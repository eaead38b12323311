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

// branched is what happened where somebody has promoted an instance by force that lacked what was acknowledged: several histories, each of which goes on
// from a state of the one before.
type branched struct {
	// branches are the histories, the last of which is in force; forced is when each began.
	branches [][]transaction
	forced   []time.Time
	catalog  backup.Catalog
	// copied is what a full backup holds, by its name; content what a piece holds, by its key.
	copied  map[string][]transaction
	content map[string][]transaction
}

func setOf(all []transaction) gtid.Set {
	var out gtid.Set
	for _, t := range all {
		out = out.Union(t.gtid)
	}
	return out
}

// promoteByForce makes histories of which each but the first lacks the end of the one before, with an archive and full backups of all.
func promoteByForce(t *testing.T, r *rand.Rand) branched {
	t.Helper()
	b := branched{copied: map[string][]transaction{}, content: map[string][]transaction{}}
	clock, number, piece, fulls := began, map[int]int{}, uint64(0), 0
	var history []transaction
	for branch := range 2 + r.IntN(2) {
		clock = clock.Add(10 * time.Second)
		// Nobody knows better than by its first transaction when a history went on.
		b.forced = append(b.forced, clock.Add(time.Second))
		if branch > 0 {
			history = slices.Clone(history[:len(history)-r.IntN(min(8, len(history)))])
		}
		archived := len(history)
		for range 5 + r.IntN(20) {
			clock = clock.Add(time.Second)
			number[branch]++
			history = append(history, transaction{parse(t, fmt.Sprintf("00000000-0000-0000-0000-00000000000%d:%d", branch, number[branch])), clock})
			if r.IntN(3) == 0 {
				piece++
				b.archive(piece, uint64(branch+1), history, archived)
				archived = len(history)
			}
			if r.IntN(8) == 0 {
				fulls++
				b.full(fmt.Sprintf("full-%d", fulls), history)
			}
		}
		if archived < len(history) {
			piece++
			b.archive(piece, uint64(branch+1), history, archived)
		}
		b.branches = append(b.branches, history)
		b.catalog.Mark = backup.Mark{At: clock, Archived: b.catalog.Mark.Archived.Union(setOf(history))}
	}
	return b
}

// archive stores what the history has from a place on.
func (b *branched) archive(number, epoch uint64, history []transaction, from int) {
	content := slices.Clone(history[from:])
	p := backup.Piece{Number: number, Epoch: epoch, Instance: "shop-0", After: setOf(history[:from]), Holds: setOf(content),
		Oldest: content[0].committed, Newest: content[len(content)-1].committed}
	b.content[p.Key("c")] = content
	b.catalog.Pieces = append(b.catalog.Pieces, p)
}

func (b *branched) full(name string, history []transaction) {
	at := history[len(history)-1].committed
	b.copied[name] = slices.Clone(history)
	b.catalog.Fulls = append(b.catalog.Fulls, backup.Full{Name: name, Holds: setOf(history), Within: setOf(history), Newest: at, Began: at, Finished: at,
		Parts: []backup.Part{{Number: 1}}})
}

// want is what was there at a target: in the history that was in force at a time, in the one that a transaction first was part of, or in the last one.
func (b *branched) want(target backup.Target) []transaction {
	for i, history := range b.branches {
		for n, tr := range history {
			switch {
			case tr.gtid.Equal(target.Through):
				return history[:n+1]
			case tr.gtid.Equal(target.Before):
				return history[:n]
			}
		}
		if !target.Time.IsZero() && (i+1 == len(b.forced) || b.forced[i+1].After(target.Time)) {
			n := slices.IndexFunc(history, func(tr transaction) bool { return tr.committed.After(target.Time) })
			if n < 0 {
				n = len(history)
			}
			return history[:n]
		}
	}
	return b.branches[len(b.branches)-1]
}

// restore does what a plan says.
func (b *branched) restore(plan backup.Plan) gtid.Set {
	has := setOf(b.copied[plan.Full.Name])
	for _, p := range plan.Pieces {
		for _, tr := range b.content[p.Key("c")] {
			switch {
			case has.Contains(tr.gtid), plan.Discarded.Contains(tr.gtid):
				continue
			case !plan.Until.Time.IsZero() && tr.committed.After(plan.Until.Time), tr.gtid.Equal(plan.Until.Before):
				return has
			}
			if has = has.Union(tr.gtid); tr.gtid.Equal(plan.Until.Through) {
				return has
			}
		}
	}
	return has
}

// possible says whether a full backup is a state on the way to what is wanted.
func (b *branched) possible(want []transaction) bool {
	whole := setOf(want)
	return slices.ContainsFunc(b.catalog.Fulls, func(f backup.Full) bool { return whole.Contains(f.Holds) && len(b.copied[f.Name]) < len(want) })
}

// TestWhatWasGivenUpIsNotBroughtBack compares, for random histories with forced promotions and all targets, what a restore brings back with what was there
// at that moment: what was given up comes back only where the target is before that.
func TestWhatWasGivenUpIsNotBroughtBack(t *testing.T) {
	reached, discarded := 0, 0
	for seed := range uint64(120) {
		b := promoteByForce(t, rand.New(rand.NewPCG(seed, 3)))
		targets := []backup.Target{{}}
		for _, history := range b.branches {
			for _, tr := range history {
				targets = append(targets, backup.Target{Time: tr.committed}, backup.Target{Time: tr.committed.Add(-time.Nanosecond)},
					backup.Target{Through: tr.gtid}, backup.Target{Before: tr.gtid})
			}
		}
		for _, target := range targets {
			want := b.want(target)
			plan, err := b.catalog.Restore(target)
			if err != nil {
				if _, ok := errors.AsType[*backup.Unreachable](err); !ok || b.possible(want) {
					t.Fatalf("seed %d, %+v: %v", seed, target, err)
				}
				continue
			}
			reached++
			if !plan.Discarded.IsEmpty() {
				discarded++
			}
			if got := b.restore(plan); !got.Equal(setOf(want)) {
				t.Fatalf("seed %d, %+v (%s, without %s): %s come back, want %s", seed, target, plan.Why, plan.Discarded, got, setOf(want))
			}
		}
	}
	if reached < 5_000 || discarded < 500 {
		t.Errorf("only %d targets were reached, %d of them without what was given up", reached, discarded)
	}
}

// TestAFullBackupEndsWhatWasGivenUp: after a forced promotion the newest full backup may hold what was given up, which is a gap until the next; and what
// no full backup that is kept needs any more goes.
func TestAFullBackupEndsWhatWasGivenUp(t *testing.T) {
	gaps, gone := 0, 0
	for seed := range uint64(200) {
		b := promoteByForce(t, rand.New(rand.NewPCG(seed, 4)))
		last := b.branches[len(b.branches)-1]
		if len(b.catalog.Fulls) > 0 && !setOf(last).Contains(b.catalog.Fulls[len(b.catalog.Fulls)-1].Holds) {
			gaps++
			if b.catalog.Gaps().IsEmpty() {
				t.Fatalf("seed %d: the newest full backup is of no use, and that is no gap", seed)
			}
		}
		b.full("last", last)
		if missing := b.catalog.Gaps(); !missing.IsEmpty() {
			t.Fatalf("seed %d: %s are missing behind a full backup of everything", seed, missing)
		}
		left := b.catalog
		left.Fulls = left.Fulls[len(left.Fulls)-1:]
		for _, d := range left.Expire("c", backup.Retention{For: time.Hour}, last[len(last)-1].committed.Add(time.Minute)) {
			gone += len(d.Keys) / 2
		}
		if kept := len(left.Pieces) - gone; kept != 0 {
			t.Fatalf("seed %d: %d pieces are kept that nothing needs", seed, kept)
		}
		gone = 0
	}
	if gaps < 5 {
		t.Errorf("only %d histories had a full backup that is of no use", gaps)
	}
}
