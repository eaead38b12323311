//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/test/chaos"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// TestChaos: faults under load, judged by history: the short version of `make chaos`, with fixed rounds, one of every sort.
// A cluster whose provider cannot inject all of them meets those that it can.
func TestChaos(t *testing.T) {
	const namespace = "e2e-chaos"
	options := chaos.Options{Namespace: namespace, Name: "chaos", Interval: 60 * time.Millisecond,
		Out: filepath.Join(suite.lab.Out, "e2e", "Chaos")}
	if suite.lab.Provider == "local" {
		options.StorageClass = limitedClass
	}
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	discard(t, namespace)
	campaign := got(chaos.Open(ctx, suite.lab, suite.timeline, options))(t, "make the cluster and its recorders")
	rounds := campaign.Short()
	if len(rounds) == 0 {
		t.Fatal("this cluster's provider can inject nothing: nothing would be proven")
	}
	summary, err := campaign.Play(ctx, rounds)
	summary.Print(os.Stdout)
	must(t, "play all rounds", err)
	must(t, "keep the summary", lab.WriteJSON(filepath.Join(options.Out, "chaos.json"), summary))
	for _, f := range summary.Failing {
		t.Errorf("round %d (%s): %v", f.Round, f.What, f.Problems)
	}
	if !summary.Good() {
		t.Errorf("no proof: %d rounds, %d acknowledged writes", summary.Rounds, summary.Acknowledged)
	}
}
