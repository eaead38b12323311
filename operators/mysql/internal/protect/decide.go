package protect

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// Input is what a decision rests on.
type Input struct {
	// Cluster is the custom resource.
	Cluster *v1alpha1.MySQLCluster
	// Observation is of its instances.
	Observation topology.Observation
	// Backups are its MySQLBackups.
	Backups []v1alpha1.MySQLBackup
	// Upgrading is the image that instances are to be made anew with, if any of them has another; "" otherwise.
	Upgrading string
	// Drilled is the MySQLCluster that has the name of a drill; nil if there is none.
	Drilled *Drilled
	// LargestVolume is the size of the cluster's largest volume claim, which may have grown beyond what the specification says; zero if there is none.
	LargestVolume resource.Quantity
}

// Decision is what to do about the backups of a cluster.
type Decision struct {
	// Create are MySQLBackups to make.
	Create []Creation
	// Updates are MySQLBackups with another status or finalizer than they have.
	Updates []Update
	// Delete are MySQLBackups of which nothing is stored any more.
	Delete []Deletion
	// Drill is what to do about restore drills.
	Drill Drill
	// ScheduleProblem is what is wrong with the schedule; "" if nothing is.
	ScheduleProblem string
	// LookAgain is when to decide again at the latest; 0 if nothing but an event changes anything.
	LookAgain time.Duration
}

// Creation is a MySQLBackup to make.
type Creation struct {
	// Name is its name. It follows from what it is for, so that it is made once.
	Name string
	// Due is the moment of the schedule that it is for.
	Due time.Time
	// For is the value of LabelScheduled, Why says why in words. Image is what an upgrade is to, if it is for one.
	For   string
	Why   string
	Image string
}

// Update is a MySQLBackup that shall be another one.
type Update struct {
	// Backup is the object as it was observed.
	Backup v1alpha1.MySQLBackup
	// Status is its status as it shall be.
	Status v1alpha1.MySQLBackupStatus
	// Finalizer says whether the finalizer is to be there.
	Finalizer bool
}

// Ended says that it is over with the backup: it is stored, or was given up.
func (u Update) Ended() bool {
	return u.Status.Phase != u.Backup.Status.Phase && (u.Status.Phase == v1alpha1.BackupCompleted || u.Status.Phase == v1alpha1.BackupFailed)
}

// Deletion is a MySQLBackup to delete.
type Deletion struct {
	// Backup is the object.
	Backup v1alpha1.MySQLBackup
	// Why says why.
	Why string
}

// The pace of looking again.
const (
	// whileTaking is when to look again while a backup is waited for.
	whileTaking = 5 * time.Second
	// calm is when to look again otherwise.
	calm = time.Minute
)

// Decide decides about the backups of a cluster.
func Decide(in Input) Decision {
	x := newScene(in)
	for i := range in.Backups {
		x.decideAbout(&in.Backups[i])
	}
	x.schedule()
	x.drill()
	if x.out.LookAgain == 0 && x.target != nil {
		x.out.LookAgain = calm
	}
	return x.out
}

// Orphaned decides about the backups of a cluster that does not exist.
func Orphaned(cluster string, backups []v1alpha1.MySQLBackup, now time.Time) Decision {
	x := &scene{now: now}
	for i := range backups {
		b := &backups[i]
		if b.DeletionTimestamp != nil {
			// Nobody is there who could delete what is stored.
			if slices.Contains(b.Finalizers, Finalizer) {
				x.out.Updates = append(x.out.Updates, Update{Backup: *b, Status: b.Status})
			}
			continue
		}
		next := *b.DeepCopy()
		switch b.Status.Phase {
		case v1alpha1.BackupRunning:
			next.Status.Phase, next.Status.Message = v1alpha1.BackupFailed, "MySQLCluster "+cluster+" was deleted while the backup was taken"
		case v1alpha1.BackupPending, "":
			next.Status.Phase, next.Status.Message = v1alpha1.BackupPending, "MySQLCluster "+cluster+" does not exist"
		case v1alpha1.BackupCompleted, v1alpha1.BackupFailed:
		}
		x.update(b, next)
	}
	return x.out
}

// scene is everything that a decision looks at, and the decision as far as it has come.
type scene struct {
	Input
	target *v1alpha1.BackupTarget
	// primary serves; nil if none does. archive is what it says about the archive; nil if it says nothing.
	primary *topology.Member
	archive *instance.ArchiveReport
	// taking is the MySQLBackup that is being taken; only one is at a time.
	taking *v1alpha1.MySQLBackup
	now    time.Time
	out    Decision
}

func newScene(in Input) *scene {
	in.Backups = slices.Clone(in.Backups)
	slices.SortFunc(in.Backups, func(a, b v1alpha1.MySQLBackup) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	x := &scene{Input: in, now: in.Observation.Now}
	if b := in.Cluster.Spec.Backup; b != nil {
		x.target = b.Target
	}
	x.primary = serving(in.Observation)
	if x.primary != nil && x.primary.Report.Backup != nil {
		x.archive = x.primary.Report.Backup.Archive
	}
	for i := range in.Backups {
		if b := &in.Backups[i]; b.Status.Phase == v1alpha1.BackupRunning && b.DeletionTimestamp == nil && x.taking == nil {
			x.taking = b
		}
	}
	return x
}

// serving returns the primary of the epoch if it serves.
func serving(o topology.Observation) *topology.Member {
	p := o.Primary()
	if p == nil || !p.Connected || p.Report == nil || !p.Report.Serving || p.Report.Epoch != o.Record.Epoch {
		return nil
	}
	return p
}

// soon has the next decision come soon.
func (x *scene) soon() { x.out.LookAgain = whileTaking }
