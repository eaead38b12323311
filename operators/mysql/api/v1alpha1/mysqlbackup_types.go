package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// MySQLBackup is a full backup of a MySQLCluster. Making one takes a backup now; those of a schedule are made by the operator. It outlives
// its cluster, so that what is stored can be found when the cluster is gone. It goes when retention has deleted what it describes.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=mysqlbackups,singular=mysqlbackup,categories=kapok,scope=Namespaced
// +kubebuilder:selectablefield:JSONPath=`.spec.cluster`
// +kubebuilder:printcolumn:name="Cluster",type=string,JSONPath=`.spec.cluster`,description="The MySQLCluster that it is of."
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`,description="How far it is."
// +kubebuilder:printcolumn:name="Size",type=string,JSONPath=`.status.size`,description="How much is stored."
// +kubebuilder:printcolumn:name="Finished",type=date,JSONPath=`.status.finishedAt`,description="When it was finished."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Instance",type=string,JSONPath=`.status.instance`,priority=1,description="Whose data it is a copy of."
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1,description="What is happening, or what is wrong."
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name must have at most 63 characters: it is a folder in the target"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must hold only lower-case letters, digits and '-': it is a folder in the target"
type MySQLBackup struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata. The name is that of the backup in the target.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is backed up.
	// +required
	Spec MySQLBackupSpec `json:"spec"`

	// status is how far it is, and what it holds. It is written by the operator alone.
	// +optional
	Status MySQLBackupStatus `json:"status,omitempty"`
}

// MySQLBackupList is a list of MySQLBackup objects.
//
// +kubebuilder:object:root=true
type MySQLBackupList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the backups.
	// +required
	Items []MySQLBackup `json:"items"`
}

// MySQLBackupSpec is what is backed up.
type MySQLBackupSpec struct {
	// cluster is the name of the MySQLCluster, in the same namespace. Its spec.backup says where the backup goes. It cannot be
	// changed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cluster cannot be changed: make another MySQLBackup"
	Cluster string `json:"cluster"`

	// deletionPolicy says what becomes of what is stored when this object is deleted: Retain (default) keeps it until
	// retention deletes it; Delete has the cluster's primary delete it, as long as the cluster is there. The archive of the
	// binary log is not touched by either.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// restorableIn are other namespaces from which a MySQLRestore may refer to it. None by default. Who may read the target can
	// restore from it all the same: this is about what the operator does for others.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	RestorableIn []string `json:"restorableIn,omitempty"`
}

// BackupPhase is how far a backup is.
//
// +kubebuilder:validation:Enum=Pending;Running;Completed;Failed
type BackupPhase string

// The phases of a backup.
const (
	// BackupPending: it waits for something, which the message names.
	BackupPending BackupPhase = "Pending"
	// BackupRunning: an instance takes it.
	BackupRunning BackupPhase = "Running"
	// BackupCompleted: it is stored as a whole.
	BackupCompleted BackupPhase = "Completed"
	// BackupFailed: it was given up.
	BackupFailed BackupPhase = "Failed"
)

// MySQLBackupStatus is how far a backup is, and what it holds.
type MySQLBackupStatus struct {
	// phase is how far it is.
	// +optional
	Phase BackupPhase `json:"phase,omitempty"`

	// message says what is happening, or what is wrong.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// instance is whose data it is a copy of.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Instance string `json:"instance,omitempty"`

	// attempt counts the attempts to take it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Attempt int32 `json:"attempt,omitempty"`

	// failedAt is when the newest attempt failed.
	// +optional
	FailedAt *metav1.Time `json:"failedAt,omitempty"`

	// clusterUID is the UID of the MySQLCluster: the name of its folder in the target.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ClusterUID string `json:"clusterUID,omitempty"`

	// target is where it is.
	// +optional
	Target *BackupTarget `json:"target,omitempty"`

	// startedAt is when it was begun.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// finishedAt is when it was finished.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`

	// restorableFrom is the earliest moment that can be restored from this backup. Later ones can be, for as far as the
	// archive reaches.
	// +optional
	RestorableFrom *metav1.Time `json:"restorableFrom,omitempty"`

	// gtids are the transactions that it holds.
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	GTIDs string `json:"gtids,omitempty"`

	// version is the MySQL version of the instance.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`

	// method is how it was taken.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Method string `json:"method,omitempty"`

	// size is how much is stored.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Size string `json:"size,omitempty"`

	// dataSize is how much that is, unpacked.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	DataSize string `json:"dataSize,omitempty"`

	// encrypted says that it can be restored only with an identity.
	// +optional
	Encrypted bool `json:"encrypted,omitempty"`

	// conditions are the findings that programs rest on: Complete is True once the backup is stored as a whole, False once it
	// was given up, and Unknown before.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchMergeKey=type
	// +patchStrategy=merge
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty" patchMergeKey:"type" patchStrategy:"merge"`
}

// The condition of a MySQLBackup.
const (
	// ConditionComplete: the backup is stored as a whole. False says that it was given up, Unknown that it is not there yet.
	ConditionComplete = "Complete"
	// ReasonStored: it is stored as a whole.
	ReasonStored = "Stored"
	// ReasonTaking: an instance takes it.
	ReasonTaking = "Taking"
	// ReasonWaiting: it cannot be taken yet; the message says what is waited for.
	ReasonWaiting = "Waiting"
)
