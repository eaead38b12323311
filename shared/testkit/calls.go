package testkit

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// write is one write on its way to the API server.
type write struct {
	// about names the object, for the errors that an API server would give.
	about schema.GroupResource
	name  string
	// do carries it out with the caller's own objects, which learn the answer.
	do func(context.Context) error
	// copied is the write with copies of everything that the caller may use again, for a write that outlives its call.
	copied func() (func(context.Context) error, error)
}

// calls is what stands between a client and its caller.
type calls struct {
	read  func(do func() error) error
	write func(ctx context.Context, w write) error
}

// client wraps a client so that every read and every write of it goes through the two functions.
func (f calls) client(below client.WithWatch) client.WithWatch {
	about := func(obj runtime.Object, name string) write {
		w := write{name: name}
		if gvk, err := below.GroupVersionKindFor(obj); err == nil {
			w.about = schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}
		}
		return w
	}
	object := func(ctx context.Context, obj client.Object, do func(context.Context, client.Object) error) error {
		w := about(obj, obj.GetName())
		w.do = func(ctx context.Context) error { return do(ctx, obj) }
		w.copied = func() (func(context.Context) error, error) {
			later := copyOf(obj)
			return func(ctx context.Context) error { return do(ctx, later) }, nil
		}
		return f.write(ctx, w)
	}
	patched := func(ctx context.Context, obj client.Object, patch client.Patch, do func(context.Context, client.Object, client.Patch) error) error {
		w := about(obj, obj.GetName())
		w.do = func(ctx context.Context) error { return do(ctx, obj, patch) }
		w.copied = func() (func(context.Context) error, error) {
			// A patch is worked out from objects of the caller when it is sent.
			raw, err := patch.Data(obj)
			later, sent := copyOf(obj), client.RawPatch(patch.Type(), raw)
			return func(ctx context.Context) error { return do(ctx, later, sent) }, err
		}
		return f.write(ctx, w)
	}
	applied := func(ctx context.Context, obj runtime.ApplyConfiguration, do func(context.Context, runtime.ApplyConfiguration) error) error {
		tree, err := treeOf(obj)
		if err != nil {
			return err
		}
		w := about(tree, tree.GetName())
		w.do = func(ctx context.Context) error { return do(ctx, obj) }
		w.copied = func() (func(context.Context) error, error) {
			return func(ctx context.Context) error { return do(ctx, client.ApplyConfigurationFromUnstructured(tree)) }, nil
		}
		return f.write(ctx, w)
	}
	return interceptor.NewClient(below, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			return f.read(func() error { return c.Get(ctx, key, obj, opts...) })
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return f.read(func() error { return c.List(ctx, list, opts...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return object(ctx, obj, func(ctx context.Context, obj client.Object) error { return c.Create(ctx, obj, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return object(ctx, obj, func(ctx context.Context, obj client.Object) error { return c.Delete(ctx, obj, opts...) })
		},
		DeleteAllOf: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteAllOfOption) error {
			return object(ctx, obj, func(ctx context.Context, obj client.Object) error { return c.DeleteAllOf(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return object(ctx, obj, func(ctx context.Context, obj client.Object) error { return c.Update(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return patched(ctx, obj, patch, func(ctx context.Context, obj client.Object, patch client.Patch) error {
				return c.Patch(ctx, obj, patch, opts...)
			})
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return applied(ctx, obj, func(ctx context.Context, obj runtime.ApplyConfiguration) error { return c.Apply(ctx, obj, opts...) })
		},
		SubResourceGet: func(ctx context.Context, c client.Client, sub string, obj, subObj client.Object, opts ...client.SubResourceGetOption) error {
			return f.read(func() error { return c.SubResource(sub).Get(ctx, obj, subObj, opts...) })
		},
		SubResourceCreate: func(ctx context.Context, c client.Client, sub string, obj, subObj client.Object, opts ...client.SubResourceCreateOption) error {
			w := about(obj, obj.GetName())
			w.do = func(ctx context.Context) error { return c.SubResource(sub).Create(ctx, obj, subObj, opts...) }
			w.copied = func() (func(context.Context) error, error) {
				obj, subObj := copyOf(obj), copyOf(subObj)
				return func(ctx context.Context) error { return c.SubResource(sub).Create(ctx, obj, subObj, opts...) }, nil
			}
			return f.write(ctx, w)
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
			return object(ctx, obj, func(ctx context.Context, obj client.Object) error {
				return c.SubResource(sub).Update(ctx, obj, opts...)
			})
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return patched(ctx, obj, patch, func(ctx context.Context, obj client.Object, patch client.Patch) error {
				return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
			})
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return applied(ctx, obj, func(ctx context.Context, obj runtime.ApplyConfiguration) error {
				return c.SubResource(sub).Apply(ctx, obj, opts...)
			})
		},
	})
}

func copyOf(obj client.Object) client.Object {
	out, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		panic(fmt.Sprintf("a copy of %T is no object", obj))
	}
	return out
}

// treeOf is an apply configuration as it is sent.
func treeOf(obj runtime.ApplyConfiguration) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", obj, err)
	}
	tree := &unstructured.Unstructured{}
	// Whole numbers stay whole, as they do in every other tree.
	if err := utiljson.Unmarshal(raw, &tree.Object); err != nil {
		return nil, fmt.Errorf("decode %T: %w", obj, err)
	}
	return tree, nil
}
