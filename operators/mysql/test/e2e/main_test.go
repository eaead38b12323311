//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// suite is what TestMain sets up once and every scenario reads.
var suite struct {
	env      env.Environment
	lab      *lab.Lab
	timeline *lab.Timeline
	// began is when the suite began.
	began time.Time
}

func TestMain(m *testing.M) {
	suite.began = time.Now()
	suite.timeline = lab.NewTimeline(os.Stdout)
	suite.env = env.NewWithConfig(envconf.New())
	suite.env.Setup(func(ctx context.Context, _ *envconf.Config) (context.Context, error) {
		options, err := lab.FromEnvironment(os.Getenv)
		if err != nil {
			return ctx, err
		}
		if suite.lab, err = lab.Open(ctx, options, suite.timeline.Log); err != nil {
			return ctx, err
		}
		return ctx, suite.timeline.Step("install the operator", func() error { return suite.lab.InstallOperator(ctx) })
	})
	suite.env.Finish(func(ctx context.Context, _ *envconf.Config) (context.Context, error) {
		if suite.lab == nil || suite.lab.Keep {
			return ctx, nil
		}
		return ctx, suite.lab.DeleteNamespace(ctx, shopNamespace, 2*time.Minute)
	})
	os.Exit(suite.env.Run(m))
}

// scene is what a scenario works on.
type scene struct {
	*lab.Cluster
	workload *lab.Workload
}

// step is one behaviour of a scenario. A step that fails ends the scenario.
type step struct {
	behaviour string
	check     func(ctx context.Context, t *testing.T, s *scene)
}

// play runs a scenario on the named cluster. If it fails, what was going on is written to .out/e2e/<scenario>/.
func play(t *testing.T, s *scene, steps ...step) {
	t.Helper()
	scenario := strings.TrimPrefix(t.Name(), "Test")
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		folder := filepath.Join(suite.lab.Out, "e2e", scenario)
		path, err := suite.lab.DiagnoseTo(context.Background(), s.Key.Namespace, folder)
		if err != nil {
			t.Errorf("diagnose: %v", err)
		}
		t.Logf("what was going on: %s", path)
	})
	feature := features.New(scenario)
	for _, st := range steps {
		feature = feature.Assess(st.behaviour, func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
			suite.timeline.Log("▶ %s: %s", scenario, st.behaviour)
			started := time.Now()
			st.check(ctx, t, s)
			suite.timeline.Log("✓ %s: %s (%s)", scenario, st.behaviour, time.Since(started).Round(100*time.Millisecond))
			return ctx
		})
	}
	suite.env.Test(t, feature.Feature())
}

// discard begins to delete the scenario's own namespace when the scenario ends; that nothing holds a deletion back is a
// scenario of its own.
func discard(t *testing.T, namespace string) {
	t.Cleanup(func() {
		if suite.lab.Keep {
			return
		}
		if err := suite.lab.DeleteNamespace(context.Background(), namespace, 0); err != nil {
			t.Errorf("discard the namespace: %v", err)
		}
	})
}

// must ends the scenario if something did not work.
func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// got ends the scenario if a value could not be had, and returns it.
func got[T any](value T, err error) func(t *testing.T, what string) T {
	return func(t *testing.T, what string) T {
		t.Helper()
		must(t, what, err)
		return value
	}
}
