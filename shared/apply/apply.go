package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// AnnotationApplied holds the hash of the configuration that was applied last.
const AnnotationApplied = "kapok.dev/applied"

// Applier applies objects for one field manager.
type Applier struct {
	// Client reads from the cache and writes.
	Client client.Client
	// FieldOwner is the field manager; one per concern.
	FieldOwner string

	mu sync.Mutex
	// settled is which configuration was found in force in which state of an object, so that neither is compared again
	// before one of them changes. An object that is gone leaves its entry behind, a few hundred bytes.
	settled map[Key]settled
}

// settled is a configuration and the state of an object in which it is in force.
type settled struct {
	configuration [sha256.Size]byte
	uid           types.UID
	version       string
}

// Reason says why an object was or was not written.
type Reason string

// The reasons of a Result.
const (
	// Unchanged: nothing was written.
	Unchanged Reason = "Unchanged"
	// Missing: the object was not in the cache.
	Missing Reason = "Missing"
	// Changed: the desired configuration is not the one applied last.
	Changed Reason = "Changed"
	// Drifted: somebody else changed or took over a field.
	Drifted Reason = "Drifted"
)

// Key names an object of a kind.
type Key struct {
	schema.GroupVersionKind
	types.NamespacedName
}

// String returns kind namespace/name.
func (k Key) String() string { return k.Kind + " " + k.NamespacedName.String() }

// Result says what was done with one object.
type Result struct {
	Key    Key
	Reason Reason
	// Field is where a Drifted object was found to differ first.
	Field string
}

// Written says whether the API server was asked to write.
func (r Result) Written() bool { return r.Reason != Unchanged }

// Apply brings the objects to their desired state, in order, and stops at the
// first error. The results cover what was done until then. The configurations
// are not changed.
func (a *Applier) Apply(ctx context.Context, desired ...runtime.ApplyConfiguration) ([]Result, error) {
	results := make([]Result, 0, len(desired))
	for _, ac := range desired {
		result, err := a.one(ctx, ac, nil)
		if err != nil {
			return results, err
		}
		results = append(results, result)
	}
	return results, nil
}

// Licence is asked for before a write that cannot be undone. It returns the
// resource version of the object for which the write is right, or an error if it
// is not: what is read from a cache tells whether to write, and must not be all
// that licenses it. Empty means that any version will do, as for an object that
// is not there.
type Licence func(ctx context.Context) (resourceVersion string, err error)

// ApplyUnder is Apply of one object under a licence, which is asked for only if
// there is something to write. The API server refuses the write, with a
// conflict, if the object is in another state by then.
func (a *Applier) ApplyUnder(ctx context.Context, licence Licence, desired runtime.ApplyConfiguration) (Result, error) {
	return a.one(ctx, desired, licence)
}

func (a *Applier) one(ctx context.Context, ac runtime.ApplyConfiguration, licence Licence) (Result, error) {
	raw, key, err := encode(ac)
	if err != nil {
		return Result{}, err
	}
	typed, err := a.read(ctx, key)
	if err != nil {
		return Result{}, err
	}
	now := settled{configuration: sha256.Sum256(raw)}
	if typed != nil {
		now.uid, now.version = typed.GetUID(), typed.GetResourceVersion()
		if a.isSettled(key, now) {
			return Result{Key: key, Reason: Unchanged}, nil
		}
	}
	want := &unstructured.Unstructured{}
	if err := want.UnmarshalJSON(raw); err != nil {
		return Result{}, fmt.Errorf("decode %s: %w", key, err)
	}
	hash, err := hashOf(want)
	if err != nil {
		return Result{}, fmt.Errorf("hash %s: %w", key, err)
	}
	annotations := want.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[AnnotationApplied] = hash
	want.SetAnnotations(annotations)

	result := Result{Key: key, Reason: Missing}
	if typed != nil {
		live, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
		if err != nil {
			return Result{}, fmt.Errorf("convert %s: %w", key, err)
		}
		result.Reason, result.Field, err = a.compare(want, &unstructured.Unstructured{Object: live}, hash)
		if err != nil {
			return Result{}, fmt.Errorf("compare %s: %w", key, err)
		}
	}
	if !result.Written() {
		a.settle(key, now)
		return result, nil
	}
	if licence != nil {
		version, err := licence(ctx)
		if err != nil {
			return Result{}, fmt.Errorf("apply %s: %w", key, err)
		}
		want.SetResourceVersion(version)
	}
	err = a.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(want),
		client.FieldOwner(a.FieldOwner), client.ForceOwnership)
	if err != nil {
		return Result{}, fmt.Errorf("apply %s: %w", key, err)
	}
	return result, nil
}

func (a *Applier) isSettled(key Key, now settled) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return now.version != "" && a.settled[key] == now
}

func (a *Applier) settle(key Key, now settled) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.settled == nil {
		a.settled = map[Key]settled{}
	}
	a.settled[key] = now
}

// compare says why and where the live object differs, if it does.
func (a *Applier) compare(want, live *unstructured.Unstructured, hash string) (Reason, string, error) {
	if live.GetAnnotations()[AnnotationApplied] != hash {
		return Changed, "", nil
	}
	owned, err := ownedFields(live.GetManagedFields(), a.FieldOwner, want.GetAPIVersion())
	if err != nil {
		return "", "", err
	}
	if owned == nil {
		return Drifted, ".metadata.managedFields", nil
	}
	if at := drift("", comparable(want), live.Object, owned); at != "" {
		return Drifted, at, nil
	}
	return Unchanged, "", nil
}

// comparable drops what managedFields never mention.
func comparable(want *unstructured.Unstructured) map[string]any {
	out := want.DeepCopy().Object
	delete(out, "apiVersion")
	delete(out, "kind")
	if meta, ok := out["metadata"].(map[string]any); ok {
		for _, field := range []string{"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"} {
			delete(meta, field)
		}
	}
	return out
}

// read returns the cached object, or nil.
func (a *Applier) read(ctx context.Context, key Key) (client.Object, error) {
	// The cache is filled per Go type, so the typed form is asked for if there
	// is one.
	obj, err := a.Client.Scheme().New(key.GroupVersionKind)
	switch {
	case runtime.IsNotRegisteredError(err):
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(key.GroupVersionKind)
		obj = u
	case err != nil:
		return nil, fmt.Errorf("make a %s: %w", key.Kind, err)
	}
	typed, ok := obj.(client.Object)
	if !ok {
		return nil, fmt.Errorf("read %s: %T is not an object", key, obj)
	}
	err = a.Client.Get(ctx, key.NamespacedName, typed)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return typed, nil
}

// encode returns the configuration as JSON, which is the same for the same content, and what it is about.
func encode(ac runtime.ApplyConfiguration) ([]byte, Key, error) {
	raw, err := json.Marshal(ac)
	if err != nil {
		return nil, Key{}, fmt.Errorf("encode %T: %w", ac, err)
	}
	var head metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, Key{}, fmt.Errorf("decode %T: %w", ac, err)
	}
	key := Key{
		GroupVersionKind: head.GroupVersionKind(),
		NamespacedName:   types.NamespacedName{Namespace: head.Namespace, Name: head.Name},
	}
	if key.Name == "" {
		return nil, Key{}, fmt.Errorf("decode %T: %w", ac, errors.New("the object has no name"))
	}
	return raw, key, nil
}

// hashOf returns a short hash of the tree. JSON sorts the keys of maps.
func hashOf(u *unstructured.Unstructured) (string, error) {
	raw, err := json.Marshal(u.Object)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16]), nil
}
