package recovery

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// asked is a restore of a backup that is complete, in a bucket.
func asked() Input {
	at := metav1.NewTime(now.Add(-time.Hour))
	return Input{
		Now: now,
		Restore: &v1alpha1.MySQLRestore{
			ObjectMeta: metav1.ObjectMeta{Namespace: "trade", Name: "again", UID: "r-1"},
			Spec:       v1alpha1.MySQLRestoreSpec{Backup: "monday", Cluster: "shop-again"},
		},
		Backup: &v1alpha1.MySQLBackup{
			ObjectMeta: metav1.ObjectMeta{Namespace: "trade", Name: "monday"}, Spec: v1alpha1.MySQLBackupSpec{Cluster: "shop"},
			Status: v1alpha1.MySQLBackupStatus{
				Phase: v1alpha1.BackupCompleted, ClusterUID: "c-1", RestorableFrom: &at,
				Target: &v1alpha1.BackupTarget{S3: &v1alpha1.S3Target{Bucket: "backups", Region: "r", Credentials: v1alpha1.SecretReference{Name: "store"}}},
			},
		},
	}
}

// made is the cluster that was made for it.
func made(available metav1.ConditionStatus, message string) *v1alpha1.MySQLCluster {
	c := &v1alpha1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{
		Namespace: "trade", Name: "shop-again", Annotations: map[string]string{AnnotationRestore: "r-1"}, CreationTimestamp: metav1.NewTime(now.Add(-90 * time.Second)),
	}}
	if available != "" {
		c.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAvailable, Status: available, Message: message}}
	}
	return c
}

func TestARestoreGoesItsWay(t *testing.T) {
	moment := func(at time.Time) *v1alpha1.RestorePoint {
		to := metav1.NewTime(at)
		return &v1alpha1.RestorePoint{Time: &to}
	}
	for name, c := range map[string]struct {
		prepare func(in *Input)
		phase   v1alpha1.RestorePhase
		message string
		makes   bool
	}{
		"new":                           {func(*Input) {}, v1alpha1.RestoreRestoring, "shop-again is made", true},
		"a backup that may not be read": {func(in *Input) { in.Backup, in.Unread = nil, "forbidden" }, v1alpha1.RestorePending, "let the operator watch that namespace", false},
		"no backup":                     {func(in *Input) { in.Backup = nil }, v1alpha1.RestorePending, "no MySQLBackup monday in namespace trade", false},
		"not complete": {func(in *Input) {
			in.Backup.Status.Phase, in.Backup.Status.Message = v1alpha1.BackupRunning, "40 % done"
		}, v1alpha1.RestorePending, "40 % done", false},
		"failed":    {func(in *Input) { in.Backup.Status.Phase, in.Backup.Status.Message = v1alpha1.BackupFailed, "no room" }, v1alpha1.RestoreFailed, "no room", false},
		"encrypted": {func(in *Input) { in.Backup.Status.Encrypted = true }, v1alpha1.RestoreFailed, "spec.identity", false},
		"encrypted, with a key": {func(in *Input) {
			in.Backup.Status.Encrypted, in.Restore.Spec.Identity = true, &v1alpha1.SecretReference{Name: "keys"}
		}, v1alpha1.RestoreRestoring, "", true},
		"too early":     {func(in *Input) { in.Restore.Spec.To = moment(now.Add(-2 * time.Hour)) }, v1alpha1.RestoreFailed, "before 2026-03-01T11:00:00Z", false},
		"not too early": {func(in *Input) { in.Restore.Spec.To = moment(now.Add(-time.Hour)) }, v1alpha1.RestoreRestoring, "", true},
		"another namespace": {func(in *Input) {
			in.Restore.Spec.Namespace, in.Backup.Namespace = "other", "other"
		}, v1alpha1.RestorePending, "spec.restorableIn", false},
		"another namespace that allows it": {func(in *Input) {
			in.Restore.Spec.Namespace, in.Backup.Namespace, in.Backup.Spec.RestorableIn = "other", "other", []string{"trade"}
		}, v1alpha1.RestoreRestoring, "", true},
		"a volume of another namespace": {func(in *Input) {
			in.Restore.Spec.Namespace, in.Backup.Namespace, in.Backup.Spec.RestorableIn = "other", "other", []string{"trade"}
			in.Backup.Status.Target = &v1alpha1.BackupTarget{Volume: &v1alpha1.VolumeTarget{ClaimName: "backups"}}
		}, v1alpha1.RestoreFailed, "belongs to one namespace", false},
		"a template that restores": {func(in *Input) { in.Restore.Spec.Template = &runtime.RawExtension{Raw: []byte(`{"restore":{}}`)} }, v1alpha1.RestoreFailed, "must not have restore", false},
		"a cluster of that name": {func(in *Input) {
			in.Cluster = made("", "")
			in.Cluster.Annotations = nil
		}, v1alpha1.RestoreFailed, "nothing is restored over data", false},
		"made":                   {func(in *Input) { in.Cluster = made("", "") }, v1alpha1.RestoreRestoring, "is made", false},
		"restoring":              {func(in *Input) { in.Cluster = made(metav1.ConditionFalse, "unpacks: 40 %") }, v1alpha1.RestoreRestoring, "unpacks: 40 %", false},
		"writable":               {func(in *Input) { in.Cluster = made(metav1.ConditionTrue, "") }, v1alpha1.RestoreCompleted, "takes writes", false},
		"the cluster is leaving": {func(in *Input) { in.Cluster = made("", ""); in.Cluster.DeletionTimestamp = &metav1.Time{Time: now} }, v1alpha1.RestoreFailed, "was deleted", false},
		"the cluster is gone": {func(in *Input) {
			in.Restore.Status.Phase, in.Restore.Status.StartedAt = v1alpha1.RestoreRestoring, &metav1.Time{Time: now}
		}, v1alpha1.RestoreFailed, "was deleted", false},
		"completed stays so": {func(in *Input) {
			in.Restore.Status.Phase, in.Restore.Status.Message = v1alpha1.RestoreCompleted, "as it was"
		}, v1alpha1.RestoreCompleted, "as it was", false},
		"failed stays so": {func(in *Input) {
			in.Restore.Status.Phase, in.Restore.Status.Message = v1alpha1.RestoreFailed, "as it was"
		}, v1alpha1.RestoreFailed, "as it was", false},
	} {
		t.Run(name, func(t *testing.T) {
			in := asked()
			c.prepare(&in)
			d := Decide(in)
			if d.Status.Phase != c.phase || !strings.Contains(d.Status.Message, c.message) || (d.Create != nil) != c.makes {
				t.Errorf("%s: %q, makes %t", d.Status.Phase, d.Status.Message, d.Create != nil)
			}
			ended := c.phase == v1alpha1.RestoreCompleted || c.phase == v1alpha1.RestoreFailed
			if ended != (d.LookAgain == 0) {
				t.Errorf("looks again in %s", d.LookAgain)
			}
		})
	}
}

// TestHowLongItTookIsTold: from the making of the cluster until it was seen to take writes.
func TestHowLongItTookIsTold(t *testing.T) {
	in := asked()
	in.Cluster = made(metav1.ConditionTrue, "")
	s := Decide(in).Status
	if s.Took != "1m30s" || s.CompletedAt == nil || !s.CompletedAt.Time.Equal(now) || s.Conditions[0].Status != metav1.ConditionTrue {
		t.Errorf("%+v", s)
	}
}

// TestTheClusterIsWhatIsAskedFor: its spec is the template's, else that of the cluster that the backup is of, else nothing but the restore.
func TestTheClusterIsWhatIsAskedFor(t *testing.T) {
	source := func(uid string) *v1alpha1.MySQLCluster {
		c := &v1alpha1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "c-1"}}
		c.UID = "c-1"
		if uid != "" {
			c.UID = "other"
		}
		c.Spec.Version = "8.4"
		c.Spec.Backup = &v1alpha1.Backup{Schedule: "0 2 * * *"}
		c.Spec.Restore = &v1alpha1.Restore{ClusterUID: "c-0"}
		return c
	}
	for name, c := range map[string]struct {
		prepare func(in *Input)
		version any
		secret  string
	}{
		"nothing known": {func(*Input) {}, nil, "store"},
		"a template": {func(in *Input) {
			in.Source = source("")
			in.Restore.Spec.Template = &runtime.RawExtension{Raw: []byte(`{"version":"9.7"}`)}
		}, "9.7", "store"},
		"the old cluster":         {func(in *Input) { in.Source = source("") }, "8.4", "store"},
		"another one of its name": {func(in *Input) { in.Source = source("other") }, nil, "store"},
		"other credentials":       {func(in *Input) { in.Restore.Spec.Credentials = &v1alpha1.SecretReference{Name: "mine"} }, nil, "mine"},
	} {
		t.Run(name, func(t *testing.T) {
			in := asked()
			in.Restore.Spec.To = &v1alpha1.RestorePoint{GTID: "3e11fa47-71ca-11e1-9e33-c80aa9429562:23"}
			c.prepare(&in)
			got := Decide(in).Create
			if got == nil {
				t.Fatal("nothing is made")
			}
			spec, _ := got.Object["spec"].(map[string]any)
			want := map[string]any{
				"target":     map[string]any{"s3": map[string]any{"bucket": "backups", "region": "r", "credentials": map[string]any{"name": c.secret}}},
				"clusterUID": "c-1", "to": map[string]any{"gtid": "3e11fa47-71ca-11e1-9e33-c80aa9429562:23"},
			}
			if diff := cmp.Diff(want, spec["restore"]); diff != "" {
				t.Errorf("restores (-want +got)\n%s", diff)
			}
			if spec["version"] != c.version || spec["backup"] != nil {
				t.Errorf("version %v, backup %v", spec["version"], spec["backup"])
			}
			if got.GetName() != "shop-again" || got.GetNamespace() != "trade" || got.GetLabels()[LabelRestore] != "again" ||
				got.GetAnnotations()[AnnotationRestore] != "r-1" || len(got.GetOwnerReferences()) > 0 {
				t.Errorf("made is %+v", got.Object["metadata"])
			}
		})
	}
}

func TestARefusalEndsIt(t *testing.T) {
	d := Refused(asked(), errors.New("spec.version: wrong"))
	if d.Status.Phase != v1alpha1.RestoreFailed || !strings.Contains(d.Status.Message, "spec.version: wrong") || d.Status.Conditions[0].Status != metav1.ConditionFalse {
		t.Errorf("%+v", d.Status)
	}
}

// TestWhatIsForbiddenIsTriedAgain: a quota is enlarged, and a webhook comes back.
func TestWhatIsForbiddenIsTriedAgain(t *testing.T) {
	d := Postponed(asked(), errors.New("exceeded quota"))
	if d.Status.Phase != v1alpha1.RestorePending || !strings.Contains(d.Status.Message, "exceeded quota") || d.LookAgain == 0 || d.Create != nil || d.Status.StartedAt != nil {
		t.Errorf("%+v", d)
	}
}
