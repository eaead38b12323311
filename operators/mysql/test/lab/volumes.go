package lab

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Volumes returns the name of the PersistentVolume of each instance.
func (c *Cluster) Volumes(ctx context.Context) (map[string]string, error) {
	pods, err := c.Pods(ctx)
	if err != nil {
		return nil, err
	}
	volumes := map[string]string{}
	for name, pod := range pods {
		for _, v := range pod.Spec.Volumes {
			if v.PersistentVolumeClaim == nil {
				continue
			}
			var claim corev1.PersistentVolumeClaim
			key := client.ObjectKey{Namespace: c.Key.Namespace, Name: v.PersistentVolumeClaim.ClaimName}
			if err := c.Client.Get(ctx, key, &claim); err != nil {
				return nil, fmt.Errorf("find the volume of %s: %w", name, err)
			}
			volumes[name] = claim.Spec.VolumeName
		}
	}
	return volumes, nil
}
