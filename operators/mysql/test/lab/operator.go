package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Leader returns the operator's pod that holds the leader's Lease.
func (l *Lab) Leader(ctx context.Context) (string, error) {
	var leases coordinationv1.LeaseList
	if err := l.Client.List(ctx, &leases, client.InNamespace(OperatorNamespace)); err != nil {
		return "", fmt.Errorf("find the operator's leader: %w", err)
	}
	for _, lease := range leases.Items {
		if lease.Spec.HolderIdentity == nil {
			continue
		}
		// The identity is the pod's name, and a random part so that a restarted container is somebody else.
		if pod, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_"); strings.HasPrefix(pod, OperatorName+"-") {
			return pod, nil
		}
	}
	return "", errors.New("find the operator's leader: no Lease is held by one of its pods")
}

// DeletePod deletes a pod without grace.
func (l *Lab) DeletePod(ctx context.Context, namespace, name string) error {
	now := int64(0)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := l.Client.Delete(ctx, pod, &client.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		return fmt.Errorf("delete the pod %s: %w", name, err)
	}
	return nil
}
