package topology_test

import (
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// I1: the record comes before anybody is told to lead, and only record.Primary is told, at record.Epoch. That an agent
// serves no other epoch is tested with the agent.
func TestI1OneWritablePrimaryPerEpoch(t *testing.T) {
	t.Run("a plan that commits a primary tells nobody to lead", func(t *testing.T) {
		s := cluster(3)
		s.died(0)
		s.fenced(1, 6)
		s.fenced(2, 6)
		c := s.commits(t, topology.CommitPromote)
		if c.To.Epoch != 6 || c.To.Primary == "db-0" {
			t.Errorf("committed %+v", c.To)
		}
		if plan := s.decide(t); len(plan.Directives) > 0 {
			t.Errorf("told %v besides the commit", plan.Directives)
		}
	})
	t.Run("an old primary that still serves is told to stand by in the new epoch", func(t *testing.T) {
		s := cluster(3)
		s.Record.Epoch, s.Record.Primary = 6, "db-1"
		s.fenced(1, 6)
		s.fenced(2, 6)
		plan := s.waits(t)
		if d := told(plan, 0); d.Role != instance.RoleStandby || d.Epoch != 6 {
			t.Errorf("db-0 is told %s in epoch %d", d.Role, d.Epoch)
		}
		if d := told(plan, 1); d.Role != instance.RolePrimary || d.Epoch != 6 {
			t.Errorf("db-1 is told %s in epoch %d", d.Role, d.Epoch)
		}
	})
	t.Run("a member that promised more than the record is told nothing lower", func(t *testing.T) {
		s := cluster(3)
		s.at(2).Report.Promised = 9
		if c := s.commits(t, topology.CommitRenew); c.To.Epoch != 9 || c.To.Primary != "db-0" {
			t.Errorf("committed %+v", c.To)
		}
	})
}

// I2: acknowledgements are counted from voters only, and the voter set changes by one in an order that keeps every
// acknowledged transaction within reach.
func TestI2AcknowledgedMeansDurable(t *testing.T) {
	t.Run("quorums intersect for every number of voters", func(t *testing.T) {
		for n := 1; n <= 9; n++ {
			if w, r := topology.WriteQuorum(n), topology.ReadQuorum(n); w+r <= n || w < 1 || r < 1 || w > n || 2*w <= n {
				t.Errorf("%d voters: W=%d, R=%d", n, w, r)
			}
		}
	})
	t.Run("a newcomer follows without acknowledging", func(t *testing.T) {
		s := cluster(3)
		s.record(func(r *instance.Record) { r.Voters = []string{"db-0", "db-1"} })
		s.at(2).Report.Acknowledging = false
		s.Spec.Instances = 2
		if d := told(s.waits(t), 2); d.Replica == nil || d.Replica.Acknowledge {
			t.Errorf("db-2 is told %+v", d)
		}
	})
	t.Run("the larger quorum is in force before the larger set is committed", func(t *testing.T) {
		s := cluster(3)
		s.join()
		s.commits(t, topology.CommitChange)
		s.record(func(r *instance.Record) { r.Change = &instance.VoterChange{Add: "db-3"} })
		if d := told(s.waits(t), 0); d.Primary.Acks != 2 {
			t.Errorf("the primary is told %d acks, want those of four voters", d.Primary.Acks)
		}
		s.at(0).Report.Acks = 2
		s.holds(3, uuid(0)+":1-99")
		s.waits(t)
		s.holds(3, uuid(0)+":1-100")
		if c := s.commits(t, topology.CommitVoters); len(c.To.Voters) != 4 || c.To.Change != nil {
			t.Errorf("committed %+v", c.To)
		}
	})
	t.Run("the first replica acknowledges before it is counted on", func(t *testing.T) {
		s := cluster(1)
		s.join()
		s.record(func(r *instance.Record) { r.Change = &instance.VoterChange{Add: "db-1"} })
		plan := s.waits(t)
		if d := told(plan, 0); d.Primary.Acks != 0 {
			t.Errorf("commits wait for %d acks that nobody gives", d.Primary.Acks)
		}
		if d := told(plan, 1); !d.Replica.Acknowledge {
			t.Error("db-1 is not told to acknowledge")
		}
		s.at(1).Report.Acknowledging = true
		if d := told(s.waits(t), 0); d.Primary.Acks != 1 {
			t.Errorf("the primary is told %d acks", d.Primary.Acks)
		}
		s.at(0).Report.Acks = 1
		s.commits(t, topology.CommitVoters)
	})
	t.Run("a leaver is shut out, and the rest holds everything, before the smaller set is committed", func(t *testing.T) {
		s := cluster(3)
		s.silence(2, 31*time.Second)
		s.commits(t, topology.CommitChange)
		s.record(func(r *instance.Record) { r.Change = &instance.VoterChange{Remove: "db-2"} })
		if plan := s.waits(t); admitted(plan, 2) || told(plan, 0).Primary.Acks != 1 {
			t.Errorf("the primary is told %+v", told(plan, 0).Primary)
		}
		s.shut(2)
		s.holds(1, uuid(0)+":1-99")
		s.waits(t)
		s.holds(1, uuid(0)+":1-100")
		if c := s.commits(t, topology.CommitVoters); len(c.To.Voters) != 2 {
			t.Errorf("committed %+v", c.To)
		}
	})
	t.Run("a majority that is gone cannot be voted out", func(t *testing.T) {
		s := cluster(3)
		s.silence(1, time.Hour)
		s.silence(2, time.Hour)
		s.holds(1, uuid(0)+":1-99")
		s.holds(2, uuid(0)+":1-99")
		s.waits(t)
	})
	t.Run("what was asked under an earlier leader is not in force", func(t *testing.T) {
		s := cluster(3)
		s.join()
		s.record(func(r *instance.Record) { r.Change = &instance.VoterChange{Add: "db-3"} })
		s.at(0).Report.Acks = 2
		s.at(0).Report.Term = term - 1
		s.waits(t)
	})
}

// I3: a promotion follows a fence of a read quorum, and the candidate holds everything that any of them holds.
func TestI3PromotionNeedsReadQuorum(t *testing.T) {
	for n := 2; n <= 9; n++ {
		s := cluster(n)
		s.died(0)
		for i := 1; i < topology.ReadQuorum(n); i++ {
			s.fenced(i, 6)
		}
		if n > 2 {
			s.waits(t)
		}
		s.fenced(topology.ReadQuorum(n), 6)
		s.commits(t, topology.CommitPromote)
	}
	t.Run("the most advanced is promoted, applied or not", func(t *testing.T) {
		s := cluster(3)
		s.died(0)
		s.fenced(1, 6)
		s.fenced(2, 6)
		s.at(2).Held = set(uuid(0) + ":1-105")
		if c := s.commits(t, topology.CommitPromote); c.To.Primary != "db-2" {
			t.Errorf("%s is promoted", c.To.Primary)
		}
	})
	t.Run("a receiver that still runs is no fence", func(t *testing.T) {
		s := cluster(3)
		s.died(0)
		s.fenced(1, 6)
		s.fenced(2, 6)
		s.at(2).Report.Receiver.Running = true
		s.waits(t)
	})
	t.Run("a promise of another epoch is no fence", func(t *testing.T) {
		s := cluster(3)
		s.died(0)
		s.fenced(1, 6)
		s.fenced(2, 7)
		s.waits(t)
	})
	t.Run("nobody is promoted over what contradicts", func(t *testing.T) {
		s := cluster(3)
		s.died(0)
		s.fenced(1, 6)
		s.fenced(2, 6)
		s.at(1).Report.Served, s.at(2).Report.Served = 2, 3
		s.holds(1, uuid(0)+":1-100,"+uuid(1)+":1")
		s.holds(2, uuid(0)+":1-100,"+uuid(2)+":1")
		s.waits(t)
	})
	t.Run("an earlier primary's write that only the dead one had too is no errant one", func(t *testing.T) {
		s := cluster(3)
		s.died(0)
		s.fenced(1, 6)
		s.fenced(2, 6)
		s.at(1).Report.Served = 4
		s.holds(1, uuid(0)+":1-100,"+uuid(1)+":7")
		if c := s.commits(t, topology.CommitPromote); c.To.Primary != "db-1" {
			t.Errorf("%s is promoted without an acknowledged write", c.To.Primary)
		}
	})
}

// I4: nothing rests on reaching the old primary, on clocks or on node conditions.
func TestI4NothingRestsOnTheOldPrimary(t *testing.T) {
	t.Run("a primary without pod and report is replaced by its voters", func(t *testing.T) {
		s := cluster(3)
		s.at(0).Report, s.at(0).Pod, s.at(0).Connected, s.at(0).Silence = nil, nil, false, topology.PromoteAfter
		for _, i := range []int{1, 2} {
			s.fenced(i, 6)
		}
		s.commits(t, topology.CommitPromote)
	})
	t.Run("the operator's clock changes nothing about who holds what", func(t *testing.T) {
		s := cluster(3)
		s.died(0)
		s.fenced(1, 6)
		for _, d := range []time.Duration{-time.Hour, 0, time.Hour} {
			s.Now = now.Add(d)
			s.waits(t)
		}
	})
}

// I5: silence alone condemns nobody whose voters hear it, and nobody before it must have closed itself. The agent's
// deadline is tested with the agent.
func TestI5SilentPrimary(t *testing.T) {
	if topology.SelfFenceAfter >= topology.PromoteAfter {
		t.Errorf("a primary fences itself after %s, but is given up after %s", topology.SelfFenceAfter, topology.PromoteAfter)
	}
	t.Run("left alone while its voters hear it", func(t *testing.T) {
		s := cluster(3)
		s.silence(0, time.Hour)
		if plan := s.waits(t); plan.State != topology.Unreachable || len(plan.Directives) > 0 {
			t.Errorf("%s: %s", plan.State, plan.Why)
		}
	})
	t.Run("waited for until it must have closed itself", func(t *testing.T) {
		s := cluster(3)
		s.silence(0, topology.PromoteAfter-time.Millisecond)
		for _, i := range []int{1, 2} {
			s.at(i).Report.Receiver.SilentMillis = topology.SourceSilence.Milliseconds()
		}
		if plan := s.waits(t); plan.State != topology.Waiting || len(plan.Directives) > 0 {
			t.Errorf("%s: %s", plan.State, plan.Why)
		}
		s.silence(0, topology.PromoteAfter)
		if plan := s.waits(t); told(plan, 1).Epoch != 6 || told(plan, 2).Role != instance.RoleStandby {
			t.Errorf("its voters are told %+v", plan.Directives)
		}
	})
	t.Run("a death that its agent reports needs no wait", func(t *testing.T) {
		s := cluster(3)
		s.died(0)
		if plan := s.waits(t); told(plan, 1).Epoch != 6 {
			t.Errorf("db-1 is told %+v", told(plan, 1))
		}
	})
	t.Run("back at work after a fence was begun, it goes on in a renewed epoch, closed until its voters hold the same", func(t *testing.T) {
		s := cluster(3)
		s.fenced(1, 6)
		c := s.commits(t, topology.CommitRenew)
		s.record(func(r *instance.Record) { *r = c.To })
		d := told(s.waits(t), 0)
		if d.Epoch != 6 || d.Primary.Serve {
			t.Errorf("it is told epoch %d, serve=%v", d.Epoch, d.Primary.Serve)
		}
		s.at(0).Report.Epoch, s.at(0).Report.Serving = 6, false
		if d := told(s.waits(t), 0); !d.Primary.Serve {
			t.Error("it is not opened again")
		}
	})
}

// I6: errant transactions are neither merged nor dropped: their holder leaves the voters, then is cloned. That the agent
// archives first is tested with the agent.
func TestI6Errant(t *testing.T) {
	errant := uuid(0) + ":1-100," + uuid(2) + ":1"
	t.Run("its holder leaves the voters first", func(t *testing.T) {
		s := cluster(3)
		s.holds(2, errant)
		if c := s.commits(t, topology.CommitChange); c.To.Change.Remove != "db-2" {
			t.Errorf("committed %+v", c.To.Change)
		}
	})
	t.Run("then it is cloned, and what the primary has is named, so that the rest is archived", func(t *testing.T) {
		s := cluster(3)
		s.record(func(r *instance.Record) { r.Voters = []string{"db-0", "db-1"} })
		s.holds(2, errant)
		d := told(s.waits(t), 2)
		if d.Role != instance.RoleClone || d.Clone.SourceExecuted != uuid(0)+":1-100" {
			t.Errorf("db-2 is told %+v, %+v", d.Role, d.Clone)
		}
	})
	t.Run("it is not promoted", func(t *testing.T) {
		s := cluster(3)
		s.died(0)
		s.fenced(1, 6)
		s.fenced(2, 6)
		s.holds(2, errant)
		if c := s.commits(t, topology.CommitPromote); c.To.Primary != "db-1" {
			t.Errorf("%s is promoted", c.To.Primary)
		}
	})
	t.Run("a blip is none: what the primary made since its report", func(t *testing.T) {
		for _, role := range []instance.Role{instance.RoleReplica, instance.RoleStandby, ""} {
			s := cluster(3)
			s.holds(2, uuid(0)+":1-140")
			s.at(2).Report.Role = role
			s.waits(t)
		}
	})
	t.Run("a fallen instance does not follow before it is seen", func(t *testing.T) {
		s := cluster(3)
		s.died(2)
		if d := told(s.waits(t), 2); d.Role != instance.RoleStandby {
			t.Errorf("db-2 is told %s", d.Role)
		}
	})
}

// I7: a primary is opened when what it holds is on a write quorum, not before.
func TestI7ServeGate(t *testing.T) {
	rising := func() *scene {
		s := cluster(3)
		s.record(func(r *instance.Record) { r.Epoch = 6 })
		for i := range 3 {
			s.fenced(i, 6)
		}
		s.holds(0, uuid(0)+":1-101")
		return s
	}
	t.Run("closed with a tail that nobody else has", func(t *testing.T) {
		if d := told(rising().waits(t), 0); d.Role != instance.RolePrimary || d.Primary.Serve {
			t.Errorf("it is told %+v", d.Primary)
		}
	})
	t.Run("open when a voter holds it too, received or applied", func(t *testing.T) {
		s := rising()
		s.at(1).Held = set(uuid(0) + ":1-101")
		if d := told(s.waits(t), 0); !d.Primary.Serve {
			t.Error("it stays closed")
		}
	})
	t.Run("a blank or unreachable voter holds nothing", func(t *testing.T) {
		s := rising()
		s.at(1).Held, s.at(1).Connected = set(uuid(0)+":1-101"), false
		s.at(2).Held, s.at(2).Report.Blank = set(uuid(0)+":1-101"), true
		s.record(func(r *instance.Record) { r.Voters = []string{"db-0", "db-1", "db-2"} })
		if plan := s.decide(t); plan.Commit == nil && told(plan, 0).Primary.Serve {
			t.Error("it is opened")
		}
	})
}

// I8: after a total outage a read quorum decides; without one nobody is promoted, unless forced.
func TestI8TotalOutage(t *testing.T) {
	out := func(n int) *scene {
		s := cluster(n)
		for i := range n {
			s.died(i)
		}
		return s
	}
	t.Run("nobody without a quorum", func(t *testing.T) {
		s := out(3)
		s.at(1).Report.State = instance.StateRunning
		s.fenced(1, 6)
		if plan := s.waits(t); plan.State != topology.Waiting {
			t.Errorf("%s: %s", plan.State, plan.Why)
		}
	})
	t.Run("the most advanced of a quorum", func(t *testing.T) {
		s := out(3)
		for _, i := range []int{1, 2} {
			s.at(i).Report.State = instance.StateRunning
			s.fenced(i, 6)
			s.holds(i, uuid(0)+":1-100")
		}
		s.holds(2, uuid(0)+":1-101")
		if c := s.commits(t, topology.CommitPromote); c.To.Primary != "db-2" {
			t.Errorf("%s is promoted", c.To.Primary)
		}
	})
	t.Run("forced, alone, fenced first", func(t *testing.T) {
		s := out(3)
		s.Request.ForcePromote = "db-1"
		s.at(1).Report.State = instance.StateRunning
		s.waits(t)
		s.fenced(1, 6)
		if c := s.commits(t, topology.CommitForcePromote); c.To.Primary != "db-1" || len(c.To.Voters) != 1 {
			t.Errorf("committed %+v", c.To)
		}
	})
	t.Run("a blank instance cannot be forced", func(t *testing.T) {
		s := out(3)
		s.Request.ForcePromote = "db-1"
		s.at(1).Report.State, s.at(1).Report.Blank = instance.StateRunning, true
		s.fenced(1, 6)
		if plan := s.waits(t); len(plan.Done) != 1 || plan.Done[0].Refused == "" {
			t.Errorf("answered %+v", plan.Done)
		}
	})
	t.Run("a primary that serves and waits for ever goes on alone when it is named", func(t *testing.T) {
		s := cluster(3)
		s.Request.ForcePromote = "db-0"
		if plan := s.waits(t); len(plan.Done) != 1 || plan.Done[0].Refused == "" {
			t.Errorf("answered %+v although nothing is wrong", plan.Done)
		}
		s.silence(1, time.Hour)
		s.silence(2, time.Hour)
		if c := s.commits(t, topology.CommitForcePromote); c.To.Primary != "db-0" || c.To.Epoch != 6 || len(c.To.Voters) != 1 {
			t.Errorf("committed %+v", c.To)
		}
	})
}

// I9: data are overwritten or given up only where a quorum of others holds them.
func TestI9DataAreNotGivenUp(t *testing.T) {
	t.Run("a voter is never cloned over", func(t *testing.T) {
		for _, spoil := range []func(*topology.Member){
			func(m *topology.Member) { m.Report.Blank = true },
			func(m *topology.Member) { m.Report.Receiver.ErrorNumber = 1236 },
			func(m *topology.Member) { m.Report.Applier.ErrorNumber = 1062 },
			func(m *topology.Member) { m.Held = set(uuid(0) + ":1-100," + uuid(7) + ":1") },
		} {
			s := cluster(3)
			spoil(s.at(2))
			if c := s.commits(t, topology.CommitChange); c.To.Change.Remove != "db-2" {
				t.Errorf("committed %+v", c.To.Change)
			}
			s.silence(1, time.Minute)
			s.holds(1, uuid(0)+":1-99")
			if d := told(s.decide(t), 2); d.Role == instance.RoleClone {
				t.Error("a voter that the others cannot do without is cloned over")
			}
		}
	})
	t.Run("nobody is cloned from a primary that does not serve", func(t *testing.T) {
		s := cluster(2)
		i := s.join()
		s.at(i).Report.Blank = true
		s.at(0).Report.Serving, s.at(0).Report.Served = false, 4
		if d := told(s.decide(t), i); d.Role == instance.RoleClone {
			t.Error("cloned from a closed primary")
		}
	})
	t.Run("pods of voters stay", func(t *testing.T) {
		s := cluster(5)
		s.Spec.Instances = 2
		if plan := s.decide(t); plan.Replicas != 5 {
			t.Errorf("%d pods", plan.Replicas)
		}
	})
	t.Run("a lost volume is no new cluster", func(t *testing.T) {
		s := cluster(1)
		s.at(0).Report.Blank, s.at(0).Report.Role, s.at(0).Report.Serving, s.at(0).Report.Served = true, "", false, 0
		s.holds(0, "")
		if plan := s.waits(t); told(plan, 0).Role == instance.RolePrimary {
			t.Errorf("it is told %+v", told(plan, 0))
		}
	})
	t.Run("a founder that was never opened is one", func(t *testing.T) {
		s := cluster(1)
		s.ReadWrite = ""
		s.at(0).Report.Blank, s.at(0).Report.Role, s.at(0).Report.Serving, s.at(0).Report.Served = true, "", false, 0
		s.holds(0, "")
		if d := told(s.waits(t), 0); d.Primary == nil || !d.Primary.Bootstrap {
			t.Errorf("it is told %+v", d)
		}
	})
	t.Run("nothing is founded beside a kept volume that was not seen", func(t *testing.T) {
		s := cluster(2)
		s.Record, s.ReadWrite = instance.Record{}, ""
		for i := range 2 {
			r := s.at(i).Report
			r.Blank, r.Role, r.Record, r.Served, r.Serving, r.Promised, r.Epoch = true, "", instance.Record{}, 0, false, 0, 0
			s.holds(i, "")
		}
		s.commits(t, topology.CommitBootstrap)
		s.at(1).Report, s.at(1).OldVolume, s.at(1).Connected = nil, true, false
		s.waits(t)
	})
}

// I10: what was received counts as held, and nobody is told to drop it. That relay logs survive is tested with the agent.
func TestI10ReceivedCountsAsHeld(t *testing.T) {
	s := cluster(3)
	s.died(0)
	s.fenced(1, 6)
	s.fenced(2, 6)
	s.at(1).Held, s.at(1).Executed = set(uuid(0)+":1-120"), set(uuid(0)+":1-50")
	s.holds(2, uuid(0)+":1-110")
	c := s.commits(t, topology.CommitPromote)
	if c.To.Primary != "db-1" {
		t.Fatalf("%s is promoted, which has applied more but received less", c.To.Primary)
	}
	s.record(func(r *instance.Record) { *r = c.To })
	for _, d := range s.waits(t).Directives {
		if d.Directive.Role == instance.RoleClone {
			t.Errorf("%s is told to clone", d.Member)
		}
	}
}

// I11: directives carry the leader's term; a deposed leader commits nothing, and a new one first takes the record over.
// That agents refuse lower terms is tested with the agent.
func TestI11LeadershipTerms(t *testing.T) {
	t.Run("a new leader takes over before it says anything", func(t *testing.T) {
		s := cluster(3)
		s.Term = term + 1
		c := s.commits(t, topology.CommitTakeOver)
		if c.To.Term != term+1 || c.To.Epoch != epoch || c.To.Primary != "db-0" {
			t.Errorf("committed %+v", c.To)
		}
	})
	t.Run("a deposed leader says and commits nothing", func(t *testing.T) {
		s := cluster(3)
		s.Term = term - 1
		s.died(0)
		s.fenced(1, 6)
		s.fenced(2, 6)
		if plan := s.waits(t); len(plan.Directives) > 0 {
			t.Errorf("told %+v", plan.Directives)
		}
	})
	t.Run("a store that keeps no terms is worked with all the same", func(t *testing.T) {
		s := cluster(3)
		s.record(func(r *instance.Record) { r.Term = 0 })
		if plan := s.waits(t); plan.State != topology.Healthy {
			t.Errorf("%s: %s", plan.State, plan.Why)
		}
	})
	t.Run("every commit carries the term", func(t *testing.T) {
		s := cluster(3)
		s.died(0)
		s.fenced(1, 6)
		s.fenced(2, 6)
		if c := s.commits(t, topology.CommitPromote); c.To.Term != term {
			t.Errorf("committed %+v", c.To)
		}
	})
}

// I12: replicas follow only the primary of the committed epoch, with that epoch's password sealed to them as they are.
func TestI12ReplicasAreFencedToo(t *testing.T) {
	t.Run("no password of an older epoch is passed on", func(t *testing.T) {
		s := cluster(3)
		old := s.at(0).Report.Credentials["db-1"]
		old.Epoch = epoch - 1
		s.at(0).Report.Credentials["db-1"] = old
		if d := told(s.waits(t), 1); d.Role != instance.RoleStandby {
			t.Errorf("db-1 is told %s", d.Role)
		}
	})
	t.Run("nor one sealed to an earlier start of its agent", func(t *testing.T) {
		s := cluster(3)
		s.at(1).Report.SealingKey = []byte("new")
		if d := told(s.waits(t), 1); d.Role != instance.RoleStandby {
			t.Errorf("db-1 is told %s", d.Role)
		}
	})
	t.Run("nobody follows before the primary leads the epoch", func(t *testing.T) {
		s := cluster(3)
		s.Record.Epoch, s.Record.Primary = 6, "db-1"
		if d := told(s.decide(t), 2); d.Role != instance.RoleStandby || d.Epoch != 6 {
			t.Errorf("db-2 is told %s in epoch %d", d.Role, d.Epoch)
		}
	})
}

// A primary that cannot be opened for lack of voters is replaced, or goes on alone, when that is asked for (I8).
func TestForcedWhileRising(t *testing.T) {
	rising := func(named string) *scene {
		s := cluster(3)
		s.record(func(r *instance.Record) { r.Epoch = 6 })
		for i := range 3 {
			s.fenced(i, 6)
		}
		s.at(0).Report.Role = instance.RolePrimary
		s.holds(0, uuid(0)+":1-101")
		s.at(1).Report.Served = 2
		s.Request.ForcePromote = named
		return s
	}
	for i, named := range []string{"db-0", "db-1"} {
		s := rising(named)
		if d := told(s.waits(t), i); d.Role != instance.RoleStandby || d.Epoch != 7 {
			t.Errorf("%s is told %s in epoch %d", named, d.Role, d.Epoch)
		}
		s.fenced(i, 7)
		if c := s.commits(t, topology.CommitForcePromote); c.To.Primary != named || c.To.Epoch != 7 || len(c.To.Voters) != 1 {
			t.Errorf("committed %+v", c.To)
		}
	}
}

// A cluster that is deleted closes its primary first and commits nothing.
func TestRetire(t *testing.T) {
	s := cluster(3)
	plan, done := topology.Retire(s.Observation)
	if d := told(plan, 0); done || plan.Commit != nil || d.Role != instance.RoleDrain || len(plan.Directives) != 1 {
		t.Errorf("done %v, %+v", done, plan)
	}
	s.at(0).Report.Role, s.at(0).Report.Drained, s.at(0).Report.Serving = instance.RoleDrain, true, false
	if plan, done := topology.Retire(s.Observation); !done || plan.Commit != nil {
		t.Errorf("done %v, %+v", done, plan)
	}
	s.silence(0, time.Second)
	if _, done := topology.Retire(s.Observation); !done {
		t.Error("waits for a primary that nobody can tell anything")
	}
}

// Failover by hand: the old primary comes back by itself, another one only when asked for.
func TestManualFailover(t *testing.T) {
	s := cluster(3)
	s.Spec.ManualFailover = true
	s.died(0)
	s.fenced(1, 6)
	s.fenced(2, 6)
	if plan := s.waits(t); plan.State != topology.Waiting || len(plan.Directives) > 0 {
		t.Errorf("%s: %s, told %+v", plan.State, plan.Why, plan.Directives)
	}
	s.Request.Switchover = "db-2"
	if c := s.commits(t, topology.CommitPromote); c.To.Primary != "db-2" {
		t.Errorf("%s is promoted", c.To.Primary)
	}
	s.Request.Switchover = ""
	s.at(0).Report.State = instance.StateRunning
	s.fenced(0, 6)
	s.holds(0, uuid(0)+":1-100")
	if c := s.commits(t, topology.CommitPromote); c.To.Primary != "db-0" {
		t.Errorf("%s is promoted", c.To.Primary)
	}
}

// What is asked for and cannot be done is refused in words.
func TestRefusedSwitchovers(t *testing.T) {
	for asked, spoil := range map[string]func(*scene){
		"db-9":               func(*scene) {},
		"db-1":               func(s *scene) { s.at(1).Report.Acknowledging = false },
		topology.AnyInstance: func(s *scene) { s.silence(1, time.Second); s.silence(2, time.Second) },
	} {
		s := cluster(3)
		spoil(s)
		s.Request.Switchover = asked
		if plan := s.decide(t); len(plan.Done) != 1 || plan.Done[0].Refused == "" {
			t.Errorf("%s: answered %+v", asked, plan.Done)
		}
	}
	s := cluster(3)
	s.Request.Switchover = "db-0"
	if plan := s.waits(t); len(plan.Done) != 1 || plan.Done[0].Refused != "" {
		t.Errorf("db-0: answered %+v", plan.Done)
	}
}
