package status

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// archiving: the primary archives to a bucket, in which a full backup is.
func (in *Input) archiving() *instance.ArchiveReport {
	in.Cluster.Spec.Backup = &v1alpha1.Backup{Target: &v1alpha1.BackupTarget{S3: &v1alpha1.S3Target{Bucket: "backups"}}}
	then := time.Unix(1_790_000_000, 500)
	a := &instance.ArchiveReport{Listed: true, Complete: then.Truncate(time.Minute), Stored: []instance.StoredFull{
		{Name: "db-1", Newest: then.Add(-time.Hour), Finished: then.Add(-time.Hour + time.Minute)},
		{Name: "db-2", Newest: then, Finished: then.Add(time.Minute)},
	}}
	in.at("db-0").Report.Backup = &instance.BackupReport{Archive: a}
	return a
}

// taken adds a MySQLBackup that was begun so long ago.
func (in *Input) taken(name string, phase v1alpha1.BackupPhase, ago time.Duration, failed string) {
	b := v1alpha1.MySQLBackup{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.MySQLBackupStatus{Phase: phase, Message: failed}}
	begun := metav1.NewTime(in.Observation.Now.Add(-ago))
	b.Status.StartedAt = &begun
	if failed != "" {
		b.Status.FailedAt = &begun
	}
	in.Backups = append(in.Backups, b)
}

// backupCases are those of the condition BackupReady. Whatever is the matter with backups, the database is ready.
func backupCases() map[string]struct {
	change func(in *Input)
	want   finding
} {
	type test = struct {
		change func(in *Input)
		want   finding
	}
	is := func(status metav1.ConditionStatus, reason, words string) finding {
		return finding{v1alpha1.ConditionBackupReady, status, reason, words}
	}
	return map[string]test{
		"backups without a target": {func(in *Input) { in.Cluster.Spec.Backup = &v1alpha1.Backup{Schedule: "0 2 * * *"} }, is(no, v1alpha1.ReasonNoTarget, "spec.backup.target")},
		"a schedule that cannot be read": {func(in *Input) {
			in.archiving()
			in.ScheduleProblem = "spec.backup.timeZone \"Mars\" is no time zone"
		}, is(no, v1alpha1.ReasonScheduleInvalid, "Mars")},
		"backups that the operator may not write": {func(in *Input) {
			in.archiving()
			in.BackupProblem = &Problem{Reason: v1alpha1.ReasonApplyFailed, Message: "make MySQLBackup db-1: forbidden"}
		}, is(no, v1alpha1.ReasonApplyFailed, "forbidden")},
		"an agent that knows nothing of archives": {func(in *Input) { in.archiving(); in.at("db-0").Report.Backup = nil }, is(unknown, v1alpha1.ReasonAwaitingArchiver, "no primary archives")},
		"an archive that was not looked at":       {func(in *Input) { a := in.archiving(); a.Listed, a.Stored = false, nil }, is(unknown, v1alpha1.ReasonAwaitingArchiver, "stored")},
		"credentials that are refused": {func(in *Input) {
			a := in.archiving()
			a.Problem, a.ProblemReason = "the key access-key-id is missing", instance.ProblemStoreDenied
		}, is(no, v1alpha1.ReasonStoreDenied, "db-0: the key")},
		"a bucket that is not there": {func(in *Input) {
			a := in.archiving()
			a.Problem, a.ProblemReason = "no such bucket", instance.ProblemStoreMissing
		}, is(no, v1alpha1.ReasonStoreMissing, "no such bucket")},
		"a store that is away": {func(in *Input) {
			a := in.archiving()
			a.Problem, a.ProblemReason = "connection refused", instance.ProblemStoreFailing
		}, is(no, v1alpha1.ReasonStoreFailing, "refused")},
		"no room for a copy": {func(in *Input) {
			a := in.archiving()
			a.Problem, a.ProblemReason = "there is no room", instance.ProblemNoSpace
		}, is(no, v1alpha1.ReasonNoSpace, "no room")},
		"a gap in the archive":       {func(in *Input) { in.archiving().Missing = "00000000-0000-4000-8000-000000000001:7" }, is(no, v1alpha1.ReasonArchiveGap, ":7")},
		"what is stored was changed": {func(in *Input) { in.archiving().Damaged = []string{"db-1"} }, is(no, v1alpha1.ReasonStoreDamaged, "db-1")},
		"no full backup yet":         {func(in *Input) { in.archiving().Stored = nil }, is(no, v1alpha1.ReasonAwaitingFirstBackup, "first full backup")},
		"an archive that lags":       {func(in *Input) { in.archiving().Lagging = true }, is(no, v1alpha1.ReasonArchiveLagging, "1m0s")},
		"a full backup that failed": {func(in *Input) {
			in.archiving()
			in.taken("db-3", v1alpha1.BackupCompleted, time.Hour, "")
			in.taken("db-4", v1alpha1.BackupPending, time.Minute, "attempt 1 failed")
		}, is(no, v1alpha1.ReasonBackupFailed, "MySQLBackup db-4: attempt 1")},
		"a full backup that failed before another": {func(in *Input) {
			in.archiving()
			in.taken("db-3", v1alpha1.BackupFailed, time.Hour, "given up")
			in.taken("db-4", v1alpha1.BackupCompleted, time.Minute, "")
		}, is(yes, v1alpha1.ReasonAsExpected, "archived")},
		"backups that are as they should be": {func(in *Input) { in.archiving() }, is(yes, v1alpha1.ReasonAsExpected, "archived")},
	}
}

// TestWhatCanBeBroughtBack: the window in which a cluster can be brought back is that of the primary's report, and it does not go with the primary.
func TestWhatCanBeBroughtBack(t *testing.T) {
	in := scene()
	if got := Derive(decided(in)).Backup; got != nil {
		t.Errorf("without a target: %+v", got)
	}
	in.archiving()
	moment := func(seconds int64) *metav1.Time {
		out := metav1.NewTime(time.Unix(seconds, 0))
		return &out
	}
	want := &v1alpha1.BackupStatus{
		// A whole second that is not earlier than the newest transaction of the oldest backup.
		RestorableFrom: moment(1_790_000_000 - 3600 + 1), RestorableTo: moment(1_789_999_980),
		LastFull: "db-2", LastFullAt: moment(1_790_000_060), Fulls: 2,
	}
	got := Derive(decided(in)).Backup
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	in.Cluster.Status.Backup = got
	in.at("db-0").Report = nil
	if diff := cmp.Diff(want, Derive(decided(in)).Backup); diff != "" {
		t.Errorf("without a primary (-want +got)\n%s", diff)
	}
	in.Cluster.Spec.Backup.Target = nil
	if got := Derive(decided(in)).Backup; got != nil {
		t.Errorf("once the target is gone: %+v", got)
	}
}
