package model

import (
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// Volume is what outlives a pod.
type Volume struct {
	// Kept: it holds data worth keeping.
	Kept bool
	// Term, Promised, Served and Record are the agent's memory.
	Term, Promised, Served uint64
	Record                 instance.Record
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

// recover commits what a killed server left waiting.
func (w *World) recover(v *Volume) {
	for v.waiting > 0 {
		w.commit(v)
	}
}
