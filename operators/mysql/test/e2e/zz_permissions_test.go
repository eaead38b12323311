//go:build e2e

package e2e

import (
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// TestVolumesGoWithTheCluster: with deletionPolicy Delete the volumes go as well, those of instances that were scaled in too;
// and a volume that cannot grow is said to be one.
func TestVolumesGoWithTheCluster(t *testing.T) {
	const namespace = "e2e-delete"
	s := &scene{Cluster: suite.lab.Cluster(namespace, "brief")}
	discard(t, namespace)
	play(t, s,
		step{"a cluster of one becomes healthy", func(ctx context.Context, t *testing.T, s *scene) {
			must(t, "create the namespace", s.Namespace(ctx, namespace))
			must(t, "create", s.Create(ctx, mysqlv1.MySQLClusterSpec{Instances: 1, DeletionPolicy: mysqlv1.DeletionDelete}))
			got(s.WaitHealthy(ctx, healthyTimeout, 1))(t, "become healthy")
		}},
		step{"larger volumes are asked for", func(ctx context.Context, t *testing.T, s *scene) {
			must(t, "update", s.Update(ctx, func(spec *mysqlv1.MySQLClusterSpec) { spec.Storage.Size = resource.MustParse("2Gi") }))
			got(s.WaitFor(ctx, time.Minute, "an answer about the larger volume", func(c *mysqlv1.MySQLCluster) bool {
				return c.Status.ObservedGeneration == c.Generation
			}))(t, "see it")
		}},
		step{"deleted, it leaves no volume", func(ctx context.Context, t *testing.T, s *scene) {
			must(t, "delete it", s.Client.Delete(ctx, got(s.Get(ctx))(t, "read the cluster")))
			must(t, "end", s.Wait(ctx, 2*time.Minute, "the end of the volumes", func(ctx context.Context) (bool, string, error) {
				var claims corev1.PersistentVolumeClaimList
				if err := s.Client.List(ctx, &claims, client.InNamespace(namespace)); err != nil {
					return false, "", err
				}
				err := s.Client.Get(ctx, s.Key, &mysqlv1.MySQLCluster{})
				return len(claims.Items) == 0 && gone(err), "the object or a claim is left", client.IgnoreNotFound(err)
			}))
		}},
	)
}

// TestPermissionsAreExactlyEnough goes by the audit log of everything before: the operator asked for nothing that its
// installation does not grant, and is granted nothing that it never asked for. Go runs tests in the order of their files,
// which is why this one is called as it is.
func TestPermissionsAreExactlyEnough(t *testing.T) {
	report := got(suite.lab.Audit(context.Background(), suite.began))(t, "read the audit log")
	if report == nil {
		t.Skipf("CLUSTER=%s gives nobody its audit log", suite.lab.Provider)
	}
	var table strings.Builder
	must(t, "print", report.Write(&table))
	t.Logf("%d requests of the operator\n%s", report.Requests, table.String())
	// What is not used in a part of the scenarios may be used in the others.
	check := report.Err
	if only(t, "test.run") || only(t, "test.skip") {
		check = report.ErrPartly
	}
	if err := check(); err != nil {
		t.Error(err)
	}
}

// only says whether a flag chooses among the tests.
func only(t *testing.T, name string) bool {
	t.Helper()
	f := flag.Lookup(name)
	if f == nil {
		t.Fatalf("there is no flag %s", name)
	}
	return f.Value.String() != ""
}
