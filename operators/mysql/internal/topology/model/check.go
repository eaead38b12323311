package model

import (
	"fmt"
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// history is what the checks remember.
type history struct {
	// acker is who acknowledged in an epoch; opened is the highest epoch that was opened, by whom.
	acker    map[uint64]string
	openedAt uint64
	opener   *Member
	// forced is the epoch of the last forced promotion: what was acknowledged before it is waived.
	forced  uint64
	commits map[topology.CommitKind]int
	// archived are transactions that were set aside before their holder was given other data.
	archived map[int]bool
	// trimmed counts transactions that were removed from a binary log.
	trimmed int
}

func newHistory() history {
	return history{acker: map[uint64]string{}, archived: map[int]bool{}, commits: map[topology.CommitKind]int{}}
}

// acknowledge tells a client that a transaction is committed (I1, I2).
func (w *World) acknowledge(m *Member, id int) {
	t := &w.txs[id]
	w.note("%s: acknowledges %s in epoch %d", m.Name, t.set, m.epoch)
	t.acked = true
	if m.epoch < w.history.forced {
		t.waived = true
		return
	}
	if other, ok := w.history.acker[m.epoch]; ok && other != m.Name {
		w.violate("I1: both %s and %s acknowledge in epoch %d", other, m.Name, m.epoch)
	}
	w.history.acker[m.epoch] = m.Name
	if m.epoch < w.history.openedAt && !w.history.opener.Volume.has[id] {
		w.violate("I3: %s acknowledges %s in epoch %d, but %s serves epoch %d without it",
			m.Name, t.set, m.epoch, w.history.opener.Name, w.history.openedAt)
	}
	w.checkDurable(id)
}

// checkDurable holds an acknowledged transaction to a write quorum of the committed voters (I2).
func (w *World) checkDurable(id int) {
	if problem := w.undurable(id); problem != "" {
		w.violate("%s", problem)
	}
}

// undurable says where an acknowledged transaction is missing (I2); empty if nowhere.
func (w *World) undurable(id int) string {
	t := &w.txs[id]
	if !t.acked || t.waived {
		return ""
	}
	voters := w.Store.Record.Voters
	have := 0
	for _, name := range voters {
		if v := w.member(name).Volume; v != nil && v.has[id] || w.Store.Gone[name] {
			have++
		}
	}
	if need := topology.WriteQuorum(len(voters)); have < need {
		return fmt.Sprintf("I2: %s is acknowledged and on %d of the voters %v, not on %d", t.set, have, voters, need)
	}
	return ""
}

// Standing says which promise the world as it is breaks, whatever happened before; empty for none (I1, I2).
func (w *World) Standing() string {
	for i, m := range w.Members {
		for _, other := range w.Members[:i] {
			if m.running() && other.running() && m.serving && other.serving && m.epoch == other.epoch {
				return fmt.Sprintf("I1: both %s and %s serve epoch %d", other.Name, m.Name, m.epoch)
			}
		}
	}
	for id := range w.txs {
		if problem := w.undurable(id); problem != "" {
			return problem
		}
	}
	return ""
}

func (w *World) checkAllDurable() {
	for id := range w.txs {
		w.checkDurable(id)
	}
}

// opened checks a primary at the moment at which it lets clients in (I1, I3, I7).
func (w *World) opened(m *Member) {
	w.note("%s: serves epoch %d", m.Name, m.epoch)
	if m.epoch > w.history.openedAt || m.epoch == w.history.openedAt && w.history.opener == m {
		w.history.openedAt, w.history.opener = m.epoch, m
	} else if m.epoch == w.history.openedAt {
		w.violate("I1: %s and %s both serve epoch %d", m.Name, w.history.opener.Name, m.epoch)
	}
	if m.epoch < w.Store.Record.Epoch {
		return
	}
	if r := w.Store.Record; m.epoch > r.Epoch || r.Primary != m.Name {
		w.violate("I1: %s serves epoch %d, but the record says %s in epoch %d", m.Name, m.epoch, r.Primary, r.Epoch)
	}
	for id := range w.txs {
		if t := w.txs[id]; t.acked && !t.waived && !m.Volume.has[id] {
			w.violate("I3: %s serves epoch %d without the acknowledged %s", m.Name, m.epoch, t.set)
			return
		}
	}
	w.checkTail(m)
}

// checkTail holds what a primary opens with to a write quorum (I7). Commits that wait are on no replica yet and nobody
// sees them.
func (w *World) checkTail(m *Member) {
	voters := w.Store.Record.Voters
	need, have := topology.WriteQuorum(len(voters)), 0
	committed := m.Volume.committed()
	// What somebody wrote by hand on a fenced instance no report can tell in time.
	for _, name := range voters {
		other := w.member(name)
		if other.Volume != nil && !slices.ContainsFunc(committed, func(id int) bool { return !other.Volume.has[id] && !w.txs[id].errant }) || w.Store.Gone[name] {
			have++
		}
	}
	if have < need {
		w.violate("I7: %s serves epoch %d, but what it holds is on %d voters, not on %d", m.Name, m.epoch, have, need)
	}
}

// committed checks a commit before it is made (I1, I2, I9).
func (w *World) committed(c topology.Commit) {
	from, to := c.From, c.To
	w.history.commits[c.Kind]++
	free := c.Kind == topology.CommitForcePromote || c.Kind == topology.CommitBootstrap || c.Kind == topology.CommitAdopt
	if to.Epoch < from.Epoch {
		w.violate("I1: the epoch goes from %d to %d", from.Epoch, to.Epoch)
	}
	if to.Primary != from.Primary && to.Epoch <= from.Epoch {
		w.violate("I1: the primary changes from %s to %s within epoch %d", from.Primary, to.Primary, to.Epoch)
	}
	if !slices.Contains(to.Voters, to.Primary) {
		w.violate("I2: the primary %s is no voter", to.Primary)
	}
	if !free && difference(from.Voters, to.Voters) > 1 {
		w.violate("I2: the voters change from %v to %v at once", from.Voters, to.Voters)
	}
	if c.Kind == topology.CommitForcePromote {
		w.waive(to)
	}
	if slices.Equal(from.Voters, to.Voters) {
		return
	}
	for _, name := range from.Voters {
		if !slices.Contains(to.Voters, name) {
			delete(w.Store.Gone, name)
		}
	}
	before := w.Store.Record
	w.Store.Record = to
	w.checkAllDurable()
	w.Store.Record = before
}

// waive gives up what a forced promotion gives up knowingly.
func (w *World) waive(to instance.Record) {
	w.history.forced = to.Epoch
	w.Store.Gone = map[string]bool{}
	v := w.member(to.Primary).Volume
	for id := range w.txs {
		if !v.has[id] {
			w.txs[id].waived = true
		}
	}
}

// difference counts the names that are in one list and not in the other.
func difference(a, b []string) int {
	n := 0
	for _, name := range a {
		if !slices.Contains(b, name) {
			n++
		}
	}
	for _, name := range b {
		if !slices.Contains(a, name) {
			n++
		}
	}
	return n
}

// cloning checks that nothing is lost when an instance is given other data (I6, I9).
func (w *World) cloning(m *Member, d instance.Directive) {
	if slices.Contains(w.Store.Record.Voters, m.Name) {
		w.violate("I9: %s is cloned over, but votes", m.Name)
	}
	s := w.member(d.Clone.Source.Name)
	for id := range m.Volume.has {
		if s.Volume == nil || !s.Volume.has[id] {
			w.history.archived[id] = true
		}
	}
}

// trimming checks that only what nobody was told is committed is removed from a binary log (I2, I6, I9), and remembers
// that it was archived before.
func (w *World) trimming(m *Member, tail []int) {
	for _, id := range tail {
		if t := w.txs[id]; t.acked && !t.waived {
			w.violate("I2: %s removes the acknowledged %s", m.Name, t.set)
		}
		if !m.Volume.has[id] {
			w.violate("I6: %s archives %s, which it does not hold", m.Name, w.txs[id].set)
		}
		w.history.archived[id] = true
	}
	w.history.trimmed += len(tail)
}

// planned checks a plan against what it was made from.
func (w *World) planned(obs topology.Observation, plan topology.Plan) {
	for _, problem := range CheckPlan(obs, plan) {
		w.violate("%s", problem)
	}
}
