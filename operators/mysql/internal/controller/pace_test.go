package controller

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// TestPace: a cluster that has just closed is looked after in haste, for a second, and never before it has served.
func TestPace(t *testing.T) {
	var p pace
	name, start := types.NamespacedName{Namespace: "shop", Name: "db"}, time.Unix(1_800_000_000, 0)
	for _, tc := range []struct {
		what  string
		state topology.State
		after time.Duration
		slice string
		want  act.Care
	}{
		{"it has never served", topology.Waiting, 0, "", act.Whole},
		{"it serves", topology.Healthy, 0, "db-0", act.Whole},
		{"it closes", topology.Waiting, time.Second, "db-0", act.Haste},
		{"it is closed still", topology.Promoting, 2*time.Second - 1, "db-0", act.Haste},
		{"it is closed for a second", topology.Promoting, 2 * time.Second, "db-0", act.Whole},
		{"it serves again", topology.Degraded, 3 * time.Second, "db-0", act.Whole},
		{"it closes again", topology.SwitchingOver, 4 * time.Second, "db-0", act.Haste},
	} {
		o := topology.Observation{Now: start.Add(tc.after), ReadWrite: tc.slice}
		if got := p.of(name, o, topology.Plan{State: tc.state}); got != tc.want {
			t.Errorf("%s: care %v, want %v", tc.what, got, tc.want)
		}
	}
}
