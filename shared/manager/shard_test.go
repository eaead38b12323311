package manager

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestShardFlags(t *testing.T) {
	for _, good := range [][]string{nil, {"-shards=1"}, {"-shards=3", "-shard=2"}, {"-shards=1", "-leader-election=false"}, {"-shards=100", "-shard=99"}} {
		if _, err := flags(t, good...); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, bad := range []struct{ args, names string }{
		{"-shards=0", "-shards"}, {"-shards=-2", "-shards"}, {"-shards=101", "-shards"}, {"-shards=two", "-shards"},
		{"-shard=1", "-shard"}, {"-shards=3 -shard=3", "-shard is 3"}, {"-shards=3 -shard=-1", "-shard is -1"},
		{"-shards=2 -leader-election=false", "-leader-election"},
	} {
		if _, err := flags(t, strings.Fields(bad.args)...); err == nil || !strings.Contains(err.Error(), bad.names) {
			t.Errorf("%s: %v, which does not say %q", bad.args, err, bad.names)
		}
	}
}

// TestEveryObjectHasOneShard: the hash is part of what processes of different versions agree on, so it is pinned here.
func TestEveryObjectHasOneShard(t *testing.T) {
	for _, names := range []func(i int) types.NamespacedName{
		func(i int) types.NamespacedName {
			return types.NamespacedName{Namespace: "a", Name: fmt.Sprint("widget-", i)}
		},
		func(i int) types.NamespacedName {
			return types.NamespacedName{Namespace: fmt.Sprint("team-", i), Name: fmt.Sprint("team-", i)}
		},
		func(i int) types.NamespacedName { return types.NamespacedName{Name: fmt.Sprint(i * 2)} },
	} {
		for _, count := range []int{1, 2, 3, 8} {
			had := make([]int, count)
			for i := range 6000 {
				owners := 0
				for index := range count {
					if (Shard{Count: count, Index: index}).Owns(names(i)) {
						had[index]++
						owners++
					}
				}
				if owners != 1 {
					t.Fatalf("%s has %d of %d shards", names(i), owners, count)
				}
			}
			for index, n := range had {
				if n*count < 5400 || n*count > 6600 {
					t.Errorf("shard %d of %d has %d of 6000 objects like %s", index, count, n, names(1))
				}
			}
		}
	}
	var pinned []int
	for i := range 8 {
		for index := range 3 {
			if (Shard{Count: 3, Index: index}).Owns(types.NamespacedName{Namespace: "default", Name: fmt.Sprint("widget-", i)}) {
				pinned = append(pinned, index)
			}
		}
	}
	if diff := cmp.Diff([]int{2, 1, 1, 1, 0, 2, 2, 2}, pinned); diff != "" {
		t.Errorf("objects have other shards than in the version before; a generation needs another name then:\n%s", diff)
	}
}

func TestStripLeavesOnlyNamesOfOthers(t *testing.T) {
	shard := Shard{Count: 2}
	own, foreign := "", ""
	for i := range 100 {
		if name := fmt.Sprint("x", i); shard.Owns(types.NamespacedName{Namespace: "a", Name: name}) {
			own = name
		} else {
			foreign = name
		}
	}
	next := func(in any) (any, error) {
		if tombstone, ok := in.(toolscache.DeletedFinalStateUnknown); ok {
			return tombstone, nil
		}
		in.(client.Object).SetAnnotations(map[string]string{"next": "was here"})
		return in, nil
	}
	strip := shard.Strip(Controlled, next)
	configMap := func(name, owner string) *corev1.ConfigMap {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "a", Name: name, UID: "u", ResourceVersion: "7", Labels: map[string]string{"a": "b"},
				OwnerReferences: []metav1.OwnerReference{{Kind: "Widget", Name: owner, Controller: new(true)}},
			},
			Data: map[string]string{"value": "x"},
		}
	}
	got, err := strip(configMap(foreign, own))
	if cm := got.(*corev1.ConfigMap); err != nil || cm.Data["value"] != "x" || cm.Annotations["next"] == "" {
		t.Errorf("what an object of this shard controls became %+v, %v", got, err)
	}
	got, err = strip(configMap(own, foreign))
	want := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: own, UID: "u", ResourceVersion: "7"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("what another shard's object controls became, %v:\n%s", err, diff)
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Widget", "metadata": map[string]any{"namespace": "a", "name": foreign}, "spec": "big",
	}}
	got, err = strip(u)
	if o := got.(*unstructured.Unstructured); err != nil || o.Object["spec"] != nil || o.GetKind() != "Widget" || o.GetName() != foreign {
		t.Errorf("an unstructured one became %+v, %v", got, err)
	}
	if got, err := strip(toolscache.DeletedFinalStateUnknown{Key: "x"}); err != nil || got.(toolscache.DeletedFinalStateUnknown).Key != "x" {
		t.Errorf("a tombstone became %+v", got)
	}
	if (Shard{Count: 1}).Strip(Controlled, nil) != nil {
		t.Error("without shards there is a transform")
	}
}
