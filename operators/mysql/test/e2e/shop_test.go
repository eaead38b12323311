//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

const (
	shopNamespace = "e2e-shop"
	shopName      = "shop"

	// healthyTimeout is how long a cluster may take to become whole; two cores and one disk carry everything.
	healthyTimeout = 4 * time.Minute
)

// shop is the cluster that most scenarios share.
func shop() *scene {
	return &scene{Cluster: suite.lab.Cluster(shopNamespace, shopName)}
}

// account is the account and the database of the sample that the scenarios write with.
func account(ctx context.Context, t *testing.T, s *scene) (account, database string) {
	t.Helper()
	cluster := got(s.Get(ctx))(t, "read the cluster")
	for _, u := range cluster.Spec.Users {
		if u.Access == mysqlv1.AccessReadWrite && u.Database != "" {
			return u.Name, u.Database
		}
	}
	t.Fatal("the sample has no account that may write and has a database")
	return "", ""
}

// takeOver begins a scenario on shop: it is created if it is not there, brought back to what the sample says, and healthy.
func takeOver() step {
	return step{"the cluster is there and healthy", func(ctx context.Context, t *testing.T, s *scene) {
		applyShop(ctx, t, s)
		must(t, "begin healthy", errOf(s.WaitHealthy(ctx, healthyTimeout, 1)))
	}}
}

// applyShop applies the sample that the README shows.
func applyShop(ctx context.Context, t *testing.T, s *scene) {
	t.Helper()
	must(t, "create the namespace", s.Namespace(ctx, s.Key.Namespace))
	must(t, "apply the sample", s.Apply(ctx, s.Key.Namespace, sample(t, "shop.yaml")))
	// Options that an earlier scenario has added are not in the sample, so applying it does not take them away.
	must(t, "reset the configuration", s.Update(ctx, func(spec *mysqlv1.MySQLClusterSpec) {
		for name := range spec.Configuration {
			if name != "max_connections" {
				delete(spec.Configuration, name)
			}
		}
	}))
}

func sample(t *testing.T, name string) []byte {
	t.Helper()
	return got(os.ReadFile(filepath.Join(suite.lab.Root, "operators", "mysql", "config", "samples", name)))(t, "read the sample")
}

// write starts the workload, on a node where the primary is not if away is set.
func write(away bool) step {
	return step{"a client writes through the read-write Service", func(ctx context.Context, t *testing.T, s *scene) {
		startWriting(ctx, t, s, away)
	}}
}

func startWriting(ctx context.Context, t *testing.T, s *scene, away bool) {
	t.Helper()
	o := lab.WorkloadOptions{}
	o.Account, o.Database = account(ctx, t, s)
	if away {
		cluster := got(s.Get(ctx))(t, "read the cluster")
		node := got(s.NodeOf(ctx, lab.Primary(cluster)))(t, "find the primary's node")
		o.Node = got(s.OtherNode(ctx, node))(t, "find a node for the client")
	}
	s.workload = got(s.StartWorkload(ctx, o))(t, "start the workload")
}

// nothingLost ends a scenario: every acknowledged row is there, no other is, and the cluster is handed on healthy.
func nothingLost() step {
	return step{"no acknowledged row is lost and none is there that should not be", func(ctx context.Context, t *testing.T, s *scene) {
		verify(ctx, t, s)
		must(t, "remove the workload", s.workload.Remove(ctx))
		must(t, "hand on healthy", errOf(s.WaitHealthy(ctx, healthyTimeout, 1)))
	}}
}

// verify ends the writing and compares.
func verify(ctx context.Context, t *testing.T, s *scene) lab.Report {
	t.Helper()
	report := got(s.workload.Verify(ctx))(t, "read the rows back")
	judge(t, report, "on the primary")
	suite.timeline.Log("  rows: %d acknowledged, %d found, %d lost, %d phantom, %d of unknown outcome", report.Verdict.Acknowledged,
		report.Verdict.Found, report.Verdict.Lost, report.Verdict.Phantom, report.Verdict.Unknown)
	return report
}

func judge(t *testing.T, report lab.Report, where string) {
	t.Helper()
	if report.Verdict.Acknowledged == 0 {
		t.Fatal("not one row was acknowledged: nothing is proven")
	}
	if !report.Verdict.Good() {
		t.Fatalf("%s: %d acknowledged rows lost, %d rows that should not be there: %v", where, report.Verdict.Lost,
			report.Verdict.Phantom, report.Verdict.Examples)
	}
}

// disturb does something and waits until a primary of a new epoch serves and writes go on. It returns the cluster as it
// was before and is after.
func disturb(ctx context.Context, t *testing.T, s *scene, name string,
	do func(primary string)) (before, after *mysqlv1.MySQLCluster) {
	t.Helper()
	before = got(s.Get(ctx))(t, "read the cluster")
	must(t, "open the window of "+name, s.workload.Mark(ctx, name))
	do(lab.Primary(before))
	epoch := lab.Epoch(before) + 1
	// A primary that is back before a read quorum without it is there may be promoted again, under the new epoch: it holds
	// everything.
	after = got(s.WaitFor(ctx, 2*time.Minute, "to have a primary of a new epoch", func(c *mysqlv1.MySQLCluster) bool {
		return lab.Epoch(c) >= epoch
	}))(t, "after "+name)
	event := got(s.workload.Recovered(ctx, 2*time.Minute))(t, "after "+name)
	suite.timeline.Log("  ★ %s: write gap %.0f ms, primary %s -> %s, epoch %d", name, event.Milliseconds, lab.Primary(before),
		lab.Primary(after), lab.Epoch(after))
	if event.Gap() > hung {
		t.Errorf("%s: nobody could write for %s, want at most %s", name, event.Gap(), hung)
	}
	return before, after
}

// whole waits until the cluster is whole again in at least the epoch.
func whole(ctx context.Context, t *testing.T, s *scene, epoch int64) *mysqlv1.MySQLCluster {
	t.Helper()
	return got(s.WaitHealthy(ctx, healthyTimeout, epoch))(t, "be whole again")
}

// gone says that an object is not there.
func gone(err error) bool { return apierrors.IsNotFound(err) }

// errOf drops a value that is not needed.
func errOf[T any](_ T, err error) error { return err }
