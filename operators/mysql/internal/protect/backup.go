package protect

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/condition"
)

// Finalizer keeps a MySQLBackup whose deletion deletes what is stored until that has happened.
const Finalizer = "mysql.kapok.dev/stored-backup"

const (
	// attempts is how often a full backup is tried.
	attempts = 6
	// firstPause is the pause after the first failure; each one is twice as long as the one before, up to longestPause.
	firstPause   = 30 * time.Second
	longestPause = 15 * time.Minute
	// lostAfter is for how long an instance that takes a backup may be silent before another one takes it.
	lostAfter = 2 * time.Minute
	// spared is for how long a backup waits for a replica before the primary takes it, which has writers to serve.
	spared = 10 * time.Minute
	// settled is how long ago a backup must have been finished before its absence from the catalog is believed: the catalog may have been read before.
	settled = time.Hour
)

// decideAbout decides about one MySQLBackup.
func (x *scene) decideAbout(b *v1alpha1.MySQLBackup) {
	if b.DeletionTimestamp != nil {
		x.leave(b)
		return
	}
	next := *b.DeepCopy()
	switch b.Status.Phase {
	case v1alpha1.BackupCompleted:
		if x.expired(b) {
			x.out.Delete = append(x.out.Delete, Deletion{Backup: *b, Why: "what it describes is not kept any longer, or was deleted from the target"})
			return
		}
	case v1alpha1.BackupFailed:
		if keep := x.keepFor(); keep > 0 && x.now.Sub(b.CreationTimestamp.Time) > keep && b.Labels[LabelScheduled] != "" {
			x.out.Delete = append(x.out.Delete, Deletion{Backup: *b, Why: "it failed longer ago than backups are kept"})
			return
		}
	case v1alpha1.BackupRunning:
		x.follow(&next)
	case v1alpha1.BackupPending, "":
		x.begin(&next)
	}
	x.update(b, next)
}

// update adds a MySQLBackup to the decision if it is not as it is.
func (x *scene) update(b *v1alpha1.MySQLBackup, next v1alpha1.MySQLBackup) {
	x.complete(&next)
	keep := b.Spec.DeletionPolicy == v1alpha1.DeletionDelete
	if equality.Semantic.DeepEqual(b.Status, next.Status) && slices.Contains(b.Finalizers, Finalizer) == keep {
		return
	}
	x.out.Updates = append(x.out.Updates, Update{Backup: *b, Status: next.Status, Finalizer: keep})
}

// complete writes the condition that goes with a phase.
func (x *scene) complete(b *v1alpha1.MySQLBackup) {
	status, reason := metav1.ConditionUnknown, v1alpha1.ReasonWaiting
	switch b.Status.Phase {
	case v1alpha1.BackupCompleted:
		status, reason = metav1.ConditionTrue, v1alpha1.ReasonStored
	case v1alpha1.BackupFailed:
		status, reason = metav1.ConditionFalse, v1alpha1.ReasonBackupFailed
	case v1alpha1.BackupRunning:
		reason = v1alpha1.ReasonTaking
	case v1alpha1.BackupPending, "":
	}
	now := []metav1.Condition{condition.New(v1alpha1.ConditionComplete, status, reason, b.Status.Message)}
	b.Status.Conditions = condition.Merge([]string{v1alpha1.ConditionComplete}, b.Status.Conditions, now, b.Generation, metav1.NewTime(x.now))
}

// leave decides about a MySQLBackup that is being deleted: it goes when what is stored of it has gone, or stays stored.
func (x *scene) leave(b *v1alpha1.MySQLBackup) {
	if !slices.Contains(b.Finalizers, Finalizer) {
		return
	}
	stored := b.Spec.DeletionPolicy == v1alpha1.DeletionDelete && x.Cluster.DeletionTimestamp == nil && x.storedHere(b)
	if stored && (x.archive == nil || !slices.Contains(x.archive.Gone, b.Name)) {
		x.soon()
		next := *b.DeepCopy()
		next.Status.Message = "the primary has to delete what is stored of it; with deletionPolicy Retain that stays, and this object goes at once"
		if !equality.Semantic.DeepEqual(b.Status, next.Status) {
			x.out.Updates = append(x.out.Updates, Update{Backup: *b, Status: next.Status, Finalizer: true})
		}
		return
	}
	x.out.Updates = append(x.out.Updates, Update{Backup: *b, Status: b.Status})
}

// listed returns what the catalog says of a backup; nil if it is not in it.
func (x *scene) listed(name string) *instance.StoredFull {
	if x.archive == nil {
		return nil
	}
	for i := range x.archive.Stored {
		if x.archive.Stored[i].Name == name {
			return &x.archive.Stored[i]
		}
	}
	return nil
}

// expired says whether nothing is stored of a completed backup any more.
func (x *scene) expired(b *v1alpha1.MySQLBackup) bool {
	if x.archive == nil || !x.archive.Listed || len(x.archive.Damaged) > 0 || !x.storedHere(b) || x.listed(b.Name) != nil || b.Status.FinishedAt == nil {
		return false
	}
	if named := x.archive.Stored; len(named) >= instance.StoredReported && b.Status.FinishedAt.Time.Before(named[0].Finished) {
		return false // It may be one of those that a report does not name.
	}
	return x.now.Sub(b.Status.FinishedAt.Time) > settled
}

// keepFor is for how long backups are kept; 0 if nobody says.
func (x *scene) keepFor() time.Duration {
	if x.Cluster.Spec.Backup == nil {
		return 0
	}
	return time.Duration(x.Cluster.Spec.Backup.Retention) * 24 * time.Hour
}

// begin decides whether a backup can be taken now, and by whom.
func (x *scene) begin(b *v1alpha1.MySQLBackup) {
	wait := func(format string, args ...any) {
		b.Status.Phase, b.Status.Message = v1alpha1.BackupPending, fmt.Sprintf(format, args...)
	}
	switch {
	case x.Cluster.DeletionTimestamp != nil:
		wait("MySQLCluster %s is being deleted", x.Cluster.Name)
		return
	case x.target == nil:
		wait("MySQLCluster %s has no spec.backup.target", x.Cluster.Name)
		return
	}
	x.soon()
	if b.Status.FailedAt != nil {
		if pause := pauseAfter(b.Status.Attempt); x.now.Sub(b.Status.FailedAt.Time) < pause {
			b.Status.Phase = v1alpha1.BackupPending
			return // The message says why it failed.
		}
	}
	switch {
	case x.taking != nil:
		wait("waits for %s, which is being taken", x.taking.Name)
		return
	case x.primary == nil:
		wait("waits for a primary that serves")
		return
	}
	m := x.choose(b.Status.Instance)
	if waited := x.now.Sub(b.CreationTimestamp.Time); m == x.primary && x.Cluster.Spec.Instances > 1 && waited < spared {
		wait("waits for a replica that follows and votes; %s after it was asked for, the primary takes it", spared)
		return
	}
	now := metav1.NewTime(x.now)
	b.Status.Phase, b.Status.Instance, b.Status.ClusterUID, b.Status.Target = v1alpha1.BackupRunning, m.Name, string(x.Cluster.UID), x.target.DeepCopy()
	b.Status.Attempt++
	b.Status.StartedAt, b.Status.FailedAt = &now, nil
	b.Status.Message = m.Name + " is about to begin"
	x.taking = b
}

// pauseAfter is how long to wait after so many attempts.
func pauseAfter(attempt int32) time.Duration {
	return min(longestPause, firstPause<<min(max(0, attempt-1), 10))
}

// choose returns the instance to take a backup: a replica that follows, if possible another one than has just failed, and the primary only where
// there is no such replica.
func (x *scene) choose(failed string) *topology.Member {
	var fit []*topology.Member
	for i := range x.Observation.Members {
		m := &x.Observation.Members[i]
		if m == x.primary || m.Report == nil || !m.Connected || !x.Observation.IsVoter(m.Name) {
			continue
		}
		r := m.Report
		if r.State == instance.StateRunning && r.Role == instance.RoleReplica && r.Epoch == x.Observation.Record.Epoch && !r.Stalled && !r.Terminating &&
			r.Applier.LagSeconds < int64(instance.LagBound.Seconds()) {
			fit = append(fit, m)
		}
	}
	if len(fit) == 0 {
		return x.primary
	}
	// The one with the most room, but for the one that failed.
	slices.SortStableFunc(fit, func(a, b *topology.Member) int {
		return cmp.Or(boolean(a.Name == failed)-boolean(b.Name == failed), cmp.Compare(b.Report.Volume.Free, a.Report.Volume.Free))
	})
	return fit[0]
}

func boolean(is bool) int {
	if is {
		return 1
	}
	return 0
}

// follow decides about a backup that an instance takes.
func (x *scene) follow(b *v1alpha1.MySQLBackup) {
	if x.Cluster.DeletionTimestamp != nil || b.Status.ClusterUID != string(x.Cluster.UID) {
		b.Status.Phase, b.Status.Message = v1alpha1.BackupFailed, "MySQLCluster "+x.Cluster.Name+" was deleted while the backup was taken"
		return
	}
	x.soon()
	if stored := x.listed(b.Name); stored != nil {
		finish(b, stored)
		return
	}
	if x.target == nil {
		x.fail(b, fmt.Sprintf("MySQLCluster %s has no spec.backup.target any more", x.Cluster.Name))
		return
	}
	i := slices.IndexFunc(x.Observation.Members, func(m topology.Member) bool { return m.Name == b.Status.Instance })
	if i < 0 {
		x.fail(b, b.Status.Instance+" is no part of the cluster any more")
		return
	}
	m := &x.Observation.Members[i]
	full := fullOf(m, b)
	switch {
	case full != nil && full.State == instance.FullDone && full.Stored != nil:
		finish(b, full.Stored)
	case full != nil && full.State == instance.FullFailed:
		x.fail(b, full.Problem)
	case !m.Connected && m.Silence > lostAfter:
		x.fail(b, b.Status.Instance+" has not been heard for "+lostAfter.String())
	case full == nil:
		b.Status.Message = b.Status.Instance + " is about to begin"
	default:
		b.Status.Message = map[instance.FullState]string{
			instance.FullCopying:    b.Status.Instance + " copies its data",
			instance.FullStoring:    fmt.Sprintf("%s stores its copy: %d %% done", b.Status.Instance, full.Percent),
			instance.FullConfirming: b.Status.Instance + " waits until the primary is known to hold all of it",
		}[full.State]
	}
}

// fail ends an attempt.
func (x *scene) fail(b *v1alpha1.MySQLBackup, why string) {
	now := metav1.NewTime(x.now)
	b.Status.FailedAt = &now
	if b.Status.Attempt >= attempts {
		b.Status.Phase, b.Status.Message = v1alpha1.BackupFailed, bounded(fmt.Sprintf("given up after %d attempts: %s", b.Status.Attempt, why))
		return
	}
	b.Status.Phase = v1alpha1.BackupPending
	b.Status.Message = bounded(fmt.Sprintf("attempt %d failed, the next one begins in %s: %s", b.Status.Attempt, pauseAfter(b.Status.Attempt), why))
}

// finish takes over what is stored.
func finish(b *v1alpha1.MySQLBackup, stored *instance.StoredFull) {
	at := func(t time.Time) *metav1.Time {
		out := metav1.NewTime(t)
		return &out
	}
	s := &b.Status
	s.Phase, s.Message, s.FailedAt = v1alpha1.BackupCompleted, "stored as a whole", nil
	s.Instance, s.Version, s.Method, s.Encrypted = stored.Instance, stored.Version, stored.Method, stored.Sealed
	s.StartedAt, s.FinishedAt, s.RestorableFrom = at(stored.Began), at(stored.Finished), at(upToSecond(stored.Newest))
	s.Size, s.DataSize = bytes(stored.StoredBytes), bytes(stored.Bytes)
	s.GTIDs = stored.Holds
	if len(s.GTIDs) > longestGTIDs {
		s.GTIDs = ""
	}
}

// longestGTIDs bounds the set in a status; the manifest in the target has it in any case.
const longestGTIDs = 65536

// upToSecond is the first full second that is not earlier: a status has whole seconds, and earlier ones cannot be restored.
func upToSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); whole.Before(t) {
		return whole.Add(time.Second)
	}
	return t
}

// bytes is a number of bytes for people.
func bytes(n int64) string {
	for _, unit := range []struct {
		suffix string
		size   int64
	}{{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}} {
		if n >= 10*unit.size {
			return fmt.Sprintf("%d%s", n/unit.size, unit.suffix)
		}
	}
	return resource.NewQuantity(n, resource.BinarySI).String()
}

// bounded cuts a message to what a status takes.
func bounded(message string) string {
	const most = 1024
	if len(message) <= most {
		return message
	}
	return message[:most-3] + "..."
}
