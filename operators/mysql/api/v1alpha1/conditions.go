package v1alpha1

// The condition types of a MySQLCluster. Each states something good: True is well, False is not, Unknown means that it
// could not be found out.
const (
	// ConditionReady: the cluster is all that its spec asks for. It sums up the other conditions, whose reason and
	// message it repeats when one of them is not True.
	ConditionReady = "Ready"
	// ConditionAvailable: a primary takes writes.
	ConditionAvailable = "Available"
	// ConditionRedundant: the write quorum is met and one more instance can be lost without losing an acknowledged
	// transaction or the ability to go on.
	ConditionRedundant = "Redundant"
	// ConditionProgressing: True while the operator is changing the cluster, False while there is nothing to do or
	// nothing can be done. This one is neither good nor bad.
	ConditionProgressing = "Progressing"
	// ConditionReconciled: the Kubernetes objects of the cluster are as they should be.
	ConditionReconciled = "Reconciled"
	// ConditionConfigurationValid: mysqld accepts spec.configuration.
	ConditionConfigurationValid = "ConfigurationValid"
	// ConditionStorageHealthy: the volumes have the size asked for, are not full and complete writes in time.
	ConditionStorageHealthy = "StorageHealthy"
	// ConditionUsersReady: the accounts of spec.users exist with the passwords of the users Secret.
	ConditionUsersReady = "UsersReady"
	// ConditionConsistent: every instance holds only transactions of the committed history.
	ConditionConsistent = "Consistent"
	// ConditionMonitored: Prometheus and Grafana are told of the cluster. It says nothing about the database, so Ready does
	// not depend on it.
	ConditionMonitored = "Monitored"
	// ConditionBackupReady: backups are taken as spec.backup says. Only there if spec.backup is.
	ConditionBackupReady = "BackupReady"
	// ConditionBackupProven: the newest restore drill has brought back what is stored. Only there if spec.backup.verify is. Like BackupReady, it is no
	// part of Ready.
	ConditionBackupProven = "BackupProven"
)

// Reasons that fit several conditions.
const (
	// ReasonAsExpected: all is well.
	ReasonAsExpected = "AsExpected"
	// ReasonNotObserved: the instances or the API server could not be asked, so nothing is known.
	ReasonNotObserved = "NotObserved"
	// ReasonDeleting: the cluster is being deleted.
	ReasonDeleting = "Deleting"
)

// Reasons of Available.
const (
	// ReasonPrimaryServing: the primary takes writes.
	ReasonPrimaryServing = "PrimaryServing"
	// ReasonBootstrapping: the first primary is being set up; there is no data yet.
	ReasonBootstrapping = "Bootstrapping"
	// ReasonRestoreFailing: the data that the cluster begins with could not be restored; it is tried again, and the message says why it failed.
	ReasonRestoreFailing = "RestoreFailing"
	// ReasonFailingOver: the primary is lost and a replica is being promoted.
	ReasonFailingOver = "FailingOver"
	// ReasonSwitchingOver: the primary is handing over; writes pause for a moment.
	ReasonSwitchingOver = "SwitchingOver"
	// ReasonPrimaryRecovering: the primary restarts and waits until what it holds is on a write quorum (I7).
	ReasonPrimaryRecovering = "PrimaryRecovering"
	// ReasonQuorumLost: too few voters are there to promote one without the risk of losing data (I8); the message says
	// which are missing and what can be done.
	ReasonQuorumLost = "QuorumLost"
	// ReasonManualFailover: the primary is lost and spec.ha.failover is manual: a switchover request is awaited.
	ReasonManualFailover = "ManualFailoverAwaited"
	// ReasonNoFailoverPossible: the primary is lost and there is no other voter (a cluster of one).
	ReasonNoFailoverPossible = "NoFailoverPossible"
)

// Reasons of Redundant.
const (
	// ReasonVotersMissing: a voter is away or not caught up, so that losing one more would stop the cluster.
	ReasonVotersMissing = "VotersMissing"
	// ReasonSingleInstance: a cluster of one instance is never redundant.
	ReasonSingleInstance = "SingleInstance"
	// ReasonInstancesJoining: instances are copying data and do not count yet.
	ReasonInstancesJoining = "InstancesJoining"
)

// Reasons of Progressing.
const (
	// ReasonIdle: there is nothing to do.
	ReasonIdle = "Idle"
	// ReasonCreating: the cluster is being created.
	ReasonCreating = "Creating"
	// ReasonScaling: instances are being added or taken out.
	ReasonScaling = "Scaling"
	// ReasonUpdating: instances are being replaced or restarted one by one.
	ReasonUpdating = "Updating"
	// ReasonRepairing: an instance is being rebuilt or brought back.
	ReasonRepairing = "Repairing"
	// ReasonResizing: volumes are being enlarged.
	ReasonResizing = "Resizing"
	// ReasonBlocked: the operator waits for a person; the message says what for.
	ReasonBlocked = "Blocked"
)

// Reasons of Reconciled.
const (
	// ReasonNameTaken: an object that the cluster needs exists and belongs to somebody else.
	ReasonNameTaken = "NameTaken"
	// ReasonApplyFailed: the API server refused an object; the message quotes it.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonUnschedulable: a pod finds no node; the message quotes the scheduler.
	ReasonUnschedulable = "Unschedulable"
	// ReasonImageUnusable: the image cannot be pulled or started.
	ReasonImageUnusable = "ImageUnusable"
	// ReasonServerMissing: the image has no mysqld.
	ReasonServerMissing = "ServerMissingInImage"
	// ReasonStartFailed: mysqld ends while starting; the message quotes its last error.
	ReasonStartFailed = "StartFailed"
	// ReasonPodsStarting: pods are being created or started.
	ReasonPodsStarting = "PodsStarting"
)

// Reasons of ConfigurationValid.
const (
	// ReasonConfigurationRefused: mysqld refuses the configuration; the old one stays in force.
	ReasonConfigurationRefused = "ConfigurationRefused"
	// ReasonRestartPending: the configuration is good and waits for restarts.
	ReasonRestartPending = "RestartPending"
)

// Reasons of StorageHealthy.
const (
	// ReasonVolumeFull: a volume is full or almost.
	ReasonVolumeFull = "VolumeFull"
	// ReasonVolumeStalled: a volume does not complete writes.
	ReasonVolumeStalled = "VolumeStalled"
	// ReasonResizePending: a volume waits to be enlarged.
	ReasonResizePending = "ResizePending"
	// ReasonExpansionRefused: the storage class does not allow volumes to grow.
	ReasonExpansionRefused = "ExpansionRefused"
	// ReasonGrowthLimitReached: a volume lacks free space and has grown to spec.storage.autoGrow.limit.
	ReasonGrowthLimitReached = "GrowthLimitReached"
	// ReasonVolumePending: a volume claim is not bound.
	ReasonVolumePending = "VolumePending"
)

// Reasons of UsersReady.
const (
	// ReasonPasswordMissing: the users Secret, or a user's key in it, is missing or empty.
	ReasonPasswordMissing = "PasswordMissing"
	// ReasonAccountFailed: MySQL refused an account.
	ReasonAccountFailed = "AccountFailed"
	// ReasonAwaitingPrimary: accounts are made once a primary takes writes.
	ReasonAwaitingPrimary = "AwaitingPrimary"
)

// Reasons of Consistent.
const (
	// ReasonErrantTransactions: an instance holds transactions that are not part of the committed history; it is kept
	// apart, they are archived, and it is rebuilt (I6).
	ReasonErrantTransactions = "ErrantTransactions"
)

// Reasons of Monitored.
const (
	// ReasonMonitoringOff: spec.monitoring.exporter is None.
	ReasonMonitoringOff = "SwitchedOff"
	// ReasonNoPrometheusOperator: the cluster does not know the kinds of prometheus-operator. They are made when it does.
	ReasonNoPrometheusOperator = "PrometheusOperatorMissing"
	// ReasonMonitoringForbidden: the operator may not keep the objects; the message says what it lacks.
	ReasonMonitoringForbidden = "PermissionMissing"
	// ReasonExporterDown: the container of an exporter does not start; the message says which and why.
	ReasonExporterDown = "ExporterDown"
)

// Reasons of BackupReady.
const (
	// ReasonNoTarget: spec.backup has no target, so that nothing is taken.
	ReasonNoTarget = "NoTarget"
	// ReasonScheduleInvalid: spec.backup.schedule or its time zone cannot be understood.
	ReasonScheduleInvalid = "ScheduleInvalid"
	// ReasonAwaitingArchiver: no primary archives at present, or it has not said how far it is.
	ReasonAwaitingArchiver = "AwaitingArchiver"
	// ReasonAwaitingFirstBackup: there is no full backup yet, so that nothing can be brought back.
	ReasonAwaitingFirstBackup = "AwaitingFirstBackup"
	// ReasonStoreDenied: the target refuses the credentials, or they are missing.
	ReasonStoreDenied = "StoreDenied"
	// ReasonStoreMissing: the bucket, the volume or the folder does not exist.
	ReasonStoreMissing = "StoreMissing"
	// ReasonStoreFailing: the target does not answer, or not as it should.
	ReasonStoreFailing = "StoreFailing"
	// ReasonStoreDamaged: what the target returns is not what was written to it.
	ReasonStoreDamaged = "StoreDamaged"
	// ReasonNoSpace: there is too little room on the data volume for the copy that a full backup is made from.
	ReasonNoSpace = "NoSpace"
	// ReasonBackupFailed: the newest full backup failed; the message says why.
	ReasonBackupFailed = "BackupFailed"
	// ReasonArchiveGap: transactions are missing in the archive; a full backup closes the gap, and is taken at once.
	ReasonArchiveGap = "ArchiveGap"
	// ReasonArchiveLagging: transactions that were acknowledged more than a minute ago are not archived yet.
	ReasonArchiveLagging = "ArchiveLagging"
)

// Reasons of BackupProven. ScheduleInvalid is one as well.
const (
	// ReasonAwaitingDrill: no drill has ended yet.
	ReasonAwaitingDrill = "AwaitingDrill"
	// ReasonDrillPassed: the newest drill has passed.
	ReasonDrillPassed = "DrillPassed"
	// ReasonDrillFailed: the newest drill has failed; the message says why.
	ReasonDrillFailed = "DrillFailed"
	// ReasonDrillOverdue: by spec.backup.verify.schedule a drill should have passed since the last one did.
	ReasonDrillOverdue = "DrillOverdue"
)
