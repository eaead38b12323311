package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// Member is one instance: its volume, its pod with the agent, its mysqld.
type Member struct {
	// Name and Ordinal say which one it is.
	Name    string
	Ordinal int
	// Volume is nil as long as there is none.
	Volume *Volume
	// Pod: there is a pod with a running agent.
	Pod bool
	// Terminating: the pod was asked to stop, at TerminatingAt.
	Terminating   bool
	TerminatingAt time.Duration
	// Template is the version of the pod's template.
	Template int
	// Frozen: neither agent nor mysqld run for now.
	Frozen bool
	// CutOff: no message from it reaches an operator; Deaf: none of an operator reaches it.
	CutOff, Deaf bool
	// Stalled: its volume does not answer.
	Stalled bool
	// Ill: mysqld ends while it starts.
	Ill bool
	// ApplyError: what was received cannot be executed.
	ApplyError bool

	world *World
	agent
	server
}

// agent is what an agent has in memory.
type agent struct {
	boot      int
	directive *instance.Directive
	refused   string
	// passwords made in passwordEpoch, by member, as sealed to a key.
	passwords     map[string]sealedFor
	passwordEpoch uint64
	selfFenced    bool
	// proof is when the last proof of lease or quorum was begun.
	proof time.Duration
	// links are the streams to operators, by term.
	links map[uint64]*link
}

type sealedFor struct {
	number int
	key    string
}

// server is a mysqld.
type server struct {
	state instance.State
	// downAt is when it ended, or when its agent came up.
	downAt time.Duration
	// role is what it has become since it was started, in which epoch.
	role  instance.Role
	epoch uint64
	// serving: open and writable. tainted: has been a source since it was started. drained: was drained since.
	serving, tainted, drained bool
	acks                      int
	dumps                     map[string]*dump
	receiving, acknowledging  bool
	connected                 bool
	receiverError             int
	heard                     time.Duration
	applying                  bool
	config                    string
	// donor is whose data it takes over while it clones.
	donor *instance.CloneDuty
	// session is the dump that the receiver is attached to.
	session *dump
}

// dump is a source's session with a replica.
type dump struct {
	member string
	source *Member
	semi   bool
	pos    int
	// got and acked are positions in the source's log that the replica has received and that the source knows of.
	got, acked int
	gone       bool
}

func newMember(w *World, ordinal int) *Member {
	m := &Member{Name: Name(ordinal), Ordinal: ordinal, world: w}
	m.state = instance.StateDown
	return m
}

func (m *Member) running() bool { return m.Pod && m.state == instance.StateRunning && !m.Frozen }

func (m *Member) key() string { return fmt.Sprintf("key-%d", m.boot) }

// StartPod makes a pod over the member's volume, or over a new one.
func (m *Member) StartPod() {
	w := m.world
	if m.Volume == nil {
		m.Volume = w.newVolume()
	}
	w.nextBoot++
	m.Pod, m.Terminating, m.Frozen, m.Template = true, false, false, w.Store.Template
	m.agent = agent{boot: w.nextBoot, passwords: map[string]sealedFor{}, links: map[uint64]*link{}}
	m.server = server{state: instance.StateDown, downAt: w.Now}
	w.note("%s: pod starts", m.Name)
}

// StopPod ends the pod at once.
func (m *Member) StopPod() {
	if !m.Pod {
		return
	}
	m.world.note("%s: pod ends", m.Name)
	m.KillServer("with its pod")
	m.Pod, m.Terminating, m.Frozen = false, false, false
	m.links = nil
}

// KillServer ends mysqld by SIGKILL.
func (m *Member) KillServer(why string) {
	if m.state == instance.StateDown {
		return
	}
	m.world.note("%s: mysqld is killed: %s", m.Name, why)
	if m.state == instance.StateCloning {
		m.Volume.broken = true
	}
	m.endDumps()
	m.leaveSession()
	if d := m.directive; d != nil && m.state == instance.StateRunning && m.Volume.Kept && (d.Role == instance.RolePrimary || d.Role == instance.RoleDrain) {
		// A duty as primary ends with the run that it was given to, even if that run was ending already and never began with it:
		// what the next one recovers was not decided about. A blank instance recovers nothing, and is founded by the next run.
		m.directive = nil
	}
	m.server = server{state: instance.StateDown, downAt: m.world.Now}
}

// StartServer starts mysqld, recovery included.
func (m *Member) StartServer() {
	w := m.world
	if !m.Pod || m.Frozen || m.Ill || m.state != instance.StateDown || m.waits() {
		return
	}
	if m.Volume.broken {
		fresh := w.newVolume()
		fresh.Term, fresh.Promised, fresh.Record = m.Volume.Term, m.Volume.Promised, m.Volume.Record
		m.Volume = fresh
	}
	m.rejoin()
	m.Volume.Recovered = m.Volume.Served
	if n := m.Volume.waiting; n > 0 {
		w.note("%s: recovery commits %d waiting transactions", m.Name, n)
	}
	w.recover(m.Volume)
	m.server = server{state: instance.StateRunning, dumps: map[string]*dump{}, config: m.Volume.config}
	w.note("%s: mysqld starts", m.Name)
}

// How long the start of a former primary waits at most: for any word, and for what the new primary holds.
const (
	wordPause       = 2 * time.Second
	supersededPause = 15 * time.Second
)

// waits says whether the start of a former primary waits to be told what the new one holds.
func (m *Member) waits() bool {
	v, d := m.Volume, m.directive
	if v.Served <= v.Recovered || !v.Kept || v.broken || slices.Equal(v.Record.Voters, []string{m.Name}) {
		return false
	}
	since := m.world.Now - m.downAt
	switch {
	case d == nil, d.Role != instance.RoleStandby && d.Epoch <= v.Served:
		// The office that it held ended with the run of mysqld that it was given to.
		return since < wordPause
	case d.Rejoin != nil || d.Role != instance.RoleStandby && d.Role != instance.RoleReplica:
		return false
	case d.Epoch > v.Served && d.Epoch == d.Record.Epoch && d.Record.Primary != m.Name:
		return since < supersededPause
	}
	return since < wordPause
}

// rejoin removes the tail that a former primary was told is no part of the new history, as long as it is certain that
// nothing of it was committed. If it was not told in time, recovery commits it.
func (m *Member) rejoin() {
	d, v := m.directive, m.Volume
	if d == nil || d.Rejoin == nil || d.Role != instance.RoleStandby || d.Epoch <= v.Served || v.Served <= v.Recovered {
		return
	}
	tail := m.world.tail(v, d.Rejoin)
	if len(tail) == 0 {
		return
	}
	m.world.note("%s: removes %d waiting transactions from its binary log, which %s does not hold", m.Name, len(tail), d.Rejoin.Source)
	m.world.trimming(m, tail)
	m.world.trim(v, tail)
}

// LoseVolume takes the volume away, and the pod with it.
func (m *Member) LoseVolume() {
	m.StopPod()
	m.world.note("%s: volume is lost", m.Name)
	m.Volume = nil
	m.ApplyError = false
	for _, v := range m.world.Store.Record.Voters {
		if v == m.Name {
			m.world.Store.Gone[m.Name] = true
		}
	}
}

// endDumps ends the sessions of all replicas.
func (m *Member) endDumps() {
	for _, name := range sortedKeys(m.dumps) {
		m.endDump(name)
	}
}

func (m *Member) endDump(name string) {
	if d := m.dumps[name]; d != nil {
		d.gone = true
		delete(m.dumps, name)
	}
}

// leaveSession ends the receiver's session.
func (m *Member) leaveSession() {
	if d := m.session; d != nil {
		if d.source.dumps[m.Name] == d {
			d.source.endDump(m.Name)
		}
		d.gone = true
	}
	m.session, m.connected = nil, false
}

// Write makes a client's transaction.
func (m *Member) Write() {
	if !m.running() || !m.serving || m.Stalled {
		return
	}
	w := m.world
	id := w.newTx(m, false)
	w.write(m.Volume, id)
	w.note("%s: a client writes %s in epoch %d", m.Name, w.txs[id].set, m.epoch)
	m.settle()
}

// WriteErrant makes a transaction on a replica, as somebody with too many rights would.
func (m *Member) WriteErrant() {
	if !m.running() || m.tainted || !m.Volume.Kept {
		return
	}
	w := m.world
	id := w.newTx(m, true)
	w.write(m.Volume, id)
	w.commit(m.Volume)
	w.note("%s: somebody writes %s on a replica", m.Name, w.txs[id].set)
}

// settle commits what has its acknowledgements.
func (m *Member) settle() {
	w := m.world
	for m.Volume.waiting > 0 {
		at := len(m.Volume.binlog) - m.Volume.waiting
		n := 0
		for _, d := range m.dumps {
			if d.semi && d.acked > at {
				n++
			}
		}
		if n < m.acks {
			return
		}
		id := w.commit(m.Volume)
		w.acknowledge(m, id)
	}
}

// Attach lets the receiver connect to its source.
func (m *Member) Attach() {
	w, ch := m.world, m.channelOf()
	if ch == nil || !m.running() || !m.receiving || m.session != nil && !m.session.gone {
		return
	}
	s := w.member(ch.source)
	if s == nil || !s.running() || s.Volume.uuid != ch.uuid || !w.Linked(m.Ordinal, s.Ordinal) {
		return
	}
	p := s.Volume.accounts[m.Name]
	if !p.open || p.number != ch.number {
		return
	}
	if own := m.Volume.held.Of(s.Volume.uuid); !s.logSet().Contains(own) {
		m.receiving, m.connected, m.receiverError = false, false, 1236
		w.note("%s: %s refuses it: it holds more than its source made", m.Name, s.Name)
		return
	}
	s.endDump(m.Name)
	d := &dump{member: m.Name, source: s, semi: m.acknowledging}
	s.dumps[m.Name] = d
	m.session, m.connected, m.heard, m.receiverError = d, true, w.Now, 0
	w.note("%s: attaches to %s", m.Name, s.Name)
	m.skipKnown()
}

func (m *Member) channelOf() *channel {
	if m.Volume == nil {
		return nil
	}
	return m.Volume.channel
}

// skipKnown moves the session over what the replica holds already.
func (m *Member) skipKnown() {
	d := m.session
	log := d.source.Volume.binlog
	for d.pos < len(log) && m.Volume.has[log[d.pos]] {
		d.pos++
	}
	d.got = d.pos
}

// live returns the session if messages pass on it now.
func (m *Member) live() *dump {
	d := m.session
	if d == nil || d.gone || !m.running() || !m.receiving || !d.source.running() || !m.world.Linked(m.Ordinal, d.source.Ordinal) {
		return nil
	}
	return d
}

// Fetch receives the next transaction.
func (m *Member) Fetch() bool {
	d := m.live()
	if d == nil || m.Stalled {
		return false
	}
	m.heard = m.world.Now
	m.skipKnown()
	log := d.source.Volume.binlog
	if d.pos >= len(log) {
		return false
	}
	m.world.receive(m.Volume, log[d.pos])
	m.skipKnown()
	return true
}

// Acknowledge lets the source know what was received.
func (m *Member) Acknowledge() {
	d := m.live()
	if d == nil || !d.semi || d.acked == d.got {
		return
	}
	d.acked = d.got
	d.source.settle()
}

// Apply executes received transactions.
func (m *Member) Apply(n int) {
	if m.running() && m.applying && !m.ApplyError && !m.Stalled {
		m.world.apply(m.Volume, n)
	}
}
