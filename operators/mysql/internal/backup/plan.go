package backup

import (
	"fmt"
	"slices"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

// Target says as of when a cluster is to be restored. At most one of its fields is set; none means the newest state there is.
type Target struct {
	// Time brings back what had been committed up to and including that moment, by the clock of the primary: the history up to the
	// first transaction that was committed later.
	Time time.Time
	// Through is one transaction, by its GTID, with which the history ends.
	Through gtid.Set
	// Before is one transaction, by its GTID, just before which the history ends.
	Before gtid.Set
}

// Plan is how a state is brought back.
type Plan struct {
	// Full is where it begins.
	Full Full
	// Pieces are replayed on it, in this order.
	Pieces []Piece
	// Discarded are transactions in the pieces that are not replayed: a forced promotion has given them up before the target, and the history went on
	// without them.
	Discarded gtid.Set
	// Until is where replaying stops; the zero value means at the end. The last piece holds the place.
	Until Target
	// Why says in words why it begins there and reaches as far as it does.
	Why string
}

// Unreachable says why a state cannot be brought back.
type Unreachable struct {
	// Why is the reason, with what can be had instead.
	Why string
}

// Error implements error.
func (u *Unreachable) Error() string { return u.Why }

func unreachable(format string, args ...any) (Plan, error) {
	return Plan{}, &Unreachable{fmt.Sprintf(format, args...)}
}

// Restore decides how a state is brought back: from the newest full backup that is not beyond it, so that the least has to be replayed.
// Where the way from there has a gap, an older one is tried. The error is Unreachable.
func (c Catalog) Restore(target Target) (Plan, error) {
	if err := target.check(); err != nil {
		return Plan{}, err
	}
	if len(c.Fulls) == 0 {
		return unreachable("there is no full backup")
	}
	if reach := c.Reach(); target.Time.After(reach) {
		return unreachable("the archive reaches to %s and not to %s; without a target, the newest state is restored", stamp(reach), stamp(target.Time))
	}
	var first error
	for _, full := range slices.Backward(c.Fulls) {
		if target.beyond(full) {
			continue
		}
		plan, err := c.from(full, target)
		if err == nil {
			return plan, nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		return unreachable("the oldest full backup, %s, is already later: it holds what was committed up to %s", c.Fulls[0].Name, stamp(c.Fulls[0].Newest))
	}
	return Plan{}, first
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// check refuses what is no target.
func (t Target) check() error {
	set := 0
	for _, is := range []bool{!t.Time.IsZero(), !t.Through.IsEmpty(), !t.Before.IsEmpty()} {
		if is {
			set++
		}
	}
	switch {
	case set > 1:
		return &Unreachable{"more than one target is given; a time, a last transaction and a first one to leave out exclude each other"}
	case t.Through.Count() > 1 || t.Before.Count() > 1:
		return &Unreachable{"the target must be one transaction, such as 3e11fa47-71ca-11e1-9e33-c80aa9429562:23"}
	}
	return nil
}

// beyond says whether a full backup may hold what the target leaves out.
func (t Target) beyond(full Full) bool {
	switch {
	case !t.Time.IsZero():
		return full.Newest.After(t.Time)
	case !t.Through.IsEmpty():
		return full.Within.Contains(t.Through)
	case !t.Before.IsEmpty():
		return full.Within.Contains(t.Before)
	}
	return false
}

// reached says whether replaying stops within a piece.
func (t Target) reached(p Piece) bool {
	switch {
	case !t.Time.IsZero():
		return p.Newest.After(t.Time)
	case !t.Through.IsEmpty():
		return p.Holds.Contains(t.Through)
	case !t.Before.IsEmpty():
		return p.Holds.Contains(t.Before)
	}
	return false
}

// from decides how a state is brought back from one full backup.
func (c Catalog) from(full Full, target Target) (Plan, error) {
	chain := c.chain(full)
	plan := Plan{Full: full, Until: target}
	// What was given up is given up by what follows it, and not by what would: as of a time before that it was there.
	early := func(p Piece) bool { return !target.Time.IsZero() && p.Oldest.After(target.Time) }
	for _, l := range chain.links {
		if l.turns && early(l.Piece) {
			return plan.stopping(), nil
		}
		plan.Pieces, plan.Discarded = append(plan.Pieces, l.Piece), l.discarded
		if target.reached(l.Piece) {
			return plan.stopping(), nil
		}
	}
	switch {
	case chain.turn != nil && early(*chain.turn):
		return plan.stopping(), nil
	case chain.turn != nil:
		return unreachable("full backup %s holds %s, which a forced promotion has given up since", full.Name, chain.abandoned)
	case !chain.missing.IsEmpty():
		return unreachable("the archive has a gap behind full backup %s: %s are missing", full.Name, chain.missing)
	case !target.Through.IsEmpty():
		return unreachable("transaction %s is in no piece of the archive", target.Through)
	case !target.Before.IsEmpty():
		return unreachable("transaction %s is in no piece of the archive", target.Before)
	}
	plan.Until = Target{}
	plan.settle()
	plan.Why = fmt.Sprintf("full backup %s and all %d pieces of the archive behind it", full.Name, len(plan.Pieces))
	return plan, nil
}

// stopping is a plan whose target is in the last of its pieces, or right behind it.
func (p Plan) stopping() Plan {
	p.settle()
	p.Why = fmt.Sprintf("full backup %s and %d pieces of the archive, in the last of which it stops", p.Full.Name, len(p.Pieces))
	return p
}

// settle leaves out the pieces of which nothing is replayed.
func (p *Plan) settle() {
	if !p.Discarded.IsEmpty() {
		p.Pieces = slices.DeleteFunc(p.Pieces, func(piece Piece) bool { return p.Discarded.Contains(piece.Holds) })
	}
}

// link is a piece that can be replayed.
type link struct {
	Piece
	// turns says that the history went on here without what was replayed before; discarded is all that was given up so far.
	turns     bool
	discarded gtid.Set
}

// chain is what can be replayed on a full backup.
type chain struct {
	// links are in the order in which they are replayed.
	links []link
	// missing is what would be needed to replay any of the others, if there are others, or what was archived once and is in none.
	missing gtid.Set
	// passed is what pieces hold that was given up before the full backup was taken.
	passed gtid.Set
	// turn is where the history went on without the full backup itself, because that holds what was given up, which is abandoned; nil if it did not.
	turn      *Piece
	abandoned gtid.Set
}

// chain puts the pieces in order. Those that bring nothing new are left out.
//
// The states of a history contain each other, so that what was there before a piece, and what is in it, contain whatever was replayed until then. If
// they do not, somebody has promoted an instance by force that lacked some of it, and the history has gone on without.
func (c Catalog) chain(full Full) chain {
	have, left := full.Holds, c.Pieces
	var out chain
	var discarded gtid.Set
	for {
		var waiting []Piece
		progress := false
		for i, p := range left {
			if have.Contains(p.Holds) {
				continue
			}
			if !have.Contains(p.After) {
				if have.Union(out.passed).Union(discarded).Contains(p.After) {
					// It goes on from what was given up.
					out.passed, progress = out.passed.Union(p.Holds.Subtract(have)), true
				} else {
					waiting = append(waiting, p)
				}
				continue
			}
			progress = true
			beside := have.Subtract(p.After).Subtract(p.Holds)
			switch kept := beside.Intersect(full.Within); {
			case kept.IsEmpty():
				discarded = discarded.Union(beside)
				out.links = append(out.links, link{p, !beside.IsEmpty(), discarded})
				have = have.Subtract(beside).Union(p.Holds)
			case p.Newest.After(full.Newest):
				out.turn, out.abandoned = &left[i], kept
				return out
			default:
				out.passed = out.passed.Union(p.Holds.Subtract(have))
			}
		}
		if left = waiting; !progress || len(left) == 0 {
			break
		}
	}
	// The mark remembers what nothing else speaks of any more: a piece that was lost from the end.
	out.missing = c.Mark.Archived.Subtract(have).Subtract(discarded).Subtract(out.passed)
	if len(left) > 0 {
		out.missing = left[0].After.Subtract(have)
	}
	return out
}

// Gaps returns the transactions that the archive lacks behind the newest full backup, so that not even the newest state can be brought
// back from there; if that holds what a forced promotion has given up, those that cannot be replayed on it. It is empty without a full backup: then
// nothing can be.
func (c Catalog) Gaps() gtid.Set {
	if len(c.Fulls) == 0 {
		return gtid.Set{}
	}
	chain := c.chain(c.Fulls[len(c.Fulls)-1])
	if chain.turn != nil {
		return chain.turn.Holds
	}
	return chain.missing
}

// Done returns what an archiver that goes on here need not archive: what is in a piece, and what came before the first of them. known is
// false if nothing is stored that says where the archive begins.
func (c Catalog) Done() (done gtid.Set, known bool) {
	switch {
	case len(c.Pieces) > 0:
		done = c.Pieces[0].After
		for _, p := range c.Pieces {
			done = done.Union(p.Holds)
		}
	case len(c.Fulls) > 0:
		done = c.Fulls[0].Holds
	default:
		return gtid.Set{}, false
	}
	return done, true
}

// Next returns the number of the next piece.
func (c Catalog) Next() uint64 {
	if n := len(c.Pieces); n > 0 {
		return c.Pieces[n-1].Number + 1
	}
	return 1
}
