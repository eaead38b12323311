package manifest

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// exporterFile is where the agent tells the exporter its password: in the run folder, which is memory.
const exporterFile = runFolder + "/exporter.cnf"

// exporterUser is the user of the exporter: not that of mysqld, so that of the run folder it can read what is meant for it
// and no more. It shares the group of the pod's volumes.
const exporterUser = 65534

// exports says whether a cluster's instances have an exporter. Clusters from before there was one have an empty field.
func exports(cluster *v1alpha1.MySQLCluster) bool {
	return cluster.Spec.Monitoring.Exporter != v1alpha1.ExporterNone
}

// buildExporter is the container of the exporter. It has no probe: whatever becomes of it, mysqld's container is not touched
// and the pod's readiness stays that of mysqld as long as it runs. It mounts the run folder, for mysqld's socket and the
// password's file, and the agent's binary, which runs the exporter; both read-only.
func buildExporter(in Input) *corev1ac.ContainerApplyConfiguration {
	return corev1ac.Container().
		WithName(ExporterContainer).
		WithImage(in.Config.exporterImage(in.Cluster)).
		WithCommand(append(identified(in.Cluster, "exporter"), "--credentials="+exporterFile)...).
		WithEnv(whoami()...).
		WithPorts(corev1ac.ContainerPort().WithName(PortNameExporter).WithContainerPort(PortExporter).WithProtocol(corev1.ProtocolTCP)).
		WithResources(exporterResources(in.Cluster.Spec.Monitoring.Resources)).
		WithSecurityContext(restricted().WithRunAsUser(exporterUser).WithRunAsGroup(exporterUser)).
		WithVolumeMounts(mount(binVolume, binFolder, true), mount(runVolume, runFolder, true))
}

// exporterImage is the image of a cluster's exporters.
func (c Config) exporterImage(cluster *v1alpha1.MySQLCluster) string {
	if image := cluster.Spec.Monitoring.Image; image != "" {
		return image
	}
	return c.ExporterImage
}

// exporterResources are what an exporter asks of its node. Requests equal to limits do not stand in the way of a Guaranteed
// pod.
func exporterResources(from *v1alpha1.ExporterResources) *corev1ac.ResourceRequirementsApplyConfiguration {
	if from == nil {
		amounts := corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("50m"),
			corev1.ResourceMemory: resource.MustParse("64Mi"),
		}
		return corev1ac.ResourceRequirements().WithRequests(amounts).WithLimits(amounts)
	}
	built := corev1ac.ResourceRequirements()
	if list := amounts((*v1alpha1.ResourceAmounts)(from.Requests)); len(list) > 0 {
		built.WithRequests(list)
	}
	if list := amounts((*v1alpha1.ResourceAmounts)(from.Limits)); len(list) > 0 {
		built.WithLimits(list)
	}
	return built
}
