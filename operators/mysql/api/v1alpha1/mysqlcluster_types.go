package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MySQLCluster is a MySQL server that survives the loss of a machine: one primary that takes writes, and replicas that
// hold every acknowledged transaction and take over within moments. A manifest with nothing but a name gives a working
// cluster of three instances.
//
// Clients write through the Service of the cluster's own name, port 3306; it always leads to the primary. The Service
// with -ro appended leads to replicas, the one with -r to every instance that serves.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=mysqlclusters,singular=mysqlcluster,shortName=mysql,categories=kapok,scope=Namespaced
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.summary`,description="What the cluster is doing, in one word."
// +kubebuilder:printcolumn:name="Primary",type=string,JSONPath=`.status.record.primary`,description="The instance that may take writes."
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.ready`,description="Instances that serve, of those wanted."
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`,description="The version that the primary runs."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Epoch",type=integer,JSONPath=`.status.record.epoch`,priority=1,description="How many primaries there have been."
// +kubebuilder:printcolumn:name="Voters",type=string,JSONPath=`.status.record.voters`,priority=1,description="The instances whose acknowledgement counts."
// +kubebuilder:printcolumn:name="Redundant",type=string,JSONPath=`.status.conditions[?(@.type=="Redundant")].status`,priority=1,description="True if one more instance can be lost without losing data or service."
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=`.status.endpoints.readWrite`,priority=1,description="Where to write."
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 45",message="metadata.name must have at most 45 characters: the names of pods, Services and volumes are made from it"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must begin with a letter and hold only lower-case letters, digits and '-': it becomes the name of a Service"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.matches('-(r|ro|peers)$')",message="metadata.name must not end in -r, -ro or -peers: these are the names of another cluster's Services"
type MySQLCluster struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata. The name may have 45 characters and becomes the name of the Service.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what you want. Every field has a default, so it may be left out altogether.
	// +optional
	// +kubebuilder:default={}
	Spec MySQLClusterSpec `json:"spec,omitempty"`

	// status is what the operator has done and found. It is written by the operator alone.
	// +optional
	Status MySQLClusterStatus `json:"status,omitempty"`
}

// MySQLClusterList is a list of MySQLCluster objects.
//
// +kubebuilder:object:root=true
type MySQLClusterList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the clusters.
	// +required
	Items []MySQLCluster `json:"items"`
}

// MySQLClusterSpec is what a user wants of a MySQLCluster.
//
// +kubebuilder:validation:XValidation:rule="!has(self.bufferPoolSize) || !has(self.resources) || !has(self.resources.limits) || !has(self.resources.limits.memory) || quantity(string(self.bufferPoolSize)).isLessThan(quantity(string(self.resources.limits.memory)))",message="bufferPoolSize must be smaller than resources.limits.memory: mysqld would be killed for want of memory"
// +kubebuilder:validation:XValidation:rule="has(self.restore) == has(oldSelf.restore) && (!has(self.restore) || self.restore == oldSelf.restore)",message="restore cannot be added, changed or removed: a cluster begins once; restore into a new cluster"
type MySQLClusterSpec struct {
	// instances is the number of MySQL servers, from 1 to 9; 3 by default. One of them is the primary, the others hold
	// copies. 3 survives the loss of one without losing an acknowledged transaction, 5 the loss of two. 2 survives one
	// as well, but then waits for the lost one or its replacement before it is redundant again. 1 survives nothing and
	// cannot fail over. It can be changed at any time: a new instance copies the data first and only then counts; one
	// that is taken out leaves its volume behind (see deletionPolicy).
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=9
	Instances int32 `json:"instances,omitempty"`

	// version is the MySQL release: "8.4" or "9.x", with or without a patch number ("9.7.1"); "9.7" by default. It chooses
	// the image, unless image is set. It can go up, from 8.4 to any 9.x and within 9.x, and then replicas are replaced
	// first and the primary last, after a switchover. It cannot go down, because an older server cannot read what a newer
	// one has written.
	// +optional
	// +kubebuilder:default="9.7"
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:XValidation:rule="self.matches('^(8[.]4|9[.][0-9]{1,2})([.][0-9]{1,2})?$')",message="version must be 8.4 or 9.x, with or without a patch number, such as \"8.4\", \"9.7\" or \"9.7.1\"; other MySQL releases are not supported"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[0-9]+[.][0-9]+([.][0-9]+)?$') || int(self.split('.')[0]) * 100 + int(self.split('.')[1]) >= int(oldSelf.split('.')[0]) * 100 + int(oldSelf.split('.')[1])",message="version must not go down: an older MySQL cannot read data that a newer one has written; create a new cluster of the older version and load a logical dump"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[0-9]+[.][0-9]+[.][0-9]+$') || !oldSelf.matches('^[0-9]+[.][0-9]+[.][0-9]+$') || self.split('.')[0] != oldSelf.split('.')[0] || self.split('.')[1] != oldSelf.split('.')[1] || int(self.split('.')[2]) >= int(oldSelf.split('.')[2])",message="the patch number of version must not go down: an older MySQL may not read data that a newer one has written"
	Version string `json:"version,omitempty"`

	// image is the container image to run instead of the one that version chooses. It must carry mysqld on the PATH of
	// the release that version names; nothing else in the image is used, not even its entry point. Empty by default. A
	// change rolls through the instances like a change of version.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9][-a-zA-Z0-9._:/@+]*$')",message="image must be an image reference without blanks or quotes, such as registry.example.com/mysql:9.7.1"
	Image string `json:"image,omitempty"`

	// storage is the volume of each instance.
	// +optional
	// +kubebuilder:default={}
	Storage Storage `json:"storage,omitempty"`

	// ha says how the loss of the primary is noticed and answered.
	// +optional
	// +kubebuilder:default={}
	HA HighAvailability `json:"ha,omitempty"`

	// backup says where the cluster's backups go, when they are taken, and how long they are kept. With a target, the
	// binary log is archived all the time, so that the cluster can be brought back as of any second. None by default:
	// nothing is taken.
	// +optional
	Backup *Backup `json:"backup,omitempty"`

	// restore makes a new cluster begin with what is stored of another one, instead of with nothing. It is read once, when
	// the cluster is founded, and can be neither added nor changed nor removed later. The status of a MySQLBackup has what to put here.
	// None by default.
	// +optional
	Restore *Restore `json:"restore,omitempty"`

	// configuration sets options of mysqld by name, in lower case with underscores: max_connections: "500". Empty by
	// default. mysqld itself checks them before they are used; a wrong one leaves the running configuration as it is,
	// and the condition ConfigurationValid says what is wrong. Options that can change while mysqld runs are changed at
	// once, the others by restarting one instance after the other, the primary last. Options on which durability,
	// replication and access rest belong to the operator and are refused.
	// +optional
	// +mapType=granular
	Configuration Configuration `json:"configuration,omitempty"`

	// users are MySQL accounts that the operator keeps, with their databases. None by default. Their passwords are in
	// usersSecret. An account that is taken out of the list is left in MySQL, so that a slip of the hand locks nobody out.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Users []User `json:"users,omitempty"`

	// usersSecret is the Secret that holds the passwords of users: each key is the name of a user, each value the
	// password. By default it is the Secret named after the cluster with -users appended, in the same namespace. It is
	// mounted into the instances read-only; the operator cannot read it. A changed password is in force within a minute
	// or so, without a restart.
	// +optional
	UsersSecret *SecretReference `json:"usersSecret,omitempty"`

	// resources are what each instance's mysqld asks of its node. By default it requests 100m of CPU and 512Mi of memory
	// and has no limits. Give a production cluster the memory that its data needs. A change restarts the instances one
	// after the other, the primary last.
	// +optional
	// +kubebuilder:default={requests: {cpu: "100m", memory: "512Mi"}}
	Resources Resources `json:"resources,omitempty"`

	// bufferPoolSize is innodb_buffer_pool_size, the memory in which InnoDB keeps data. By default it is half of the
	// memory limit (of the request, if there is no limit), and never so much that less than 400Mi are left for the rest
	// of mysqld. It changes without a restart.
	// +optional
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('5Mi')) >= 0",message="bufferPoolSize must be at least 5Mi, the least that mysqld takes"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('64Ti')) <= 0",message="bufferPoolSize must be at most 64Ti: no machine has more memory"
	BufferPoolSize *resource.Quantity `json:"bufferPoolSize,omitempty"`

	// placement says on which nodes the instances run.
	// +optional
	// +kubebuilder:default={}
	Placement Placement `json:"placement,omitempty"`

	// monitoring says what Prometheus and Grafana get from this cluster. By default each instance has an exporter beside
	// mysqld, and if the cluster knows the kinds of prometheus-operator, a PodMonitor, a PrometheusRule and a dashboard
	// are kept with this object.
	// +optional
	// +kubebuilder:default={}
	Monitoring Monitoring `json:"monitoring,omitempty"`

	// deletionPolicy says what becomes of the volumes when this object is deleted: Retain (default) keeps them, and a new
	// cluster of the same name finds its data again; Delete removes them, and the data is gone. Volumes of instances that
	// were scaled in follow the same policy when the cluster is deleted, and are kept until then.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// OptionValue is the value of one option of mysqld, as it would stand in my.cnf.
//
// +kubebuilder:validation:MaxLength=1024
// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:]]')",message="the value of an option in configuration must not hold a line break or another control character: it stands on one line of my.cnf"
type OptionValue string

// Storage is the volume of one instance.
//
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",message="storageClassName cannot be changed: a volume stays in the class in which it was made; create a new cluster with the other class and load the data there"
// +kubebuilder:validation:XValidation:rule="!has(self.autoGrow) || quantity(string(self.autoGrow.limit)).compareTo(quantity(string(self.size))) >= 0",message="autoGrow.limit must not be smaller than storage.size: raise the limit, or leave autoGrow out"
type Storage struct {
	// size is the size of each instance's volume, at least 1Gi; 10Gi by default. It can grow, if the storage class allows
	// expansion; the volumes are then enlarged in place. It cannot shrink.
	// +optional
	// +kubebuilder:default="10Gi"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Gi')) >= 0",message="size must be at least 1Gi: mysqld needs room for its logs"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Pi')) <= 0",message="size must be at most 1Pi: it cannot be lowered again, so a slip would stay"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0",message="size must not shrink: a volume can only grow; create a new cluster with smaller volumes and load the data there"
	Size resource.Quantity `json:"size,omitempty"`

	// storageClassName is the StorageClass of the volumes. By default it is the cluster's default class at the time a
	// volume is made. It cannot be changed later.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	StorageClassName *string `json:"storageClassName,omitempty"`

	// autoGrow lets the operator enlarge a volume before it is full, step by step up to a limit; the storage class must allow
	// expansion. None by default: volumes have the size that is asked for. The operator never writes size, so that it does
	// not quarrel with what you keep in Git: each volume claim is of size, or of what it has grown to, whichever is larger.
	// +optional
	AutoGrow *AutoGrow `json:"autoGrow,omitempty"`
}

// AutoGrow says when a volume is enlarged, by how much, and where that ends. Each instance's volume grows by its own fill, and
// a new instance begins with size.
type AutoGrow struct {
	// limit is the size beyond which no volume is enlarged by itself, such as 100Gi; not smaller than size, at most 1Pi. A volume
	// that is at its limit and lacks free space is told by the condition StorageHealthy. There is no default: it is what may
	// be spent.
	// +required
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Pi')) <= 0",message="autoGrow.limit must be at most 1Pi: what has grown cannot shrink"
	Limit resource.Quantity `json:"limit"`

	// freePercent is the share of a volume, in percent, that is to be free: with less, the volume is enlarged. From 5 to
	// 50; 20 by default.
	// +optional
	// +kubebuilder:default=20
	// +kubebuilder:validation:Minimum=5
	// +kubebuilder:validation:Maximum=50
	FreePercent int32 `json:"freePercent,omitempty"`

	// stepPercent is by how much a volume is enlarged at a time, in percent of its present size. From 10 to 100; 25 by
	// default. The new size is rounded up to whole GiB, a step is at least 1Gi, and the next one waits until the volume
	// has become larger. Few large steps are better than many small ones: some storage systems allow a change only every
	// six hours.
	// +optional
	// +kubebuilder:default=25
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=100
	StepPercent int32 `json:"stepPercent,omitempty"`
}

// HighAvailability says how the loss of the primary is noticed and answered.
type HighAvailability struct {
	// failover says who decides on a new primary when the old one is lost: automatic (default) lets the operator promote
	// at once the replica that holds every acknowledged transaction; manual makes it wait for a switchover request, and
	// writes fail until then. No acknowledged transaction is lost either way.
	// +optional
	// +kubebuilder:default=automatic
	Failover FailoverMode `json:"failover,omitempty"`

	// probeInterval is how often an instance is looked at as a matter of routine, from 1s to 5m; 10s by default. It does
	// not delay a failover: the death of an instance is reported by its agent at once.
	// +optional
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}(ms|s|m))+$') && duration(self) >= duration('1s') && duration(self) <= duration('5m')",message="probeInterval must be a duration from 1s to 5m, such as \"10s\""
	ProbeInterval metav1.Duration `json:"probeInterval,omitempty"`
}

// FailoverMode says who decides on a new primary.
//
// +kubebuilder:validation:Enum=automatic;manual
type FailoverMode string

// The failover modes.
const (
	// FailoverAutomatic: the operator promotes a replica as soon as the primary is lost.
	FailoverAutomatic FailoverMode = "automatic"
	// FailoverManual: the operator waits for a switchover request.
	FailoverManual FailoverMode = "manual"
)

// User is a MySQL account that the operator keeps.
type User struct {
	// name is the account's name; it may log in from any host. It is also the key of its password in usersSecret. root
	// and names that begin with mysql or kapok are reserved.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9_][-a-zA-Z0-9_.]*$')",message="name must hold only letters, digits, '_', '-' and '.', and not begin with '-' or '.': it is also a key of the users Secret"
	// +kubebuilder:validation:XValidation:rule="self.lowerAscii() != 'root' && !self.lowerAscii().startsWith('mysql') && !self.lowerAscii().startsWith('kapok')",message="name is reserved: root and names that begin with mysql or kapok belong to MySQL and to the operator"
	Name string `json:"name"`

	// database is a database that is created if it is missing, and on which alone the account gets its rights. Empty by
	// default: the rights are then on every database.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9_][-a-zA-Z0-9_]*$')",message="database must hold only letters, digits, '_' and '-'"
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['mysql', 'information_schema', 'performance_schema', 'sys'])",message="database is one of MySQL's own: mysql, information_schema, performance_schema and sys are not for applications"
	Database string `json:"database,omitempty"`

	// access is what the account may do: ReadWrite (default) to read, write and change the schema; ReadOnly to read.
	// +optional
	// +kubebuilder:default=ReadWrite
	Access UserAccess `json:"access,omitempty"`
}

// UserAccess is what an account may do.
//
// +kubebuilder:validation:Enum=ReadWrite;ReadOnly
type UserAccess string

// The levels of access.
const (
	// AccessReadWrite may read, write and change the schema.
	AccessReadWrite UserAccess = "ReadWrite"
	// AccessReadOnly may read.
	AccessReadOnly UserAccess = "ReadOnly"
)

// SecretReference names a Secret in the cluster's own namespace.
type SecretReference struct {
	// name is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="name must be the name of a Secret: lower-case letters, digits, '-' and '.'"
	Name string `json:"name"`
}

// Resources are what mysqld asks of its node.
//
// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || !has(self.requests.memory) || !has(self.limits.memory) || quantity(string(self.requests.memory)).compareTo(quantity(string(self.limits.memory))) <= 0",message="requests.memory must not be larger than limits.memory"
// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || !has(self.requests.cpu) || !has(self.limits.cpu) || quantity(string(self.requests.cpu)).compareTo(quantity(string(self.limits.cpu))) <= 0",message="requests.cpu must not be larger than limits.cpu"
type Resources struct {
	// requests are set aside for mysqld on its node. An amount that is left out is that of limits.
	// +optional
	Requests *ResourceAmounts `json:"requests,omitempty"`

	// limits are the most that mysqld gets: beyond the CPU limit it is slowed down, beyond the memory limit it is killed.
	// None by default.
	// +optional
	Limits *ResourceAmounts `json:"limits,omitempty"`
}

// ResourceAmounts are amounts of CPU and memory.
type ResourceAmounts struct {
	// cpu is an amount of CPU, such as "500m" for half a core.
	// +optional
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('10m')) >= 0",message="cpu must be at least 10m"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('4096')) <= 0",message="cpu must be at most 4096: no machine has more"
	CPU *resource.Quantity `json:"cpu,omitempty"`

	// memory is an amount of memory, such as "2Gi"; at least 256Mi, because mysqld does not start with less.
	// +optional
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('256Mi')) >= 0",message="memory must be at least 256Mi: mysqld does not start with less"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('64Ti')) <= 0",message="memory must be at most 64Ti: no machine has more"
	Memory *resource.Quantity `json:"memory,omitempty"`
}

// Monitoring says what Prometheus and Grafana get from a cluster.
type Monitoring struct {
	// exporter says how the metrics of mysqld are served: Sidecar (default) runs mysqld_exporter in a container beside
	// mysqld, on port 9104; None serves none, and keeps no PodMonitor, PrometheusRule and dashboard either. The agent's own
	// metrics on port 8080 are there in both cases. A change restarts the instances one after the other, the primary last.
	// +optional
	// +kubebuilder:default=Sidecar
	Exporter ExporterMode `json:"exporter,omitempty"`

	// image is the exporter's container image instead of the one that the operator's installation names. It must carry
	// mysqld_exporter 0.16 or later on its PATH; nothing else in it is used. Empty by default. A change restarts the
	// instances one after the other, the primary last.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9][-a-zA-Z0-9._:/@+]*$')",message="image must be an image reference without blanks or quotes, such as registry.example.com/mysqld-exporter:v0.19.0"
	Image string `json:"image,omitempty"`

	// resources are what each exporter asks of its node. By default requests and limits are both 50m of CPU and 64Mi of
	// memory: being equal, they do not take a pod out of the class Guaranteed. A change restarts the instances one after
	// the other, the primary last.
	// +optional
	Resources *ExporterResources `json:"resources,omitempty"`

	// scrapeInterval is how often Prometheus asks each instance, from 5s to 2m; 15s by default. The rules are evaluated as
	// often. A lag is reported on the third sample in a row that is too high, so this also says how soon.
	// +optional
	// +kubebuilder:default="15s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}(s|m))+$') && duration(self) >= duration('5s') && duration(self) <= duration('2m')",message="scrapeInterval must be a duration from 5s to 2m in seconds and minutes, such as \"15s\": with more than two minutes Prometheus forgets a sample before the next comes"
	ScrapeInterval *metav1.Duration `json:"scrapeInterval,omitempty"`
}

// ExporterMode says how the metrics of mysqld are served.
//
// +kubebuilder:validation:Enum=Sidecar;None
type ExporterMode string

// The ways to serve the metrics of mysqld.
const (
	// ExporterSidecar runs mysqld_exporter beside mysqld.
	ExporterSidecar ExporterMode = "Sidecar"
	// ExporterNone serves none.
	ExporterNone ExporterMode = "None"
)

// ExporterResources are what an exporter asks of its node.
//
// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || !has(self.requests.memory) || !has(self.limits.memory) || quantity(string(self.requests.memory)).compareTo(quantity(string(self.limits.memory))) <= 0",message="requests.memory must not be larger than limits.memory"
// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || !has(self.requests.cpu) || !has(self.limits.cpu) || quantity(string(self.requests.cpu)).compareTo(quantity(string(self.limits.cpu))) <= 0",message="requests.cpu must not be larger than limits.cpu"
type ExporterResources struct {
	// requests are set aside for the exporter on its node.
	// +optional
	Requests *ExporterAmounts `json:"requests,omitempty"`

	// limits are the most that the exporter gets.
	// +optional
	Limits *ExporterAmounts `json:"limits,omitempty"`
}

// ExporterAmounts are amounts of CPU and memory for an exporter.
type ExporterAmounts struct {
	// cpu is an amount of CPU, such as "50m".
	// +optional
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('5m')) >= 0",message="cpu must be at least 5m"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('64')) <= 0",message="cpu must be at most 64: an exporter has no use for more"
	CPU *resource.Quantity `json:"cpu,omitempty"`

	// memory is an amount of memory, such as "64Mi"; at least 40Mi.
	// +optional
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('40Mi')) >= 0",message="memory must be at least 40Mi: the exporter does not run with less"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('64Gi')) <= 0",message="memory must be at most 64Gi: an exporter has no use for more"
	Memory *resource.Quantity `json:"memory,omitempty"`
}

// Placement says on which nodes the instances run.
type Placement struct {
	// zones says how instances are spread over zones (the node label topology.kubernetes.io/zone): Preferred (default)
	// spreads them as evenly as there is room; Required rather leaves an instance unscheduled than put it in a zone that
	// already has one more than another.
	// +optional
	// +kubebuilder:default=Preferred
	Zones Spread `json:"zones,omitempty"`

	// nodes says how instances are spread over nodes: Preferred (default) or Required, with the same meaning as for
	// zones.
	// +optional
	// +kubebuilder:default=Preferred
	Nodes Spread `json:"nodes,omitempty"`

	// nodeSelector restricts the instances to nodes that carry these labels. None by default.
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(key, key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && key.split('/')[0].size() <= 253)",message="nodeSelector must name labels of nodes, such as topology.kubernetes.io/zone: letters, digits, '-', '_' and '.', at most 63 of them, after a domain and '/' if there is one"
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`

	// tolerations let the instances run on tainted nodes. None by default.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tolerations []Toleration `json:"tolerations,omitempty"`
}

// Toleration lets the instances run on nodes with a taint. It is the toleration of a Pod, held to what a Pod accepts.
//
// +kubebuilder:validation:XValidation:rule="has(self.key) && self.key.size() > 0 || has(self.operator) && self.operator == 'Exists'",message="a toleration without key must have operator Exists, and then fits every taint"
// +kubebuilder:validation:XValidation:rule="!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value.size() == 0",message="a toleration with operator Exists must have no value: it fits every value"
// +kubebuilder:validation:XValidation:rule="!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",message="tolerationSeconds must go with effect NoExecute: no other effect ends a pod"
type Toleration struct {
	// key is the key of the taint. Empty fits every taint, with operator Exists only.
	// +optional
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="self.size() == 0 || self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && self.split('/')[0].size() <= 253",message="key must be the key of a taint: letters, digits, '-', '_' and '.', at most 63 of them, after a domain and '/' if there is one"
	Key string `json:"key,omitempty"`

	// operator is Equal (default), which wants the taint's value to be value, or Exists, which fits every value.
	// +optional
	Operator TolerationOperator `json:"operator,omitempty"`

	// value is the value of the taint.
	// +optional
	Value LabelValue `json:"value,omitempty"`

	// effect is the effect of the taint. Empty, by default, fits all.
	// +optional
	Effect TaintEffect `json:"effect,omitempty"`

	// tolerationSeconds is how long an instance stays on a node that has got a taint of effect NoExecute; for ever by
	// default.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// TolerationOperator says how a toleration is compared with a taint.
//
// +kubebuilder:validation:Enum=Exists;Equal
type TolerationOperator string

// TaintEffect is what a taint does to pods that do not tolerate it.
//
// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
type TaintEffect string

// LabelValue is the value of a label or of a taint.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",message="a label's or a taint's value must hold only letters, digits, '-', '_' and '.', and begin and end with a letter or digit"
type LabelValue string

// Spread is how strictly instances are kept apart.
//
// +kubebuilder:validation:Enum=Preferred;Required
type Spread string

// The degrees of spreading.
const (
	// SpreadPreferred keeps instances apart as far as there is room.
	SpreadPreferred Spread = "Preferred"
	// SpreadRequired leaves an instance unscheduled if it cannot be kept apart.
	SpreadRequired Spread = "Required"
)

// DeletionPolicy says what becomes of the volumes of a deleted cluster.
//
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// The deletion policies.
const (
	// DeletionRetain keeps the volumes.
	DeletionRetain DeletionPolicy = "Retain"
	// DeletionDelete removes the volumes with the cluster.
	DeletionDelete DeletionPolicy = "Delete"
)
