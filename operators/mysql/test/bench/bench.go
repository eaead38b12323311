package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

const (
	namespace = "kapok-bench"
	name      = "bench"
	// settle is how long writes go on undisturbed before an event.
	settle = time.Second
	// pause is a writer's pause between two rows. Three servers, three nodes, the control plane and the client share one
	// machine, often of two processors: writers that never rest measure how long its run queue is.
	pause = 25 * time.Millisecond
)

// bench is one benchmark.
type bench struct {
	lab      *lab.Lab
	timeline *lab.Timeline
	cluster  *lab.Cluster
	results  map[string]summary
}

// play sets up a cluster of three and runs both phases on it.
func (b *bench) play(ctx context.Context, kills, switchovers int) error {
	b.cluster = b.lab.Cluster(namespace, name)
	if err := b.timeline.Step("install the operator", func() error { return b.lab.InstallOperator(ctx) }); err != nil {
		return err
	}
	if err := b.timeline.Step("create a cluster of three", func() error { return b.create(ctx) }); err != nil {
		return err
	}
	if err := b.phase(ctx, "kill", kills, func(ctx context.Context, primary string) error {
		return b.cluster.Signal(ctx, primary, "KILL")
	}); err != nil {
		return err
	}
	return b.phase(ctx, "switchover", switchovers, func(ctx context.Context, _ string) error {
		return b.cluster.Switchover(ctx, mysqlv1.SwitchoverAny)
	})
}

func (b *bench) create(ctx context.Context) error {
	if err := b.lab.DeleteNamespace(ctx, namespace, 3*time.Minute); err != nil {
		return err
	}
	if err := b.lab.Namespace(ctx, namespace); err != nil {
		return err
	}
	pool := resource.MustParse("64Mi")
	if err := b.cluster.Create(ctx, mysqlv1.MySQLClusterSpec{Instances: 3, BufferPoolSize: &pool,
		Storage: mysqlv1.Storage{Size: resource.MustParse("2Gi")}}); err != nil {
		return err
	}
	_, err := b.cluster.WaitHealthy(ctx, 6*time.Minute, 1)
	return err
}

// phase does the same thing to the primary many times under load; each time the cluster is whole again before the next.
func (b *bench) phase(ctx context.Context, phase string, runs int, do func(ctx context.Context, primary string) error) error {
	if runs == 0 {
		return nil
	}
	var gaps []time.Duration
	workload, err := b.cluster.StartWorkload(ctx, lab.WorkloadOptions{Name: "workload-" + phase, Interval: pause})
	if err != nil {
		return err
	}
	for i := range runs {
		gap, err := b.once(ctx, workload, fmt.Sprintf("%s %d", phase, i+1), do)
		if err != nil {
			b.results[phase] = summarize(gaps, nil)
			return fmt.Errorf("%s %d of %d: %w", phase, i+1, runs, err)
		}
		gaps = append(gaps, gap)
	}
	report, err := workload.Verify(ctx)
	if err != nil {
		b.results[phase] = summarize(gaps, nil)
		return fmt.Errorf("compare the rows after %d times %s: %w", runs, phase, err)
	}
	b.results[phase] = summarize(gaps, report.Verdict)
	if !report.Verdict.Good() {
		return fmt.Errorf("after %d times %s: %d acknowledged rows lost, %d rows that should not be there: %v", runs, phase,
			report.Verdict.Lost, report.Verdict.Phantom, report.Verdict.Examples)
	}
	return workload.Remove(ctx)
}

// once does it once and returns the write gap.
func (b *bench) once(ctx context.Context, w *lab.Workload, name string, do func(ctx context.Context, primary string) error) (time.Duration, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(settle):
	}
	before, err := b.cluster.Get(ctx)
	if err != nil {
		return 0, err
	}
	if err := w.Mark(ctx, name); err != nil {
		return 0, err
	}
	if err := do(ctx, lab.Primary(before)); err != nil {
		return 0, err
	}
	epoch := lab.Epoch(before) + 1
	if _, err := b.cluster.WaitFor(ctx, time.Minute, "to have a new primary", func(c *mysqlv1.MySQLCluster) bool {
		return lab.Epoch(c) >= epoch
	}); err != nil {
		return 0, err
	}
	event, err := w.Recovered(ctx, time.Minute)
	if err != nil {
		return 0, err
	}
	after, err := b.cluster.WaitHealthy(ctx, 3*time.Minute, epoch)
	if err != nil {
		return 0, err
	}
	b.timeline.Log("%-14s gap %6.0f ms   %s -> %s, epoch %d", name, event.Milliseconds, lab.Primary(before), lab.Primary(after), lab.Epoch(after))
	return event.Gap(), nil
}
