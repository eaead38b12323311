package v1alpha1_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mycnf"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/mutation"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/link"
	"github.com/kapok-operators/kapok/shared/testkit"
)

var update = testkit.UpdateFlag(flag.CommandLine)

// TestMutations changes a cluster's spec in every way that internal/mutation derives from the schema, on a real API server.
// A change is refused by a message that names the field, or it is one that every part of the operator can work with: what
// is accepted and cannot be worked with would be found out later, by a condition at best.
func TestMutations(t *testing.T) {
	api := startServer(t)
	definition, err := os.ReadFile(crdFile)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := mutation.ParseSpec(definition)
	if err != nil {
		t.Fatal(err)
	}
	scenarios := mutation.Scenarios(mutation.Surroundings{ImageWithoutServer: "registry.example.com/client:1"})
	var verdicts strings.Builder
	for _, base := range []struct {
		name    string
		spec    map[string]any
		changes []mutation.Change
	}{
		{"base", mutation.Base(), mutation.Generate(schema, mutation.Base(), 1, scenarios...)},
		{"everything", mutation.Everything(), mutation.Generate(schema, mutation.Everything(), 1)},
	} {
		current := cluster(base.name)
		current.Object["spec"] = base.spec
		if err := api.Create(t.Context(), current); err != nil {
			t.Fatalf("create the cluster %s: %v", base.name, err)
		}
		for _, change := range base.changes {
			verdict := judge(t, api, current, base.spec, change)
			fmt.Fprintf(&verdicts, "%-9s %s: %s\n", verdict, base.name, change.Name)
		}
		if len(base.changes) < 300 {
			t.Errorf("%s: only %d changes were derived: the generator has lost its way", base.name, len(base.changes))
		}
	}
	testkit.Golden(t, *update, "mutations.golden", []byte(verdicts.String()))
}

// judge tries one change, without making it, and returns the verdict.
func judge(t *testing.T, api client.Client, current *unstructured.Unstructured, base map[string]any, change mutation.Change) mutation.Verdict {
	t.Helper()
	spec, err := change.Spec(base)
	if err != nil {
		t.Fatal(err)
	}
	object := current.DeepCopy()
	object.Object["spec"] = spec
	err = api.Update(t.Context(), object, client.DryRunAll)
	switch {
	case err != nil && change.Expect != mutation.Refused && change.Expect != mutation.Open:
		t.Errorf("%s: is refused: %v", change.Name, err)
	case err != nil:
		if problem := mutation.Unclear(change, err); problem != "" {
			t.Errorf("%s: %s: %v", change.Name, problem, err)
		}
	case change.Expect == mutation.Refused:
		t.Errorf("%s: is accepted", change.Name)
	default:
		if err := workable(t.Context(), api, object); err != nil {
			t.Errorf("%s: is accepted, but the operator cannot work with it: %v", change.Name, err)
		}
	}
	if err != nil {
		return mutation.Refused
	}
	return "accepted"
}

// workable runs what was accepted through every part of the operator that takes a spec.
func workable(ctx context.Context, api client.Client, object *unstructured.Unstructured) error {
	raw, err := json.Marshal(object)
	if err != nil {
		return err
	}
	var typed v1alpha1.MySQLCluster
	if err := json.Unmarshal(raw, &typed); err != nil {
		// One such object keeps the operator from seeing any: its list does not decode.
		return fmt.Errorf("it cannot be decoded: %w", err)
	}
	return errors.Join(decidable(ctx, &typed), renderable(&typed), buildable(ctx, api, &typed))
}

// decidable observes a cluster of which nothing is there yet, and decides about it.
func decidable(ctx context.Context, cluster *v1alpha1.MySQLCluster) error {
	reader := onlyCluster{cluster: cluster}
	observer := observe.Observer{Cached: reader, Live: reader, Peers: nobody{},
		Term: func() (uint64, bool) { return 1, true }, Now: func() time.Time { return time.Unix(1, 0) },
		Outdated: func(*v1alpha1.MySQLCluster, *corev1.Pod) bool { return false }, Image: func(*v1alpha1.MySQLCluster) string { return "" }}
	seen, err := observer.Observe(ctx, client.ObjectKeyFromObject(cluster))
	if err != nil {
		return fmt.Errorf("observe it: %w", err)
	}
	if plan := topology.Decide(seen.Topology); plan.Replicas != int(cluster.Spec.Instances) {
		return fmt.Errorf("decide: %d replicas for %d instances", plan.Replicas, cluster.Spec.Instances)
	}
	if pool := seen.Topology.Spec.BufferPoolBytes; pool <= 0 {
		return fmt.Errorf("the buffer pool has %d bytes", pool)
	}
	return nil
}

// renderable writes mysqld's configuration and looks that nothing broke out of its line.
func renderable(cluster *v1alpha1.MySQLCluster) error {
	options := map[string]string{}
	for name, value := range cluster.Spec.Configuration {
		options[name] = string(value)
	}
	file, err := mycnf.Render(mycnf.Input{Options: options})
	if err != nil {
		return fmt.Errorf("render the configuration: %w", err)
	}
	for line := range strings.SplitSeq(file, "\n") {
		name, _, isOption := strings.Cut(line, " = ")
		switch {
		case line == "" || line == "[mysqld]" || strings.HasPrefix(line, "# "):
		case !isOption || strings.ContainsAny(name, " []!#"):
			return fmt.Errorf("render the configuration: the line %q is none of it", line)
		}
	}
	return nil
}

// buildable asks the API server whether it would take what the operator makes of the cluster.
func buildable(ctx context.Context, api client.Client, cluster *v1alpha1.MySQLCluster) error {
	// Names by which objects refer to their owner do not matter here, and must not be empty.
	cluster.UID = types.UID("00000000-0000-0000-0000-000000000001")
	objects, err := manifest.Objects(manifest.Input{Cluster: cluster, Replicas: cluster.Spec.Instances, LinkCA: []byte("CA"),
		Config: manifest.Config{OperatorImage: "operator:1", LinkAddress: "operator:9443", MySQLRepository: "mysql", ExporterImage: "exporter"}})
	if err != nil {
		return err
	}
	set := objects[len(objects)-1]
	if err := api.Apply(ctx, set, client.FieldOwner("test"), client.ForceOwnership, client.DryRunAll); err != nil {
		return fmt.Errorf("apply the StatefulSet: %w", err)
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace, Name: "data-" + cluster.Name + "-0"},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: cluster.Spec.Storage.StorageClassName,
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: cluster.Spec.Storage.Size}}},
	}
	if err := api.Create(ctx, claim, client.DryRunAll); err != nil {
		return fmt.Errorf("create a volume claim: %w", err)
	}
	return nil
}

// onlyCluster is a world in which there is one cluster and nothing else.
type onlyCluster struct{ cluster *v1alpha1.MySQLCluster }

func (o onlyCluster) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	cluster, ok := into.(*v1alpha1.MySQLCluster)
	if !ok || key.Name != o.cluster.Name {
		return apierrors.NewNotFound(v1alpha1.SchemeGroupVersion.WithResource("any").GroupResource(), key.Name)
	}
	o.cluster.DeepCopyInto(cluster)
	return nil
}

func (onlyCluster) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

// nobody is a link on which no agent is heard.
type nobody struct{}

func (nobody) Get(string, string) (link.Peer, bool) { return link.Peer{}, false }
