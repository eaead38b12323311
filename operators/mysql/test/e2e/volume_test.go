//go:build e2e

package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

const (
	// limitedClass is the StorageClass of the local cluster whose volumes have the size asked for and no more.
	limitedClass = "limited"
	// fillScript fills a volume to the last byte, as a forgotten export would.
	fillScript = `dd if=/dev/zero of=/var/lib/mysql/forgotten bs=1M 2>&1; dd if=/dev/zero of=/var/lib/mysql/forgotten-too bs=1k 2>&1; true`
)

// TestVolumeFull: a full volume is said to be full; when there is room again, the cluster goes on by itself, and no
// acknowledged row is lost.
func TestVolumeFull(t *testing.T) {
	err := suite.lab.Client.Get(t.Context(), client.ObjectKey{Name: limitedClass}, &storagev1.StorageClass{})
	if gone(err) {
		t.Skipf("CLUSTER=%s has no StorageClass %q: its volumes cannot be filled without filling the node's disk", suite.lab.Provider, limitedClass)
	}
	must(t, "look for the storage class", err)
	s := &scene{Cluster: suite.lab.Cluster("e2e-volume", "small")}
	discard(t, s.Key.Namespace)
	play(t, s,
		step{"a cluster on small volumes takes writes", func(ctx context.Context, t *testing.T, s *scene) {
			class, pool := limitedClass, resource.MustParse("32Mi")
			must(t, "create the namespace", s.Namespace(ctx, s.Key.Namespace))
			must(t, "create", s.Create(ctx, mysqlv1.MySQLClusterSpec{Instances: 1, BufferPoolSize: &pool,
				Storage: mysqlv1.Storage{Size: resource.MustParse("1Gi"), StorageClassName: &class}}))
			must(t, "serve", errOf(s.WaitCondition(ctx, healthyTimeout, mysqlv1.ConditionAvailable, metav1.ConditionTrue, "")))
			s.workload = got(s.StartWorkload(ctx, lab.WorkloadOptions{}))(t, "start the workload")
		}},
		step{"when the volume is full, a condition says so", func(ctx context.Context, t *testing.T, s *scene) {
			said := got(s.Exec(ctx, s.Key.Namespace, "small-0", lab.ServerContainer, "sh", "-c", fillScript))(t, "fill the volume")
			if !strings.Contains(said, "No space left") {
				t.Fatalf("the volume was not filled: %s", said)
			}
			condition := got(s.WaitCondition(ctx, 2*time.Minute, mysqlv1.ConditionStorageHealthy, metav1.ConditionFalse,
				mysqlv1.ReasonVolumeFull))(t, "say that it is full")
			if !strings.Contains(condition.Message, "small-0") {
				t.Errorf("the message does not name the instance: %s", condition.Message)
			}
		}},
		step{"when there is room again, writes go on", func(ctx context.Context, t *testing.T, s *scene) {
			must(t, "open the window", s.workload.Mark(ctx, "room again"))
			must(t, "make room", s.Wait(ctx, time.Minute, "room", func(ctx context.Context) (bool, string, error) {
				_, err := s.Exec(ctx, s.Key.Namespace, "small-0", lab.ServerContainer, "rm", "-f", "/var/lib/mysql/forgotten", "/var/lib/mysql/forgotten-too")
				return err == nil, "the container does not answer", nil
			}))
			event, err := s.workload.Recovered(ctx, 2*time.Minute)
			if err != nil {
				err = errors.Join(err, errOf(s.WaitCondition(ctx, time.Second, mysqlv1.ConditionAvailable, metav1.ConditionTrue, "")))
			}
			must(t, "write on", err)
			suite.timeline.Log("  ★ room again: write gap %.0f ms", event.Milliseconds)
			must(t, "be well again", errOf(s.WaitCondition(ctx, time.Minute, mysqlv1.ConditionStorageHealthy, metav1.ConditionTrue, "")))
			verify(ctx, t, s)
		}},
	)
}
