package apply

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// ErrNeverPruned is returned for a kind that holds data.
var ErrNeverPruned = errors.New("objects of this kind are never pruned")

// PruneScope says what may be deleted.
type PruneScope struct {
	// Owner must be the controller of an object for it to be deleted.
	Owner client.Object
	// Labels must all be on the object; at least one is required.
	Labels map[string]string
	// Kinds are empty lists of the kinds to look at, which must be cached.
	Kinds []client.ObjectList
}

// Prune deletes the objects in scope that are not among the desired ones, and
// returns which. It reads from the cache and deletes with the UID and the
// resource version that it read, so that a stale cache deletes nothing else.
func (a *Applier) Prune(ctx context.Context, scope PruneScope, desired ...runtime.ApplyConfiguration) ([]Key, error) {
	if len(scope.Labels) == 0 || scope.Owner.GetUID() == "" {
		return nil, errors.New("prune: an owner with a UID and at least one label are required")
	}
	for _, value := range scope.Labels {
		if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
			return nil, fmt.Errorf("prune: label value %q: %s", value, problems[0])
		}
	}
	keep, err := keysOf(desired)
	if err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	var deleted []Key
	for _, kind := range scope.Kinds {
		list, ok := kind.DeepCopyObject().(client.ObjectList)
		if !ok {
			return deleted, fmt.Errorf("prune: %T is not a list", kind)
		}
		keys, err := a.pruneKind(ctx, scope, list, keep)
		deleted = append(deleted, keys...)
		if err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// groupKey leaves the version out: an object is the same in all of them.
type groupKey struct {
	schema.GroupKind
	types.NamespacedName
}

func keysOf(desired []runtime.ApplyConfiguration) (map[groupKey]struct{}, error) {
	out := map[groupKey]struct{}{}
	for _, ac := range desired {
		_, key, err := encode(ac)
		if err != nil {
			return nil, err
		}
		out[groupKey{key.GroupKind(), key.NamespacedName}] = struct{}{}
	}
	return out, nil
}

func (a *Applier) pruneKind(ctx context.Context, scope PruneScope, list client.ObjectList, keep map[groupKey]struct{}) ([]Key, error) {
	gvk, err := apiutil.GVKForObject(list, a.Client.Scheme())
	if err != nil {
		return nil, fmt.Errorf("prune %T: %w", list, err)
	}
	gvk.Kind = gvk.Kind[:max(0, len(gvk.Kind)-len("List"))]
	if gvk.Kind == "PersistentVolumeClaim" || gvk.Kind == "PersistentVolume" {
		return nil, fmt.Errorf("prune %s: %w", gvk.Kind, ErrNeverPruned)
	}
	err = a.Client.List(ctx, list, client.InNamespace(scope.Owner.GetNamespace()), client.MatchingLabels(scope.Labels))
	if err != nil {
		return nil, fmt.Errorf("list %s to prune: %w", gvk.Kind, err)
	}
	var deleted []Key
	err = meta.EachListItem(list, func(item runtime.Object) error {
		obj, ok := item.(client.Object)
		if !ok {
			return fmt.Errorf("prune %s: %T is not an object", gvk.Kind, item)
		}
		key := Key{gvk, client.ObjectKeyFromObject(obj)}
		if _, ok := keep[groupKey{gvk.GroupKind(), key.NamespacedName}]; ok {
			return nil
		}
		if !metav1.IsControlledBy(obj, scope.Owner) || !obj.GetDeletionTimestamp().IsZero() {
			return nil
		}
		uid, version := obj.GetUID(), obj.GetResourceVersion()
		err := a.Client.Delete(ctx, obj,
			client.Preconditions{UID: &uid, ResourceVersion: &version},
			client.PropagationPolicy(metav1.DeletePropagationBackground))
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("delete %s: %w", key, err)
		}
		deleted = append(deleted, key)
		return nil
	})
	return deleted, err
}
