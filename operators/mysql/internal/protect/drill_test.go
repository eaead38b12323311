package protect

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// proving is a healthy cluster whose backups are proven every Sunday. Now is a Sunday, at noon.
func proving(t *testing.T) *world {
	t.Helper()
	w := healthy(t)
	w.Cluster.Spec.Version = "9.7"
	w.Cluster.Spec.Storage.Size = resource.MustParse("10Gi")
	w.Cluster.Spec.Backup.Verify = &v1alpha1.Verify{Schedule: "0 5 * * 0"}
	return w
}

// drilled says that a drill ended so long ago.
func (w *world) drilled(result v1alpha1.DrillResult, ago time.Duration) *v1alpha1.DrillStatus {
	at := metav1.NewTime(now.Add(-ago))
	s := &v1alpha1.DrillStatus{Due: at, Result: result, StartedAt: &at, Message: "as it was"}
	if result != v1alpha1.DrillRunning {
		s.FinishedAt = &at
	}
	if result == v1alpha1.DrillPassed {
		s.LastPassedAt = &at
	}
	w.Cluster.Status.Backup = &v1alpha1.BackupStatus{Drill: s}
	return s
}

// rehearsing puts the drill's cluster there, made so long ago, with what its agent says.
func (w *world) rehearsing(ago time.Duration, report *instance.Report) *Drilled {
	x := newScene(w.Input)
	due := now.Add(-ago)
	cluster := x.rehearsal(DrillName(w.Cluster.Name), due, "")
	cluster.CreationTimestamp = metav1.NewTime(due)
	w.Drilled = &Drilled{Cluster: cluster, Report: report}
	return w.Drilled
}

func restoring(r instance.RestoreReport) *instance.Report { return &instance.Report{Restore: &r} }

// TestADrillIsBegunWhenItIsDue: the first as soon as there is something to prove, then by schedule or when it is asked for.
func TestADrillIsBegunWhenItIsDue(t *testing.T) {
	for name, test := range map[string]struct {
		change func(w *world)
		why    string
	}{
		"the first":              {func(*world) {}, "none has been held yet"},
		"without a full backup":  {func(w *world) { w.archive.Stored = nil }, ""},
		"not known what is kept": {func(w *world) { w.archive.Listed = false }, ""},
		"without a primary":      {func(w *world) { w.at("db-0").Connected = false }, ""},
		"without being wanted":   {func(w *world) { w.Cluster.Spec.Backup.Verify = nil }, ""},
		"without a target":       {func(w *world) { w.Cluster.Spec.Backup.Target = nil }, ""},
		"of a deleted cluster":   {func(w *world) { at := metav1.NewTime(now); w.Cluster.DeletionTimestamp = &at }, ""},
		"held since it was due":  {func(w *world) { w.drilled(v1alpha1.DrillFailed, 7*time.Hour) }, ""},
		"due again":              {func(w *world) { w.drilled(v1alpha1.DrillPassed, 8*time.Hour) }, "due by spec.backup.verify.schedule"},
		"in another time zone": {func(w *world) {
			w.drilled(v1alpha1.DrillPassed, 8*time.Hour)
			w.Cluster.Spec.Backup.TimeZone = "America/New_York"
		}, "due by"},
		"not due in that zone": {func(w *world) {
			w.drilled(v1alpha1.DrillPassed, 90*time.Minute)
			w.Cluster.Spec.Backup.TimeZone = "America/New_York"
		}, ""},
		"missed for a year": {func(w *world) { w.drilled(v1alpha1.DrillPassed, 365*24*time.Hour) }, "due by"},
		"asked for": {func(w *world) {
			w.drilled(v1alpha1.DrillPassed, time.Hour)
			metav1.SetMetaDataAnnotation(&w.Cluster.ObjectMeta, v1alpha1.AnnotationDrill, "today")
		}, "asked for by annotation"},
		"asked for and held": {func(w *world) {
			w.drilled(v1alpha1.DrillPassed, time.Hour).Request = "today"
			metav1.SetMetaDataAnnotation(&w.Cluster.ObjectMeta, v1alpha1.AnnotationDrill, "today")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := proving(t)
			test.change(w)
			d := Decide(w.Input).Drill
			if (d.Begin != nil) != (test.why != "") || !strings.HasPrefix(d.Why, test.why) || d.Remove != nil {
				t.Errorf("%+v", d)
			}
		})
	}
}

// TestADrillIsARestoreThatReachesNobody: it is one instance of what the cluster is, on a volume that holds what the cluster holds, of a restore that is
// checked; it belongs to the cluster, goes with its volume, takes no backups, has no accounts and raises no alerts.
func TestADrillIsARestoreThatReachesNobody(t *testing.T) {
	w := proving(t)
	w.LargestVolume = resource.MustParse("40Gi")
	w.Cluster.Spec.Storage.AutoGrow = &v1alpha1.AutoGrow{Limit: resource.MustParse("20Gi")}
	w.Cluster.Spec.Configuration = v1alpha1.Configuration{"max_connections": "77"}
	w.Cluster.Spec.Users = []v1alpha1.User{{Name: "shop"}}
	w.Cluster.Spec.Backup.Verify.Identity = &v1alpha1.SecretReference{Name: "opens"}
	metav1.SetMetaDataAnnotation(&w.Cluster.ObjectMeta, v1alpha1.AnnotationDrill, "today")
	got := Decide(w.Input).Drill.Begin
	if got == nil {
		t.Fatal("none is begun")
	}
	s := got.Spec
	if got.Name != "db-drill" || got.Namespace != "shop" || !drillOf(w.Cluster, got) || got.Annotations[v1alpha1.AnnotationDrill] != "today" {
		t.Errorf("it is %+v", got.ObjectMeta)
	}
	if s.Instances != 1 || s.Version != "9.7" || s.Storage.Size.String() != "40Gi" || s.Storage.AutoGrow.Limit.String() != "40Gi" || s.Configuration["max_connections"] != "77" {
		t.Errorf("it is %+v", s)
	}
	if s.Backup != nil || len(s.Users) > 0 || s.Monitoring.Exporter != v1alpha1.ExporterNone || s.DeletionPolicy != v1alpha1.DeletionDelete {
		t.Errorf("it reaches beyond itself: %+v", s)
	}
	r := s.Restore
	if r == nil || !r.Verify || r.ClusterUID != uid || r.Target.S3.Bucket != "backups" || r.Identity.Name != "opens" || r.To != nil {
		t.Errorf("it restores %+v", r)
	}
	if w.Cluster.Spec.Storage.AutoGrow.Limit.String() != "20Gi" {
		t.Error("the cluster's own specification was changed")
	}
}

// TestADrillIsJudged: by what its agent says, and in the end by how long it says nothing.
func TestADrillIsJudged(t *testing.T) {
	failed := func(reason, problem string) *instance.Report {
		return restoring(instance.RestoreReport{State: instance.RestoreFailed, Problem: problem, ProblemReason: reason})
	}
	const running, passed, gone = v1alpha1.DrillRunning, v1alpha1.DrillPassed, v1alpha1.DrillFailed
	for name, test := range map[string]struct {
		ago     time.Duration
		report  *instance.Report
		problem string
		result  v1alpha1.DrillResult
		words   string
	}{
		"nothing is known yet":             {time.Minute, nil, "", running, "pod is made"},
		"its pod finds no node":            {time.Minute, nil, "no node has room", running, "no node has room"},
		"its pod finds no node for long":   {2 * time.Hour, nil, "no node has room", gone, "no node has room"},
		"it unpacks":                       {time.Hour, restoring(instance.RestoreReport{State: instance.RestoreUnpacking}), "", running, "Unpacking"},
		"it unpacks for ever":              {25 * time.Hour, restoring(instance.RestoreReport{State: instance.RestoreUnpacking}), "", gone, "24h"},
		"the store is away":                {time.Minute, failed(instance.ProblemStoreFailing, "connection refused"), "", running, "tried again: connection refused"},
		"the store stays away":             {20 * time.Minute, failed(instance.ProblemStoreFailing, "connection refused"), "", gone, "connection refused"},
		"other data than were backed up":   {time.Minute, failed(instance.ProblemDataWrong, "shop.orders is another one"), "", gone, "shop.orders"},
		"what is stored leads nowhere":     {time.Minute, failed(instance.ProblemUnreachable, "a piece is missing"), "", gone, "a piece is missing"},
		"restored, and the agent is new":   {time.Minute, &instance.Report{Restored: true}, "", passed, "restored and checked"},
		"its agent is new and has no data": {time.Minute, &instance.Report{}, "", running, "pod is made"},
		"restored and checked": {time.Minute, restoring(instance.RestoreReport{
			State: instance.RestoreDone, Plan: "full backup a and 2 pieces of the archive", Took: 83 * time.Second, Verified: &instance.Verified{Tables: 9, Compared: 7},
		}), "", passed, "full backup a and 2 pieces of the archive were restored in 1m23s; 9 tables are sound, and 7"},
	} {
		t.Run(name, func(t *testing.T) {
			w := proving(t)
			before := w.drilled(passed, 8*24*time.Hour)
			w.rehearsing(test.ago, test.report).Problem = test.problem
			d := Decide(w.Input).Drill
			s := d.Status
			if s == nil || s.Result != test.result || !strings.Contains(s.Message, test.words) || d.Begin != nil || d.Remove != nil {
				t.Fatalf("%+v of %+v", s, d)
			}
			if (s.FinishedAt != nil) != (test.result != running) || d.Ended(before) != (test.result != running) {
				t.Errorf("finished at %v, ended %v", s.FinishedAt, d.Ended(before))
			}
			want := before.LastPassedAt.Time
			if test.result == passed {
				want = now
			}
			if !s.LastPassedAt.Time.Equal(want) {
				t.Errorf("last passed at %v, want %v", s.LastPassedAt, want)
			}
		})
	}
}

// TestADrillIsNotJudgedByWhatIsOld: the volume of an earlier one would be what that has brought back.
func TestADrillIsNotJudgedByWhatIsOld(t *testing.T) {
	w := proving(t)
	w.rehearsing(time.Minute, &instance.Report{Restored: true}).OldVolume = true
	if s := Decide(w.Input).Drill.Status; s.Result != v1alpha1.DrillFailed || !strings.Contains(s.Message, "delete the volume claims of MySQLCluster db-drill") {
		t.Errorf("%+v", s)
	}
}

// TestADrillGoesOnceItIsRecorded: never before its end is in the status, so that no end is lost with an operator that ends as well.
func TestADrillGoesOnceItIsRecorded(t *testing.T) {
	w := proving(t)
	w.rehearsing(time.Hour, restoring(instance.RestoreReport{State: instance.RestoreDone, Took: time.Minute}))
	d := Decide(w.Input).Drill
	if d.Remove != nil || d.Status.Result != v1alpha1.DrillPassed {
		t.Fatalf("before it is recorded: %+v", d)
	}
	w.Cluster.Status.Backup = &v1alpha1.BackupStatus{Drill: d.Status}
	w.Observation.Now = now.Add(time.Minute)
	again := Decide(w.Input).Drill
	if again.Remove != w.Drilled.Cluster || again.Ended(d.Status) || !again.Status.FinishedAt.Equal(d.Status.FinishedAt) {
		t.Errorf("once it is recorded: %+v", again)
	}
	at := metav1.NewTime(now)
	w.Drilled.Cluster.DeletionTimestamp = &at
	if last := Decide(w.Input).Drill; last.Remove != nil || last.Begin != nil {
		t.Errorf("while it goes: %+v", last)
	}
}

// TestWhatIsNoDrillIsLeftAlone: a MySQLCluster of that name that is somebody else's is never touched, and the drill fails.
func TestWhatIsNoDrillIsLeftAlone(t *testing.T) {
	for name, change := range map[string]func(c *v1alpha1.MySQLCluster){
		"without an owner":                func(c *v1alpha1.MySQLCluster) { c.OwnerReferences = nil },
		"of another cluster of that name": func(c *v1alpha1.MySQLCluster) { c.OwnerReferences[0].UID = "another" },
		"without the label":               func(c *v1alpha1.MySQLCluster) { c.Labels = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := proving(t)
			w.rehearsing(time.Hour, nil)
			change(w.Drilled.Cluster)
			d := Decide(w.Input).Drill
			if d.Remove != nil || d.Begin != nil || d.Status == nil || d.Status.Result != v1alpha1.DrillFailed || !strings.Contains(d.Status.Message, "db-drill that is no drill") {
				t.Errorf("%+v", d)
			}
			w.Cluster.Spec.Backup.Verify = nil
			if d := Decide(w.Input).Drill; d.Remove != nil {
				t.Errorf("without drills %+v", d)
			}
		})
	}
}

// TestADrillThatIsTakenAwayHasFailed: somebody has deleted its cluster, or wants no drills any more.
func TestADrillThatIsTakenAwayHasFailed(t *testing.T) {
	w := proving(t)
	w.drilled(v1alpha1.DrillRunning, time.Hour)
	if s := Decide(w.Input).Drill.Status; s.Result != v1alpha1.DrillFailed || !strings.Contains(s.Message, "deleted") {
		t.Errorf("gone: %+v", s)
	}
	w = proving(t)
	at := metav1.NewTime(now)
	w.rehearsing(time.Hour, nil).Cluster.DeletionTimestamp = &at
	if s := Decide(w.Input).Drill.Status; s.Result != v1alpha1.DrillFailed || !strings.Contains(s.Message, "deleted") {
		t.Errorf("going: %+v", s)
	}
	for name, change := range map[string]func(c *v1alpha1.MySQLCluster){
		"drills are not wanted":  func(c *v1alpha1.MySQLCluster) { c.Spec.Backup.Verify = nil },
		"nothing is backed up":   func(c *v1alpha1.MySQLCluster) { c.Spec.Backup.Target = nil },
		"the cluster is deleted": func(c *v1alpha1.MySQLCluster) { c.DeletionTimestamp = &at },
	} {
		w := proving(t)
		w.rehearsing(time.Hour, nil)
		change(w.Cluster)
		if d := Decide(w.Input).Drill; d.Remove == nil || d.Begin != nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// assigned are the directives with what is added for backups.
func assigned(w *world) *topology.Plan {
	plan := directed(w)
	Assign(w.Input, plan)
	return plan
}

// TestDrillsAreToldToTheArchiver: whose metrics the alerts rest on; and a backup is taken with checksums where drills compare them.
func TestDrillsAreToldToTheArchiver(t *testing.T) {
	w := proving(t)
	if d := dutyOf(assigned(w), "db-0").Archive.Drill; d != nil {
		t.Errorf("before the first: %+v", d)
	}
	w.drilled(v1alpha1.DrillPassed, time.Hour).Took = &metav1.Duration{Duration: time.Minute}
	if d := dutyOf(assigned(w), "db-0").Archive.Drill; d == nil || d.Failed || !d.Passed.Equal(now.Add(-time.Hour)) || d.Took != time.Minute {
		t.Errorf("one that passed: %+v", d)
	}
	w.drilled(v1alpha1.DrillFailed, time.Hour)
	if d := dutyOf(assigned(w), "db-0").Archive.Drill; d == nil || !d.Failed || !d.Passed.IsZero() {
		t.Errorf("one that failed: %+v", d)
	}
	w.add("monday", time.Minute, w.running("db-1"))
	if full := dutyOf(assigned(w), "db-1").Full; full == nil || !full.Prove {
		t.Errorf("the copy is not proven: %+v", full)
	}
	w.Cluster.Spec.Backup.Verify = nil
	if full := dutyOf(assigned(w), "db-1").Full; full == nil || full.Prove {
		t.Errorf("the copy is proven for nobody: %+v", full)
	}
}

// TestNamesOfDrills: they fit, and two clusters have two.
func TestNamesOfDrills(t *testing.T) {
	long := strings.Repeat("a", 44)
	seen := map[string]bool{}
	for _, name := range []string{"db", long, long + "b", long + "c", strings.Repeat("a", 39)} {
		drill := DrillName(name)
		if len(drill) > 45 || seen[drill] {
			t.Errorf("%s is that of %s", drill, name)
		}
		seen[drill] = true
	}
}
