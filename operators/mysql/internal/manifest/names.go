package manifest

import "strconv"

// The ports of an instance.
const (
	// PortMySQL is where mysqld serves clients and replicas.
	PortMySQL = 3306
	// PortAgent is where the agent answers probes and serves metrics.
	PortAgent = 8080
	// PortExporter is where the exporter's container serves mysqld's metrics, if there is one.
	PortExporter = 9104
	// portNameMySQL, PortNameAgent and PortNameExporter are their names; an EndpointSlice matches its Service by them, and a
	// PodMonitor the port to scrape.
	portNameMySQL    = "mysql"
	PortNameAgent    = "agent"
	PortNameExporter = "metrics"
)

const (
	// ServerContainer is the container in which the agent runs mysqld.
	ServerContainer = "mysql"
	// ExporterContainer is the container beside it in which the exporter runs, if there is one.
	ExporterContainer = "exporter"
	// DataVolume is the name of the volume claim template; a claim is named DataVolume-<instance>.
	DataVolume = "data"
	// LinkAudience is the audience of the tokens by which agents prove themselves to the operator.
	LinkAudience = "mysql.kapok.dev/link"
	// LinkCAKey is the key of the certificates in the ConfigMap LinkCA.
	LinkCAKey = "ca.crt"
)

// ReadWriteService is the Service that leads to the primary.
func ReadWriteService(cluster string) string { return cluster }

// ReadOnlyService is the Service that leads to replicas.
func ReadOnlyService(cluster string) string { return cluster + "-ro" }

// ReadService is the Service that leads to every instance that serves.
func ReadService(cluster string) string { return cluster + "-r" }

// PeersService is the headless Service that names the pods.
func PeersService(cluster string) string { return cluster + "-peers" }

// StatefulSet is the name of the StatefulSet.
func StatefulSet(cluster string) string { return cluster }

// InstanceName is the name of an instance and of its pod.
func InstanceName(cluster string, ordinal int) string { return cluster + "-" + strconv.Itoa(ordinal) }

// ClaimName is the name of an instance's volume claim.
func ClaimName(instance string) string { return DataVolume + "-" + instance }

// ServiceAccount is the account of the pods. It is not named after the cluster alone, which is what an application would
// likely call its own.
func ServiceAccount(cluster string) string { return cluster + "-mysql" }

// LinkCA is the ConfigMap with the certificates of the operator's link.
func LinkCA(cluster string) string { return cluster + "-link-ca" }

// UsersSecret is the Secret with the users' passwords if the spec names none.
func UsersSecret(cluster string) string { return cluster + "-users" }

// DisruptionBudget is the name of the PodDisruptionBudget.
func DisruptionBudget(cluster string) string { return cluster }
