package status

import (
	"fmt"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/event"
)

// Commits is the catalogue of the events that go with a commit, by its kind.
func Commits() map[topology.CommitKind]event.Definition {
	define := func(t event.Type, kind topology.CommitKind, meaning string) event.Definition {
		return event.Definition{Type: t, Reason: string(kind), Action: "CommitRecord", Meaning: meaning}
	}
	return map[topology.CommitKind]event.Definition{
		topology.CommitBootstrap:       define(event.Normal, topology.CommitBootstrap, "The cluster was founded on its first instance."),
		topology.CommitAdopt:           define(event.Warning, topology.CommitAdopt, "Kept volumes remembered a cluster of this name, which goes on."),
		topology.CommitPromote:         define(event.Warning, topology.CommitPromote, "The primary was lost and a voter that holds everything was promoted."),
		topology.CommitForcePromote:    define(event.Warning, topology.CommitForcePromote, "An instance was promoted without a quorum, by request."),
		topology.CommitRenew:           define(event.Warning, topology.CommitRenew, "The primary goes on under a new epoch, after a failover that was begun and not needed."),
		topology.CommitTakeOver:        define(event.Normal, topology.CommitTakeOver, "Another replica of the operator leads from now on."),
		topology.CommitHandover:        define(event.Normal, topology.CommitHandover, "A switchover was begun."),
		topology.CommitSwitchover:      define(event.Normal, topology.CommitSwitchover, "The primary was handed over."),
		topology.CommitHandoverGivenUp: define(event.Warning, topology.CommitHandoverGivenUp, "A switchover was given up; the old primary goes on."),
		topology.CommitChange:          define(event.Normal, topology.CommitChange, "A change of the voters was begun."),
		topology.CommitVoters:          define(event.Normal, topology.CommitVoters, "The voters were changed."),
		topology.CommitChangeGivenUp:   define(event.Warning, topology.CommitChangeGivenUp, "A change of the voters was given up."),
	}
}

// CommitEvent is the event of a commit.
func CommitEvent(c topology.Commit) event.Event {
	return Commits()[c.Kind].Event("%s", fmt.Sprintf("Epoch %d, primary %s, voters %s: %s", c.To.Epoch, c.To.Primary, list(c.To.Voters), c.Why))
}

// Replaced is the event of a pod that was deleted to be made anew.
func Replaced(member, why string) event.Event {
	return event.Definition{Type: event.Normal, Reason: "InstanceReplaced", Action: "DeletePod",
		Meaning: "A pod was deleted to be made anew; its volume stays."}.Event("%s: %s", member, why)
}

// VolumeGrown is the event of a volume claim that was enlarged.
func VolumeGrown(member, from, to, why string) event.Event {
	return event.Definition{Type: event.Normal, Reason: "VolumeGrown", Action: "EnlargeVolume",
		Meaning: "A volume claim was enlarged, because its volume runs full or spec.storage.size was raised; the storage class does the rest."}.Event(
		"the volume of %s grows from %s to %s: %s", member, from, to, why)
}

// Answered is the event of a one-time request.
func Answered(done topology.DoneRequest) event.Event {
	if done.Refused == "" {
		return event.Definition{Type: event.Normal, Reason: "RequestFulfilled", Action: "AnswerRequest",
			Meaning: "A request made by annotation was fulfilled."}.Event("%s: done", done.Request)
	}
	return event.Definition{Type: event.Warning, Reason: "RequestRefused", Action: "AnswerRequest",
		Meaning: "A request made by annotation was refused; the note says why."}.Event("%s: %s", done.Request, done.Refused)
}

// Archived is the event of errant transactions that were put aside.
func Archived(member, folder string) event.Event {
	return event.Definition{Type: event.Warning, Reason: "ErrantTransactionsArchived", Action: "ArchiveTransactions",
		Meaning: "Transactions that only one instance held were archived on its volume, before it gives them up."}.Event(
		"%s held transactions that the primary does not have; they are archived on its volume in %s", member, folder)
}

// Rejoined is the event of a former primary's way back: the choice between removing what nobody had acknowledged and CLONE,
// with its reason. ok is false as long as there is nothing to tell.
func Rejoined(member string, r instance.Rejoin) (e event.Event, ok bool) {
	doubt := event.Definition{Type: event.Warning, Reason: "RejoinInDoubt", Action: "StartFormerPrimary",
		Meaning: "A former primary is not brought back by removing its unacknowledged tail, but by CLONE; the note says why."}
	switch {
	case r.Doubt != "" && r.Archive != "":
		return doubt.Event(
			"%s: rebuild by CLONE because %s; the tail is archived on its volume in %s", member, r.Doubt, r.Archive), true
	case r.Doubt != "":
		return doubt.Event(
			"%s: rebuild by CLONE because %s", member, r.Doubt), true
	case r.Done:
		return event.Definition{Type: event.Normal, Reason: "Rejoined", Action: "StartFormerPrimary",
			Meaning: "A former primary came back by removing what nobody had acknowledged from its binary log."}.Event(
			"%s rejoined by removing %d transactions from the binary log: %s, archived in %s", member, r.Count, r.Removed, r.Archive), true
	}
	return event.Event{}, false
}

// Lost is the event of a primary that was found dead.
func Lost(why string) event.Event {
	return event.Definition{Type: event.Warning, Reason: "PrimaryLost", Action: "FenceVoters",
		Meaning: "The primary was found dead; its voters are fenced and one of them will be promoted."}.Event("%s", why)
}

// Rebuilding is the event of an instance whose data is being replaced; seeded says that what is stored of the cluster is restored, if that can be.
func Rebuilding(member, why string, seeded bool) event.Event {
	if seeded {
		return event.Definition{Type: event.Normal, Reason: "SeedingReplica", Action: "SeedReplica",
			Meaning: "An instance restores what is stored of the cluster, to become a replica without copying the primary's data."}.Event(
			"%s restores the newest backup: %s", member, why)
	}
	return event.Definition{Type: event.Normal, Reason: "RebuildingInstance", Action: "CloneInstance",
		Meaning: "An instance copies the primary's data."}.Event("%s copies the primary's data: %s", member, why)
}

// Seeded is the event of the end of a restore that stands in for a copy of the data. ok is false as long as there is nothing to tell.
func Seeded(member string, r instance.RestoreReport) (e event.Event, ok bool) {
	switch r.State {
	case instance.RestoreDone:
		return event.Definition{Type: event.Normal, Reason: "ReplicaSeeded", Action: "SeedReplica",
			Meaning: "A replica was made from what is stored of the cluster, and follows the primary from there."}.Event("%s was made from %s", member, r.Plan), true
	case instance.RestoreFailed:
		return event.Definition{Type: event.Warning, Reason: "ReplicaNotSeeded", Action: "SeedReplica",
			Meaning: "A replica could not be made from what is stored of the cluster, and is made by CLONE instead; the note says why."}.Event(
			"%s is made by CLONE: %s", member, r.Problem), true
	case instance.RestorePlanning, instance.RestoreUnpacking, instance.RestoreReplaying, instance.RestoreVerifying:
	}
	return event.Event{}, false
}

// BackupMade is the event of a MySQLBackup that the operator makes.
func BackupMade(name, why string) event.Event {
	return event.Definition{Type: event.Normal, Reason: "BackupDue", Action: "MakeBackup",
		Meaning: "A full backup is due; the operator made a MySQLBackup for it."}.Event("%s: %s", name, why)
}

// BackupEnded is the event of a full backup that is stored, or was given up.
func BackupEnded(s v1alpha1.MySQLBackupStatus) event.Event {
	if s.Phase == v1alpha1.BackupCompleted {
		return event.Definition{Type: event.Normal, Reason: "BackupCompleted", Action: "TakeBackup",
			Meaning: "A full backup is stored as a whole."}.Event("%s, taken on %s, is stored", s.Size, s.Instance)
	}
	return event.Definition{Type: event.Warning, Reason: "BackupFailed", Action: "TakeBackup",
		Meaning: "A full backup was given up; the note says why."}.Event("%s", s.Message)
}

// BackupExpired is the event of a MySQLBackup that is deleted because nothing is stored of it any more.
func BackupExpired(why string) event.Event {
	return event.Definition{Type: event.Normal, Reason: "BackupExpired", Action: "DeleteBackup",
		Meaning: "A MySQLBackup was deleted because nothing is stored of it any more."}.Event("%s", why)
}

// Restored is the event of a restore that has come as far as its status says. ok is false if there is nothing to tell.
func Restored(s v1alpha1.MySQLRestoreStatus) (e event.Event, ok bool) {
	define := func(t event.Type, reason, meaning string) event.Definition {
		return event.Definition{Type: t, Reason: reason, Action: "Restore", Meaning: meaning}
	}
	switch s.Phase {
	case v1alpha1.RestoreRestoring:
		return define(event.Normal, "RestoreBegun", "A MySQLCluster was made that begins with a backup.").Event("%s", s.Message), true
	case v1alpha1.RestoreCompleted:
		return define(event.Normal, "RestoreCompleted", "The restored MySQLCluster takes writes.").Event("%s, %s after it was made", s.Message, s.Took), true
	case v1alpha1.RestoreFailed:
		return define(event.Warning, "RestoreFailed", "A restore cannot be done; the note says why.").Event("%s", s.Message), true
	case v1alpha1.RestorePending:
	}
	return event.Event{}, false
}

// DrillBegun is the event of a restore drill that begins.
func DrillBegun(name string) event.Event {
	return event.Definition{Type: event.Normal, Reason: "DrillBegun", Action: "Drill",
		Meaning: "A restore drill was begun: a MySQLCluster was made from what is stored, and goes when it was checked."}.Event("MySQLCluster %s is restored from what is stored", name)
}

// DrillEnded is the event of one that has ended.
func DrillEnded(s v1alpha1.DrillStatus) event.Event {
	if s.Result == v1alpha1.DrillPassed {
		return event.Definition{Type: event.Normal, Reason: "DrillPassed", Action: "Drill",
			Meaning: "A restore drill has brought back what is stored, and it is what was backed up."}.Event("%s", s.Message)
	}
	return event.Definition{Type: event.Warning, Reason: "DrillFailed", Action: "Drill",
		Meaning: "A restore drill has failed: what is stored cannot be brought back, or is not what was backed up; the note says why."}.Event("%s", s.Message)
}
