package model

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// heartbeatTimeout is how long a peer may be silent and still count as connected.
const heartbeatTimeout = 2 * time.Second

// Operator is one operator process: it looks, decides by the world's Decision, and acts.
type Operator struct {
	// Term is its leadership term.
	Term uint64
	// Plan is its newest plan.
	Plan topology.Plan

	world *World
	// store is what it believes etcd holds.
	store   Store
	members map[string]*memory
	marker  topology.Marker
}

// memory is what an operator knows of a member.
type memory struct {
	report         *instance.Report
	executed, held gtid.Set
	boot           int
	heard, first   time.Duration
	looked         bool
	epoch          uint64
	unfit          bool
	unfitSince     time.Duration
}

// link is the stream between an agent and an operator. Both directions keep their order.
type link struct {
	up   []message
	down []order
	// sent is what was told last; it is not told again.
	sent *instance.Directive
}

// message goes from an agent to an operator.
type message struct {
	report         instance.Report
	executed, held gtid.Set
	boot           int
	at             time.Duration
}

// order goes from an operator to an agent: a directive, or the answer to a heartbeat.
type order struct {
	directive *instance.Directive
	grant     *instance.Grant
	at        time.Duration
}

// inFlight bounds the messages of one direction.
const inFlight = 4

// clock is what every clock shows.
func (w *World) clock() time.Time { return time.Unix(1_800_000_000, 0).Add(w.Now) }

// NewOperator starts an operator with the next term. Earlier ones go on until they are stopped.
func (w *World) NewOperator() *Operator {
	w.Store.Term++
	o := &Operator{Term: w.Store.Term, world: w, members: map[string]*memory{}}
	o.Refresh()
	w.Operators = append(w.Operators, o)
	w.note("operator of term %d starts", o.Term)
	return o
}

// StopOperator ends an operator.
func (w *World) StopOperator(o *Operator) {
	w.note("operator of term %d ends", o.Term)
	w.Operators = slices.DeleteFunc(w.Operators, func(other *Operator) bool { return other == o })
	for _, m := range w.Members {
		delete(m.links, o.Term)
	}
}

// Refresh brings the operator's cache up to date.
func (o *Operator) Refresh() { o.store = o.world.Store }

// Leads says whether it has the newest term.
func (o *Operator) Leads() bool { return o.Term == o.world.Store.Term }

// Send puts the agent's present report on its way to the operator.
func (m *Member) Send(o *Operator) {
	if !m.Pod || m.Frozen || m.Volume == nil {
		return
	}
	l := m.links[o.Term]
	if l == nil {
		if m.CutOff || m.Deaf {
			return
		}
		l = &link{}
		m.links[o.Term] = l
	}
	if len(l.up) >= inFlight {
		return
	}
	executed, held := m.sets()
	l.up = append(l.up, message{report: m.Report(), executed: executed, held: held, boot: m.boot, at: m.world.Now})
}

// Deliver hands the operator the oldest report on its way.
func (m *Member) Deliver(o *Operator) {
	l := m.links[o.Term]
	if l == nil || len(l.up) == 0 || m.CutOff {
		return
	}
	msg := l.up[0]
	l.up = l.up[1:]
	k := o.memory(m.Name)
	k.report, k.executed, k.held, k.boot, k.heard = &msg.report, msg.executed, msg.held, msg.boot, m.world.Now
	if len(l.down) < inFlight {
		r := o.store.Record
		l.down = append(l.down, order{grant: &instance.Grant{Term: o.Term, Epoch: r.Epoch, Primary: r.Primary}, at: msg.at})
	}
}

// Receive hands the agent the oldest order on its way.
func (m *Member) Receive(o *Operator) {
	l := m.links[o.Term]
	if l == nil || len(l.down) == 0 || m.Deaf || m.Frozen || !m.Pod {
		return
	}
	got := l.down[0]
	l.down = l.down[1:]
	if g := got.grant; g != nil {
		if g.Primary == m.Name && g.Epoch == m.epoch && g.Term >= m.Volume.Term {
			m.proof = max(m.proof, got.at)
		}
		return
	}
	m.accept(*got.directive)
}

// Disconnect loses what is on its way between an agent and an operator, and their stream.
func (m *Member) Disconnect(o *Operator) { delete(m.links, o.Term) }

func (o *Operator) memory(name string) *memory {
	k := o.members[name]
	if k == nil {
		k = &memory{}
		o.members[name] = k
	}
	return k
}

// Observation is what the operator sees.
func (o *Operator) Observation() topology.Observation {
	w, s := o.world, o.store
	obs := topology.Observation{
		Now: w.clock(), Term: o.Term, Record: s.Record, Request: s.Request, ReadWrite: s.ReadWrite, Readable: s.Readable,
		Spec: topology.Spec{Instances: s.Instances, ManualFailover: s.Manual, Config: options(fmt.Sprint(s.Config))},
	}
	top := s.Instances
	for _, m := range w.Members {
		if m.Pod || m.Name == s.Record.Primary || slices.Contains(s.Record.Voters, m.Name) || m.Volume != nil && m.Volume.Old {
			top = max(top, m.Ordinal+1)
		}
	}
	for _, m := range w.Members[:top] {
		obs.Members = append(obs.Members, o.member(m))
	}
	for i := range obs.Members {
		o.count(&obs, &obs.Members[i])
	}
	o.marker.Note(&obs)
	return obs
}

func (o *Operator) member(m *Member) topology.Member {
	out := topology.Member{Name: m.Name, Ordinal: m.Ordinal, OldVolume: m.Volume != nil && m.Volume.Old}
	if m.Pod {
		out.Pod = &topology.Pod{IP: fmt.Sprintf("10.0.0.%d", m.Ordinal+1), Terminating: m.Terminating,
			Outdated: m.Template != o.store.Template, Ready: m.state == instance.StateRunning}
	}
	k := o.memory(m.Name)
	if k.report == nil {
		return out
	}
	out.Report, out.Executed, out.Held = k.report, k.executed, k.held
	l := m.links[o.Term]
	out.Connected = m.Pod && l != nil && k.boot == m.boot && o.world.Now-k.heard <= heartbeatTimeout
	if !out.Connected {
		out.Silence = o.world.Now - k.heard
	}
	return out
}

// count keeps, like the observer, since when members are unfit and how long they were never heard.
func (o *Operator) count(obs *topology.Observation, m *topology.Member) {
	k, now := o.memory(m.Name), o.world.Now
	if !k.looked {
		k.looked, k.first = true, now
	}
	if k.epoch != obs.Record.Epoch {
		k.epoch, k.unfit = obs.Record.Epoch, false
	}
	if m.Report == nil {
		m.Silence = now - k.first
	} else if !m.Connected {
		m.Silence = min(m.Silence, now-k.first)
	}
	switch {
	case obs.Fit(m):
		k.unfit = false
	case !k.unfit:
		k.unfit, k.unfitSince = true, now
	default:
		m.UnfitFor = now - k.unfitSince
	}
}

// Decide makes the operator's next plan and begins to carry it out.
func (o *Operator) Decide() {
	obs := o.Observation()
	plan := o.world.Decision(obs)
	o.world.planned(obs, plan)
	if o.world.Watch != nil {
		o.world.Watch(o, obs, plan)
	}
	if plan.State != o.Plan.State || plan.Why != o.Plan.Why {
		o.world.note("operator %d: %s: %s", o.Term, plan.State, plan.Why)
	}
	o.Plan = plan
	if plan.Commit != nil {
		if o.commit(*plan.Commit) {
			o.answer(plan)
		}
		return
	}
	for _, d := range plan.Directives {
		o.direct(d)
	}
	s := &o.world.Store
	s.ReadWrite, o.store.ReadWrite = plan.Endpoints.ReadWrite, plan.Endpoints.ReadWrite
	s.Readable, o.store.Readable = plan.Endpoints.Any, plan.Endpoints.Any
	s.Pods = plan.Replicas
	o.deletePod(plan)
	o.answer(plan)
}

// commit writes the record if it still is what was observed.
func (o *Operator) commit(c topology.Commit) bool {
	w := o.world
	if !reflect.DeepEqual(w.Store.Record, c.From) {
		w.note("operator %d: %s is refused: the record has changed", o.Term, c.Kind)
		o.Refresh()
		return false
	}
	w.note("operator %d: commits %s: %s", o.Term, c.Kind, c.Why)
	w.committed(c)
	w.Store.Record = c.To
	o.Refresh()
	return true
}

func (o *Operator) direct(d topology.Direct) {
	m := o.world.member(d.Member)
	l := m.links[o.Term]
	if l == nil || l.sent != nil && l.sent.ID == d.Directive.ID {
		return
	}
	if len(l.down) >= inFlight {
		return
	}
	directive := d.Directive
	l.sent = &directive
	l.down = append(l.down, order{directive: &directive, at: o.world.Now})
}

// deletePod deletes a pod, if the live record still is what the plan was made from.
func (o *Operator) deletePod(plan topology.Plan) {
	if plan.Delete == nil || !reflect.DeepEqual(o.store.Record, o.world.Store.Record) {
		return
	}
	o.world.note("operator %d: deletes pod %s: %s", o.Term, plan.Delete.Member, plan.Delete.Why)
	o.world.member(plan.Delete.Member).Terminate()
}

// answer takes requests off the custom resource.
func (o *Operator) answer(plan topology.Plan) {
	s := &o.world.Store
	for _, done := range plan.Done {
		o.world.note("operator %d: request %s is done: %s", o.Term, done.Request, done.Refused)
		switch {
		case done.Request == topology.RequestSwitchover && s.Request.Switchover == o.store.Request.Switchover:
			s.Request.Switchover = ""
		case done.Request == topology.RequestForcePromote && s.Request.ForcePromote == o.store.Request.ForcePromote:
			s.Request.ForcePromote = ""
		}
	}
	if len(plan.Done) > 0 {
		o.store.Request = s.Request
	}
}
