package instance

// Role is what an instance is told to be.
type Role string

// The roles of a directive.
const (
	// RoleStandby: mysqld runs, read-only, closed to clients and following nobody. It is also the fence of a failover:
	// a replica stops its receiver (received transactions are kept and applied), a primary is killed and started again.
	RoleStandby Role = "Standby"
	// RolePrimary: the source of the epoch. With Serve it is writable and open to clients; without, replicas may attach
	// but no client (I7).
	RolePrimary Role = "Primary"
	// RoleDrain: the primary before a switchover: no new writes, waiting commits finished, clients away, replicas still
	// attached. Report.Drained says when nothing more can be written in this epoch.
	RoleDrain Role = "Drain"
	// RoleReplica: follows the primary of the epoch.
	RoleReplica Role = "Replica"
	// RoleClone: replaces its data by the primary's, after archiving what only it holds. Never given to a voter.
	RoleClone Role = "Clone"
)

// Record is the decision that is committed to etcd before anybody acts on it (I1). Agents keep the newest one they were
// told on their volume, so that a cluster whose custom resource was lost can be adopted again.
type Record struct {
	// Epoch counts primaries; it only grows. 0 means that nothing was ever committed.
	Epoch uint64 `json:"epoch"`
	// Term is the newest leadership term that has taken the record over. A leader does so before it tells anybody
	// anything, so that what an earlier one still wants to commit fails (I11). 0 means that the store keeps no term.
	Term uint64 `json:"term,omitempty"`
	// Primary is the instance that may be writable in this epoch.
	Primary string `json:"primary,omitempty"`
	// Voters are the instances whose acknowledgement counts, the primary among them, sorted.
	Voters []string `json:"voters,omitempty"`
	// Change is a voter change under way; at most one member enters or leaves at a time.
	Change *VoterChange `json:"change,omitempty"`
	// Handover is a switchover under way.
	Handover *Handover `json:"handover,omitempty"`
}

// VoterChange takes one member into the voter set or out of it.
type VoterChange struct {
	// Add or Remove names the member; exactly one is set.
	Add    string `json:"add,omitempty"`
	Remove string `json:"remove,omitempty"`
	// Why says why, for people.
	Why string `json:"why,omitempty"`
}

// Handover moves the primary to another voter while both are well.
type Handover struct {
	// To is the voter that shall become the primary.
	To string `json:"to"`
	// NotAfter is when the attempt is given up and the old primary goes on, in Unix milliseconds of the operator.
	NotAfter int64 `json:"notAfter"`
	// GivenUp: the attempt failed and the old primary goes on; kept for a while, so that the next attempt waits.
	GivenUp bool `json:"givenUp,omitempty"`
	// Why says why, for people.
	Why string `json:"why,omitempty"`
}

// Directive is everything the operator wants of one instance.
type Directive struct {
	// ID is a hash of the directive's content, Term included; the report echoes it.
	ID string `json:"id"`
	// Term is the leadership term of the operator that speaks (I11).
	Term uint64 `json:"term"`
	// Epoch is the epoch this directive belongs to. Accepting it is a promise never to serve or follow a lower one.
	Epoch uint64 `json:"epoch"`
	// Role is what to be; the duty of the same name below says how.
	Role Role `json:"role"`
	// Record is what is committed, for keeping.
	Record Record `json:"record"`

	Primary *PrimaryDuty `json:"primary,omitempty"`
	Replica *ReplicaDuty `json:"replica,omitempty"`
	Clone   *CloneDuty   `json:"clone,omitempty"`
	// Rejoin goes with RoleStandby to a member whose mysqld does not run and which served an earlier epoch.
	Rejoin *RejoinDuty `json:"rejoin,omitempty"`

	// ServerID is mysqld's server_id: 100 + ordinal.
	ServerID uint32 `json:"serverID"`
	// Config is the user's part of my.cnf, by option name. The agent checks it with mysqld before it uses it.
	Config map[string]string `json:"config,omitempty"`
	// BufferPoolBytes sizes innodb_buffer_pool_size; 0 leaves mysqld's default.
	BufferPoolBytes int64 `json:"bufferPoolBytes,omitempty"`
	// Restart allows mysqld to be restarted now, for options that cannot be set while it runs.
	Restart bool `json:"restart,omitempty"`
	// Users are the accounts that the primary keeps.
	Users []User `json:"users,omitempty"`
	// Backup is what the instance does for backups, beside everything else.
	Backup *BackupDuty `json:"backup,omitempty"`
}

// PrimaryDuty is how to be the source of an epoch.
type PrimaryDuty struct {
	// Acks is how many replicas must hold a transaction before its commit is answered: write quorum less one.
	Acks int `json:"acks"`
	// Serve opens the instance for clients and writes.
	Serve bool `json:"serve"`
	// Admitted are the members that may attach. Everybody else's account is locked and its binlog dump ended, so that
	// it can acknowledge nothing.
	Admitted []Peer `json:"admitted,omitempty"`
	// LeaseMillis is how long after the sending of the last answered heartbeat a primary that sees no quorum either
	// goes on before it fences itself (I5), in milliseconds.
	LeaseMillis int64 `json:"leaseMillis"`
	// Bootstrap marks the very first primary of a cluster: a blank instance may become primary only with it.
	Bootstrap bool `json:"bootstrap,omitempty"`
}

// Peer is another member as a primary needs to know it.
type Peer struct {
	// Name is the instance's (and pod's) name.
	Name string `json:"name"`
	// Key is the peer's public sealing key (Report.SealingKey); its password is sealed to it. Empty when the operator
	// does not know the peer yet: the account stays open and an attached peer attached, but nothing new is sealed.
	Key []byte `json:"key,omitempty"`
}

// ReplicaDuty is whom to follow and how.
type ReplicaDuty struct {
	// Source is where the primary of the epoch is.
	Source Source `json:"source"`
	// Acknowledge makes the instance answer for what it received: true for voters only.
	Acknowledge bool `json:"acknowledge"`
	// CatchUp is what a closed primary holds and a decision waits for: the instance says at once when it holds it too
	// (Report.CatchingUp), where other progress is told every now and then. On the way there it need not acknowledge: a
	// receiver that is started to catch up begins silent, and so without a sync per event. Empty if nothing waits.
	CatchUp string `json:"catchUp,omitempty"`
	// OpenAfter is what an instance that is closed to readers has to have executed before it lets them in: what its primary
	// had when this was decided. An instance that comes back would show what is long past otherwise. Closing is the
	// Report.Closing that was decided about: one that has closed again since stays closed until it is told a point anew.
	// Both are empty for an instance that was open.
	OpenAfter string `json:"openAfter,omitempty"`
	Closing   string `json:"closing,omitempty"`
}

// CloneDuty is whose data to take over.
type CloneDuty struct {
	// Source is the donor: the primary of the epoch.
	Source Source `json:"source"`
	// SourceExecuted is the donor's executed GTID set when the decision was made: what the instance has beyond it is
	// errant and is archived before anything is overwritten.
	SourceExecuted string `json:"sourceExecuted"`
	// Why says why the data is replaced, for the archive's manifest and the event.
	Why string `json:"why"`
	// Seed, if set, is where the data may be restored from instead. An instance that cannot do so takes the donor's.
	Seed *SeedDuty `json:"seed,omitempty"`
}

// SeedDuty is where the backups of the cluster are.
type SeedDuty struct {
	// Store is where they are, below the folder Cluster: the UID of the cluster.
	Store   Store  `json:"store"`
	Cluster string `json:"cluster"`
}

// RejoinDuty is what a former primary needs to know before it starts mysqld again: which of the transactions in its binary
// log are part of the history that goes on. Those that are not were never acknowledged. Started with them, mysqld would
// commit them; without them, it rolls them back and can follow.
type RejoinDuty struct {
	// Source is the primary of the epoch by name, ServerUUID its mysqld's.
	Source     string `json:"source"`
	ServerUUID string `json:"serverUUID"`
	// Holds is what the primary holds as the source of the epoch, less its own transactions: those are its by their
	// name. A source receives from nobody, so that this set is final for the epoch.
	Holds string `json:"holds"`
}

// Source is a primary as its replicas need to know it.
type Source struct {
	// Name is the primary's instance name.
	Name string `json:"name"`
	// Host and Port are its address; Host is an IP address.
	Host string `json:"host"`
	Port int    `json:"port"`
	// ServerUUID is what its mysqld must say it is.
	ServerUUID string `json:"serverUUID"`
	// Credential is the sealed password for this member (Report.Credentials of the primary).
	Credential Sealed `json:"credential"`
	// CA is the PEM certificate of the authority that signed the primary's server certificate.
	CA string `json:"ca,omitempty"`
}

// Sealed is a password that only the named member can open (NaCl anonymous box); the operator carries it and cannot
// read it.
type Sealed struct {
	// Epoch is the epoch the password was made for.
	Epoch uint64 `json:"epoch"`
	// Account is the MySQL account name it belongs to.
	Account string `json:"account"`
	// Key is the public key it was sealed to.
	Key []byte `json:"key"`
	// Box is the sealed password.
	Box []byte `json:"box"`
}

// User is an application account. Its password is a file of the mounted users Secret, never part of a directive.
type User struct {
	// Name is the account's name; the host part is %.
	Name string `json:"name"`
	// Database, if set, is created if missing; the privileges are given on it, else on everything.
	Database string `json:"database,omitempty"`
	// Access is what the account may do.
	Access Access `json:"access"`
}

// Access is the level of an application account.
type Access string

// The access levels.
const (
	// AccessReadWrite may read, write and change the schema.
	AccessReadWrite Access = "ReadWrite"
	// AccessReadOnly may read.
	AccessReadOnly Access = "ReadOnly"
)
