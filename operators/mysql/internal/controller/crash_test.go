package controller_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/shared/apply"
	"github.com/kapok-operators/kapok/shared/testkit"
)

// path is something that happens to a cluster and what is there once the operator is through with it.
type path struct {
	// before prepares a cluster, event begins the path, and done says whether it has ended.
	before func(w *world)
	event  func(w *world)
	done   func(w *world) bool
}

func paths() map[string]path {
	return map[string]path{
		"create": {
			before: func(*world) {},
			event:  func(w *world) { w.create(instances(1)) },
			done:   func(w *world) bool { return w.healthy("db-0")() },
		},
		"join": {
			before: func(w *world) { w.seed(1, nil) },
			event:  func(w *world) { w.edit(instances(2)) },
			done:   func(w *world) bool { return w.healthy("db-0")() && len(w.record().Voters) == 2 },
		},
		"failover": {
			before: func(w *world) { w.seed(3, nil); w.agents.write("db-0") },
			event:  func(w *world) { w.agents.kill("db-0") },
			done:   func(w *world) bool { return w.record().Epoch == 2 && w.healthy("")() },
		},
		"switchover": {
			before: func(w *world) { w.seed(2, nil) },
			event:  func(w *world) { w.annotate(v1alpha1.AnnotationSwitchover, "db-1") },
			done: func(w *world) bool {
				return w.healthy("db-1")() && w.cluster().Annotations[v1alpha1.AnnotationSwitchover] == ""
			},
		},
		"scale in": {
			before: func(w *world) { w.seed(2, nil) },
			event:  func(w *world) { w.edit(instances(1)) },
			done:   func(w *world) bool { return w.healthy("db-0")() && len(w.podUIDs()) == 1 },
		},
		"deletion": {
			before: func(w *world) {
				w.seed(2, func(c *v1alpha1.MySQLCluster) { c.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
			},
			event: func(w *world) { w.delete() },
			done:  func(w *world) bool { return w.find() == nil },
		},
	}
}

func (w *world) delete() {
	w.t.Helper()
	if err := api.Delete(w.t.Context(), w.cluster()); err != nil {
		w.t.Fatalf("delete the cluster: %v", err)
	}
}

// TestCrashPoints stops the operator, and in another mode loses the API server's answer, at every single write of every
// path. Whoever goes on must bring the cluster to the very state that an undisturbed run ends in: the same record, no
// epoch more, the same objects and the same status.
func TestCrashPoints(t *testing.T) {
	for name, p := range paths() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := p.undisturbed(t)
			// A crash before a write leaves what a crash after the one before it leaves, so two modes are all there is.
			for _, mode := range []testkit.Mode{testkit.AfterWrite, testkit.LostAnswer} {
				t.Run(mode.String(), func(t *testing.T) {
					n := 1
					for p.disturbed(t, mode, n, want) {
						n++
					}
					if n < 3 {
						t.Errorf("only %d writes: nothing was tested", n-1)
					}
				})
			}
		})
	}
}

// disturbed runs the path with a crash at the n-th write. It says whether there was such a write.
func (p path) disturbed(t *testing.T, mode testkit.Mode, n int, want string) bool {
	t.Helper()
	w := newWorld(t)
	w.thrifty = true
	w.restart(api)
	p.before(w)
	w.committedFirst()
	point := testkit.NewCrashPoint(api, mode, n)
	w.restart(point)
	p.event(w)
	w.through(p, point)
	if diff := cmp.Diff(want, w.snapshot()); diff != "" {
		t.Fatalf("after a crash at write %d, another end than an undisturbed run (-want +got):\n%s", n, diff)
	}
	return point.Reached()
}

// through runs rounds until the path has ended and nothing is left to write. When the operator's process has crashed,
// another one goes on.
func (w *world) through(p path, point *testkit.CrashPoint) {
	w.t.Helper()
	restarted := false
	for range rounds {
		before := w.writes.Writes()
		err := w.round()
		if err != nil && !point.Reached() {
			w.t.Fatalf("a round failed before the crash: %v", err)
		}
		if !restarted && point.Reached() && errors.Is(point.Get(w.t.Context(), w.name, &v1alpha1.MySQLCluster{}), testkit.ErrCrashed) {
			restarted = true
			w.restart(api)
			continue
		}
		if err == nil && w.writes.Writes() == before && p.done(w) {
			return
		}
	}
	w.t.Fatalf("not there after %d rounds: %s", rounds, w.snapshot())
}

func (p path) undisturbed(t *testing.T) string {
	t.Helper()
	w := newWorld(t)
	w.thrifty = true
	w.restart(api)
	p.before(w)
	w.restart(api)
	p.event(w)
	w.through(p, w.writes)
	return w.snapshot()
}

// snapshot writes everything in the namespace that tells one end from another.
func (w *world) snapshot() string {
	w.t.Helper()
	var out strings.Builder
	for _, list := range []client.ObjectList{
		&v1alpha1.MySQLClusterList{}, &appsv1.StatefulSetList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{},
		&corev1.ServiceAccountList{}, &policyv1.PodDisruptionBudgetList{}, &discoveryv1.EndpointSliceList{},
		&corev1.PodList{}, &corev1.PersistentVolumeClaimList{},
	} {
		if err := api.List(w.t.Context(), list, client.InNamespace(w.name.Namespace)); err != nil {
			w.t.Fatal(err)
		}
		err := meta.EachListItem(list, func(obj runtime.Object) error {
			tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
			if err != nil {
				return err
			}
			raw, err := json.MarshalIndent(map[string]any{fmt.Sprintf("%T", obj): plain(tree)}, "", " ")
			out.Write(append(raw, '\n'))
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	// Whose word came last is no part of the state.
	return term.ReplaceAllString(strings.ReplaceAll(out.String(), w.name.Namespace, "namespace"), `"term": 0`)
}

var term = regexp.MustCompile(`"term": \d+`)

// plain drops what no two runs have in common.
func plain(tree map[string]any) map[string]any {
	drop := []string{
		"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds",
		"lastTransitionTime", "observedGeneration", "clusterIP", "clusterIPs", "startTime", apply.AnnotationApplied,
	}
	for _, key := range slices.Collect(maps.Keys(tree)) {
		if slices.Contains(drop, key) {
			if key == "deletionTimestamp" {
				tree["deleted"] = true
			}
			delete(tree, key)
			continue
		}
		switch value := tree[key].(type) {
		case map[string]any:
			plain(value)
		case []any:
			for _, element := range value {
				if m, ok := element.(map[string]any); ok {
					plain(m)
				}
			}
		}
	}
	return tree
}
