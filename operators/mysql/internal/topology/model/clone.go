package model

import (
	"maps"
	"slices"
)

// Clone returns a world that goes on from here on its own: nothing that happens to one of the two is seen in the other.
//
// What is never changed once it is made is shared: reports, directives, sets, channels. Lists that only grow or are cut
// are shared too, without their spare room, so that whoever appends moves to a list of its own.
func (w *World) Clone() *World {
	c := *w
	c.Store.Gone = maps.Clone(w.Store.Gone)
	c.txs = slices.Clone(w.txs)
	c.numbers = maps.Clone(w.numbers)
	c.Violations = slices.Clip(w.Violations)
	c.history.acker = maps.Clone(w.history.acker)
	c.history.commits = maps.Clone(w.history.commits)
	c.history.archived = maps.Clone(w.history.archived)

	c.Members = make([]*Member, len(w.Members))
	for i, m := range w.Members {
		c.Members[i] = m.fork(&c)
	}
	c.joinSessions(w)
	if o := w.history.opener; o != nil {
		c.history.opener = c.Members[o.Ordinal]
	}
	c.Operators = make([]*Operator, len(w.Operators))
	for i, o := range w.Operators {
		c.Operators[i] = o.fork(&c)
	}
	return &c
}

// fork copies a member but for its sessions, which belong to two.
func (m *Member) fork(w *World) *Member {
	c := *m
	c.world = w
	if m.Volume != nil {
		c.Volume = m.Volume.fork()
	}
	c.passwords = maps.Clone(m.passwords)
	c.links = nil
	if m.links != nil {
		c.links = make(map[uint64]*link, len(m.links))
		for term, l := range m.links {
			c.links[term] = &link{up: slices.Clip(l.up), down: slices.Clip(l.down), sent: l.sent}
		}
	}
	return &c
}

func (v *Volume) fork() *Volume {
	c := *v
	c.binlog, c.relay = slices.Clip(v.binlog), slices.Clip(v.relay)
	c.has, c.accounts = maps.Clone(v.has), maps.Clone(v.accounts)
	return &c
}

// joinSessions gives the members of a clone the sessions that those of the original have.
func (w *World) joinSessions(from *World) {
	var old, fresh []*dump
	copied := func(d *dump) *dump {
		if d == nil {
			return nil
		}
		if i := slices.Index(old, d); i >= 0 {
			return fresh[i]
		}
		c := *d
		c.source = w.Members[d.source.Ordinal]
		old, fresh = append(old, d), append(fresh, &c)
		return &c
	}
	for i, m := range from.Members {
		c := w.Members[i]
		c.session = copied(m.session)
		if m.dumps == nil {
			continue
		}
		c.dumps = make(map[string]*dump, len(m.dumps))
		for name, d := range m.dumps {
			c.dumps[name] = copied(d)
		}
	}
}

func (o *Operator) fork(w *World) *Operator {
	c := *o
	c.world = w
	c.members = make(map[string]*memory, len(o.members))
	for name, k := range o.members {
		known := *k
		c.members[name] = &known
	}
	return &c
}
