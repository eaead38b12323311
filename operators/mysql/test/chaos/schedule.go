package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Fault is one fault to inject.
type Fault struct {
	// Kind says what breaks.
	Kind Kind `json:"kind"`
	// Replica chooses among the replicas, for a fault that meets one: a number to be taken modulo how many there are.
	Replica int `json:"replica"`
	// After is how long after the round's first fault it is injected.
	After time.Duration `json:"after"`
	// Hold is how long it lasts.
	Hold time.Duration `json:"hold"`
}

// String says what breaks, when and for how long.
func (f Fault) String() string {
	text := string(f.Kind)
	if f.Hold > 0 {
		text += " for " + f.Hold.String()
	}
	if f.After > 0 {
		text += fmt.Sprintf(" (%s later)", f.After)
	}
	return text
}

// Round is one disturbance of the cluster: a fault, or two that overlap.
type Round struct {
	// Seed and Number make the round again: SEED=<seed> FROM=<number> FAULTS=1 make chaos.
	Seed   uint64 `json:"seed"`
	Number int    `json:"number"`
	// Only are the kinds that it was drawn from, if not from all: another choice gives another round.
	Only []Kind `json:"only,omitempty"`
	// Faults are injected in this order.
	Faults []Fault `json:"faults"`
	// Settle is how long the load runs before the first fault.
	Settle time.Duration `json:"settle"`
}

// Name names the round, and its chapter of the recording.
func (r Round) Name() string { return fmt.Sprintf("s%d-r%d", r.Seed, r.Number) }

// String says what the round does.
func (r Round) String() string {
	parts := make([]string, 0, len(r.Faults))
	for _, f := range r.Faults {
		parts = append(parts, f.String())
	}
	return strings.Join(parts, " + ")
}

// Bound is how long the cluster may take to be whole again after the round's last fault is over.
func (r Round) Bound() time.Duration {
	bound := time.Duration(0)
	for _, f := range r.Faults {
		if t, ok := traitOf(f.Kind); ok {
			bound = max(bound, t.bound)
		}
	}
	if len(r.Faults) > 1 {
		bound += 30 * time.Second
	}
	return bound
}

const (
	// overlapOf100 is how many of a hundred rounds have a second fault, if the first one allows it.
	overlapOf100 = 25
	// overlapWithin is how soon after a fault of a moment the second one follows at the latest.
	overlapWithin = 3 * time.Second
)

// Draw returns the round with a number. It depends on the seed, the number and the kinds alone, not on the rounds before it,
// so that one round can be made again by itself. There must be a kind.
func Draw(seed uint64, number int, kinds []Kind) Round {
	rng := rand.New(rand.NewPCG(seed, uint64(number))) //nolint:gosec // Chance that can be repeated is what is wanted.
	r := Round{Seed: seed, Number: number, Settle: 500*time.Millisecond + time.Duration(rng.IntN(1500))*time.Millisecond}
	first, t := draw(rng, kinds, false)
	r.Faults = []Fault{first}
	if t.overlaps && rng.IntN(100) < overlapOf100 {
		second, _ := draw(rng, kinds, true)
		within := max(first.Hold, overlapWithin)
		second.After = time.Duration(rng.Int64N(int64(within/time.Millisecond))) * time.Millisecond
		r.Faults = append(r.Faults, second)
	}
	return r
}

// draw draws one fault by weight.
func draw(rng *rand.Rand, kinds []Kind, overlapping bool) (Fault, trait) {
	var among []trait
	sum := 0
	for _, t := range traits() {
		if slices.Contains(kinds, t.kind) && (!overlapping || t.overlaps) {
			among = append(among, t)
			sum += t.weight
		}
	}
	n := rng.IntN(sum)
	chosen := among[len(among)-1]
	for _, t := range among {
		if n < t.weight {
			chosen = t
			break
		}
		n -= t.weight
	}
	f := Fault{Kind: chosen.kind, Replica: rng.IntN(1000)}
	if chosen.hold[1] > 0 {
		span := int64((chosen.hold[1] - chosen.hold[0]) / time.Millisecond)
		f.Hold = chosen.hold[0] + time.Duration(rng.Int64N(span+1))*time.Millisecond
	}
	return f, chosen
}

// Short returns the rounds of the short campaign that runs with the other scenarios: one of each sort of fault, some of them
// overlapping, and those that have found something before. Rounds with a fault that the provider cannot inject are left out.
func (c *Campaign) Short() []Round {
	var rounds []Round
	for i, faults := range shortRounds() {
		if slices.ContainsFunc(faults, func(f Fault) bool { return !slices.Contains(c.Kinds, f.Kind) }) {
			continue
		}
		rounds = append(rounds, Round{Number: i + 1, Faults: faults, Settle: time.Second})
	}
	return rounds
}

func shortRounds() [][]Fault {
	return [][]Fault{
		{{Kind: KillServer}},
		{{Kind: KillAgent}},
		{{Kind: FreezeServer, Hold: 6 * time.Second}},
		{{Kind: CutDatabases, Hold: 5 * time.Second}},
		{{Kind: CutNodeOut, Hold: 6 * time.Second}},
		{{Kind: StallDisk, Hold: 7 * time.Second}},
		{{Kind: KillLeaderAndServer}},
		{{Kind: PauseAPI, Hold: 4 * time.Second}, {Kind: KillServer, After: time.Second}},
		{{Kind: KillReplicaServer}, {Kind: KillServer, After: 500 * time.Millisecond}},
		{{Kind: DelayPackets, Hold: 6 * time.Second}, {Kind: Switchover, After: 2 * time.Second}},
		{{Kind: KillAllServers}},
		{{Kind: KillLeader}},
		{{Kind: KillLeader}},
	}
}
