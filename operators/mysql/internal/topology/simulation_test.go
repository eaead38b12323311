package topology_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/model"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "run the simulation with this seed alone and print what happens")
	simRuns  = flag.Int("sim.runs", 200, "how many seeds the simulation runs")
	simFirst = flag.Uint64("sim.first", 1, "the first seed of the simulation")
)

// simulation are the bounds of every run. A run that is not healthy within Settle rounds of 100 ms has failed.
func simulation(seed uint64) model.Options {
	return model.Options{Seed: seed, Steps: 600, Settle: 1500}
}

func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		opts := simulation(*simSeed)
		opts.Trace = func(line string) { fmt.Println(line) }
		if res := model.Run(opts); res.Problem != "" {
			t.Fatal(res.Problem)
		}
		return
	}
	steps, acked, forced, trimmed, began := 0, 0, 0, 0, time.Now()
	kinds := map[topology.CommitKind]int{}
	for seed := *simFirst; seed < *simFirst+uint64(*simRuns); seed++ {
		res := model.Run(simulation(seed))
		steps += res.Steps
		acked += res.Acked
		forced += res.Forced
		trimmed += res.Trimmed
		for kind, n := range res.Commits {
			kinds[kind] += n
		}
		if res.Problem != "" {
			t.Errorf("seed %d: %s\n\tgo test ./internal/topology -run TestSimulation$ -sim.seed=%d", seed, res.Problem, seed)
		}
	}
	took := time.Since(began)
	t.Logf("%d steps in %s (%.0f a second), %d acknowledged transactions, %d forced promotions, %d unacknowledged transactions removed, commits: %v",
		steps, took.Round(time.Millisecond), float64(steps)/took.Seconds(), acked, forced, trimmed, kinds)
	if trimmed == 0 && *simRuns >= 20 {
		t.Error("no former primary removed anything, so that nothing was proven about it")
	}
}
