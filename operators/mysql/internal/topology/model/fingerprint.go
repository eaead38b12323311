package model

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// Fingerprint names the world's state: of two worlds with the same one, the same moves lead to the same promises kept or
// broken. What only counts (boots, passwords, server UUIDs) is named in the order in which it is met, and moments are told
// as how long ago they were, so that worlds that differ in nothing else are the same. What no step reads (plans for
// people, statistics, IDs that follow from contents) is left out; TestEveryFieldIsAccountedFor lists that.
func (w *World) Fingerprint() [16]byte {
	sum := sha256.Sum256(w.encode(make([]byte, 0, 8192)))
	return [16]byte(sum[:16])
}

// encode appends the canonical form that Fingerprint hashes.
func (w *World) encode(buf []byte) []byte {
	e := encoder{buf: buf, w: w}
	for _, m := range w.Members {
		e.member(m)
	}
	for _, m := range w.Members {
		e.sessions(m)
	}
	e.store(&w.Store)
	e.number(len(w.Store.Gone))
	for _, name := range sortedKeys(w.Store.Gone) {
		e.text(name)
	}
	e.number(len(w.Operators))
	for _, o := range w.Operators {
		e.operator(o)
	}
	e.past()
	for i := range w.Members {
		for j := range w.Members {
			e.flags(w.cut[i][j])
		}
	}
	return e.buf
}

// encoder writes a world. Every variable part is preceded by its length or ended by a zero, so that no two worlds have
// one form.
type encoder struct {
	buf []byte
	w   *World
	// The names met so far, in order.
	uuids     []string
	boots     []int
	passwords []int
	deadlines []int64
}

// met returns the place of a name among those met so far.
func met[T comparable](names *[]T, name T) int {
	if i := slices.Index(*names, name); i >= 0 {
		return i
	}
	*names = append(*names, name)
	return len(*names) - 1
}

func (e *encoder) number(n int)   { e.buf = binary.AppendVarint(e.buf, int64(n)) }
func (e *encoder) count(n uint64) { e.buf = binary.AppendUvarint(e.buf, n) }
func (e *encoder) text(s string)  { e.buf = append(append(e.buf, s...), 0) }
func (e *encoder) uuid(s string)  { e.number(met(&e.uuids, s)) }
func (e *encoder) boot(n int)     { e.number(met(&e.boots, n)) }

// flags writes up to eight conditions.
func (e *encoder) flags(on ...bool) {
	var b byte
	for i, set := range on {
		if set {
			b |= 1 << i
		}
	}
	e.buf = append(e.buf, b)
}

// longAgo is beyond every deadline of topology and of the model.
const longAgo = 60 * time.Second

// age writes how long ago something was. Beyond every deadline it makes no difference.
func (e *encoder) age(at time.Duration) { e.number(int(min(e.w.Now-at, longAgo))) }

// key writes a sealing key, which is named after a boot.
func (e *encoder) key(key string) {
	n, err := strconv.Atoi(strings.TrimPrefix(key, "key-"))
	if err != nil {
		n = -1
	}
	e.boot(n)
}

func (e *encoder) password(n int) { e.number(met(&e.passwords, n)) }

// uuidLength is how long a server UUID is as text.
const uuidLength = 36

// set writes a set from its text: uuid:1-3:5,uuid:1.
func (e *encoder) set(text string) {
	for part := range strings.SplitSeq(text, ",") {
		if len(part) > uuidLength {
			e.uuid(part[:uuidLength])
			part = part[uuidLength:]
		}
		e.text(part)
	}
	e.buf = append(e.buf, 0xff)
}

func (e *encoder) member(m *Member) {
	e.flags(m.Pod, m.Terminating, m.Frozen, m.CutOff, m.Deaf, m.Stalled, m.Ill, m.ApplyError)
	e.flags(m.Volume != nil)
	if m.Volume != nil {
		e.volume(m.Volume)
	}
	if !m.Pod {
		// What a process had in memory ended with it; a new pod begins anew.
		return
	}
	if m.Terminating {
		e.age(m.TerminatingAt)
	}
	e.number(m.Template)
	e.agent(m)
	e.server(m)
}

func (e *encoder) volume(v *Volume) {
	e.uuid(v.uuid)
	e.flags(v.Kept, v.Old, v.broken, v.channel != nil)
	e.count(v.Term)
	e.count(v.Promised)
	e.count(v.Served)
	e.count(v.Recovered)
	e.record(v.Record)
	e.text(v.config)
	e.number(v.waiting)
	e.transactions(v.binlog)
	e.transactions(v.relay)
	e.number(len(v.accounts))
	for _, name := range sortedKeys(v.accounts) {
		p := v.accounts[name]
		e.text(name)
		e.flags(p.open)
		e.count(p.epoch)
		e.password(p.number)
	}
	if c := v.channel; c != nil {
		e.text(c.source)
		e.uuid(c.uuid)
		e.count(c.epoch)
		e.password(c.number)
	}
}

func (e *encoder) transactions(ids []int) {
	e.number(len(ids))
	for _, id := range ids {
		e.uuid(e.w.txs[id].uuid)
		e.count(e.w.txs[id].number)
	}
}

func (e *encoder) agent(m *Member) {
	e.boot(m.boot)
	e.flags(m.directive != nil, m.selfFenced, m.serving)
	if m.directive != nil {
		e.directive(m.directive)
	}
	e.count(m.passwordEpoch)
	e.number(len(m.passwords))
	for _, name := range sortedKeys(m.passwords) {
		e.text(name)
		e.password(m.passwords[name].number)
		e.key(m.passwords[name].key)
	}
	if m.serving {
		// It is counted from anew whenever a primary opens.
		e.age(m.proof)
	}
	e.number(len(m.links))
	for _, term := range sortedKeys(m.links) {
		e.count(term)
		e.link(m.links[term])
	}
}

func (e *encoder) link(l *link) {
	e.number(len(l.up))
	for i := range l.up {
		msg := &l.up[i]
		e.boot(msg.boot)
		e.age(msg.at)
		e.report(&msg.report)
		e.sets(&msg.report, msg.executed, msg.held)
	}
	e.number(len(l.down))
	for _, o := range l.down {
		e.flags(o.grant != nil)
		if o.grant == nil {
			e.directive(o.directive)
			continue
		}
		e.age(o.at)
		e.count(o.grant.Term)
		e.count(o.grant.Epoch)
		e.text(o.grant.Primary)
	}
	e.flags(l.sent != nil)
	if l.sent != nil {
		e.directive(l.sent)
	}
}

// sets writes the sets of a report, which the report of a server that does not run leaves out.
func (e *encoder) sets(r *instance.Report, executed, held gtid.Set) {
	if r.State != instance.StateRunning {
		e.set(executed.String())
		e.set(held.String())
	}
}

func (e *encoder) server(m *Member) {
	s := &m.server
	e.text(string(s.state))
	if s.state == instance.StateDown {
		e.age(s.downAt)
		return
	}
	e.text(string(s.role))
	e.count(s.epoch)
	e.flags(s.tainted, s.drained, s.receiving, s.acknowledging, s.connected, s.applying, s.donor != nil)
	e.number(s.acks)
	e.number(s.receiverError)
	e.text(s.config)
	if s.receiving {
		e.age(s.heard)
	}
	if s.donor != nil {
		e.clone(s.donor)
	}
}

// sessions writes who is attached to whom, and how far.
func (e *encoder) sessions(m *Member) {
	d := m.session
	e.flags(d != nil, d != nil && d.gone)
	if d != nil && !d.gone {
		e.dump(d)
	}
	e.number(len(m.dumps))
	for _, name := range sortedKeys(m.dumps) {
		d := m.dumps[name]
		own := e.w.member(name).session == d
		e.text(name)
		e.flags(own)
		if !own {
			e.dump(d)
		}
	}
}

func (e *encoder) dump(d *dump) {
	e.number(d.source.Ordinal)
	e.text(d.member)
	e.flags(d.semi, d.gone)
	e.number(d.pos)
	e.number(d.got)
	e.number(d.acked)
}

func (e *encoder) operator(o *Operator) {
	e.count(o.Term)
	e.store(&o.store)
	held, rest := o.marker.Memory()
	e.set(held.String())
	e.text(rest)
	for _, m := range e.w.Members {
		k := o.members[m.Name]
		e.flags(k != nil)
		if k == nil {
			continue
		}
		e.flags(k.report != nil, k.looked, k.unfit)
		e.count(k.epoch)
		if k.looked {
			e.age(k.first)
		}
		if k.unfit {
			e.age(k.unfitSince)
		}
		if k.report != nil {
			e.boot(k.boot)
			e.age(k.heard)
			e.report(k.report)
			e.sets(k.report, k.executed, k.held)
		}
	}
}

func (e *encoder) store(s *Store) {
	e.record(s.Record)
	e.text(s.Request.Switchover)
	e.text(s.Request.ForcePromote)
	e.number(s.Instances)
	e.number(s.Template)
	e.number(s.Config)
	e.flags(s.Manual)
	e.text(s.ReadWrite)
	e.texts(s.Readable)
	e.number(s.Pods)
	e.count(s.Term)
}

func (e *encoder) texts(list []string) {
	e.number(len(list))
	for _, s := range list {
		e.text(s)
	}
}

// past writes what the checks remember, and all transactions by number.
func (e *encoder) past() {
	h := &e.w.history
	e.number(len(h.acker))
	for _, epoch := range sortedKeys(h.acker) {
		e.count(epoch)
		e.text(h.acker[epoch])
	}
	e.count(h.openedAt)
	e.flags(h.opener != nil)
	if h.opener != nil {
		e.number(h.opener.Ordinal)
	}
	e.count(h.forced)
	ids := make([]int, len(e.w.txs))
	for i := range ids {
		ids[i] = i
		met(&e.uuids, e.w.txs[i].uuid)
	}
	slices.SortFunc(ids, func(a, b int) int {
		x, y := &e.w.txs[a], &e.w.txs[b]
		if x.uuid != y.uuid {
			return met(&e.uuids, x.uuid) - met(&e.uuids, y.uuid)
		}
		return int(x.number) - int(y.number) //nolint:gosec // A world has a handful of transactions.
	})
	e.transactions(ids)
	for _, id := range ids {
		t := &e.w.txs[id]
		e.flags(t.acked, t.waived, t.errant)
	}
}
