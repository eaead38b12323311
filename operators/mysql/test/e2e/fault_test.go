//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// hung is the write gap that no slow machine explains. How long gaps are is measured by the benchmark, over many runs; a
// scenario says its gap and fails only if writes have not come back by then.
const hung = time.Minute

// TestKilledServer: the primary's mysqld is killed under load; a replica takes over, the old primary comes back as a replica.
func TestKilledServer(t *testing.T) {
	play(t, shop(), takeOver(), write(false),
		step{"kill -9 of the primary's mysqld costs a moment", func(ctx context.Context, t *testing.T, s *scene) {
			before, after := disturb(ctx, t, s, "kill -9 mysqld", func(primary string) {
				must(t, "kill mysqld", s.Signal(ctx, primary, "KILL"))
			})
			cluster := whole(ctx, t, s, lab.Epoch(after))
			if !slices.Contains(cluster.Status.Record.Voters, lab.Primary(before)) {
				t.Errorf("the old primary %s is no voter again: %v", lab.Primary(before), cluster.Status.Record.Voters)
			}
		}},
		step{"kill -9 of a replica's mysqld costs nothing", func(ctx context.Context, t *testing.T, s *scene) {
			cluster := got(s.Get(ctx))(t, "read the cluster")
			replica := otherVoter(t, cluster)
			must(t, "open the window", s.workload.Mark(ctx, "kill -9 of a replica"))
			must(t, "kill the replica's mysqld", s.Signal(ctx, replica, "KILL"))
			killed := time.Now()
			// Looking at the cluster's health alone would miss a replica that is back within a moment.
			must(t, "have it started again", s.Wait(ctx, 2*time.Minute, "a new mysqld on "+replica,
				func(ctx context.Context) (bool, string, error) {
					began, err := serverStart(ctx, s, replica)
					if err != nil {
						return lab.NotYet(err)
					}
					return began.After(killed.Add(-2 * time.Second)), "it runs since " + began.Format(time.TimeOnly), nil
				}))
			after := whole(ctx, t, s, lab.Epoch(cluster))
			event := got(s.workload.Recovered(ctx, time.Minute))(t, "write on")
			if lab.Epoch(after) != lab.Epoch(cluster) || event.Gap() > hung {
				t.Errorf("epoch %d -> %d, write gap %s", lab.Epoch(cluster), lab.Epoch(after), event.Gap())
			}
		}},
		nothingLost(),
	)
}

// serverStart is when an instance's mysqld began, by what it says of its uptime, to the second.
func serverStart(ctx context.Context, s *scene, instance string) (time.Time, error) {
	pods, err := s.Pods(ctx)
	if err != nil {
		return time.Time{}, err
	}
	rows, err := s.workload.Query(ctx, pods[instance].Status.PodIP+":3306", "SHOW GLOBAL STATUS LIKE 'Uptime'")
	if err != nil {
		return time.Time{}, err
	}
	if len(rows) != 1 || rows[0]["Value"] == nil {
		return time.Time{}, fmt.Errorf("%s says nothing of its uptime: %v", instance, rows)
	}
	seconds, err := strconv.Atoi(*rows[0]["Value"])
	return time.Now().Add(-time.Duration(seconds) * time.Second), err
}

// otherVoter returns a voter that is not the primary.
func otherVoter(t *testing.T, cluster *mysqlv1.MySQLCluster) string {
	t.Helper()
	for _, v := range cluster.Status.Record.Voters {
		if v != lab.Primary(cluster) {
			return v
		}
	}
	t.Fatalf("no voter beside the primary: %v", cluster.Status.Record.Voters)
	return ""
}

// TestSwitchover: the primary is handed over under load, to any instance and to a chosen one.
func TestSwitchover(t *testing.T) {
	play(t, shop(), takeOver(), write(false),
		step{"to any instance", func(ctx context.Context, t *testing.T, s *scene) {
			_, after := disturb(ctx, t, s, "switchover", func(string) {
				must(t, "request it", s.Switchover(ctx, mysqlv1.SwitchoverAny))
			})
			whole(ctx, t, s, lab.Epoch(after))
		}},
		step{"to a chosen instance, and the request is taken away", func(ctx context.Context, t *testing.T, s *scene) {
			target := otherVoter(t, got(s.Get(ctx))(t, "read the cluster"))
			_, after := disturb(ctx, t, s, "switchover to "+target, func(string) {
				must(t, "request it", s.Switchover(ctx, target))
			})
			if lab.Primary(after) != target {
				t.Errorf("the primary is %s, want %s", lab.Primary(after), target)
			}
			if cluster := whole(ctx, t, s, lab.Epoch(after)); cluster.Annotations[mysqlv1.AnnotationSwitchover] != "" {
				t.Errorf("the request still stands: %q", cluster.Annotations[mysqlv1.AnnotationSwitchover])
			}
		}},
		step{"a request for an instance that is not there is refused and changes nothing", func(ctx context.Context, t *testing.T, s *scene) {
			before := got(s.Get(ctx))(t, "read the cluster")
			must(t, "request it", s.Switchover(ctx, "shop-9"))
			after := got(s.WaitFor(ctx, 30*time.Second, "to answer the request", func(c *mysqlv1.MySQLCluster) bool {
				return c.Annotations[mysqlv1.AnnotationSwitchover] == ""
			}))(t, "answer the request")
			if lab.Epoch(after) != lab.Epoch(before) || lab.Primary(after) != lab.Primary(before) {
				t.Errorf("primary %s in epoch %d became %s in epoch %d", lab.Primary(before), lab.Epoch(before), lab.Primary(after), lab.Epoch(after))
			}
		}},
		nothingLost(),
	)
}

// TestOperatorKilledMidFailover: the operator's leader dies together with the primary's mysqld; the standby finishes.
func TestOperatorKilledMidFailover(t *testing.T) {
	play(t, shop(), takeOver(), write(false),
		step{"the standby operator carries the failover out", func(ctx context.Context, t *testing.T, s *scene) {
			leader := got(s.Leader(ctx))(t, "find the leader")
			_, after := disturb(ctx, t, s, "kill -9 mysqld and the operator", func(primary string) {
				var both errgroup.Group
				both.Go(func() error { return s.Signal(ctx, primary, "KILL") })
				both.Go(func() error { return s.DeletePod(ctx, lab.OperatorNamespace, leader) })
				must(t, "kill both", both.Wait())
			})
			whole(ctx, t, s, lab.Epoch(after))
			if now := got(s.Leader(ctx))(t, "find the leader"); now == leader {
				t.Errorf("the leader is still %s, which was killed", now)
			}
		}},
		step{"two operators run again", func(ctx context.Context, t *testing.T, s *scene) {
			must(t, "wait for the operator", s.WaitOperator(ctx, time.Minute))
		}},
		nothingLost(),
	)
}

// TestNodeCutOff: the primary's node loses the network. The others go on; the isolated primary acknowledges nothing, and
// comes back as a replica when the network does.
func TestNodeCutOff(t *testing.T) {
	faults, err := suite.lab.Faults(t.Context())
	if errors.Is(err, lab.ErrNoNodeFaults) {
		t.Skipf("CLUSTER=%s: %v", suite.lab.Provider, err)
	}
	must(t, "get at the nodes", err)
	node := ""
	t.Cleanup(func() {
		// A second time does no harm, and the next scenario needs the node.
		if node == "" {
			return
		}
		if err := faults.Heal(context.Background(), node); err != nil {
			t.Errorf("heal the node: %v", err)
		}
	})
	play(t, shop(), takeOver(), write(true),
		step{"writes go on under another primary", func(ctx context.Context, t *testing.T, s *scene) {
			disturb(ctx, t, s, "node cut off", func(primary string) {
				node = got(s.NodeOf(ctx, primary))(t, "find the primary's node")
				must(t, "cut the node off", faults.Cut(ctx, node))
			})
		}},
		step{"when the network is back, the old primary is a replica", func(ctx context.Context, t *testing.T, s *scene) {
			before := got(s.Get(ctx))(t, "read the cluster")
			must(t, "heal the node", faults.Heal(ctx, node))
			must(t, "wait for the node", s.WaitNode(ctx, 2*time.Minute, node, true))
			after := whole(ctx, t, s, lab.Epoch(before))
			if lab.Primary(after) != lab.Primary(before) {
				t.Errorf("the return of the node moved the primary from %s to %s", lab.Primary(before), lab.Primary(after))
			}
		}},
		nothingLost(),
	)
}
