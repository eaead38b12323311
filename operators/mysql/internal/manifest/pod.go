package manifest

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// Where things are in the container.
const (
	binFolder   = "/kapok/bin"
	agentBinary = binFolder + "/mysql-agent"
	dataFolder  = "/var/lib/mysql"
	runFolder   = "/run/kapok"
	tempFolder  = "/tmp"
	linkFolder  = "/etc/kapok/link"
	usersFolder = "/etc/kapok/users"
	tokenFolder = "/var/run/secrets/kapok"
	tokenFile   = "token"

	// tokenSeconds is how long an agent's token lives; the kubelet renews it in time.
	tokenSeconds = 3600
	// graceSeconds is how long a pod may take to end: the primary hands over first.
	graceSeconds = 60
	// serverUser is the user and group of mysqld in the official images.
	serverUser = 999
)

// The volumes beside DataVolume.
const (
	binVolume   = "bin"
	runVolume   = "run"
	tempVolume  = "tmp"
	linkVolume  = "link"
	usersVolume = "users"
	tokenVolume = "token"
)

// buildPod follows the restricted Pod Security Standard: no root, no capability, no writable image.
func buildPod(in Input) (*corev1ac.PodSpecApplyConfiguration, error) {
	cluster := in.Cluster
	server := buildServer(in)
	pod := corev1ac.PodSpec().
		WithServiceAccountName(ServiceAccount(cluster.Name)).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithTerminationGracePeriodSeconds(graceSeconds).
		WithSecurityContext(corev1ac.PodSecurityContext().
			WithRunAsNonRoot(true).
			WithRunAsUser(serverUser).
			WithRunAsGroup(serverUser).
			WithFSGroup(serverUser).
			WithFSGroupChangePolicy(corev1.FSGroupChangeOnRootMismatch).
			WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithInitContainers(buildInstaller(in.Config)).
		WithVolumes(buildVolumes(cluster)...).
		WithTopologySpreadConstraints(
			spread(cluster.Name, corev1.LabelTopologyZone, cluster.Spec.Placement.Zones),
			spread(cluster.Name, corev1.LabelHostname, cluster.Spec.Placement.Nodes))
	if labels := cluster.Spec.Placement.NodeSelector; len(labels) > 0 {
		selector := make(map[string]string, len(labels))
		for name, value := range labels {
			selector[name] = string(value)
		}
		pod.WithNodeSelector(selector)
	}
	for i := range cluster.Spec.Placement.Tolerations {
		pod.WithTolerations(toleration(&cluster.Spec.Placement.Tolerations[i]))
	}
	addBackup(pod, server, cluster)
	if err := addRestore(pod, server, cluster); err != nil {
		return nil, err
	}
	// Containers are copied when they are added, so the server comes when it is complete.
	pod.WithContainers(server)
	if exports(cluster) {
		pod.WithContainers(buildExporter(in))
	}
	return pod, nil
}

// buildInstaller copies the agent from the operator's image to where the server's container finds it.
func buildInstaller(config Config) *corev1ac.ContainerApplyConfiguration {
	amounts := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("100m"),
		corev1.ResourceMemory: resource.MustParse("64Mi"),
	}
	return corev1ac.Container().
		WithName("install-agent").
		WithImage(config.OperatorImage).
		WithCommand("/mysql-agent", "install", agentBinary).
		// With limits equal to requests, it does not stand in the way of a Guaranteed pod.
		WithResources(corev1ac.ResourceRequirements().WithRequests(amounts).WithLimits(amounts)).
		WithSecurityContext(restricted()).
		WithVolumeMounts(corev1ac.VolumeMount().WithName(binVolume).WithMountPath(binFolder))
}

// buildServer is the container in which the agent is the first process and mysqld its child.
func buildServer(in Input) *corev1ac.ContainerApplyConfiguration {
	cluster := in.Cluster
	command := append(identified(cluster, "run"),
		"--data-dir="+dataFolder,
		"--run-dir="+runFolder,
		"--operator="+in.Config.LinkAddress,
		"--operator-ca="+strings.Join([]string{linkFolder, LinkCAKey}, "/"),
		"--token="+strings.Join([]string{tokenFolder, tokenFile}, "/"),
		"--users-dir="+usersFolder,
		"--http=:8080")
	if exports(cluster) {
		command = append(command, "--exporter-credentials="+exporterFile)
	}
	return corev1ac.Container().
		WithName(ServerContainer).
		WithImage(in.Config.Image(cluster)).
		WithCommand(command...).
		WithEnv(whoami()...).
		WithPorts(
			corev1ac.ContainerPort().WithName(portNameMySQL).WithContainerPort(PortMySQL).WithProtocol(corev1.ProtocolTCP),
			corev1ac.ContainerPort().WithName(PortNameAgent).WithContainerPort(PortAgent).WithProtocol(corev1.ProtocolTCP)).
		// Start-up and liveness ask the agent whether it is alive itself. They must not ask about mysqld: recovery and
		// cloning may take hours, and the agent restarts mysqld on its own.
		WithStartupProbe(probe("/healthz").WithPeriodSeconds(1).WithTimeoutSeconds(2).WithFailureThreshold(120)).
		WithLivenessProbe(probe("/healthz").WithPeriodSeconds(10).WithTimeoutSeconds(5).WithFailureThreshold(6)).
		WithReadinessProbe(probe("/readyz").WithPeriodSeconds(2).WithTimeoutSeconds(2).WithFailureThreshold(2)).
		WithResources(resources(cluster.Spec.Resources)).
		WithSecurityContext(restricted()).
		WithVolumeMounts(
			mount(DataVolume, dataFolder, false),
			mount(binVolume, binFolder, true),
			mount(runVolume, runFolder, false),
			mount(tempVolume, tempFolder, false),
			mount(linkVolume, linkFolder, true),
			mount(usersVolume, usersFolder, true),
			mount(tokenVolume, tokenFolder, true))
}

// identified is a command of the agent's binary that says which pod it is in.
func identified(cluster *v1alpha1.MySQLCluster, command string) []string {
	return []string{agentBinary, command,
		"--instance=$(POD_NAME)",
		"--cluster=" + cluster.Name,
		"--namespace=$(POD_NAMESPACE)",
		"--pod-uid=$(POD_UID)"}
}

// whoami are the variables of such a command.
func whoami() []*corev1ac.EnvVarApplyConfiguration {
	return []*corev1ac.EnvVarApplyConfiguration{
		fromField("POD_NAME", "metadata.name"), fromField("POD_NAMESPACE", "metadata.namespace"), fromField("POD_UID", "metadata.uid"),
	}
}

// mount shows a volume to a container.
func mount(name, path string, readOnly bool) *corev1ac.VolumeMountApplyConfiguration {
	built := corev1ac.VolumeMount().WithName(name).WithMountPath(path)
	if readOnly {
		built.WithReadOnly(true)
	}
	return built
}

func buildVolumes(cluster *v1alpha1.MySQLCluster) []*corev1ac.VolumeApplyConfiguration {
	scratch := func(name string) *corev1ac.VolumeApplyConfiguration {
		return corev1ac.Volume().WithName(name).WithEmptyDir(corev1ac.EmptyDirVolumeSource())
	}
	return []*corev1ac.VolumeApplyConfiguration{
		scratch(binVolume),
		// Sockets, and files with passwords that must not reach a disk.
		corev1ac.Volume().WithName(runVolume).WithEmptyDir(corev1ac.EmptyDirVolumeSource().
			WithMedium(corev1.StorageMediumMemory).WithSizeLimit(resource.MustParse("16Mi"))),
		scratch(tempVolume),
		corev1ac.Volume().WithName(linkVolume).
			WithConfigMap(corev1ac.ConfigMapVolumeSource().WithName(LinkCA(cluster.Name)).WithDefaultMode(0o444)),
		// Optional: a cluster without users needs no Secret, and one that comes later is mounted then.
		corev1ac.Volume().WithName(usersVolume).
			WithSecret(corev1ac.SecretVolumeSource().WithSecretName(UsersSecretName(cluster)).WithOptional(true).WithDefaultMode(0o440)),
		corev1ac.Volume().WithName(tokenVolume).
			WithProjected(corev1ac.ProjectedVolumeSource().WithDefaultMode(0o440).WithSources(
				corev1ac.VolumeProjection().WithServiceAccountToken(corev1ac.ServiceAccountTokenProjection().
					WithAudience(LinkAudience).
					WithExpirationSeconds(tokenSeconds).
					WithPath(tokenFile)))),
	}
}

// spread keeps instances apart by the label key. Nodes that the pod does not tolerate do not count as a place.
func spread(cluster, key string, degree v1alpha1.Spread) *corev1ac.TopologySpreadConstraintApplyConfiguration {
	action := corev1.ScheduleAnyway
	if degree == v1alpha1.SpreadRequired {
		action = corev1.DoNotSchedule
	}
	return corev1ac.TopologySpreadConstraint().
		WithMaxSkew(1).
		WithTopologyKey(key).
		WithWhenUnsatisfiable(action).
		WithNodeTaintsPolicy(corev1.NodeInclusionPolicyHonor).
		WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(SelectorLabels(cluster)))
}

func toleration(from *v1alpha1.Toleration) *corev1ac.TolerationApplyConfiguration {
	built := corev1ac.Toleration()
	if from.Key != "" {
		built.WithKey(from.Key)
	}
	if from.Operator != "" {
		built.WithOperator(corev1.TolerationOperator(from.Operator))
	}
	if from.Value != "" {
		built.WithValue(string(from.Value))
	}
	if from.Effect != "" {
		built.WithEffect(corev1.TaintEffect(from.Effect))
	}
	if from.TolerationSeconds != nil {
		built.WithTolerationSeconds(*from.TolerationSeconds)
	}
	return built
}

func resources(from v1alpha1.Resources) *corev1ac.ResourceRequirementsApplyConfiguration {
	built := corev1ac.ResourceRequirements()
	if list := amounts(from.Requests); len(list) > 0 {
		built.WithRequests(list)
	}
	if list := amounts(from.Limits); len(list) > 0 {
		built.WithLimits(list)
	}
	return built
}

func amounts(from *v1alpha1.ResourceAmounts) corev1.ResourceList {
	list := corev1.ResourceList{}
	if from == nil {
		return list
	}
	if from.CPU != nil {
		list[corev1.ResourceCPU] = *from.CPU
	}
	if from.Memory != nil {
		list[corev1.ResourceMemory] = *from.Memory
	}
	return list
}

func probe(path string) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString(PortNameAgent)))
}

func fromField(name, path string) *corev1ac.EnvVarApplyConfiguration {
	return corev1ac.EnvVar().WithName(name).
		WithValueFrom(corev1ac.EnvVarSource().WithFieldRef(corev1ac.ObjectFieldSelector().WithFieldPath(path)))
}

func restricted() *corev1ac.SecurityContextApplyConfiguration {
	return corev1ac.SecurityContext().
		WithAllowPrivilegeEscalation(false).
		WithReadOnlyRootFilesystem(true).
		WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))
}
