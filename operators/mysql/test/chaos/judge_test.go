package chaos

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// round is a small good history with its final state: db-0 acknowledges in epoch 1, db-1 from second 10 on in epoch 2.
type round struct {
	ops    []history.Operation
	final  lab.FinalState
	epochs []history.Epoch
}

func op(client string, kind history.Kind, object string, value int64, at int, server string) history.Operation {
	return history.Operation{Client: client, Kind: kind, Object: object, Value: value, Outcome: history.Acknowledged, Server: server,
		Invoked: time.Duration(at) * time.Second, Returned: time.Duration(at)*time.Second + time.Millisecond}
}

func goodRound() *round {
	read := op("pod1.1/list", history.KindReadList, "c/list0/1", 0, 13, "db-1")
	read.Seen = []int64{21, 22}
	replica := op("pod1.1/replica", history.KindReadList, "c/list0/1", 0, 14, "db-2")
	replica.Seen = []int64{21}
	register := op("pod1.1/register", history.KindReadRegister, "c/register0/1", 0, 13, "db-1")
	register.Seen = []int64{31}
	return &round{
		ops: []history.Operation{
			op("pod1.1/insert", history.KindInsert, "c", 11, 1, "db-0"),
			op("pod1.1/list", history.KindAppend, "c/list0/1", 21, 2, "db-0"),
			op("pod1.1/register", history.KindWrite, "c/register0/1", 31, 3, "db-0"),
			op("pod1.1/insert", history.KindInsert, "c", 12, 11, "db-1"),
			op("pod1.1/list", history.KindAppend, "c/list0/1", 22, 12, "db-1"),
			read, replica, register,
		},
		final: lab.FinalState{Set: []int64{11, 12}, Lists: map[string][]int64{"c/list0/1": {21, 22}}, Registers: map[string]int64{"c/register0/1": 31}},
		epochs: []history.Epoch{
			{Number: 1, Server: "db-0"}, {Number: 2, Server: "db-1", From: 10 * time.Second}},
	}
}

func TestJudgeCountsEachKindOfFinding(t *testing.T) {
	for name, tc := range map[string]struct {
		plant    func(r *round)
		want     Verdict
		violated bool
	}{
		"nothing": {plant: func(*round) {}, want: Verdict{Acknowledged: 5, Reads: 3}},
		"an insert is gone": {func(r *round) { r.final.Set = []int64{11} },
			Verdict{Acknowledged: 5, Reads: 3, Lost: 1}, true},
		"an append is gone": {func(r *round) { r.final.Lists["c/list0/1"] = []int64{22}; r.ops[5].Seen = nil; r.ops[6].Seen = nil },
			Verdict{Acknowledged: 5, Reads: 3, Lost: 1, StaleReads: 1, StaleFor: time.Second - time.Millisecond}, true},
		"a whole list is gone": {func(r *round) { delete(r.final.Lists, "c/list0/1"); r.ops[5].Seen = nil; r.ops[6].Seen = nil },
			Verdict{Acknowledged: 5, Reads: 3, Lost: 2}, true},
		"an element from nowhere": {func(r *round) { r.final.Set = append(r.final.Set, 99) },
			Verdict{Acknowledged: 5, Reads: 3, Phantom: 1}, true},
		"a list against the order of time": {func(r *round) {
			r.final.Lists["c/list0/1"] = []int64{22, 21}
			r.ops[5].Seen, r.ops[6].Seen = []int64{22, 21}, nil
		}, Verdict{Acknowledged: 5, Reads: 3, Disordered: 1}, true},
		"a register without an order": {func(r *round) {
			cas := op("pod2.1/register", history.KindCompareAndSet, "c/register0/1", 32, 4, "db-0")
			cas.Expected, cas.Applied = 77, true
			r.ops = append(r.ops, cas)
			r.ops[7].Seen = []int64{32}
		}, Verdict{Acknowledged: 6, Reads: 3, NotLinearizable: 1}, true},
		"the old primary acknowledges after the new one": {func(r *round) {
			r.ops = append(r.ops, op("pod2.1/insert", history.KindInsert, "c", 13, 15, "db-0"))
			r.final.Set = append(r.final.Set, 13)
		}, Verdict{Acknowledged: 6, Reads: 3, DualWriters: 1}, true},
		"a read through the read-write Service that is behind": {func(r *round) { r.ops[5].Seen = []int64{21} },
			Verdict{Acknowledged: 5, Reads: 3, StaleReads: 1, StaleFor: time.Second - time.Millisecond}, false},
		"a replica that is behind": {func(r *round) { r.ops[6].Seen = nil }, Verdict{Acknowledged: 5, Reads: 3}, false},
		"a replica that showed what is not there in the end": {func(r *round) {
			r.ops[6].Seen = []int64{21, 23}
			unknown := op("pod2.1/list", history.KindAppend, "c/list0/1", 23, 9, "db-0")
			unknown.Outcome = history.Unknown
			r.ops = append(r.ops, unknown)
		}, Verdict{Acknowledged: 5, Unknown: 1, Reads: 3, ReplicaDiverged: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := goodRound()
			tc.plant(r)
			got := Judge(r.ops, r.final, r.epochs)
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(Verdict{}, "Examples")); diff != "" {
				t.Errorf("verdict (-want +got):\n%s\n%v", diff, got.Examples)
			}
			result := Result{Round: Round{Faults: []Fault{{Kind: KillServer}}}, Converged: true, Verdict: got}
			if violated := len(result.problems()) > 0; violated != (tc.violated || got.StaleFor >= staleLimit) {
				t.Errorf("violated %t: %v", violated, result.problems())
			}
		})
	}
}
