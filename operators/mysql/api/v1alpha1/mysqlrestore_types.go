package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// MySQLRestore makes a new MySQLCluster that begins with a MySQLBackup and what was archived after it. It never touches a cluster that is there.
// When it is deleted, the cluster stays: a database does not go because somebody tidies up.
//
// +genclient
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=mysqlrestores,singular=mysqlrestore,categories=kapok,scope=Namespaced
// +kubebuilder:printcolumn:name="Backup",type=string,JSONPath=`.spec.backup`,description="The MySQLBackup."
// +kubebuilder:printcolumn:name="Cluster",type=string,JSONPath=`.spec.cluster`,description="The MySQLCluster that is made."
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`,description="How far it is."
// +kubebuilder:printcolumn:name="Took",type=string,JSONPath=`.status.took`,description="How long it took until the cluster took writes."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1,description="What is happening, or what is wrong."
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name must have at most 63 characters: it is a label of the MySQLCluster that is made"
type MySQLRestore struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is restored, and into what.
	// +required
	Spec MySQLRestoreSpec `json:"spec"`

	// status is how far it is. It is written by the operator alone.
	// +optional
	Status MySQLRestoreStatus `json:"status,omitempty"`
}

// MySQLRestoreList is a list of MySQLRestore objects.
//
// +kubebuilder:object:root=true
type MySQLRestoreList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the restores.
	// +required
	Items []MySQLRestore `json:"items"`
}

// MySQLRestoreSpec is what is restored, and into what.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a MySQLRestore cannot be changed: make another one"
type MySQLRestoreSpec struct {
	// backup is the name of the MySQLBackup. If it is not complete yet, it is waited for.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Backup string `json:"backup"`

	// namespace is that of the MySQLBackup; its own by default. Another one must allow it: spec.restorableIn of the
	// MySQLBackup names this namespace.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// to says as of when. The newest state that is archived by default, which may be later than the backup.
	// +optional
	To *RestorePoint `json:"to,omitempty"`

	// credentials is the Secret with the keys of the bucket, in this namespace. The one of the name that the backup was taken
	// with by default.
	// +optional
	Credentials *SecretReference `json:"credentials,omitempty"`

	// identity is the Secret whose key "identity" holds the age identities that open the backup, as age-keygen writes them.
	// Needed only if it is encrypted.
	// +optional
	Identity *SecretReference `json:"identity,omitempty"`

	// cluster is the name of the MySQLCluster that is made, in this namespace. There must be none of that name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=45
	Cluster string `json:"cluster"`

	// template is the spec of the MySQLCluster that is made, without restore. That of the MySQLCluster which the backup is of by
	// default, without its backup, if it is still there in this namespace; else a MySQLCluster's defaults.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Type=object
	Template *runtime.RawExtension `json:"template,omitempty"`
}

// RestorePhase is how far a restore is.
//
// +kubebuilder:validation:Enum=Pending;Restoring;Completed;Failed
type RestorePhase string

// The phases of a restore.
const (
	// RestorePending: it waits for the backup.
	RestorePending RestorePhase = "Pending"
	// RestoreRestoring: the cluster is made and restores.
	RestoreRestoring RestorePhase = "Restoring"
	// RestoreCompleted: the cluster takes writes.
	RestoreCompleted RestorePhase = "Completed"
	// RestoreFailed: it cannot be done.
	RestoreFailed RestorePhase = "Failed"
)

// MySQLRestoreStatus is how far a restore is.
type MySQLRestoreStatus struct {
	// phase is how far it is.
	// +optional
	Phase RestorePhase `json:"phase,omitempty"`

	// message says what is happening, or what is wrong.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// startedAt is when the cluster was made.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// completedAt is when it was seen to take writes.
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`

	// took is how long that was.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Took string `json:"took,omitempty"`

	// conditions are the findings that programs rest on: Complete is True once the cluster takes writes, False if it cannot be
	// done, and Unknown before.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchMergeKey=type
	// +patchStrategy=merge
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty" patchMergeKey:"type" patchStrategy:"merge"`
}

// The reasons of a MySQLRestore's condition Complete.
const (
	// ReasonWritable: the cluster takes writes.
	ReasonWritable = "Writable"
	// ReasonRestoring: the cluster restores.
	ReasonRestoring = "Restoring"
	// ReasonRestoreImpossible: it cannot be done; the message says why.
	ReasonRestoreImpossible = "RestoreImpossible"
)
