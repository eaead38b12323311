package topology_test

import (
	"slices"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// deaf lets a member's receiver have heard nothing for a time.
func (s *scene) deaf(i int, d time.Duration) {
	r := s.at(i).Report
	r.Receiver.Connected, r.Receiver.SilentMillis = false, d.Milliseconds()
}

// A primary that its operator sees at work and its voters do not hear writes nothing that could be acknowledged.
func TestPrimaryCutOffFromItsVoters(t *testing.T) {
	const long = topology.CutOffAfter
	for name, tc := range map[string]struct {
		voters int
		bend   func(s *scene)
		fenced bool
	}{
		"nobody hears it":                            {3, func(s *scene) { s.deaf(1, long); s.deaf(2, long) }, true},
		"not for long enough":                        {3, func(s *scene) { s.deaf(1, long); s.deaf(2, long-time.Second) }, false},
		"one of two still hears it":                  {3, func(s *scene) { s.deaf(1, long) }, false},
		"the only other one does not":                {2, func(s *scene) { s.deaf(1, long) }, true},
		"of five, two hear it":                       {5, func(s *scene) { s.deaf(1, long); s.deaf(2, long) }, false},
		"of five, one hears it":                      {5, func(s *scene) { s.deaf(1, long); s.deaf(2, long); s.deaf(3, long) }, true},
		"of five, two do not answer and one is deaf": {5, func(s *scene) { s.silence(1, long); s.silence(2, long); s.deaf(3, long); s.deaf(4, 0) }, false},
		"failover is manual":                         {3, func(s *scene) { s.deaf(1, long); s.deaf(2, long); s.Spec.ManualFailover = true }, false},
		"their mysqlds are down":                     {3, func(s *scene) { s.deaf(1, long); s.deaf(2, long); s.died(1); s.died(2) }, false},
		"their volumes are stalled": {3, func(s *scene) {
			s.deaf(1, long)
			s.deaf(2, long)
			s.at(1).Report.Stalled, s.at(2).Report.Stalled = true, true
		}, false},
		"they follow it in an earlier epoch": {3, func(s *scene) {
			s.deaf(1, long)
			s.deaf(2, long)
			s.at(1).Report.Epoch, s.at(2).Report.Epoch = epoch-1, epoch-1
		}, false},
		"they have never heard it": {3, func(s *scene) { s.deaf(1, 0); s.deaf(2, 0) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := cluster(tc.voters)
			tc.bend(s)
			plan := s.decide(t)
			if fenced := told(plan, 0).Role == instance.RoleStandby && told(plan, 0).Epoch > epoch; fenced != tc.fenced {
				t.Errorf("the plan is %s: %s; the primary is told %s in epoch %d", plan.State, plan.Why, told(plan, 0).Role, told(plan, 0).Epoch)
			}
		})
	}
}

// A member that comes back closed opens when it is where its primary was a moment ago; one that is open stays so.
func TestReadersAreLetInWhenTheInstanceHasCaughtUp(t *testing.T) {
	s := cluster(3)
	if got := told(s.waits(t), 1).Replica.OpenAfter; got != "" {
		t.Errorf("an open replica is told to wait for %q", got)
	}
	s.at(1).Report.Closed, s.at(1).Report.Closing = true, "the second time"
	s.holds(0, uuid(0)+":1-120")
	duty := told(s.decide(t), 1).Replica
	if got, want := duty.OpenAfter, uuid(0)+":1-120"; got != want || duty.Closing != "the second time" {
		t.Errorf("a closed replica opens after %q (%s), want %q", got, duty.Closing, want)
	}
}

// Readers are sent to a replica only once it lets them in, and until then it is not settled: to make the next pod anew
// would leave them with nobody.
func TestNothingIsRolledWhileReadersAreKeptOut(t *testing.T) {
	for name, closed := range map[string]bool{"open": false, "closed to readers": true} {
		t.Run(name, func(t *testing.T) {
			s := cluster(3)
			s.at(1).Pod.Outdated, s.at(2).Report.Closed = true, closed
			s.Readable = []string{"db-0", "db-1", "db-2"}
			plan := s.decide(t)
			readers := []string{"db-1", "db-2"}
			if closed {
				readers = readers[:1]
			}
			if !slices.Equal(plan.Endpoints.ReadOnly, readers) {
				t.Errorf("readers are sent to %v, want %v", plan.Endpoints.ReadOnly, readers)
			}
			if rolled := plan.Delete != nil; rolled == closed {
				t.Errorf("the plan is %s: %s; it makes a pod anew: %t", plan.State, plan.Why, rolled)
			}
			if closed && plan.State != topology.Degraded {
				t.Errorf("with a replica that is closed to readers the cluster is %s: %s", plan.State, plan.Why)
			}
		})
	}
}

// A primary is handed over for a restart only to where readers and the other replicas are at work.
func TestNoHandoverForARestartWhileReadersAreKeptOut(t *testing.T) {
	for name, closed := range map[string]bool{"open": false, "closed to readers": true} {
		t.Run(name, func(t *testing.T) {
			s := cluster(3)
			s.at(0).Report.RestartNeeded, s.at(1).Report.Closed = true, closed
			if handed := s.decide(t).Commit != nil; handed == closed {
				t.Errorf("the handover is begun: %t", handed)
			}
		})
	}
}
