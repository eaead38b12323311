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

// drillCases are those of the condition BackupProven, by the newest drill and by how long ago one has passed. The database is ready in all of them.
func drillCases() map[string]struct {
	change func(in *Input)
	want   finding
} {
	const day = 24 * time.Hour
	type test = struct {
		change func(in *Input)
		want   finding
	}
	drilled := func(result v1alpha1.DrillResult, passed time.Duration) func(in *Input) {
		return func(in *Input) {
			in.archiving()
			in.Cluster.Spec.Backup.Verify = &v1alpha1.Verify{Schedule: "0 5 * * 0"}
			in.Cluster.CreationTimestamp = metav1.NewTime(in.Observation.Now)
			if result != "" {
				in.Drill.Status = &v1alpha1.DrillStatus{Result: result, Message: "as it was"}
			}
			if passed > 0 {
				at := metav1.NewTime(in.Observation.Now.Add(-passed))
				in.Drill.Status.LastPassedAt = &at
			}
		}
	}
	is := func(status metav1.ConditionStatus, reason, words string) finding {
		return finding{v1alpha1.ConditionBackupProven, status, reason, words}
	}
	return map[string]test{
		"no drill was held":             {drilled("", 0), is(unknown, v1alpha1.ReasonAwaitingDrill, "when there is a full backup")},
		"the first drill is under way":  {drilled(v1alpha1.DrillRunning, 0), is(unknown, v1alpha1.ReasonAwaitingDrill, "as it was")},
		"a drill is under way":          {drilled(v1alpha1.DrillRunning, day), is(yes, v1alpha1.ReasonDrillPassed, "under way")},
		"the newest drill has passed":   {drilled(v1alpha1.DrillPassed, 6*day), is(yes, v1alpha1.ReasonDrillPassed, "as it was")},
		"the newest drill has failed":   {drilled(v1alpha1.DrillFailed, day), is(no, v1alpha1.ReasonDrillFailed, "as it was")},
		"no drill passes any more":      {drilled(v1alpha1.DrillPassed, 9*day), is(no, v1alpha1.ReasonDrillOverdue, "no drill has passed for longer")},
		"the newest drill does not end": {drilled(v1alpha1.DrillRunning, 9*day), is(no, v1alpha1.ReasonDrillOverdue, "no drill has passed for longer")},
		"a schedule of drills that cannot be read": {func(in *Input) {
			drilled(v1alpha1.DrillPassed, day)(in)
			in.Drill.ScheduleProblem = "spec.backup.verify.schedule cannot be understood"
		}, is(no, v1alpha1.ReasonScheduleInvalid, "verify.schedule")},
	}
}

// TestDrillsAreInTheStatus: as they were decided about, and nothing is said of them where none are held.
func TestDrillsAreInTheStatus(t *testing.T) {
	in := scene()
	drillCases()["the newest drill has passed"].change(in)
	if got := Derive(decided(in)).Backup.Drill; got != in.Drill.Status {
		t.Errorf("it is %+v", got)
	}
	in = scene()
	in.archiving()
	if got := Derive(decided(in)); got.Backup.Drill != nil || find(got.Conditions, v1alpha1.ConditionBackupProven).Type != "" {
		t.Errorf("without drills: %+v", got)
	}
}
