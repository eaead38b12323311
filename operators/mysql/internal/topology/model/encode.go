package model

import (
	"strconv"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// What agents and operators tell each other, for Fingerprint.

func (e *encoder) record(r instance.Record) {
	e.count(r.Epoch)
	e.count(r.Term)
	e.text(r.Primary)
	e.texts(r.Voters)
	e.flags(r.Change != nil, r.Handover != nil)
	if c := r.Change; c != nil {
		e.text(c.Add)
		e.text(c.Remove)
		e.text(c.Why)
	}
	if h := r.Handover; h != nil {
		e.text(h.To)
		e.text(h.Why)
		e.flags(h.GivenUp)
		e.deadline(h.NotAfter)
	}
}

// deadline writes how far off a moment is, and which of the moments met so far it is: records are compared by it.
func (e *encoder) deadline(millis int64) {
	left := time.UnixMilli(millis).Sub(e.w.clock())
	e.number(int(max(min(left, longAgo), -longAgo)))
	e.number(met(&e.deadlines, millis))
}

func (e *encoder) directive(d *instance.Directive) {
	e.count(d.Term)
	e.count(d.Epoch)
	e.text(string(d.Role))
	e.record(d.Record)
	e.text(d.Config["version"])
	e.flags(d.Restart, d.Primary != nil, d.Replica != nil, d.Clone != nil, d.Rejoin != nil)
	if p := d.Primary; p != nil {
		e.number(p.Acks)
		e.flags(p.Serve, p.Bootstrap)
		e.number(len(p.Admitted))
		for _, peer := range p.Admitted {
			e.text(peer.Name)
			e.key(string(peer.Key))
		}
	}
	if r := d.Replica; r != nil {
		e.source(r.Source)
		e.flags(r.Acknowledge)
		e.set(r.CatchUp)
		e.set(r.OpenAfter)
		e.text(r.Closing)
	}
	if d.Clone != nil {
		e.clone(d.Clone)
	}
	if j := d.Rejoin; j != nil {
		e.text(j.Source)
		e.uuid(j.ServerUUID)
		e.set(j.Holds)
	}
}

func (e *encoder) clone(c *instance.CloneDuty) {
	e.source(c.Source)
	e.set(c.SourceExecuted)
	e.text(c.Why)
}

func (e *encoder) source(s instance.Source) {
	e.text(s.Name)
	e.uuid(s.ServerUUID)
	e.sealed(s.Credential)
}

func (e *encoder) sealed(s instance.Sealed) {
	e.count(s.Epoch)
	e.key(string(s.Key))
	n, err := strconv.Atoi(string(s.Box))
	if err != nil {
		n = -1
	}
	e.password(n)
}

func (e *encoder) report(r *instance.Report) {
	e.text(string(r.State))
	e.key(string(r.SealingKey))
	e.flags(r.Blank, r.SelfFenced, r.Stalled, r.Terminating, r.RestartNeeded, r.Serving, r.Drained, r.Acknowledging)
	e.flags(r.CatchingUp, r.Receiver.Running, r.Receiver.Connected, r.Applier.Running)
	e.count(r.Term)
	e.count(r.Promised)
	e.count(r.Served)
	e.record(r.Record)
	e.text(string(r.Role))
	e.count(r.Epoch)
	e.text(r.ConfigHash)
	if r.State != instance.StateRunning {
		return
	}
	e.uuid(r.ServerUUID)
	e.set(r.Executed)
	e.set(r.Received)
	e.text(r.Receiver.Source)
	if r.Receiver.Running {
		// Of one that does not run, no decision asks how long it has heard nothing.
		e.number(int(r.Receiver.SilentMillis))
	}
	e.number(r.Receiver.ErrorNumber)
	e.number(r.Applier.ErrorNumber)
	e.number(r.Acks)
	e.number(r.WaitingCommits)
	e.texts(r.Attached)
	e.texts(r.Admitted)
	e.number(len(r.Credentials))
	for _, name := range sortedKeys(r.Credentials) {
		e.text(name)
		e.sealed(r.Credentials[name])
	}
}
