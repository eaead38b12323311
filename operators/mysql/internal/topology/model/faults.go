package model

import "github.com/kapok-operators/kapok/operators/mysql/internal/topology"

// fault is a kind of thing that breaks.
type fault int

// The faults.
const (
	faultKill fault = iota
	faultKillPrimary
	faultPod
	faultTerminate
	faultHear
	faultLink
	faultIsolate
	faultHeal
	faultFreeze
	faultOutage
	faultStall
	faultApplier
	faultDisconnect
)

func allFaults() []fault {
	return []fault{
		faultKill, faultKill, faultKillPrimary, faultPod, faultTerminate, faultHear, faultHear, faultLink, faultLink, faultIsolate,
		faultHeal, faultHeal, faultFreeze, faultOutage, faultStall, faultApplier, faultDisconnect,
	}
}

// fault breaks or mends something.
func (d *driver) fault() {
	w, rng, m := d.w, d.rng, d.victim()
	switch d.mood.faults[rng.IntN(len(d.mood.faults))] {
	case faultKill:
		m.KillServer("fault")
	case faultKillPrimary:
		if m := w.member(w.Store.Record.Primary); m != nil {
			m.KillServer("fault")
		}
	case faultPod:
		m.StopPod()
	case faultTerminate:
		m.Terminate()
	case faultHear:
		if rng.IntN(2) == 0 {
			m.CutOff = !m.CutOff
			w.note("%s: its operator cannot hear it: %v", m.Name, m.CutOff)
		} else {
			m.Deaf = !m.Deaf
			w.note("%s: it cannot hear its operator: %v", m.Name, m.Deaf)
		}
	case faultLink:
		if other := d.any(); other != m {
			w.CutMembers(m.Ordinal, other.Ordinal, !w.cut[m.Ordinal][other.Ordinal])
		}
	case faultIsolate:
		d.isolate(m)
	case faultHeal:
		d.heal()
	case faultFreeze:
		if m.Pod {
			m.Frozen = !m.Frozen
			w.note("%s: frozen: %v", m.Name, m.Frozen)
		}
	case faultOutage:
		d.outage()
	case faultStall:
		m.Stalled = !m.Stalled
		w.note("%s: its volume is stalled: %v", m.Name, m.Stalled)
	case faultApplier:
		m.ApplyError = m.Pod && m.applying && m.Volume != nil && len(m.Volume.relay) > 0 && m.Name != w.Store.Record.Primary
	case faultDisconnect:
		if o := w.Operators; len(o) > 0 {
			m.Disconnect(o[rng.IntN(len(o))])
		}
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

// lose takes the volume of one member, if the promise can survive that.
func (d *driver) lose() {
	w, m := d.w, d.any()
	if w.mayLose(m) {
		m.LoseVolume()
	}
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

// wish is a kind of thing that users ask for.
type wish int

// The wishes.
const (
	wishInstances wish = iota
	wishSwitchover
	wishTemplate
	wishConfig
	wishManual
)

func allWishes() []wish {
	return []wish{wishInstances, wishInstances, wishInstances, wishSwitchover, wishSwitchover, wishSwitchover, wishTemplate, wishConfig, wishManual}
}

// admin asks for something, as a user would.
func (d *driver) admin() {
	w, rng := d.w, d.rng
	s := &w.Store
	switch d.mood.wishes[rng.IntN(len(d.mood.wishes))] {
	case wishInstances:
		s.Instances = 1 + rng.IntN(6)
		if rng.IntN(8) == 0 {
			s.Instances = MaxMembers
		}
		w.note("user: %d instances", s.Instances)
	case wishSwitchover:
		s.Request.Switchover = topology.AnyInstance
		if rng.IntN(2) == 0 {
			s.Request.Switchover = d.any().Name
		}
		w.note("user: switchover to %s", s.Request.Switchover)
	case wishTemplate:
		s.Template++
		w.note("user: template %d", s.Template)
	case wishConfig:
		s.Config++
		w.note("user: configuration %d", s.Config)
	case wishManual:
		if rng.IntN(4) == 0 {
			s.Manual = !s.Manual
			w.note("user: manual failover %v", s.Manual)
		}
	}
}
