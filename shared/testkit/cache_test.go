package testkit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// shelf is a cache of labelled ConfigMaps and all Secrets of one namespace.
func shelf(t *testing.T, below client.WithWatch) *Cache {
	t.Helper()
	c, err := NewCache(below,
		Kept{List: &corev1.ConfigMapList{}, Options: []client.ListOption{client.InNamespace("default"), client.HasLabels{"kept"}}},
		Kept{List: &corev1.SecretList{}, Options: []client.ListOption{client.InNamespace("default")}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func labelled(name, version string) *corev1.ConfigMap {
	cm := configMap(name)
	cm.Labels, cm.Data = map[string]string{"kept": "yes", "name": name}, map[string]string{"version": version}
	return cm
}

// listed says which ConfigMaps in which versions a client lists.
func listed(t *testing.T, c client.Client, opts ...client.ListOption) string {
	t.Helper()
	var list corev1.ConfigMapList
	if err := c.List(t.Context(), &list, opts...); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, cm := range list.Items {
		out = append(out, cm.Name+cm.Data["version"])
	}
	return strings.Join(out, " ")
}

func written(events []watch.Event) string {
	var out []string
	for _, e := range events {
		obj, ok := e.Object.(client.Object)
		if !ok {
			out = append(out, fmt.Sprintf("%T", e.Object))
			continue
		}
		out = append(out, string(e.Type)+" "+obj.GetName())
	}
	return strings.Join(out, ", ")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCacheMovesOnlyWhenTold(t *testing.T) {
	below := fake.NewClientBuilder().WithObjects(labelled("a", "1"), configMap("unlabelled")).Build()
	c := shelf(t, below)
	if got := listed(t, c); got != "" {
		t.Errorf("before the first look the cache holds %q", got)
	}
	sync := func(want string, kinds ...client.ObjectList) {
		t.Helper()
		events, err := c.Sync(t.Context(), kinds...)
		must(t, err)
		if diff := cmp.Diff(want, written(events)); diff != "" {
			t.Errorf("events: %s", diff)
		}
	}
	sync("ADDED a")
	sync("")
	// Its own writes are no news to it either before the next look.
	must(t, c.Create(t.Context(), labelled("b", "1")))
	must(t, c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}))
	for range 2 {
		var a corev1.ConfigMap
		must(t, below.Get(t.Context(), client.ObjectKeyFromObject(configMap("a")), &a))
		a.Data["version"] += "+"
		must(t, below.Update(t.Context(), &a))
	}
	if got := listed(t, c); got != "a1" {
		t.Errorf("the frozen cache shows %q", got)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(configMap("b")), &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
		t.Errorf("what is not in the cache yet: %v", err)
	}
	// Other kinds move on; of two changes of a the newest is seen.
	sync("ADDED s", &corev1.SecretList{})
	if got := listed(t, c); got != "a1" {
		t.Errorf("after a look at another kind the cache shows %q", got)
	}
	sync("MODIFIED a, ADDED b", &corev1.ConfigMapList{})
	if got := listed(t, c); got != "a1++ b1" {
		t.Errorf("after the jump the cache shows %q", got)
	}
	// Gone and made again between two looks is one change; gone is another.
	must(t, below.Delete(t.Context(), configMap("a")))
	must(t, below.Create(t.Context(), labelled("a", "new")))
	must(t, below.Delete(t.Context(), configMap("b")))
	sync("MODIFIED a, DELETED b")
	// What was read from it is the reader's own.
	var a corev1.ConfigMap
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(configMap("a")), &a))
	a.Data["version"] = "scribbled"
	if got := listed(t, c); got != "anew" {
		t.Errorf("a reader has changed the cache: %q", got)
	}
	if got := listed(t, c, client.MatchingLabels{"name": "b"}) + listed(t, c, client.InNamespace("other")); got != "" {
		t.Errorf("the selectors let %q pass", got)
	}
	if got := listed(t, c, client.InNamespace("default"), client.MatchingLabels{"name": "a"}); got != "anew" {
		t.Errorf("the selectors let only %q pass", got)
	}
}

// TestCacheTravelsInTime starts an operator again behind an API server that shows what was before the old one ended.
func TestCacheTravelsInTime(t *testing.T) {
	below := fake.NewClientBuilder().WithObjects(labelled("a", "1")).Build()
	old := shelf(t, below)
	_, err := old.Sync(t.Context())
	must(t, err)
	then := old.Moment()
	must(t, below.Delete(t.Context(), configMap("a")))
	must(t, below.Create(t.Context(), labelled("b", "1")))
	must(t, below.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}))
	_, err = old.Sync(t.Context())
	must(t, err)
	if got := listed(t, old); got != "b1" {
		t.Fatalf("the old process has seen %q", got)
	}

	next := shelf(t, below)
	_, err = next.Sync(t.Context())
	must(t, err)
	must(t, next.Show(then, &corev1.ConfigMapList{}))
	if got := listed(t, next); got != "a1" {
		t.Errorf("the new process sees %q, not the past", got)
	}
	if err := next.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "s"}, &corev1.Secret{}); err != nil {
		t.Errorf("the other kind has travelled too: %v", err)
	}
	events, err := next.Sync(t.Context())
	must(t, err)
	if got := written(events); got != "ADDED b, DELETED a" || listed(t, next) != "b1" {
		t.Errorf("catching up: %q, then %q", got, listed(t, next))
	}
	must(t, next.Show(then))
	if err := next.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "s"}, &corev1.Secret{}); !apierrors.IsNotFound(err) {
		t.Errorf("one kind has stayed behind: %v", err)
	}
}

func TestCacheRefusesWhatItCannotAnswer(t *testing.T) {
	below := fake.NewClientBuilder().WithObjects(labelled("a", "1"), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}).Build()
	c := shelf(t, below)
	_, err := c.Sync(t.Context())
	must(t, err)
	if err := c.List(t.Context(), &corev1.ConfigMapList{}, client.Limit(1)); err == nil {
		t.Error("a limit was ignored")
	}
	partial := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(configMap("a")), partial); err == nil || !strings.Contains(err.Error(), "PartialObjectMetadata") {
		t.Errorf("another type of the kind: %v", err)
	}
	if _, err := c.Sync(t.Context(), &corev1.PodList{}); err == nil || !strings.Contains(err.Error(), "Pod") {
		t.Errorf("a kind that is not kept: %v", err)
	}
	if err := c.Show(nil, &corev1.PodList{}); err == nil {
		t.Error("a kind that is not kept was shown")
	}
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods); err != nil || len(pods.Items) != 1 {
		t.Errorf("a kind that is not kept is read live: %d, %v", len(pods.Items), err)
	}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "p"}, &corev1.Pod{}); err != nil {
		t.Error(err)
	}
}
