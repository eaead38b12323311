package status

import (
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

func TestHowAReplicaWasMadeIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		r            instance.RestoreReport
		reason, note string
	}{
		"at work": {instance.RestoreReport{State: instance.RestoreUnpacking, Plan: "full backup x"}, "", ""},
		"done":    {instance.RestoreReport{State: instance.RestoreDone, Plan: "full backup x and 3 pieces of the archive"}, "ReplicaSeeded", "db-2 was made from full backup x and 3 pieces"},
		"failed":  {instance.RestoreReport{State: instance.RestoreFailed, Problem: "it is damaged"}, "ReplicaNotSeeded", "db-2 is made by CLONE: it is damaged"},
	} {
		e, ok := Seeded("db-2", tc.r)
		if ok != (tc.reason != "") || e.Reason != tc.reason || !strings.Contains(e.Note, tc.note) {
			t.Errorf("%s: %v, %+v", name, ok, e)
		}
	}
}
