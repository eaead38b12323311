package topology_test

import (
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// unborn is a cluster of three that begins with a restore: nothing is committed, and all volumes are blank.
func unborn() *scene {
	s := cluster(3)
	s.Record, s.ReadWrite, s.Spec.Restore = instance.Record{}, "", true
	for i := range s.Members {
		r := s.at(i).Report
		*r = instance.Report{Instance: r.Instance, State: instance.StateRunning, Blank: true, ServerUUID: r.ServerUUID, SealingKey: r.SealingKey}
		s.holds(i, "")
	}
	r := s.at(0).Report
	r.State, r.Restore = instance.StateDown, &instance.RestoreReport{State: instance.RestorePlanning}
	return s
}

// TestI9ARestoredClusterIsFoundedOnNothingElse: as long as its first instance has not restored, a cluster waits, whatever else is there, and says how
// far it is.
func TestI9ARestoredClusterIsFoundedOnNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		bend func(s *scene)
		why  string
	}{
		"planning":     {func(*scene) {}, "db-0 restores the data"},
		"not heard of": {func(s *scene) { s.at(0).Report, s.at(0).Connected = nil, false }, "waiting for db-0 to restore"},
		"says nothing": {func(s *scene) { s.at(0).Report.Restore = nil }, "waiting for db-0 to restore"},
		"unpacking":    {func(s *scene) { s.restore(instance.RestoreReport{State: instance.RestoreUnpacking, Done: 7, Of: 9}) }, "unpacks the full backup that the cluster begins with: 70 %"},
		"replaying":    {func(s *scene) { s.restore(instance.RestoreReport{State: instance.RestoreReplaying, Done: 1, Of: 30}) }, "replays the archive behind the full backup that the cluster begins with: 0 %"},
		"verifying":    {func(s *scene) { s.restore(instance.RestoreReport{State: instance.RestoreVerifying, Done: 1, Of: 30}) }, "checks the data that it has restored"},
		"failed": {func(s *scene) {
			s.restore(instance.RestoreReport{State: instance.RestoreFailed, Problem: "no such bucket"})
		}, "tries again: no such bucket"},
		"blank and alive": {func(s *scene) { s.at(0).Report.State = instance.StateRunning }, "db-0 restores the data"},
		"a replica says that it has": {func(s *scene) {
			s.at(1).Report.Restored = true
		}, "db-0 restores the data"},
		"a kept volume of another cluster": {func(s *scene) {
			r := s.at(1).Report
			r.Blank, r.Record = false, instance.Record{Epoch: 3, Primary: "db-1", Voters: []string{"db-1"}}
		}, "nothing is restored over data"},
		"a kept volume of another cluster, when the restore is done": {func(s *scene) {
			r := s.at(1).Report
			r.Blank, r.Record = false, instance.Record{Epoch: 3, Primary: "db-1", Voters: []string{"db-1"}}
			s.restore(instance.RestoreReport{State: instance.RestoreDone})
			s.at(0).Report.Restored, s.at(0).Report.State = true, instance.StateRunning
		}, "nothing is restored over data"},
	} {
		t.Run(name, func(t *testing.T) {
			s := unborn()
			c.bend(s)
			plan := topology.Decide(s.Observation)
			if plan.Commit != nil || !strings.Contains(plan.Why, c.why) {
				t.Errorf("commits %+v, %s: %s", plan.Commit, plan.State, plan.Why)
			}
			for _, d := range plan.Directives {
				if d.Directive.Role == instance.RolePrimary {
					t.Errorf("%s is told to be the primary", d.Member)
				}
			}
		})
	}
}

func (s *scene) restore(r instance.RestoreReport) { s.at(0).Report.Restore = &r }

// TestI9ARestoredClusterIsFounded: the first instance is, once it runs with what it has restored, and only as long as it has it.
func TestI9ARestoredClusterIsFounded(t *testing.T) {
	s := unborn()
	s.restore(instance.RestoreReport{State: instance.RestoreDone})
	s.at(0).Report.Restored = true
	if plan := topology.Decide(s.Observation); plan.Commit != nil {
		t.Errorf("founded before mysqld runs: %+v", plan.Commit)
	}
	s.at(0).Report.State = instance.StateRunning
	s.holds(0, uuid(7)+":1-100")
	c := s.commits(t, topology.CommitBootstrap)
	if c.To.Primary != "db-0" || len(c.To.Voters) != 1 || !strings.Contains(c.Why, "restored") {
		t.Fatalf("founded %+v because %s", c.To, c.Why)
	}
	s.Record = c.To
	s.Record.Term = term
	if d := told(s.waits(t), 0); d.Primary == nil || !d.Primary.Bootstrap {
		t.Errorf("the first is told %+v", d)
	}
	// Its volume is lost before the cluster came to life.
	s.at(0).Report.Restored = false
	s.holds(0, "")
	for why, at := range map[string]*instance.RestoreReport{
		"was lost after it had restored": nil,
		"10 % done":                      {State: instance.RestoreUnpacking, Done: 1, Of: 9},
	} {
		s.at(0).Report.Restore = at
		plan := s.waits(t)
		if d := told(plan, 0); d.Primary != nil && d.Primary.Bootstrap {
			t.Errorf("an empty volume is to be the beginning of a restored cluster: %+v", d)
		}
		if !strings.Contains(plan.Why, why) {
			t.Errorf("%q is not in: %s", why, plan.Why)
		}
	}
}

// TestARestoreIsNotBegunAnewForATemplate: one that is at work goes on in a pod whose template has changed since, and one that fails does not.
func TestARestoreIsNotBegunAnewForATemplate(t *testing.T) {
	for state, kept := range map[instance.RestoreState]bool{
		instance.RestorePlanning: true, instance.RestoreUnpacking: true, instance.RestoreReplaying: true, instance.RestoreVerifying: true, instance.RestoreFailed: false, instance.RestoreDone: false,
	} {
		s := unborn()
		s.restore(instance.RestoreReport{State: state})
		s.at(0).Pod.Outdated, s.at(0).Pod.Ready, s.at(0).UnfitFor = true, false, topology.StuckAfter
		if plan := topology.Decide(s.Observation); (plan.Delete == nil) != kept {
			t.Errorf("%s: %+v", state, plan.Delete)
		}
		s.at(0).Connected = false
		if plan := topology.Decide(s.Observation); plan.Delete == nil {
			t.Errorf("%s, as far as is known: the pod is kept", state)
		}
	}
}

// TestARestoredClusterIsAdopted: who makes the same cluster again over its volumes has it back.
func TestARestoredClusterIsAdopted(t *testing.T) {
	s := unborn()
	for i := range s.Members {
		r := s.at(i).Report
		r.Blank, r.State, r.Restore, r.Restored = false, instance.StateRunning, nil, i == 0
		r.Record = instance.Record{Epoch: 3, Primary: "db-1", Voters: []string{"db-0", "db-1", "db-2"}}
	}
	if c := s.commits(t, topology.CommitAdopt); c.To.Primary != "db-1" {
		t.Errorf("adopted %+v", c.To)
	}
}
