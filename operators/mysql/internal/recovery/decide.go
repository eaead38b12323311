package recovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/shared/condition"
)

const (
	// LabelRestore is on a MySQLCluster that was made for a MySQLRestore: its name.
	LabelRestore = v1alpha1.Group + "/restored-by"
	// AnnotationRestore is there too: its UID, since another one may have that name later.
	AnnotationRestore = v1alpha1.Group + "/restored-by-uid"
)

// whileWaiting is when to look again while something is waited for that no event announces.
const whileWaiting = 10 * time.Second

// Input is what a decision rests on.
type Input struct {
	// Restore is the object, Backup the MySQLBackup that it names; nil if there is none. Unread is why nobody knows; "" if it is known.
	Restore *v1alpha1.MySQLRestore
	Backup  *v1alpha1.MySQLBackup
	Unread  string
	// Source is the MySQLCluster that the backup is of, if it is in the namespace of the restore; else nil.
	Source *v1alpha1.MySQLCluster
	// Cluster is the MySQLCluster of the name that is to be made; nil if there is none. Like the others it was read from the API server: to make it,
	// and to say that it was deleted, is for good, and a cache may be behind.
	Cluster *v1alpha1.MySQLCluster
	// Now is the clock.
	Now time.Time
}

// Decision is what to do about a restore.
type Decision struct {
	// Status is its status as it shall be.
	Status v1alpha1.MySQLRestoreStatus
	// Create is the MySQLCluster to make; nil for none. It holds what the template holds, known or not, so that the API server can say what is
	// wrong with it.
	Create *unstructured.Unstructured
	// LookAgain is when to decide again at the latest; 0 if nothing but an event changes anything.
	LookAgain time.Duration
}

// Decide decides about a restore. One that is completed or has failed stays as it is.
func Decide(in Input) Decision {
	x := &scene{Input: in}
	x.out.Status = *in.Restore.Status.DeepCopy()
	switch {
	case in.Restore.DeletionTimestamp != nil, in.Restore.Status.Phase == v1alpha1.RestoreCompleted, in.Restore.Status.Phase == v1alpha1.RestoreFailed:
		return x.out
	case in.Cluster != nil:
		x.follow()
	case in.Restore.Status.StartedAt != nil:
		x.fail("MySQLCluster %s was deleted before it took writes", in.Restore.Spec.Cluster)
	default:
		x.begin()
	}
	x.conclude()
	return x.out
}

// Refused is the decision about a restore whose cluster the API server would not have.
func Refused(in Input, why error) Decision {
	x := &scene{Input: in}
	x.out.Status = *in.Restore.Status.DeepCopy()
	x.fail("the MySQLCluster is refused: %v", why)
	x.conclude()
	return x.out
}

// Postponed is the decision about a restore whose cluster the API server does not let anybody make at present, because of a quota, say.
func Postponed(in Input, why error) Decision {
	x := &scene{Input: in}
	x.out.Status = *in.Restore.Status.DeepCopy()
	x.wait("the MySQLCluster cannot be made, and it is tried again: %v", why)
	x.conclude()
	return x.out
}

// scene is what a decision looks at, and the decision as far as it has come.
type scene struct {
	Input
	out Decision
}

func (x *scene) fail(format string, args ...any) {
	x.out.Status.Phase, x.out.Status.Message = v1alpha1.RestoreFailed, bounded(fmt.Sprintf(format, args...))
}

func (x *scene) wait(format string, args ...any) {
	x.out.Status.Phase, x.out.Status.Message = v1alpha1.RestorePending, bounded(fmt.Sprintf(format, args...))
	x.out.LookAgain = whileWaiting
}

// follow looks after a cluster that is there.
func (x *scene) follow() {
	if x.Cluster.Annotations[AnnotationRestore] != string(x.Restore.UID) {
		x.fail("there is a MySQLCluster %s already, and nothing is restored over data: make a MySQLRestore with another spec.cluster", x.Cluster.Name)
		return
	}
	if x.Cluster.DeletionTimestamp != nil {
		x.fail("MySQLCluster %s was deleted before it took writes", x.Cluster.Name)
		return
	}
	s := &x.out.Status
	begun := x.Cluster.CreationTimestamp
	s.StartedAt = &begun
	available := meta.FindStatusCondition(x.Cluster.Status.Conditions, v1alpha1.ConditionAvailable)
	if available == nil || available.Status != metav1.ConditionTrue {
		s.Phase, s.Message = v1alpha1.RestoreRestoring, "MySQLCluster "+x.Cluster.Name+" is made"
		if available != nil {
			s.Message = bounded(available.Message)
		}
		x.out.LookAgain = whileWaiting
		return
	}
	now := metav1.NewTime(x.Now)
	s.Phase, s.CompletedAt = v1alpha1.RestoreCompleted, &now
	s.Took = x.Now.Sub(begun.Time).Round(time.Second).String()
	s.Message = fmt.Sprintf("MySQLCluster %s takes writes", x.Cluster.Name)
}

// begin makes the cluster, if what is asked for can be had.
func (x *scene) begin() {
	name, namespace := x.Restore.Spec.Backup, x.namespace()
	b := x.Backup
	switch {
	case x.Unread != "":
		x.wait("MySQLBackup %s/%s cannot be read; let the operator watch that namespace, or restore in it: %s", namespace, name, x.Unread)
		return
	case b == nil:
		x.wait("there is no MySQLBackup %s in namespace %s", name, namespace)
		return
	case namespace != x.Restore.Namespace && !slices.Contains(b.Spec.RestorableIn, x.Restore.Namespace):
		x.wait("MySQLBackup %s/%s does not let itself be restored in namespace %s: add that to its spec.restorableIn", namespace, name, x.Restore.Namespace)
		return
	case b.Status.Phase == v1alpha1.BackupFailed:
		x.fail("MySQLBackup %s has failed: %s", name, b.Status.Message)
		return
	case b.Status.Phase != v1alpha1.BackupCompleted || b.Status.Target == nil:
		x.wait("waits for MySQLBackup %s, which is not complete: %s", name, b.Status.Message)
		return
	case namespace != x.Restore.Namespace && b.Status.Target.Volume != nil:
		x.fail("MySQLBackup %s/%s is on a volume, and a claim belongs to one namespace: restore it there", namespace, name)
		return
	case b.Status.Encrypted && x.Restore.Spec.Identity == nil:
		x.fail("MySQLBackup %s is encrypted: name the Secret that opens it in spec.identity", name)
		return
	case tooEarly(x.Restore.Spec.To, b):
		x.fail("MySQLBackup %s cannot bring back what was before %s: name an earlier one", name, b.Status.RestorableFrom.UTC().Format(time.RFC3339))
		return
	}
	cluster, err := x.cluster()
	if err != nil {
		x.fail("%v", err)
		return
	}
	x.out.Create = cluster
	now := metav1.NewTime(x.Now)
	x.out.Status.Phase, x.out.Status.StartedAt = v1alpha1.RestoreRestoring, &now
	x.out.Status.Message = "MySQLCluster " + x.Restore.Spec.Cluster + " is made"
	x.out.LookAgain = whileWaiting
}

func (x *scene) namespace() string {
	if x.Restore.Spec.Namespace != "" {
		return x.Restore.Spec.Namespace
	}
	return x.Restore.Namespace
}

// tooEarly says whether a moment is before what a backup can bring back.
func tooEarly(to *v1alpha1.RestorePoint, b *v1alpha1.MySQLBackup) bool {
	return to != nil && to.Time != nil && b.Status.RestorableFrom != nil && to.Time.Before(b.Status.RestorableFrom)
}

// cluster is the MySQLCluster that is made.
func (x *scene) cluster() (*unstructured.Unstructured, error) {
	spec, err := x.template()
	if err != nil {
		return nil, err
	}
	restore := v1alpha1.Restore{
		Target: *x.Backup.Status.Target.DeepCopy(), ClusterUID: x.Backup.Status.ClusterUID, Identity: x.Restore.Spec.Identity, To: x.Restore.Spec.To,
	}
	if s3 := restore.Target.S3; s3 != nil && x.Restore.Spec.Credentials != nil {
		s3.Credentials = *x.Restore.Spec.Credentials
	}
	if spec["restore"], err = runtime.DefaultUnstructuredConverter.ToUnstructured(&restore); err != nil {
		return nil, fmt.Errorf("write what is restored: %w", err)
	}
	out := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	out.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind("MySQLCluster"))
	out.SetNamespace(x.Restore.Namespace)
	out.SetName(x.Restore.Spec.Cluster)
	out.SetLabels(map[string]string{LabelRestore: x.Restore.Name})
	out.SetAnnotations(map[string]string{AnnotationRestore: string(x.Restore.UID)})
	return out, nil
}

// template is the spec of the cluster without what is restored.
func (x *scene) template() (map[string]any, error) {
	spec := map[string]any{}
	switch {
	case x.Restore.Spec.Template != nil:
		if err := json.Unmarshal(x.Restore.Spec.Template.Raw, &spec); err != nil {
			return nil, fmt.Errorf("spec.template cannot be read: %w", err)
		}
		if spec["restore"] != nil {
			return nil, errors.New("spec.template must not have restore: that is what a MySQLRestore fills in")
		}
	case x.Source != nil && string(x.Source.UID) == x.Backup.Status.ClusterUID:
		source, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&x.Source.Spec)
		if err != nil {
			return nil, err
		}
		spec = source
		// It has a folder of its own in the target, and a schedule that nobody has asked for here would fill it.
		delete(spec, "backup")
	}
	delete(spec, "restore")
	return spec, nil
}

// conclude writes the condition that goes with the phase.
func (x *scene) conclude() {
	status, reason := metav1.ConditionUnknown, v1alpha1.ReasonWaiting
	switch x.out.Status.Phase {
	case v1alpha1.RestoreCompleted:
		status, reason = metav1.ConditionTrue, v1alpha1.ReasonWritable
	case v1alpha1.RestoreFailed:
		status, reason = metav1.ConditionFalse, v1alpha1.ReasonRestoreImpossible
	case v1alpha1.RestoreRestoring:
		reason = v1alpha1.ReasonRestoring
	case v1alpha1.RestorePending:
	}
	now := []metav1.Condition{condition.New(v1alpha1.ConditionComplete, status, reason, x.out.Status.Message)}
	x.out.Status.Conditions = condition.Merge([]string{v1alpha1.ConditionComplete}, x.Restore.Status.Conditions, now, x.Restore.Generation, metav1.NewTime(x.Now))
}

// bounded cuts a message to what a status takes.
func bounded(message string) string {
	const most = 1000
	if len(message) <= most {
		return message
	}
	return message[:most] + " ..."
}
