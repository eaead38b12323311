package controller_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
	"github.com/kapok-operators/kapok/shared/link"
)

// drilledPod is the pod of the drill.
const drilledPod = "db-drill-0"

// rehearses has the agent of the drill's instance say this from now on.
func (s *agents) rehearses(r instance.RestoreReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rehearsal = &r
}

// drillPeer is the agent of a drill's instance, which another loop looks after; ok is false if the pod is none of a drill.
func (s *agents) drillPeer(namespace, pod string) (peer link.Peer, ok bool) {
	if s.rehearsal == nil || pod != drilledPod {
		return link.Peer{}, false
	}
	raw, err := json.Marshal(instance.Report{Instance: pod, Restore: s.rehearsal})
	if err != nil {
		panic(err)
	}
	return link.Peer{Key: link.PeerKey{Namespace: namespace, Pod: pod, UID: s.rehearsedBy}, Connected: true, Snapshot: raw}, true
}

// stage is what others do for a drill: its set and its pod are there while its cluster is.
func (w *world) stage() {
	w.t.Helper()
	w.rehearsedPod(true)
}

// rehearsedPod makes the pod of a drill, or removes it; alone says that nobody else makes the set.
func (w *world) rehearsedPod(alone bool) {
	w.t.Helper()
	ctx, drill := w.t.Context(), w.rehearsal()
	var set appsv1.StatefulSet
	var pod corev1.Pod
	for object, name := range map[client.Object]string{&set: "db-drill", &pod: drilledPod} {
		if err := client.IgnoreNotFound(api.Get(ctx, client.ObjectKey{Namespace: w.name.Namespace, Name: name}, object)); err != nil {
			w.t.Fatal(err)
		}
	}
	containers := corev1.PodSpec{Containers: []corev1.Container{{Name: manifest.ServerContainer, Image: "registry.example.com/mysql"}}}
	switch {
	case set.UID != "" && (drill == nil || !metav1.IsControlledBy(&set, drill)):
		for _, object := range []client.Object{&set, &pod} {
			if err := client.IgnoreNotFound(api.Delete(ctx, object, client.GracePeriodSeconds(0))); err != nil {
				w.t.Fatal(err)
			}
		}
		return
	case drill == nil || pod.UID != "" || set.UID == "" && !alone:
		return
	case set.UID == "":
		labels := map[string]string{manifest.LabelCluster: drill.Name}
		set = appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: "db-drill", Labels: labels,
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(drill, v1alpha1.SchemeGroupVersion.WithKind("MySQLCluster"))}},
			Spec: appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: containers}},
		}
		w.make(&set)
	}
	pod = corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: drilledPod, Labels: map[string]string{manifest.LabelCluster: drill.Name},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(&set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}},
		Spec: containers,
	}
	w.make(&pod)
	w.agents.mu.Lock()
	defer w.agents.mu.Unlock()
	w.agents.rehearsedBy = string(pod.UID)
}

func (w *world) make(object client.Object) {
	w.t.Helper()
	if err := api.Create(w.t.Context(), object); err != nil {
		w.t.Fatalf("make %T %s: %v", object, object.GetName(), err)
	}
}

// drilled are data that a drill has brought back.
var drilled = instance.RestoreReport{
	State: instance.RestoreDone, Plan: "full backup old and 2 pieces of the archive", Took: 83 * time.Second, Verified: &instance.Verified{Tables: 9, Compared: 7},
}

// toProve has the backups of a cluster proven.
func toProve(c *v1alpha1.MySQLCluster) {
	toVolume(c)
	c.Spec.Backup.Verify = &v1alpha1.Verify{Schedule: "0 5 * * 0"}
}

// rehearsal returns the MySQLCluster of the drill; nil if there is none.
func (w *world) rehearsal() *v1alpha1.MySQLCluster {
	w.t.Helper()
	var c v1alpha1.MySQLCluster
	err := api.Get(w.t.Context(), client.ObjectKey{Namespace: w.name.Namespace, Name: protect.DrillName(w.name.Name)}, &c)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return &c
}

// drill is what the cluster says about its newest drill.
func (w *world) drill() v1alpha1.DrillStatus {
	w.t.Helper()
	if b := w.cluster().Status.Backup; b != nil && b.Drill != nil {
		return *b.Drill
	}
	return v1alpha1.DrillStatus{}
}

// proven is a cluster with a full backup, which no drill has proven yet.
func (w *world) proven() {
	w.agents.stored = []instance.StoredFull{{Name: "old", Instance: "db-2", Newest: w.clock, Finished: w.clock}}
	w.seed(3, toVolume)
	w.besides = (*world).stage
}

// drills are the paths of restore drills.
func drills() map[string]path {
	return map[string]path{
		"rehearsal": {
			before:  func(w *world) { w.proven(); w.agents.rehearses(drilled) },
			event:   func(w *world) { w.edit(toProve) },
			done:    func(w *world) bool { return w.drill().Result == v1alpha1.DrillPassed && w.rehearsal() == nil },
			besides: (*world).stage,
		},
		"rehearsal that is called off": {
			before: func(w *world) {
				w.proven()
				w.edit(toProve)
				w.until("drill", func() bool { return w.drill().Result == v1alpha1.DrillRunning })
				w.settle()
			},
			event:   func(w *world) { w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.Backup.Verify = nil }) },
			done:    func(w *world) bool { return w.rehearsal() == nil && w.drill().Result == "" },
			besides: (*world).stage,
		},
	}
}

// TestBackupsAreProven: from a full backup to a drill that has passed and has gone, once; another one is held when it is asked for, and one that fails
// is told as well.
func TestBackupsAreProven(t *testing.T) {
	w := newWorld(t)
	w.proven()
	w.edit(toProve)
	w.until("drill", func() bool { return w.drill().Result == v1alpha1.DrillRunning })
	made := w.rehearsal()
	owner := metav1.GetControllerOf(made)
	if owner == nil || owner.UID != w.cluster().UID || made.Spec.Instances != 1 || made.Spec.Restore == nil || !made.Spec.Restore.Verify ||
		made.Spec.Restore.ClusterUID != string(w.cluster().UID) || made.Spec.Storage.Size.Cmp(w.cluster().Spec.Storage.Size) != 0 {
		t.Fatalf("made is %+v: %+v", made.ObjectMeta, made.Spec)
	}
	w.settle()
	w.quiet("while it restores")
	w.agents.rehearses(drilled)
	w.until("end of the drill", func() bool { return w.rehearsal() == nil })
	d := w.drill()
	if d.Result != v1alpha1.DrillPassed || d.Took == nil || d.Took.Duration != 83*time.Second || d.Tables != 9 || d.Compared != 7 || d.LastPassedAt == nil {
		t.Errorf("it says %+v", d)
	}
	w.settle()
	w.quiet("once it is over")
	if told := w.agents.told("db-0").Backup.Archive.Drill; told == nil || told.Failed || told.Took != 83*time.Second {
		t.Errorf("the archiver is told %+v", told)
	}
	for reason, want := range map[string]int{"DrillBegun": 1, "DrillPassed": 1, "DrillFailed": 0} {
		if got := w.events.count(reason); got != want {
			t.Errorf("%d events %s, want %d: %q", got, reason, want, w.events.sent)
		}
	}
	w.agents.rehearses(instance.RestoreReport{State: instance.RestoreFailed, ProblemReason: instance.ProblemDataWrong, Problem: "table shop.orders is another one than was backed up"})
	// The agent of the drill before is still remembered, and has passed; this one fails.
	w.annotate(v1alpha1.AnnotationDrill, "once more")
	w.until("another drill", func() bool { return w.drill().Request == "once more" && w.rehearsal() == nil })
	if d := w.drill(); d.Result != v1alpha1.DrillFailed || !strings.Contains(d.Message, "shop.orders") || d.LastPassedAt == nil {
		t.Errorf("it says %+v", d)
	}
	if n := w.events.count("DrillFailed"); n != 1 {
		t.Errorf("%d events DrillFailed", n)
	}
	// A cluster that is deleted takes its drill along, without waiting for the garbage collector.
	w.agents.rehearses(instance.RestoreReport{State: instance.RestoreUnpacking})
	w.annotate(v1alpha1.AnnotationDrill, "the last time")
	w.until("the last drill", func() bool { return w.rehearsal() != nil })
	w.delete()
	w.until("end", func() bool { return w.find() == nil })
	if w.rehearsal() != nil {
		t.Error("the drill stays")
	}
}

// TestADrillIsNotJudgedByAnEarlierOne: what the agent of its pod has said that is gone, or is going, is about another drill.
func TestADrillIsNotJudgedByAnEarlierOne(t *testing.T) {
	w := newWorld(t)
	w.proven()
	w.agents.rehearses(drilled)
	w.edit(toProve)
	w.until("end of the first", func() bool { return w.drill().Result == v1alpha1.DrillPassed && w.rehearsal() == nil })
	// Nobody makes another pod, and the one of before is not removed either.
	w.besides = nil
	w.annotate(v1alpha1.AnnotationDrill, "once more")
	w.until("another drill", func() bool { return w.drill().Request == "once more" })
	w.settle()
	if d := w.drill(); d.Result != v1alpha1.DrillRunning {
		t.Errorf("it says %+v", d)
	}
}

// TestADrillTouchesNobodyElsesCluster: one that has its name stays as it is, and the drill has failed.
func TestADrillTouchesNobodyElsesCluster(t *testing.T) {
	w := newWorld(t)
	other := worldIn(t, w.name.Namespace)
	other.name.Name = protect.DrillName(w.name.Name)
	other.create(instances(1))
	before := other.cluster()
	w.proven()
	w.edit(toProve)
	w.until("failed drill", func() bool { return w.drill().Result == v1alpha1.DrillFailed })
	w.settle()
	w.quiet("once it has failed")
	if now := other.cluster(); now.UID != before.UID || now.ResourceVersion != before.ResourceVersion {
		t.Errorf("it was changed: %+v", now)
	}
	if d := w.drill(); !strings.Contains(d.Message, "is no drill of this cluster") {
		t.Errorf("it says %+v", d)
	}
}

// rehearsed lives through a drill that passes.
func (w *world) rehearsed() {
	w.t.Helper()
	w.agents.rehearses(drilled)
	w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.Backup.Verify = &v1alpha1.Verify{Schedule: "0 5 * * 0"} })
	w.eventually("drill", func() bool {
		// The kubelet of this world runs the pods of one cluster.
		w.rehearsedPod(false)
		// Nobody but the loop that is proven here would take the finalizer off.
		return w.drill().Result == v1alpha1.DrillPassed && w.rehearsal() == nil
	})
	// There is no garbage collector.
	w.rehearsedPod(false)
}

// told is the directive that an instance obeys.
func (s *agents) told(pod string) instance.Directive {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.all[pod].directive
}
