package chaos

import (
	"slices"
	"time"
)

// Kind names a fault.
type Kind string

// The faults. A fault that names no instance meets the primary.
const (
	// KillServer ends the primary's mysqld by SIGKILL; KillReplicaServer that of a replica, KillAllServers all at once.
	KillServer        Kind = "kill-mysqld"
	KillReplicaServer Kind = "kill-mysqld-replica"
	KillAllServers    Kind = "kill-mysqld-all"
	// KillAgent ends the primary's agent by SIGKILL, and with it the container; KillReplicaAgent that of a replica.
	KillAgent        Kind = "kill-agent"
	KillReplicaAgent Kind = "kill-agent-replica"
	// FreezeServer stops the primary's mysqld by SIGSTOP for a while; FreezeReplicaServer that of a replica; FreezeAgent the
	// primary's agent, which leaves mysqld running.
	FreezeServer        Kind = "freeze-mysqld"
	FreezeReplicaServer Kind = "freeze-mysqld-replica"
	FreezeAgent         Kind = "freeze-agent"
	// DeletePod deletes the primary's pod without grace, EvictPod as a drain of its node does; DeleteReplicaPod a
	// replica's without grace, DeleteAllPods all of them at once.
	DeletePod        Kind = "delete-pod"
	EvictPod         Kind = "evict-pod"
	DeleteReplicaPod Kind = "delete-pod-replica"
	DeleteAllPods    Kind = "delete-pod-all"
	// StopNode takes the power of the primary's node away and gives it back; StopReplicaNode that of a replica's node.
	StopNode        Kind = "stop-node"
	StopReplicaNode Kind = "stop-node-replica"
	// FreezeNode lets every process of the primary's node stand still for a while.
	FreezeNode Kind = "freeze-node"
	// CutNode takes the primary's node off the network in both directions, CutNodeOut only what it sends, CutNodeIn only
	// what it receives.
	CutNode    Kind = "cut-node"
	CutNodeOut Kind = "cut-node-out"
	CutNodeIn  Kind = "cut-node-in"
	// CutReplicaNode takes a replica's node off the network.
	CutReplicaNode Kind = "cut-node-replica"
	// CutAPI takes the primary's node off the control plane only; CutDatabases the primary off the other databases only.
	CutAPI       Kind = "cut-api"
	CutDatabases Kind = "cut-databases"
	// LosePackets loses a part of what the primary's node sends and receives; DelayPackets delays it.
	LosePackets  Kind = "lose-packets"
	DelayPackets Kind = "delay-packets"
	// FillDisk fills the primary's volume to the last byte; StallDisk lets every write to it hang for a while, and
	// StallReplicaDisk every write to a replica's.
	FillDisk         Kind = "fill-disk"
	StallDisk        Kind = "stall-disk"
	StallReplicaDisk Kind = "stall-disk-replica"
	// PauseAPI lets the API server stand still for a while; RestartAPI kills it, and it is started again.
	PauseAPI   Kind = "pause-api"
	RestartAPI Kind = "restart-api"
	// KillLeader deletes the operator's leader without grace; KillLeaderAndServer kills the primary's mysqld in the same moment.
	KillLeader          Kind = "kill-leader"
	KillLeaderAndServer Kind = "kill-leader-and-mysqld"
	// StepClock sets the clock of the primary's mysqld forward or back by an hour, and then right again. It needs an image
	// whose mysqld can be shown another time, so it is only drawn when it is asked for.
	StepClock Kind = "step-clock"
	// Switchover asks for another primary: no fault, but what users do while faults happen.
	Switchover Kind = "switchover"
)

// Need is what a cluster's provider must be able to do for a fault.
type Need string

// The needs.
const (
	// NeedNothing: every cluster can.
	NeedNothing Need = ""
	// NeedNodes: stop, start, freeze and cut nodes, and run commands in them.
	NeedNodes Need = "nodes"
	// NeedNetwork: partial partitions, loss and delay.
	NeedNetwork Need = "network"
	// NeedControl: pause and restart the API server.
	NeedControl Need = "control"
	// NeedVolumes: volumes of a fixed size that can be stalled.
	NeedVolumes Need = "volumes"
	// NeedClock: mysqld can be shown another time.
	NeedClock Need = "clock"
)

// trait is what is known of a kind of fault before it happens.
type trait struct {
	kind Kind
	need Need
	// weight is how often it is drawn, next to the others.
	weight int
	// hold is how long it lasts, at the least and at the most; zero for what happens in a moment.
	hold [2]time.Duration
	// bound is how long the cluster may take to be whole again once it is over.
	bound time.Duration
	// overlaps says whether a second fault may be injected while it lasts, or right after it.
	overlaps bool
}

const s = time.Second

// traits lists all faults. Bounds are for a machine of two processors that holds everything: they catch what hangs, while
// figures are measured and published.
func traits() []trait {
	return []trait{
		{KillServer, NeedNothing, 14, [2]time.Duration{}, 90 * s, true},
		{KillReplicaServer, NeedNothing, 6, [2]time.Duration{}, 90 * s, true},
		{KillAllServers, NeedNothing, 4, [2]time.Duration{}, 90 * s, false},
		{KillAgent, NeedNodes, 6, [2]time.Duration{}, 90 * s, true},
		{KillReplicaAgent, NeedNodes, 4, [2]time.Duration{}, 90 * s, true},
		{FreezeServer, NeedNothing, 5, [2]time.Duration{1 * s, 9 * s}, 90 * s, true},
		{FreezeReplicaServer, NeedNothing, 3, [2]time.Duration{1 * s, 9 * s}, 90 * s, true},
		{FreezeAgent, NeedNodes, 4, [2]time.Duration{1 * s, 9 * s}, 90 * s, true},
		{DeletePod, NeedNothing, 5, [2]time.Duration{}, 120 * s, true},
		{EvictPod, NeedNothing, 3, [2]time.Duration{}, 150 * s, true},
		{DeleteReplicaPod, NeedNothing, 4, [2]time.Duration{}, 120 * s, true},
		{DeleteAllPods, NeedNothing, 2, [2]time.Duration{}, 150 * s, false},
		{StopNode, NeedNodes, 2, [2]time.Duration{4 * s, 10 * s}, 180 * s, false},
		{StopReplicaNode, NeedNodes, 1, [2]time.Duration{4 * s, 10 * s}, 180 * s, true},
		{FreezeNode, NeedNodes, 3, [2]time.Duration{2 * s, 10 * s}, 120 * s, true},
		{CutNode, NeedNodes, 4, [2]time.Duration{3 * s, 12 * s}, 120 * s, true},
		{CutReplicaNode, NeedNodes, 2, [2]time.Duration{3 * s, 12 * s}, 120 * s, true},
		{CutNodeOut, NeedNetwork, 3, [2]time.Duration{3 * s, 12 * s}, 120 * s, true},
		{CutNodeIn, NeedNetwork, 3, [2]time.Duration{3 * s, 12 * s}, 120 * s, true},
		{CutAPI, NeedNetwork, 3, [2]time.Duration{3 * s, 12 * s}, 120 * s, true},
		{CutDatabases, NeedNetwork, 4, [2]time.Duration{3 * s, 12 * s}, 120 * s, true},
		{LosePackets, NeedNetwork, 3, [2]time.Duration{5 * s, 12 * s}, 120 * s, true},
		{DelayPackets, NeedNetwork, 3, [2]time.Duration{5 * s, 12 * s}, 120 * s, true},
		{FillDisk, NeedVolumes, 1, [2]time.Duration{3 * s, 8 * s}, 180 * s, false},
		{StallDisk, NeedVolumes, 3, [2]time.Duration{1 * s, 9 * s}, 120 * s, true},
		{StallReplicaDisk, NeedVolumes, 2, [2]time.Duration{1 * s, 9 * s}, 120 * s, true},
		{PauseAPI, NeedControl, 3, [2]time.Duration{2 * s, 8 * s}, 120 * s, true},
		{RestartAPI, NeedControl, 2, [2]time.Duration{}, 120 * s, true},
		{KillLeader, NeedNothing, 4, [2]time.Duration{}, 120 * s, true},
		{KillLeaderAndServer, NeedNothing, 4, [2]time.Duration{}, 120 * s, false},
		{StepClock, NeedClock, 5, [2]time.Duration{1 * s, 8 * s}, 90 * s, true},
		{Switchover, NeedNothing, 5, [2]time.Duration{}, 90 * s, true},
	}
}

// Kinds returns the names of all faults that a provider with these abilities can inject.
func Kinds(able ...Need) []Kind {
	var kinds []Kind
	for _, t := range traits() {
		if t.need == NeedNothing || slices.Contains(able, t.need) {
			kinds = append(kinds, t.kind)
		}
	}
	return kinds
}

// traitOf returns what is known of a kind; false if there is no such kind.
func traitOf(k Kind) (trait, bool) {
	all := traits()
	i := slices.IndexFunc(all, func(t trait) bool { return t.kind == k })
	if i < 0 {
		return trait{}, false
	}
	return all[i], true
}
