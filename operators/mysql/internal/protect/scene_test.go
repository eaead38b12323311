package protect

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// now is when these tests decide.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	uid  = "7d3f0f9e-2d0b-4a3e-9c2e-0f6d0a2b1c4d"
	held = "00000000-0000-4000-8000-000000000001:1-100"
)

// world is a healthy cluster of three with an archive in a bucket, primary db-0; tests change it.
type world struct {
	Input
	archive *instance.ArchiveReport
}

func healthy(t *testing.T) *world {
	t.Helper()
	cluster := &v1alpha1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "shop", UID: types.UID(uid), CreationTimestamp: metav1.NewTime(now.Add(-90 * 24 * time.Hour))}}
	cluster.Spec.Instances = 3
	cluster.Spec.Backup = &v1alpha1.Backup{Retention: 7, Target: &v1alpha1.BackupTarget{S3: &v1alpha1.S3Target{
		Bucket: "backups", Region: "eu-central-1", Credentials: v1alpha1.SecretReference{Name: "store"},
	}}}
	w := &world{archive: &instance.ArchiveReport{Listed: true, Stored: []instance.StoredFull{full("db-first", now.Add(-time.Hour))}}}
	w.Cluster = cluster
	w.Observation = topology.Observation{Now: now, Record: instance.Record{Epoch: 2, Primary: "db-0", Voters: []string{"db-0", "db-1", "db-2"}}}
	executed, err := gtid.Parse(held)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"db-0", "db-1", "db-2"} {
		m := topology.Member{Name: name, Ordinal: i, Connected: true, Executed: executed, Held: executed, Report: &instance.Report{
			Instance: name, State: instance.StateRunning, Role: instance.RoleReplica, Epoch: 2, Volume: instance.Volume{Size: 100, Free: int64(50 - i)},
		}}
		if i == 0 {
			m.Report.Role, m.Report.Serving, m.Report.Backup = instance.RolePrimary, true, &instance.BackupReport{Archive: w.archive}
		}
		w.Observation.Members = append(w.Observation.Members, m)
	}
	return w
}

func full(name string, at time.Time) instance.StoredFull {
	return instance.StoredFull{
		Name: name, Instance: "db-1", Version: "9.7.1", Method: "clone", Began: at.Add(-time.Minute), Newest: at.Add(-30 * time.Second).Add(time.Millisecond), Finished: at,
		Holds: held, Bytes: 3 << 30, StoredBytes: 900 << 20, Sealed: true,
	}
}

func (w *world) at(name string) *topology.Member { return w.Observation.Member(name) }

// add adds a MySQLBackup that was made so long ago.
func (w *world) add(name string, ago time.Duration, change func(*v1alpha1.MySQLBackup)) *v1alpha1.MySQLBackup {
	b := v1alpha1.MySQLBackup{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-ago))}}
	b.Spec.Cluster, b.Spec.DeletionPolicy = "db", v1alpha1.DeletionRetain
	if change != nil {
		change(&b)
	}
	w.Backups = append(w.Backups, b)
	return &w.Backups[len(w.Backups)-1]
}

// running is a change for add: an instance takes it.
func (w *world) running(name string) func(*v1alpha1.MySQLBackup) {
	return func(b *v1alpha1.MySQLBackup) {
		b.Status.Phase, b.Status.Instance, b.Status.Attempt = v1alpha1.BackupRunning, name, 1
		b.Status.ClusterUID, b.Status.Target = uid, w.Cluster.Spec.Backup.Target.DeepCopy()
		begun := metav1.NewTime(now.Add(-time.Minute))
		b.Status.StartedAt = &begun
	}
}

// completed is a change for add: it is stored.
func (w *world) completed(ago time.Duration) func(*v1alpha1.MySQLBackup) {
	return func(b *v1alpha1.MySQLBackup) {
		w.running("db-1")(b)
		b.Status.Phase = v1alpha1.BackupCompleted
		finished := metav1.NewTime(now.Add(-ago))
		b.Status.FinishedAt = &finished
	}
}

func deleted(b *v1alpha1.MySQLBackup) {
	at := metav1.NewTime(now.Add(-time.Second))
	b.DeletionTimestamp = &at
	b.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	b.Finalizers = []string{Finalizer}
}

// says has an instance say how far the first attempt of a backup is.
func (w *world) says(name, backup string, report instance.FullReport) {
	report.Name = backup
	if report.Attempt == 0 {
		report.Attempt = 1
	}
	r := w.at(name).Report
	if r.Backup == nil {
		r.Backup = &instance.BackupReport{}
	}
	r.Backup.Full = &report
}

// update returns the status that a decision gives a backup, and whether it gives it any.
func update(d Decision, name string) (Update, bool) {
	for _, u := range d.Updates {
		if u.Backup.Name == name {
			return u, true
		}
	}
	return Update{}, false
}
