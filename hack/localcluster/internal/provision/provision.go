// Package provision provisions volumes: a folder on the node that the scheduler chose for the first pod, or, where the
// storage class asks for it, a file system there that can be filled up.
package provision

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const (
	// Name is the provisioner's name in storage classes.
	Name = "localcluster.kapok/volume"
	// StandardClass is the default storage class: a folder, whose size is not enforced.
	StandardClass = "standard"
	// LimitedClass is the storage class of volumes that have their size and no more.
	LimitedClass = "limited"
	// LimitParameter is the parameter of a storage class that makes its volumes limited.
	LimitParameter = "limit"
)

// Volumes makes and removes volumes on nodes.
type Volumes interface {
	// Create makes a volume and returns its path on the node. A limit above zero is its size in bytes.
	Create(ctx context.Context, node, name string, limit int64) (string, error)
	// Delete removes a volume; one that is not there is no error.
	Delete(ctx context.Context, node, name string) error
}

// Run provisions volumes until ctx ends.
func Run(ctx context.Context, client kubernetes.Interface, volumes Volumes) {
	// The controller takes its logger from the context.
	ctx = klog.NewContext(ctx, klog.Background().WithName("provisioner"))
	controller.NewProvisionController(ctx, client, Name, &provisioner{volumes: volumes},
		controller.LeaderElection(false), controller.Threadiness(4)).Run(ctx)
}

type provisioner struct {
	volumes Volumes
}

// Provision makes a volume for a claim.
func (p *provisioner) Provision(ctx context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if mode := o.PVC.Spec.VolumeMode; mode != nil && *mode != corev1.PersistentVolumeFilesystem {
		return nil, controller.ProvisioningFinished, fmt.Errorf("volume mode %s is not offered, only Filesystem", *mode)
	}
	node := o.SelectedNodeName
	if node == "" {
		return nil, controller.ProvisioningFinished, fmt.Errorf("storage class %s needs volumeBindingMode WaitForFirstConsumer", o.StorageClass.Name)
	}
	size := o.PVC.Spec.Resources.Requests[corev1.ResourceStorage]
	var limit int64
	if o.StorageClass.Parameters[LimitParameter] == "true" {
		limit = size.Value()
	}
	path, err := p.volumes.Create(ctx, node, o.PVName, limit)
	if err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("provision on %s: %w", node, err)
	}
	mode := corev1.PersistentVolumeFilesystem
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: size},
			VolumeMode:                    &mode,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
				}}}},
			}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes the volume of a claim that is gone.
func (p *provisioner) Delete(ctx context.Context, pv *corev1.PersistentVolume) error {
	node, ok := nodeOf(pv)
	if !ok {
		return fmt.Errorf("volume %s names no node", pv.Name)
	}
	return p.volumes.Delete(ctx, node, pv.Name)
}

func nodeOf(pv *corev1.PersistentVolume) (string, bool) {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return "", false
	}
	for _, term := range pv.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			if e.Key == corev1.LabelHostname && len(e.Values) == 1 {
				return e.Values[0], true
			}
		}
	}
	return "", false
}
