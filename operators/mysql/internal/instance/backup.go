package instance

import "time"

// BackupDuty is what an instance does for backups. It is a level, not a command: a directive that is sent twice asks for the same. Without it
// nothing is archived, taken or deleted.
type BackupDuty struct {
	// Store is where backups go, below the folder Cluster: the UID of the cluster.
	Store   Store  `json:"store"`
	Cluster string `json:"cluster"`
	// Recipients are the age public keys for which everything is encrypted; nothing is without any.
	Recipients []string `json:"recipients,omitempty"`
	// Archive has the instance archive its binary log and delete what is not kept any longer. Only a primary that serves is told so: what it has
	// executed is acknowledged, so that the archive never holds what the cluster does not.
	Archive *ArchiveDuty `json:"archive,omitempty"`
	// Full is a full backup that the instance takes.
	Full *FullDuty `json:"full,omitempty"`
}

// Store says where backups are. Exactly one of its fields is set. Credentials are files of the pod and never here.
type Store struct {
	// S3 is a bucket.
	S3 *S3Store `json:"s3,omitempty"`
	// Volume: a volume that is mounted into the pod.
	Volume bool `json:"volume,omitempty"`
}

// S3Store is a bucket, or the part of one below a prefix.
type S3Store struct {
	// Endpoint is the URL of the service; empty for AWS.
	Endpoint string `json:"endpoint,omitempty"`
	Bucket   string `json:"bucket"`
	Region   string `json:"region,omitempty"`
	Prefix   string `json:"prefix,omitempty"`
	// PathStyle puts the bucket's name into the path.
	PathStyle bool `json:"pathStyle,omitempty"`
	// CA are the authorities (PEM) that may have signed the service's certificate, in place of the system's.
	CA string `json:"ca,omitempty"`
}

// ArchiveDuty is how the archive is kept.
type ArchiveDuty struct {
	// KeepDays is for how many days every state can be brought back, KeepCount how many full backups are kept at the most; 0 for any number.
	KeepDays  int `json:"keepDays"`
	KeepCount int `json:"keepCount,omitempty"`
	// Delete are the names of full backups that are deleted before their time, because somebody wants it.
	Delete []string `json:"delete,omitempty"`
	// Newest is the newest full backup that the operator knows of. Another name than before is a reason to look at what is stored: another
	// instance may have taken it.
	Newest string `json:"newest,omitempty"`
	// Drill is how the newest restore drill has ended, for the metrics of the archiver; nil without any.
	Drill *DrillResult `json:"drill,omitempty"`
}

// DrillResult is how restore drills go.
type DrillResult struct {
	// Passed is when one passed last; zero if none has. Failed says that the newest one has failed.
	Passed time.Time `json:"passed,omitzero"`
	Failed bool      `json:"failed,omitempty"`
	// Took is how long the restore of the newest one took; zero if that is not known.
	Took time.Duration `json:"took,omitempty"`
}

// FullDuty is a full backup to take.
type FullDuty struct {
	// Name is that of the backup. One of that name that is stored already is the one.
	Name string `json:"name"`
	// Attempt counts the attempts; another number lets an instance that has failed try again.
	Attempt int `json:"attempt"`
	// Method is how it is taken: clone, also without one, or xtrabackup.
	Method string `json:"method,omitempty"`
	// Confirmed is FullReport.Within of this attempt once the primary is known to have executed it: what the copy holds is acknowledged, and cannot
	// be undone by a failover. Before, the backup is not finished.
	Confirmed string `json:"confirmed,omitempty"`
	// Prove has the instance start a private server on the copy before it is stored, and put checksums of its tables into the manifest: a copy that
	// does not start is no backup, and what is restored from it can be compared.
	Prove bool `json:"prove,omitempty"`
}

// RestoreDuty is what the first instance of a new cluster restores before anything else. It is no part of a directive: the pod is told when it
// is made, because an instance initialises its data before it has heard anybody.
type RestoreDuty struct {
	// Store is where the backups are, below the folder Cluster: the UID of the cluster that they are of.
	Store   Store  `json:"store"`
	Cluster string `json:"cluster"`
	// Time, Through and Before are the target; at most one is set, and without any it is the newest state.
	Time    *time.Time `json:"time,omitempty"`
	Through string     `json:"through,omitempty"`
	Before  string     `json:"before,omitempty"`
	// Verify has what is restored checked before it is put into its place.
	Verify bool `json:"verify,omitempty"`
}

// BackupReport is what an instance says about backups; nil without a duty.
type BackupReport struct {
	// Archive is about the archive; nil unless the instance keeps it.
	Archive *ArchiveReport `json:"archive,omitempty"`
	// Full is about the full backup that the directive asks for; nil without one.
	Full *FullReport `json:"full,omitempty"`
}

// ArchiveReport is how far the archive is.
type ArchiveReport struct {
	// Complete is a moment up to which everything that was acknowledged is archived, cut to the minute so that a report does not change all the
	// time; zero if it is not known.
	Complete time.Time `json:"complete,omitzero"`
	// Lagging: what was acknowledged more than LagBound ago is not archived.
	Lagging bool `json:"lagging,omitempty"`
	// Missing are transactions that neither the archive nor the binary log holds any more: a gap, closed by a full backup.
	Missing string `json:"missing,omitempty"`
	// Problem is why archiving fails at present, for people; ProblemReason is its one-word name.
	Problem       string `json:"problem,omitempty"`
	ProblemReason string `json:"problemReason,omitempty"`
	// Listed says that Stored is known: the full backups that are stored, oldest first, the newest StoredReported of them. Damaged are manifests that cannot be read, a few of them.
	Listed  bool         `json:"listed,omitempty"`
	Stored  []StoredFull `json:"stored,omitempty"`
	Damaged []string     `json:"damaged,omitempty"`
	// Gone are those names of ArchiveDuty.Delete of which nothing was stored when it was looked at after they were told.
	Gone []string `json:"gone,omitempty"`
}

// StoredReported is how many full backups a report names.
const StoredReported = 100

// LagBound is how long an acknowledged transaction may wait to be archived before that is told.
const LagBound = time.Minute

// StoredFull is a full backup that is stored.
type StoredFull struct {
	Name string `json:"name"`
	// Instance is whose data it is a copy of, Version that of its server.
	Instance string `json:"instance"`
	Version  string `json:"version"`
	// Method is how it was taken.
	Method string `json:"method,omitempty"`
	// Began and Finished are when it was taken. Newest is no earlier than the newest transaction in it: the earliest moment that can be restored from it.
	Began    time.Time `json:"began"`
	Finished time.Time `json:"finished"`
	Newest   time.Time `json:"newest"`
	// Holds are the transactions in it.
	Holds string `json:"holds"`
	// Bytes is its size unpacked, StoredBytes as it is stored.
	Bytes       int64 `json:"bytes"`
	StoredBytes int64 `json:"storedBytes"`
	// Sealed says that it is encrypted.
	Sealed bool `json:"sealed,omitempty"`
}

// FullState is how far a full backup is.
type FullState string

// The states of a full backup.
const (
	// FullCopying: the server copies its data, or the copy is being proven.
	FullCopying FullState = "Copying"
	// FullStoring: the copy is being stored.
	FullStoring FullState = "Storing"
	// FullConfirming: all is stored, and what it holds is not yet known to be acknowledged.
	FullConfirming FullState = "Confirming"
	// FullDone: it is stored.
	FullDone FullState = "Done"
	// FullFailed: the attempt has failed; nothing of it counts.
	FullFailed FullState = "Failed"
)

// FullReport is how far a full backup is.
type FullReport struct {
	// Name and Attempt are those of the duty.
	Name    string    `json:"name"`
	Attempt int       `json:"attempt"`
	State   FullState `json:"state"`
	// Percent is how much of the copy is stored.
	Percent int `json:"percent,omitempty"`
	// Within is what the copy holds at the most, from FullConfirming on.
	Within string `json:"within,omitempty"`
	// Stored is what is stored, once it is done.
	Stored *StoredFull `json:"stored,omitempty"`
	// Problem is why it failed, for people; ProblemReason is its one-word name.
	Problem       string `json:"problem,omitempty"`
	ProblemReason string `json:"problemReason,omitempty"`
}

// The names of problems with backups that a report can carry.
const (
	// ProblemStoreDenied: the store refuses the credentials, or they are missing.
	ProblemStoreDenied = "StoreDenied"
	// ProblemStoreMissing: the bucket, volume or folder does not exist.
	ProblemStoreMissing = "StoreMissing"
	// ProblemStoreFailing: the store does not answer, or not as it should.
	ProblemStoreFailing = "StoreFailing"
	// ProblemStoreDamaged: what is stored is not what was written.
	ProblemStoreDamaged = "StoreDamaged"
	// ProblemNoSpace: there is too little room on the data volume.
	ProblemNoSpace = "NoSpace"
	// ProblemBackupFailed: anything else.
	ProblemBackupFailed = "BackupFailed"
	// ProblemUnreachable: what is to be restored cannot be brought back from what is stored.
	ProblemUnreachable = "TargetUnreachable"
	// ProblemDataWrong: what was restored is not what was backed up.
	ProblemDataWrong = "DataWrong"
	// ProblemUnfit: what is stored is not of the primary's history, or ends before its binary logs begin, so that no replica can begin with it.
	ProblemUnfit = "BackupUnfit"
)

// RestoreState is how far a restore is.
type RestoreState string

// The states of a restore.
const (
	// RestorePlanning: what is stored is being looked at.
	RestorePlanning RestoreState = "Planning"
	// RestoreUnpacking: the full backup is being unpacked.
	RestoreUnpacking RestoreState = "Unpacking"
	// RestoreReplaying: the archive is being replayed.
	RestoreReplaying RestoreState = "Replaying"
	// RestoreVerifying: what was restored is being checked.
	RestoreVerifying RestoreState = "Verifying"
	// RestoreDone: the data are in their place.
	RestoreDone RestoreState = "Done"
	// RestoreFailed: it has failed, and nothing was put into place. What a cluster begins with is tried again.
	RestoreFailed RestoreState = "Failed"
)

// RestoreReport is how far a restore is: that of a new cluster's first instance, or that which stands in for a clone.
type RestoreReport struct {
	State RestoreState `json:"state"`
	// Done of Of parts, pieces or tables are behind it.
	Done int `json:"done,omitempty"`
	Of   int `json:"of,omitempty"`
	// Plan says in words from what.
	Plan string `json:"plan,omitempty"`
	// Holds is what the restored data held, once they are in their place.
	Holds string `json:"holds,omitempty"`
	// Took is how long it took from the beginning of the attempt that succeeded until the data were in their place, and Verified what was checked of
	// them, if that was asked for. Both are known once it is done.
	Took     time.Duration `json:"took,omitempty"`
	Verified *Verified     `json:"verified,omitempty"`
	// Problem is why it failed, for people; ProblemReason is its one-word name.
	Problem       string `json:"problem,omitempty"`
	ProblemReason string `json:"problemReason,omitempty"`
}

// Verified is what was checked of restored data.
type Verified struct {
	// Tables is how many tables CHECK TABLE found sound.
	Tables int `json:"tables"`
	// Compared is how many tables had the checksum that the manifest of the full backup names, before the archive was replayed. It is zero if the
	// manifest names none, or if its server was of another version: checksums can be compared within one version only.
	Compared int `json:"compared"`
}
