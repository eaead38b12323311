package status

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
	"github.com/kapok-operators/kapok/shared/condition"
)

// archive is what the serving primary says about the archive; nil if nobody says anything.
func archive(in Input) *instance.ArchiveReport {
	p := in.Observation.Primary()
	if p == nil || !p.Connected || p.Report == nil || !p.Report.Serving || p.Report.Backup == nil {
		return nil
	}
	return p.Report.Backup.Archive
}

// backupReady says whether the cluster could be brought back from its backups, to a moment not long ago. Nothing else depends on it: a store that
// is away must not look like a database that is.
func backupReady(in Input) metav1.Condition {
	is := func(t metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition.New(v1alpha1.ConditionBackupReady, t, reason, bounded(message))
	}
	if in.Cluster.Spec.Backup.Target == nil {
		return is(metav1.ConditionFalse, v1alpha1.ReasonNoTarget, "spec.backup has no target, so that nothing is taken: set spec.backup.target")
	}
	if in.ScheduleProblem != "" {
		return is(metav1.ConditionFalse, v1alpha1.ReasonScheduleInvalid, in.ScheduleProblem)
	}
	if p := in.BackupProblem; p != nil {
		return is(metav1.ConditionFalse, p.Reason, p.Message)
	}
	a := archive(in)
	if a == nil {
		return is(metav1.ConditionUnknown, v1alpha1.ReasonAwaitingArchiver, "no primary archives its binary log yet")
	}
	if a.Problem != "" {
		return is(metav1.ConditionFalse, cmp.Or(a.ProblemReason, v1alpha1.ReasonStoreFailing), in.Observation.Record.Primary+": "+a.Problem)
	}
	if a.Missing != "" {
		return is(metav1.ConditionFalse, v1alpha1.ReasonArchiveGap, fmt.Sprintf(
			"the archive lacks transactions that the binary log does not hold any more, until a full backup closes the gap: %s", a.Missing))
	}
	return stored(in, a, is)
}

// backupProven says whether the newest restore drill has brought back what is stored, and not too long ago.
func backupProven(in Input) metav1.Condition {
	is := func(t metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition.New(v1alpha1.ConditionBackupProven, t, reason, bounded(message))
	}
	if in.Drill.ScheduleProblem != "" {
		return is(metav1.ConditionFalse, v1alpha1.ReasonScheduleInvalid, in.Drill.ScheduleProblem)
	}
	d := in.Drill.Status
	since := in.Cluster.CreationTimestamp.Time
	if d != nil && d.LastPassedAt != nil {
		since = d.LastPassedAt.Time
	}
	overdue := protect.Unproven(in.Cluster.Spec.Backup)
	switch {
	case d != nil && d.Result == v1alpha1.DrillFailed:
		return is(metav1.ConditionFalse, v1alpha1.ReasonDrillFailed, d.Message)
	case d != nil && overdue > 0 && in.Observation.Now.Sub(since) > overdue:
		return is(metav1.ConditionFalse, v1alpha1.ReasonDrillOverdue,
			"no drill has passed for longer than spec.backup.verify.schedule allows; status.backup.drill.lastPassedAt says when one did")
	case d != nil && d.Result == v1alpha1.DrillPassed:
		return is(metav1.ConditionTrue, v1alpha1.ReasonDrillPassed, d.Message)
	case d != nil && d.LastPassedAt != nil:
		return is(metav1.ConditionTrue, v1alpha1.ReasonDrillPassed, "a drill is under way; the last one has passed")
	case d != nil:
		return is(metav1.ConditionUnknown, v1alpha1.ReasonAwaitingDrill, "the first drill is under way: "+d.Message)
	}
	return is(metav1.ConditionUnknown, v1alpha1.ReasonAwaitingDrill, "the first drill is held when there is a full backup")
}

// stored is the part of backupReady that is about full backups.
func stored(in Input, a *instance.ArchiveReport, is func(t metav1.ConditionStatus, reason, message string) metav1.Condition) metav1.Condition {
	if !a.Listed {
		return is(metav1.ConditionUnknown, v1alpha1.ReasonAwaitingArchiver, "it is not known yet what is stored")
	}
	if len(a.Damaged) > 0 {
		return is(metav1.ConditionFalse, v1alpha1.ReasonStoreDamaged, fmt.Sprintf(
			"what is stored of these is not what was written, and nothing is deleted until somebody has looked: %s", list(a.Damaged)))
	}
	if b := failing(in.Backups); b != nil {
		return is(metav1.ConditionFalse, v1alpha1.ReasonBackupFailed, fmt.Sprintf("MySQLBackup %s: %s", b.Name, b.Status.Message))
	}
	if len(a.Stored) == 0 {
		return is(metav1.ConditionFalse, v1alpha1.ReasonAwaitingFirstBackup, "the first full backup is not there yet; until then nothing can be brought back")
	}
	if a.Lagging {
		return is(metav1.ConditionFalse, v1alpha1.ReasonArchiveLagging, fmt.Sprintf(
			"transactions that were acknowledged more than %s ago are not archived yet", instance.LagBound))
	}
	return is(metav1.ConditionTrue, v1alpha1.ReasonAsExpected, "a full backup is stored, and what was committed since is archived")
}

// failing returns the newest MySQLBackup if its newest attempt has failed.
func failing(backups []v1alpha1.MySQLBackup) *v1alpha1.MySQLBackup {
	begun := slices.DeleteFunc(slices.Clone(backups), func(b v1alpha1.MySQLBackup) bool { return b.Status.StartedAt == nil })
	if len(begun) == 0 {
		return nil
	}
	newest := slices.MaxFunc(begun, func(a, b v1alpha1.MySQLBackup) int { return a.Status.StartedAt.Compare(b.Status.StartedAt.Time) })
	if newest.Status.FailedAt == nil {
		return nil
	}
	return &newest
}

// backup is how far the cluster can be brought back. While nobody says, it stays what it was: what is stored does not go with the primary.
func backup(in Input) *v1alpha1.BackupStatus {
	if in.Cluster.Spec.Backup == nil || in.Cluster.Spec.Backup.Target == nil {
		return nil
	}
	var out v1alpha1.BackupStatus
	if old := in.Cluster.Status.Backup; old != nil {
		out = *old.DeepCopy()
	}
	out.Drill = in.Drill.Status
	a := archive(in)
	if a == nil {
		return &out
	}
	if !a.Complete.IsZero() {
		out.RestorableTo = at(a.Complete)
	}
	if !a.Listed {
		return &out
	}
	out.Fulls = int32(min(len(a.Stored), 1<<20)) //nolint:gosec // Bounded in the same line.
	out.RestorableFrom, out.LastFull, out.LastFullAt = nil, "", nil
	if n := len(a.Stored); n > 0 {
		oldest := slices.MinFunc(a.Stored, func(x, y instance.StoredFull) int { return x.Newest.Compare(y.Newest) })
		out.RestorableFrom = at(oldest.Newest.Add(time.Second - time.Nanosecond))
		last := a.Stored[n-1]
		out.LastFull, out.LastFullAt = last.Name, at(last.Finished)
	}
	return &out
}

// at is a moment as a status has it, in whole seconds.
func at(t time.Time) *metav1.Time {
	out := metav1.NewTime(t.Truncate(time.Second))
	return &out
}
