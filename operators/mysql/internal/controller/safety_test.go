package controller_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	ac "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
)

// safety watches over what must never be done, whatever happens to the operator: every write when it is sent and when it
// is over, and every directive just before it reaches its agent.
type safety struct {
	w *world

	mu sync.Mutex
	// served are the instances that were told to serve, by epoch; terms the highest term that each was told.
	served map[uint64]string
	terms  map[string]uint64
	last   instance.Record
	// deeds is what cannot be undone, in order: what commits decide, and deleted pods and claims.
	deeds []string
}

// watched makes the world one in which nothing forbidden passes unnoticed.
func (w *world) watched() {
	w.safety = &safety{w: w, served: map[uint64]string{}, terms: map[string]uint64{}}
	w.agents.onSend = w.safety.directive
	if w.find() != nil {
		w.safety.afterCommit()
	}
}

// done returns what was done that cannot be undone.
func (s *safety) done() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.deeds)
}

// directive is called under the lock of the agents.
func (s *safety) directive(pod string, d instance.Directive) {
	w := s.w
	live := w.find()
	if live == nil {
		w.t.Errorf("%s is told to be %s by an operator whose cluster is gone", pod, d.Role)
		return
	}
	r := observe.Record(live.Status.Record)
	follows := func(source string) bool { return r.Epoch == d.Epoch && r.Primary == source }
	switch {
	case d.Role == instance.RolePrimary && !follows(pod):
		w.t.Errorf("%s is told to be the primary of epoch %d while the record is %+v", pod, d.Epoch, r)
	case d.Role == instance.RoleReplica && !follows(d.Replica.Source.Name):
		w.t.Errorf("%s is told to follow %s in epoch %d while the record is %+v", pod, d.Replica.Source.Name, d.Epoch, r)
	case d.Role == instance.RoleReplica && d.Replica.Acknowledge && !slices.Contains(r.Voters, pod) && (r.Change == nil || r.Change.Add != pod):
		w.t.Errorf("%s is told to acknowledge while the record is %+v", pod, r)
	case d.Role == instance.RoleClone && (slices.Contains(r.Voters, pod) || !follows(d.Clone.Source.Name)):
		w.t.Errorf("%s is told to be overwritten by %s in epoch %d while the record is %+v", pod, d.Clone.Source.Name, d.Epoch, r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.Term < s.terms[pod] {
		w.t.Errorf("%s is told something in term %d after term %d", pod, d.Term, s.terms[pod])
	}
	s.terms[pod] = d.Term
	if d.Role == instance.RolePrimary && d.Primary.Serve {
		if other := s.served[d.Epoch]; other != "" && other != pod {
			w.t.Errorf("%s is told to serve in epoch %d, which was %s's", pod, d.Epoch, other)
		}
		s.served[d.Epoch] = pod
	}
}

// client returns a client whose writes are looked at.
func (s *safety) client(below client.WithWatch) client.WithWatch {
	return interceptor.NewClient(below, interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			s.beforeDelete(obj)
			err := c.Delete(ctx, obj, opts...)
			if err == nil {
				s.note(fmt.Sprintf("%T %s is deleted", obj, obj.GetName()))
			}
			return err
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			s.beforeApply(obj)
			return c.Apply(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			err := c.Patch(ctx, obj, patch, opts...)
			if _, ok := obj.(*v1alpha1.MySQLCluster); ok && err == nil {
				s.afterRelease()
			}
			return err
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			err := c.SubResource(sub).Apply(ctx, obj, opts...)
			// It may have been written whatever was answered.
			if isRecord(obj) {
				s.afterCommit()
			}
			return err
		},
	})
}

func (s *safety) note(deed string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deeds = append(s.deeds, deed)
}

// isRecord says whether a status that is applied holds a record.
func isRecord(obj runtime.ApplyConfiguration) bool {
	cluster, ok := obj.(*ac.MySQLClusterApplyConfiguration)
	return ok && cluster.Status != nil && cluster.Status.Record != nil
}

// afterCommit holds the record to what it was before.
func (s *safety) afterCommit() {
	w := s.w
	live := w.find()
	if live == nil {
		return
	}
	r := observe.Record(live.Status.Record)
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.last
	s.last = r
	switch {
	case r.Epoch < was.Epoch:
		w.t.Errorf("the record goes back from %+v to %+v", was, r)
	case r.Epoch == was.Epoch && r.Term < was.Term:
		w.t.Errorf("an earlier leader has committed %+v over %+v", r, was)
	case r.Epoch == was.Epoch && r.Primary != was.Primary:
		w.t.Errorf("epoch %d has a second primary: %+v after %+v", r.Epoch, r, was)
	case r.Epoch == was.Epoch && len(difference(r.Voters, was.Voters)) > 1:
		w.t.Errorf("two voters change at once: %+v after %+v", r, was)
	}
	for _, deed := range deedsOf(was, r) {
		if !slices.Contains(s.deeds, deed) {
			s.deeds = append(s.deeds, deed)
		}
	}
}

// deedsOf is what a commit does that cannot be undone at once: another primary, a handover, a voter less. Which of two
// instances becomes a voter first is nobody's loss.
func deedsOf(was, r instance.Record) []string {
	var out []string
	if was.Epoch != r.Epoch {
		out = append(out, fmt.Sprintf("epoch %d is of %s", r.Epoch, r.Primary))
	}
	if c := r.Change; c != nil && c.Remove != "" {
		out = append(out, fmt.Sprintf("epoch %d is to lose %s", r.Epoch, c.Remove))
	}
	for _, voter := range was.Voters {
		if !slices.Contains(r.Voters, voter) {
			out = append(out, fmt.Sprintf("epoch %d has lost %s", r.Epoch, voter))
		}
	}
	if h := r.Handover; h != nil {
		out = append(out, fmt.Sprintf("epoch %d is handed over to %s, given up %v", r.Epoch, h.To, h.GivenUp))
	}
	return out
}

// difference is what only one of two lists holds.
func difference(a, b []string) []string {
	var out []string
	for _, s := range slices.Concat(a, b) {
		if slices.Contains(a, s) != slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}

// beforeDelete: a pod is made anew only while every other voter is at work, the primary only if it is alone; a claim is
// given up only with its cluster, whose user wants that, and when the primary is closed.
func (s *safety) beforeDelete(obj client.Object) {
	w := s.w
	live := w.find()
	if live == nil {
		w.t.Errorf("%T %s is deleted for a cluster that is gone", obj, obj.GetName())
		return
	}
	switch obj.(type) {
	case *corev1.Pod:
		r := observe.Record(live.Status.Record)
		if !slices.Contains(r.Voters, obj.GetName()) {
			return
		}
		if obj.GetName() == r.Primary && len(r.Voters) > 1 {
			w.t.Errorf("the pod of the primary is deleted: record %+v", r)
		}
		for _, voter := range r.Voters {
			if voter != obj.GetName() && !w.agents.atWork(voter, r.Epoch) {
				w.t.Errorf("the pod of %s is deleted while voter %s is away: record %+v", obj.GetName(), voter, r)
			}
		}
	case *corev1.PersistentVolumeClaim:
		if live.DeletionTimestamp == nil || live.Spec.DeletionPolicy != v1alpha1.DeletionDelete {
			w.t.Errorf("volume claim %s is deleted of a cluster that is deleted %v with policy %s", obj.GetName(), live.DeletionTimestamp,
				live.Spec.DeletionPolicy)
		}
	case *v1alpha1.MySQLCluster:
		if why := mayGo(live, obj); why != "" {
			w.t.Errorf("MySQLCluster %s is deleted: %s", obj.GetName(), why)
		}
	default:
		w.t.Errorf("%T %s is deleted, which no path asks for", obj, obj.GetName())
	}
}

// mayGo says why a MySQLCluster must not be deleted; "" if it is a drill of this one that nobody wants, or whose end is in the status.
func mayGo(live *v1alpha1.MySQLCluster, obj client.Object) string {
	owner := metav1.GetControllerOf(obj)
	switch b := live.Spec.Backup; {
	case owner == nil || owner.UID != live.UID || obj.GetLabels()[protect.LabelDrill] != live.Name:
		return "it is no drill of this cluster"
	case b == nil || b.Verify == nil || live.DeletionTimestamp != nil:
		return ""
	}
	b := live.Status.Backup
	if b == nil || b.Drill == nil || b.Drill.FinishedAt == nil || b.Drill.Due.UTC().Format(time.RFC3339) != obj.GetAnnotations()[protect.AnnotationDue] {
		return "how it ended is not recorded"
	}
	return ""
}

func (s *agents) atWork(pod string, epoch uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.all[pod]
	return a != nil && a.connected && a.epoch == epoch && (a.serving || a.attached)
}

// beforeApply: a StatefulSet never gets smaller than what the record rests on.
func (s *safety) beforeApply(obj runtime.ApplyConfiguration) {
	w := s.w
	tree, ok := obj.(interface{ UnstructuredContent() map[string]any })
	if !ok {
		return
	}
	u := unstructured.Unstructured{Object: tree.UnstructuredContent()}
	if u.GetKind() != "StatefulSet" {
		return
	}
	replicas, _, err := unstructured.NestedInt64(u.Object, "spec", "replicas")
	live := w.find()
	if err != nil || live == nil {
		w.t.Errorf("a StatefulSet is applied (%v), and the cluster is gone: %v", err, live == nil)
		return
	}
	r := observe.Record(live.Status.Record)
	rests := append(slices.Clone(r.Voters), r.Primary)
	if r.Change != nil && r.Change.Add != "" {
		rests = append(rests, r.Change.Add)
	}
	for ordinal := range 9 {
		if name := manifest.InstanceName(w.name.Name, ordinal); slices.Contains(rests, name) && int64(ordinal) >= replicas {
			var set appsv1.StatefulSet
			err := api.Get(w.t.Context(), w.name, &set)
			if err == nil && *set.Spec.Replicas > int32(replicas) {
				w.t.Errorf("%d replicas are applied, which takes away %s: record %+v", replicas, name, r)
			}
			if err != nil && !apierrors.IsNotFound(err) {
				w.t.Error(err)
			}
		}
	}
}

// afterRelease: who lets a cluster go that takes its volumes along has given up every one of them.
func (s *safety) afterRelease() {
	w := s.w
	if live := w.find(); live != nil && (live.DeletionTimestamp == nil || slices.Contains(live.Finalizers, act.Finalizer)) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deeds = append(s.deeds, fmt.Sprintf("released, volumes deleted: %v", slices.Sorted(maps.Values(words(w.claims())))))
}

func words(claims map[string]bool) map[string]string {
	out := map[string]string{}
	for name, deleted := range claims {
		out[name] = fmt.Sprintf("%s %v", name, deleted)
	}
	return out
}
