package history_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// on is an acknowledged insert that a server answered.
func on(server string, value int64, invoked, returned int) history.Operation {
	o := acked(history.KindInsert, "s", value, invoked, returned)
	o.Server = server
	return o
}

func TestOneWriterFindings(t *testing.T) {
	epochs := []history.Epoch{
		{Number: 1, Server: "a", From: ms(0)[0]}, {Number: 2, Server: "b", From: ms(100)[0]}, {Number: 4, Server: "a", From: ms(200)[0]},
	}
	good := []history.Operation{
		on("a", 1, 10, 20), on("a", 2, 90, 130), // The second was acknowledged after the commit of epoch 2, before anybody used it.
		on("b", 3, 105, 115), on("b", 4, 140, 150), on("a", 5, 190, 205), on("a", 6, 210, 220),
	}
	missed := on("a", 7, 160, 170)
	missed.Kind, missed.Expected = history.KindCompareAndSet, 1
	for name, tc := range map[string]struct {
		ops     []history.Operation
		epochs  []history.Epoch
		want    history.WriterVerdict
		bad     bool
		instead bool
	}{
		"nothing is wrong": {want: history.WriterVerdict{Acknowledged: 6, Epochs: 3}},
		"a deposed server acknowledges": {bad: true, ops: []history.Operation{on("a", 7, 160, 170)},
			want: history.WriterVerdict{Acknowledged: 7, Epochs: 3, Dual: 1, Examples: []string{
				"dual writer: insert of 7 to s by c on a (acknowledged, 160ms to 170ms), after insert of 3 to s by c on b " +
					"(acknowledged, 105ms to 115ms), which needs epoch 2 of b"}}},
		"each of several is counted, and none accuses others": {bad: true,
			ops: []history.Operation{on("a", 7, 160, 170), on("a", 8, 175, 180), on("b", 9, 181, 185)},
			want: history.WriterVerdict{Acknowledged: 9, Epochs: 3, Dual: 2, Examples: []string{
				"dual writer: insert of 7 to s by c on a (acknowledged, 160ms to 170ms), after insert of 3 to s by c on b " +
					"(acknowledged, 105ms to 115ms), which needs epoch 2 of b",
				"dual writer: insert of 8 to s by c on a (acknowledged, 175ms to 180ms), after insert of 3 to s by c on b " +
					"(acknowledged, 105ms to 115ms), which needs epoch 2 of b"}}},
		"the same server's later epoch is its own": {ops: []history.Operation{on("a", 7, 160, 200)},
			want: history.WriterVerdict{Acknowledged: 7, Epochs: 3}},
		"a server acknowledges before its epoch": {bad: true, ops: []history.Operation{on("b", 7, 50, 99)},
			want: history.WriterVerdict{Acknowledged: 7, Epochs: 3, Unelected: 1, Examples: []string{
				"no epoch of b was committed by then: insert of 7 to s by c on b (acknowledged, 50ms to 99ms)"}}},
		"a server without any epoch": {bad: true, ops: []history.Operation{on("z", 7, 150, 160)},
			want: history.WriterVerdict{Acknowledged: 7, Epochs: 3, Unelected: 1, Examples: []string{
				"no epoch of z was committed by then: insert of 7 to s by c on z (acknowledged, 150ms to 160ms)"}}},
		"concurrent acknowledgements of two servers can be in order": {ops: []history.Operation{on("a", 7, 115, 160)},
			want: history.WriterVerdict{Acknowledged: 7, Epochs: 3}},
		"an epoch that two servers got": {bad: true, epochs: []history.Epoch{{Number: 4, Server: "c", From: ms(200)[0]}},
			want: history.WriterVerdict{Acknowledged: 6, Epochs: 3, Conflicting: 1, Examples: []string{"epoch 4 was committed for a and for c"}}},
		"an epoch that was seen twice": {epochs: []history.Epoch{{Number: 2, Server: "b", From: ms(90)[0]}},
			want: history.WriterVerdict{Acknowledged: 6, Epochs: 3}},
		"the later bound of two observers counts": {bad: true, epochs: []history.Epoch{{Number: 2, Server: "b", From: ms(116)[0]}},
			want: history.WriterVerdict{Acknowledged: 6, Epochs: 3, Unelected: 1, Examples: []string{
				"no epoch of b was committed by then: insert of 3 to s by c on b (acknowledged, 105ms to 115ms)"}}},
		"an earlier epoch's bound bounds a later one": {bad: true, instead: true, ops: []history.Operation{on("b", 1, 10, 40)},
			epochs: []history.Epoch{{Number: 1, Server: "a", From: ms(50)[0]}, {Number: 2, Server: "b"}},
			want: history.WriterVerdict{Acknowledged: 1, Epochs: 2, Unelected: 1, Examples: []string{
				"no epoch of b was committed by then: insert of 1 to s by c on b (acknowledged, 10ms to 40ms)"}}},
		"nobody knows who answered": {bad: true, ops: []history.Operation{on("", 7, 150, 160)},
			want: history.WriterVerdict{Acknowledged: 7, Epochs: 3, Undecided: 1, Examples: []string{
				"insert of 7 to s by c (acknowledged, 150ms to 160ms): undecided, since nobody knows who answered"}}},
		"an answer without a time": {bad: true, ops: []history.Operation{on("a", 7, 150, 0)},
			want: history.WriterVerdict{Acknowledged: 7, Epochs: 3, Malformed: 1, Examples: []string{
				"insert of 7 to s by c on a (acknowledged, since 150ms): returned: must be set, since the operation is acknowledged"}}},
		"what is not an acknowledged change may come from anybody": {
			ops: []history.Operation{missed, with(history.Unknown, on("a", 8, 160, 170)), with(history.Failed, on("a", 9, 160, 170)), func() history.Operation {
				o := listRead(160, 170)
				o.Server = "a"
				return o
			}()},
			want: history.WriterVerdict{Acknowledged: 6, Epochs: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			ops, line := append(tc.ops, good...), append(tc.epochs, epochs...)
			if tc.instead {
				ops, line = tc.ops, tc.epochs
			}
			got := history.CheckOneWriter(ops, line)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
			if got.Good() == tc.bad {
				t.Errorf("good = %t", got.Good())
			}
		})
	}
}

// attributable tries every attribution of operations to epochs.
func attributable(ops []history.Operation, epochs []history.Epoch) bool {
	given := make([]int, len(ops))
	var try func(n int) bool
	try = func(n int) bool {
		if n == len(ops) {
			return true
		}
	epochs:
		for e, epoch := range epochs {
			if epoch.Server != ops[n].Server || epoch.From > ops[n].Returned {
				continue
			}
			for i := range n {
				if ops[i].Returned < ops[n].Invoked && given[i] > e || ops[n].Returned < ops[i].Invoked && e > given[i] {
					continue epochs
				}
			}
			given[n] = e
			if try(n + 1) {
				return true
			}
		}
		return false
	}
	return try(0)
}

// TestOneWriterAgreesWithEveryAttribution compares the greedy attribution with an exhaustive one.
func TestOneWriterAgreesWithEveryAttribution(t *testing.T) {
	outcomes := map[bool]int{}
	for seed := range uint64(20000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var epochs []history.Epoch
		var from time.Duration
		for n := range 1 + r.IntN(4) {
			epochs = append(epochs, history.Epoch{Number: int64(n), Server: string(rune('a' + r.IntN(3))), From: from})
			from += time.Duration(r.IntN(8))
		}
		var ops []history.Operation
		for n := range 1 + r.IntN(6) {
			o := on(string(rune('a'+r.IntN(3))), int64(n), 0, 0)
			o.Invoked = time.Duration(1 + r.IntN(24))
			o.Returned = o.Invoked + time.Duration(r.IntN(6))
			ops = append(ops, o)
		}
		want, got := attributable(ops, epochs), history.CheckOneWriter(ops, epochs)
		if got.Good() != want {
			t.Fatalf("seed %d: attributable = %t, but %+v\nof %v\nin %v", seed, want, got, ops, epochs)
		}
		outcomes[want]++
	}
	if outcomes[true] < 1000 || outcomes[false] < 1000 {
		t.Errorf("the histories are too much alike: %v", outcomes)
	}
}
