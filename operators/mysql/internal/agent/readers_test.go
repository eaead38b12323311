package agent

import (
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// TestOpeningWaitsForTheFirstPointOfAnEpoch: a point that moves with every write would never be reached.
func TestOpeningWaitsForTheFirstPointOfAnEpoch(t *testing.T) {
	told := func(epoch uint64, after string) instance.Directive {
		return instance.Directive{Epoch: epoch, Replica: &instance.ReplicaDuty{OpenAfter: after}}
	}
	closed := mysqld.Observation{Offline: true}
	var w opening
	for _, c := range []struct {
		what string
		o    mysqld.Observation
		d    instance.Directive
		want string
	}{
		{"the first point is kept", closed, told(3, "a:1-5"), "a:1-5"},
		{"a later point of the same epoch changes nothing", closed, told(3, "a:1-9"), "a:1-5"},
		{"another epoch has another primary", closed, told(4, "b:1-2"), "b:1-2"},
		{"once open, nothing is waited for", mysqld.Observation{}, told(4, "b:1-2"), ""},
		{"closed again, the next point counts", closed, told(4, "b:1-7"), "b:1-7"},
		{"told to let readers in at once", closed, told(4, ""), ""},
		{"no replica waits for nothing", closed, instance.Directive{Epoch: 4, Role: instance.RoleStandby}, ""},
	} {
		if w.take(c.o, &c.d); w.after != c.want {
			t.Errorf("%s: it waits for %q, want %q", c.what, w.after, c.want)
		}
	}
}

// TestAWithdrawnReplicaWaitsForTheOperatorsWord: the directive that stands was made for an instance that is open.
func TestAWithdrawnReplicaWaitsForTheOperatorsWord(t *testing.T) {
	closed := mysqld.Observation{Offline: true}
	replica := func(after string) *instance.Directive {
		return &instance.Directive{Epoch: 4, Replica: &instance.ReplicaDuty{OpenAfter: after}}
	}
	w := opening{withdrawn: true}
	for what, d := range map[string]*instance.Directive{
		"the standing directive": replica(""), "a fence": {Epoch: 5, Role: instance.RoleStandby}, "a point to wait for": replica("a:1-9"),
	} {
		if w.take(closed, d); !w.withdrawn {
			t.Errorf("%s made it forget that it has withdrawn", what)
		}
	}
	if w.take(mysqld.Observation{}, replica("a:1-9")); w.withdrawn {
		t.Error("an instance that is open counts as withdrawn")
	}
}

// TestASourceIsHeardByChangesOnly: mysqld's times are those of a clock that may be set.
func TestASourceIsHeardByChangesOnly(t *testing.T) {
	begun := time.Now()
	at := func(s int) time.Time { return begun.Add(time.Duration(s) * time.Second) }
	noted := func(when time.Time) mysqld.Observation {
		return mysqld.Observation{Channel: &mysqld.Channel{HeardAt: when}}
	}
	var h hearing
	for _, c := range []struct {
		what string
		o    mysqld.Observation
		now  int
		want time.Time
	}{
		{"nothing is heard without a channel", mysqld.Observation{}, 1, time.Time{}},
		{"nor on one that has just been set up", noted(time.Time{}), 2, time.Time{}},
		{"the first heartbeat", noted(at(-3600)), 3, at(3)},
		{"the same one again", noted(at(-3600)), 4, at(3)},
		{"another, by a clock that was set back", noted(at(-7200)), 5, at(5)},
	} {
		if h.take(c.o, at(c.now)); !h.at.Equal(c.want) {
			t.Errorf("%s: heard at %v, want %v", c.what, h.at.Sub(begun), c.want.Sub(begun))
		}
	}
}
