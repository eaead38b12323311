package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// accept takes a directive or refuses it (I1, I11).
func (m *Member) accept(d instance.Directive) {
	v := m.Volume
	if d.Term < v.Term || d.Epoch < v.Promised {
		m.refused = d.ID
		m.world.note("%s: refuses %s of term %d, epoch %d", m.Name, d.Role, d.Term, d.Epoch)
		return
	}
	if m.directive == nil || m.directive.ID != d.ID {
		m.world.note("%s: is told %s", m.Name, Short(d))
	}
	v.Term, v.Promised = d.Term, d.Epoch
	if d.Record.Epoch >= v.Record.Epoch {
		v.Record = d.Record
	}
	m.directive, m.refused = &d, ""
	m.configure(d)
}

// configure takes the directive's configuration; what needs a restart waits for one.
func (m *Member) configure(d instance.Directive) { m.Volume.config = d.Config["version"] }

// options is the user's configuration in a version of it.
func options(version string) map[string]string { return map[string]string{"version": version} }

// Short writes a directive in a few words.
func Short(d instance.Directive) string {
	switch {
	case d.Primary != nil:
		names := make([]string, 0, len(d.Primary.Admitted))
		for _, p := range d.Primary.Admitted {
			names = append(names, p.Name)
		}
		return fmt.Sprintf("%s, epoch %d, term %d, acks %d, serve=%v, admitted %v", d.Role, d.Epoch, d.Term, d.Primary.Acks, d.Primary.Serve, names)
	case d.Replica != nil:
		return fmt.Sprintf("%s of %s, epoch %d, term %d, acknowledge=%v", d.Role, d.Replica.Source.Name, d.Epoch, d.Term, d.Replica.Acknowledge)
	case d.Clone != nil:
		return fmt.Sprintf("%s of %s, epoch %d, term %d: %s", d.Role, d.Clone.Source.Name, d.Epoch, d.Term, d.Clone.Why)
	}
	if d.Rejoin != nil {
		return fmt.Sprintf("%s, epoch %d, term %d, without what %s does not hold", d.Role, d.Epoch, d.Term, d.Rejoin.Source)
	}
	return fmt.Sprintf("%s, epoch %d, term %d", d.Role, d.Epoch, d.Term)
}

// Step lets the agent take its next small step towards what it was told. It says whether there was one.
func (m *Member) Step() bool {
	if !m.running() || m.directive == nil || m.Stalled {
		return false
	}
	d := *m.directive
	if m.restart(d) {
		return true
	}
	switch d.Role {
	case instance.RoleStandby:
		return m.standby(d)
	case instance.RolePrimary:
		return m.primary(d)
	case instance.RoleDrain:
		return m.drain(d)
	case instance.RoleReplica:
		return m.replica(d)
	case instance.RoleClone:
		return m.clone(d)
	}
	return false
}

func (m *Member) restartNeeded() bool { return m.config != m.Volume.config }

// restart restarts mysqld for its configuration, if that is allowed.
func (m *Member) restart(d instance.Directive) bool {
	if !d.Restart || !m.restartNeeded() || m.state != instance.StateRunning {
		return false
	}
	m.KillServer("for its configuration")
	return true
}

// become takes a role on; it says whether that is news.
func (m *Member) become(role instance.Role, epoch uint64) bool {
	if m.role == role && m.epoch == epoch {
		return false
	}
	m.role, m.epoch, m.selfFenced = role, epoch, false
	m.world.note("%s: is %s in epoch %d", m.Name, role, epoch)
	return true
}

// leaveSource turns a source into an ordinary server, by SIGKILL unless it is drained.
func (m *Member) leaveSource() bool {
	switch {
	case !m.tainted:
		return false
	case !m.drained || m.Volume.waiting > 0:
		m.KillServer("it is a source and shall be none any more")
		return true
	}
	m.endDumps()
	m.tainted, m.drained, m.serving, m.role = false, false, false, ""
	m.Volume.Recovered = m.Volume.Served
	return true
}

func (m *Member) stopReceiver() bool {
	if !m.receiving {
		return false
	}
	m.leaveSession()
	m.receiving = false
	return true
}

func (m *Member) standby(d instance.Directive) bool {
	if m.leaveSource() || m.stopReceiver() {
		return true
	}
	m.applying = len(m.Volume.relay) > 0
	return m.become(instance.RoleStandby, d.Epoch)
}

func (m *Member) primary(d instance.Directive) bool {
	duty, v := d.Primary, m.Volume
	switch {
	case !v.Kept && !duty.Bootstrap:
		return false
	case !m.tainted && v.Served >= d.Epoch:
		// Its recovered tail may be nowhere else (I7).
		return false
	case m.stopReceiver():
		return true
	case len(v.relay) > 0:
		m.applying = true
		return false
	}
	if !m.tainted {
		v.channel, m.applying, m.tainted, m.acknowledging = nil, false, true, false
		m.dumps = map[string]*dump{}
		return true
	}
	m.drained = false
	if m.acks != duty.Acks || m.role == "" {
		m.acks = duty.Acks
		m.settle()
	}
	m.admit(d)
	news := m.become(instance.RolePrimary, d.Epoch)
	if m.serving != duty.Serve {
		m.open(d)
		news = true
	} else if news && m.serving {
		v.Served = d.Epoch
		m.world.opened(m)
	}
	return news
}

// admit opens the accounts of the admitted, closes those of all others and ends their sessions.
func (m *Member) admit(d instance.Directive) {
	v := m.Volume
	if m.passwordEpoch != d.Epoch {
		m.endDumps()
		m.passwords, m.passwordEpoch = map[string]sealedFor{}, d.Epoch
		for name := range v.accounts {
			delete(v.accounts, name)
		}
	}
	wanted := map[string]bool{}
	for _, peer := range d.Primary.Admitted {
		wanted[peer.Name] = true
		old := v.accounts[peer.Name]
		if old.open && (len(peer.Key) == 0 || m.passwords[peer.Name].key == string(peer.Key)) {
			continue
		}
		if len(peer.Key) == 0 {
			continue
		}
		m.world.nextPass++
		m.endDump(peer.Name)
		v.accounts[peer.Name] = password{epoch: d.Epoch, number: m.world.nextPass, open: true}
		m.passwords[peer.Name] = sealedFor{number: m.world.nextPass, key: string(peer.Key)}
	}
	for _, name := range sortedKeys(v.accounts) {
		if !wanted[name] {
			delete(v.accounts, name)
			delete(m.passwords, name)
			m.endDump(name)
		}
	}
}

func (m *Member) open(d instance.Directive) {
	m.serving = d.Primary.Serve
	if m.serving {
		m.Volume.Kept, m.Volume.Served = true, d.Epoch
		m.proof = m.world.Now
		m.world.opened(m)
	}
	m.world.note("%s: open=%v", m.Name, m.serving)
}

func (m *Member) drain(d instance.Directive) bool {
	if !m.tainted {
		return false
	}
	news := m.serving || m.role != instance.RoleDrain || m.epoch != d.Epoch
	m.serving = false
	m.become(instance.RoleDrain, d.Epoch)
	if !m.drained && m.Volume.waiting == 0 {
		m.drained = true
		m.world.note("%s: is drained", m.Name)
		return true
	}
	return news
}

func (m *Member) replica(d instance.Directive) bool {
	duty, v := d.Replica, m.Volume
	if m.leaveSource() {
		return true
	}
	cred := duty.Source.Credential
	if string(cred.Key) != m.key() {
		return false
	}
	var number int
	if _, err := fmt.Sscanf(string(cred.Box), "%d", &number); err != nil {
		return false
	}
	want := channel{source: duty.Source.Name, uuid: duty.Source.ServerUUID, epoch: d.Epoch, number: number}
	if v.channel == nil || *v.channel != want {
		if m.stopReceiver() {
			return true
		}
		if len(v.relay) > 0 {
			m.applying = true
			return false
		}
		v.channel, v.Kept = &want, true
		m.receiverError = 0
	}
	acknowledge := duty.Acknowledge && (!m.catchingUp(duty) || m.receiving && m.acknowledging)
	if m.receiving && m.acknowledging != acknowledge {
		m.stopReceiver()
		return true
	}
	m.acknowledging = acknowledge
	m.applying = true
	news := m.become(instance.RoleReplica, d.Epoch)
	if !m.receiving && m.receiverError == 0 {
		m.receiving, m.heard = true, m.world.Now
		news = true
	}
	return news
}

// catchingUp says whether the member lacks something of what its directive waits for.
func (m *Member) catchingUp(duty *instance.ReplicaDuty) bool {
	awaited, err := gtid.Parse(duty.CatchUp)
	return err != nil || !m.Volume.held.Contains(awaited)
}

func (m *Member) clone(d instance.Directive) bool {
	if m.leaveSource() || m.stopReceiver() {
		return true
	}
	if m.role == instance.RoleClone && m.epoch == d.Epoch {
		return false
	}
	if string(d.Clone.Source.Credential.Key) != m.key() {
		return false
	}
	m.world.cloning(m, d)
	m.donor = d.Clone
	m.role, m.epoch, m.state = instance.RoleClone, d.Epoch, instance.StateCloning
	return true
}

// FinishClone completes a CLONE, or fails it when the donor is gone.
func (m *Member) FinishClone() {
	w := m.world
	if m.state != instance.StateCloning || m.Frozen {
		return
	}
	duty := m.donor
	s := w.member(duty.Source.Name)
	if s == nil || !s.running() || s.Volume.uuid != duty.Source.ServerUUID || !w.Linked(m.Ordinal, s.Ordinal) ||
		!s.Volume.accounts[m.Name].open {
		m.KillServer("the donor is gone in the middle of CLONE")
		return
	}
	fresh := w.newVolume()
	v := m.Volume
	fresh.Term, fresh.Promised, fresh.Record, fresh.Kept, fresh.config = v.Term, v.Promised, v.Record, true, v.config
	fresh.binlog = slices.Clone(s.Volume.committed())
	for _, id := range fresh.binlog {
		fresh.has[id] = true
	}
	fresh.executed, fresh.held = s.Volume.executed, s.Volume.executed
	m.Volume, m.ApplyError = fresh, false
	role, epoch := m.role, m.epoch
	m.server = server{state: instance.StateRunning, dumps: map[string]*dump{}, config: fresh.config, role: role, epoch: epoch}
	w.note("%s: has the data of %s", m.Name, s.Name)
}

// Guard lets a primary without lease and quorum fence itself (I5).
func (m *Member) Guard() {
	if !m.running() || !m.serving {
		return
	}
	n := 0
	for _, name := range sortedKeys(m.dumps) {
		if d := m.dumps[name]; d.semi && m.world.members(name).live() == d {
			n++
		}
	}
	if n >= m.acks {
		m.proof = m.world.Now
	}
	if m.world.Now-m.proof >= topology.SelfFenceAfter {
		m.KillServer("it sees neither operator nor quorum")
		m.selfFenced = true
	}
}

func (w *World) members(name string) *Member { return w.member(name) }

// Report is what the agent says now.
func (m *Member) Report() instance.Report {
	v := m.Volume
	r := instance.Report{
		Instance: m.Name, Boot: fmt.Sprint(m.boot), State: m.state, Blank: !v.Kept,
		Term: v.Term, Promised: v.Promised, Served: v.Served, Record: v.Record,
		Refused: m.refused, SealingKey: []byte(m.key()), SelfFenced: m.selfFenced, Stalled: m.Stalled,
		Terminating: m.Terminating, ConfigHash: instance.ConfigHash(options(m.config), 0), RestartNeeded: m.state == instance.StateRunning && m.restartNeeded(),
		Role: m.role, Epoch: m.epoch,
	}
	if m.directive != nil {
		r.Directive = m.directive.ID
	}
	if m.state != instance.StateRunning {
		return r
	}
	r.ServerUUID, r.Serving, r.Drained = v.uuid, m.serving, m.drained && m.role == instance.RoleDrain
	r.Executed, r.Received = v.executed.String(), v.held.String()
	r.Acknowledging = m.acknowledging
	r.CatchingUp = m.directive != nil && m.directive.Replica != nil && m.catchingUp(m.directive.Replica)
	r.Receiver = instance.Receiver{Running: m.receiving, Connected: m.connected, ErrorNumber: m.receiverError}
	if v.channel != nil {
		r.Receiver.Source = v.channel.source
		r.Receiver.SilentMillis = int64((m.world.Now - m.heard) / time.Second * 1000)
	}
	r.Applier.Running = m.applying
	if m.ApplyError && m.applying {
		r.Applier = instance.Applier{ErrorNumber: 1062, Error: "duplicate entry"}
	}
	if m.role == instance.RolePrimary || m.role == instance.RoleDrain {
		m.reportSource(&r)
	}
	return r
}

func (m *Member) reportSource(r *instance.Report) {
	r.Acks = m.acks
	if m.acks == 0 {
		r.Acks = -1
	}
	r.WaitingCommits = m.Volume.waiting
	r.Attached = sortedKeys(m.dumps)
	r.Credentials = map[string]instance.Sealed{}
	r.Admitted = append(r.Admitted, sortedKeys(m.Volume.accounts)...)
	for name, p := range m.passwords {
		r.Credentials[name] = instance.Sealed{Epoch: m.passwordEpoch, Account: name, Key: []byte(p.key), Box: fmt.Append(nil, p.number)}
	}
}

// sets returns the sets of the present report.
func (m *Member) sets() (executed, held gtid.Set) { return m.Volume.executed, m.Volume.held }
