package controller_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
	"github.com/kapok-operators/kapok/shared/apply"
)

// snapshot writes everything that tells one end from another: the objects in the namespace, and what every instance is
// and holds.
func (w *world) snapshot() string {
	w.t.Helper()
	var out strings.Builder
	for _, list := range []client.ObjectList{
		&v1alpha1.MySQLClusterList{}, &v1alpha1.MySQLBackupList{}, &appsv1.StatefulSetList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{},
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
	out.WriteString(w.agents.snapshot())
	// Whose word came last is no part of the state.
	text := term.ReplaceAllString(strings.ReplaceAll(out.String(), w.name.Namespace, "namespace"), `"$1": 0`)
	return due.ReplaceAllString(text, "db-DUE")
}

// due is the moment in the name of a backup.
var due = regexp.MustCompile(`db-\d{8}-\d{6}`)

var term = regexp.MustCompile(`"(term|observedTerm)": \d+`)

// snapshot says what every instance is, and whether it holds what was acknowledged to clients and what the others hold.
func (s *agents) snapshot() string {
	together := s.together()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.all)) {
		a := s.all[name]
		fmt.Fprintf(&out, "%s: connected %v, %s, blank %v, role %s of epoch %d, promised %d, serving %v, drained %v, acks %d, admits %q, follows %q, "+
			"attached %v, acknowledges %v, config %v, users %q, restart needed %v, lacks what was acknowledged: %v\n",
			name, a.connected, a.state, a.blank, a.role, a.epoch, a.promised, a.serving, a.drained, a.acks, a.admitted, a.following,
			a.attached, a.acknowledging, a.config, a.users, a.restartNeeded, !a.held.Contains(s.acknowledged))
	}
	for _, full := range s.stored {
		fmt.Fprintf(&out, "stored: %s of %s\n", full.Name, full.Instance)
	}
	fmt.Fprintf(&out, "the archive lacks %q; all hold the same: %v\n", s.missing, together)
	return out.String()
}

// plain drops what no two runs have in common.
func plain(tree map[string]any) map[string]any {
	drop := []string{
		"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds",
		"lastTransitionTime", "observedGeneration", "clusterIP", "clusterIPs", "startTime", "startedAt", "finishedAt",
		"restorableFrom", "due", "lastPassedAt", "restorableTo", "lastFullAt", "clusterUID", protect.AnnotationDue, apply.AnnotationApplied, touched,
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
			if len(value) == 0 {
				delete(tree, key)
			}
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

// touched is an annotation that others write on the custom resource, for no reason that matters to the operator.
const touched = "example.com/touched"
