package status

import (
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// scene is a healthy cluster of three, primary db-0, in epoch 2; tests change it.
func scene() *Input {
	cluster := &v1alpha1.MySQLCluster{}
	cluster.Name, cluster.Namespace, cluster.Generation = "db", "shop", 4
	in := &Input{
		Cluster: cluster, PodProblems: map[string]Problem{}, Unreadable: map[string]string{}, Claims: map[string]Problem{},
		Observation: topology.Observation{
			Now: time.Unix(1_800_000_000, 0), Term: 3, ReadWrite: "db-0", Spec: topology.Spec{Instances: 3},
			Record: instance.Record{Epoch: 2, Term: 3, Primary: "db-0", Voters: []string{"db-0", "db-1", "db-2"}},
		},
	}
	for i, name := range []string{"db-0", "db-1", "db-2"} {
		in.Observation.Members = append(in.Observation.Members, member(in, name, i))
	}
	return in
}

// decided is the scene with the plan that it leads to.
func decided(in *Input) Input {
	in.Plan = topology.Decide(in.Observation)
	return *in
}

func member(in *Input, name string, ordinal int) topology.Member {
	held := set("00000000-0000-4000-8000-000000000001:1-100")
	m := topology.Member{
		Name: name, Ordinal: ordinal, Connected: true, Executed: held, Held: held,
		Pod: &topology.Pod{IP: "10.0.0." + string(rune('1'+ordinal)), Ready: true},
		Report: &instance.Report{
			Instance: name, Boot: "b", State: instance.StateRunning, ServerUUID: "00000000-0000-4000-8000-00000000000" + string(rune('1'+ordinal)),
			ServerVersion: "9.7.1", Term: 3, Promised: 2, Record: in.Observation.Record, Epoch: 2, SealingKey: []byte(name),
			Executed: held.String(), Received: held.String(), Volume: instance.Volume{Size: 100, Free: 60},
		},
	}
	if ordinal == 0 {
		m.Report.Role, m.Report.Serving, m.Report.Served, m.Report.Acks = instance.RolePrimary, true, 2, 1
		m.Report.Admitted = []string{"db-1", "db-2"}
		m.Report.Credentials = map[string]instance.Sealed{}
		for _, other := range []string{"db-1", "db-2"} {
			m.Report.Credentials[other] = instance.Sealed{Epoch: 2, Account: other, Key: []byte(other), Box: []byte("box")}
		}
		return m
	}
	m.Report.Role, m.Report.Acknowledging = instance.RoleReplica, true
	m.Report.Receiver = instance.Receiver{Running: true, Connected: true, Source: "db-0"}
	m.Report.Applier = instance.Applier{Running: true}
	return m
}

func set(text string) gtid.Set {
	s, err := gtid.Parse(text)
	if err != nil {
		panic(err)
	}
	return s
}

// The changes that several tests share.

func (in *Input) at(name string) *topology.Member { return in.Observation.Member(name) }

// gone: the pod and its agent are away.
func (in *Input) gone(names ...string) {
	for _, name := range names {
		m := in.at(name)
		m.Connected, m.Silence, m.UnfitFor = false, time.Minute, time.Minute
		m.Pod = nil
	}
}

// killed: mysqld of the instance has ended and runs again.
func (in *Input) killed(name string) {
	r := in.at(name).Report
	r.Role, r.Epoch, r.Serving, r.Acks, r.Admitted, r.Credentials = "", 0, false, 0, nil, nil
	for i := range in.Observation.Members {
		in.Observation.Members[i].Report.Receiver.Connected = false
	}
}

// fenced: the instance has promised the next epoch.
func (in *Input) fenced(names ...string) {
	for _, name := range names {
		r := in.at(name).Report
		r.Role, r.Epoch, r.Promised, r.Receiver, r.Acknowledging = instance.RoleStandby, 3, 3, instance.Receiver{}, false
	}
}

// blank: the instance has just been made.
func (in *Input) blank(name string) {
	m := in.at(name)
	m.Report.Blank, m.Report.Role, m.Report.Epoch, m.Report.Receiver = true, "", 0, instance.Receiver{}
	m.Report.Record, m.Executed, m.Held = instance.Record{}, gtid.Set{}, gtid.Set{}
}

// alone: db-0 is the only instance.
func (in *Input) alone() {
	in.Observation.Spec.Instances, in.Observation.Members = 1, in.Observation.Members[:1]
	in.Observation.Record.Voters = []string{"db-0"}
	in.at("db-0").Report.Record = in.Observation.Record
	in.at("db-0").Report.Acks = -1
}

// unborn: nothing was ever committed.
func (in *Input) unborn() {
	in.Observation.Record, in.Observation.ReadWrite = instance.Record{}, ""
	for _, name := range []string{"db-0", "db-1", "db-2"} {
		in.blank(name)
		in.at(name).Report.Served, in.at(name).Report.Promised = 0, 0
		in.at(name).Report.Serving = false
	}
}
