package protect

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// made is a change for add: the operator made it for a moment.
func made(due time.Time, change func(*v1alpha1.MySQLBackup)) func(*v1alpha1.MySQLBackup) {
	return func(b *v1alpha1.MySQLBackup) {
		change(b)
		b.Annotations = map[string]string{AnnotationDue: due.Format(time.RFC3339)}
		b.Labels = map[string]string{LabelScheduled: ForSchedule}
	}
}

func TestBackupsAreMadeWhenTheyAreDue(t *testing.T) {
	night := func(day int) time.Time { return time.Date(2026, 3, day, 2, 0, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		prepare func(w *world)
		want    []string
		why     string
	}{
		"due":                {func(w *world) { w.add("a", time.Hour, made(night(0), w.completed(time.Hour))) }, []string{"db-20260301-020000"}, "schedule"},
		"made already":       {func(w *world) { w.add("a", time.Hour, made(night(1), w.completed(time.Hour))) }, nil, ""},
		"one by hand is not": {func(w *world) { w.add("a", time.Hour, w.completed(time.Hour)) }, []string{"db-20260301-020000"}, "schedule"},
		"of several that were missed the newest": {func(w *world) {
			w.add("a", time.Hour, made(now.Add(-5*24*time.Hour), w.completed(time.Hour)))
		}, []string{"db-20260301-020000"}, "schedule"},
		"a young cluster": {func(w *world) { w.Cluster.CreationTimestamp = metav1.NewTime(now.Add(-time.Hour)) }, nil, ""},
		"while one waits": {func(w *world) { w.add("a", time.Hour, nil) }, nil, ""},
		"while one runs":  {func(w *world) { w.add("a", time.Hour, w.running("db-1")) }, nil, ""},
		"no primary":      {func(w *world) { w.at("db-0").Connected = false }, nil, ""},
		"in another zone": {func(w *world) {
			w.Cluster.Spec.Backup.Schedule, w.Cluster.Spec.Backup.TimeZone = "30 9 * * *", "Asia/Kolkata"
			w.add("a", time.Hour, made(now.Add(-24*time.Hour), w.completed(time.Hour)))
		}, []string{"db-20260301-040000"}, "schedule"},
		"a line that names no day": {func(w *world) { w.Cluster.Spec.Backup.Schedule = "0 2 31 2 *" }, nil, ""},
		"no full backup at all":    {func(w *world) { w.archive.Stored = nil }, []string{"db-20260301-120000"}, "no full backup yet"},
		"a gap in the archive":     {func(w *world) { w.archive.Missing = held }, []string{"db-20260301-120000"}, "closes the gap"},
		"a gap, and a backup was made for it just now": {func(w *world) {
			w.archive.Missing = held
			w.add("a", time.Minute, made(now.Add(-5*time.Minute), w.completed(time.Second)))
		}, nil, ""},
		"nobody has looked": {func(w *world) {
			w.archive.Stored, w.archive.Listed = nil, false
			w.add("a", time.Hour, made(night(1), w.completed(time.Hour)))
		}, nil, ""},
		"no target":                    {func(w *world) { w.Cluster.Spec.Backup.Target = nil }, nil, ""},
		"the cluster is being deleted": {func(w *world) { w.Cluster.DeletionTimestamp = &metav1.Time{Time: now} }, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := healthy(t)
			w.Cluster.Spec.Backup.Schedule = "0 2 * * *"
			c.prepare(w)
			var got []string
			d := Decide(w.Input)
			for _, create := range d.Create {
				got = append(got, create.Name)
				if !strings.Contains(create.Why, c.why) || create.For == "" {
					t.Errorf("because %q, for %q", create.Why, create.For)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("makes %q, want %q", got, c.want)
			}
			if d.ScheduleProblem != "" {
				t.Error(d.ScheduleProblem)
			}
		})
	}
}

// TestAYearOfNights lets a year pass hour by hour, with operators that come and go: each night has its backup, once.
func TestAYearOfNights(t *testing.T) {
	w := healthy(t)
	w.Cluster.Spec.Backup.Schedule, w.Cluster.Spec.Backup.TimeZone = "15 2 * * *", "Europe/Berlin"
	w.Cluster.CreationTimestamp = metav1.NewTime(now)
	names := map[string]int{}
	for hour := range 365 * 24 {
		w.Observation.Now = now.Add(time.Duration(hour) * time.Hour)
		if hour%100 > 90 {
			continue // Nobody leads.
		}
		for _, c := range Decide(w.Input).Create {
			names[c.Name]++
			w.Backups = w.Backups[max(0, len(w.Backups)-3):]
			w.add(c.Name, 0, made(c.Due, w.completed(0)))
		}
	}
	// The end of March has no 2:15 in Berlin, and no other night is left out by nine hours without an operator.
	if len(names) < 363 || len(names) > 365 {
		t.Errorf("%d nights", len(names))
	}
	for name, n := range names {
		if n != 1 {
			t.Errorf("%s was made %d times", name, n)
		}
	}
}

func TestASchedulesMistakesAreNamed(t *testing.T) {
	for spec, want := range map[[2]string]string{
		{"0 25 * * *"}:               "spec.backup.schedule \"0 25 * * *\"",
		{"0 2 * * *", "Mars/Utopia"}: "spec.backup.timeZone \"Mars/Utopia\"",
	} {
		t.Run(want, func(t *testing.T) {
			w := healthy(t)
			w.Cluster.Spec.Backup.Schedule, w.Cluster.Spec.Backup.TimeZone = spec[0], spec[1]
			w.archive.Stored = []instance.StoredFull{full("a", now)}
			d := Decide(w.Input)
			if !strings.Contains(d.ScheduleProblem, want) || len(d.Create) > 0 {
				t.Errorf("%+v", d)
			}
		})
	}
}

// TestOverdueIsLongerThanAnyWait: whatever the hour is at which it comes.
func TestOverdueIsLongerThanAnyWait(t *testing.T) {
	const day = 24 * time.Hour
	for schedule, want := range map[string]time.Duration{
		"":                  0,
		"0 25 * * *":        0,
		"0 2 31 2 *":        0,
		"0 2 * * *":         30 * time.Hour,
		"1 0 * * *":         30 * time.Hour,
		"*/15 * * * *":      75 * time.Minute,
		"0 2 * * 0":         8 * day,
		"0 0 1 * *":         (31 + 1) * day,
		"0 0 29 2 *":        (1461 + 1) * day,
		"0-59 9-17 * * 1-5": (48+9)*time.Hour + (48+9)*time.Hour/4,
	} {
		if got := Overdue(&v1alpha1.Backup{Schedule: schedule}); got != want {
			t.Errorf("%q: %s, want %s", schedule, got, want)
		}
	}
	if got := Overdue(nil); got != 0 {
		t.Errorf("without backups: %s", got)
	}
}
