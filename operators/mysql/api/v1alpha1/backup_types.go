package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Backup says where the backups of a cluster go, when they are taken, and how long they are kept.
//
// +kubebuilder:validation:XValidation:rule="!has(self.timeZone) || has(self.schedule) || has(self.verify)",message="timeZone is the one of schedule and verify.schedule: set one of them as well, or leave it out"
// +kubebuilder:validation:XValidation:rule="!has(self.verify) || !has(self.recipients) || size(self.recipients) == 0 || has(self.verify.identity)",message="verify.identity is needed, because recipients encrypt the backups: name the Secret with an age identity that opens them, or leave verify out"
// +kubebuilder:validation:XValidation:rule="!has(self.seedReplicas) || !self.seedReplicas || !has(self.recipients) || size(self.recipients) == 0",message="seedReplicas needs backups that the pods can read, and with recipients they cannot: leave out one of the two"
type Backup struct {
	// target is where backups go. Without one nothing is taken, and the condition BackupReady says so.
	// +optional
	Target *BackupTarget `json:"target,omitempty"`

	// schedule is when to take a full backup, as the five fields of a cron line: "0 2 * * *" is two o'clock every night.
	// Between full backups the archive of the binary log has everything. Without it, full backups are taken only when a
	// MySQLBackup asks for one, and the first one by itself, because the archive is of no use without any.
	// +optional
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-0-9*,/]+( +[-0-9*,/]+){2} +[-0-9A-Za-z*,/]+ +[-0-9A-Za-z*,/]+$')",message="schedule must have the five fields of a cron line (minute, hour, day of month, month, day of week), such as \"0 2 * * *\""
	Schedule string `json:"schedule,omitempty"`

	// timeZone is the time zone of both schedules by its name, such as "Europe/Berlin"; UTC by default.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][-A-Za-z0-9_+]*(/[A-Za-z0-9][-A-Za-z0-9_+]*)*$')",message="timeZone must be the name of a time zone, such as \"Europe/Berlin\""
	TimeZone string `json:"timeZone,omitempty"`

	// retention is for how many days every state of the cluster can be brought back, from 1 to 3650; 7 by default. What
	// only earlier states need is deleted: but never the newest full backup, and nothing that a kept one needs.
	// +optional
	// +kubebuilder:default=7
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3650
	Retention int32 `json:"retention,omitempty"`

	// keep is how many full backups are kept at the most, from 1 to 1000; any number by default. It may shorten what
	// retention promises: the oldest go first.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Keep int32 `json:"keep,omitempty"`

	// method is how full backups are taken. clone (default) copies by MySQL's own CLONE plugin, needs nothing in the image and,
	// for as long as the copy is being stored, room for it on the volume; it copies only what InnoDB holds, and is refused while
	// there are tables of another engine. xtrabackup streams from Percona XtraBackup without a copy on the volume, and copies
	// tables of the other engines too; the image must carry its programs xtrabackup and xbstream, in a version made for that of
	// MySQL. A backup is restored by the method it was taken by, whatever this says.
	// +optional
	// +kubebuilder:default=clone
	Method BackupMethod `json:"method,omitempty"`

	// recipients are age public keys, as age-keygen prints them ("age1..."). With any, whatever is stored is encrypted for
	// all of them, and each of their identities can restore it. The operator and the pods never see an identity; keep it
	// where you do not keep the backups. None by default: what is stored is not encrypted.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^age1[02-9ac-hj-np-z]{58}$')",message="each of recipients must be an age public key as age-keygen prints it: age1 and 58 characters"
	Recipients []string `json:"recipients,omitempty"`

	// seedReplicas has new replicas made from what is stored in the target: the newest full backup, then the archive, then
	// what the primary has committed since. So a replica, or one whose volume was lost, costs the primary hardly anything,
	// where a copy of all its data would. Where it cannot be done, because no full backup is stored, it is of a newer
	// server, what is stored does not reach the primary's binary logs, or holds what a forced promotion has given up, the
	// replica is made by CLONE as ever, and an event says why. It cannot be had together with recipients, because the pods
	// have no identity that opens what is encrypted. False by default.
	// +optional
	SeedReplicas bool `json:"seedReplicas,omitempty"`

	// verify has restore drills held: what is stored is restored into a cluster of one instance, which is checked and
	// removed again. How that went is in status.backup.drill, in the condition BackupProven, and in an alert. None by
	// default: nobody knows whether a backup is good before it is needed.
	// +optional
	Verify *Verify `json:"verify,omitempty"`
}

// Verify says when backups are proven by a restore drill. A drill takes a MySQLCluster called after this one with -drill appended, for as long as
// it lasts, with one instance and a volume of its own; so it needs what one more instance needs, and one to read the target.
type Verify struct {
	// schedule is when to hold a drill, as the five fields of a cron line in the time zone of spec.backup: "0 5 * * 0" is
	// five o'clock every Sunday. The first one is held as soon as there is a full backup.
	// +required
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-0-9*,/]+( +[-0-9*,/]+){2} +[-0-9A-Za-z*,/]+ +[-0-9A-Za-z*,/]+$')",message="verify.schedule must have the five fields of a cron line (minute, hour, day of month, month, day of week), such as \"0 5 * * 0\""
	Schedule string `json:"schedule"`

	// identity is the Secret whose key "identity" holds the age identities that open the backups, as age-keygen writes
	// them. Needed only if they are encrypted; then who can read Secrets here can read the backups. It is mounted into the
	// drill's pod only.
	// +optional
	Identity *SecretReference `json:"identity,omitempty"`
}

// BackupMethod is how full backups are taken.
//
// +kubebuilder:validation:Enum=clone;xtrabackup
type BackupMethod string

// The methods of full backups.
const (
	// MethodClone copies by the CLONE plugin.
	MethodClone BackupMethod = "clone"
	// MethodXtraBackup streams from Percona XtraBackup.
	MethodXtraBackup BackupMethod = "xtrabackup"
)

// BackupTarget is where backups are. Exactly one of its fields is set. Each cluster keeps to a folder of its own below it, called after the UID
// of its MySQLCluster, so that several may share one.
//
// +kubebuilder:validation:XValidation:rule="has(self.s3) != has(self.volume)",message="target must have either s3 or volume"
type BackupTarget struct {
	// s3 is a bucket of Amazon S3, or of another service that speaks its protocol.
	// +optional
	S3 *S3Target `json:"s3,omitempty"`

	// volume is a PersistentVolumeClaim.
	// +optional
	Volume *VolumeTarget `json:"volume,omitempty"`
}

// S3Target is a bucket, or the part of one below a prefix.
//
// +kubebuilder:validation:XValidation:rule="has(self.endpoint) || has(self.region)",message="region is needed for Amazon S3; set it, or the endpoint of another service"
type S3Target struct {
	// endpoint is the URL of the service, such as "https://minio.example.com:9000"; Amazon S3 by default. Over http://
	// everybody on the way sees what is stored, though not the credentials.
	// +optional
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[-a-zA-Z0-9.]+(:[0-9]{1,5})?$')",message="endpoint must be a URL of a scheme, a host and perhaps a port, and nothing else, such as \"https://minio.example.com:9000\""
	Endpoint string `json:"endpoint,omitempty"`

	// bucket is the name of the bucket, which must exist.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9][-a-z0-9.]*[a-z0-9]$')",message="bucket must be the name of a bucket: lower-case letters, digits, '-' and '.'"
	Bucket string `json:"bucket"`

	// region is the region of the bucket, such as "eu-central-1". It is needed for Amazon S3; most other services have none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-a-zA-Z0-9]+$')",message="region must hold only letters, digits and '-'"
	Region string `json:"region,omitempty"`

	// prefix is the part of the bucket to keep to, such as "prod/mysql"; the whole bucket by default.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9_][-a-zA-Z0-9_.]*(/[a-zA-Z0-9_][-a-zA-Z0-9_.]*)*$')",message="prefix must be parts of letters, digits, '-', '_' and '.', joined by '/', none of which begins with '-' or '.'"
	Prefix string `json:"prefix,omitempty"`

	// pathStyle puts the bucket's name into the path and not in front of the host's name, as most private services need
	// it; false by default.
	// +optional
	PathStyle bool `json:"pathStyle,omitempty"`

	// credentials is the Secret with the keys access-key-id and secret-access-key, and session-token if there is one. It
	// is mounted into the pods, the operator cannot read it. Other values in it count at once; another name makes the pods
	// anew, one after the other.
	// +required
	Credentials SecretReference `json:"credentials"`

	// caBundle are the certificates (PEM) of the authorities of which one has signed the service's certificate. Those that
	// the system trusts by default.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:validation:XValidation:rule="self.startsWith('-----BEGIN CERTIFICATE-----')",message="caBundle must be certificates in PEM: it begins with -----BEGIN CERTIFICATE-----"
	CABundle string `json:"caBundle,omitempty"`
}

// VolumeTarget is a PersistentVolumeClaim that every instance mounts.
type VolumeTarget struct {
	// claimName is the name of the PersistentVolumeClaim, in the same namespace. Every instance mounts it, so it must allow
	// that from several nodes (ReadWriteMany), unless all instances run on one. Another name makes the pods anew, one after
	// the other.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="claimName must be the name of a PersistentVolumeClaim: lower-case letters, digits, '-' and '.'"
	ClaimName string `json:"claimName"`
}

// Restore says what a new cluster begins with.
type Restore struct {
	// target is where the backups are.
	// +required
	Target BackupTarget `json:"target"`

	// clusterUID is the UID of the MySQLCluster that they are of: the name of its folder in the target. A MySQLBackup has it
	// in its status.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f][-0-9a-f]*$')",message="clusterUID must be the UID of a MySQLCluster, such as 7d3f0f9e-2d0b-4a3e-9c2e-0f6d0a2b1c4d"
	ClusterUID string `json:"clusterUID"`

	// identity is the Secret whose key "identity" holds the age identities that open the backups, as age-keygen writes
	// them. Needed only if they are encrypted.
	// +optional
	Identity *SecretReference `json:"identity,omitempty"`

	// to says as of when. The newest state by default.
	// +optional
	To *RestorePoint `json:"to,omitempty"`

	// verify has everything checked that is restored, before the cluster begins with it: every table by CHECK TABLE, and by
	// its checksum if the backup has any, which is so if it was taken with spec.backup.verify. A restore that finds
	// anything wrong fails. It takes as long as reading all data once or twice; false by default.
	// +optional
	Verify bool `json:"verify,omitempty"`
}

// RestorePoint says as of when a cluster is brought back. Exactly one of its fields is set.
//
// +kubebuilder:validation:XValidation:rule="(has(self.time) ? 1 : 0) + (has(self.gtid) ? 1 : 0) + (has(self.beforeGTID) ? 1 : 0) == 1",message="exactly one of time, gtid and beforeGTID must be set"
type RestorePoint struct {
	// time brings back what had been committed up to and including that second, such as "2026-03-01T09:30:00Z", by the
	// clock of the primary of then.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`

	// gtid is the last transaction to bring back, such as "3e11fa47-71ca-11e1-9e33-c80aa9429562:23".
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(:[a-z_][a-z0-9_]{0,31})?:[1-9][0-9]{0,18}$')",message="gtid must be one transaction, such as 3e11fa47-71ca-11e1-9e33-c80aa9429562:23"
	GTID string `json:"gtid,omitempty"`

	// beforeGTID is the first transaction to leave out: what a mistake was committed as, say.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(:[a-z_][a-z0-9_]{0,31})?:[1-9][0-9]{0,18}$')",message="beforeGTID must be one transaction, such as 3e11fa47-71ca-11e1-9e33-c80aa9429562:23"
	BeforeGTID string `json:"beforeGTID,omitempty"`
}
