package manifest_test

import (
	"encoding/json"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/shared/testkit"
)

// TestServerAcceptsObjects applies everything to a real API server, in a namespace that enforces the restricted Pod
// Security Standard, first for a plain cluster and then for one with everything set; a pod of either template must be
// admitted, and the second apply must not touch what cannot change. It needs KAPOK_KUBE_BIN.
func TestServerAcceptsObjects(t *testing.T) {
	env := testkit.StartEnv(t, testkit.EnvOptions{Scheme: clientgoscheme.Scheme})
	api := client.WithFieldValidation(env.Client, metav1.FieldValidationStrict)
	ctx := t.Context()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:   "trade",
		Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"},
	}}
	if err := api.Create(ctx, namespace); err != nil {
		t.Fatal(err)
	}
	grown := input(furnished())
	grown.Cluster.Spec.Storage.StorageClassName = nil
	grown.Cluster.Spec.Storage.Size.Add(grown.Cluster.Spec.Storage.Size)
	claim := plain().Spec.Storage.Size
	grown.ClaimSize = &claim

	for _, in := range []manifest.Input{input(plain()), grown} {
		built := objects(t, in)
		for _, service := range []string{"shop", "shop-ro", "shop-r"} {
			built = append(built, manifest.EndpointSlice(in.Cluster, service, discoveryv1.AddressTypeIPv4,
				[]manifest.Endpoint{{Instance: "shop-0", PodUID: "uid-0", IP: "10.1.0.7", Node: "node-a", Zone: "zone-a"}}))
		}
		built = append(built, manifest.EndpointSlice(in.Cluster, "shop", discoveryv1.AddressTypeIPv4, nil))
		for _, object := range built {
			if err := api.Apply(ctx, object, client.FieldOwner("test"), client.ForceOwnership); err != nil {
				t.Errorf("apply %T: %v", object, err)
			}
		}
		var set appsv1.StatefulSet
		if err := api.Get(ctx, client.ObjectKey{Namespace: "trade", Name: "shop"}, &set); err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{ObjectMeta: set.Spec.Template.ObjectMeta, Spec: set.Spec.Template.Spec}
		pod.Name, pod.Namespace = "shop-0", "trade"
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: manifest.DataVolume, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: manifest.ClaimName("shop-0")},
		}})
		if err := api.Create(ctx, pod, client.DryRunAll); err != nil {
			t.Errorf("a pod of the template is refused: %v", err)
		}
		// Built anew: applying writes the API server's answer into what was applied.
		dropped(t, "StatefulSet", objects(t, in)[7], &set)
	}

	var slice discoveryv1.EndpointSlice
	if err := api.Get(ctx, client.ObjectKey{Namespace: "trade", Name: "shop-ipv4"}, &slice); err != nil {
		t.Fatal(err)
	}
	if len(slice.Endpoints) != 0 {
		t.Errorf("an EndpointSlice built with no endpoints still has %d", len(slice.Endpoints))
	}
}

// dropped fails if the API server has not kept what was applied, which would make every later look find a difference.
func dropped(t *testing.T, what string, applied runtime.ApplyConfiguration, live client.Object) {
	t.Helper()
	want, got := map[string]any{}, map[string]any{}
	for object, into := range map[any]*map[string]any{applied: &want, live: &got} {
		raw, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	spec, _, _ := unstructured.NestedMap(got, "spec")
	wanted, _, _ := unstructured.NestedMap(want, "spec")
	for _, difference := range missing("spec", wanted, spec) {
		t.Errorf("%s: %s", what, difference)
	}
}

// missing lists what of want is not in got; got may have more.
func missing(path string, want, got any) []string {
	var out []string
	switch wanted := want.(type) {
	case map[string]any:
		have, _ := got.(map[string]any)
		for key, value := range wanted {
			out = append(out, missing(path+"."+key, value, have[key])...)
		}
	case []any:
		have, _ := got.([]any)
		if len(have) != len(wanted) {
			return []string{path + " has another length"}
		}
		for i := range wanted {
			out = append(out, missing(path+"[]", wanted[i], have[i])...)
		}
	default:
		if want != got {
			out = append(out, path+" was not kept as it was applied")
		}
	}
	return out
}
