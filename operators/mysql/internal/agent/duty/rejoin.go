package duty

import (
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// Hold says what the start of a mysqld that has ended waits for.
type Hold int

// The holds.
const (
	// HoldNot: nothing that it could be told would make a difference, or it is needed.
	HoldNot Hold = iota
	// HoldBriefly: it served, and there may be a word about who serves now. Not for long: nobody may be promoted without
	// what it holds (I8).
	HoldBriefly
	// HoldSuperseded: another primary is committed, and what that one holds will be told when it is at work.
	HoldSuperseded
	// HoldRejoin: it was told. What is in the binary log and not in the new history is removed first.
	HoldRejoin
)

// Held says what the start of mysqld waits for. The directive is the accepted one; nil before.
func Held(self string, s state.State, d *instance.Directive) Hold {
	switch {
	case s.Served <= s.Recovered || !s.Kept || s.Clone != nil:
		// Whatever waited is committed by now, or nothing did.
		return HoldNot
	case s.Rejoin != nil && s.Rejoin.Phase == state.PhaseArchived:
		// A decision that is on the volume is carried out by the start itself.
		return HoldNot
	case slices.Equal(s.Record.Voters, []string{self}):
		return HoldNot
	case d == nil:
		return HoldBriefly
	case d.Role == instance.RoleReplica && d.Epoch > s.Served:
		// It was told to follow while it was a source, and ended for that. The operator has yet to see the end.
		return HoldSuperseded
	case d.Role != instance.RoleStandby:
		return HoldNot
	case d.Rejoin != nil && d.Epoch > s.Served && d.Epoch == d.Record.Epoch && d.Record.Primary != self:
		return HoldRejoin
	case d.Epoch == d.Record.Epoch && d.Epoch > s.Served && d.Record.Primary != self:
		return HoldSuperseded
	}
	return HoldBriefly
}

// CameBack says whether a server whose tail was removed has come up as it should: with nothing that the source does not
// hold. It returns what is too much.
func CameBack(r state.Rejoin, executed string) (excess gtid.Set, err error) {
	holds, err := gtid.Parse(r.Holds)
	if err != nil {
		return excess, err
	}
	has, err := gtid.Parse(executed)
	if err != nil {
		return excess, err
	}
	return has.Without(r.ServerUUID).Subtract(holds), nil
}
