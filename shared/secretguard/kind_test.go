package secretguard_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// labels are those of every pod.
var labels = map[string]string{"app": "a"}

// spec reads a pod's spec.
func spec(t testing.TB, text string) corev1.PodSpec {
	t.Helper()
	var out corev1.PodSpec
	if err := yaml.UnmarshalStrict([]byte(text), &out); err != nil {
		t.Fatalf("read the spec of a pod: %v\n%s", err, text)
	}
	return out
}

// pod is a pod with that spec.
func pod(t testing.TB, namespace, text string) *corev1.Pod {
	t.Helper()
	out := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "p-", Labels: labels}, Spec: spec(t, text)}
	// The tests' API server does not set it, and refuses a pod with a token that has none.
	out.Spec.ServiceAccountName = "default"
	return out
}

// kind makes an object of a kind that has a template of pods.
type kind struct {
	name string
	// path leads from the object to the spec of its pods.
	path string
	// once says that its pods run to completion.
	once bool
	// fixed says that the API server lets nobody change the template.
	fixed bool
	make  func(metav1.ObjectMeta, corev1.PodTemplateSpec) client.Object
	// template leads to the template in an object of the kind.
	template func(client.Object) *corev1.PodTemplateSpec
}

// kinds are all kinds with a template of pods that Kubernetes itself brings.
func kinds() []kind {
	selector := &metav1.LabelSelector{MatchLabels: labels}
	return []kind{
		{name: "Deployment", path: "spec.template.spec",
			make: func(m metav1.ObjectMeta, p corev1.PodTemplateSpec) client.Object {
				return &appsv1.Deployment{ObjectMeta: m, Spec: appsv1.DeploymentSpec{Selector: selector, Template: p}}
			},
			template: func(o client.Object) *corev1.PodTemplateSpec { return &o.(*appsv1.Deployment).Spec.Template }},
		{name: "StatefulSet", path: "spec.template.spec",
			make: func(m metav1.ObjectMeta, p corev1.PodTemplateSpec) client.Object {
				return &appsv1.StatefulSet{ObjectMeta: m, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: p}}
			},
			template: func(o client.Object) *corev1.PodTemplateSpec { return &o.(*appsv1.StatefulSet).Spec.Template }},
		{name: "DaemonSet", path: "spec.template.spec",
			make: func(m metav1.ObjectMeta, p corev1.PodTemplateSpec) client.Object {
				return &appsv1.DaemonSet{ObjectMeta: m, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: p}}
			},
			template: func(o client.Object) *corev1.PodTemplateSpec { return &o.(*appsv1.DaemonSet).Spec.Template }},
		{name: "ReplicaSet", path: "spec.template.spec",
			make: func(m metav1.ObjectMeta, p corev1.PodTemplateSpec) client.Object {
				return &appsv1.ReplicaSet{ObjectMeta: m, Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: p}}
			},
			template: func(o client.Object) *corev1.PodTemplateSpec { return &o.(*appsv1.ReplicaSet).Spec.Template }},
		{name: "ReplicationController", path: "spec.template.spec",
			make: func(m metav1.ObjectMeta, p corev1.PodTemplateSpec) client.Object {
				return &corev1.ReplicationController{ObjectMeta: m, Spec: corev1.ReplicationControllerSpec{Selector: labels, Template: &p}}
			},
			template: func(o client.Object) *corev1.PodTemplateSpec { return o.(*corev1.ReplicationController).Spec.Template }},
		{name: "Job", path: "spec.template.spec", once: true, fixed: true,
			make: func(m metav1.ObjectMeta, p corev1.PodTemplateSpec) client.Object {
				return &batchv1.Job{ObjectMeta: m, Spec: batchv1.JobSpec{Template: p}}
			},
			template: func(o client.Object) *corev1.PodTemplateSpec { return &o.(*batchv1.Job).Spec.Template }},
		{name: "CronJob", path: "spec.jobTemplate.spec.template.spec", once: true,
			make: func(m metav1.ObjectMeta, p corev1.PodTemplateSpec) client.Object {
				return &batchv1.CronJob{ObjectMeta: m, Spec: batchv1.CronJobSpec{Schedule: "0 0 * * *",
					JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: p}}}}
			},
			template: func(o client.Object) *corev1.PodTemplateSpec {
				return &o.(*batchv1.CronJob).Spec.JobTemplate.Spec.Template
			}},
		{name: "PodTemplate", path: "template.spec",
			make: func(m metav1.ObjectMeta, p corev1.PodTemplateSpec) client.Object {
				return &corev1.PodTemplate{ObjectMeta: m, Template: p}
			},
			template: func(o client.Object) *corev1.PodTemplateSpec { return &o.(*corev1.PodTemplate).Template }},
	}
}

// object makes an object of the kind, with pods of that spec.
func (k kind) object(namespace string, pods corev1.PodSpec) client.Object {
	pods.RestartPolicy = corev1.RestartPolicyAlways
	if k.once {
		pods.RestartPolicy = corev1.RestartPolicyNever
	}
	return k.make(metav1.ObjectMeta{Namespace: namespace, GenerateName: "k-"},
		corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: *pods.DeepCopy()})
}
