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

// TestABackupGoesItsWay decides about one MySQLBackup in every state that it and its cluster can be in.
func TestABackupGoesItsWay(t *testing.T) {
	finished := full("monday", now)
	for name, c := range map[string]struct {
		prepare  func(w *world)
		phase    v1alpha1.BackupPhase
		instance string
		message  string
		soon     bool
	}{
		"new": {func(w *world) { w.add("monday", 0, nil) }, v1alpha1.BackupRunning, "db-1", "about to begin", true},
		"the replica with more room takes it": {func(w *world) {
			w.add("monday", 0, nil)
			w.at("db-2").Report.Volume.Free = 90
		}, v1alpha1.BackupRunning, "db-2", "about to begin", true},
		"no replica follows": {func(w *world) {
			w.add("monday", time.Minute, nil)
			w.at("db-1").Connected, w.at("db-2").Report.Applier.LagSeconds = false, 3600
		}, v1alpha1.BackupPending, "", "waits for a replica", true},
		"no replica follows for long": {func(w *world) {
			w.add("monday", time.Hour, nil)
			w.at("db-1").Report.Stalled, w.at("db-2").Report.Epoch = true, 1
		}, v1alpha1.BackupRunning, "db-0", "about to begin", true},
		"one that does not vote yet takes none": {func(w *world) {
			w.add("monday", 0, nil)
			w.Observation.Record.Voters = []string{"db-0", "db-2"}
		}, v1alpha1.BackupRunning, "db-2", "about to begin", true},
		"a cluster of one": {func(w *world) {
			w.add("monday", 0, nil)
			w.Cluster.Spec.Instances, w.Observation.Members, w.Observation.Record.Voters = 1, w.Observation.Members[:1], []string{"db-0"}
		}, v1alpha1.BackupRunning, "db-0", "about to begin", true},
		"no primary": {func(w *world) {
			w.add("monday", 0, nil)
			w.at("db-0").Report.Serving = false
		}, v1alpha1.BackupPending, "", "a primary that serves", true},
		"no target": {func(w *world) {
			w.add("monday", 0, nil)
			w.Cluster.Spec.Backup.Target = nil
		}, v1alpha1.BackupPending, "", "no spec.backup.target", false},
		"no spec.backup": {func(w *world) {
			w.add("monday", 0, nil)
			w.Cluster.Spec.Backup = nil
		}, v1alpha1.BackupPending, "", "no spec.backup.target", false},
		"another one is being taken": {func(w *world) {
			w.add("monday", 0, nil)
			w.add("sunday", time.Hour, w.running("db-2"))
		}, v1alpha1.BackupPending, "", "sunday", true},
		"the cluster is being deleted": {func(w *world) {
			w.add("monday", 0, nil)
			w.Cluster.DeletionTimestamp = &metav1.Time{Time: now}
		}, v1alpha1.BackupPending, "", "being deleted", false},
		"not begun": {func(w *world) { w.add("monday", 0, w.running("db-1")) }, v1alpha1.BackupRunning, "db-1", "about to begin", true},
		"copying": {func(w *world) {
			w.add("monday", 0, w.running("db-1"))
			w.says("db-1", "monday", instance.FullReport{State: instance.FullCopying})
		}, v1alpha1.BackupRunning, "db-1", "copies", true},
		"storing": {func(w *world) {
			w.add("monday", 0, w.running("db-1"))
			w.says("db-1", "monday", instance.FullReport{State: instance.FullStoring, Percent: 40})
		}, v1alpha1.BackupRunning, "db-1", "40 %", true},
		"an earlier attempt is not this one": {func(w *world) {
			w.add("monday", 0, func(b *v1alpha1.MySQLBackup) { w.running("db-1")(b); b.Status.Attempt = 2 })
			w.says("db-1", "monday", instance.FullReport{State: instance.FullFailed, Problem: "no room"})
		}, v1alpha1.BackupRunning, "db-1", "about to begin", true},
		"done": {func(w *world) {
			w.add("monday", 0, w.running("db-1"))
			w.says("db-1", "monday", instance.FullReport{State: instance.FullDone, Stored: &finished})
		}, v1alpha1.BackupCompleted, "db-1", "stored", true},
		"stored, and whoever took it is gone": {func(w *world) {
			w.add("monday", 0, w.running("db-2"))
			w.at("db-2").Report, w.at("db-2").Connected = nil, false
			w.archive.Stored = append(w.archive.Stored, finished)
		}, v1alpha1.BackupCompleted, "db-1", "stored", true},
		"failed": {func(w *world) {
			w.add("monday", 0, w.running("db-1"))
			w.says("db-1", "monday", instance.FullReport{State: instance.FullFailed, Problem: "no room"})
		}, v1alpha1.BackupPending, "db-1", "attempt 1 failed, the next one begins in 30s: no room", true},
		"failed too often": {func(w *world) {
			w.add("monday", 0, func(b *v1alpha1.MySQLBackup) { w.running("db-1")(b); b.Status.Attempt = attempts })
			w.says("db-1", "monday", instance.FullReport{State: instance.FullFailed, Attempt: attempts, Problem: "no room"})
		}, v1alpha1.BackupFailed, "db-1", "given up after 6 attempts: no room", true},
		"silent for a moment": {func(w *world) {
			w.add("monday", 0, w.running("db-1"))
			w.at("db-1").Connected, w.at("db-1").Silence = false, time.Minute
		}, v1alpha1.BackupRunning, "db-1", "", true},
		"silent for long": {func(w *world) {
			w.add("monday", 0, w.running("db-1"))
			w.at("db-1").Connected, w.at("db-1").Silence = false, 3*time.Minute
		}, v1alpha1.BackupPending, "db-1", "not been heard", true},
		"taken out of the cluster": {func(w *world) {
			w.add("monday", 0, w.running("db-7"))
		}, v1alpha1.BackupPending, "db-7", "no part of the cluster", true},
		"the target is taken away": {func(w *world) {
			w.add("monday", 0, w.running("db-1"))
			w.Cluster.Spec.Backup.Target = nil
		}, v1alpha1.BackupPending, "db-1", "no spec.backup.target any more", true},
		"of an earlier cluster of the name": {func(w *world) {
			w.add("monday", 0, func(b *v1alpha1.MySQLBackup) { w.running("db-1")(b); b.Status.ClusterUID = "0" })
		}, v1alpha1.BackupFailed, "db-1", "was deleted while", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := healthy(t)
			c.prepare(w)
			d := Decide(w.Input)
			got, ok := update(d, "monday")
			if !ok {
				t.Fatalf("nothing is decided: %+v", d)
			}
			s := got.Status
			if s.Phase != c.phase || s.Instance != c.instance || !strings.Contains(s.Message, c.message) {
				t.Errorf("%s on %q: %q; want %s on %q: %q", s.Phase, s.Instance, s.Message, c.phase, c.instance, c.message)
			}
			if soon := d.LookAgain == whileTaking; soon != c.soon {
				t.Errorf("looks again in %s", d.LookAgain)
			}
			if (s.Phase == v1alpha1.BackupRunning) != (s.FailedAt == nil && s.StartedAt != nil && s.FinishedAt == nil) && s.Phase == v1alpha1.BackupRunning {
				t.Errorf("times: %+v", s)
			}
			want := map[v1alpha1.BackupPhase]metav1.ConditionStatus{v1alpha1.BackupCompleted: metav1.ConditionTrue, v1alpha1.BackupFailed: metav1.ConditionFalse}[s.Phase]
			if want == "" {
				want = metav1.ConditionUnknown
			}
			if len(s.Conditions) != 1 || s.Conditions[0].Type != v1alpha1.ConditionComplete || s.Conditions[0].Status != want || s.Conditions[0].LastTransitionTime.IsZero() {
				t.Errorf("conditions %+v", s.Conditions)
			}
		})
	}
}

// TestWhatIsStoredIsTold: a completed backup says what its manifest says, and no earlier moment than can be restored.
func TestWhatIsStoredIsTold(t *testing.T) {
	w := healthy(t)
	w.add("monday", 0, w.running("db-2"))
	w.archive.Stored = append(w.archive.Stored, full("monday", now))
	u, _ := update(Decide(w.Input), "monday")
	s := u.Status
	if s.Instance != "db-1" || s.Version != "9.7.1" || !s.Encrypted || s.Size != "900Mi" || s.DataSize != "3072Mi" || s.GTIDs != held || s.Method != "clone" {
		t.Errorf("%+v", s)
	}
	if !s.FinishedAt.Time.Equal(now) || !s.RestorableFrom.Time.Equal(now.Add(-29*time.Second)) {
		t.Errorf("finished %s, restorable from %s", s.FinishedAt, s.RestorableFrom)
	}
	if !u.Ended() {
		t.Error("the end of the backup is not told")
	}
}

// TestFailuresAreWaitedFor: the next attempt comes after a growing pause, and on another instance if there is one.
func TestFailuresAreWaitedFor(t *testing.T) {
	if got := []time.Duration{pauseAfter(1), pauseAfter(2), pauseAfter(3), pauseAfter(5), pauseAfter(6), pauseAfter(40)}; !slices.Equal(got,
		[]time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 8 * time.Minute, longestPause, longestPause}) {
		t.Errorf("pauses %v", got)
	}
	w := healthy(t)
	b := w.add("monday", time.Minute, func(b *v1alpha1.MySQLBackup) {
		w.running("db-1")(b)
		failed := metav1.NewTime(now.Add(-29 * time.Second))
		b.Status.Phase, b.Status.FailedAt, b.Status.Message = v1alpha1.BackupPending, &failed, "attempt 1 failed"
	})
	if u, _ := update(Decide(w.Input), "monday"); u.Status.Phase == v1alpha1.BackupRunning {
		t.Error("it is tried again at once")
	}
	b.Status.FailedAt.Time = now.Add(-30 * time.Second)
	u, _ := update(Decide(w.Input), "monday")
	if u.Status.Phase != v1alpha1.BackupRunning || u.Status.Instance != "db-2" || u.Status.Attempt != 2 || u.Status.FailedAt != nil {
		t.Errorf("%+v", u.Status)
	}
}

// TestDeletionIsWhatThePolicySays: what is stored goes with a MySQLBackup only by its policy, and the object stays until it has gone.
func TestDeletionIsWhatThePolicySays(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(w *world)
		// stays: the object is kept by its finalizer.
		stays bool
	}{
		"stored":         {func(w *world) { w.archive.Stored = append(w.archive.Stored, full("monday", now)) }, true},
		"not listed":     {func(*world) {}, true},
		"nobody can say": {func(w *world) { w.archive.Gone, w.at("db-0").Report.Serving = []string{"monday"}, false }, true},
		"gone":           {func(w *world) { w.archive.Gone = []string{"monday"} }, false},
		"to stay": {func(w *world) {
			w.archive.Stored = append(w.archive.Stored, full("monday", now))
			w.Backups[0].Spec.DeletionPolicy = v1alpha1.DeletionRetain
		}, false},
		"in another place": {func(w *world) {
			w.archive.Stored = append(w.archive.Stored, full("monday", now))
			w.Cluster.Spec.Backup.Target.S3.Bucket = "others"
		}, false},
		"with other credentials": {func(w *world) {
			w.archive.Stored = append(w.archive.Stored, full("monday", now))
			w.Cluster.Spec.Backup.Target.S3.Credentials.Name = "others"
		}, true},
		"the cluster goes": {func(w *world) {
			w.archive.Stored = append(w.archive.Stored, full("monday", now))
			w.Cluster.DeletionTimestamp = &metav1.Time{Time: now}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := healthy(t)
			w.add("monday", 48*time.Hour, func(b *v1alpha1.MySQLBackup) { w.completed(47 * time.Hour)(b); deleted(b) })
			c.prepare(w)
			u, decided := update(Decide(w.Input), "monday")
			if stays := !decided || u.Finalizer; stays != c.stays {
				t.Errorf("stays %t, want %t", stays, c.stays)
			}
		})
	}
}

// TestTheFinalizerFollowsThePolicy: it is there while a deletion would have to be waited for, and goes when the policy changes.
func TestTheFinalizerFollowsThePolicy(t *testing.T) {
	w := healthy(t)
	b := w.add("monday", time.Hour, w.completed(time.Minute))
	b.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	if u, ok := update(Decide(w.Input), "monday"); !ok || !u.Finalizer {
		t.Errorf("%+v", u)
	}
	b.Spec.DeletionPolicy, b.Finalizers = v1alpha1.DeletionRetain, []string{Finalizer}
	if u, ok := update(Decide(w.Input), "monday"); !ok || u.Finalizer {
		t.Errorf("%+v", u)
	}
}

// TestObjectsGoWithWhatTheyDescribe: a MySQLBackup is deleted once nothing is stored of it, and never on a guess.
func TestObjectsGoWithWhatTheyDescribe(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world, b *v1alpha1.MySQLBackup)
		goes   bool
	}{
		"expired":            {func(*world, *v1alpha1.MySQLBackup) {}, true},
		"still stored":       {func(w *world, _ *v1alpha1.MySQLBackup) { w.archive.Stored[0].Name = "monday" }, false},
		"not listed":         {func(w *world, _ *v1alpha1.MySQLBackup) { w.archive.Listed = false }, false},
		"damaged":            {func(w *world, _ *v1alpha1.MySQLBackup) { w.archive.Damaged = []string{"monday"} }, false},
		"nobody says":        {func(w *world, _ *v1alpha1.MySQLBackup) { w.at("db-0").Connected = false }, false},
		"only just finished": {func(_ *world, b *v1alpha1.MySQLBackup) { b.Status.FinishedAt.Time = now.Add(-time.Minute) }, false},
		"of another cluster": {func(_ *world, b *v1alpha1.MySQLBackup) { b.Status.ClusterUID = "0" }, false},
		"in another place":   {func(_ *world, b *v1alpha1.MySQLBackup) { b.Status.Target.S3.Prefix = "old" }, false},
		"older than is named": {func(w *world, _ *v1alpha1.MySQLBackup) {
			w.archive.Stored = slices.Repeat(w.archive.Stored, instance.StoredReported)
		}, false},
		"a failed one of the schedule": {func(_ *world, b *v1alpha1.MySQLBackup) {
			b.Status.Phase, b.Labels = v1alpha1.BackupFailed, map[string]string{LabelScheduled: ForSchedule}
		}, true},
		"a failed one that somebody asked for": {func(_ *world, b *v1alpha1.MySQLBackup) { b.Status.Phase = v1alpha1.BackupFailed }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := healthy(t)
			b := w.add("monday", 9*24*time.Hour, w.completed(9*24*time.Hour))
			c.change(w, b)
			d := Decide(w.Input)
			if goes := len(d.Delete) == 1 && d.Delete[0].Backup.Name == "monday" && d.Delete[0].Why != ""; goes != c.goes || len(d.Delete) > 1 {
				t.Errorf("goes %t, want %t", goes, c.goes)
			}
		})
	}
}

// TestOrphansSayWhatTheyMiss: nothing is done for a cluster that does not exist, and its backups say so.
func TestOrphansSayWhatTheyMiss(t *testing.T) {
	w := healthy(t)
	w.add("new", 0, nil)
	w.add("running", 0, w.running("db-1"))
	w.add("stored", time.Hour, func(b *v1alpha1.MySQLBackup) {
		w.completed(time.Minute)(b)
		b.Status.Conditions = nil
	})
	w.add("leaving", time.Hour, func(b *v1alpha1.MySQLBackup) { w.completed(time.Minute)(b); deleted(b) })
	d := Orphaned("db", w.Backups, now)
	for name, want := range map[string]string{"new": "MySQLCluster db does not exist", "running": "MySQLCluster db was deleted while the backup was taken"} {
		if u, _ := update(d, name); u.Status.Message != want {
			t.Errorf("%s: %+v", name, u.Status)
		}
	}
	if u, ok := update(d, "leaving"); !ok || u.Finalizer {
		t.Errorf("leaving: %t, %+v", ok, u)
	}
	if len(d.Create)+len(d.Delete) > 0 {
		t.Errorf("%+v", d)
	}
}
