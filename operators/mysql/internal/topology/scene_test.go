package topology_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/model"
)

// now is when every scene plays.
var now = time.Unix(1_800_000_000, 0) //nolint:gochecknoglobals // A constant that Go cannot write as one.

const (
	epoch = 5
	term  = 3
)

// scene is an observation that a test bends.
type scene struct{ topology.Observation }

// cluster returns a healthy cluster of so many voters in which everything asked for is in force: db-0 is the primary of
// epoch 5 and holds transactions 1 to 100 of its own, as do all.
func cluster(voters int) *scene {
	s := &scene{topology.Observation{Now: now, Term: term, Spec: topology.Spec{Instances: voters}, ReadWrite: "db-0"}}
	s.Record = instance.Record{Epoch: epoch, Term: term, Primary: "db-0"}
	for i := range voters {
		s.Record.Voters = append(s.Record.Voters, model.Name(i))
	}
	for i := range voters {
		s.Members = append(s.Members, s.member(i))
	}
	p := s.at(0)
	p.Report.Role, p.Report.Serving, p.Report.Served = instance.RolePrimary, true, epoch
	p.Report.Acks = topology.WriteQuorum(voters) - 1
	p.Report.Credentials = map[string]instance.Sealed{}
	for i := 1; i < voters; i++ {
		s.admit(i)
		s.follow(i, 0)
		s.at(i).Report.Acknowledging = true
	}
	return s
}

// member returns a member that holds everything and does nothing.
func (s *scene) member(i int) topology.Member {
	m := topology.Member{Name: model.Name(i), Ordinal: i, Connected: true,
		Pod: &topology.Pod{IP: fmt.Sprintf("10.0.0.%d", i+1), Ready: true},
		Report: &instance.Report{
			Instance: model.Name(i), State: instance.StateRunning, ServerUUID: uuid(i), Term: term, Promised: epoch,
			Epoch: epoch, Record: s.Record, SealingKey: []byte(model.Name(i)), Role: instance.RoleStandby,
			ConfigHash: instance.ConfigHash(nil, 0),
		}}
	m.Executed = set(uuid(0) + ":1-100")
	m.Held = m.Executed
	return m
}

func uuid(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000000", i+1) }

func set(text string) gtid.Set {
	s, err := gtid.Parse(text)
	if err != nil {
		panic(err)
	}
	return s
}

func (s *scene) at(i int) *topology.Member { return &s.Members[i] }

// admit opens the primary's account for a member.
func (s *scene) admit(i int) {
	r, name := s.at(0).Report, model.Name(i)
	r.Admitted = append(slices.Clone(r.Admitted), name)
	r.Attached = append(slices.Clone(r.Attached), name)
	r.Credentials[name] = instance.Sealed{Epoch: epoch, Account: name, Key: []byte(name), Box: []byte("box")}
}

// shut closes the primary's account for a member.
func (s *scene) shut(i int) {
	r, name := s.at(0).Report, model.Name(i)
	r.Admitted = slices.DeleteFunc(slices.Clone(r.Admitted), func(n string) bool { return n == name })
	r.Attached = slices.DeleteFunc(slices.Clone(r.Attached), func(n string) bool { return n == name })
}

// follow makes a member a replica of another, with both halves at work.
func (s *scene) follow(i, source int) {
	r := s.at(i).Report
	r.Role, r.Epoch = instance.RoleReplica, s.Record.Epoch
	r.Receiver = instance.Receiver{Running: true, Connected: true, Source: model.Name(source)}
	r.Applier.Running = true
}

// fenced makes a member one that stands by in an epoch.
func (s *scene) fenced(i int, epoch uint64) {
	r := s.at(i).Report
	r.Role, r.Epoch, r.Promised, r.Receiver.Running, r.Receiver.Connected = instance.RoleStandby, epoch, epoch, false, false
	r.Serving, r.Acknowledging = false, false
}

// holds sets what a member holds and has executed.
func (s *scene) holds(i int, text string) {
	s.at(i).Held = set(text)
	s.at(i).Executed = s.at(i).Held
}

// silence cuts a member off from the operator for a time.
func (s *scene) silence(i int, d time.Duration) {
	s.at(i).Connected, s.at(i).Silence, s.at(i).UnfitFor = false, d, d
}

// died makes a member's mysqld one that its agent has seen end.
func (s *scene) died(i int) {
	r := s.at(i).Report
	r.State, r.Role, r.Epoch, r.Serving, r.Acknowledging = instance.StateDown, "", 0, false, false
	r.Receiver, r.Applier = instance.Receiver{}, instance.Applier{}
	s.at(i).Executed, s.at(i).Held = gtid.Set{}, gtid.Set{}
}

// record changes the record; everybody alive has been told.
func (s *scene) record(change func(*instance.Record)) {
	change(&s.Record)
	for i := range s.Members {
		if r := s.Members[i].Report; r != nil {
			r.Record = s.Record
		}
	}
}

// join adds a member that is no voter; it follows without acknowledging.
func (s *scene) join() int {
	i := len(s.Members)
	s.Spec.Instances++
	s.Members = append(s.Members, s.member(i))
	s.admit(i)
	s.follow(i, 0)
	return i
}

// decide makes a plan and holds it to what every plan has to keep.
func (s *scene) decide(t *testing.T) topology.Plan {
	t.Helper()
	plan := topology.Decide(s.Observation)
	for _, problem := range model.CheckPlan(s.Observation, plan) {
		t.Error(problem)
	}
	return plan
}

// commits expects a commit of a kind and returns it.
func (s *scene) commits(t *testing.T, kind topology.CommitKind) topology.Commit {
	t.Helper()
	plan := s.decide(t)
	if plan.Commit == nil {
		t.Fatalf("no commit, want %s; the plan is %s: %s", kind, plan.State, plan.Why)
	}
	if plan.Commit.Kind != kind {
		t.Fatalf("commit %s (%s), want %s", plan.Commit.Kind, plan.Commit.Why, kind)
	}
	return *plan.Commit
}

// waits expects no commit and returns the plan.
func (s *scene) waits(t *testing.T) topology.Plan {
	t.Helper()
	plan := s.decide(t)
	if plan.Commit != nil {
		t.Fatalf("commit %s (%s), want none", plan.Commit.Kind, plan.Commit.Why)
	}
	return plan
}

// told returns what a member is told; the zero directive for nothing.
func told(plan topology.Plan, i int) instance.Directive {
	for _, d := range plan.Directives {
		if d.Member == model.Name(i) {
			return d.Directive
		}
	}
	return instance.Directive{}
}

// admitted says whether the primary is told to admit a member.
func admitted(plan topology.Plan, i int) bool {
	d := told(plan, 0)
	return d.Primary != nil && slices.ContainsFunc(d.Primary.Admitted, func(p instance.Peer) bool { return p.Name == model.Name(i) })
}
