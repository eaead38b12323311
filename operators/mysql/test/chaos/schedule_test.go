package chaos

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func everything() []Kind { return Kinds(NeedNodes, NeedNetwork, NeedControl, NeedVolumes, NeedClock) }

func TestARoundFollowsFromSeedAndNumberAlone(t *testing.T) {
	kinds := everything()
	first := Draw(7, 13, kinds)
	for range 3 {
		Draw(7, 14, kinds)
		if diff := cmp.Diff(first, Draw(7, 13, kinds)); diff != "" {
			t.Fatalf("round 13 of seed 7 is another one the second time (-first +second):\n%s", diff)
		}
	}
	same := 0
	for number := range 100 {
		if Draw(7, number, kinds).String() == Draw(8, number, kinds).String() {
			same++
		}
	}
	if same > 20 {
		t.Errorf("%d of 100 rounds of two seeds are the same", same)
	}
}

func TestEveryFaultIsDrawnWithinItsBounds(t *testing.T) {
	kinds := everything()
	drawn := map[Kind]int{}
	overlapping := 0
	for number := range 3000 {
		r := Draw(1, number, kinds)
		if len(r.Faults) > 1 {
			overlapping++
		}
		for i, f := range r.Faults {
			drawn[f.Kind]++
			tr, known := traitOf(f.Kind)
			switch {
			case !known:
				t.Fatalf("round %d: there is no fault %q", number, f.Kind)
			case f.Hold < tr.hold[0] || f.Hold > tr.hold[1]:
				t.Errorf("round %d: %s is held for %s, not between %s and %s", number, f.Kind, f.Hold, tr.hold[0], tr.hold[1])
			case len(r.Faults) > 1 && !tr.overlaps:
				t.Errorf("round %d: %s overlaps", number, f.Kind)
			case i == 0 && f.After != 0, i > 0 && f.After >= max(r.Faults[0].Hold, overlapWithin):
				t.Errorf("round %d: fault %d comes after %s", number, i, f.After)
			case r.Bound() < tr.bound:
				t.Errorf("round %d has to be over within %s, and %s alone may take %s", number, r.Bound(), f.Kind, tr.bound)
			}
		}
	}
	for _, k := range kinds {
		if drawn[k] == 0 {
			t.Errorf("%s was never drawn in 3000 rounds", k)
		}
	}
	if overlapping < 400 || overlapping > 900 {
		t.Errorf("%d of 3000 rounds overlap", overlapping)
	}
}

func TestOnlyTheKindsThatWereAskedForAreDrawn(t *testing.T) {
	for number := range 200 {
		for _, f := range Draw(1, number, []Kind{KillServer, DeleteAllPods}).Faults {
			if f.Kind != KillServer && f.Kind != DeleteAllPods {
				t.Fatalf("round %d has %s", number, f.Kind)
			}
		}
	}
}

func TestKindsAreThoseThatAProviderCanInject(t *testing.T) {
	bare := Kinds()
	if slices.Contains(bare, StopNode) || !slices.Contains(bare, KillServer) {
		t.Errorf("without any ability: %v", bare)
	}
	if with := Kinds(NeedNodes); !slices.Contains(with, StopNode) || slices.Contains(with, CutAPI) {
		t.Errorf("with nodes: %v", with)
	}
	seen := map[Kind]bool{}
	for _, k := range everything() {
		if seen[k] {
			t.Errorf("%s is listed twice", k)
		}
		seen[k] = true
	}
}

func TestAVictimIsWhoTheFaultMeets(t *testing.T) {
	sc := scene{primary: "db-1", replicas: []string{"db-0", "db-2"}}
	for _, tc := range []struct {
		fault Fault
		want  string
	}{
		{Fault{Kind: KillServer}, "db-1"},
		{Fault{Kind: StallDisk, Replica: 1}, "db-1"},
		{Fault{Kind: KillReplicaServer, Replica: 0}, "db-0"},
		{Fault{Kind: KillReplicaServer, Replica: 3}, "db-2"},
		{Fault{Kind: StallReplicaDisk, Replica: 4}, "db-0"},
	} {
		if got := sc.victim(tc.fault); got != tc.want {
			t.Errorf("%s with replica %d meets %s, want %s", tc.fault.Kind, tc.fault.Replica, got, tc.want)
		}
	}
}

func TestARoundSaysWhatItDoes(t *testing.T) {
	r := Round{Seed: 7, Number: 13, Faults: []Fault{
		{Kind: CutNode, Hold: 4 * time.Second}, {Kind: KillServer, After: 1500 * time.Millisecond}}}
	if got, want := r.String(), "cut-node for 4s + kill-mysqld (1.5s later)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if r.Name() != "s7-r13" {
		t.Errorf("its chapter is %q", r.Name())
	}
}
