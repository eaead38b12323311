package observe

import (
	"encoding/json"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/link"
)

// drill is a restore drill of the cluster db: its cluster, its set, its pod and its volume claim, and what its agent says.
type drill struct {
	cluster v1alpha1.MySQLCluster
	set     appsv1.StatefulSet
	pod     corev1.Pod
	claim   corev1.PersistentVolumeClaim
	peer    link.Peer
}

func newDrill(t *testing.T) *drill {
	t.Helper()
	owned := func(kind, name string, uid types.UID) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: name, UID: uid, Controller: new(true)}}
	}
	named := func(name string, uid types.UID, owners []metav1.OwnerReference) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: uid, OwnerReferences: owners, CreationTimestamp: metav1.NewTime(start)}
	}
	raw, err := json.Marshal(instance.Report{Restore: &instance.RestoreReport{State: instance.RestoreDone}})
	if err != nil {
		t.Fatal(err)
	}
	return &drill{
		cluster: v1alpha1.MySQLCluster{ObjectMeta: named("db-drill", "drill", nil)},
		set:     appsv1.StatefulSet{ObjectMeta: named("db-drill", "set", owned("MySQLCluster", "db-drill", "drill"))},
		pod:     corev1.Pod{ObjectMeta: named("db-drill-0", "pod", owned("StatefulSet", "db-drill", "set"))},
		claim:   corev1.PersistentVolumeClaim{ObjectMeta: named("data-db-drill-0", "claim", nil)},
		peer:    link.Peer{Key: link.PeerKey{Namespace: "shop", Pod: "db-drill-0", UID: "pod"}, Connected: true, Snapshot: raw},
	}
}

// TestADrillIsWhatItsOwnPodSays: names are used again, and what was said under them before is about another drill.
func TestADrillIsWhatItsOwnPodSays(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(d *drill)
		heard   bool
		old     bool
		without []string
	}{
		"its own pod":                  {change: func(*drill) {}, heard: true},
		"an agent of an earlier pod":   {change: func(d *drill) { d.peer.Key.UID = "before" }},
		"a pod of an earlier set":      {change: func(d *drill) { d.pod.OwnerReferences[0].UID = "before" }},
		"a set of an earlier drill":    {change: func(d *drill) { d.set.OwnerReferences[0].UID = "before" }},
		"no pod":                       {change: func(*drill) {}, without: []string{"db-drill-0"}},
		"a volume of an earlier drill": {change: func(d *drill) { d.claim.CreationTimestamp = metav1.NewTime(start.Add(-time.Minute)) }, heard: true, old: true},
		"such a volume that is on its way out": {change: func(d *drill) {
			gone := metav1.NewTime(start)
			d.claim.CreationTimestamp, d.claim.DeletionTimestamp = metav1.NewTime(start.Add(-time.Minute)), &gone
		}, heard: true},
		"a report that cannot be read": {change: func(d *drill) { d.peer.Snapshot = []byte("{") }},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDrill(t)
			test.change(d)
			cached := &store{others: []client.Object{&d.cluster, &d.set, &d.pod, &d.claim}}
			for _, gone := range test.without {
				for i, o := range cached.others {
					if o.GetName() == gone {
						cached.others = append(cached.others[:i:i], cached.others[i+1:]...)
						break
					}
				}
			}
			o := &Observer{Cached: cached, Peers: peers{"db-drill-0": d.peer}}
			got, err := o.drilled(t.Context(), types.NamespacedName{Namespace: "shop", Name: "db-drill"})
			if err != nil || got == nil || got.Cluster.UID != "drill" || (got.Report != nil) != test.heard || got.OldVolume != test.old {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	if got, err := (&Observer{Cached: &store{}}).drilled(t.Context(), types.NamespacedName{Namespace: "shop", Name: "db-drill"}); got != nil || err != nil {
		t.Errorf("without a drill: %+v, %v", got, err)
	}
}
