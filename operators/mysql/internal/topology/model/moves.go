package model

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// Move is one thing that can happen next. Moves are what an explorer chooses from; the driver by chance has its own.
type Move struct {
	// Kind says what happens.
	Kind Kind
	// Member is the ordinal of the instance that it happens to, Other that of a second one; 0 if there is none.
	Member, Other int
	// Term is the operator that takes part; 0 if none does.
	Term uint64
}

// Kind is a kind of move.
type Kind uint8

// The kinds of moves. Those of a member's agent and mysqld come first.
const (
	// Act lets the agent take steps, its receiver attach and its applier apply, until all of them wait for something.
	Act Kind = iota
	// Step is one step of the agent, Attach and Apply are the others by themselves.
	Step
	Attach
	Apply
	// Start starts mysqld, recovery included.
	Start
	// Fetch lets a replica receive the next transaction, Acknowledge tells its source what it has received.
	Fetch
	Acknowledge
	// FinishClone completes a CLONE or fails it.
	FinishClone

	// Hear takes the agent's report to the operator at once. Post only sends it: it arrives after the operator's next
	// decision, which does not know it. Receive hands the agent the next directive on its way.
	Hear
	Post
	Receive
	// Refresh brings an operator's cache up to date; Decide makes a plan and begins to carry it out.
	Refresh
	Decide
	// Kubernetes makes and ends pods.
	Kubernetes

	// Write is a client's transaction, WriteErrant one that somebody makes on a replica.
	Write
	WriteErrant

	// Kill ends mysqld by SIGKILL, StopPod agent and mysqld together, LoseVolume takes the volume too.
	Kill
	StopPod
	LoseVolume
	// Cut breaks the network between two members, Mend mends it. CutOff and Deafen break one direction between a member and
	// all operators, Reach mends both.
	Cut
	Mend
	CutOff
	Deafen
	Reach
	// Freeze stops a pod's processes, Thaw lets them go on.
	Freeze
	Thaw

	// Lead starts the next operator while the last one goes on, Depose ends an operator.
	Lead
	Depose
	// Second, Silence and Minute let time pass in which nobody says a word: 1, 5 and 31 seconds.
	Second
	Silence
	Minute

	// AskAny and AskFor ask for a switchover, Force for a promotion without a quorum, Grow and Shrink for one instance more
	// or less.
	AskAny
	AskFor
	Force
	Grow
	Shrink

	kinds
)

// kindNames are the kinds' names.
func kindNames() [kinds]string {
	return [kinds]string{
		"act", "step", "attach", "apply", "start", "fetch", "ack", "finish-clone",
		"hear", "post", "receive", "refresh", "decide", "kubernetes", "write", "write-errant",
		"kill", "stop-pod", "lose-volume", "cut", "mend", "cut-off", "deafen", "reach", "freeze", "thaw",
		"lead", "depose", "second", "silence", "minute", "ask-any", "ask-for", "force", "grow", "shrink",
	}
}

// String returns the kind's name.
func (k Kind) String() string { return kindNames()[k] }

// String writes a move in a way that ParseMove reads: kind, members, term, separated by colons.
func (m Move) String() string {
	return fmt.Sprintf("%s:%d:%d:%d", m.Kind, m.Member, m.Other, m.Term)
}

// ParseMove reads what String writes.
func ParseMove(text string) (Move, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 4 {
		return Move{}, fmt.Errorf("move %q: want kind:member:other:term", text)
	}
	all := kindNames()
	kind := slices.Index(all[:], parts[0])
	if kind < 0 {
		return Move{}, fmt.Errorf("move %q: there is no kind %q", text, parts[0])
	}
	var n [3]int
	for i, part := range parts[1:] {
		value, err := strconv.Atoi(part)
		if err != nil || value < 0 || i < 2 && value >= MaxMembers {
			return Move{}, fmt.Errorf("move %q: %q is not a number that is allowed there", text, part)
		}
		n[i] = value
	}
	return Move{Kind: Kind(kind), Member: n[0], Other: n[1], Term: uint64(n[2])}, nil //nolint:gosec // Not negative, checked above.
}

// AboutOperator says whether moves of the kind need an operator.
func (k Kind) AboutOperator() bool {
	return slices.Contains([]Kind{Hear, Post, Receive, Refresh, Decide, Depose}, k)
}

// AboutMember says whether moves of the kind happen to a member.
func (k Kind) AboutMember() bool {
	return !slices.Contains([]Kind{Refresh, Decide, Kubernetes, Lead, Depose, Second, Silence, Minute, AskAny, Grow, Shrink}, k)
}

// AboutTwo says whether moves of the kind happen between two members.
func (k Kind) AboutTwo() bool { return k == Cut || k == Mend }

// Do makes a move. It says whether that was possible at all; a move that was may still have changed nothing.
func (w *World) Do(move Move) bool {
	m := w.Members[move.Member]
	switch {
	case move.Kind <= FinishClone:
		return m.work(move.Kind)
	case move.Kind == Kubernetes:
		w.Kubernetes()
		return true
	case move.Kind <= Decide:
		return w.converse(m, move)
	case move.Kind <= Thaw:
		return w.suffer(m, move)
	case move.Kind <= Minute:
		return w.pass(move)
	}
	return w.ask(m, move.Kind)
}

// work is what a member does by itself.
func (m *Member) work(kind Kind) bool {
	switch kind {
	case Start:
		can := m.Pod && m.state == instance.StateDown && !m.Frozen && !m.Ill
		m.StartServer()
		return can
	case FinishClone:
		can := m.state == instance.StateCloning && !m.Frozen
		m.FinishClone()
		return can
	default:
	}
	if !m.running() {
		return false
	}
	switch kind {
	case Act:
		m.act()
		return true
	case Step:
		m.Step()
		return true
	default:
	}
	return m.replicate(kind)
}

// replicate is what a replica's mysqld does.
func (m *Member) replicate(kind Kind) bool {
	d := m.live()
	switch kind {
	case Attach:
		can := m.receiving && (m.session == nil || m.session.gone)
		m.Attach()
		return can
	case Apply:
		can := len(m.Volume.relay) > 0
		m.Apply(1)
		return can
	case Fetch:
		if d == nil || d.got == d.pos && d.pos == len(d.source.Volume.binlog) {
			return false
		}
		m.Fetch()
		return true
	case Acknowledge:
		if d == nil || !d.semi || d.acked == d.got {
			return false
		}
		m.Acknowledge()
		return true
	default:
	}
	return false
}

// act goes on until the member waits for others.
func (m *Member) act() {
	for range 20 {
		stepped := m.Step()
		if !m.running() {
			return
		}
		m.Attach()
		applied := m.applying && len(m.Volume.relay) > 0 && !m.ApplyError
		m.Apply(len(m.Volume.relay))
		if !stepped && !applied {
			return
		}
	}
}

func (w *World) operatorOf(term uint64) *Operator {
	i := slices.IndexFunc(w.Operators, func(o *Operator) bool { return o.Term == term })
	if i < 0 {
		return nil
	}
	return w.Operators[i]
}

// converse is what operators do, and what passes between them and the members.
func (w *World) converse(m *Member, move Move) bool {
	o := w.operatorOf(move.Term)
	if o == nil {
		return false
	}
	switch move.Kind {
	case Refresh:
		if o.fresh() {
			return false
		}
		o.Refresh()
	case Decide:
		o.Decide()
		for _, m := range w.Members {
			w.arrive(m, o)
		}
	case Hear, Post:
		l := m.links[o.Term]
		if !m.Pod || m.Frozen || m.CutOff || l == nil && m.Deaf || l != nil && len(l.up) > 0 {
			return false
		}
		if l != nil && m.known(o) {
			return false
		}
		m.Send(o)
		if move.Kind == Hear {
			w.arrive(m, o)
		}
	case Receive:
		l := m.links[o.Term]
		if l == nil || len(l.down) == 0 || m.Deaf || m.Frozen || !m.Pod {
			return false
		}
		for l.down[0].grant != nil && len(l.down) > 1 {
			m.Receive(o)
		}
		m.Receive(o)
		m.takeGrants(o)
	default:
	}
	return true
}

// fresh says whether the operator's cache is up to date.
func (o *Operator) fresh() bool {
	a, b := o.store, o.world.Store
	same := a.Request == b.Request && a.Instances == b.Instances && a.Template == b.Template && a.Config == b.Config &&
		a.Manual == b.Manual && a.ReadWrite == b.ReadWrite && a.Pods == b.Pods && a.Term == b.Term
	return same && slices.Equal(a.Readable, b.Readable) && reflect.DeepEqual(a.Record, b.Record)
}

// known says whether the operator has just heard what the member would say, but for what no decision reads.
func (m *Member) known(o *Operator) bool {
	k := o.members[m.Name]
	if k == nil || k.report == nil || k.heard != m.world.Now || k.boot != m.boot {
		return false
	}
	r, e := m.Report(), encoder{w: m.world}
	e.report(k.report)
	e.sets(k.report, k.executed, k.held)
	before := len(e.buf)
	e.report(&r)
	e.sets(&r, m.Volume.executed, m.Volume.held)
	return bytes.Equal(e.buf[:before], e.buf[before:])
}

// arrive delivers what is on its way from a member to an operator, and the answer with it.
func (w *World) arrive(m *Member, o *Operator) {
	m.Deliver(o)
	m.takeGrants(o)
}

// takeGrants lets the answers to heartbeats arrive, unless a directive is on its way before them.
func (m *Member) takeGrants(o *Operator) {
	for {
		l := m.links[o.Term]
		if l == nil || len(l.down) == 0 || l.down[0].grant == nil || m.Deaf || m.Frozen {
			return
		}
		m.Receive(o)
	}
}

// suffer is what happens to members, and what clients do.
func (w *World) suffer(m *Member, move Move) bool {
	switch move.Kind {
	case Write:
		can := m.running() && m.serving
		m.Write()
		return can
	case WriteErrant:
		can := m.running() && !m.tainted && m.Volume.Kept
		m.WriteErrant()
		return can
	case Kill:
		can := m.state != instance.StateDown
		m.KillServer("fault")
		return can
	case StopPod:
		can := m.Pod
		m.StopPod()
		return can
	case LoseVolume:
		if !w.mayLose(m) {
			return false
		}
		m.LoseVolume()
		return true
	case Cut, Mend:
		cut := move.Kind == Cut
		if w.cut[move.Member][move.Other] == cut {
			return false
		}
		w.CutMembers(move.Member, move.Other, cut)
		return true
	case Freeze, Thaw:
		frozen := move.Kind == Freeze
		if !m.Pod || m.Frozen == frozen {
			return false
		}
		m.Frozen = frozen
		w.note("%s: frozen: %v", m.Name, frozen)
		return true
	default:
	}
	return w.isolate(m, move.Kind)
}

// isolate breaks and mends what is between a member and its operators.
func (w *World) isolate(m *Member, kind Kind) bool {
	was := [2]bool{m.CutOff, m.Deaf}
	switch kind {
	case CutOff:
		m.CutOff = true
	case Deafen:
		m.Deaf = true
	case Reach:
		m.CutOff, m.Deaf = false, false
	default:
	}
	w.note("%s: cut off: %v, deaf: %v", m.Name, m.CutOff, m.Deaf)
	return was != [2]bool{m.CutOff, m.Deaf}
}

// mayLose says whether the promise can survive the loss of a volume: fewer than a write quorum lost at a time, and the
// last one lost is out of the voters or has come back.
func (w *World) mayLose(m *Member) bool {
	r := w.Store.Record
	if m.Volume == nil || r.Epoch == 0 {
		return false
	}
	votes := slices.Contains(r.Voters, m.Name)
	if votes && len(w.Store.Gone)+1 >= topology.WriteQuorum(len(r.Voters)) {
		return false
	}
	// A member that may acknowledge although it is no voter yet or any more counts as one here.
	return r.Change == nil && (m.acknowledging == votes || m.Name == r.Primary) && len(w.Store.Gone) == 0
}

// pass lets operators come and go, and time pass.
func (w *World) pass(move Move) bool {
	switch move.Kind {
	case Lead:
		w.NewOperator()
	case Depose:
		o := w.operatorOf(move.Term)
		if o == nil {
			return false
		}
		w.StopOperator(o)
	case Second:
		w.Tick(time.Second)
	case Silence:
		w.Tick(5 * time.Second)
	case Minute:
		w.Tick(31 * time.Second)
	default:
	}
	return true
}

// ask is what users ask for.
func (w *World) ask(m *Member, kind Kind) bool {
	s := &w.Store
	before := *s
	switch kind {
	case AskAny:
		s.Request.Switchover = topology.AnyInstance
	case AskFor:
		s.Request.Switchover = m.Name
	case Force:
		s.Request.ForcePromote = m.Name
	case Grow:
		s.Instances = min(s.Instances+1, MaxMembers)
	case Shrink:
		s.Instances = max(s.Instances-1, 1)
	default:
	}
	w.note("user: %d instances, request %+v", s.Instances, s.Request)
	return before.Instances != s.Instances || before.Request != s.Request
}
