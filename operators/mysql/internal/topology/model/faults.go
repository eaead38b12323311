package model

import (
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// fault breaks or mends something.
func (d *driver) fault() {
	w, rng, m := d.w, d.rng, d.any()
	switch rng.IntN(14) {
	case 0, 1:
		m.KillServer("fault")
	case 2:
		m.StopPod()
	case 3:
		m.Terminate()
	case 4:
		m.CutOff = !m.CutOff
		w.note("%s: its operator cannot hear it: %v", m.Name, m.CutOff)
	case 5:
		m.Deaf = !m.Deaf
		w.note("%s: it cannot hear its operator: %v", m.Name, m.Deaf)
	case 6, 7:
		other := d.any()
		if other != m {
			w.CutMembers(m.Ordinal, other.Ordinal, !w.cut[m.Ordinal][other.Ordinal])
		}
	case 8:
		d.isolate(m)
	case 9, 10:
		d.heal()
	case 11:
		if m.Pod {
			m.Frozen = !m.Frozen
			w.note("%s: frozen: %v", m.Name, m.Frozen)
		}
	case 12:
		switch rng.IntN(4) {
		case 0:
			d.outage()
		case 1:
			m.Stalled = !m.Stalled
			w.note("%s: its volume is stalled: %v", m.Name, m.Stalled)
		case 2:
			m.ApplyError = m.Pod && m.applying && m.Volume != nil && len(m.Volume.relay) > 0 && m.Name != w.Store.Record.Primary
		default:
			d.killPrimary()
		}
	default:
		if o := w.Operators; len(o) > 0 {
			m.Disconnect(o[rng.IntN(len(o))])
		}
	}
}

func (d *driver) killPrimary() {
	if m := d.w.member(d.w.Store.Record.Primary); m != nil {
		m.KillServer("fault")
	}
}

// isolate cuts a member off from everybody else, the operator included by half the chance.
func (d *driver) isolate(m *Member) {
	for _, other := range d.w.Members {
		if other != m {
			d.w.CutMembers(m.Ordinal, other.Ordinal, true)
		}
	}
	if d.rng.IntN(2) == 0 {
		m.CutOff, m.Deaf = true, true
		d.w.note("%s: cut off from its operator", m.Name)
	}
}

// heal mends the network and thaws everybody.
func (d *driver) heal() {
	for _, a := range d.w.Members {
		a.CutOff, a.Deaf, a.Frozen, a.Stalled = false, false, false, false
		for _, b := range d.w.Members {
			d.w.CutMembers(a.Ordinal, b.Ordinal, false)
		}
	}
	d.w.note("all is mended")
}

// outage kills everything at once.
func (d *driver) outage() {
	for _, m := range d.w.Members {
		if d.rng.IntN(2) == 0 {
			m.StopPod()
		} else {
			m.KillServer("outage")
		}
	}
}

// lose takes the volume of one member, if the promise can survive that: fewer than a write quorum lost at a time, and
// the last one lost is out of the voters or has come back.
func (d *driver) lose() {
	w, m := d.w, d.any()
	r := w.Store.Record
	if m.Volume == nil || r.Epoch == 0 {
		return
	}
	if slices.Contains(r.Voters, m.Name) && len(w.Store.Gone)+1 >= topology.WriteQuorum(len(r.Voters)) {
		return
	}
	// A member that may acknowledge although it is no voter yet or any more counts as one here.
	if r.Change != nil || m.acknowledging != slices.Contains(r.Voters, m.Name) && m.Name != r.Primary || len(w.Store.Gone) > 0 {
		return
	}
	m.LoseVolume()
}

// leader starts and ends operators.
func (d *driver) leader() {
	w := d.w
	switch n := len(w.Operators); {
	case n == 0:
		w.NewOperator()
	case n == 1 && d.rng.IntN(3) == 0:
		w.StopOperator(w.Operators[0])
	case n < 3 && d.rng.IntN(2) == 0:
		w.NewOperator()
	case n > 1:
		w.StopOperator(w.Operators[0])
	}
}

// admin asks for something, as a user would.
func (d *driver) admin() {
	w, rng := d.w, d.rng
	s := &w.Store
	switch rng.IntN(5) {
	case 0:
		s.Instances = 1 + rng.IntN(6)
		if rng.IntN(8) == 0 {
			s.Instances = MaxMembers
		}
		w.note("user: %d instances", s.Instances)
	case 1:
		s.Request.Switchover = topology.AnyInstance
		if rng.IntN(2) == 0 {
			s.Request.Switchover = d.any().Name
		}
		w.note("user: switchover to %s", s.Request.Switchover)
	case 2:
		s.Template++
		w.note("user: template %d", s.Template)
	case 3:
		s.Config++
		w.note("user: configuration %d", s.Config)
	case 4:
		if rng.IntN(10) == 0 {
			s.Manual = !s.Manual
			w.note("user: manual failover %v", s.Manual)
		}
	}
}
