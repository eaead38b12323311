package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MySQLClusterStatus is what the operator has done and found.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.record) || has(self.record)",message="record must not be removed once it is committed (I1)"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.observedTerm) || (has(self.observedTerm) && self.observedTerm >= oldSelf.observedTerm)",message="observedTerm must not go down: an earlier leader of the operator must not write what it saw over the status of a later one (I11)"
type MySQLClusterStatus struct {
	// observedGeneration is the generation of the spec that the rest of the status is about.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// observedEpoch is the epoch of the record that the rest of this status is about. While a failover or a switchover is
	// under way the record comes first: as long as it names a later epoch, the rest tells what was before.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedEpoch int64 `json:"observedEpoch,omitempty"`
	// observedTerm is the leadership of the operator that wrote the rest of this status (see record.term). The API server
	// refuses a status of an earlier one, so that an operator that was deposed and has not noticed cannot write what it saw.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedTerm int64 `json:"observedTerm,omitempty"`

	// summary says in one word what the cluster is doing: Healthy when all is as it should be. It is for people; programs
	// read the conditions.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Summary Summary `json:"summary,omitempty"`

	// ready is how many instances serve, of those wanted: "3/3".
	// +optional
	// +kubebuilder:validation:MaxLength=8
	Ready string `json:"ready,omitempty"`

	// readyInstances is how many instances serve.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=99
	ReadyInstances int32 `json:"readyInstances,omitempty"`

	// version is the MySQL version that the primary reports, such as "9.7.1".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`

	// endpoints say where clients connect.
	// +optional
	Endpoints *Endpoints `json:"endpoints,omitempty"`

	// record is the committed decision: which instance may take writes, since which epoch, and whose acknowledgement
	// counts. It is written before anybody acts on it and never derived from what is seen. Do not edit it.
	// +optional
	Record *Record `json:"record,omitempty"`

	// conditions are the findings that programs and alerts rest on. See the reference for each type and reason.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchMergeKey=type
	// +patchStrategy=merge
	// +kubebuilder:validation:MaxItems=24
	Conditions []metav1.Condition `json:"conditions,omitempty" patchMergeKey:"type" patchStrategy:"merge"`

	// backup is how far the cluster can be brought back from its backups. Missing without a target.
	// +optional
	Backup *BackupStatus `json:"backup,omitempty"`

	// instances are the instances one by one.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Instances []InstanceStatus `json:"instances,omitempty"`
}

// Summary says in one word what a cluster is doing.
type Summary string

// The summaries.
const (
	// SummaryCreating: the cluster has never taken a write yet.
	SummaryCreating Summary = "Creating"
	// SummaryHealthy: all instances serve and one can be lost.
	SummaryHealthy Summary = "Healthy"
	// SummaryDegraded: writes go on, but something is missing; the conditions say what.
	SummaryDegraded Summary = "Degraded"
	// SummaryFailingOver: the primary is lost and a replica is being promoted.
	SummaryFailingOver Summary = "FailingOver"
	// SummarySwitchingOver: the primary hands over to a replica as planned.
	SummarySwitchingOver Summary = "SwitchingOver"
	// SummaryUpdating: instances are being replaced or restarted for a new version, image or configuration.
	SummaryUpdating Summary = "Updating"
	// SummaryScaling: an instance is being added or taken out.
	SummaryScaling Summary = "Scaling"
	// SummaryUnavailable: there is no primary that takes writes.
	SummaryUnavailable Summary = "Unavailable"
	// SummaryBlocked: the operator waits for a person; a condition says what for.
	SummaryBlocked Summary = "Blocked"
	// SummaryDeleting: the cluster is being deleted.
	SummaryDeleting Summary = "Deleting"
	// SummaryUnknown: the instances could not be looked at.
	SummaryUnknown Summary = "Unknown"
)

// Endpoints say where clients connect, as host:port.
type Endpoints struct {
	// readWrite leads to the primary.
	// +optional
	// +kubebuilder:validation:MaxLength=300
	ReadWrite string `json:"readWrite,omitempty"`

	// readOnly leads to replicas, and to the primary only while no replica serves.
	// +optional
	// +kubebuilder:validation:MaxLength=300
	ReadOnly string `json:"readOnly,omitempty"`

	// read leads to every instance that serves.
	// +optional
	// +kubebuilder:validation:MaxLength=300
	Read string `json:"read,omitempty"`
}

// Record is a committed decision about the primary and the voters. The API server itself holds it to what it promises.
//
// +structType=atomic
// +kubebuilder:validation:XValidation:rule="self.epoch >= oldSelf.epoch",message="epoch must not go down (I1)"
// +kubebuilder:validation:XValidation:rule="self.epoch > oldSelf.epoch || !has(oldSelf.primary) || (has(self.primary) && self.primary == oldSelf.primary)",message="primary must not change within an epoch (I1)"
// +kubebuilder:validation:XValidation:rule="!has(self.primary) || (has(self.voters) && self.primary in self.voters)",message="primary must be one of voters (I2)"
// +kubebuilder:validation:XValidation:rule="self.epoch > oldSelf.epoch || !has(oldSelf.voters) || (has(self.voters) && self.voters.filter(v, !(v in oldSelf.voters)).size() + oldSelf.voters.filter(v, !(v in self.voters)).size() <= 1)",message="voters must change by one member at a time within an epoch (I2)"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.term) || (has(self.term) && self.term >= oldSelf.term)",message="term must not go down: an earlier leader of the operator must not overrule a later one (I11)"
type Record struct {
	// epoch counts primaries; it only grows. 0 means that there has been none.
	// +required
	// +kubebuilder:validation:Minimum=0
	Epoch int64 `json:"epoch"`

	// term is the newest leadership term of the operator that has taken the record over; it only grows. A leader writes it
	// before it tells any instance anything, so that what an earlier leader still wants to commit is refused (I11).
	// +optional
	// +kubebuilder:validation:Minimum=0
	Term int64 `json:"term,omitempty"`

	// primary is the instance that may take writes in this epoch.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Primary string `json:"primary,omitempty"`

	// voters are the instances whose acknowledgement counts, the primary among them, sorted.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=9
	// +kubebuilder:validation:items:MaxLength=63
	Voters []string `json:"voters,omitempty"`

	// change is a change of voters under way.
	// +optional
	Change *VoterChange `json:"change,omitempty"`

	// handover is a switchover under way.
	// +optional
	Handover *Handover `json:"handover,omitempty"`
}

// VoterChange takes one member into the voter set or out of it.
//
// +kubebuilder:validation:ExactlyOneOf=add;remove
type VoterChange struct {
	// add is the member that comes in.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Add string `json:"add,omitempty"`

	// remove is the member that goes out.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Remove string `json:"remove,omitempty"`

	// why says why, for people.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Why string `json:"why,omitempty"`
}

// Handover moves the primary to another voter while both are well.
type Handover struct {
	// to is the voter that shall become the primary.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	To string `json:"to"`

	// notAfter is when the attempt is given up and the old primary goes on, in Unix milliseconds.
	// +required
	// +kubebuilder:validation:Minimum=0
	NotAfter int64 `json:"notAfter"`

	// givenUp says that the attempt failed and the old primary goes on; it is kept for a while, so that the next attempt
	// waits.
	// +optional
	GivenUp bool `json:"givenUp,omitempty"`

	// why says why, for people.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Why string `json:"why,omitempty"`
}

// InstanceStatus is one instance as it was last seen.
type InstanceStatus struct {
	// name is the name of the instance and of its pod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// role is what the instance is in the current epoch: Primary, Replica, Standby, Drain or Clone; empty while unknown.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Role string `json:"role,omitempty"`

	// state is what mysqld is doing: Running, Starting, Cloning or Down; Unknown if its agent is not heard.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	State string `json:"state,omitempty"`

	// ready says that clients are sent to the instance.
	// +optional
	Ready bool `json:"ready,omitempty"`

	// voter says that the instance's acknowledgement counts.
	// +optional
	Voter bool `json:"voter,omitempty"`

	// version is the MySQL version that it runs.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`

	// message says what keeps the instance from being what it should be; empty if nothing does.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// BackupStatus is how far a cluster can be brought back from its backups.
type BackupStatus struct {
	// restorableFrom is the earliest moment that can be restored. Missing before the first full backup.
	// +optional
	RestorableFrom *metav1.Time `json:"restorableFrom,omitempty"`

	// restorableTo is a moment up to which everything that was acknowledged is archived, cut to the minute. The alerts
	// watch the exact figure, which the primary's agent has as a metric.
	// +optional
	RestorableTo *metav1.Time `json:"restorableTo,omitempty"`

	// lastFull is the name of the newest full backup.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	LastFull string `json:"lastFull,omitempty"`

	// lastFullAt is when it was finished.
	// +optional
	LastFullAt *metav1.Time `json:"lastFullAt,omitempty"`

	// fulls is how many full backups are stored.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Fulls int32 `json:"fulls,omitempty"`

	// drill is the newest restore drill. Missing before the first, and without spec.backup.verify.
	// +optional
	Drill *DrillStatus `json:"drill,omitempty"`
}

// DrillResult is how a drill has ended, or that it has not.
//
// +kubebuilder:validation:Enum=Running;Passed;Failed
type DrillResult string

// The results of a drill.
const (
	// DrillRunning: what is stored is being restored and checked.
	DrillRunning DrillResult = "Running"
	// DrillPassed: it was restored, and is what was backed up.
	DrillPassed DrillResult = "Passed"
	// DrillFailed: it could not be restored, or is not what was backed up.
	DrillFailed DrillResult = "Failed"
)

// DrillStatus is a restore drill.
type DrillStatus struct {
	// due is the moment of the schedule that the drill is for, or when it was asked for.
	// +required
	Due metav1.Time `json:"due"`

	// request is the value that the annotation mysql.kapok.dev/drill had when it was begun.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Request string `json:"request,omitempty"`

	// result is Running, Passed or Failed.
	// +required
	Result DrillResult `json:"result"`

	// startedAt is when it was begun.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// finishedAt is when it ended. Missing while it runs.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`

	// took is how long the data took from the target to their place, checks included: what to expect of a restore.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	Took *metav1.Duration `json:"took,omitempty"`

	// tables is how many tables were found sound.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Tables int32 `json:"tables,omitempty"`

	// compared is how many tables had the checksum that the full backup says, before the archive was replayed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Compared int32 `json:"compared,omitempty"`

	// message says what was restored, or why not.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// lastPassedAt is when a drill passed last.
	// +optional
	LastPassedAt *metav1.Time `json:"lastPassedAt,omitempty"`
}
