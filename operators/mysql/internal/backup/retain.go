package backup

import (
	"fmt"
	"slices"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

// Retention says what is kept.
type Retention struct {
	// For is for how long every state can be brought back.
	For time.Duration
	// Count is how many full backups are kept at the most, 0 for any number. The newest one counts, and is always kept.
	Count int
}

// unfinishedFor is for how long an object without a manifest is left alone: the backup that it belongs to may be under way.
const unfinishedFor = 48 * time.Hour

// Deletion is something that is not kept any longer.
type Deletion struct {
	// Keys are the objects, in the order in which they are deleted: a manifest first, so that nothing is described that is gone.
	Keys []string
	// Why says in words why.
	Why string
}

// Expire decides what of a cluster's catalog is deleted at a moment.
//
// The full backups that are kept are those within the time, and the newest one before it, from which states at the beginning of that time are brought
// back. Of more than Count, the oldest go. The newest full backup is never deleted, and no piece of the archive that one which is kept
// may need. What is damaged is left for people to look at.
func (c Catalog) Expire(cluster string, keep Retention, now time.Time) []Deletion {
	kept, expired := c.divide(keep, now)
	var out []Deletion
	for _, f := range expired {
		d := Deletion{Keys: []string{FullKey(cluster, f.full.Name)}, Why: f.why}
		for _, p := range f.full.Parts {
			d.Keys = append(d.Keys, PartKey(cluster, f.full.Name, p.Number))
		}
		out = append(out, d)
	}
	if len(kept) > 0 {
		// What every kept full backup holds is replayed on none of them, and neither is what was given up before any of them was taken.
		held := c.needlessFor(kept[0])
		for _, f := range kept[1:] {
			held = held.Intersect(c.needlessFor(f))
		}
		out = append(out, c.needless(cluster, held)...)
	}
	for _, info := range c.Loose {
		if now.Sub(info.Modified) > unfinishedFor {
			out = append(out, Deletion{Keys: []string{info.Key}, Why: "it belongs to nothing that was finished within two days"})
		}
	}
	return out
}

// needlessFor is what is not replayed on a full backup, whatever the target.
func (c Catalog) needlessFor(f Full) gtid.Set { return f.Holds.Union(c.chain(f).passed) }

// expired is a full backup that is not kept.
type expired struct {
	full Full
	why  string
}

// divide says which full backups are kept, oldest first.
func (c Catalog) divide(keep Retention, now time.Time) (kept []Full, gone []expired) {
	begins := now.Add(-keep.For)
	// The newest one that is not later than the beginning of the time.
	first := 0
	for i, f := range c.Fulls {
		if !f.Newest.After(begins) && !f.Finished.After(begins) {
			first = i
		}
	}
	for _, f := range c.Fulls[:first] {
		gone = append(gone, expired{f, fmt.Sprintf("full backup %s is older than %s, and a later one reaches back as far", f.Name, keep.For)})
	}
	kept = slices.Clone(c.Fulls[first:])
	for keep.Count > 0 && len(kept) > keep.Count {
		gone = append(gone, expired{kept[0], fmt.Sprintf("%d full backups are kept, and there are newer ones than %s", keep.Count, kept[0].Name)})
		kept = kept[1:]
	}
	return kept, gone
}

// needless returns the pieces that hold nothing besides what is held.
func (c Catalog) needless(cluster string, held gtid.Set) []Deletion {
	var out []Deletion
	for _, p := range c.Pieces {
		if held.Contains(p.Holds) {
			out = append(out, Deletion{
				Keys: []string{p.Key(cluster) + ".json", p.Key(cluster)}, Why: "every full backup that is kept holds what is in it",
			})
		}
	}
	return out
}
