package pki

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Authority is what is known of one of the replica's own authorities.
type Authority struct {
	// ID is its fingerprint, see Fingerprint.
	ID string
	Span
}

// Leaf is what is known of the certificate in service.
type Leaf struct {
	// Authority is the ID of the authority that signed it.
	Authority string
	Span
}

// PlaceState says what is known of a place.
type PlaceState int

// The states of a place. Unreachable is unknown, never absent.
const (
	// PlaceUnknown has not been read.
	PlaceUnknown PlaceState = iota
	// PlaceAbsent does not exist: nobody trusts anything because of it.
	PlaceAbsent
	// PlacePresent exists.
	PlacePresent
)

// Place is a bundle that somebody trusts.
type Place struct {
	// Name tells it from others.
	Name string
	// State says whether Entries is known.
	State PlaceState
	// Entries are the authorities in it, in order.
	Entries []Entry
}

// Entry is an authority in a place.
type Entry struct {
	// ID is its fingerprint.
	ID string
	// Replica is the one of this group that made it; empty if it was made by
	// somebody else.
	Replica string
	// NotAfter is its end.
	NotAfter time.Time
}

// Bundle is everything that is known: the replica's own certificates, the places
// and the other replicas. It is a value; no function changes the one it is given.
type Bundle struct {
	// Replica is this replica's name.
	Replica string
	// Own are its authorities, oldest first.
	Own []Authority
	// Leaf is in service; nil before the first.
	Leaf *Leaf
	// Places are all the places that must trust the leaf.
	Places []Place
	// Live are the replicas that exist. It counts only if this replica is among
	// them: a list without it was made with the wrong question, or is too old.
	Live []string

	// seen is the uptime at which each entry was first seen, everywhere the one
	// since which each authority has been in every place without a gap.
	seen, everywhere map[string]time.Duration
}

// See returns the bundle with a new view of the places, and remembers since when
// what is in them has been there.
func (b Bundle) See(now Moment, places []Place) Bundle {
	seen := map[string]time.Duration{}
	for _, place := range places {
		for _, entry := range place.Entries {
			if at, known := b.seen[entry.ID]; known {
				seen[entry.ID] = at
			} else {
				seen[entry.ID] = now.Uptime
			}
		}
	}
	b.Places, b.seen = slices.Clone(places), seen
	everywhere := map[string]time.Duration{}
	for _, authority := range b.Own {
		if !b.isEverywhere(authority.ID) {
			continue
		}
		if at, known := b.everywhere[authority.ID]; known {
			everywhere[authority.ID] = at
		} else {
			everywhere[authority.ID] = now.Uptime
		}
	}
	b.everywhere = everywhere
	return b
}

// isEverywhere says whether an authority is in every place that exists. A place
// that was not read might not have it.
func (b Bundle) isEverywhere(id string) bool {
	for _, place := range b.Places {
		if place.State == PlaceUnknown || place.State == PlacePresent && !place.has(id) {
			return false
		}
	}
	return true
}

func (p Place) has(id string) bool {
	return slices.ContainsFunc(p.Entries, func(e Entry) bool { return e.ID == id })
}

// settled says whether an authority has been everywhere for long enough, and how
// long that still takes: zero if it is not everywhere.
func (b Bundle) settled(now Moment, id string, settle time.Duration) (bool, time.Duration) {
	since, everywhere := b.everywhere[id]
	if !everywhere {
		return false, 0
	}
	left := settle - (now.Uptime - since)
	return left <= 0, max(0, left)
}

func (b Bundle) own(id string) (Authority, bool) {
	i := slices.IndexFunc(b.Own, func(a Authority) bool { return a.ID == id })
	if i < 0 {
		return Authority{}, false
	}
	return b.Own[i], true
}

// Step is one thing to do. The concrete types are MakeAuthority, Serve, Publish
// and Forget.
type Step interface {
	// Reason says in a sentence why the step is taken.
	Reason() string
	step()
}

// MakeAuthority makes a new authority. It stands alone in its plan: everything
// else depends on it.
type MakeAuthority struct{ Why string }

// Serve issues a leaf and puts it into service.
type Serve struct {
	// Authority signs it.
	Authority string
	Why       string
}

// Publish changes what is in a place. It holds for the entries that were seen,
// so it must be written only over that version of the place.
type Publish struct {
	Place string
	// Add and Remove are fingerprints; Add holds own authorities only.
	Add, Remove []string
	Why         string
}

// Forget drops an own authority and its key, which nothing needs any more.
type Forget struct {
	Authority string
	Why       string
}

// Reason implements Step.
func (s MakeAuthority) Reason() string { return s.Why }

// Reason implements Step.
func (s Serve) Reason() string { return s.Why }

// Reason implements Step.
func (s Publish) Reason() string { return s.Why }

// Reason implements Step.
func (s Forget) Reason() string { return s.Why }

func (MakeAuthority) step() {}
func (Serve) step()         {}
func (Publish) step()       {}
func (Forget) step()        {}

// Plan is what Decide answers.
type Plan struct {
	// Steps in the order in which they are taken.
	Steps []Step
	// Trusted says that the leaf in service is valid and its authority has been in
	// every place for a moment; Why says what is missing.
	Trusted bool
	Why     string
	// Wait is how long nothing changes by itself; zero if only the lapse of
	// certificates is waited for. What happens outside is not foreseen.
	Wait time.Duration
}

// Decide says what to do now. See the package's documentation for what it holds
// to.
func Decide(now Moment, b Bundle, p Policy) Plan {
	if len(b.Own) == 0 {
		return Plan{Steps: []Step{MakeAuthority{Why: "there is no authority yet"}}, Why: "there is no authority yet"}
	}
	var plan Plan
	plan.Trusted, plan.Why, plan.Wait = trusted(now, b, p)
	newest := b.Own[len(b.Own)-1]
	if why := newest.due(now, p.RenewBefore); why != "" {
		plan.Steps = []Step{MakeAuthority{Why: "the newest authority needs a successor: " + why}}
		return plan
	}
	serve, wait := decideLeaf(now, b, p, newest)
	plan.Wait = shorter(plan.Wait, wait)
	if serve != nil {
		plan.Steps = append(plan.Steps, *serve)
	}
	wanted := map[string]bool{newest.ID: true}
	if b.Leaf != nil {
		// Also if it is being replaced: it is in service until that is done.
		wanted[b.Leaf.Authority] = true
	}
	for _, place := range b.Places {
		if publish, needed := decidePlace(now, b, p, place, wanted); needed {
			plan.Steps = append(plan.Steps, publish)
		}
	}
	for _, authority := range b.Own {
		if !wanted[authority.ID] {
			plan.Steps = append(plan.Steps, Forget{Authority: authority.ID, Why: "a newer authority has taken its place"})
		}
	}
	return plan
}

// trusted says whether clients of all places accept the leaf in service.
func trusted(now Moment, b Bundle, p Policy) (ok bool, why string, wait time.Duration) {
	if b.Leaf == nil {
		return false, "there is no certificate yet", 0
	}
	if !b.Leaf.valid(now) {
		return false, "the certificate is not valid at this date", 0
	}
	for _, place := range b.Places {
		switch {
		case place.State == PlaceUnknown:
			return false, place.Name + " could not be read yet", 0
		case place.State == PlacePresent && !place.has(b.Leaf.Authority):
			return false, place.Name + " does not hold this replica's authority yet", 0
		}
	}
	settled, left := b.settled(now, b.Leaf.Authority, min(readySettle, p.Settle))
	if !settled {
		return false, "the API servers are given a moment to see the authority", left
	}
	return true, "", 0
}

// decideLeaf says whether another leaf is to be served, and if not yet, how long
// it takes until that must be asked again.
func decideLeaf(now Moment, b Bundle, p Policy, newest Authority) (*Serve, time.Duration) {
	if b.Leaf == nil {
		return &Serve{Authority: newest.ID, Why: "nothing is served yet"}, 0
	}
	var wait time.Duration
	if b.Leaf.Authority != newest.ID {
		settled, left := b.settled(now, newest.ID, p.Settle)
		if settled {
			return &Serve{Authority: newest.ID, Why: "the new authority is in every bundle"}, 0
		}
		// No haste even if the leaf in service looks invalid: this clock may be the wrong one.
		wait = left
	}
	why := b.Leaf.due(now, p.RenewBefore)
	signer, known := b.own(b.Leaf.Authority)
	if why == "" || !known || !signer.valid(now) {
		return nil, wait
	}
	// Close to the end of its authority, or after the clock was set back, a new
	// leaf would end no later than the old one.
	if !leafEnd(now, signer, p.LeafLife).After(b.Leaf.NotAfter) {
		return nil, wait
	}
	return &Serve{Authority: signer.ID, Why: "the certificate is renewed: " + why}, wait
}

// leafEnd is the end of a leaf that is made now.
func leafEnd(now Moment, signer Authority, life time.Duration) time.Time {
	end := now.Wall.Add(life)
	if end.After(signer.NotAfter) {
		return signer.NotAfter
	}
	return end
}

// decidePlace says what to change in a place.
func decidePlace(now Moment, b Bundle, p Policy, place Place, wanted map[string]bool) (Publish, bool) {
	if place.State != PlacePresent {
		return Publish{}, false
	}
	publish := Publish{Place: place.Name}
	why := map[string]bool{}
	for _, authority := range b.Own {
		if wanted[authority.ID] && !place.has(authority.ID) {
			publish.Add = append(publish.Add, authority.ID)
			why["this replica's authority is missing"] = true
		}
	}
	for _, entry := range place.Entries {
		if wanted[entry.ID] || slices.Contains(publish.Remove, entry.ID) {
			continue
		}
		if reason := b.dead(now, p, entry); reason != "" {
			publish.Remove = append(publish.Remove, entry.ID)
			why[reason] = true
		}
	}
	publish.Why = strings.Join(slices.Sorted(maps.Keys(why)), "; ")
	return publish, len(why) > 0
}

// dead says why an entry that this replica does not want is of no use to anybody;
// empty if it may be.
func (b Bundle) dead(now Moment, p Policy, entry Entry) string {
	switch {
	case entry.Replica == "":
		return ""
	case entry.Replica == b.Replica:
		return "an earlier authority of this replica is not used any more"
	case !slices.Contains(b.Live, b.Replica) || slices.Contains(b.Live, entry.Replica):
		// Whoever lives takes its own entries away; that they look expired from here says nothing.
		return ""
	case now.Uptime-b.seen[entry.ID] < p.Grace:
		return ""
	default:
		return "a replica is gone"
	}
}

// shorter is the shorter of two times to wait, of which zero is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
