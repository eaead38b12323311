package controller_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/link"
)

// agents stands for the link and the instances behind it: agents in memory that become what they are told, and a
// replication that is always caught up. What agents do wrong is the business of the simulation of topology; here they
// are what the loop needs to get anywhere.
type agents struct {
	now func() time.Time
	// onSend, if set, sees every directive before the agent does.
	onSend func(pod string, d instance.Directive)
	// onChange, if set, is told of every pod whose report has changed.
	onChange func(link.PeerKey)

	mu   sync.Mutex
	all  map[string]*agent
	boot int
	// acknowledged is what was written on a primary that served.
	acknowledged gtid.Set
	// stored are the full backups in the store that all share, and missing is what their archive lacks.
	stored  []instance.StoredFull
	missing string
	// restores: the first instance of the cluster has restored when it comes up.
	restores bool
	// rehearsal is what the agent of a restore drill says; nil while there is none.
	rehearsal *instance.RestoreReport
	// rehearsedBy is the UID of its pod.
	rehearsedBy string
}

// agent is one instance: what is on its volume, and what runs.
type agent struct {
	key       link.PeerKey
	connected bool
	heard     time.Time
	// stubborn: it is told and does nothing.
	stubborn bool

	// The volume.
	uuid           string
	blank          bool
	term, promised uint64
	served         uint64
	record         instance.Record
	held           gtid.Set
	written        int
	config         map[string]string
	configured     bool
	volume         instance.Volume
	users          []string

	// What runs.
	boot      int
	state     instance.State
	directive *instance.Directive
	refused   string
	role      instance.Role
	epoch     uint64
	// source: it has been opened as a source since mysqld was started.
	source, serving, drained bool
	acks                     int
	admitted                 []string
	sealed                   map[string]instance.Sealed
	following                string
	attached, acknowledging  bool
	restartNeeded            bool
	archives                 []string
	backup                   *instance.BackupReport
	// restored: its data are what a restore brought back.
	restored bool
	// idle: it takes no full backup, whatever it is told.
	idle bool

	reported string
	// sentBy is the span that its newest directive was sent by.
	sentBy trace.SpanContext
}

func newAgents(now func() time.Time) *agents {
	return &agents{now: now, all: map[string]*agent{}}
}

// start runs an agent in a pod; what an earlier pod of the name left on the volume is there.
func (s *agents) start(key link.PeerKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.all[key.Pod]
	if a == nil {
		a = &agent{blank: true, uuid: s.uuid(), volume: instance.Volume{Size: 10 << 30, Free: 9 << 30}}
		s.all[key.Pod] = a
	}
	s.boot++
	a.key, a.connected, a.boot, a.directive = key, true, s.boot, nil
	a.restored = s.restores && strings.HasSuffix(key.Pod, "-0")
	a.restart()
}

func (s *agents) uuid() string {
	s.boot++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", s.boot)
}

// restart is a start of mysqld.
func (a *agent) restart() {
	a.state, a.role, a.epoch = instance.StateRunning, "", 0
	a.source, a.serving, a.drained, a.acks = false, false, false, 0
	a.admitted, a.sealed, a.following, a.attached, a.acknowledging = nil, nil, "", false, false
	a.configured, a.restartNeeded = false, false
	a.backup = nil
}

// with changes an agent under the lock.
func (s *agents) with(pod string, change func(*agent)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.all[pod])
}

// archive lets all instances report an archive, together.
func (s *agents) archive(folder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		a.archives = append(a.archives, folder)
	}
}

// kill ends mysqld, which its agent starts again at once.
func (s *agents) kill(pod string) { s.with(pod, (*agent).restart) }

// lose cuts the agent off, as the end of its pod does.
func (s *agents) lose(pod string) {
	s.with(pod, func(a *agent) { a.connected = false })
}

// write commits a transaction on the instance.
func (s *agents) write(pod string) {
	s.with(pod, func(a *agent) {
		a.written++
		own, err := gtid.Parse(fmt.Sprintf("%s:1-%d", a.uuid, a.written))
		if err != nil {
			panic(err)
		}
		a.held = a.held.Union(own)
		if a.serving {
			s.acknowledged = s.acknowledged.Union(own)
		}
	})
}

// Get is the observer's and the actor's view of the link.
func (s *agents) Get(namespace, pod string) (link.Peer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if peer, ok := s.drillPeer(namespace, pod); ok {
		return peer, true
	}
	a := s.all[pod]
	if a == nil || a.key.Namespace != namespace {
		return link.Peer{}, false
	}
	if a.connected {
		a.heard = s.now()
	}
	raw, err := json.Marshal(a.report())
	if err != nil {
		panic(err)
	}
	return link.Peer{Key: a.key, Connected: a.connected, Snapshot: raw, HeartbeatAt: a.heard}, true
}

// Send takes a directive to its agent.
func (s *agents) Send(ctx context.Context, key link.PeerKey, payload json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.all[key.Pod]
	if a == nil || a.key != key || !a.connected {
		return link.ErrNotConnected
	}
	var d instance.Directive
	if err := json.Unmarshal(payload, &d); err != nil {
		return err
	}
	if a.directive != nil && a.directive.ID == d.ID {
		return nil
	}
	a.sentBy = trace.SpanContextFromContext(ctx)
	if s.onSend != nil {
		s.onSend(key.Pod, d)
	}
	if d.Term < a.term || d.Epoch < a.promised {
		a.refused = d.ID
		return nil
	}
	a.term, a.promised, a.refused = d.Term, d.Epoch, ""
	if d.Record.Epoch >= a.record.Epoch {
		a.record = d.Record
	}
	a.directive = &d
	return nil
}

// settle lets every agent become what it was told, as far as it can.
func (s *agents) settle() {
	s.mu.Lock()
	for range 2 {
		for _, name := range slices.Sorted(maps.Keys(s.all)) {
			if a := s.all[name]; a.connected && !a.stubborn && a.directive != nil {
				a.configure(*a.directive)
				if a.state != instance.StateRunning {
					continue
				}
				s.obey(a, *a.directive)
				s.protect(a, a.directive.Backup)
			}
		}
	}
	for _, a := range s.all {
		s.replicate(a)
	}
	var changed []link.PeerKey
	for _, a := range s.all {
		raw, err := json.Marshal(a.report())
		if err != nil {
			panic(err)
		}
		if now := fmt.Sprint(a.connected, string(raw)); now != a.reported {
			a.reported = now
			changed = append(changed, a.key)
		}
	}
	s.mu.Unlock()
	if s.onChange != nil {
		for _, key := range changed {
			s.onChange(key)
		}
	}
}

// configure takes the configuration of a directive: an option that needs a restart when mysqld is started, which it may be
// only by permission, and the others at once.
func (a *agent) configure(d instance.Directive) {
	if !a.configured || a.config[needsRestart] == d.Config[needsRestart] || a.state != instance.StateRunning {
		a.config, a.configured, a.restartNeeded = d.Config, true, false
		return
	}
	if d.Restart {
		a.restart()
		a.config, a.configured = d.Config, true
		return
	}
	a.restartNeeded = true
	dynamic := map[string]string{}
	maps.Copy(dynamic, d.Config)
	delete(dynamic, needsRestart)
	if old, ok := a.config[needsRestart]; ok {
		dynamic[needsRestart] = old
	}
	a.config = dynamic
}

func (s *agents) obey(a *agent, d instance.Directive) {
	become := func() { a.role, a.epoch = d.Role, d.Epoch }
	// A source becomes anything else only drained, or by SIGKILL.
	leave := func() {
		if a.source {
			a.restart()
		}
		a.following, a.attached = "", false
	}
	switch d.Role {
	case instance.RoleStandby:
		leave()
		become()
	case instance.RolePrimary:
		if a.blank && !d.Primary.Bootstrap || !a.source && a.served >= d.Epoch {
			return
		}
		a.source, a.drained, a.following = true, false, ""
		become()
		a.admit(d)
		a.serving, a.users = d.Primary.Serve, nil
		for _, user := range d.Users {
			a.users = append(a.users, user.Name)
		}
		if a.serving {
			a.blank, a.served = false, d.Epoch
		}
	case instance.RoleDrain:
		if a.source {
			become()
			a.serving, a.drained = false, true
		}
	case instance.RoleReplica:
		if string(d.Replica.Source.Credential.Key) != a.sealingKey() {
			return
		}
		if a.source {
			leave()
		}
		become()
		a.following, a.acknowledging = d.Replica.Source.Name, d.Replica.Acknowledge
	case instance.RoleClone:
		donor := s.all[d.Clone.Source.Name]
		if a.role == instance.RoleClone && a.epoch == d.Epoch || donor == nil || !slices.Contains(donor.admitted, a.key.Pod) {
			return
		}
		leave()
		become()
		a.held, a.written, a.uuid, a.blank = donor.held, 0, s.uuid(), false
	}
}

func (a *agent) admit(d instance.Directive) {
	a.acks, a.admitted = d.Primary.Acks, nil
	sealed := map[string]instance.Sealed{}
	for _, peer := range d.Primary.Admitted {
		a.admitted = append(a.admitted, peer.Name)
		if old, ok := a.sealed[peer.Name]; ok && old.Epoch == d.Epoch && (len(peer.Key) == 0 || string(old.Key) == string(peer.Key)) {
			sealed[peer.Name] = old
		} else if len(peer.Key) > 0 {
			sealed[peer.Name] = instance.Sealed{Epoch: d.Epoch, Account: peer.Name, Key: peer.Key, Box: []byte("sealed")}
		}
	}
	a.sealed = sealed
}

// replicate brings a replica whatever its source has.
func (s *agents) replicate(a *agent) {
	source := s.all[a.following]
	a.attached = a.following != "" && a.connected && source != nil && source.connected && source.source &&
		source.epoch == a.epoch && slices.Contains(source.admitted, a.key.Pod)
	if a.attached {
		a.held = a.held.Union(source.held)
	}
}

func (a *agent) sealingKey() string { return fmt.Sprintf("key-%d", a.boot) }

func (a *agent) report() instance.Report {
	r := instance.Report{
		Instance: a.key.Pod, Boot: fmt.Sprint(a.boot), State: a.state, Blank: a.blank, ServerUUID: a.uuid, ServerVersion: "9.7.1",
		Term: a.term, Promised: a.promised, Served: a.served, Record: a.record, Refused: a.refused,
		Role: a.role, Epoch: a.epoch, Serving: a.serving, Drained: a.drained,
		Executed: a.held.String(), Received: a.held.String(), SealingKey: []byte(a.sealingKey()),
		Volume: a.volume, RestartNeeded: a.restartNeeded,
		Archives: a.archives, Backup: a.backup, Restored: a.restored,
	}
	if a.directive != nil {
		r.Directive, r.ConfigHash = a.directive.ID, instance.ConfigHash(a.config, a.directive.BufferPoolBytes)
	}
	if a.source {
		r.Acks, r.Admitted, r.Credentials = a.acks, a.admitted, a.sealed
		if a.acks == 0 {
			r.Acks = -1
		}
	}
	if a.following != "" {
		r.Receiver = instance.Receiver{Running: true, Connected: a.attached, Source: a.following}
		r.Applier.Running = true
		r.Acknowledging = a.acknowledging
	}
	return r
}
