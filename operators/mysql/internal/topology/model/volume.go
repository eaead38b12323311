package model

import (
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// Volume is what outlives a pod.
type Volume struct {
	// Kept: it holds data worth keeping.
	Kept bool
	// Term, Promised, Served and Record are the agent's memory.
	Term, Promised, Served uint64
	// Recovered is the last served epoch after which mysqld was started or left its office in peace: only before that is
	// what waits known to be no more than prepared.
	Recovered uint64
	Record    instance.Record
	// Old: from before the present custom resource.
	Old bool

	uuid string
	// binlog are the transactions in the binary log; the last waiting of them are not committed.
	binlog  []int
	waiting int
	// relay are received transactions that are not executed yet.
	relay []int
	has   map[int]bool
	// executed and held are the sets of the above.
	executed, held gtid.Set
	// accounts are the passwords of members on this server.
	accounts map[string]password
	// channel is the source the server was told to follow.
	channel *channel
	// config is the configuration that mysqld will be started with.
	config string
	// broken: an unfinished CLONE; the data are of no use.
	broken bool
}

// password is an account of a member.
type password struct {
	epoch  uint64
	number int
	open   bool
}

// channel is a replication channel's settings.
type channel struct {
	source string
	uuid   string
	epoch  uint64
	number int
}

func (w *World) newVolume() *Volume {
	return &Volume{uuid: w.uuid(), has: map[int]bool{}, accounts: map[string]password{}}
}

// committed returns the transactions of the binary log that are committed.
func (v *Volume) committed() []int { return v.binlog[:len(v.binlog)-v.waiting] }

// write appends a transaction of this server's own that waits.
func (w *World) write(v *Volume, id int) {
	v.binlog = append(v.binlog, id)
	v.has[id] = true
	v.waiting++
}

// commit commits the first waiting transaction and returns it.
func (w *World) commit(v *Volume) int {
	id := v.binlog[len(v.binlog)-v.waiting]
	v.waiting--
	v.executed = v.executed.Union(w.txs[id].set)
	v.held = v.held.Union(w.txs[id].set)
	return id
}

// receive appends a transaction to the relay log.
func (w *World) receive(v *Volume, id int) {
	v.relay = append(v.relay, id)
	v.has[id] = true
	v.held = v.held.Union(w.txs[id].set)
}

// apply executes the first n received transactions.
func (w *World) apply(v *Volume, n int) {
	for _, id := range v.relay[:min(n, len(v.relay))] {
		v.binlog = append(v.binlog, id)
		v.executed = v.executed.Union(w.txs[id].set)
	}
	v.relay = v.relay[min(n, len(v.relay)):]
}

// tail returns the waiting transactions that a new history, as the directive tells it, does not hold. It returns none if
// anything else in the binary log is unknown: those are committed, or not this server's own.
func (w *World) tail(v *Volume, duty *instance.RejoinDuty) []int {
	holds, err := gtid.Parse(duty.Holds)
	if err != nil {
		return nil
	}
	unknown := func(id int) bool { return w.txs[id].uuid != duty.ServerUUID && !holds.Contains(w.txs[id].set) }
	from := slices.IndexFunc(v.binlog, unknown)
	if from < len(v.committed()) {
		return nil
	}
	for _, id := range v.binlog[from:] {
		if !unknown(id) || w.txs[id].uuid != v.uuid {
			return nil
		}
	}
	return v.binlog[from:]
}

// trim removes the last transactions of the binary log, and the server's name with them.
func (w *World) trim(v *Volume, tail []int) {
	for _, id := range tail {
		delete(v.has, id)
	}
	v.binlog = slices.Clone(v.binlog[:len(v.binlog)-len(tail)])
	v.waiting -= len(tail)
	v.uuid = w.uuid()
}

// recover commits what a killed server left waiting.
func (w *World) recover(v *Volume) {
	for v.waiting > 0 {
		w.commit(v)
	}
}
