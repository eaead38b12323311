package monitors

import (
	"context"
	"encoding/json"
	"fmt"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Client returns a client that reads the kinds of this package from the watcher's cache and does all else as base does. Reading
// them fails with ErrUnavailable unless the state is Available; so does to apply one that the API server does not serve any more,
// which also has the watcher look at once.
func (w *Watcher) Client(base client.Client) client.Client { return &routed{Client: base, watcher: w} }

type routed struct {
	client.Client
	watcher *Watcher
}

// Get implements client.Reader.
func (r *routed) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	switch obj.(type) {
	case *monitoringv1.PodMonitor, *monitoringv1.PrometheusRule:
		reader, err := r.watcher.current()
		if err != nil {
			return fmt.Errorf("read %T %s: %w", obj, key, err)
		}
		return reader.Get(ctx, key, obj, opts...)
	}
	return r.Client.Get(ctx, key, obj, opts...)
}

// List implements client.Reader.
func (r *routed) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	switch list.(type) {
	case *monitoringv1.PodMonitorList, *monitoringv1.PrometheusRuleList:
		reader, err := r.watcher.current()
		if err != nil {
			return fmt.Errorf("read %T: %w", list, err)
		}
		return reader.List(ctx, list, opts...)
	}
	return r.Client.List(ctx, list, opts...)
}

// Apply implements client.Writer. That the kinds have gone shows here first.
func (r *routed) Apply(ctx context.Context, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	err := r.Client.Apply(ctx, obj, opts...)
	if !unserved(err) {
		return err
	}
	r.watcher.lookAgain()
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// unserved says whether an error means that the API server does not serve a kind. A missing object, or a missing namespace, is
// another thing: then the answer comes from the kind's own handler and not from where nothing is found.
func unserved(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsMethodNotSupported(err) ||
		apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// Configuration makes an apply configuration of a typed object: all that is set in it, and nothing else. There are no
// generated ones for these kinds in the module that has the types. The object must say its kind itself or be of one that
// scheme knows.
func Configuration(obj client.Object, scheme *runtime.Scheme) (runtime.ApplyConfiguration, error) {
	gvk, err := apiutil.GVKForObject(obj, scheme)
	if err != nil {
		return nil, fmt.Errorf("find the kind of %T: %w", obj, err)
	}
	raw, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", gvk.Kind, obj.GetName(), err)
	}
	content := map[string]any{}
	if err := json.Unmarshal(raw, &content); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w", gvk.Kind, obj.GetName(), err)
	}
	delete(content, "status")
	trim(content)
	out := &unstructured.Unstructured{Object: content}
	out.SetGroupVersionKind(gvk)
	return client.ApplyConfigurationFromUnstructured(out), nil
}

// trim removes what is empty only because a Go type cannot leave it out: to apply it would be to own it.
func trim(content map[string]any) {
	for key, value := range content {
		switch value := value.(type) {
		case nil:
			delete(content, key)
		case map[string]any:
			trim(value)
			if len(value) == 0 {
				delete(content, key)
			}
		case []any:
			for _, item := range value {
				if inner, ok := item.(map[string]any); ok {
					trim(inner)
				}
			}
		}
	}
}
