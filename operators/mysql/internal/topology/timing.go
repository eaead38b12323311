package topology

import "time"

// The deadlines of a cluster. SelfFenceAfter and PromoteAfter are counted on different machines but from the same
// heartbeat: the agent counts from its sending, the operator from its arrival, which is never earlier. So a primary that
// has lost both operator and quorum is closed before another one is promoted (I5), without comparing clocks.
const (
	// SelfFenceAfter is how long a primary goes on without an answered heartbeat and without its quorum.
	SelfFenceAfter = 3 * time.Second
	// PromoteAfter is how long a primary's agent must be silent before the primary is given up. (mysql.md: a frozen or
	// cut-off primary is replaced within 5 s.) A death that the agent itself reports needs no such wait.
	PromoteAfter = 4 * time.Second
	// SourceSilence is how long a voter's receiver may hear nothing (heartbeats come each second) and still count as
	// hearing its source.
	SourceSilence = 3 * time.Second
	// CutOffAfter is how long a quorum of voters may hear nothing of a primary that the operator sees at work before
	// another one is made: nothing that it writes can be acknowledged.
	CutOffAfter = 4 * time.Second
	// StuckAfter is how long a promoted instance may take to come up before another one is tried.
	StuckAfter = 5 * time.Second

	// BlockingVoterAway is how long a voter whose mysqld answers may be unfit before it is taken out of the voters, when
	// commits wait for it; BlockingVoterLost is the same for one whose mysqld does not.
	BlockingVoterAway = 10 * time.Second
	BlockingVoterLost = 1 * time.Second
	// VoterAway is how long a voter may be unfit when commits do not wait for it.
	VoterAway = 30 * time.Second
	// JoiningAway is how long a member that is being made a voter may be unfit before that is given up.
	JoiningAway = 1 * time.Second

	// HandoverWithin is how long a switchover may keep the primary closed before it is given up.
	HandoverWithin = 3 * time.Second
	// HandoverPause is how long the next switchover waits after one was given up.
	HandoverPause = 30 * time.Second

	// ReadersStay is how long a replica that was readable may be unfit and keep its readers. It closes itself soon after.
	ReadersStay = 2 * time.Second

	// routine is when to look again although nothing is expected to change.
	routine = 10 * time.Second
	// soon is when to look again while something is expected to change without an event.
	soon = 250 * time.Millisecond
)

// nearlyCaughtUp is how many transactions a member may lack and still be made a voter or handed the primary: few enough
// to fetch within a fraction of a second.
const nearlyCaughtUp = 1000
