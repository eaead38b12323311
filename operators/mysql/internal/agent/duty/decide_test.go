package duty

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/seal"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

const (
	uuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	uuidB = "8a94f357-aab4-11df-86ab-c80aa9429444"
)

// closed is a server as it comes up: read-only, offline, following nobody.
func closed() mysqld.Observation {
	return mysqld.Observation{
		ReadOnly: true, SuperReadOnly: true, Offline: true, SyncsRelay: true, SemiCount: 1, ServerUUID: uuidA, Executed: uuidB + ":1-10",
	}
}

// source is where the primary of these tests is.
func source() instance.Source {
	return instance.Source{
		Name: "shop-0", Host: "10.0.0.1", Port: 3306, ServerUUID: uuidB,
		Credential: instance.Sealed{Epoch: 5, Account: "kapok_peer_1", Box: []byte("sealed")},
	}
}

// following is a server that follows source with everything applied.
func following() (mysqld.Observation, Self) {
	o := closed()
	o.Offline, o.SemiReplica = false, true
	o.Channel = &mysqld.Channel{
		Host: "10.0.0.1", Port: 3306, Receiver: true, Connected: true, Applier: true, SourceUUID: uuidB,
		Retrieved: uuidB + ":5-10", Coordinator: 42,
	}
	s := source()
	return o, Self{
		Name: "shop-1", Receiver: ReceiverAcknowledging,
		State: state.State{Kept: true, Channel: &state.Channel{
			Epoch: 5, Source: s.Name, Host: s.Host, Port: s.Port, ServerUUID: s.ServerUUID, Secret: seal.Fingerprint(s.Credential),
		}},
	}
}

// serving is a primary of epoch 5 with two admitted members.
func serving() (mysqld.Observation, Self) {
	return mysqld.Observation{
			ServerUUID: uuidA, Executed: uuidA + ":1-10", SemiSource: true, SemiStrict: true, SemiCount: 1,
			OpenPeers: []string{"kapok_peer_1", "kapok_peer_2"},
			Dumps:     []mysqld.Dump{{ID: 7, User: "kapok_peer_1"}, {ID: 8, User: "kapok_peer_2"}},
		}, Self{
			Name: "shop-0", Tainted: true, PrimaryEpoch: 5, Credentialed: []string{"kapok_peer_1", "kapok_peer_2"},
			State: state.State{Kept: true, Served: 5},
		}
}

func primaryDuty(serve bool, acks int, members ...string) instance.Directive {
	d := instance.Directive{Role: instance.RolePrimary, Epoch: 5, Primary: &instance.PrimaryDuty{Acks: acks, Serve: serve}}
	for _, name := range members {
		d.Primary.Admitted = append(d.Primary.Admitted, instance.Peer{Name: name})
	}
	return d
}

func replicaDuty(acknowledge bool) instance.Directive {
	return instance.Directive{Role: instance.RoleReplica, Epoch: 5, Replica: &instance.ReplicaDuty{Source: source(), Acknowledge: acknowledge}}
}

// steps prints a plan's steps, one a line.
func steps(p Plan) string {
	var out []string
	for _, s := range p.Steps {
		out = append(out, s.String())
	}
	return strings.Join(out, "\n")
}

func TestDecide(t *testing.T) {
	type scenario struct {
		o     mysqld.Observation
		self  Self
		d     instance.Directive
		steps []string
		// converged, drained, waiting and problem are what the plan must say; problem is a part of its text.
		converged, drained bool
		waiting, problem   string
	}
	standby := instance.Directive{Role: instance.RoleStandby, Epoch: 6}
	tests := map[string]func() scenario{
		"standby: a fresh server is what it shall be": func() scenario {
			return scenario{o: closed(), d: standby, converged: true}
		},
		"standby: a source is killed": func() scenario {
			o, self := serving()
			return scenario{o: o, self: self, d: standby, steps: []string{"kill mysqld: told to stand by while it is a source"}}
		},
		"standby: a source that does not serve yet is killed too": func() scenario {
			o, self := serving()
			o.ReadOnly, o.SuperReadOnly, o.Offline = true, true, true
			return scenario{o: o, self: self, d: standby, steps: []string{"kill mysqld: told to stand by while it is a source"}}
		},
		"standby: a drained source stays as it is, so that no login waits": func() scenario {
			o, self := serving()
			o.ReadOnly, o.SuperReadOnly, o.Offline, self.Drained = true, true, true, true
			return scenario{o: o, self: self, d: standby, converged: true}
		},
		"I2 primary: semi-sync that a former source left lenient is strict again before it serves": func() scenario {
			o, self := serving()
			o.SemiStrict, o.ReadOnly, o.SuperReadOnly, o.Offline = false, true, true, true
			return scenario{o: o, self: self, d: primaryDuty(true, 1, "shop-1", "shop-2"), steps: []string{
				"set rpl_semi_sync_source_wait_no_replica=ON", "set super_read_only=OFF", "set read_only=OFF", "set offline_mode=OFF",
			}}
		},
		"replica: a former source turns semi-sync off once nothing waits for that": func() scenario {
			o, self := following()
			o.SemiSource, self.RoleFor = true, quietFor
			return scenario{o: o, self: self, d: replicaDuty(true), steps: []string{"set rpl_semi_sync_source_enabled=OFF"}, converged: true}
		},
		"replica: a former source leaves semi-sync on while logins might wait for turning it off": func() scenario {
			o, self := following()
			o.SemiSource, self.RoleFor = true, quietFor-1
			return scenario{o: o, self: self, d: replicaDuty(true), converged: true}
		},
		"replica: a drained source waits for its own replicas no more": func() scenario {
			o, self := serving()
			o.ReadOnly, o.SuperReadOnly, o.Offline, self.Drained = true, true, true, true
			return scenario{o: o, self: self, d: replicaDuty(true), steps: []string{
				"set rpl_semi_sync_source_wait_no_replica=OFF", "end binlog dump 7", "end binlog dump 8", "cease to be a source",
			}}
		},
		"I3 standby: a follower stops receiving, and applies on": func() scenario {
			o, self := following()
			o.Channel.Retrieved = uuidB + ":5-20"
			return scenario{o: o, self: self, d: standby, steps: []string{"stop the receiver"}}
		},
		"I10 standby: what was received is applied": func() scenario {
			o, self := following()
			o.Channel.Receiver, o.Channel.Connected, o.Channel.Applier = false, false, false
			o.Channel.Retrieved = uuidB + ":5-20"
			return scenario{o: o, self: self, d: standby, steps: []string{"start the applier"}, converged: true}
		},
		"standby: readers stay through a failover": func() scenario {
			o, self := following()
			o.Channel.Receiver, o.Channel.Connected = false, false
			self.RoleFor = time.Second
			return scenario{o: o, self: self, d: standby, converged: true}
		},
		"standby: readers are sent away after a while": func() scenario {
			o, self := following()
			o.Channel.Receiver, o.Channel.Connected = false, false
			self.RoleFor = closeAfter
			return scenario{o: o, self: self, d: standby, steps: []string{"set offline_mode=ON"}, converged: true}
		},
		"standby: what was opened by hand is closed": func() scenario {
			o := closed()
			o.SuperReadOnly = false
			return scenario{o: o, d: standby, steps: []string{"set super_read_only=ON"}}
		},
		"primary: a blank volume needs a bootstrap": func() scenario {
			return scenario{o: closed(), d: primaryDuty(true, 0), problem: "blank"}
		},
		"I10 primary: what was received is applied first": func() scenario {
			o, self := following()
			o.Channel.Receiver, o.Channel.Retrieved = false, uuidB+":5-12"
			return scenario{o: o, self: self, d: primaryDuty(true, 1, "shop-2"), waiting: "applying what was received",
				steps: []string{"wait until applied: " + uuidB + ":11-12"}}
		},
		"primary: an applier that broke is a problem, not a loss": func() scenario {
			o, self := following()
			o.Channel.Receiver, o.Channel.Applier, o.Channel.Retrieved = false, false, uuidB+":5-12"
			o.Channel.ApplierErrno, o.Channel.ApplierError = 1062, "duplicate"
			return scenario{o: o, self: self, d: primaryDuty(true, 1, "shop-2"), problem: "1062"}
		},
		"primary: the applier's coordinator is ended before it becomes a source": func() scenario {
			o, self := following()
			o.Channel.Receiver = false
			return scenario{o: o, self: self, d: primaryDuty(true, 1, "shop-2"), steps: []string{"stop the applier (session 42)"}}
		},
		"I1 I2 primary: semi-sync and accounts come before writes, the promise before both": func() scenario {
			o, self := following()
			o.Channel.Receiver, o.Channel.Applier, o.Channel.Coordinator = false, false, 0
			return scenario{o: o, self: self, d: primaryDuty(true, 2, "shop-0", "shop-2"), steps: []string{
				"become a source", "set rpl_semi_sync_replica_enabled=OFF",
				"set rpl_semi_sync_source_wait_for_replica_count=2",
				"set rpl_semi_sync_source_timeout=4294967295", "set rpl_semi_sync_source_wait_point=AFTER_SYNC",
				"set rpl_semi_sync_source_wait_no_replica=ON", "set rpl_semi_sync_source_enabled=ON",
				"set super_read_only=OFF", "open kapok_peer_0, kapok_peer_2 for epoch 5",
				"note that epoch 5 is served", "set read_only=OFF",
			}}
		},
		"I7 primary: without serve it stays closed": func() scenario {
			o := closed()
			return scenario{o: o, self: Self{Name: "shop-0", State: state.State{Kept: true}}, d: primaryDuty(false, 1, "shop-1"), steps: []string{
				"become a source",
				"set rpl_semi_sync_source_timeout=4294967295", "set rpl_semi_sync_source_wait_point=AFTER_SYNC",
				"set rpl_semi_sync_source_wait_no_replica=ON", "set rpl_semi_sync_source_enabled=ON",
				"set super_read_only=OFF", "open kapok_peer_1 for epoch 5", "set super_read_only=ON",
			}}
		},
		"primary: bootstrap of a blank volume": func() scenario {
			o := closed()
			o.Executed = ""
			d := primaryDuty(true, 0)
			d.Primary.Bootstrap = true
			return scenario{o: o, self: Self{Name: "shop-0"}, d: d, steps: []string{
				"become a source", "set super_read_only=OFF", "open  for epoch 5",
				"note that the data are kept", "note that epoch 5 is served", "set read_only=OFF", "set offline_mode=OFF",
			}}
		},
		"I7 primary: an epoch that was served before mysqld ended is over": func() scenario {
			self := Self{Name: "shop-0", State: state.State{Kept: true, Served: 5}}
			return scenario{o: closed(), self: self, d: primaryDuty(true, 1, "shop-1"), problem: "epoch 5 was served"}
		},
		"primary: its old channel is removed once nobody waits for anything else": func() scenario {
			o, self := serving()
			o.Channel = &mysqld.Channel{Host: "10.0.0.1", Port: 3306, SourceUUID: uuidB}
			return scenario{o: o, self: self, d: primaryDuty(true, 1, "shop-1", "shop-2"), steps: []string{"forget the source"}, converged: true}
		},
		"primary: as told": func() scenario {
			o, self := serving()
			return scenario{o: o, self: self, d: primaryDuty(true, 1, "shop-1", "shop-2"), converged: true}
		},
		"primary: more acknowledgements at run time": func() scenario {
			o, self := serving()
			return scenario{o: o, self: self, d: primaryDuty(true, 2, "shop-1", "shop-2"),
				steps: []string{"set rpl_semi_sync_source_wait_for_replica_count=2"}}
		},
		"primary: one copy is enough": func() scenario {
			o, self := serving()
			return scenario{o: o, self: self, d: primaryDuty(true, 0, "shop-1", "shop-2"),
				steps: []string{"set rpl_semi_sync_source_enabled=OFF"}}
		},
		"I2 primary: a member that is out is locked and its session ended": func() scenario {
			o, self := serving()
			return scenario{o: o, self: self, d: primaryDuty(true, 1, "shop-1"),
				waiting: "sessions of members that are not admitted to end",
				steps:   []string{"lock kapok_peer_2", "end binlog dump 8"}}
		},
		"I2 primary: no writes while a stranger is attached": func() scenario {
			o, self := serving()
			o.ReadOnly, o.SuperReadOnly, o.Offline = true, true, true
			o.OpenPeers = []string{"kapok_peer_1"}
			return scenario{o: o, self: self, d: primaryDuty(true, 1, "shop-1"),
				waiting: "sessions of members that are not admitted to end before it serves",
				steps:   []string{"end binlog dump 8"}}
		},
		"I12 primary: a new epoch changes every password and ends every session": func() scenario {
			o, self := serving()
			d := primaryDuty(true, 1, "shop-1", "shop-2")
			d.Epoch = 6
			return scenario{o: o, self: self, d: d,
				waiting: "sessions of members that are not admitted to end",
				steps:   []string{"open kapok_peer_1, kapok_peer_2 for epoch 6", "end binlog dump 7", "end binlog dump 8"}}
		},
		"drain: clients first, then writes": func() scenario {
			o, self := serving()
			return scenario{o: o, self: self, d: instance.Directive{Role: instance.RoleDrain, Epoch: 5},
				steps: []string{"set offline_mode=ON", "set super_read_only=ON"}}
		},
		"drain: not before every commit was answered": func() scenario {
			o, self := serving()
			o.ReadOnly, o.SuperReadOnly, o.Offline, o.WaitingCommits = true, true, true, 1
			return scenario{o: o, self: self, d: instance.Directive{Role: instance.RoleDrain, Epoch: 5}, waiting: "commits that wait for acknowledgement"}
		},
		"drain: not while a client is there": func() scenario {
			o, self := serving()
			o.ReadOnly, o.SuperReadOnly, o.Offline, o.Sessions = true, true, true, 3
			return scenario{o: o, self: self, d: instance.Directive{Role: instance.RoleDrain, Epoch: 5}, waiting: "client sessions to end"}
		},
		"drain: done": func() scenario {
			o, self := serving()
			o.ReadOnly, o.SuperReadOnly, o.Offline = true, true, true
			return scenario{o: o, self: self, d: instance.Directive{Role: instance.RoleDrain, Epoch: 5}, converged: true, drained: true}
		},
		"drain aborted: it serves again under the same epoch": func() scenario {
			o, self := serving()
			o.ReadOnly, o.SuperReadOnly, o.Offline = true, true, true
			return scenario{o: o, self: self, d: primaryDuty(true, 1, "shop-1", "shop-2"),
				steps: []string{"set super_read_only=OFF", "set read_only=OFF", "set offline_mode=OFF"}}
		},
		"replica: follows a source for the first time": func() scenario {
			return scenario{o: closed(), d: replicaDuty(true), steps: []string{
				"note that the data are kept", "follow shop-0 at 10.0.0.1:3306", "set rpl_semi_sync_replica_enabled=ON",
				"start the receiver, acknowledging", "start the applier",
			}}
		},
		"replica: as told": func() scenario {
			o, self := following()
			return scenario{o: o, self: self, d: replicaDuty(true), converged: true}
		},
		"replica: the same directive after a restart of mysqld starts the threads and changes nothing": func() scenario {
			o, self := following()
			o.Offline, o.SemiReplica = true, false
			o.Channel.Receiver, o.Channel.Connected, o.Channel.Applier, o.Channel.Coordinator = false, false, false, 0
			self.Receiver = ReceiverUnknown
			return scenario{o: o, self: self, d: replicaDuty(true), steps: []string{
				"set rpl_semi_sync_replica_enabled=ON", "start the receiver, acknowledging", "start the applier",
			}}
		},
		"I10 replica: another source only after everything received was applied": func() scenario {
			o, self := following()
			o.Channel.Retrieved = uuidB + ":5-12"
			d := replicaDuty(true)
			d.Replica.Source.Host, d.Replica.Source.Name = "10.0.0.9", "shop-2"
			return scenario{o: o, self: self, d: d, steps: []string{"stop the receiver"}}
		},
		"I12 replica: the same source in another epoch is another source": func() scenario {
			o, self := following()
			d := replicaDuty(true)
			d.Epoch = 6
			o.Channel.Receiver, o.Channel.Applier, o.Channel.Coordinator = false, false, 0
			return scenario{o: o, self: self, d: d, steps: []string{
				"follow shop-0 at 10.0.0.1:3306", "set rpl_semi_sync_replica_enabled=ON", "start the receiver, acknowledging", "start the applier",
			}}
		},
		"I10 replica: one that catches up with a closed primary begins silent, and need not sync what it receives": func() scenario {
			o, self := following()
			d := replicaDuty(true)
			d.Epoch, d.Replica.CatchUp = 6, uuidB+":1-900"
			o.Channel.Receiver, o.Channel.Applier, o.Channel.Coordinator = false, false, 0
			return scenario{o: o, self: self, d: d, steps: []string{
				"follow shop-0 at 10.0.0.1:3306", "set sync_relay_log=0", "set rpl_semi_sync_replica_enabled=OFF",
				"start the receiver, silent", "start the applier",
			}}
		},
		"I10 replica: before it acknowledges, all that it received is synced": func() scenario {
			o, self := following()
			o.SemiReplica, o.SyncsRelay, self.Receiver = false, false, ReceiverSilent
			d := replicaDuty(true)
			d.Replica.CatchUp = uuidB + ":1-10"
			return scenario{o: o, self: self, d: d, steps: []string{
				"stop the receiver", "set sync_relay_log=1", "sync what was received", "set rpl_semi_sync_replica_enabled=ON",
				"start the receiver, acknowledging",
			}}
		},
		"replica: one that acknowledges goes on acknowledging while it catches up": func() scenario {
			o, self := following()
			d := replicaDuty(true)
			d.Replica.CatchUp = uuidB + ":1-900"
			return scenario{o: o, self: self, d: d, converged: true, waiting: "what the primary holds"}
		},
		"I2 replica: a member that leaves the voters falls silent": func() scenario {
			o, self := following()
			return scenario{o: o, self: self, d: replicaDuty(false), steps: []string{
				"stop the receiver", "set sync_relay_log=0", "set rpl_semi_sync_replica_enabled=OFF", "start the receiver, silent",
			}}
		},
		"I2 replica: a receiver of unknown making is not trusted": func() scenario {
			o, self := following()
			self.Receiver = ReceiverUnknown
			return scenario{o: o, self: self, d: replicaDuty(true), steps: []string{
				"stop the receiver", "set rpl_semi_sync_replica_enabled=ON", "start the receiver, acknowledging",
			}}
		},
		"replica: another server at the source's address": func() scenario {
			o, self := following()
			o.Channel.SourceUUID = uuidA
			return scenario{o: o, self: self, d: replicaDuty(true), steps: []string{"stop the receiver"}, problem: uuidA}
		},
		"replica: a receiver that failed waits before it is started again": func() scenario {
			o, self := following()
			o.Channel.Receiver, o.Channel.Connected, o.Channel.ReceiverErrno = false, false, 1236
			return scenario{o: o, self: self, d: replicaDuty(true)}
		},
		"replica: a receiver that failed is started again": func() scenario {
			o, self := following()
			o.Channel.Receiver, o.Channel.Connected, o.Channel.ReceiverErrno = false, false, 1236
			self.RetryThreads = true
			return scenario{o: o, self: self, d: replicaDuty(true), steps: []string{"start the receiver, acknowledging"}}
		},
		"I4 replica: a source that was not drained is killed": func() scenario {
			o, self := serving()
			return scenario{o: o, self: self, d: replicaDuty(true), steps: []string{"kill mysqld: told to follow another server while its own commits may wait"}}
		},
		"replica: stays closed to readers until it is told a point": func() scenario {
			o, self := following()
			o.Offline = true
			d := replicaDuty(true)
			d.Replica.OpenAfter = o.Executed
			return scenario{o: o, self: self, d: d, converged: true}
		},
		"replica: stays closed to readers while it is far behind": func() scenario {
			o, self := following()
			o.Offline, self.OpenAfter = true, o.Executed+","+uuidB+":1-1000000"
			return scenario{o: o, self: self, d: replicaDuty(true), converged: true}
		},
		"replica: opens for readers where its primary was when it was told, though that has moved on": func() scenario {
			o, self := following()
			o.Offline, self.OpenAfter = true, o.Executed
			d := replicaDuty(true)
			d.Replica.OpenAfter = o.Executed + "," + uuidB + ":1-1000000"
			return scenario{o: o, self: self, d: d, steps: []string{"set offline_mode=OFF"}, converged: true}
		},
		"replica: a former primary that hears nobody closes to readers": func() scenario {
			o, self := following()
			self.State.Served, self.RoleFor, self.Unheard = 3, 20*time.Second, closeAfter
			return scenario{o: o, self: self, d: replicaDuty(true),
				steps: []string{"close to readers: neither the operator nor the source is heard"}, converged: true}
		},
		"replica: a former primary that hears somebody stays open": func() scenario {
			o, self := following()
			self.State.Served, self.RoleFor, self.Unheard = 3, 20*time.Second, closeAfter-1
			return scenario{o: o, self: self, d: replicaDuty(true), converged: true}
		},
		"replica: once every node knows who is primary, it stays open whoever is heard": func() scenario {
			o, self := following()
			self.State.Served, self.RoleFor, self.Unheard = 3, routesSettle, time.Hour
			return scenario{o: o, self: self, d: replicaDuty(true), converged: true}
		},
		"replica: one that was never primary stays open whoever is heard": func() scenario {
			o, self := following()
			self.RoleFor, self.Unheard = 20*time.Second, time.Hour
			return scenario{o: o, self: self, d: replicaDuty(true), converged: true}
		},
		"I6 clone: what only this instance has is archived": func() scenario {
			o := closed()
			o.Executed = uuidB + ":1-10," + uuidA + ":1-3"
			d := instance.Directive{Role: instance.RoleClone, Clone: &instance.CloneDuty{Source: source(), SourceExecuted: uuidB + ":1-9"}}
			return scenario{o: o, self: Self{RetryClone: true, State: state.State{Kept: true}}, d: d,
				steps: []string{"archive " + uuidA + ":1-3," + uuidB + ":10, then replace the data by those of shop-0"}}
		},
		"I6 clone: received and unapplied counts as held": func() scenario {
			o, self := following()
			self.RetryClone = true
			o.Channel.Receiver, o.Channel.Applier, o.Channel.Coordinator = false, false, 0
			o.Channel.Retrieved = uuidB + ":5-12"
			d := instance.Directive{Role: instance.RoleClone, Clone: &instance.CloneDuty{Source: source(), SourceExecuted: uuidB + ":1-10"}}
			return scenario{o: o, self: self, d: d,
				steps: []string{"archive " + uuidB + ":11-12, then replace the data by those of shop-0"}}
		},
		"clone: once is enough": func() scenario {
			d := instance.Directive{Role: instance.RoleClone, Clone: &instance.CloneDuty{Source: source()}}
			return scenario{o: closed(), self: Self{CloneDone: true, RetryClone: true}, d: d, converged: true}
		},
		"clone: under way": func() scenario {
			d := instance.Directive{Role: instance.RoleClone, Clone: &instance.CloneDuty{Source: source()}}
			return scenario{o: closed(), self: Self{CloneBusy: true, RetryClone: true}, d: d, waiting: "the data are being replaced"}
		},
		"a role without its duty": func() scenario {
			return scenario{o: closed(), d: instance.Directive{Role: instance.RoleReplica}, problem: "lacks its duty"}
		},
		"a GTID set that cannot be read": func() scenario {
			o := closed()
			o.Executed = "nonsense"
			return scenario{o: o, d: standby, problem: "nonsense"}
		},
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			s := make()
			got := Decide(s.o, s.self, s.d)
			if diff := cmp.Diff(strings.Join(s.steps, "\n"), steps(got)); diff != "" {
				t.Error(diff)
			}
			if got.Converged != s.converged || got.Drained != s.drained || got.Waiting != s.waiting {
				t.Errorf("converged %v, drained %v, waiting %q", got.Converged, got.Drained, got.Waiting)
			}
			if (got.Problem == "") != (s.problem == "") || !strings.Contains(got.Problem, s.problem) {
				t.Errorf("problem %q, want %q", got.Problem, s.problem)
			}
			again := Decide(s.o, s.self, s.d)
			if steps(again) != steps(got) {
				t.Error("the same question was answered in two ways")
			}
		})
	}
}

func TestAccountsAndMembers(t *testing.T) {
	if got := Account("my-shop-12"); got != "kapok_peer_12" {
		t.Errorf("Account = %q", got)
	}
	if got := Member("kapok_peer_3", "my-shop-12"); got != "my-shop-3" {
		t.Errorf("Member = %q", got)
	}
}
