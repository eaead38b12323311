package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// loseNode takes the primary's whole node away, waits until writes go on, and brings the node back. Where nodes cannot be
// touched, the primary's pod is deleted without grace instead, and the timeline says so.
func (d *demo) loseNode(ctx context.Context) error {
	faults, err := d.lab.Faults(ctx)
	if errors.Is(err, lab.ErrNoNodeFaults) {
		return d.losePod(ctx, err)
	}
	if err != nil {
		return err
	}
	before, node, err := d.separate(ctx)
	if err != nil {
		return err
	}
	primary := lab.Primary(before)
	var happened event
	if err := d.timeline.Step(fmt.Sprintf("stop the whole node of the primary, %s with %s on it", node, primary), func() (err error) {
		happened, err = d.disturb(ctx, "node stopped", before, func() error { return faults.Stop(ctx, node) })
		return err
	}); err != nil {
		return err
	}
	return d.timeline.Step("start the node again, and wait until its instance has caught up", func() error {
		if err := faults.Start(ctx, node); err != nil {
			return err
		}
		if err := d.lab.WaitNode(ctx, 3*time.Minute, node, true); err != nil {
			return err
		}
		_, err := d.cluster.WaitHealthy(ctx, 4*time.Minute, happened.Epoch)
		return err
	})
}

// losePod stands in for the loss of a node.
func (d *demo) losePod(ctx context.Context, why error) error {
	before, err := d.cluster.Get(ctx)
	if err != nil {
		return err
	}
	d.timeline.Log("  no node is stopped here (%v): the primary's pod is deleted without grace instead", why)
	primary := lab.Primary(before)
	return d.event(ctx, "pod deleted", fmt.Sprintf("delete the pod of the primary, %s, without grace", primary), before,
		func() error { return d.lab.DeletePod(ctx, namespace, primary) })
}

// separate makes sure that the client does not run on the primary's node, and returns the cluster and that node. If the
// last failover has put the primary there, it is handed over to an instance elsewhere.
func (d *demo) separate(ctx context.Context) (*mysqlv1.MySQLCluster, string, error) {
	cluster, err := d.cluster.Get(ctx)
	if err != nil {
		return nil, "", err
	}
	clientNode, err := d.workload.Node(ctx)
	if err != nil {
		return nil, "", err
	}
	node, err := d.cluster.NodeOf(ctx, lab.Primary(cluster))
	if err != nil || node != clientNode {
		return cluster, node, err
	}
	target := ""
	for _, instance := range cluster.Status.Record.Voters {
		at, err := d.cluster.NodeOf(ctx, instance)
		if err != nil {
			return nil, "", err
		}
		if at != clientNode {
			target, node = instance, at
			break
		}
	}
	if target == "" {
		return nil, "", fmt.Errorf("move the primary away from the client: every voter runs on %s", clientNode)
	}
	what := fmt.Sprintf("the primary is on the client's node %s: hand it over to %s first", clientNode, target)
	if err := d.event(ctx, "switchover", what, cluster, func() error { return d.cluster.Switchover(ctx, target) }); err != nil {
		return nil, "", err
	}
	cluster, err = d.cluster.Get(ctx)
	return cluster, node, err
}
