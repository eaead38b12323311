package protect

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// LabelScheduled is on the MySQLBackups that the operator has made, with what for.
const LabelScheduled = "mysql.kapok.dev/taken-for"

// The values of LabelScheduled.
const (
	// ForSchedule: it was due by spec.backup.schedule.
	ForSchedule = "schedule"
	// ForArchive: the archive needs a full backup: there was none, or a gap is to be closed.
	ForArchive = "archive"
	// ForUpgrade: instances are about to be made anew with another image.
	ForUpgrade = "upgrade"
)

// AnnotationImage is on the MySQLBackups for an upgrade: the image that it is to.
const AnnotationImage = "mysql.kapok.dev/before-image"

// AnnotationDue is on the MySQLBackups that the operator has made, and on the MySQLClusters of drills: the moment that they are for.
const AnnotationDue = "mysql.kapok.dev/due"

const (
	// furthest is how far back a moment of the schedule that was missed is looked for; of several, the newest is made up for.
	furthest = 40 * 24 * time.Hour
	// again is how long after a full backup for the archive the next one may be made.
	again = 10 * time.Minute
)

// schedule decides whether a full backup is due.
func (x *scene) schedule() {
	if x.target == nil || x.Cluster.DeletionTimestamp != nil {
		return
	}
	spec := x.Cluster.Spec.Backup
	plan, err := Schedule(spec)
	if err != nil {
		x.out.ScheduleProblem = err.Error()
	}
	newest, open := x.newest()
	if open || x.primary == nil {
		return
	}
	if x.upgrades() && x.beforeUpgrade() == nil {
		x.out.Create = append(x.out.Create, Creation{
			Name: fmt.Sprintf("%s-up-%s", x.Cluster.Name, x.now.UTC().Truncate(again).Format("20060102-1504")), Due: x.now.Truncate(again),
			For: ForUpgrade, Image: x.Upgrading, Why: "instances are to be made anew with another image: " + x.Upgrading,
		})
		x.soon()
		return
	}
	if why := x.needed(newest); why != "" {
		// One name for some time, so that a cache that does not show it yet makes no second one.
		x.create(x.now.Truncate(again), ForArchive, why)
		return
	}
	if plan == nil {
		return
	}
	since := later(later(newest, x.Cluster.CreationTimestamp.Time), x.now.Add(-furthest))
	due, next := missed(plan, since, x.now)
	if !due.IsZero() {
		x.create(due, ForSchedule, "due by spec.backup.schedule")
		return
	}
	x.lookAgainAt(next)
}

// missed returns the newest moment of a schedule after since that is not later than now; zero if there is none. next is the one after now.
func missed(plan cron.Schedule, since, now time.Time) (due, next time.Time) {
	next = plan.Next(since)
	for !next.IsZero() && !next.After(now) {
		due, next = next, plan.Next(next)
	}
	return due, next
}

// lookAgainAt has the next decision made at a moment at the latest.
func (x *scene) lookAgainAt(at time.Time) {
	if left := at.Sub(x.now); !at.IsZero() && (x.out.LookAgain == 0 || left < x.out.LookAgain) {
		x.out.LookAgain = min(max(left, time.Second), calm)
	}
}

// later returns the later of two moments.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// needed says why the archive needs a full backup now; "" if it does not. newest is when the operator has made the last one.
func (x *scene) needed(newest time.Time) string {
	if x.archive == nil || !x.archive.Listed || x.now.Sub(newest) < again {
		return ""
	}
	switch {
	case len(x.archive.Stored) == 0:
		return "there is no full backup yet, and the archive is of no use without one"
	case x.archive.Missing != "":
		return "transactions are missing in the archive, and a full backup closes the gap"
	}
	return ""
}

// newest returns for when the operator has made the newest MySQLBackup, and whether any is open.
func (x *scene) newest() (newest time.Time, open bool) {
	for i := range x.Backups {
		b := &x.Backups[i]
		if b.DeletionTimestamp == nil && (b.Status.Phase == "" || b.Status.Phase == v1alpha1.BackupPending || b.Status.Phase == v1alpha1.BackupRunning) {
			open = true
		}
		if due, err := time.Parse(time.RFC3339, b.Annotations[AnnotationDue]); err == nil && due.After(newest) {
			newest = due
		}
	}
	return newest, open
}

func (x *scene) create(due time.Time, what, why string) {
	x.out.Create = append(x.out.Create, Creation{
		Name: fmt.Sprintf("%s-%s", x.Cluster.Name, due.UTC().Format("20060102-150405")), Due: due, For: what, Why: why,
	})
	x.soon()
}

// Schedule reads the schedule of a cluster's backups; nil if it has none. Its error says which field is wrong.
func Schedule(spec *v1alpha1.Backup) (cron.Schedule, error) {
	if spec == nil || spec.Schedule == "" {
		return nil, nil
	}
	return parse("spec.backup.schedule", spec.Schedule, spec.TimeZone)
}

// VerifySchedule reads the schedule of a cluster's restore drills; nil if it has none. Its error says which field is wrong.
func VerifySchedule(spec *v1alpha1.Backup) (cron.Schedule, error) {
	if spec == nil || spec.Verify == nil {
		return nil, nil
	}
	return parse("spec.backup.verify.schedule", spec.Verify.Schedule, spec.TimeZone)
}

// parse reads a line of a schedule.
func parse(field, line, zone string) (cron.Schedule, error) {
	if zone == "" {
		zone = "UTC"
	}
	if _, err := time.LoadLocation(zone); err != nil {
		return nil, fmt.Errorf("spec.backup.timeZone %q is no time zone that is known: use a name such as Europe/Berlin", zone)
	}
	plan, err := cron.ParseStandard("CRON_TZ=" + zone + " " + line)
	if err != nil {
		return nil, fmt.Errorf("%s %q cannot be understood: %w", field, line, err)
	}
	return plan, nil
}

// Overdue is how old the newest full backup may become before something is wrong: as old as the longest time between two moments of the schedule, and
// a quarter of that, but no less than an hour and no more than a day, for what it takes to make one. It is 0 without a schedule, and with one that
// cannot be understood or never comes.
func Overdue(spec *v1alpha1.Backup) time.Duration { return overdue(Schedule(spec)) }

// Unproven is the same of the last drill that has passed.
func Unproven(spec *v1alpha1.Backup) time.Duration { return overdue(VerifySchedule(spec)) }

func overdue(plan cron.Schedule, err error) time.Duration {
	if plan == nil || err != nil {
		return 0
	}
	// The moments of a year one by one, as long as there are few; and the first of each day, for those that come often on some days and on others not.
	const daysOfAYear = 366
	longest, at := time.Duration(0), time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)
	last := plan.Next(at)
	if last.IsZero() {
		return 0
	}
	for day := range daysOfAYear {
		from := at.AddDate(0, 0, day)
		first, next := plan.Next(from), plan.Next(last)
		if first.IsZero() || next.IsZero() {
			break // It comes so seldom that the next one is not looked for.
		}
		longest = max(longest, first.Sub(from), next.Sub(last))
		last = next
	}
	return longest + min(max(longest/4, time.Hour), 24*time.Hour)
}
