//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// TestBadInput: what cannot work says so in a condition that names the cause.
func TestBadInput(t *testing.T) {
	const namespace = "e2e-bad-input"
	cluster := func(name string) *lab.Cluster { return suite.lab.Cluster(namespace, name) }
	expect := func(ctx context.Context, t *testing.T, c *lab.Cluster, kind, reason string, words ...string) {
		t.Helper()
		condition := got(c.WaitCondition(ctx, 2*time.Minute, kind, metav1.ConditionFalse, reason))(t, "say what is wrong")
		for _, w := range words {
			if !strings.Contains(condition.Message, w) {
				t.Errorf("the message does not say %q: %s", w, condition.Message)
			}
		}
		ready := got(c.WaitCondition(ctx, 10*time.Second, mysqlv1.ConditionReady, metav1.ConditionFalse, ""))(t, "not be ready")
		suite.timeline.Log("  %s: %s", ready.Reason, ready.Message)
	}
	discard(t, namespace)
	play(t, &scene{Cluster: cluster("any")},
		step{"all are created side by side", func(ctx context.Context, t *testing.T, _ *scene) {
			must(t, "create the namespace", suite.lab.Namespace(ctx, namespace))
			must(t, "create", cluster("no-server").Create(ctx, mysqlv1.MySQLClusterSpec{Instances: 1, Image: suite.lab.WorkloadImage}))
			must(t, "create", cluster("no-secret").CreateBare(ctx, mysqlv1.MySQLClusterSpec{Instances: 1}))
			must(t, "create", cluster("no-node").Create(ctx, mysqlv1.MySQLClusterSpec{Instances: 1,
				Placement: mysqlv1.Placement{NodeSelector: map[string]mysqlv1.LabelValue{"e2e.kapok.dev/nowhere": "true"}}}))
		}},
		step{"an image without mysqld", func(ctx context.Context, t *testing.T, _ *scene) {
			expect(ctx, t, cluster("no-server"), mysqlv1.ConditionReconciled, mysqlv1.ReasonServerMissing, "mysqld")
		}},
		step{"a pod that finds no node", func(ctx context.Context, t *testing.T, _ *scene) {
			expect(ctx, t, cluster("no-node"), mysqlv1.ConditionReconciled, mysqlv1.ReasonUnschedulable)
		}},
		step{"a missing users Secret, until it is there", func(ctx context.Context, t *testing.T, _ *scene) {
			c := cluster("no-secret")
			expect(ctx, t, c, mysqlv1.ConditionUsersReady, mysqlv1.ReasonPasswordMissing, lab.Account, "no-secret-users")
			must(t, "create the Secret", c.UsersSecret(ctx, lab.Account))
			// The kubelet looks at Secrets about once a minute.
			must(t, "take the Secret", errOf(c.WaitCondition(ctx, 3*time.Minute, mysqlv1.ConditionUsersReady, metav1.ConditionTrue, "")))
			w := got(c.StartWorkload(ctx, lab.WorkloadOptions{}))(t, "write with the account")
			report := got(w.Verify(ctx))(t, "read the rows back")
			judge(t, report, "in a cluster of one")
			must(t, "remove the workload", w.Remove(ctx))
		}},
	)
}
