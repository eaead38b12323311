package topology_test

import (
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// fallen is a cluster of three whose primary died: db-1 has served the new epoch since, db-0's mysqld is down.
func fallen() *scene {
	s := cluster(3)
	s.died(0)
	s.record(func(r *instance.Record) { r.Epoch, r.Primary = epoch+1, "db-1" })
	p := s.at(1).Report
	p.Role, p.Epoch, p.Promised, p.Served, p.Serving, p.Acknowledging = instance.RolePrimary, epoch+1, epoch+1, epoch+1, true, false
	p.Receiver, p.Applier = instance.Receiver{}, instance.Applier{}
	p.Acks = 1
	p.Credentials = map[string]instance.Sealed{}
	s.holds(1, uuid(0)+":1-100,"+uuid(1)+":1-7")
	s.fenced(2, epoch+1)
	s.at(0).Report.Promised = epoch + 1
	s.ReadWrite = "db-1"
	return s
}

func TestI6AFormerPrimaryIsToldWhatTheNewOneHolds(t *testing.T) {
	s := fallen()
	d := told(s.decide(t), 0)
	if d.Role != instance.RoleStandby || d.Epoch != epoch+1 || d.Rejoin == nil {
		t.Fatalf("it is told %+v", d)
	}
	if want := (instance.RejoinDuty{Source: "db-1", ServerUUID: uuid(1), Holds: uuid(0) + ":1-100"}); *d.Rejoin != want {
		t.Errorf("it is told %+v, want %+v", *d.Rejoin, want)
	}
	// What the primary writes on changes nothing about it: the directive stays the same.
	s.holds(1, uuid(0)+":1-100,"+uuid(1)+":1-900")
	if again := told(s.decide(t), 0); again.ID != d.ID {
		t.Error("another directive for the same history")
	}
	s.at(0).Report.State = instance.StateStarting
	if again := told(s.decide(t), 0); again.ID != d.ID {
		t.Error("it is told something else while it is at it")
	}
}

func TestNobodyIsToldOfAHistoryThatIsNotCommittedAndAtWork(t *testing.T) {
	for name, bend := range map[string]func(*scene){
		"the new primary is not at work":          func(s *scene) { s.fenced(1, epoch+1) },
		"it is at work in the epoch before":       func(s *scene) { s.at(1).Report.Epoch = epoch },
		"it is not heard":                         func(s *scene) { s.silence(1, 0) },
		"its name is not known":                   func(s *scene) { s.at(1).Report.ServerUUID = "" },
		"the member never served":                 func(s *scene) { s.at(0).Report.Served = 0 },
		"it served this very epoch":               func(s *scene) { s.at(0).Report.Served = epoch + 1 },
		"it holds nothing":                        func(s *scene) { s.at(0).Report.Blank = true },
		"its mysqld answers":                      func(s *scene) { s.at(0).Report.State = instance.StateRunning },
		"its data are being replaced":             func(s *scene) { s.at(0).Report.State = instance.StateCloning },
		"it has promised a later epoch than this": func(s *scene) { s.at(0).Report.Promised = epoch + 2 },
	} {
		t.Run(name, func(t *testing.T) {
			s := fallen()
			bend(s)
			for _, d := range s.decide(t).Directives {
				if d.Directive.Rejoin != nil {
					t.Errorf("%s is told %+v", d.Member, d.Directive.Rejoin)
				}
			}
		})
	}
}

func TestAFenceSaysNothingOfAHistory(t *testing.T) {
	s := cluster(3)
	s.died(0)
	for _, d := range s.decide(t).Directives {
		if d.Directive.Rejoin != nil {
			t.Errorf("%s is told what somebody holds before anybody was promoted", d.Member)
		}
	}
}

func TestAMemberThatHasToBeRebuiltTwiceIsToldInBetween(t *testing.T) {
	s := cluster(3)
	i := s.join()
	r := s.at(i).Report
	r.Role, r.Receiver, r.Applier = instance.RoleClone, instance.Receiver{}, instance.Applier{}
	s.holds(i, uuid(0)+":1-100,"+uuid(i)+":1")
	if d := told(s.decide(t), i); d.Role != instance.RoleStandby {
		t.Errorf("a rebuilt member that is errant again is told %s, which is no news to it", d.Role)
	}
	r.Role = instance.RoleStandby
	if d := told(s.decide(t), i); d.Role != instance.RoleClone {
		t.Errorf("then it is told %s", d.Role)
	}
}

// TestI6ARejoinedPrimaryFollowsWithoutClone lets the model's volumes go the same way, so that what the simulation says
// about it rests on something.
func TestI6ARejoinedPrimaryFollowsWithoutClone(t *testing.T) {
	s := standing(t, 3)
	p := primary(s.w)
	p.Write()
	for _, m := range s.w.Members[:3] {
		if m != p {
			s.w.CutMembers(p.Ordinal, m.Ordinal, true)
		}
	}
	p.Write()
	p.KillServer("fault")
	for _, m := range s.w.Members[:3] {
		s.w.CutMembers(p.Ordinal, m.Ordinal, false)
	}
	cloned := false
	s.w.Trace = func(line string) { cloned = cloned || strings.Contains(line, "is told Clone") }
	s.healthy()
	for _, problem := range s.w.Violations {
		t.Error(problem)
	}
	if cloned {
		t.Error("it was rebuilt by CLONE")
	}
	if s.w.Trimmed() == 0 {
		t.Error("nothing was removed, so that nothing was proven")
	}
}
