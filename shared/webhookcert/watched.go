package webhookcert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kapok-operators/kapok/shared/pki"
)

// watched holds the named configurations as they are. Each is watched by its
// name, so that a permission by resourceName is enough.
type watched struct {
	group, owner string
	// hosts are the ones of this operator.
	hosts []string
	items []*item
	// wake tells of a change; it holds at most one.
	wake chan struct{}
}

type item struct {
	configuration
	store    cache.Store
	informer cache.Controller
}

// place is a webhook's bundle with what is needed to write it.
type place struct {
	pki.Place
	hook
	item *item
	// version is that of the whole configuration.
	version string
}

func newWatched(rc *rest.Config, o Options) (*watched, error) {
	all, err := configurations(rc, o)
	if err != nil {
		return nil, err
	}
	dns, ips := o.names()
	w := &watched{group: o.group(), owner: o.fieldOwner(), hosts: dns, wake: make(chan struct{}, 1)}
	for _, ip := range ips {
		w.hosts = append(w.hosts, ip.String())
	}
	names := slices.Concat(o.Validating, o.Mutating, o.Conversions)
	for i, c := range all {
		w.items = append(w.items, w.newItem(c, names[i]))
	}
	return w, nil
}

func (w *watched) newItem(c configuration, name string) *item {
	selector := fields.OneTermEqualSelector("metadata.name", name).String()
	poke := func(any) { w.poke() }
	it := &item{configuration: c}
	it.store, it.informer = cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
				options.FieldSelector = selector
				return c.list(ctx, options)
			},
			WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
				options.FieldSelector = selector
				return c.watch(ctx, options)
			},
		},
		ObjectType: c.example,
		Transform: func(object any) (any, error) {
			c.slim(object)
			return object, nil
		},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    poke,
			UpdateFunc: func(any, any) { w.poke() },
			DeleteFunc: poke,
		},
	})
	return it
}

// poke asks for a new look; it never waits.
func (w *watched) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run watches until ctx ends.
func (w *watched) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, it := range w.items {
		all.Go(func() { it.informer.RunWithContext(ctx) })
		// That a configuration does not exist is known only once it was looked for, and
		// then no event tells.
		all.Go(func() {
			if cache.WaitForCacheSync(ctx.Done(), it.informer.HasSynced) {
				w.poke()
			}
		})
	}
	all.Wait()
}

// view returns the places as they are now. A configuration that has no webhook
// of this operator is absent: nobody calls because of it.
func (w *watched) view() []place {
	var out []place
	for _, it := range w.items {
		empty := place{Place: pki.Place{Name: it.title}, item: it}
		if !it.informer.HasSynced() {
			out = append(out, empty)
			continue
		}
		empty.State = pki.PlaceAbsent
		found := false
		for _, object := range it.store.List() {
			accessor, err := meta.Accessor(object)
			if err != nil {
				// The store holds what the informer has decoded: it has metadata.
				continue
			}
			for _, h := range it.hooks(object) {
				if !slices.Contains(w.hosts, h.host) {
					continue
				}
				found = true
				p := place{
					Place: pki.Place{Name: it.title, State: pki.PlacePresent, Entries: pki.Entries(h.bundle, w.group)},
					hook:  h, item: it, version: accessor.GetResourceVersion(),
				}
				if h.name != "" {
					p.Name += ", webhook " + h.name
				}
				out = append(out, p)
			}
		}
		if !found {
			out = append(out, empty)
		}
	}
	return out
}

// operation is one of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// publish writes new bundles, by the name of their place: one write for each
// configuration. It says which were written, also if it fails: one that cannot be
// written holds up no other. Outdated says that somebody was faster with one at
// least; that is no error, the watch shows what is there now.
//
// A patch that names the version that was read is refused if there is a newer
// one, so that replicas do not take away what others have just added, and the
// position of a webhook means what it meant. It is no server-side apply: who
// applies a bundle comes to own the webhook around it as well, and then its
// author cannot remove it any more.
func (w *watched) publish(ctx context.Context, view []place, bundles map[string][]byte) (written []string, outdated bool, err error) {
	var failures []error
	for _, it := range w.items {
		var operations []operation
		for _, p := range view {
			bundle, edited := bundles[p.Name]
			if p.item != it || !edited || bytes.Equal(bundle, p.bundle) {
				continue
			}
			if len(operations) == 0 {
				operations = append(operations, operation{Op: "replace", Path: "/metadata/resourceVersion", Value: p.version})
			}
			// Bytes are base64 in JSON, here as there.
			operations = append(operations, operation{Op: "add", Path: p.path, Value: bundle})
		}
		if len(operations) == 0 {
			continue
		}
		patch, err := json.Marshal(operations)
		if err != nil {
			return written, outdated, fmt.Errorf("encode the authority for %s: %w", it.title, err)
		}
		err = it.patch(ctx, patch, metav1.PatchOptions{FieldManager: w.owner})
		switch {
		case err == nil:
			written = append(written, it.title)
		case apierrors.IsConflict(err):
			outdated = true
		default:
			failures = append(failures, fmt.Errorf("publish the authority in %s: %w", it.title, err))
		}
	}
	return written, outdated, errors.Join(failures...)
}
