package manifest_test

import (
	"flag"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/shared/testkit"
)

var update = testkit.UpdateFlag(flag.CommandLine)

// installation is the operator's part in these tests.
func installation() manifest.Config {
	return manifest.Config{
		OperatorImage:   "example.com/mysql-operator:v1",
		LinkAddress:     "mysql-operator-link.operators.svc:9443",
		MySQLRepository: "example.com/mysql",
		ExporterImage:   "example.com/mysqld-exporter:v1",
	}
}

// plain is a cluster as the API server completes a manifest with a name only.
func plain() *v1alpha1.MySQLCluster {
	quantity := func(text string) *resource.Quantity {
		parsed := resource.MustParse(text)
		return &parsed
	}
	return &v1alpha1.MySQLCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "trade", UID: "0b2f3c1e"},
		Spec: v1alpha1.MySQLClusterSpec{
			Instances:      3,
			Version:        "9.7",
			Storage:        v1alpha1.Storage{Size: resource.MustParse("10Gi")},
			Resources:      v1alpha1.Resources{Requests: &v1alpha1.ResourceAmounts{CPU: quantity("100m"), Memory: quantity("512Mi")}},
			Placement:      v1alpha1.Placement{Zones: v1alpha1.SpreadPreferred, Nodes: v1alpha1.SpreadPreferred},
			DeletionPolicy: v1alpha1.DeletionRetain,
			Monitoring:     v1alpha1.Monitoring{Exporter: v1alpha1.ExporterSidecar, ScrapeInterval: &metav1.Duration{Duration: 15 * time.Second}},
		},
	}
}

// furnished is a cluster in which everything that shapes a pod is set.
func furnished() *v1alpha1.MySQLCluster {
	cluster := plain()
	class, memory, seconds := "fast", resource.MustParse("4Gi"), int64(30)
	cluster.Spec.Image = "registry.example.com/mysql@sha256:0123"
	cluster.Spec.Storage.StorageClassName = &class
	cluster.Spec.UsersSecret = &v1alpha1.SecretReference{Name: "accounts"}
	cluster.Spec.Resources.Limits = &v1alpha1.ResourceAmounts{Memory: &memory}
	exporterMemory := resource.MustParse("128Mi")
	cluster.Spec.Monitoring.Image = "registry.example.com/exporter:v2"
	cluster.Spec.Monitoring.Resources = &v1alpha1.ExporterResources{
		Requests: &v1alpha1.ExporterAmounts{Memory: &exporterMemory}, Limits: &v1alpha1.ExporterAmounts{Memory: &exporterMemory},
	}
	cluster.Spec.Placement = v1alpha1.Placement{
		Zones:        v1alpha1.SpreadRequired,
		Nodes:        v1alpha1.SpreadPreferred,
		NodeSelector: map[string]v1alpha1.LabelValue{"disk": "nvme"},
		Tolerations: []v1alpha1.Toleration{
			{Key: "dedicated", Operator: "Equal", Value: "mysql", Effect: "NoSchedule"},
			{Operator: "Exists", Effect: "NoExecute", TolerationSeconds: &seconds},
		},
	}
	cluster.Spec.Backup = &v1alpha1.Backup{Target: &v1alpha1.BackupTarget{S3: &v1alpha1.S3Target{
		Bucket: "backups", Region: "eu-central-1", Credentials: v1alpha1.SecretReference{Name: "store"},
	}}}
	cluster.Spec.Restore = &v1alpha1.Restore{
		Target:     v1alpha1.BackupTarget{Volume: &v1alpha1.VolumeTarget{ClaimName: "old-backups"}},
		ClusterUID: "7d3f0f9e-2d0b-4a3e-9c2e-0f6d0a2b1c4d", Identity: &v1alpha1.SecretReference{Name: "identity"},
		To: &v1alpha1.RestorePoint{Time: &metav1.Time{Time: time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)}},
	}
	return cluster
}

func objects(t *testing.T, in manifest.Input) []runtime.ApplyConfiguration {
	t.Helper()
	built, err := manifest.Objects(in)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// input is what the objects of a cluster with three pods are built from.
func input(cluster *v1alpha1.MySQLCluster) manifest.Input {
	return manifest.Input{Cluster: cluster, Config: installation(), Replicas: 3, LinkCA: []byte("CERTIFICATES\n")}
}

func TestObjects(t *testing.T) {
	grown := plain()
	grown.Spec.Storage.Size = resource.MustParse("20Gi")
	old := resource.MustParse("10Gi")
	grownInput := input(grown)
	grownInput.ClaimSize, grownInput.Replicas = &old, 5
	grown.Spec.Monitoring.Exporter = v1alpha1.ExporterNone

	for name, in := range map[string]manifest.Input{
		"plain": input(plain()), "furnished": input(furnished()), "grown": grownInput,
	} {
		t.Run(name, func(t *testing.T) { testkit.Golden(t, *update, name+".yaml", []byte(render(t, objects(t, in)...))) })
	}
}

func TestEndpointSlices(t *testing.T) {
	primary := manifest.Endpoint{Instance: "shop-0", PodUID: "uid-0", IP: "10.1.0.7", Node: "node-a", Zone: "zone-a"}
	replica := manifest.Endpoint{Instance: "shop-1", PodUID: "uid-1", IP: "10.1.1.7"}
	sixth := manifest.Endpoint{Instance: "shop-2", PodUID: "uid-2", IP: "fd00::7"}
	readWrite, readOnly := manifest.ReadWriteService("shop"), manifest.ReadOnlyService("shop")

	testkit.Golden(t, *update, "endpointslices.yaml", []byte(render(t,
		manifest.EndpointSlice(plain(), readWrite, discoveryv1.AddressTypeIPv4, []manifest.Endpoint{primary}),
		manifest.EndpointSlice(plain(), readWrite, discoveryv1.AddressTypeIPv4, nil),
		manifest.EndpointSlice(plain(), readOnly, discoveryv1.AddressTypeIPv4, []manifest.Endpoint{primary, replica, sixth}),
		manifest.EndpointSlice(plain(), readOnly, discoveryv1.AddressTypeIPv6, []manifest.Endpoint{primary, replica, sixth}))))
}

func TestFamilyOf(t *testing.T) {
	for ip, want := range map[string]discoveryv1.AddressType{
		"10.0.0.1": discoveryv1.AddressTypeIPv4, "::1": discoveryv1.AddressTypeIPv6, "": "", "host": "",
	} {
		if got := manifest.FamilyOf(ip); got != want {
			t.Errorf("FamilyOf(%q) = %q, want %q", ip, got, want)
		}
	}
}

// TestBuildingIsPure builds twice and compares, the input included.
func TestBuildingIsPure(t *testing.T) {
	cluster := furnished()
	first := render(t, objects(t, input(cluster))...)
	if second := render(t, objects(t, input(cluster))...); first != second {
		t.Errorf("the same input gives other objects:\n%s", cmp.Diff(first, second))
	}
	if diff := cmp.Diff(furnished(), cluster); diff != "" {
		t.Errorf("building changed its input:\n%s", diff)
	}
}

// TestTemplateHash says which changes replace pods and which must not.
func TestTemplateHash(t *testing.T) {
	base, err := installation().TemplateHash(plain())
	if err != nil {
		t.Fatal(err)
	}
	type change func(*v1alpha1.MySQLCluster, *manifest.Config)
	replacing := map[string]change{
		"version":    func(c *v1alpha1.MySQLCluster, _ *manifest.Config) { c.Spec.Version = "9.8" },
		"image":      func(c *v1alpha1.MySQLCluster, _ *manifest.Config) { c.Spec.Image = "other" },
		"repository": func(_ *v1alpha1.MySQLCluster, i *manifest.Config) { i.MySQLRepository = "other" },
		"users secret": func(c *v1alpha1.MySQLCluster, _ *manifest.Config) {
			c.Spec.UsersSecret = &v1alpha1.SecretReference{Name: "x"}
		},
		"exporter": func(c *v1alpha1.MySQLCluster, _ *manifest.Config) { c.Spec.Monitoring.Exporter = v1alpha1.ExporterNone },
		"image of the exporter": func(c *v1alpha1.MySQLCluster, _ *manifest.Config) {
			c.Spec.Monitoring.Image = "other"
		},
		"resources of the exporter": func(c *v1alpha1.MySQLCluster, _ *manifest.Config) {
			c.Spec.Monitoring.Resources = furnished().Spec.Monitoring.Resources
		},
		"resources":     func(c *v1alpha1.MySQLCluster, _ *manifest.Config) { c.Spec.Resources = furnished().Spec.Resources },
		"node selector": func(c *v1alpha1.MySQLCluster, _ *manifest.Config) { c.Spec.Placement = furnished().Spec.Placement },
	}
	keeping := map[string]change{
		"operator image":              func(_ *v1alpha1.MySQLCluster, i *manifest.Config) { i.OperatorImage = "example.com/mysql-operator:v2" },
		"link address":                func(_ *v1alpha1.MySQLCluster, i *manifest.Config) { i.LinkAddress = "elsewhere:9443" },
		"the installation's exporter": func(_ *v1alpha1.MySQLCluster, i *manifest.Config) { i.ExporterImage = "other" },
		"scrape interval": func(c *v1alpha1.MySQLCluster, _ *manifest.Config) {
			c.Spec.Monitoring.ScrapeInterval = &metav1.Duration{Duration: time.Minute}
		},
		"an object from before there was an exporter": func(c *v1alpha1.MySQLCluster, _ *manifest.Config) {
			c.Spec.Monitoring = v1alpha1.Monitoring{}
		},
		"configuration": func(c *v1alpha1.MySQLCluster, _ *manifest.Config) {
			c.Spec.Configuration = v1alpha1.Configuration{"a": "b"}
		},
		"users":     func(c *v1alpha1.MySQLCluster, _ *manifest.Config) { c.Spec.Users = []v1alpha1.User{{Name: "app"}} },
		"instances": func(c *v1alpha1.MySQLCluster, _ *manifest.Config) { c.Spec.Instances = 5 },
		"storage":   func(c *v1alpha1.MySQLCluster, _ *manifest.Config) { c.Spec.Storage.Size = resource.MustParse("1Ti") },
		"buffer pool": func(c *v1alpha1.MySQLCluster, _ *manifest.Config) {
			c.Spec.BufferPoolSize = &c.Spec.Storage.Size
		},
		"the same memory in other words": func(c *v1alpha1.MySQLCluster, _ *manifest.Config) {
			other := resource.MustParse("524288Ki")
			c.Spec.Resources.Requests.Memory = &other
		},
	}
	check := func(t *testing.T, apply change, replaces bool) {
		cluster, config := plain(), installation()
		apply(cluster, &config)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{manifest.AnnotationTemplate: base}}}
		if got := config.Outdated(cluster, pod); got != replaces {
			t.Errorf("the pod is outdated: %v, want %v", got, replaces)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(replacing)) {
		t.Run("replaced by another "+name, func(t *testing.T) { check(t, replacing[name], true) })
	}
	for _, name := range slices.Sorted(maps.Keys(keeping)) {
		t.Run("kept by another "+name, func(t *testing.T) { check(t, keeping[name], false) })
	}
}

func render(t *testing.T, built ...runtime.ApplyConfiguration) string {
	t.Helper()
	var out []byte
	for _, object := range built {
		raw, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		out = append(append(out, "---\n"...), raw...)
	}
	return string(out)
}
