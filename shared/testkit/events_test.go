package testkit

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// TestEvents passes a1 b1 a2 b2 a3 a4 through filters, where the letter is what an event is about.
func TestEvents(t *testing.T) {
	for name, test := range map[string]struct {
		mode     EventMode
		at, span int
		want     string
		flushed  string
	}{
		"counted only":         {DropEvents, 0, 1, "a1 b1 a2 b2 a3 a4", ""},
		"the first is lost":    {DropEvents, 1, 1, "b1 a2 b2 a3 a4", ""},
		"three are lost":       {DropEvents, 2, 3, "a1 a3 a4", ""},
		"the last is lost":     {DropEvents, 6, 1, "a1 b1 a2 b2 a3", ""},
		"the newest of four":   {MergeEvents, 1, 4, "a2 b2 a3 a4", ""},
		"the newest of all":    {MergeEvents, 1, 6, "b2 a4", ""},
		"merged without end":   {MergeEvents, 3, 9, "a1 b1", "b2 a4"},
		"one comes later":      {DelayEvents, 2, 1, "a1 a2 b1 b2 a3 a4", ""},
		"two come later":       {DelayEvents, 1, 2, "a2 b2 a1 b1 a3 a4", ""},
		"later than all":       {DelayEvents, 5, 2, "a1 b1 a2 b2", "a3 a4"},
		"a span of none is 1":  {DropEvents, 1, 0, "b1 a2 b2 a3 a4", ""},
		"later than there are": {DropEvents, 7, 1, "a1 b1 a2 b2 a3 a4", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewEvents(test.mode, test.at, test.span, func(s string) string { return s[:1] })
			var got []string
			for event := range strings.FieldsSeq("a1 b1 a2 b2 a3 a4") {
				got = append(got, e.Pass(event)...)
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("passed: %s", diff)
			}
			if diff := cmp.Diff(test.flushed, strings.Join(e.Flush(), " ")); diff != "" {
				t.Errorf("flushed: %s", diff)
			}
			if e.Seen() != 6 || e.Reached() != (test.at > 0 && test.at <= 6) || len(e.Flush()) != 0 {
				t.Errorf("seen %d, reached %v", e.Seen(), e.Reached())
			}
		})
	}
}

// TestWatchesAreFiltered puts a filter into a client's watch of ConfigMaps and none into that of Pods.
func TestWatchesAreFiltered(t *testing.T) {
	for mode, want := range map[EventMode][]string{
		DropEvents: {"ADDED a ", "MODIFIED b 2", "DELETED a 2"},
		// a is seen for the first time in its second state.
		MergeEvents: {"MODIFIED a 2", "MODIFIED b 2", "DELETED a 2"},
		DelayEvents: {"ADDED a ", "MODIFIED b 2", "DELETED a 2", "ADDED b ", "MODIFIED a 2"},
	} {
		t.Run(mode.String(), func(t *testing.T) {
			below := fake.NewClientBuilder().Build()
			at, span := 2, 2
			if mode == MergeEvents {
				at, span = 1, 4
			}
			c := FilterWatches(below, func(list client.ObjectList) *Events[watch.Event] {
				if _, ok := list.(*corev1.ConfigMapList); !ok {
					return nil
				}
				return NewEvents(mode, at, span, WatchKey)
			})
			w, err := c.Watch(t.Context(), &corev1.ConfigMapList{})
			if err != nil {
				t.Fatal(err)
			}
			plain, err := c.Watch(t.Context(), &corev1.PodList{})
			if err != nil {
				t.Fatal(err)
			}
			if _, filtered := plain.(*filteredWatch); filtered {
				t.Error("the watch of pods is filtered too")
			}
			plain.Stop()
			a, b := configMap("a"), configMap("b")
			for _, cm := range []*corev1.ConfigMap{a, b} {
				if err := c.Create(t.Context(), cm); err != nil {
					t.Fatal(err)
				}
			}
			for _, cm := range []*corev1.ConfigMap{a, b} {
				cm.Data = map[string]string{"version": "2"}
				if err := c.Update(t.Context(), cm); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Delete(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			var got []string
			for range want {
				select {
				case event := <-w.ResultChan():
					cm, ok := event.Object.(*corev1.ConfigMap)
					if !ok {
						t.Fatalf("got a %T", event.Object)
					}
					got = append(got, string(event.Type)+" "+cm.Name+" "+cm.Data["version"])
				case <-time.After(30 * time.Second):
					t.Fatalf("only %q came", got)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			w.Stop()
			if event, open := <-w.ResultChan(); open {
				t.Errorf("after its end came %+v", event)
			}
		})
	}
}
