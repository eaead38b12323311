package history_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// large is how many operations a long run of a set or a list leaves behind.
const large = 1_000_000

// many is a history of as many acknowledged changes by ten clients, which overlap.
func many(kind history.Kind) ([]history.Operation, []int64) {
	ops, values := make([]history.Operation, large), make([]int64, large)
	for i := range ops {
		at := time.Duration(i) * time.Millisecond
		ops[i] = history.Operation{Client: "client", Kind: kind, Object: "l", Value: int64(i), Invoked: at,
			Returned: at + 10*time.Millisecond, Outcome: history.Acknowledged, Server: "a"}
		values[i] = int64(i)
	}
	return ops, values
}

func BenchmarkSet(b *testing.B) {
	ops, values := many(history.KindInsert)
	for b.Loop() {
		judge := history.JudgeSet(ops, "l")
		for _, value := range values {
			judge.Found(value, true)
		}
		if v := judge.Verdict(); !v.Good() || v.Found != large {
			b.Fatalf("verdict %+v", v)
		}
	}
}

func BenchmarkLists(b *testing.B) {
	ops, values := many(history.KindAppend)
	for i := range 1000 {
		at := time.Duration(i) * time.Second
		ops = append(ops, history.Operation{Client: "reader", Kind: history.KindReadList, Object: "l", Seen: values[:i*1000], Invoked: at,
			Returned: at + time.Second, Outcome: history.Acknowledged})
	}
	for b.Loop() {
		if v := history.CheckLists(ops, map[string][]int64{"l": values}); !v.Good() || v.Found != large || v.Reads != 1000 {
			b.Fatalf("verdict %+v", v)
		}
	}
}

func BenchmarkOneWriter(b *testing.B) {
	ops, _ := many(history.KindAppend)
	var epochs []history.Epoch
	for i := range 1000 {
		epochs = append(epochs, history.Epoch{Number: int64(i), Server: "a", From: time.Duration(i) * time.Second})
	}
	for b.Loop() {
		if v := history.CheckOneWriter(ops, epochs); !v.Good() || v.Acknowledged != large {
			b.Fatalf("verdict %+v", v)
		}
	}
}

// BenchmarkRegisters judges one register of three hundred operations by ten clients at once.
func BenchmarkRegisters(b *testing.B) {
	s := simulate(1, 10, 1050, 0)
	var ops []history.Operation
	for _, o := range s.told().ops {
		if o.Kind == history.KindWrite || o.Kind == history.KindCompareAndSet || o.Kind == history.KindReadRegister {
			o.Object = "r-" + o.Object
			ops = append(ops, o)
		}
	}
	for b.Loop() {
		if v := history.CheckRegisters(ops, history.RegisterOptions{}); !v.Good() || v.Registers != 2 {
			b.Fatalf("verdict %+v", v)
		}
	}
	b.ReportMetric(float64(len(ops))/2, "operations/register")
}

// BenchmarkNoOrder is the worst case of a register: the violation stands at the end, and everything before it is tried.
func BenchmarkNoOrder(b *testing.B) {
	s := simulate(1, 10, 1050, 0)
	var ops []history.Operation
	for _, o := range s.told().ops {
		if o.Kind == history.KindWrite || o.Kind == history.KindCompareAndSet || o.Kind == history.KindReadRegister {
			ops = append(ops, o)
		}
	}
	for n := range 2 {
		swap := swapped(ops[0].Value, int64(1<<40+n), 1_000_000, 1_000_010)
		swap.Object = "object-0"
		for _, o := range ops {
			if o.Kind == history.KindWrite && o.Outcome == history.Acknowledged && o.Object == swap.Object {
				swap.Expected = o.Value
				break
			}
		}
		ops = append(ops, swap)
	}
	for b.Loop() {
		if v := history.CheckRegisters(ops, history.RegisterOptions{}); v.NotLinearizable != 1 || v.Undecided != 0 {
			b.Fatalf("verdict %+v", v)
		}
	}
}

func BenchmarkEncoding(b *testing.B) {
	ops, _ := many(history.KindInsert)
	ops = ops[:large/10]
	for b.Loop() {
		var file bytes.Buffer
		if err := history.Write(&file, ops); err != nil {
			b.Fatal(err)
		}
		if read, err := history.Read(&file); err != nil || len(read) != len(ops) {
			b.Fatalf("%d operations, %v", len(read), err)
		}
	}
}
