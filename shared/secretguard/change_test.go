package secretguard_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/secretguard"
)

const (
	good    = `{containers: [{name: app, image: i}]}`
	bad     = `{containers: [{name: app, image: i, envFrom: [{secretRef: {name: s}}]}]}`
	badFind = `containers[0].envFrom[0].secretRef (container "app")`
)

// inherited makes an object of each kind, and a pod, that break a rule, before the
// guard comes to their namespace.
func inherited(t *testing.T) (string, []kind, []client.Object, *corev1.Pod) {
	t.Helper()
	namespace := guarded(t, "")
	old := pod(t, namespace, bad)
	old.Finalizers = []string{"example.com/keep"}
	if err := api.Create(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	var objects []client.Object
	for _, k := range kinds() {
		object := k.object(namespace, spec(t, bad))
		object.SetFinalizers([]string{"example.com/keep"})
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
	label(t, namespace, secretguard.ModeDeny)
	return namespace, kinds(), objects, old
}

// TestWhatWasThereBefore: what broke the rules before the guard came can be labelled,
// scaled, given a status and deleted, down to its finalizer.
func TestWhatWasThereBefore(t *testing.T) {
	namespace, made, objects, old := inherited(t)
	ctx := t.Context()
	allowed := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	merge := func(object client.Object, patch string) error {
		return api.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(patch)))
	}
	for i, object := range objects {
		allowed("label a "+made[i].name, merge(object, `{"metadata":{"labels":{"l":"v"},"annotations":{"a":"v"}}}`))
		allowed("update a "+made[i].name+" that stays as it is", api.Update(ctx, object))
		if made[i].name != "PodTemplate" {
			allowed("write the status of a "+made[i].name, api.Status().Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(`{"status":{}}`))))
		}
		switch made[i].name {
		case "Deployment", "StatefulSet", "ReplicaSet", "ReplicationController":
			allowed("scale a "+made[i].name, api.SubResource("scale").Update(ctx, object,
				client.WithSubResourceBody(&autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 0}})))
			allowed("scale a "+made[i].name+" by its own field", merge(object, `{"spec":{"replicas":2}}`))
		case "Job":
			allowed("suspend a Job", merge(object, `{"spec":{"suspend":true}}`))
		case "CronJob":
			allowed("suspend a CronJob", merge(object, `{"spec":{"suspend":true,"schedule":"1 1 * * *"}}`))
			allowed("label the Jobs of a CronJob", merge(object, `{"spec":{"jobTemplate":{"metadata":{"labels":{"l":"v"}}}}}`))
		}
	}
	allowed("label a pod", merge(old, `{"metadata":{"labels":{"l":"v"}}}`))
	allowed("give a pod another image", merge(old, `{"spec":{"containers":[{"name":"app","image":"other","envFrom":[{"secretRef":{"name":"s"}}]}]}}`))
	allowed("write the status of a pod", api.Status().Patch(ctx, old, client.RawPatch(types.MergePatchType, []byte(`{"status":{"phase":"Failed"}}`))))
	for _, object := range append(objects, old) {
		now := int64(0)
		allowed("delete", api.Delete(ctx, object, &client.DeleteOptions{GracePeriodSeconds: &now}))
		allowed("remove the finalizer", merge(object, `{"metadata":{"finalizers":null}}`))
		if err := api.Get(ctx, client.ObjectKeyFromObject(object), object); client.IgnoreNotFound(err) != nil || err == nil {
			t.Errorf("%T %s is still there: %v", object, object.GetName(), err)
		}
	}
	// What replaces them obeys.
	judge(t, secretguard.ModeDeny, func() error { return api.Create(ctx, pod(t, namespace, bad)) }, sentence("spec", []string{badFind}))
}

// TestAChangedTemplateObeys: whatever is changed in a template, it has to obey then,
// because it makes new pods; and it may be put right.
func TestAChangedTemplateObeys(t *testing.T) {
	_, made, objects, _ := inherited(t)
	for i, object := range objects {
		if made[i].fixed {
			continue
		}
		for name, change := range map[string]func(*corev1.PodTemplateSpec){
			"an image": func(p *corev1.PodTemplateSpec) { p.Spec.Containers[0].Image = "other" },
			"an annotation": func(p *corev1.PodTemplateSpec) {
				p.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
			},
		} {
			t.Run(made[i].name+"/"+name, func(t *testing.T) {
				changed := object.DeepCopyObject().(client.Object)
				change(made[i].template(changed))
				judge(t, secretguard.ModeDeny, func() error { return api.Update(t.Context(), changed) }, sentence(made[i].path, []string{badFind}))
			})
		}
		t.Run(made[i].name+"/put right", func(t *testing.T) {
			changed := object.DeepCopyObject().(client.Object)
			made[i].template(changed).Spec.Containers[0].EnvFrom = nil
			judge(t, secretguard.ModeDeny, func() error { return api.Update(t.Context(), changed) }, "")
			// And not undone.
			made[i].template(changed).Spec.Containers[0].EnvFrom = spec(t, bad).Containers[0].EnvFrom
			judge(t, secretguard.ModeDeny, func() error { return api.Update(t.Context(), changed) }, sentence(made[i].path, []string{badFind}))
		})
	}
}

// TestUpdatesInAudit: a change is reported once, and what leaves a template alone is
// not.
func TestUpdatesInAudit(t *testing.T) {
	namespace := guarded(t, secretguard.ModeAudit)
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			object := k.object(namespace, spec(t, good))
			judge(t, secretguard.ModeAudit, func() error { return api.Create(t.Context(), object) }, "")
			if k.fixed {
				return
			}
			k.template(object).Spec.Containers[0].EnvFrom = spec(t, bad).Containers[0].EnvFrom
			judge(t, secretguard.ModeAudit, func() error { return api.Update(t.Context(), object) }, sentence(k.path, []string{badFind}))
			object.SetAnnotations(map[string]string{"a": "b"})
			judge(t, secretguard.ModeAudit, func() error { return api.Update(t.Context(), object) }, "")
		})
	}
}

// TestEphemeralContainers: whoever debugs answers for the container that is added, and
// not for what the pod or another one brought along.
func TestEphemeralContainers(t *testing.T) {
	namespace, _, _, old := inherited(t)
	fine := `{containers: [{name: app, image: i}], ephemeralContainers: [{name: %s, image: i}]}`
	addTo := func(p *corev1.Pod, text string) func() error {
		return func() error {
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, spec(t, text).EphemeralContainers...)
			answer, err := core.CoreV1().Pods(namespace).UpdateEphemeralContainers(t.Context(), p.Name, p, metav1.UpdateOptions{})
			if err == nil {
				*p = *answer
			}
			return err
		}
	}
	secretive := `{ephemeralContainers: [{name: nosy, image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}`
	judge(t, secretguard.ModeDeny, addTo(old.DeepCopy(), strings.ReplaceAll(fine, "%s", "first")), "")

	// One that got in while there was no guard is not held against the next.
	open := guarded(t, "")
	namespace = open
	running := pod(t, open, good)
	if err := api.Create(t.Context(), running); err != nil {
		t.Fatal(err)
	}
	judge(t, "", addTo(running, secretive), "")
	label(t, open, secretguard.ModeDeny)
	judge(t, secretguard.ModeDeny, addTo(running, strings.ReplaceAll(fine, "%s", "second")), "")
	judge(t, secretguard.ModeDeny, addTo(running.DeepCopy(), strings.ReplaceAll(secretive, "nosy", "nosier")),
		sentence("spec", []string{`ephemeralContainers[2].env[0].valueFrom.secretKeyRef (container "nosier", variable "A")`}))

	// kubectl debug patches.
	patch := `{"spec":{"ephemeralContainers":[{"name":"patched","image":"i","envFrom":[{"secretRef":{"name":"s"}}]}]}}`
	judge(t, secretguard.ModeDeny, func() error {
		_, err := core.CoreV1().Pods(open).Patch(t.Context(), running.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "ephemeralcontainers")
		return err
	}, sentence("spec", []string{`ephemeralContainers[0].envFrom[0].secretRef (container "patched")`}))
}

// TestServerSideApply: making and changing by server-side apply is judged like any
// other way.
func TestServerSideApply(t *testing.T) {
	namespace := guarded(t, secretguard.ModeDeny)
	deployment := func(replicas int32, secret bool) *appsv1ac.DeploymentApplyConfiguration {
		container := corev1ac.Container().WithName("app").WithImage("i")
		if secret {
			container.WithEnv(corev1ac.EnvVar().WithName("A").WithValueFrom(corev1ac.EnvVarSource().
				WithSecretKeyRef(corev1ac.SecretKeySelector().WithName("s").WithKey("k"))))
		}
		return appsv1ac.Deployment("d", namespace).WithSpec(appsv1ac.DeploymentSpec().WithReplicas(replicas).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(labels)).
			WithTemplate(corev1ac.PodTemplateSpec().WithLabels(labels).WithSpec(corev1ac.PodSpec().WithContainers(container))))
	}
	applied := func(d *appsv1ac.DeploymentApplyConfiguration, options ...client.ApplyOption) func() error {
		return func() error {
			return api.Apply(t.Context(), d, append(options, client.FieldOwner("test"), client.ForceOwnership)...)
		}
	}
	found := sentence("spec.template.spec", []string{`containers[0].env[0].valueFrom.secretKeyRef (container "app", variable "A")`})
	judge(t, secretguard.ModeDeny, applied(deployment(1, true)), found)
	judge(t, secretguard.ModeDeny, applied(deployment(1, false)), "")
	judge(t, secretguard.ModeDeny, applied(deployment(1, true)), found)
	judge(t, secretguard.ModeDeny, applied(deployment(1, true), client.DryRunAll), found)
	judge(t, secretguard.ModeDeny, applied(deployment(2, false)), "")

	var live appsv1.Deployment
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "d"}, &live); err != nil {
		t.Fatal(err)
	}
	if len(live.Spec.Template.Spec.Containers[0].Env) != 0 || *live.Spec.Replicas != 2 {
		t.Errorf("what was refused has left a trace: %+v", live.Spec)
	}
}

// TestDryRun: a dry run answers as the real thing would, in both modes.
func TestDryRun(t *testing.T) {
	for _, mode := range []string{secretguard.ModeDeny, secretguard.ModeAudit} {
		namespace := guarded(t, mode)
		judge(t, mode, func() error { return api.Create(t.Context(), pod(t, namespace, bad), client.DryRunAll) }, sentence("spec", []string{badFind}))
		judge(t, mode, func() error { return api.Create(t.Context(), pod(t, namespace, good), client.DryRunAll) }, "")
		var pods corev1.PodList
		if err := api.List(t.Context(), &pods, client.InNamespace(namespace)); err != nil || len(pods.Items) > 0 {
			t.Errorf("a dry run has left %d pods (%v)", len(pods.Items), err)
		}
	}
}
