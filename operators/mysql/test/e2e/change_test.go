//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// TestConfiguration: options change without a restart where MySQL allows it, else one instance after the other with the
// primary last; a bad option changes nothing.
func TestConfiguration(t *testing.T) {
	configure := func(ctx context.Context, t *testing.T, s *scene, name, value string) {
		t.Helper()
		must(t, "configure", s.Update(ctx, func(spec *mysqlv1.MySQLClusterSpec) {
			spec.Configuration = map[string]mysqlv1.OptionValue{"max_connections": "321"}
			if name != "" {
				spec.Configuration[name] = mysqlv1.OptionValue(value)
			}
		}))
	}
	play(t, shop(), takeOver(), write(false),
		step{"a dynamic option is in force everywhere without a restart", func(ctx context.Context, t *testing.T, s *scene) {
			starts := startTimes(ctx, t, s)
			configure(ctx, t, s, "", "")
			must(t, "see the value", s.Wait(ctx, time.Minute, "max_connections", func(ctx context.Context) (bool, string, error) {
				values, err := everywhere(ctx, s, "SELECT @@GLOBAL.max_connections")
				return err == nil && all(values, "321"), strings.Join(sorted(values), " "), nil
			}))
			must(t, "settle", errOf(s.WaitCondition(ctx, time.Minute, mysqlv1.ConditionConfigurationValid, metav1.ConditionTrue, "")))
			for instance, at := range startTimes(ctx, t, s) {
				if d := at.Sub(starts[instance]); d > 5*time.Second {
					t.Errorf("%s was restarted: it began %s later than before", instance, d)
				}
			}
		}},
		step{"a bad option is refused, and everything stays as it was", func(ctx context.Context, t *testing.T, s *scene) {
			before, starts := got(s.Get(ctx))(t, "read the cluster"), startTimes(ctx, t, s)
			must(t, "open the window", s.workload.Mark(ctx, "bad option"))
			configure(ctx, t, s, "no_such_option_at_all", "1")
			condition := got(s.WaitCondition(ctx, time.Minute, mysqlv1.ConditionConfigurationValid, metav1.ConditionFalse,
				mysqlv1.ReasonConfigurationRefused))(t, "refuse it")
			if !strings.Contains(condition.Message, "no_such_option_at_all") {
				t.Errorf("the message does not name the option: %s", condition.Message)
			}
			time.Sleep(3 * time.Second) // time for a restart that must not come
			after := got(s.Get(ctx))(t, "read the cluster")
			if lab.Epoch(after) != lab.Epoch(before) {
				t.Errorf("epoch %d became %d", lab.Epoch(before), lab.Epoch(after))
			}
			for instance, at := range startTimes(ctx, t, s) {
				if d := at.Sub(starts[instance]); d > 5*time.Second {
					t.Errorf("%s was restarted: it began %s later than before", instance, d)
				}
			}
			if event := got(s.workload.Recovered(ctx, time.Minute))(t, "write on"); event.Gap() > hung {
				t.Errorf("nobody could write for %s", event.Gap())
			}
		}},
		step{"a static option rolls through, replicas first", func(ctx context.Context, t *testing.T, s *scene) {
			before := got(s.Get(ctx))(t, "read the cluster")
			must(t, "open the window", s.workload.Mark(ctx, "static option"))
			configure(ctx, t, s, "back_log", "77")
			changed := got(s.WaitFor(ctx, 3*time.Minute, "to hand the primary over", func(c *mysqlv1.MySQLCluster) bool {
				return lab.Epoch(c) > lab.Epoch(before)
			}))(t, "roll")
			values, err := everywhere(ctx, s, "SELECT @@GLOBAL.back_log")
			must(t, "read the option", err)
			for _, v := range changed.Status.Record.Voters {
				if v != lab.Primary(before) && values[v] != "77" {
					t.Errorf("the primary was handed over when %s had back_log=%s", v, values[v])
				}
			}
			whole(ctx, t, s, lab.Epoch(changed))
			values, err = everywhere(ctx, s, "SELECT @@GLOBAL.back_log")
			if err != nil || len(values) != 3 || !all(values, "77") {
				t.Errorf("back_log is %v, %v", values, err)
			}
			event := got(s.workload.Recovered(ctx, time.Minute))(t, "write on")
			suite.timeline.Log("  ★ rolled: write gap %.0f ms", event.Milliseconds)
			if event.Gap() > hung {
				t.Errorf("nobody could write for %s", event.Gap())
			}
		}},
		nothingLost(),
	)
}

// everywhere asks every instance for one value.
func everywhere(ctx context.Context, s *scene, statement string) (map[string]string, error) {
	pods, err := s.Pods(ctx)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for name, pod := range pods {
		if values[name], err = s.workload.Value(ctx, pod.Status.PodIP+":3306", statement); err != nil {
			values[name] = err.Error()
		}
	}
	return values, nil
}

// startTimes returns when each instance's mysqld began.
func startTimes(ctx context.Context, t *testing.T, s *scene) map[string]time.Time {
	t.Helper()
	starts := map[string]time.Time{}
	for name := range got(s.Pods(ctx))(t, "list the pods") {
		starts[name] = got(serverStart(ctx, s, name))(t, "ask "+name+" for its uptime")
	}
	return starts
}

func all(values map[string]string, want string) bool {
	for _, v := range values {
		if v != want {
			return false
		}
	}
	return len(values) > 0
}

func sorted(values map[string]string) []string {
	out := make([]string, 0, len(values))
	for name, v := range values {
		out = append(out, name+"="+v)
	}
	slices.Sort(out)
	return out
}

// TestDeletionKeepsData: a deleted cluster leaves its volumes behind; one of the same name finds the data again.
func TestDeletionKeepsData(t *testing.T) {
	var before *mysqlv1.MySQLCluster
	play(t, shop(), takeOver(), write(false),
		step{"deleted, it leaves its volumes and nothing that runs", func(ctx context.Context, t *testing.T, s *scene) {
			time.Sleep(2 * time.Second) // some rows
			verify(ctx, t, s)
			before = got(s.Get(ctx))(t, "read the cluster")
			volumes := len(claims(ctx, t, s))
			must(t, "delete it", s.Client.Delete(ctx, before))
			must(t, "end", s.Wait(ctx, 2*time.Minute, "the end of the cluster", func(ctx context.Context) (bool, string, error) {
				pods, err := s.Pods(ctx)
				if err != nil || len(pods) > 0 {
					return false, "pods are left", err
				}
				err = s.Client.Get(ctx, s.Key, &mysqlv1.MySQLCluster{})
				return gone(err), "the object is left", client.IgnoreNotFound(err)
			}))
			if n := len(claims(ctx, t, s)); n != volumes || n < 3 {
				t.Errorf("%d of %d volume claims are left", n, volumes)
			}
		}},
		step{"created again, it has the data and goes on counting epochs", func(ctx context.Context, t *testing.T, s *scene) {
			applyShop(ctx, t, s)
			after := got(s.WaitHealthy(ctx, healthyTimeout, 1))(t, "become healthy again")
			if after.UID == before.UID {
				t.Error("it is the same object")
			}
			if lab.Epoch(after) < lab.Epoch(before) {
				t.Errorf("epoch %d after %d: the record on the volumes was not adopted", lab.Epoch(after), lab.Epoch(before))
			}
			judge(t, got(s.workload.VerifyAt(ctx, s.ServiceAddress("")))(t, "read the rows back"), "after the return")
			must(t, "remove the workload", s.workload.Remove(ctx))
		}},
		write(false),
		step{"and takes writes", func(ctx context.Context, t *testing.T, s *scene) { time.Sleep(time.Second) }},
		nothingLost(),
	)
}
