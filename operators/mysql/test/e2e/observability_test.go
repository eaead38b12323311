//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// TestAFailoverIsCounted: the leader's metrics tell of a failover, to those who may read them.
func TestAFailoverIsCounted(t *testing.T) {
	token := ""
	read := func(ctx context.Context, t *testing.T, s *scene) map[string]*dto.MetricFamily {
		t.Helper()
		leader := got(s.Leader(ctx))(t, "find the leader")
		status, metrics, err := s.Metrics(ctx, leader, token)
		must(t, "read the metrics of "+leader, err)
		if status != http.StatusOK {
			t.Fatalf("%s answers a reader with %d", leader, status)
		}
		return metrics
	}
	play(t, shop(), takeOver(), write(false),
		step{"nobody reads without permission, and a standby has no series of clusters", func(ctx context.Context, t *testing.T, s *scene) {
			token = got(s.MetricsReader(ctx, s.Key.Namespace))(t, "make a reader")
			leader := got(s.Leader(ctx))(t, "find the leader")
			status, _, err := s.Metrics(ctx, leader, "")
			must(t, "ask as nobody", err)
			if status != http.StatusUnauthorized {
				t.Errorf("nobody is answered with %d", status)
			}
			var pods corev1.PodList
			must(t, "list the operator's pods", s.Client.List(ctx, &pods, client.InNamespace(lab.OperatorNamespace),
				client.MatchingLabels{"app.kubernetes.io/name": lab.OperatorName}))
			for i := range pods.Items {
				_, metrics, err := s.Metrics(ctx, pods.Items[i].Name, token)
				must(t, "read the metrics of "+pods.Items[i].Name, err)
				leads := pods.Items[i].Name == leader
				if told := metrics["kapok_mysql_epoch"] != nil; told != leads || lab.Total(metrics["kapok_operator_leader"], nil) == 1 != leads {
					t.Errorf("%s leads: %t, has series of clusters: %t", pods.Items[i].Name, leads, told)
				}
				uid := map[string]string{"pod": pods.Items[i].Name, "pod_uid": string(pods.Items[i].UID)}
				if lab.Total(metrics["kapok_operator_info"], uid) != 1 {
					t.Errorf("%s does not say who it is", pods.Items[i].Name)
				}
			}
		}},
		step{"a failover is counted once, and measured", func(ctx context.Context, t *testing.T, s *scene) {
			cluster := map[string]string{"namespace": s.Key.Namespace, "name": s.Key.Name}
			before := read(ctx, t, s)
			_, changed := disturb(ctx, t, s, "kill -9 mysqld", func(primary string) {
				must(t, "kill mysqld", s.Signal(ctx, primary, "KILL"))
			})
			whole(ctx, t, s, lab.Epoch(changed))
			must(t, "be told by the metrics", s.Wait(ctx, time.Minute, "the failover in the metrics", func(ctx context.Context) (bool, string, error) {
				after := read(ctx, t, s)
				counted := lab.Total(after["kapok_mysql_failovers_total"], cluster) - lab.Total(before["kapok_mysql_failovers_total"], cluster)
				gaps := lab.Total(after["kapok_mysql_write_gap_seconds"], map[string]string{"cause": "failover"}) -
					lab.Total(before["kapok_mysql_write_gap_seconds"], map[string]string{"cause": "failover"})
				epoch := lab.Total(after["kapok_mysql_epoch"], cluster)
				return counted == 1 && gaps == 1 && int64(epoch) == lab.Epoch(changed) && lab.Total(after["kapok_mysql_writable"], cluster) == 1,
					"not yet", nil
			}))
		}},
		nothingLost(),
	)
}
