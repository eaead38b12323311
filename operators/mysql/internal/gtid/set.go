package gtid

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// interval is a run of transaction numbers, both ends included.
type interval struct{ first, last uint64 }

// source is one number space: a server, or one tag of a server.
type source struct{ uuid, tag string }

// compare orders sources as Set.String prints them: by server, the untagged space first.
func (s source) compare(t source) int {
	if c := strings.Compare(s.uuid, t.uuid); c != 0 {
		return c
	}
	return strings.Compare(s.tag, t.tag)
}

// Set is an immutable GTID set. The zero value is the empty set.
type Set struct {
	// runs holds, for every source with at least one transaction, sorted intervals with gaps between them.
	runs map[source][]interval
}

// IsEmpty says whether the set holds no transaction.
func (s Set) IsEmpty() bool { return len(s.runs) == 0 }

// Count returns the number of transactions in the set. It stops at the largest uint64.
func (s Set) Count() uint64 {
	var n uint64
	for _, runs := range s.runs {
		for _, r := range runs {
			sum := n + (r.last - r.first + 1)
			if sum < n {
				return ^uint64(0)
			}
			n = sum
		}
	}
	return n
}

// String returns the canonical form, as MySQL prints it but without line breaks: lower case, sources sorted, intervals
// merged, "" for the empty set. Equal sets have equal strings.
func (s Set) String() string {
	var b strings.Builder
	uuid := ""
	for _, src := range s.sources() {
		// The number spaces of one server share its UUID: uuid:1-3:tag:1-2.
		if src.uuid != uuid {
			if uuid != "" {
				b.WriteByte(',')
			}
			b.WriteString(src.uuid)
			uuid = src.uuid
		}
		if src.tag != "" {
			b.WriteByte(':')
			b.WriteString(src.tag)
		}
		for _, r := range s.runs[src] {
			b.WriteByte(':')
			b.WriteString(strconv.FormatUint(r.first, 10))
			if r.last != r.first {
				b.WriteByte('-')
				b.WriteString(strconv.FormatUint(r.last, 10))
			}
		}
	}
	return b.String()
}

// Servers returns the UUIDs of the servers that have a transaction in the set, sorted.
func (s Set) Servers() []string {
	var out []string
	for _, src := range s.sources() {
		if len(out) == 0 || out[len(out)-1] != src.uuid {
			out = append(out, src.uuid)
		}
	}
	return out
}

// HasTags says whether a transaction of the set has a tag.
func (s Set) HasTags() bool {
	for src := range s.runs {
		if src.tag != "" {
			return true
		}
	}
	return false
}

// Union returns what is in s or in t.
func (s Set) Union(t Set) Set {
	if s.IsEmpty() {
		return t
	}
	if t.IsEmpty() {
		return s
	}
	out := make(map[source][]interval, len(s.runs)+len(t.runs))
	maps.Copy(out, s.runs)
	for src, runs := range t.runs {
		if mine, ok := out[src]; ok {
			out[src] = normalise(append(slices.Clone(mine), runs...))
			continue
		}
		out[src] = runs
	}
	return Set{runs: out}
}

// Intersect returns what is in s and in t.
func (s Set) Intersect(t Set) Set {
	out := make(map[source][]interval)
	for src, a := range s.runs {
		if runs := intersect(a, t.runs[src]); len(runs) > 0 {
			out[src] = runs
		}
	}
	return Set{runs: out}
}

// Subtract returns what is in s and not in t.
func (s Set) Subtract(t Set) Set {
	out := make(map[source][]interval)
	for src, a := range s.runs {
		if runs := subtract(a, t.runs[src]); len(runs) > 0 {
			out[src] = runs
		}
	}
	return Set{runs: out}
}

// Contains says whether every transaction of t is in s.
func (s Set) Contains(t Set) bool { return t.Subtract(s).IsEmpty() }

// Holds says whether one untagged transaction of a server is in the set. It costs nothing but a search, so that a whole
// log file can be compared with a set.
func (s Set) Holds(server string, number uint64) bool { return s.HoldsTagged(server, "", number) }

// HoldsTagged says whether one transaction of a server's tag is in the set; the empty tag stands for none.
func (s Set) HoldsTagged(server, tag string, number uint64) bool {
	runs := s.runs[source{uuid: server, tag: tag}]
	_, found := slices.BinarySearchFunc(runs, number, func(r interval, n uint64) int {
		switch {
		case r.last < n:
			return -1
		case r.first > n:
			return 1
		}
		return 0
	})
	return found
}

// IsSubset says whether every transaction of s is in t.
func (s Set) IsSubset(t Set) bool { return t.Contains(s) }

// Equal says whether both sets hold the same transactions.
func (s Set) Equal(t Set) bool {
	if len(s.runs) != len(t.runs) {
		return false
	}
	for src, runs := range s.runs {
		if !slices.Equal(runs, t.runs[src]) {
			return false
		}
	}
	return true
}

// sources returns the number spaces in canonical order.
func (s Set) sources() []source {
	out := make([]source, 0, len(s.runs))
	for src := range s.runs {
		out = append(out, src)
	}
	slices.SortFunc(out, source.compare)
	return out
}

// normalise sorts runs in place, merges those that touch, and returns them.
func normalise(runs []interval) []interval {
	slices.SortFunc(runs, func(a, b interval) int {
		switch {
		case a.first < b.first:
			return -1
		case a.first > b.first:
			return 1
		}
		return 0
	})
	out := runs[:0]
	for _, r := range runs {
		// maxNumber is below the largest uint64, so last+1 cannot overflow.
		if n := len(out); n > 0 && r.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, r.last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// intersect returns the common part of two normalised lists.
func intersect(a, b []interval) []interval {
	var out []interval
	for len(a) > 0 && len(b) > 0 {
		first, last := max(a[0].first, b[0].first), min(a[0].last, b[0].last)
		if first <= last {
			out = append(out, interval{first, last})
		}
		if a[0].last < b[0].last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// subtract returns the part of normalised list a that is not in normalised list b.
func subtract(a, b []interval) []interval {
	var out []interval
	for _, r := range a {
		for len(b) > 0 && b[0].last < r.first {
			b = b[1:]
		}
		gone := false
		for _, cut := range b {
			if cut.first > r.last {
				break
			}
			if cut.first > r.first {
				out = append(out, interval{r.first, cut.first - 1})
			}
			if cut.last >= r.last {
				gone = true
				break
			}
			r.first = cut.last + 1
		}
		if !gone {
			out = append(out, r)
		}
	}
	return out
}
