package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
	"github.com/kapok-operators/kapok/shared/testkit/history"
)

const (
	namespace = "kapok-demo"
	name      = "shop"
	// settle is how long writes go on undisturbed between two events.
	settle = 5 * time.Second
)

// demo is one demonstration.
type demo struct {
	lab      *lab.Lab
	timeline *lab.Timeline
	cluster  *lab.Cluster
	workload *lab.Workload
	result   result
}

// result is what is written to demo.json.
type result struct {
	Acknowledged int64   `json:"acknowledged"`
	Lost         int64   `json:"lost"`
	Phantom      int64   `json:"phantom"`
	Unknown      int64   `json:"unknown"`
	Found        int64   `json:"found"`
	Events       []event `json:"events"`
}

// event is one thing that was done to the cluster.
type event struct {
	Name    string  `json:"name"`
	GapMS   float64 `json:"gap_ms"`
	Epoch   int64   `json:"epoch"`
	Primary string  `json:"primary"`
}

// play runs the demonstration on an open lab.
func (d *demo) play(ctx context.Context) error {
	d.cluster = d.lab.Cluster(namespace, name)
	if err := d.prepare(ctx); err != nil {
		return err
	}
	stop := d.timeline.Follow(ctx, d.cluster)
	defer stop()
	// From here on the timeline tells what the cluster does; what the waits see is the same again.
	d.lab.Log = func(string, ...any) {}
	for _, act := range []func(context.Context) error{d.killServer, d.loseNode, d.switchOver} {
		if err := act(ctx); err != nil {
			return err
		}
		if err := sleep(ctx, settle); err != nil {
			return err
		}
	}
	stop()
	if err := d.count(ctx); err != nil {
		return err
	}
	return d.conclude()
}

// prepare installs the operator, creates the cluster and starts the client.
func (d *demo) prepare(ctx context.Context) error {
	step := d.timeline.Step
	if err := step("install the operator", func() error { return d.lab.InstallOperator(ctx) }); err != nil {
		return err
	}
	if err := step("remove what an earlier demonstration left", func() error {
		return d.lab.DeleteNamespace(ctx, namespace, 3*time.Minute)
	}); err != nil {
		return err
	}
	if err := step("create the MySQL cluster "+name+" (three instances)", func() error {
		sample := filepath.Join(d.lab.Root, "operators", "mysql", "config", "samples", "shop.yaml")
		raw, err := os.ReadFile(sample)
		if err != nil {
			return fmt.Errorf("read the sample: %w", err)
		}
		if err := d.lab.Namespace(ctx, namespace); err != nil {
			return err
		}
		if err := d.lab.Apply(ctx, namespace, raw); err != nil {
			return err
		}
		_, err = d.cluster.WaitHealthy(ctx, 6*time.Minute, 1)
		return err
	}); err != nil {
		return err
	}
	return step("start a client that writes through the Service "+name, func() error {
		node, err := d.awayFromPrimary(ctx)
		if err != nil {
			return err
		}
		options, err := d.account(ctx)
		if err != nil {
			return err
		}
		options.Node = node
		if d.workload, err = d.cluster.StartWorkload(ctx, options); err != nil {
			return err
		}
		d.timeline.Log("  it never pauses, and writes every row once")
		return sleep(ctx, settle)
	})
}

// account returns the sample's first account that may write and has a database of its own.
func (d *demo) account(ctx context.Context) (lab.WorkloadOptions, error) {
	cluster, err := d.cluster.Get(ctx)
	if err != nil {
		return lab.WorkloadOptions{}, err
	}
	for _, u := range cluster.Spec.Users {
		if u.Access == mysqlv1.AccessReadWrite && u.Database != "" {
			return lab.WorkloadOptions{Account: u.Name, Database: u.Database}, nil
		}
	}
	return lab.WorkloadOptions{}, errors.New("find an account to write as: the sample has none with a database of its own")
}

// awayFromPrimary returns a node on which the primary is not: the client must outlive the loss of the primary's node.
func (d *demo) awayFromPrimary(ctx context.Context) (string, error) {
	cluster, err := d.cluster.Get(ctx)
	if err != nil {
		return "", err
	}
	node, err := d.cluster.NodeOf(ctx, lab.Primary(cluster))
	if err != nil {
		return "", err
	}
	return d.lab.OtherNode(ctx, node)
}

// killServer kills the primary's mysqld.
func (d *demo) killServer(ctx context.Context) error {
	before, err := d.cluster.Get(ctx)
	if err != nil {
		return err
	}
	primary := lab.Primary(before)
	return d.event(ctx, "kill -9 mysqld", fmt.Sprintf("kill -9 the mysqld of the primary, %s", primary), before, func() error {
		return d.cluster.Signal(ctx, primary, "KILL")
	})
}

// switchOver asks for a planned change of the primary.
func (d *demo) switchOver(ctx context.Context) error {
	before, err := d.cluster.Get(ctx)
	if err != nil {
		return err
	}
	return d.event(ctx, "switchover", "hand the primary over as planned", before, func() error {
		return d.cluster.Switchover(ctx, mysqlv1.SwitchoverAny)
	})
}

// event does something to the cluster and waits until writes go on under a new primary and the cluster is whole again.
func (d *demo) event(ctx context.Context, name, what string, before *mysqlv1.MySQLCluster, do func() error) error {
	return d.timeline.Step(what, func() error {
		happened, err := d.disturb(ctx, name, before, do)
		if err != nil {
			return err
		}
		if _, err := d.cluster.WaitHealthy(ctx, 3*time.Minute, happened.Epoch); err != nil {
			return err
		}
		return nil
	})
}

// disturb does something to the cluster, waits until writes go on under a new primary, and notes the event.
func (d *demo) disturb(ctx context.Context, name string, before *mysqlv1.MySQLCluster, do func() error) (event, error) {
	if err := d.workload.Mark(ctx, name); err != nil {
		return event{}, err
	}
	if err := do(); err != nil {
		return event{}, err
	}
	epoch := lab.Epoch(before)
	after, err := d.cluster.WaitFor(ctx, 2*time.Minute, "to have a new primary", func(c *mysqlv1.MySQLCluster) bool {
		return lab.Epoch(c) > epoch
	})
	if err != nil {
		return event{}, err
	}
	seen, err := d.workload.Recovered(ctx, 2*time.Minute)
	if err != nil {
		return event{}, err
	}
	happened := event{Name: name, GapMS: seen.Milliseconds, Epoch: lab.Epoch(after), Primary: lab.Primary(after)}
	d.result.Events = append(d.result.Events, happened)
	d.timeline.Log("  ★ %s: write gap %.0f ms, primary %s, epoch %d", name, happened.GapMS, happened.Primary, happened.Epoch)
	return happened, nil
}

// count ends the writing and compares the table with what the client was told.
func (d *demo) count(ctx context.Context) error {
	return d.timeline.Step("stop the client and read every row back", func() error {
		report, err := d.workload.Verify(ctx)
		if err != nil {
			return err
		}
		verdict := *report.Verdict
		d.result.Acknowledged, d.result.Lost, d.result.Phantom = verdict.Acknowledged, verdict.Lost, verdict.Phantom
		d.result.Unknown, d.result.Found = verdict.Unknown, verdict.Found
		if err := lab.WriteJSON(filepath.Join(d.lab.Out, "demo.json"), d.result); err != nil {
			return err
		}
		d.table(verdict)
		return nil
	})
}

// conclude says how to go on, or fails.
func (d *demo) conclude() error {
	if d.result.Lost > 0 || d.result.Phantom > 0 {
		return fmt.Errorf("the cluster broke its word: %d acknowledged rows lost, %d rows that should not be there",
			d.result.Lost, d.result.Phantom)
	}
	d.afterwards()
	return nil
}

// table prints the end: rows and gaps.
func (d *demo) table(v history.Verdict) {
	fmt.Printf("\n  %-26s %8d\n", "rows acknowledged", v.Acknowledged)
	fmt.Printf("  %-26s %8d   (%d of unknown outcome, the connection was lost in flight)\n", "rows found", v.Found, v.UnknownFound)
	fmt.Printf("  %-26s %8d\n", "acknowledged and lost", v.Lost)
	fmt.Printf("  %-26s %8d\n", "never written, yet found", v.Phantom)
	fmt.Printf("\n  %-26s %12s   %-10s %s\n", "event", "write gap", "primary", "epoch")
	for _, e := range d.result.Events {
		fmt.Printf("  %-26s %9.0f ms   %-10s %d\n", e.Name, e.GapMS, e.Primary, e.Epoch)
	}
	for _, example := range v.Examples {
		fmt.Println("  wrong:", example)
	}
	fmt.Println()
}

// sleep waits, unless the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
