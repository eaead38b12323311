package instance

// State is what mysqld is doing.
type State string

// The states of mysqld.
const (
	// StateDown: mysqld does not run and is not about to.
	StateDown State = "Down"
	// StateStarting: initialising, starting or recovering; not answering yet.
	StateStarting State = "Starting"
	// StateRunning: answers on its socket.
	StateRunning State = "Running"
	// StateCloning: its data is being replaced.
	StateCloning State = "Cloning"
)

// Report is the whole picture of one instance. Fields that need mysqld's answer are those of the last answer while
// State is StateRunning and zero otherwise: unknown is never mistaken for empty, because State says which it is.
type Report struct {
	// Instance is the pod's name; Boot is a random value of this start of the agent.
	Instance string `json:"instance"`
	Boot     string `json:"boot"`
	// AgentVersion is the agent's build version.
	AgentVersion string `json:"agentVersion,omitempty"`

	// State is what mysqld is doing; Starts counts how often this agent has started it.
	State  State `json:"state"`
	Starts int   `json:"starts"`
	// Blank is true while the volume holds no data worth keeping: never bootstrapped, never cloned.
	Blank bool `json:"blank"`
	// ServerUUID and ServerVersion are what mysqld says it is.
	ServerUUID    string `json:"serverUUID,omitempty"`
	ServerVersion string `json:"serverVersion,omitempty"`
	// CA is the PEM certificate of the authority that signed this server's certificate.
	CA string `json:"ca,omitempty"`

	// Term and Promised are the highest term and epoch accepted, as kept on the volume.
	Term     uint64 `json:"term"`
	Promised uint64 `json:"promised"`
	// Served is the last epoch in which this instance was a serving primary, as kept on the volume.
	Served uint64 `json:"served,omitempty"`
	// Record is the newest record told, as kept on the volume.
	Record Record `json:"record"`

	// Directive is the ID of the last accepted directive; Converged says that the instance is what it asks.
	Directive string `json:"directive,omitempty"`
	Converged bool   `json:"converged"`
	// Refused is the ID of a directive that was not obeyed, with the reason, until another one is accepted.
	Refused    string `json:"refused,omitempty"`
	RefusedWhy string `json:"refusedWhy,omitempty"`

	// Role is what the instance is now; empty until it has become something since mysqld started.
	Role Role `json:"role,omitempty"`
	// Epoch is the epoch under which it became that.
	Epoch uint64 `json:"epoch,omitempty"`
	// Serving: a primary that is writable and open to clients.
	Serving bool `json:"serving,omitempty"`
	// Drained: under RoleDrain, nothing more can be written and Executed is final.
	Drained bool `json:"drained,omitempty"`
	// Acks is the number of acknowledgements in force on a primary; -1 when semi-sync is off.
	Acks int `json:"acks,omitempty"`
	// Attached are the names of the members whose binlog dump is running on this primary, sorted.
	Attached []string `json:"attached,omitempty"`
	// Admitted are the names whose accounts are open on this primary, sorted.
	Admitted []string `json:"admitted,omitempty"`
	// WaitingCommits is the number of sessions waiting for acknowledgement.
	WaitingCommits int `json:"waitingCommits,omitempty"`

	// Executed is gtid_executed. Received is Executed and everything in the relay log: what this instance holds.
	Executed string `json:"executed,omitempty"`
	Received string `json:"received,omitempty"`
	// Receiver and Applier are the two halves of the replica channel.
	Receiver Receiver `json:"receiver"`
	Applier  Applier  `json:"applier"`
	// CatchingUp: it does not hold yet what its directive waits for (ReplicaDuty.CatchUp).
	CatchingUp bool `json:"catchingUp,omitempty"`
	// Closed: a replica that lets no readers in. Closing names this time of being closed: a text made anew each time.
	Closed  bool   `json:"closed,omitempty"`
	Closing string `json:"closing,omitempty"`
	// Acknowledging: this replica answers for what it receives (its semi-sync is on).
	Acknowledging bool `json:"acknowledging,omitempty"`

	// SealingKey is this agent's public key; it changes with every start of the agent.
	SealingKey []byte `json:"sealingKey,omitempty"`
	// Credentials are this primary's passwords by member, each sealed to its member.
	Credentials map[string]Sealed `json:"credentials,omitempty"`

	// SelfFenced: the primary gave up by itself, see RefusedWhy's neighbour Problem.
	SelfFenced bool `json:"selfFenced,omitempty"`
	// Stalled: the volume has not completed a small synced write for some seconds, or mysqld is Unresponsive.
	Stalled bool `json:"stalled,omitempty"`
	// Unresponsive: mysqld runs and has answered before, but its process was stopped or it has not answered for some
	// seconds. What the report says about it is what it said last.
	Unresponsive bool `json:"unresponsive,omitempty"`
	// Terminating: the pod was asked to stop; a primary waits to be relieved.
	Terminating bool `json:"terminating,omitempty"`
	// Volume is the data volume's fill.
	Volume Volume `json:"volume"`

	// ConfigHash is the hash (ConfigHash function) of the configuration in force.
	ConfigHash string `json:"configHash,omitempty"`
	// ConfigError says why the directive's configuration was not taken; the old one stays in force.
	ConfigError string `json:"configError,omitempty"`
	// RestartNeeded: the directive's configuration is good but needs mysqld to be restarted.
	RestartNeeded bool `json:"restartNeeded,omitempty"`

	// UserErrors says, by account name, what is wrong with it (a missing Secret key, say).
	UserErrors map[string]string `json:"userErrors,omitempty"`
	// Archives are the folders on the volume that hold archived errant transactions, newest last, 16 at most.
	Archives []string `json:"archives,omitempty"`
	// Rejoin is how the instance came back, or comes back, after it served an earlier epoch than the promised one; nil if
	// there was nothing to decide.
	Rejoin *Rejoin `json:"rejoin,omitempty"`
	// Backup is what it does for backups.
	Backup *BackupReport `json:"backup,omitempty"`
	// Restore is how far the restore is that its pod was told of; nil without one. Restored: the data began with it (with any, if the pod is told of
	// none), and as long as they are Blank, a cluster that begins with a restore may be founded on them.
	Restore  *RestoreReport `json:"restore,omitempty"`
	Restored bool           `json:"restored,omitempty"`
	// Seed is how far the restore is that stands in for a clone (CloneDuty.Seed), or how it ended; nil without one. It says RestoreFailed as long as
	// the instance is not to be seeded any more.
	Seed *RestoreReport `json:"seed,omitempty"`
	// Problem is what keeps the instance from being what it is told, for people; ProblemReason is its one-word name.
	Problem       string `json:"problem,omitempty"`
	ProblemReason string `json:"problemReason,omitempty"`
}

// Rejoin is the choice between removing an unacknowledged tail from the binary log and CLONE, and its reason.
type Rejoin struct {
	// Epoch is the epoch it was made in, Source the primary of that epoch.
	Epoch  uint64 `json:"epoch"`
	Source string `json:"source"`
	// Removed are the transactions that were removed from the binary log, Count how many they are, Archive the folder on
	// the volume that keeps them.
	Removed string `json:"removed,omitempty"`
	Count   uint64 `json:"count,omitempty"`
	Archive string `json:"archive,omitempty"`
	// Done: mysqld has come up without them, and with nothing that the source does not hold.
	Done bool `json:"done,omitempty"`
	// Doubt says why nothing was removed, or why what came up is not what it should be; CLONE is the way then.
	Doubt string `json:"doubt,omitempty"`
}

// The names of problems that a report can carry.
const (
	// ProblemNoServer: the image has no mysqld.
	ProblemNoServer = "NoServerInImage"
	// ProblemStartFailed: mysqld ends while starting; Problem quotes its last error line.
	ProblemStartFailed = "StartFailed"
	// ProblemVolumeFull: the data volume is full.
	ProblemVolumeFull = "VolumeFull"
	// ProblemCloneFailed: taking over the primary's data failed; it is tried again.
	ProblemCloneFailed = "CloneFailed"
	// ProblemIsolated: a primary that saw neither operator nor quorum and fenced itself.
	ProblemIsolated = "Isolated"
	// ProblemDuty: a step of the directive failed; Problem says which. It is tried again.
	ProblemDuty = "StepFailed"
)

// Receiver is the half of the replica channel that fetches.
type Receiver struct {
	// Running: the thread exists and has not been stopped. Connected: it is attached to its source.
	Running   bool `json:"running,omitempty"`
	Connected bool `json:"connected,omitempty"`
	// Source is the instance it was told to follow.
	Source string `json:"source,omitempty"`
	// SilentMillis is how long nothing (data or heartbeat) came from the source, in milliseconds, in coarse steps:
	// 0 below one and a half seconds, and as long as nothing has come since the thread was started.
	SilentMillis int64 `json:"silentMillis,omitempty"`
	// ErrorNumber and Error are the last error of the thread.
	ErrorNumber int    `json:"errorNumber,omitempty"`
	Error       string `json:"error,omitempty"`
}

// Applier is the half of the replica channel that applies.
type Applier struct {
	// Running: the coordinator exists.
	Running bool `json:"running,omitempty"`
	// LagSeconds is how old the newest applied transaction is while there is something left to apply; -1 unknown.
	LagSeconds int64 `json:"lagSeconds,omitempty"`
	// ErrorNumber and Error are the last error of coordinator or worker.
	ErrorNumber int    `json:"errorNumber,omitempty"`
	Error       string `json:"error,omitempty"`
}

// Volume is the fill of a data volume, in bytes, rounded so that a report does not change with every write.
type Volume struct {
	Size int64 `json:"size,omitempty"`
	Free int64 `json:"free,omitempty"`
	// LogBytes is how much of it binary logs and relay logs take.
	LogBytes int64 `json:"logBytes,omitempty"`
}

// Grant is what the leading operator answers a heartbeat with. Only a grant for the primary's own epoch renews its
// lease.
type Grant struct {
	Term    uint64 `json:"term"`
	Epoch   uint64 `json:"epoch"`
	Primary string `json:"primary"`
}
