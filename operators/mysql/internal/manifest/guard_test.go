package manifest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/mutation"
	"github.com/kapok-operators/kapok/shared/secretguard"
	"github.com/kapok-operators/kapok/shared/testkit"
)

// config is the folder of the operator's installation.
var config = filepath.Join("..", "..", "config")

// strictest is a namespace that enforces the restricted Pod Security Standard, which warns of templates too, and that the
// Secret injection guard keeps.
var strictest = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "trade", Labels: map[string]string{
	"pod-security.kubernetes.io/enforce": "restricted",
	"pod-security.kubernetes.io/warn":    "restricted",
	secretguard.LabelMode:                secretguard.ModeDeny,
}}}

// TestStrictestNamespace applies what the operator makes from many generated specs, and the operator's own Deployment, in
// the strictest namespace, with the guard as it is shipped. A pod of each template must be admitted, and nothing may be
// warned of. It needs KAPOK_KUBE_BIN.
func TestStrictestNamespace(t *testing.T) {
	api, warned := guardedServer(t)
	t.Run("clusters", func(t *testing.T) {
		tried, roots := 0, map[string]map[string]any{"base": mutation.Base(), "everything": mutation.Everything(), "nothing": {}}
		for root, base := range roots {
			for _, change := range mutation.Generate(definition(t), base, 1, mutation.Scenarios(mutation.Surroundings{})...) {
				if change.Expect == mutation.Refused {
					continue
				}
				cluster, accepted := accept(t, api, base, change)
				if !accepted {
					continue
				}
				warned.take()
				if admitted(t, api, root+": "+change.Name, cluster) {
					tried++
				}
				if texts := warned.take(); len(texts) > 0 {
					t.Errorf("%s: %s: warnings %q", root, change.Name, texts)
				}
			}
		}
		if tried < 200 {
			t.Errorf("only %d specs were valid and tried", tried)
		}
		t.Logf("%d specs were valid and tried", tried)
	})
	t.Run("operator", func(t *testing.T) {
		var deployment appsv1.Deployment
		decode(t, filepath.Join(config, "manager", "deployment.yaml"), &deployment)
		deployment.Namespace = strictest.Name
		warned.take()
		if err := api.Create(t.Context(), deployment.DeepCopy(), client.DryRunAll); err != nil {
			t.Errorf("the operator's Deployment is refused: %v", err)
		}
		pod := &corev1.Pod{ObjectMeta: deployment.Spec.Template.ObjectMeta, Spec: deployment.Spec.Template.Spec}
		pod.Name, pod.Namespace = "operator", strictest.Name
		if err := api.Create(t.Context(), pod, client.DryRunAll); err != nil {
			t.Errorf("the operator's pod is refused: %v", err)
		}
		if texts := warned.take(); len(texts) > 0 {
			t.Errorf("warnings %q", texts)
		}
	})
}

// guardedServer starts an API server with the definition of MySQLCluster and the guard, both as they are shipped, makes the
// strictest namespace, and waits until it refuses what it must.
func guardedServer(t *testing.T) (client.Client, *heard) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	env := testkit.StartEnv(t, testkit.EnvOptions{Scheme: scheme, CRDPaths: []string{filepath.Join(config, "crd", "bases")}})
	warned := &heard{}
	env.Config.QPS, env.Config.WarningHandler = -1, warned
	unthrottled, err := client.New(env.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	api := client.WithFieldValidation(unthrottled, metav1.FieldValidationStrict)
	raw, err := os.ReadFile(filepath.Join(config, "secretguard", "guard.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096); ; {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) == 0 {
			continue
		}
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatalf("install the guard: %v", err)
		}
	}
	if err := api.Create(t.Context(), strictest.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	// The warnings are heard: a template that Pod Security would refuse pods of is one.
	var bad appsv1.Deployment
	decode(t, filepath.Join(config, "manager", "deployment.yaml"), &bad)
	bad.Namespace, bad.Spec.Template.Spec.SecurityContext = strictest.Name, nil
	if err := api.Create(t.Context(), &bad, client.DryRunAll); err != nil || len(warned.take()) == 0 {
		t.Fatalf("Pod Security does not warn of a bad template (%v)", err)
	}
	refuses(t, api, "PodSecurity", func(pod *corev1.Pod) { pod.Spec.SecurityContext = nil })
	refuses(t, api, secretguard.PolicyName, func(pod *corev1.Pod) {
		pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}}}
	})
	return api, warned
}

// refuses waits until a good pod, made bad in one way, is refused by whom it should be: what is admitted later proves
// something only then.
func refuses(t *testing.T, api client.Client, who string, spoil func(*corev1.Pod)) {
	t.Helper()
	var deployment appsv1.Deployment
	decode(t, filepath.Join(config, "manager", "deployment.yaml"), &deployment)
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		pod := &corev1.Pod{ObjectMeta: deployment.Spec.Template.ObjectMeta, Spec: *deployment.Spec.Template.Spec.DeepCopy()}
		pod.Name, pod.Namespace = "probe", strictest.Name
		spoil(pod)
		err := api.Create(ctx, pod, client.DryRunAll)
		if err != nil && !apierrors.IsForbidden(err) {
			return false, err
		}
		return err != nil && strings.Contains(err.Error(), who), nil
	})
	if err != nil {
		t.Fatalf("a bad pod is not refused by %s: %v", who, err)
	}
}

// accept asks the API server to take a changed spec, and returns the cluster with its defaults.
func accept(t *testing.T, api client.Client, base map[string]any, change mutation.Change) (*v1alpha1.MySQLCluster, bool) {
	t.Helper()
	spec, err := change.Spec(base)
	if err != nil {
		t.Fatalf("%s: %v", change.Name, err)
	}
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	object.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind("MySQLCluster"))
	object.SetNamespace(strictest.Name)
	object.SetName("shop")
	err = api.Create(t.Context(), object, client.DryRunAll)
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		return nil, false
	}
	if err != nil {
		t.Fatalf("%s: %v", change.Name, err)
	}
	var cluster v1alpha1.MySQLCluster
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &cluster); err != nil {
		t.Fatalf("%s: %v", change.Name, err)
	}
	return &cluster, true
}

// admitted applies, for show, a cluster's StatefulSet and creates a pod as it would. It returns false if they are not even
// valid, because of a value that the definition lets through: that is another test's concern.
func admitted(t *testing.T, api client.Client, what string, cluster *v1alpha1.MySQLCluster) bool {
	t.Helper()
	var set appsv1.StatefulSet
	for _, object := range objects(t, input(cluster)) {
		apply, ok := object.(*appsv1ac.StatefulSetApplyConfiguration)
		if !ok {
			continue
		}
		raw, err := json.Marshal(apply)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &set); err != nil {
			t.Fatal(err)
		}
		err = api.Apply(t.Context(), apply, client.FieldOwner("test"), client.DryRunAll)
		if apierrors.IsInvalid(err) {
			return false
		}
		if err != nil {
			t.Errorf("%s: apply the StatefulSet: %v", what, err)
		}
	}
	pod := &corev1.Pod{ObjectMeta: set.Spec.Template.ObjectMeta, Spec: set.Spec.Template.Spec}
	pod.Name, pod.Namespace = "shop-0", strictest.Name
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: manifest.DataVolume, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: manifest.ClaimName("shop-0")}}})
	if err := api.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Errorf("%s: a pod is refused: %v", what, err)
	}
	return true
}

// definition is the schema that specs are generated from.
func definition(t *testing.T) *mutation.Schema {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(config, "crd", "bases", "mysql.kapok.dev_mysqlclusters.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := mutation.ParseSpec(raw)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func decode(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(raw, into); err != nil {
		t.Fatalf("decode %s: %v", file, err)
	}
}

// heard collects the API server's warnings of Pod Security and of the guard.
type heard struct {
	mutex sync.Mutex
	texts []string
}

func (h *heard) HandleWarningHeader(_ int, _, text string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if strings.Contains(text, "PodSecurity") || strings.Contains(text, secretguard.PolicyName) {
		h.texts = append(h.texts, text)
	}
}

// take returns the warnings since the last call.
func (h *heard) take() []string {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	texts := h.texts
	h.texts = nil
	return texts
}
