//go:build e2e

package e2e

import (
	"context"
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/mutation"
	"github.com/kapok-operators/kapok/operators/mysql/test/mutate/campaign"
)

// TestMutations is the campaign of mutate with changes that cover its verdicts, so that no run of the tests goes without:
// refused, converged, rejected later by each kind of condition, and given up while under way. A cluster that is being
// written to survives them all.
func TestMutations(t *testing.T) {
	const namespace = "e2e-mutate"
	changes := []string{
		"spec.instances: above the maximum",
		"scenario: something good with something refused",
		"scenario: option max_connections=123",
		"scenario: a wrong option after a good one that restarts",
		"scenario: an account without a password",
		"scenario: image that does not exist",
		"scenario: scale to 1 after 5 was asked for",
		"scenario: failovers by hand and back",
	}
	s := &scene{Cluster: suite.lab.Cluster(namespace, "mutant")}
	discard(t, namespace)
	var c *campaign.Campaign
	steps := []step{{"a cluster of three takes writes", func(ctx context.Context, t *testing.T, s *scene) {
		c = got(campaign.Open(ctx, s.Cluster))(t, "open the campaign")
		must(t, "begin", c.Begin(ctx))
	}}}
	for _, name := range changes {
		steps = append(steps, step{name, func(ctx context.Context, t *testing.T, _ *scene) {
			result := got(c.Try(ctx, named(t, c.Changes(1), name)))(t, "try it")
			suite.timeline.Log("  ★ %s: write gap %.0f ms  %s", result.Verdict, result.Gap, result.Said)
			for _, alarm := range result.Alarms {
				t.Errorf("%s: %s", name, alarm)
			}
			if result.Broken {
				t.FailNow()
			}
		}})
	}
	steps = append(steps, step{"no acknowledged row is lost and none is there that should not be", func(ctx context.Context, t *testing.T, _ *scene) {
		report := got(c.End(ctx))(t, "read the rows back")
		suite.timeline.Log("  rows: %d acknowledged, %d lost, %d phantom", report.Verdict.Acknowledged, report.Verdict.Lost, report.Verdict.Phantom)
	}})
	play(t, s, steps...)
}

func named(t *testing.T, changes []mutation.Change, name string) mutation.Change {
	t.Helper()
	for _, c := range changes {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no change %q", name)
	return mutation.Change{}
}
