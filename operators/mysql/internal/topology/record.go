package topology

import (
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// sameRecord compares what two records say, whoever said it; an empty list and none are the same.
func sameRecord(a, b instance.Record) bool {
	return a.Epoch == b.Epoch && a.Primary == b.Primary && slices.Equal(a.Voters, b.Voters) &&
		same(a.Change, b.Change) && same(a.Handover, b.Handover)
}

func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// unfounded says whether the cluster was committed but never came to life: a lone primary, nobody holds data, nobody has
// ever served and no client was ever led anywhere. Only then may a blank volume become a primary: an empty volume in a
// cluster that has served is a lost one (I9).
func unfounded(o Observation) bool {
	if !slices.Equal(o.Record.Voters, []string{o.Record.Primary}) || o.ReadWrite != "" {
		return false
	}
	for i := range o.Members {
		m := &o.Members[i]
		switch {
		case m.Report == nil && !m.OldVolume:
		case m.Report == nil, !m.Report.Blank && m.Name != o.Record.Primary, m.Report.Served > 0:
			return false
		}
	}
	return true
}
