package state

import (
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// sameRecord compares two records by value.
func sameRecord(a, b instance.Record) bool {
	return a.Epoch == b.Epoch && a.Term == b.Term && a.Primary == b.Primary && slices.Equal(a.Voters, b.Voters) &&
		same(a.Change, b.Change) && same(a.Handover, b.Handover)
}

// same compares what two pointers point at.
func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
