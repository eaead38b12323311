package chaos

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// TestARestoreIsJudgedAsOfItsTarget: what was acknowledged before has to be there, what was begun after must not, and of what was under way nobody knows.
func TestARestoreIsJudgedAsOfItsTarget(t *testing.T) {
	ops := []history.Operation{
		op("a/insert", history.KindInsert, "c", 1, 1, "db-0"), op("a/insert", history.KindInsert, "c", 2, 2, "db-0"),
		op("a/insert", history.KindInsert, "c", 3, 3, "db-0"), op("a/insert", history.KindInsert, "c", 4, 6, "db-0"),
		op("a/list", history.KindAppend, "c/list0/1", 21, 1, "db-0"), op("a/list", history.KindAppend, "c/list0/1", 22, 2, "db-0"),
		op("a/list", history.KindAppend, "c/list0/1", 23, 6, "db-0"),
	}
	// The third was under way.
	ops[2].Returned = 5 * time.Second
	at := Target{Must: 4 * time.Second, MayUntil: 5 * time.Second}
	newest := Target{Must: 4 * time.Second}
	state := func(list []int64, set ...int64) lab.FinalState {
		return lab.FinalState{Set: set, Lists: map[string][]int64{"c/list0/1": list}}
	}
	for name, test := range map[string]struct {
		target   Target
		restored lab.FinalState
		want     RestoreVerdict
	}{
		"exactly that":             {at, state([]int64{21, 22}, 1, 2), RestoreVerdict{Expected: 4, Excluded: 2}},
		"with what was under way":  {at, state([]int64{21, 22}, 1, 2, 3), RestoreVerdict{Expected: 4, Excluded: 2}},
		"too little":               {at, state([]int64{21}, 2), RestoreVerdict{Expected: 4, Excluded: 2, Lost: 2}},
		"too much":                 {at, state([]int64{21, 22, 23}, 1, 2, 4), RestoreVerdict{Expected: 4, Excluded: 2, Phantom: 2}},
		"in another order":         {at, state([]int64{22, 21}, 1, 2), RestoreVerdict{Expected: 4, Excluded: 2, Disordered: 1}},
		"without a list":           {at, lab.FinalState{Set: []int64{1, 2}}, RestoreVerdict{Expected: 4, Excluded: 2, Lost: 2}},
		"the newest state":         {newest, state([]int64{21, 22, 23}, 1, 2, 3, 4), RestoreVerdict{Expected: 4}},
		"the newest that is known": {newest, state([]int64{21, 22}, 1, 2), RestoreVerdict{Expected: 4}},
		"older than is promised":   {newest, state([]int64{21}, 1, 2), RestoreVerdict{Expected: 4, Lost: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			got := JudgeRestored(ops, test.restored, test.target)
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(RestoreVerdict{}, "Examples")); diff != "" {
				t.Errorf("(-want +got)\n%s%q", diff, got.Examples)
			}
		})
	}
}
