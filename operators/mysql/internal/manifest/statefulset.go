package manifest

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
)

// buildStatefulSet makes pods and volumes and never removes either by itself: all pods start side by side, a changed
// template waits until the operator deletes a pod (OnDelete), and volumes outlive both scaling and the set.
func buildStatefulSet(in Input) (*appsv1ac.StatefulSetApplyConfiguration, error) {
	cluster := in.Cluster
	hash, err := in.Config.TemplateHash(cluster)
	if err != nil {
		return nil, err
	}
	pod, err := buildPod(in)
	if err != nil {
		return nil, err
	}
	return appsv1ac.StatefulSet(StatefulSet(cluster.Name), cluster.Namespace).
		WithLabels(Labels(cluster.Name)).
		WithOwnerReferences(ownerOf(cluster)).
		WithSpec(appsv1ac.StatefulSetSpec().
			WithReplicas(in.Replicas).
			WithServiceName(PeersService(cluster.Name)).
			WithPodManagementPolicy(appsv1.ParallelPodManagement).
			WithUpdateStrategy(appsv1ac.StatefulSetUpdateStrategy().WithType(appsv1.OnDeleteStatefulSetStrategyType)).
			WithRevisionHistoryLimit(2).
			WithPersistentVolumeClaimRetentionPolicy(appsv1ac.StatefulSetPersistentVolumeClaimRetentionPolicy().
				WithWhenDeleted(appsv1.RetainPersistentVolumeClaimRetentionPolicyType).
				WithWhenScaled(appsv1.RetainPersistentVolumeClaimRetentionPolicyType)).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(SelectorLabels(cluster.Name))).
			WithVolumeClaimTemplates(buildClaim(in)).
			WithTemplate(corev1ac.PodTemplateSpec().
				WithLabels(Labels(cluster.Name)).
				WithAnnotations(map[string]string{
					AnnotationTemplate:                        hash,
					"kubectl.kubernetes.io/default-container": ServerContainer,
				}).
				WithSpec(pod))), nil
}

// buildClaim is the template of the volume claims. Nothing in it may change once the set exists.
func buildClaim(in Input) *corev1ac.PersistentVolumeClaimApplyConfiguration {
	cluster := in.Cluster
	size := cluster.Spec.Storage.Size
	if in.ClaimSize != nil {
		size = *in.ClaimSize
	}
	claim := corev1ac.PersistentVolumeClaimSpec().
		WithAccessModes(corev1.ReadWriteOnce).
		WithVolumeMode(corev1.PersistentVolumeFilesystem).
		WithResources(corev1ac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceStorage: size}))
	if class := cluster.Spec.Storage.StorageClassName; class != nil {
		claim.WithStorageClassName(*class)
	}
	template := corev1ac.PersistentVolumeClaim("", "").
		WithName(DataVolume).
		WithLabels(SelectorLabels(cluster.Name)).
		WithSpec(claim)
	// Protobuf does not carry these in a template, so that the operator's cache lacks them: applying them would look like a
	// difference for ever.
	template.Kind, template.APIVersion, template.Namespace = nil, nil, nil
	return template
}
