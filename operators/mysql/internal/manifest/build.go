package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// Config is what the operator's installation decides for all clusters.
type Config struct {
	// OperatorImage is the operator's own image; the agent is copied out of it.
	OperatorImage string
	// LinkAddress is where agents find the operator, as host:port; the host may stand for several replicas.
	LinkAddress string
	// MySQLRepository is the image repository of MySQL without a tag; the tag is spec.version.
	MySQLRepository string
	// ExporterImage is the image of the exporter beside mysqld.
	ExporterImage string
}

// Input is all that the objects of a cluster are made from.
type Input struct {
	// Cluster is the custom resource, with its defaults.
	Cluster *v1alpha1.MySQLCluster
	// Config is the installation's part.
	Config Config
	// Replicas is how many pods there shall be: those wanted and those not let go yet.
	Replicas int32
	// LinkCA are the certificates (PEM) of the operator's link.
	LinkCA []byte
	// ClaimSize is the size in the claim template of the StatefulSet that exists; nil if there is none yet. A template of
	// claims cannot change: when spec.storage.size grows, the claims themselves are enlarged, a new one right after it
	// is made.
	ClaimSize *resource.Quantity
}

// Objects returns all objects of a cluster but the EndpointSlices, in the order in which to apply them.
func Objects(in Input) ([]runtime.ApplyConfiguration, error) {
	set, err := buildStatefulSet(in)
	if err != nil {
		return nil, err
	}
	return []runtime.ApplyConfiguration{
		buildServiceAccount(in.Cluster),
		buildLinkCA(in.Cluster, in.LinkCA),
		buildPeersService(in.Cluster),
		buildClientService(in.Cluster, ReadWriteService(in.Cluster.Name)),
		buildClientService(in.Cluster, ReadOnlyService(in.Cluster.Name)),
		buildClientService(in.Cluster, ReadService(in.Cluster.Name)),
		buildDisruptionBudget(in.Cluster),
		set,
	}, nil
}

// Image is the image that a cluster's instances run.
func (c Config) Image(cluster *v1alpha1.MySQLCluster) string {
	if cluster.Spec.Image != "" {
		return cluster.Spec.Image
	}
	return c.MySQLRepository + ":" + cluster.Spec.Version
}

// UsersSecretName is the Secret that a cluster's instances mount for the users' passwords.
func UsersSecretName(cluster *v1alpha1.MySQLCluster) string {
	if ref := cluster.Spec.UsersSecret; ref != nil {
		return ref.Name
	}
	return UsersSecret(cluster.Name)
}

// TemplateHash names what an instance's pod is made from, as far as a user can see it: image, resources, placement, the
// users Secret, what backups need to be mounted, and what of the exporter differs from the default. A pod whose annotation AnnotationTemplate differs is out
// of date and has to be made anew. The operator's own image and the shape of the pod are left out on purpose: a new operator
// restarts no database. What it changes there comes with the next pod, the default exporter of a pod from before there was
// one included.
func (c Config) TemplateHash(cluster *v1alpha1.MySQLCluster) (string, error) {
	raw, err := json.Marshal(struct {
		Image     string
		Resources v1alpha1.Resources
		Placement v1alpha1.Placement
		Users     string
		Exporter  *exporterChoice `json:",omitempty"`
		Backup    *string         `json:",omitempty"`
	}{c.Image(cluster), cluster.Spec.Resources, cluster.Spec.Placement, UsersSecretName(cluster), choiceOf(cluster), mounted(cluster)})
	if err != nil {
		return "", fmt.Errorf("hash the pod template of %s: %w", cluster.Name, err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8]), nil
}

// exporterChoice is what a user has chosen for the exporter.
type exporterChoice struct {
	None      bool
	Image     string
	Resources *v1alpha1.ExporterResources
}

// choiceOf returns nil for the default.
func choiceOf(cluster *v1alpha1.MySQLCluster) *exporterChoice {
	m := cluster.Spec.Monitoring
	switch {
	case !exports(cluster):
		return &exporterChoice{None: true}
	case m.Image == "" && m.Resources == nil:
		return nil
	}
	return &exporterChoice{Image: m.Image, Resources: m.Resources}
}

// Outdated says whether a pod was made from something else than its cluster asks for now.
func (c Config) Outdated(cluster *v1alpha1.MySQLCluster, pod *corev1.Pod) bool {
	hash, err := c.TemplateHash(cluster)
	return err == nil && pod.Annotations[AnnotationTemplate] != hash
}

// ownerOf is the reference by which an object goes when its cluster goes.
func ownerOf(cluster *v1alpha1.MySQLCluster) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(v1alpha1.SchemeGroupVersion.String()).
		WithKind("MySQLCluster").
		WithName(cluster.Name).
		WithUID(cluster.UID).
		WithController(true).
		WithBlockOwnerDeletion(true)
}
