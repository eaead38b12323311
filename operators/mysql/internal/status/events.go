package status

import (
	"fmt"

	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// The reasons of events, beside those of commits (topology.CommitKind), which are reasons themselves.
const (
	// EventInstanceReplaced: a pod was deleted to be made anew.
	EventInstanceReplaced = "InstanceReplaced"
	// EventRequestRefused: a one-time request was refused; the note says why.
	EventRequestRefused = "RequestRefused"
	// EventErrantArchived: transactions that only one instance held were archived; the note says where.
	EventErrantArchived = "ErrantTransactionsArchived"
	// EventRebuilding: an instance's data is being replaced by the primary's.
	EventRebuilding = "RebuildingInstance"
	// EventPrimaryLost: the primary was found dead.
	EventPrimaryLost = "PrimaryLost"
	// EventAvailable: a primary takes writes again.
	EventAvailable = "Available"
)

// Warns says whether a commit is something to be warned of.
func Warns(kind topology.CommitKind) bool {
	switch kind {
	case topology.CommitPromote, topology.CommitForcePromote, topology.CommitHandoverGivenUp, topology.CommitChangeGivenUp,
		topology.CommitAdopt, topology.CommitRenew:
		return true
	case topology.CommitBootstrap, topology.CommitHandover, topology.CommitSwitchover, topology.CommitChange, topology.CommitVoters:
	}
	return false
}

// CommitNote is the sentence of a commit's event.
func CommitNote(c topology.Commit) string {
	return fmt.Sprintf("epoch %d, primary %s, voters %s: %s", c.To.Epoch, c.To.Primary, list(c.To.Voters), c.Why)
}
