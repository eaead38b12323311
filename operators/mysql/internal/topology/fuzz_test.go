package topology_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/model"
)

// chance draws values from fuzzed bytes; when they are used up it draws zeros.
type chance struct{ data []byte }

func (c *chance) n(limit int) int {
	if len(c.data) == 0 {
		return 0
	}
	b := int(c.data[0])
	c.data = c.data[1:]
	return b % limit
}

func (c *chance) one(of int) bool { return c.n(of) == 1 }

// bend changes a healthy cluster into anything that an operator could see, and much that it could not.
func bend(data []byte) topology.Observation {
	c := &chance{data}
	s := cluster(1 + c.n(5))
	for range c.n(3) {
		s.join()
	}
	s.Spec.Instances = 1 + c.n(9)
	s.Spec.ManualFailover = c.one(4)
	for i := range s.Members {
		s.bendMember(c, i)
	}
	if c.one(6) {
		s.Members = append(s.Members, topology.Member{Name: model.Name(len(s.Members)), Ordinal: len(s.Members), OldVolume: c.one(2)})
	}
	s.bendRecord(c)
	if c.one(4) {
		s.Request.Switchover = []string{topology.AnyInstance, "db-1", "db-8"}[c.n(3)]
	}
	if c.one(5) {
		s.Request.ForcePromote = []string{"db-0", "db-1", "db-8"}[c.n(3)]
	}
	if c.one(4) {
		s.ReadWrite = ""
	}
	s.Term += uint64(c.n(3)) //nolint:gosec // Small.
	return s.Observation
}

func (s *scene) bendRecord(c *chance) {
	name := model.Name(c.n(len(s.Members)))
	change := func(r *instance.Record) {
		switch c.n(8) {
		case 1:
			r.Epoch++
		case 2:
			r.Primary = name
		case 3:
			r.Change = &instance.VoterChange{Add: name}
		case 4:
			r.Change = &instance.VoterChange{Remove: name}
		case 5:
			r.Handover = &instance.Handover{To: name, NotAfter: now.UnixMilli() + int64(c.n(3)-1)*1000, GivenUp: c.one(3)}
		case 6:
			*r = instance.Record{}
		}
	}
	if c.one(2) {
		s.record(change)
		return
	}
	change(&s.Record)
}

func (s *scene) bendMember(c *chance, i int) {
	m := s.at(i)
	r := m.Report
	for range c.n(4) {
		switch c.n(20) {
		case 1:
			s.silence(i, time.Duration(c.n(8))*time.Second)
		case 2:
			m.Report, m.Executed, m.Held, m.Connected = nil, gtid.Set{}, gtid.Set{}, false
			return
		case 3:
			s.died(i)
		case 4:
			s.fenced(i, epoch+uint64(c.n(3))) //nolint:gosec // Small.
		case 5:
			s.holds(i, fmt.Sprintf("%s:1-%d", uuid(0), 90+c.n(30)))
		case 6:
			s.holds(i, fmt.Sprintf("%s:1-100,%s:1-%d", uuid(0), uuid(c.n(4)), 1+c.n(3)))
		case 7:
			r.Blank = true
			s.holds(i, "")
		case 8:
			m.Pod = nil
		case 9:
			m.Pod = &topology.Pod{Terminating: c.one(2), Outdated: c.one(2), Ready: c.one(2)}
		case 10:
			r.Promised += uint64(c.n(3)) //nolint:gosec // Small.
		case 11:
			r.Stalled = true
		case 12:
			r.Served = uint64(c.n(8)) //nolint:gosec // Small.
		case 13:
			r.Role = []instance.Role{"", instance.RoleStandby, instance.RolePrimary, instance.RoleDrain, instance.RoleReplica, instance.RoleClone}[c.n(6)]
		case 14:
			r.Drained, r.Serving = c.one(2), c.one(2)
		case 15:
			r.State = []instance.State{instance.StateDown, instance.StateStarting, instance.StateCloning, instance.StateRunning}[c.n(4)]
		case 16:
			r.RestartNeeded, r.ConfigHash = true, "the one before"
		case 17:
			r.Receiver.ErrorNumber, r.Applier.ErrorNumber = 1236*c.n(2), 1062*c.n(2)
		case 18:
			r.Acknowledging, r.Acks = c.one(2), c.n(5)
		case 19:
			if s.at(0).Report != nil {
				s.shut(i)
			}
		}
	}
}

// FuzzDecide holds every decision to what no observation may change: it does not panic, is the same each time, leaves its
// argument alone, and keeps what CheckPlan asks.
func FuzzDecide(f *testing.F) {
	f.Add([]byte{})
	for seed := range byte(200) {
		data := make([]byte, 48)
		x := uint32(seed)*2654435761 + 1
		for i := range data {
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
			data[i] = byte(x)
		}
		f.Add(data)
	}
	sets := cmp.Comparer(func(a, b gtid.Set) bool { return a.Equal(b) })
	f.Fuzz(func(t *testing.T, data []byte) {
		o, untouched := bend(data), bend(data)
		plan := topology.Decide(o)
		if diff := cmp.Diff(untouched, o, sets); diff != "" {
			t.Errorf("the observation was changed: %s", diff)
		}
		if diff := cmp.Diff(plan, topology.Decide(o)); diff != "" {
			t.Errorf("not deterministic: %s", diff)
		}
		for _, problem := range model.CheckPlan(o, plan) {
			t.Error(problem)
		}
	})
}

// A healthy cluster is left as it is: no commit, nothing to delete, and every directive the one in force.
func TestQuiescence(t *testing.T) {
	for n := 1; n <= 9; n++ {
		s := cluster(n)
		first := s.waits(t)
		if first.State != topology.Healthy || first.Delete != nil || len(first.Done) > 0 || first.Replicas != n {
			t.Errorf("%d instances: %+v", n, first)
		}
		for _, d := range first.Directives {
			s.Member(d.Member).Report.Directive = d.Directive.ID
		}
		s.Now = s.Now.Add(time.Hour)
		for _, d := range s.waits(t).Directives {
			if d.Directive.ID != s.Member(d.Member).Report.Directive {
				t.Errorf("%d instances: %s is told something else an hour later", n, d.Member)
			}
		}
	}
}
