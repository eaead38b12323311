package agent

import (
	"testing"

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
		if w.take(c.o, c.d); w.after != c.want {
			t.Errorf("%s: it waits for %q, want %q", c.what, w.after, c.want)
		}
	}
}
