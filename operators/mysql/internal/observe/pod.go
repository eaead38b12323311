package observe

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
)

// PodProblem is why a pod does not come up.
type PodProblem struct {
	// Reason is a reason of the condition Reconciled, Message a sentence.
	Reason, Message string
}

// containersNotReady is the kubelet's reason for a pod that is not ready because of its containers.
const containersNotReady = "ContainersNotReady"

// isReady says whether the instance in a pod is ready. An exporter that does not run makes the pod unready, but not mysqld
// beside it.
func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue || c.Reason == containersNotReady && serverReady(pod)
		}
	}
	return false
}

func serverReady(pod *corev1.Pod) bool {
	for i := range pod.Status.ContainerStatuses {
		if c := &pod.Status.ContainerStatuses[i]; c.Name == manifest.ServerContainer {
			return c.Ready
		}
	}
	return false
}

// unschedulable quotes the scheduler when it finds no node for the pod.
func unschedulable(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return c.Message
		}
	}
	return ""
}

// problemOf finds what a person has to mend before the pod can come up. The exporter's container is none of it: the instance
// serves without.
func problemOf(pod *corev1.Pod) (PodProblem, bool) {
	if why := unschedulable(pod); why != "" {
		return PodProblem{v1alpha1.ReasonUnschedulable, "no node can take its pod: " + why}, true
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if why := stuck(&statuses[i]); why != "" && statuses[i].Name != manifest.ExporterContainer {
				return PodProblem{v1alpha1.ReasonImageUnusable, why}, true
			}
		}
	}
	return PodProblem{}, false
}

// exporterProblem says why the exporter of a pod does not run; "" if it does or has only just begun.
func exporterProblem(pod *corev1.Pod) string {
	for i := range pod.Status.ContainerStatuses {
		if c := &pod.Status.ContainerStatuses[i]; c.Name == manifest.ExporterContainer {
			return stuck(c)
		}
	}
	return ""
}

// stuck says why a container does not start and will not without a person; "" if nothing is known of the kind.
func stuck(c *corev1.ContainerStatus) string {
	waiting := c.State.Waiting
	if waiting == nil {
		return ""
	}
	switch waiting.Reason {
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerError",
		"CreateContainerConfigError", "RunContainerError", "CrashLoopBackOff":
		return fmt.Sprintf("container %s with image %s does not start: %s: %s", c.Name, c.Image, waiting.Reason, waiting.Message)
	}
	return ""
}

// imageOf is the image of the server in a pod.
func imageOf(pod *corev1.Pod) string {
	for i := range pod.Spec.Containers {
		if c := &pod.Spec.Containers[i]; c.Name == manifest.ServerContainer {
			return c.Image
		}
	}
	return ""
}
