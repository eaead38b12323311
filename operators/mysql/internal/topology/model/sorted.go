package model

import (
	"cmp"
	"maps"
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

// sortedKeys returns the keys of a map in order, so that nothing depends on the order of a map.
func sortedKeys[K cmp.Ordered, V any](in map[K]V) []K { return slices.Sorted(maps.Keys(in)) }

// logSet is everything in the server's binary log, waiting or not.
func (m *Member) logSet() gtid.Set {
	set := m.Volume.executed
	for _, id := range m.Volume.binlog[len(m.Volume.binlog)-m.Volume.waiting:] {
		set = set.Union(m.world.txs[id].set)
	}
	return set
}
