package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

const installation = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: mysql-operator, namespace: kapok-mysql-system}
spec:
  template:
    metadata: {labels: {a: b}}
    spec:
      containers:
      - name: operator
        args: [--leader-election, --mysql-image-repository=example.com/old]
---
# nothing but a comment
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: mysql-operator}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: mysqlclusters.mysql.kapok.dev}
---
apiVersion: v1
kind: Namespace
metadata: {name: kapok-mysql-system}
`

func TestInstallationIsAppliedInOrder(t *testing.T) {
	objects, err := Decode([]byte(installation))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	var kinds []string
	for _, o := range objects {
		kinds = append(kinds, o.GetKind())
	}
	if diff := cmp.Diff([]string{"Namespace", "CustomResourceDefinition", "ServiceAccount", "Deployment"}, kinds); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestDecodeNamesTheBrokenObject(t *testing.T) {
	_, err := Decode([]byte("kind: A\n---\nkind: [\n"))
	if err == nil || !strings.Contains(err.Error(), "object 2") {
		t.Errorf("error %v, want one about object 2", err)
	}
}

func TestAdapt(t *testing.T) {
	for name, tc := range map[string]struct {
		repository string
		want       []string
	}{
		"another repository takes the place of the rendered one": {"kapok.local/mysql",
			[]string{"--leader-election", "--mysql-image-repository=kapok.local/mysql"}},
		"none leaves the arguments as they are": {"",
			[]string{"--leader-election", "--mysql-image-repository=example.com/old"}},
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := Decode([]byte(installation))
			if err != nil {
				t.Fatal(err)
			}
			if err := adapt(objects[0], tc.repository, "", "f00"); err != nil {
				t.Fatal(err)
			}
			containers, _, _ := unstructured.NestedSlice(objects[0].Object, "spec", "template", "spec", "containers")
			args, _, _ := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
			if diff := cmp.Diff(tc.want, args); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			mark, _, _ := unstructured.NestedString(objects[0].Object, "spec", "template", "metadata", "annotations", "lab.kapok.dev/images")
			if mark != "f00" {
				t.Errorf("the mark of the images is %q", mark)
			}
		})
	}
	if err := adapt(&unstructured.Unstructured{Object: map[string]any{}}, "x", "", "y"); err == nil {
		t.Error("a Deployment without containers was accepted")
	}
}

func TestFingerprintFollowsTheContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image.tar")
	print := func(content string) string {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := fingerprint([]string{path})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if a, b, again := print("a"), print("b"), print("a"); a == b || a != again {
		t.Errorf("fingerprints %s, %s, %s", a, b, again)
	}
	if _, err := fingerprint([]string{path + "-missing"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing archive: %v", err)
	}
}

func TestAvailable(t *testing.T) {
	two := int32(2)
	good := appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 3}, Spec: appsv1.DeploymentSpec{Replicas: &two},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 3, UpdatedReplicas: 2, Replicas: 2, AvailableReplicas: 2}}
	for name, tc := range map[string]struct {
		change func(*appsv1.Deployment)
		want   bool
	}{
		"rolled out":               {func(*appsv1.Deployment) {}, true},
		"not looked at yet":        {func(d *appsv1.Deployment) { d.Status.ObservedGeneration = 2 }, false},
		"an old pod is left":       {func(d *appsv1.Deployment) { d.Status.Replicas = 3 }, false},
		"one is not updated":       {func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 1 }, false},
		"one is not available":     {func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 1 }, false},
		"one is wanted by default": {func(d *appsv1.Deployment) { d.Spec.Replicas = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := *good.DeepCopy()
			tc.change(&d)
			if done, seen := available(d); done != tc.want {
				t.Errorf("available = %t (%s), want %t", done, seen, tc.want)
			}
		})
	}
}

func TestHealthy(t *testing.T) {
	good := mysqlv1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Spec: mysqlv1.MySQLClusterSpec{Instances: 3},
		Status: mysqlv1.MySQLClusterStatus{ObservedGeneration: 2, ObservedEpoch: 4, ReadyInstances: 3,
			Record:     &mysqlv1.Record{Epoch: 4, Primary: "shop-1", Voters: []string{"shop-0", "shop-1", "shop-2"}},
			Conditions: []metav1.Condition{{Type: mysqlv1.ConditionReady, Status: metav1.ConditionTrue}}}}
	for name, tc := range map[string]struct {
		change func(*mysqlv1.MySQLCluster)
		want   bool
	}{
		"all is well":                                   {func(*mysqlv1.MySQLCluster) {}, true},
		"the spec was not looked at":                    {func(c *mysqlv1.MySQLCluster) { c.Generation = 3 }, false},
		"the status tells what was before the failover": {func(c *mysqlv1.MySQLCluster) { c.Status.Record.Epoch = 5 }, false},
		"not ready":                                     {func(c *mysqlv1.MySQLCluster) { c.Status.Conditions[0].Status = metav1.ConditionFalse }, false},
		"an instance does not serve":                    {func(c *mysqlv1.MySQLCluster) { c.Status.ReadyInstances = 2 }, false},
		"an instance does not vote":                     {func(c *mysqlv1.MySQLCluster) { c.Status.Record.Voters = c.Status.Record.Voters[:2] }, false},
		"nothing was ever committed":                    {func(c *mysqlv1.MySQLCluster) { c.Status.Record = nil }, false},
		"something is under way": {func(c *mysqlv1.MySQLCluster) {
			c.Status.Conditions = append(c.Status.Conditions, metav1.Condition{Type: mysqlv1.ConditionProgressing, Status: metav1.ConditionTrue})
		}, false},
		"there are no conditions yet": {func(c *mysqlv1.MySQLCluster) { c.Status.Conditions = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := good.DeepCopy()
			tc.change(c)
			if got := Healthy(c); got != tc.want {
				t.Errorf("Healthy = %t, want %t (%s)", got, tc.want, Describe(c))
			}
		})
	}
	if Epoch(&good) != 4 || Primary(&good) != "shop-1" || Epoch(&mysqlv1.MySQLCluster{}) != 0 || Primary(&mysqlv1.MySQLCluster{}) != "" {
		t.Error("epoch or primary are not those of the record")
	}
}

func TestWait(t *testing.T) {
	var lines []string
	l := &Lab{Log: func(format string, args ...any) { lines = append(lines, format) }}
	t.Run("ends when it is done", func(t *testing.T) {
		n := 0
		err := l.Wait(t.Context(), time.Minute, "three looks", func(context.Context) (bool, string, error) {
			n++
			return n == 3, "the same", nil
		})
		if err != nil || n != 3 || len(lines) != 1 {
			t.Errorf("error %v, %d looks, %d lines", err, n, len(lines))
		}
	})
	t.Run("says what it waited for and what it saw last", func(t *testing.T) {
		err := l.Wait(t.Context(), 10*time.Millisecond, "the impossible", func(context.Context) (bool, string, error) {
			return false, "nothing but rain", nil
		})
		if err == nil || !strings.Contains(err.Error(), "the impossible") || !strings.Contains(err.Error(), "nothing but rain") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("ends at once when it cannot succeed", func(t *testing.T) {
		broken := errors.New("broken")
		err := l.Wait(t.Context(), time.Minute, "it", func(context.Context) (bool, string, error) { return false, "", broken })
		if !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
	})
}

func TestFromEnvironment(t *testing.T) {
	read := func(set map[string]string) Options {
		t.Helper()
		o, err := FromEnvironment(func(name string) string { return set[name] })
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	plain := read(nil)
	if plain.Provider != "local" || plain.MySQLRepository != "kapok.local/mysql" || plain.ExporterImage != "kapok.local/mysqld-exporter:0.19" || len(plain.Images) != 0 || plain.Keep ||
		plain.OperatorManifest != filepath.Join(plain.Root, ".out", "install", "mysql-operator.yaml") ||
		plain.GuardManifest != filepath.Join(plain.Root, ".out", "install", "mysql-secretguard.yaml") {
		t.Errorf("defaults: %+v", plain)
	}
	other := read(map[string]string{"CLUSTER": "kind", "IMAGES": " a.tar  b.tar ", "OUT": "/o", "KEEP": "true"})
	if other.MySQLRepository != "" || other.ExporterImage != "" || !slices.Equal(other.Images, []string{"a.tar", "b.tar"}) || !other.Keep ||
		other.OperatorManifest != "/o/install/mysql-operator.yaml" || other.GuardManifest != "/o/install/mysql-secretguard.yaml" {
		t.Errorf("set: %+v", other)
	}
	if _, err := findRoot(t.TempDir()); err == nil {
		t.Error("a folder outside the repository has a root")
	}
}

func TestWorkloadObeysTheRestrictedStandard(t *testing.T) {
	l := &Lab{Options: Options{WorkloadImage: "image"}}
	w := &Workload{cluster: l.Cluster("ns", "shop"), pod: "workload", options: WorkloadOptions{Node: "n1", Account: "app", Database: "db", Writers: 8}}
	pod := w.manifest()
	c := pod.Spec.Containers[0]
	if !*pod.Spec.SecurityContext.RunAsNonRoot || *c.SecurityContext.AllowPrivilegeEscalation || !c.VolumeMounts[0].ReadOnly ||
		*pod.Spec.AutomountServiceAccountToken || pod.Spec.NodeSelector["kubernetes.io/hostname"] != "n1" {
		t.Errorf("pod: %+v", pod.Spec)
	}
	want := []string{"run", "--address=shop.ns.svc:3306", "--user=app", "--password-file=/users/app", "--database=db", "--writers=8"}
	if diff := cmp.Diff(want, c.Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

func TestTotal(t *testing.T) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(`# TYPE failovers_total counter
failovers_total{name="db",reason="ended"} 2
failovers_total{name="db",reason="silent"} 1
failovers_total{name="other",reason="ended"} 7
# TYPE gap_seconds histogram
gap_seconds_bucket{cause="failover",le="+Inf"} 3
gap_seconds_sum{cause="failover"} 1.5
gap_seconds_count{cause="failover"} 3
`))
	if err != nil {
		t.Fatal(err)
	}
	for want, got := range map[float64]float64{
		3: Total(families["failovers_total"], map[string]string{"name": "db"}), 9: Total(families["failovers_total"], map[string]string{"reason": "ended"}),
		10: Total(families["failovers_total"], nil), 0: Total(families["failovers_total"], map[string]string{"name": "nobody"}) + Total(nil, nil),
	} {
		if got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if got := Total(families["gap_seconds"], map[string]string{"cause": "failover"}); got != 3 {
		t.Errorf("got %v gaps, want 3", got)
	}
}

// TestAdaptNamesTheExporter: pods would wait for an image that cannot be pulled.
func TestAdaptNamesTheExporter(t *testing.T) {
	objects, err := Decode([]byte(installation))
	if err != nil {
		t.Fatal(err)
	}
	if err := adapt(objects[0], "", "kapok.local/mysqld-exporter:0.19", "f00"); err != nil {
		t.Fatal(err)
	}
	if raw, err := objects[0].MarshalJSON(); err != nil || !strings.Contains(string(raw), `"--mysqld-exporter-image=kapok.local/mysqld-exporter:0.19"`) {
		t.Errorf("%s %v", raw, err)
	}
}
