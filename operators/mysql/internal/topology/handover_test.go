package topology_test

import (
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// TestCatchUpIsAskedForWhileThePrimaryIsClosed: what a decision waits for is told to the voters, and only then.
func TestCatchUpIsAskedForWhileThePrimaryIsClosed(t *testing.T) {
	s := cluster(3)
	if d := told(topology.Decide(s.Observation), 1); d.Replica.CatchUp != "" {
		t.Errorf("a replica of a serving primary is to catch up with %q", d.Replica.CatchUp)
	}
	r := s.at(0).Report
	r.Serving, r.Served = false, epoch-1
	s.holds(1, uuid(0)+":1-50")
	if d := told(topology.Decide(s.Observation), 1); d.Replica == nil || d.Replica.CatchUp != uuid(0)+":1-100" {
		t.Errorf("a voter that lacks what the closed primary holds is told %+v", d.Replica)
	}
	s.at(1).Report.Acknowledging, s.at(1).Report.CatchingUp = false, true
	if !s.Fit(s.at(1)) {
		t.Error("a voter that catches up counts as unfit")
	}
}

// TestAGivenUpSwitchoverStaysAskedFor: the request stands, and the next attempt waits for the pause.
func TestAGivenUpSwitchoverStaysAskedFor(t *testing.T) {
	s := cluster(3)
	s.Request.Switchover = topology.AnyInstance
	s.record(func(r *instance.Record) {
		r.Handover = &instance.Handover{To: "db-1", NotAfter: now.Add(-time.Second).UnixMilli(), Why: "asked for"}
	})
	s.at(0).Report.Role, s.at(0).Report.Serving = instance.RoleDrain, false
	plan := topology.Decide(s.Observation)
	if plan.Commit == nil || plan.Commit.Kind != topology.CommitHandoverGivenUp || len(plan.Done) > 0 {
		t.Fatalf("commit %+v, answered %+v", plan.Commit, plan.Done)
	}
	s.at(0).Report.Role, s.at(0).Report.Serving = instance.RolePrimary, true
	s.record(func(r *instance.Record) { r.Handover = plan.Commit.To.Handover })
	s.waits(t)
	s.Now = now.Add(topology.HandoverPause + time.Second)
	s.commits(t, topology.CommitHandover)
}
