//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// TestAManifestWithANameOnly: the shortest manifest gives a working cluster of three.
func TestAManifestWithANameOnly(t *testing.T) {
	s := &scene{Cluster: suite.lab.Cluster("e2e-minimal", "plain")}
	play(t, s,
		step{"it becomes healthy", func(ctx context.Context, t *testing.T, s *scene) {
			must(t, "create the namespace", s.Namespace(ctx, s.Key.Namespace))
			must(t, "apply the manifest", s.Apply(ctx, s.Key.Namespace,
				[]byte("apiVersion: mysql.kapok.dev/v1alpha1\nkind: MySQLCluster\nmetadata: {name: plain}\n")))
			cluster := got(s.WaitHealthy(ctx, healthyTimeout, 1))(t, "become healthy")
			if cluster.Spec.Instances != 3 || cluster.Status.Ready != "3/3" || cluster.Status.Endpoints == nil ||
				cluster.Status.Endpoints.ReadWrite == "" || cluster.Status.Version == "" {
				t.Errorf("not the defaults that are promised: %d instances, status %+v", cluster.Spec.Instances, cluster.Status)
			}
		}},
		step{"its instances are on different nodes", func(ctx context.Context, t *testing.T, s *scene) {
			nodes := map[string]string{}
			for name, pod := range got(s.Pods(ctx))(t, "list the pods") {
				if other, taken := nodes[pod.Spec.NodeName]; taken {
					t.Errorf("%s and %s are both on %s", name, other, pod.Spec.NodeName)
				}
				nodes[pod.Spec.NodeName] = name
			}
		}},
		step{"deleted with its namespace, nothing holds it back", func(ctx context.Context, t *testing.T, s *scene) {
			must(t, "delete the namespace", s.DeleteNamespace(ctx, s.Key.Namespace, 2*time.Minute))
		}},
	)
}

// TestTheSample: the sample of the README can be written to and read from through its Services.
func TestTheSample(t *testing.T) {
	play(t, shop(), takeOver(), write(false),
		step{"what is written is read from the primary and from replicas", func(ctx context.Context, t *testing.T, s *scene) {
			time.Sleep(2 * time.Second) // some rows
			verify(ctx, t, s)
			for _, service := range []string{"-ro", "-r"} {
				// A replica may lag; the rows must come.
				must(t, "read through the Service "+service, s.Wait(ctx, 30*time.Second, "the rows through "+service,
					func(ctx context.Context) (bool, string, error) {
						report, err := s.workload.VerifyAt(ctx, s.ServiceAddress(service))
						if err != nil {
							return false, "", err
						}
						return report.Verdict.Good(), "not all rows yet", nil
					}))
			}
		}},
		step{"replicas take no writes", func(ctx context.Context, t *testing.T, s *scene) {
			_, err := s.workload.Query(ctx, s.ServiceAddress("-ro"), "CREATE TABLE refused (id INT PRIMARY KEY)")
			if err == nil {
				t.Error("a table was created through the read-only Service")
			}
		}},
		step{"the read-write Service leads to the primary alone", func(ctx context.Context, t *testing.T, s *scene) {
			cluster := got(s.Get(ctx))(t, "read the cluster")
			var pod corev1.Pod
			must(t, "read the primary's pod", s.Client.Get(ctx, client.ObjectKey{Namespace: s.Key.Namespace,
				Name: cluster.Status.Record.Primary}, &pod))
			id := got(s.workload.Value(ctx, s.ServiceAddress(""), "SELECT @@server_uuid"))(t, "ask the Service")
			direct := got(s.workload.Value(ctx, pod.Status.PodIP+":3306", "SELECT @@server_uuid"))(t, "ask the primary")
			if id != direct {
				t.Errorf("the Service leads to %s, the primary is %s", id, direct)
			}
			replica := got(s.workload.Value(ctx, s.ServiceAddress("-ro"), "SELECT @@server_uuid"))(t, "ask the read-only Service")
			if replica == direct {
				t.Error("the read-only Service leads to the primary while there are replicas")
			}
		}},
		nothingLost(),
	)
}

// TestScale: three instances become five, then two; the data stays, the volumes stay, and writes go on.
func TestScale(t *testing.T) {
	scale := func(to int32) step {
		return step{map[int32]string{5: "three become five while writes go on", 2: "five become two while writes go on",
			3: "and two become three again"}[to], func(ctx context.Context, t *testing.T, s *scene) {
			must(t, "open the window", s.workload.Mark(ctx, "scale"))
			must(t, "scale", s.Update(ctx, func(spec *mysqlv1.MySQLClusterSpec) { spec.Instances = to }))
			cluster := got(s.WaitHealthy(ctx, healthyTimeout, 1))(t, "be whole")
			if n := len(cluster.Status.Record.Voters); n != int(to) {
				t.Errorf("%d voters, want %d", n, to)
			}
			event := got(s.workload.Recovered(ctx, time.Minute))(t, "write on")
			suite.timeline.Log("  ★ scaled to %d: write gap %.0f ms", to, event.Milliseconds)
			if event.Gap() > hung {
				t.Errorf("nobody could write for %s while the cluster was scaled to %d", event.Gap(), to)
			}
			must(t, "remove the pods", s.Wait(ctx, time.Minute, "the pods", func(ctx context.Context) (bool, string, error) {
				pods, err := s.Pods(ctx)
				return len(pods) == int(to), "", err
			}))
		}}
	}
	play(t, shop(), takeOver(), write(false), scale(5), scale(2),
		step{"the volumes of the three that left are still there", func(ctx context.Context, t *testing.T, s *scene) {
			if n := len(claims(ctx, t, s)); n != 5 {
				t.Errorf("%d volume claims, want 5", n)
			}
		}},
		step{"two survive the loss of the primary", func(ctx context.Context, t *testing.T, s *scene) {
			_, after := disturb(ctx, t, s, "kill one of two", func(primary string) {
				must(t, "kill mysqld", s.Signal(ctx, primary, "KILL"))
			})
			whole(ctx, t, s, after.Status.Record.Epoch)
		}},
		scale(3), nothingLost(),
	)
}

// claims returns the volume claims of the cluster's instances.
func claims(ctx context.Context, t *testing.T, s *scene) []corev1.PersistentVolumeClaim {
	t.Helper()
	var list corev1.PersistentVolumeClaimList
	must(t, "list the volume claims", s.Client.List(ctx, &list, client.InNamespace(s.Key.Namespace)))
	return list.Items
}
