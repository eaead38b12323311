package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// MaxMembers is how many instances a world can have.
const MaxMembers = 9

// World is everything there is.
type World struct {
	// Now is the time since the beginning; every clock shows it.
	Now time.Duration
	// Store is what etcd holds.
	Store Store
	// Members are all instances that ever existed, by ordinal.
	Members []*Member
	// Operators are the running operators, the newest term last. Only the last one is meant to lead.
	Operators []*Operator
	// Violations are broken promises, in words. The first one matters.
	Violations []string
	// Decision is what operators decide by: topology.Decide, unless a test plants a bug.
	Decision func(topology.Observation) topology.Plan
	// Watch, if not nil, sees every plan and what it was made from.
	Watch func(*Operator, topology.Observation, topology.Plan)
	// Trace, if not nil, receives what happens.
	Trace func(string)

	txs      []tx
	numbers  map[string]int
	nextUUID int
	nextBoot int
	nextPass int
	cut      [MaxMembers][MaxMembers]bool
	history  history
}

// Store is the custom resource and what else the API server keeps.
type Store struct {
	// Record is the committed decision.
	Record instance.Record
	// Request is what the user asks for once.
	Request topology.Request
	// Instances, Template and Config are what the user wants; Manual is manual failover.
	Instances, Template, Config int
	Manual                      bool
	// ReadWrite is the target of the read-write Service, Pods the replica count of the StatefulSet.
	ReadWrite string
	Readable  []string
	Pods      int
	// Term is the newest term that was given to an operator.
	Term uint64
	// Gone are instances whose volume was lost while they voted, until they leave the voters.
	Gone map[string]bool
}

// tx is a transaction and what the client was told about it.
type tx struct {
	uuid   string
	number uint64
	set    gtid.Set
	epoch  uint64
	by     int
	// acked: a client was told that it is committed. waived: its loss was agreed to by a forced promotion.
	acked, waived bool
	// errant: made on an instance that was no primary.
	errant bool
}

// New returns a world with one operator and no pods yet.
func New(instances int) *World {
	w := &World{Decision: topology.Decide, numbers: map[string]int{}, history: newHistory()}
	w.Store.Instances = instances
	w.Store.Gone = map[string]bool{}
	for i := range MaxMembers {
		w.Members = append(w.Members, newMember(w, i))
	}
	w.NewOperator()
	return w
}

// Name returns the name of the instance with an ordinal.
func Name(ordinal int) string { return fmt.Sprintf("db-%d", ordinal) }

// member returns the named member, or nil.
func (w *World) member(name string) *Member {
	i := slices.IndexFunc(w.Members, func(m *Member) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return w.Members[i]
}

func (w *World) note(format string, args ...any) {
	if w.Trace != nil {
		w.Trace(fmt.Sprintf("%8.2fs  ", w.Now.Seconds()) + fmt.Sprintf(format, args...))
	}
}

// violate records a broken promise.
func (w *World) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.note("VIOLATION: %s", text)
	w.Violations = append(w.Violations, text)
}

// newTx makes a transaction on a member.
func (w *World) newTx(m *Member, errant bool) int {
	v := m.Volume
	number := uint64(1)
	for _, i := range v.binlog {
		if w.txs[i].uuid == v.uuid {
			number = max(number, w.txs[i].number+1)
		}
	}
	for _, i := range v.relay {
		if w.txs[i].uuid == v.uuid {
			number = max(number, w.txs[i].number+1)
		}
	}
	set, err := gtid.Parse(fmt.Sprintf("%s:%d", v.uuid, number))
	if err != nil {
		panic(err)
	}
	id := len(w.txs)
	w.txs = append(w.txs, tx{uuid: v.uuid, number: number, set: set, epoch: m.epoch, by: m.Ordinal, errant: errant})
	if old, ok := w.numbers[set.String()]; ok {
		w.violate("%s gives the number %s to a second transaction; the first one was made by %s",
			m.Name, set, Name(w.txs[old].by))
	}
	w.numbers[set.String()] = id
	return id
}

func (w *World) uuid() string {
	w.nextUUID++
	return fmt.Sprintf("%08x-0000-4000-8000-000000000000", w.nextUUID)
}

// Linked says whether two members reach each other.
func (w *World) Linked(a, b int) bool { return !w.cut[a][b] && !w.cut[b][a] }

// CutMembers breaks or mends the network from one member to another.
func (w *World) CutMembers(from, to int, cut bool) {
	if w.cut[from][to] != cut {
		w.cut[from][to] = cut
		w.note("network from %s to %s: cut=%v", Name(from), Name(to), cut)
	}
}

// Acked returns how many transactions clients were told are committed.
func (w *World) Acked() int {
	n := 0
	for i := range w.txs {
		if w.txs[i].acked {
			n++
		}
	}
	return n
}

// Trimmed returns how many transactions were removed from the binary log of a former primary.
func (w *World) Trimmed() int { return w.history.trimmed }
