package testkit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// Kept is a kind that a cache keeps.
type Kept struct {
	// List is an empty list of the kind.
	List client.ObjectList
	// Options narrow down what is kept of it, as they would narrow down a List.
	Options []client.ListOption
	// Fields returns what lists may select an object by, beside its labels; nil if there is nothing. A cache has to be told, as an
	// operator's has.
	Fields func(client.Object) fields.Set
}

// Moment is what a cache held at some time.
type Moment map[schema.GroupVersionKind]map[client.ObjectKey]client.Object

// Cache is a client that answers reads of some kinds from a store, as an operator's cache does, but with a store that is as
// old as a test wants: it moves only by Sync and Show. So a kind that is left out of Sync is frozen until the next Sync
// jumps to the present, and a cache that is shown a Moment of an earlier one travels back in time, as an operator does
// that starts again against an API server which lags behind.
//
// Writes, watches and reads of other kinds go to the API server.
type Cache struct {
	client.WithWatch

	below client.WithWatch
	kinds map[schema.GroupVersionKind]Kept
	order []schema.GroupVersionKind

	mu   sync.Mutex
	held Moment
}

// NewCache makes an empty cache in front of a client.
func NewCache(below client.WithWatch, kinds ...Kept) (*Cache, error) {
	c := &Cache{below: below, kinds: map[schema.GroupVersionKind]Kept{}, held: Moment{}}
	for _, kept := range kinds {
		gvk, err := c.kindOf(kept.List)
		if err != nil {
			return nil, err
		}
		c.kinds[gvk], c.order = kept, append(c.order, gvk)
	}
	c.WithWatch = interceptor.NewClient(below, interceptor.Funcs{Get: c.get, List: c.list})
	return c, nil
}

// kindOf returns the kind of an object, or of the elements of a list.
func (c *Cache) kindOf(obj runtime.Object) (schema.GroupVersionKind, error) {
	gvk, err := c.below.GroupVersionKindFor(obj)
	if err != nil {
		return gvk, fmt.Errorf("find the kind of %T: %w", obj, err)
	}
	if _, ok := obj.(client.ObjectList); ok {
		gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
	}
	return gvk, nil
}

// which returns the kinds of lists, or all kinds that are kept.
func (c *Cache) which(lists []client.ObjectList) ([]schema.GroupVersionKind, error) {
	if len(lists) == 0 {
		return c.order, nil
	}
	out := make([]schema.GroupVersionKind, 0, len(lists))
	for _, list := range lists {
		gvk, err := c.kindOf(list)
		if err != nil {
			return nil, err
		}
		if _, ok := c.kinds[gvk]; !ok {
			return nil, fmt.Errorf("the cache does not keep %s", gvk)
		}
		out = append(out, gvk)
	}
	return out, nil
}

// Sync brings some kinds, or all if none is named, to what the API server holds now. It returns what a watch would have
// shown if it had been away since the last time: one event for each object that is another one now.
func (c *Cache) Sync(ctx context.Context, lists ...client.ObjectList) ([]watch.Event, error) {
	which, err := c.which(lists)
	if err != nil {
		return nil, err
	}
	var events []watch.Event
	for _, gvk := range which {
		now, err := c.present(ctx, c.kinds[gvk])
		if err != nil {
			return events, err
		}
		c.mu.Lock()
		events = append(events, changes(c.held[gvk], now)...)
		c.held[gvk] = now
		c.mu.Unlock()
	}
	return events, nil
}

func (c *Cache) present(ctx context.Context, kept Kept) (map[client.ObjectKey]client.Object, error) {
	list, ok := kept.List.DeepCopyObject().(client.ObjectList)
	if !ok {
		return nil, fmt.Errorf("a copy of %T is no list", kept.List)
	}
	if err := c.below.List(ctx, list, kept.Options...); err != nil {
		return nil, fmt.Errorf("list %T: %w", list, err)
	}
	now := map[client.ObjectKey]client.Object{}
	err := meta.EachListItem(list, func(item runtime.Object) error {
		obj, ok := item.(client.Object)
		if !ok {
			return fmt.Errorf("%T is no object", item)
		}
		now[client.ObjectKeyFromObject(obj)] = copyOf(obj)
		return nil
	})
	return now, err
}

func changes(before, now map[client.ObjectKey]client.Object) []watch.Event {
	var out []watch.Event
	for _, key := range sortedKeys(now) {
		switch old := before[key]; {
		case old == nil:
			out = append(out, watch.Event{Type: watch.Added, Object: copyOf(now[key])})
		case old.GetUID() != now[key].GetUID() || old.GetResourceVersion() != now[key].GetResourceVersion():
			out = append(out, watch.Event{Type: watch.Modified, Object: copyOf(now[key])})
		}
	}
	for _, key := range sortedKeys(before) {
		if now[key] == nil {
			out = append(out, watch.Event{Type: watch.Deleted, Object: copyOf(before[key])})
		}
	}
	return out
}

func sortedKeys(objects map[client.ObjectKey]client.Object) []client.ObjectKey {
	return slices.SortedFunc(maps.Keys(objects), func(a, b client.ObjectKey) int { return strings.Compare(a.String(), b.String()) })
}

// Moment returns what the cache holds now, for another cache or for later.
func (c *Cache) Moment() Moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A store of a kind is replaced as a whole and never changed.
	return maps.Clone(c.held)
}

// Show makes the cache hold some kinds, or all if none is named, as they were at a moment.
func (c *Cache) Show(m Moment, lists ...client.ObjectList) error {
	which, err := c.which(lists)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, gvk := range which {
		c.held[gvk] = m[gvk]
	}
	return nil
}

func (c *Cache) get(ctx context.Context, below client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	gvk, err := c.kindOf(obj)
	if err != nil {
		return err
	}
	if _, ok := c.kinds[gvk]; !ok {
		return below.Get(ctx, key, obj, opts...)
	}
	c.mu.Lock()
	held := c.held[gvk][key]
	c.mu.Unlock()
	if held == nil {
		return apierrors.NewNotFound(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, key.Name)
	}
	from, to := reflect.ValueOf(copyOf(held)), reflect.ValueOf(obj)
	if from.Type() != to.Type() {
		return fmt.Errorf("read %s %s: the cache holds it as %T, not as %T", gvk.Kind, key, held, obj)
	}
	to.Elem().Set(from.Elem())
	return nil
}

func (c *Cache) list(ctx context.Context, below client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
	gvk, err := c.kindOf(list)
	if err != nil {
		return err
	}
	kept, ok := c.kinds[gvk]
	if !ok {
		return below.List(ctx, list, opts...)
	}
	var wanted client.ListOptions
	wanted.ApplyOptions(opts)
	if wanted.FieldSelector != nil && kept.Fields == nil || wanted.Continue != "" || wanted.Limit != 0 {
		return errors.New("the cache answers lists by namespace, labels and the fields that it was told of alone")
	}
	c.mu.Lock()
	held := c.held[gvk]
	c.mu.Unlock()
	var items []runtime.Object
	for _, key := range sortedKeys(held) {
		obj := held[key]
		if wanted.Namespace != "" && wanted.Namespace != obj.GetNamespace() {
			continue
		}
		if wanted.FieldSelector != nil && !wanted.FieldSelector.Matches(kept.Fields(obj)) {
			continue
		}
		if wanted.LabelSelector != nil && !wanted.LabelSelector.Matches(labels.Set(obj.GetLabels())) {
			continue
		}
		items = append(items, copyOf(obj))
	}
	return meta.SetList(list, items)
}
