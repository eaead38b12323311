package protect

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// LabelDrill is on the MySQLCluster of a restore drill: the name of the cluster whose backups it proves. AnnotationDue and v1alpha1.AnnotationDrill are
// there too: the moment that the drill is for, and the request that it answers.
const LabelDrill = v1alpha1.Group + "/drill-of"

const (
	// stubborn is how long a drill may go on failing for what may pass, such as a store that is away.
	stubborn = 15 * time.Minute
	// unstarted is how long its pod may take to come up.
	unstarted = time.Hour
	// endless is how long a drill may take at all.
	endless = 24 * time.Hour
)

// Drilled is the MySQLCluster of the name of a drill, as it is observed.
type Drilled struct {
	// Cluster is the object.
	Cluster *v1alpha1.MySQLCluster
	// Report is what the agent of its only instance says, in the pod that it has now; nil if it has said nothing.
	Report *instance.Report
	// OldVolume says that the volume claim of its instance is older than it.
	OldVolume bool
	// Problem is why its pod does not come up; "" if it does, or nobody knows.
	Problem string
}

// Drill is what to do about the restore drills of a cluster.
type Drill struct {
	// Status is what to say about the newest one; nil for nothing. It is written before the cluster that it is about is removed.
	Status *v1alpha1.DrillStatus
	// Begin is the MySQLCluster to make, Remove the one to delete; nil for none. Why says why.
	Begin, Remove *v1alpha1.MySQLCluster
	Why           string
	// ScheduleProblem is what is wrong with spec.backup.verify.schedule; "" if nothing is.
	ScheduleProblem string
}

// Ended says whether the status tells of the end of a drill that the given one does not know yet.
func (d Drill) Ended(before *v1alpha1.DrillStatus) bool {
	return ended(d.Status) && !(ended(before) && before.Due.Equal(&d.Status.Due))
}

// ended says whether a status is of a drill that is over.
func ended(s *v1alpha1.DrillStatus) bool { return s != nil && s.Result != v1alpha1.DrillRunning }

// longestName is how many characters of a name are left for a cluster in that of its drill: a MySQLCluster may have 45.
const longestName = 45 - len("-drill")

// DrillName is the name of the MySQLCluster of a cluster's drills. It follows from the cluster's, so that there is one at a time.
func DrillName(cluster string) string {
	if len(cluster) > longestName {
		sum := sha256.Sum256([]byte(cluster))
		cluster = cluster[:longestName-9] + "-" + hex.EncodeToString(sum[:4])
	}
	return cluster + "-drill"
}

// drillOf says whether a MySQLCluster is a drill of this one: it belongs to it, and not to another one that had its name.
func drillOf(cluster, drill *v1alpha1.MySQLCluster) bool {
	owner := metav1.GetControllerOf(drill)
	return owner != nil && owner.UID == cluster.UID && drill.Labels[LabelDrill] == cluster.Name
}

// drill decides about restore drills.
func (x *scene) drill() {
	var old *v1alpha1.DrillStatus
	if b := x.Cluster.Status.Backup; b != nil && b.Drill != nil {
		old = b.Drill.DeepCopy()
	}
	d := &x.out.Drill
	ours := x.Drilled != nil && drillOf(x.Cluster, x.Drilled.Cluster)
	if x.target == nil || x.Cluster.Spec.Backup.Verify == nil || x.Cluster.DeletionTimestamp != nil {
		if ours && x.Drilled.Cluster.DeletionTimestamp == nil {
			d.Remove, d.Why = x.Drilled.Cluster, "drills are not wanted any more"
		}
		return
	}
	plan, err := VerifySchedule(x.Cluster.Spec.Backup)
	if err != nil {
		d.ScheduleProblem = err.Error()
	}
	d.Status = old
	switch {
	case ours:
		x.rehearse(old)
	case old != nil && old.Result == v1alpha1.DrillRunning:
		x.endDrill(old, v1alpha1.DrillFailed, "MySQLCluster %s was deleted before the drill had ended", DrillName(x.Cluster.Name))
	case plan != nil:
		x.beginDrill(plan, old)
	}
}

// rehearse looks after a drill that is there.
func (x *scene) rehearse(old *v1alpha1.DrillStatus) {
	d, at := &x.out.Drill, x.Drilled.Cluster
	x.soon()
	due, err := time.Parse(time.RFC3339, at.Annotations[AnnotationDue])
	if err != nil {
		due = at.CreationTimestamp.Time
	}
	known := old != nil && old.Due.Time.Equal(due)
	begun := at.CreationTimestamp
	now := &v1alpha1.DrillStatus{
		Due: metav1.NewTime(due), Request: at.Annotations[v1alpha1.AnnotationDrill], Result: v1alpha1.DrillRunning, StartedAt: &begun,
	}
	if old != nil {
		now.LastPassedAt = old.LastPassedAt
	}
	switch {
	case known && ended(old):
		if at.DeletionTimestamp == nil {
			d.Remove, d.Why = at, "the drill is over"
		}
	case at.DeletionTimestamp != nil:
		x.endDrill(now, v1alpha1.DrillFailed, "MySQLCluster %s was deleted before the drill had ended", at.Name)
	default:
		x.judge(now)
	}
}

// judge says how far a drill is.
func (x *scene) judge(now *v1alpha1.DrillStatus) {
	since := x.now.Sub(now.StartedAt.Time)
	report := x.Drilled.Report
	var restore *instance.RestoreReport
	if report != nil {
		restore = report.Restore
	}
	x.out.Drill.Status = now
	switch {
	case x.Drilled.OldVolume:
		x.endDrill(now, v1alpha1.DrillFailed, "the volume of an earlier drill is in its way: delete the volume claims of MySQLCluster %s", x.Drilled.Cluster.Name)
	case restore != nil && restore.State == instance.RestoreDone:
		if restore.Took > 0 {
			now.Took = &metav1.Duration{Duration: restore.Took.Round(time.Second)}
		}
		if v := restore.Verified; v != nil {
			now.Tables, now.Compared = count(v.Tables), count(v.Compared)
		}
		x.endDrill(now, v1alpha1.DrillPassed, "%s were restored in %s; %d tables are sound, and %d of them were compared with the checksums of the backup",
			restore.Plan, restore.Took.Round(time.Second), now.Tables, now.Compared)
	case restore == nil && report != nil && report.Restored:
		// Its agent has begun anew since. What did not pass would not be in its place.
		x.endDrill(now, v1alpha1.DrillPassed, "what is stored was restored and checked; how long it took is not known, because the agent began anew")
	case restore != nil && restore.State == instance.RestoreFailed && (final(restore.ProblemReason) || since > stubborn):
		x.endDrill(now, v1alpha1.DrillFailed, "%s", restore.Problem)
	case since > endless:
		x.endDrill(now, v1alpha1.DrillFailed, "it had not ended after %s", endless)
	case x.Drilled.Problem != "" && since > unstarted:
		x.endDrill(now, v1alpha1.DrillFailed, "its pod does not come up: %s", x.Drilled.Problem)
	case restore != nil && restore.State == instance.RestoreFailed:
		now.Message = bounded("it is tried again: " + restore.Problem)
	case restore != nil:
		now.Message = "what is stored is restored: " + string(restore.State)
	case x.Drilled.Problem != "":
		now.Message = bounded("its pod does not come up: " + x.Drilled.Problem)
	default:
		now.Message = "its pod is made"
	}
}

// count is a number as a status has it.
func count(n int) int32 { return int32(min(max(0, n), 1<<30)) } //nolint:gosec // Bounded in the same line.

// final says whether a restore that has failed for this reason fails again.
func final(reason string) bool {
	return reason == instance.ProblemDataWrong || reason == instance.ProblemUnreachable
}

// endDrill ends a drill.
func (x *scene) endDrill(s *v1alpha1.DrillStatus, result v1alpha1.DrillResult, message string, args ...any) {
	now := metav1.NewTime(x.now)
	s.Result, s.FinishedAt, s.Message = result, &now, bounded(fmt.Sprintf(message, args...))
	if result == v1alpha1.DrillPassed {
		s.LastPassedAt = &now
	}
	x.out.Drill.Status = s
	x.soon()
}

// beginDrill begins a drill if one is due, and there is something to prove.
func (x *scene) beginDrill(plan cron.Schedule, old *v1alpha1.DrillStatus) {
	if x.archive == nil || !x.archive.Listed || len(x.archive.Stored) == 0 {
		return
	}
	due, why := x.now, ""
	request := asked(x.Cluster)
	switch {
	case old == nil:
		why = "none has been held yet"
	case request != "" && request != old.Request:
		why = "asked for by annotation"
	default:
		var next time.Time
		if due, next = missed(plan, later(old.Due.Time, x.now.Add(-furthest)), x.now); due.IsZero() {
			x.lookAgainAt(next)
			return
		}
		why = "due by spec.backup.verify.schedule"
	}
	name := DrillName(x.Cluster.Name)
	if x.Drilled != nil {
		failed := &v1alpha1.DrillStatus{Due: metav1.NewTime(due.Truncate(time.Second)), Request: request}
		if old != nil {
			failed.LastPassedAt = old.LastPassedAt
		}
		x.endDrill(failed, v1alpha1.DrillFailed, "there is a MySQLCluster %s that is no drill of this cluster; a drill needs that name", name)
		return
	}
	x.out.Drill.Begin, x.out.Drill.Why = x.rehearsal(name, due, request), why
	x.soon()
}

// asked is the newest request for a drill, as far as a status takes it; "" if there is none.
func asked(cluster *v1alpha1.MySQLCluster) string {
	const most = 256
	request := cluster.Annotations[v1alpha1.AnnotationDrill]
	return strings.ToValidUTF8(request[:min(len(request), most)], "")
}

// rehearsal is the MySQLCluster of a drill: what is stored, as the cluster itself would run it, and nothing that reaches beyond it.
func (x *scene) rehearsal(name string, due time.Time, request string) *v1alpha1.MySQLCluster {
	spec := x.Cluster.Spec.DeepCopy()
	verify := spec.Backup.Verify
	out := &v1alpha1.MySQLCluster{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: x.Cluster.Namespace, Name: name, Labels: map[string]string{LabelDrill: x.Cluster.Name},
			Annotations:     map[string]string{AnnotationDue: due.UTC().Format(time.RFC3339)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(x.Cluster, v1alpha1.SchemeGroupVersion.WithKind("MySQLCluster"))},
		},
		Spec: v1alpha1.MySQLClusterSpec{
			Instances: 1, Version: spec.Version, Image: spec.Image, HA: spec.HA, Configuration: spec.Configuration, Resources: spec.Resources,
			BufferPoolSize: spec.BufferPoolSize, Placement: spec.Placement, Storage: spec.Storage,
			// Nobody is to be woken by what is thrown away.
			Monitoring:     v1alpha1.Monitoring{Exporter: v1alpha1.ExporterNone},
			DeletionPolicy: v1alpha1.DeletionDelete,
			Restore:        &v1alpha1.Restore{Target: *x.target.DeepCopy(), ClusterUID: string(x.Cluster.UID), Identity: verify.Identity, Verify: true},
		},
	}
	if request != "" {
		out.Annotations[v1alpha1.AnnotationDrill] = request
	}
	out.Spec.Storage.Size = larger(spec.Storage.Size, x.LargestVolume)
	if grow := out.Spec.Storage.AutoGrow; grow != nil {
		grow.Limit = larger(grow.Limit, out.Spec.Storage.Size)
	}
	return out
}

// larger returns the larger of two amounts.
func larger(a, b resource.Quantity) resource.Quantity {
	if a.Cmp(b) < 0 {
		return b.DeepCopy()
	}
	return a
}

// drillResult is what the archiver's metrics say about drills; nil without any.
func (x *scene) drillResult() *instance.DrillResult {
	b := x.Cluster.Status.Backup
	if x.Cluster.Spec.Backup.Verify == nil || b == nil || !ended(b.Drill) {
		return nil
	}
	out := &instance.DrillResult{Failed: b.Drill.Result == v1alpha1.DrillFailed}
	if at := b.Drill.LastPassedAt; at != nil {
		out.Passed = at.UTC()
	}
	if took := b.Drill.Took; took != nil {
		out.Took = took.Duration
	}
	return out
}
