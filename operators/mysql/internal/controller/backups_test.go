package controller_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
)

// protect lets an agent do what it is told about backups: a serving primary keeps the archive, and a full backup is stored once it is confirmed.
func (s *agents) protect(a *agent, duty *instance.BackupDuty) {
	if duty == nil {
		a.backup = nil
		return
	}
	report := &instance.BackupReport{}
	if duty.Archive != nil && a.serving {
		s.stored = slices.DeleteFunc(s.stored, func(f instance.StoredFull) bool { return slices.Contains(duty.Archive.Delete, f.Name) })
		report.Archive = &instance.ArchiveReport{
			Complete: s.now().Truncate(time.Minute), Missing: s.missing, Listed: true, Stored: slices.Clone(s.stored), Gone: duty.Archive.Delete,
		}
	}
	if full := duty.Full; full != nil && !a.idle {
		report.Full = s.full(a, *full)
	}
	a.backup = report
}

func (s *agents) full(a *agent, duty instance.FullDuty) *instance.FullReport {
	out := &instance.FullReport{Name: duty.Name, Attempt: duty.Attempt, State: instance.FullConfirming, Within: a.held.String()}
	i := slices.IndexFunc(s.stored, func(f instance.StoredFull) bool { return f.Name == duty.Name })
	if i < 0 && duty.Confirmed == out.Within {
		i = len(s.stored)
		s.stored = append(s.stored, instance.StoredFull{
			Name: duty.Name, Instance: a.key.Pod, Version: "9.7.1", Began: s.now(), Finished: s.now(), Newest: s.now(), Holds: out.Within,
			Bytes: 3 << 30, StoredBytes: 1 << 30,
		})
		s.missing = ""
	}
	if i >= 0 {
		out.State, out.Stored = instance.FullDone, &s.stored[i]
	}
	return out
}

// toVolume has a cluster's backups go to a volume.
func toVolume(c *v1alpha1.MySQLCluster) {
	c.Spec.Backup = &v1alpha1.Backup{Target: &v1alpha1.BackupTarget{Volume: &v1alpha1.VolumeTarget{ClaimName: "backups"}}}
}

// backups are the paths of backups.
func backups() map[string]path {
	before := func(w *world) {
		w.agents.stored = []instance.StoredFull{{Name: "old", Instance: "db-2", Newest: w.clock, Finished: w.clock}}
		w.seed(3, toVolume)
	}
	return map[string]path{
		"backup on demand": {
			before: before,
			event:  func(w *world) { w.backUp("monday", v1alpha1.DeletionDelete) },
			done:   func(w *world) bool { return w.backupPhase("monday") == v1alpha1.BackupCompleted },
		},
		"backup for the archive": {
			before: before,
			event:  func(w *world) { w.agents.lack("00000000-0000-4000-8000-00000000ffff:7") },
			done: func(w *world) bool {
				made := w.backups()
				return len(made) == 1 && made[0].Status.Phase == v1alpha1.BackupCompleted && w.backupReady().Status == metav1.ConditionTrue
			},
		},
		"backup that is deleted": {
			before: func(w *world) {
				before(w)
				w.backUp("monday", v1alpha1.DeletionDelete)
				w.until("backup", func() bool { return w.backupPhase("monday") == v1alpha1.BackupCompleted })
				w.settle()
			},
			event: func(w *world) { w.forgetBackup("monday") },
			done:  func(w *world) bool { return len(w.backups()) == 0 },
		},
	}
}

func (s *agents) lack(gtids string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missing = gtids
}

// backUp makes a MySQLBackup, as a user does.
func (w *world) backUp(name string, policy v1alpha1.DeletionPolicy) {
	w.t.Helper()
	b := &v1alpha1.MySQLBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: name}}
	b.Spec.Cluster, b.Spec.DeletionPolicy = w.name.Name, policy
	if err := api.Create(w.t.Context(), b); err != nil {
		w.t.Fatalf("make a backup: %v", err)
	}
}

func (w *world) forgetBackup(name string) {
	w.t.Helper()
	if err := api.Delete(w.t.Context(), &v1alpha1.MySQLBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: name}}); err != nil {
		w.t.Fatalf("delete a backup: %v", err)
	}
}

func (w *world) backups() []v1alpha1.MySQLBackup {
	w.t.Helper()
	var list v1alpha1.MySQLBackupList
	if err := api.List(w.t.Context(), &list, client.InNamespace(w.name.Namespace)); err != nil {
		w.t.Fatal(err)
	}
	return list.Items
}

// backup returns a MySQLBackup; nil if there is none of that name.
func (w *world) backup(name string) *v1alpha1.MySQLBackup {
	w.t.Helper()
	var b v1alpha1.MySQLBackup
	err := api.Get(w.t.Context(), client.ObjectKey{Namespace: w.name.Namespace, Name: name}, &b)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return &b
}

func (w *world) backupPhase(name string) v1alpha1.BackupPhase {
	w.t.Helper()
	b := w.backup(name)
	if b == nil {
		w.t.Fatalf("there is no MySQLBackup %s", name)
	}
	return b.Status.Phase
}

func (w *world) backupReady() metav1.Condition {
	w.t.Helper()
	if c := meta.FindStatusCondition(w.cluster().Status.Conditions, v1alpha1.ConditionBackupReady); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// backedUp lives through what backups go through: one that the operator makes, one that a user makes and deletes with what is stored, and one of
// which nothing is stored any more.
func (w *world) backedUp() {
	w.t.Helper()
	w.eventually("first backup", func() bool {
		made := w.backups()
		return len(made) == 1 && made[0].Status.Phase == v1alpha1.BackupCompleted && w.backupReady().Status == metav1.ConditionTrue
	})
	w.backUp("monday", v1alpha1.DeletionDelete)
	w.eventually("backup on demand", func() bool { return w.backupPhase("monday") == v1alpha1.BackupCompleted })
	w.forgetBackup("monday")
	w.eventually("end of the backup", func() bool { return w.backup("monday") == nil })
	// It was stored long ago, and is not any more.
	first := w.backups()[0]
	before := first.DeepCopy()
	long := metav1.NewTime(first.Status.FinishedAt.Add(-24 * time.Hour))
	first.Status.FinishedAt = &long
	if err := api.Status().Patch(w.t.Context(), &first, client.MergeFrom(before)); err != nil {
		w.t.Fatal(err)
	}
	w.agents.expire(first.Name)
	w.eventually("end of what it describes", func() bool { return w.backup(first.Name) == nil })
}

// expire removes a full backup from the store, and puts another one there.
func (s *agents) expire(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = slices.DeleteFunc(s.stored, func(f instance.StoredFull) bool { return f.Name == name })
	s.stored = append(s.stored, instance.StoredFull{Name: "another", Instance: "db-1", Newest: s.now(), Finished: s.now()})
}

// TestAClusterWithATargetIsBackedUp: the first full backup is taken without being asked for, by a replica, and once; the status says what can be
// brought back, and then nothing is written any more.
func TestAClusterWithATargetIsBackedUp(t *testing.T) {
	w := newWorld(t)
	w.create(toVolume)
	w.until("healthy cluster", w.healthy("db-0"))
	w.until("backup", func() bool { return w.backupReady().Status == metav1.ConditionTrue })
	made := w.backups()
	if len(made) != 1 || made[0].Status.Phase != v1alpha1.BackupCompleted || made[0].Status.Instance == "db-0" || made[0].Status.Size != "1024Mi" {
		t.Fatalf("backups: %+v", made)
	}
	status := w.cluster().Status.Backup
	if status == nil || status.LastFull != made[0].Name || status.Fulls != 1 || status.RestorableFrom == nil || status.RestorableTo == nil {
		t.Errorf("status.backup: %+v", status)
	}
	for reason, want := range map[string]int{"BackupDue": 1, "BackupCompleted": 1, "BackupFailed": 0} {
		if got := w.events.count(reason); got != want {
			t.Errorf("%d events %s, want %d: %q", got, reason, want, w.events.sent)
		}
	}
	w.settle()
	before := w.writes.Writes()
	for range 20 {
		if err := w.round(); err != nil {
			t.Fatal(err)
		}
	}
	// But for the minute in status.backup.restorableTo, which may pass meanwhile.
	if wrote := w.writes.Writes() - before; wrote > 1 {
		t.Errorf("%d writes while nothing happens", wrote)
	}
}

// TestBackupsOutliveTheirCluster: what a backup says stays when its cluster is deleted, and one that was not taken says why.
func TestBackupsOutliveTheirCluster(t *testing.T) {
	w := newWorld(t)
	w.create(toVolume)
	w.until("backup", func() bool { return w.backupReady().Status == metav1.ConditionTrue })
	first := w.backups()[0].Name
	w.backUp("kept", v1alpha1.DeletionDelete)
	w.until("another", func() bool { return w.backupPhase("kept") == v1alpha1.BackupCompleted })
	w.delete()
	w.until("end", func() bool { return w.find() == nil })
	w.backUp("late", v1alpha1.DeletionRetain)
	w.forgetBackup("kept")
	for range 3 {
		if err := w.round(); err != nil {
			t.Fatal(err)
		}
	}
	if w.backup("kept") != nil {
		t.Error("a backup cannot be deleted once its cluster is gone")
	}
	if b := w.backup(first); b == nil || b.Status.Phase != v1alpha1.BackupCompleted || b.Labels[protect.LabelScheduled] != protect.ForArchive {
		t.Errorf("the first backup is %+v", b)
	}
	if b := w.backup("late"); b.Status.Phase != v1alpha1.BackupPending || b.Status.Message != "MySQLCluster db does not exist" {
		t.Errorf("the late backup is %+v", b.Status)
	}
}

// TestAnUpgradeBeginsWithAFullBackup: with a target, no instance is made anew with another image before a full backup of that moment is stored.
func TestAnUpgradeBeginsWithAFullBackup(t *testing.T) {
	w := newWorld(t)
	w.agents.stored = []instance.StoredFull{{Name: "old", Instance: "db-2", Newest: w.clock, Finished: w.clock}}
	w.seed(3, toVolume)
	// Nobody takes a backup for now.
	for _, pod := range []string{"db-1", "db-2"} {
		w.agents.with(pod, func(a *agent) { a.idle = true })
	}
	before := w.podUIDs()
	w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.Image = "registry.example.com/mysql:9.7.2" })
	w.until("backup for the upgrade", func() bool {
		made := w.backups()
		return len(made) == 1 && made[0].Labels[protect.LabelScheduled] == protect.ForUpgrade && made[0].Status.Phase == v1alpha1.BackupRunning
	})
	for range 20 {
		if err := w.round(); err != nil {
			t.Fatal(err)
		}
	}
	if now := w.podUIDs(); !maps.Equal(now, before) {
		t.Errorf("pods were made anew without a backup: %v, before %v", now, before)
	}
	progressing := meta.FindStatusCondition(w.cluster().Status.Conditions, v1alpha1.ConditionProgressing)
	if progressing == nil || progressing.Reason != v1alpha1.ReasonUpdating || !strings.Contains(progressing.Message, w.backups()[0].Name) {
		t.Errorf("nobody is told what is waited for: %+v", progressing)
	}
	for _, pod := range []string{"db-1", "db-2"} {
		w.agents.with(pod, func(a *agent) { a.idle = false })
	}
	w.until("upgrade", func() bool {
		now := w.podUIDs()
		return len(now) == 3 && now["db-0"] != before["db-0"] && now["db-1"] != before["db-1"] && now["db-2"] != before["db-2"] && w.healthy("")()
	})
	if made := w.backups(); len(made) != 1 || made[0].Status.Phase != v1alpha1.BackupCompleted {
		t.Errorf("backups: %+v", made)
	}
}
