package apply

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fields is a tree of managedFields: "f:name" is a field, `k:{...}` an element
// of a list told apart by keys, `v:...` an element of a set, "i:n" an element by
// position, and "." the thing itself. An empty tree owns all below it.
type fields map[string]fields

// ownedFields returns what a manager applied, or nil if there is no such entry.
func ownedFields(entries []metav1.ManagedFieldsEntry, manager, apiVersion string) (fields, error) {
	for _, e := range entries {
		if e.Manager != manager || e.Operation != metav1.ManagedFieldsOperationApply ||
			e.Subresource != "" || e.APIVersion != apiVersion || e.FieldsV1 == nil {
			continue
		}
		out := fields{}
		if err := json.Unmarshal(e.FieldsV1.GetRawBytes(), &out); err != nil {
			return nil, fmt.Errorf("decode managedFields of %q: %w", manager, err)
		}
		return out, nil
	}
	return nil, nil
}

// drift returns the path of the first field of want that live does not have
// any more or that is no longer owned, or "" if there is none.
func drift(path string, want, live any, owned fields) string {
	if isZero(want) && isZero(live) {
		// The typed form of an object leaves out what is empty.
		return ""
	}
	switch want := want.(type) {
	case map[string]any:
		liveMap, ok := live.(map[string]any)
		if !ok {
			return path
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if at := driftField(path+"."+name, name, want[name], liveMap, owned); at != "" {
				return at
			}
		}
		return ""
	case []any:
		liveList, ok := live.([]any)
		if !ok {
			return path
		}
		return driftList(path, want, liveList, owned)
	default:
		if sameScalar(want, live) {
			return ""
		}
		return path
	}
}

func driftField(path, name string, want any, live map[string]any, owned fields) string {
	if _, ok := live[name]; !ok && len(owned) == 0 && (name == "apiVersion" || name == "kind") {
		// An object inside an object, like a claim template, loses these two on
		// its way through protobuf.
		return ""
	}
	below, ok := owned["f:"+name]
	if len(owned) > 0 && !ok && !(isZero(want) && isZero(live[name])) {
		return path
	}
	return drift(path, want, live[name], below)
}

// driftList compares a list that is owned as a whole, by keys, or as a set.
// Elements of others in the latter two are theirs; one that this manager owns
// but no longer wants would have changed the hash.
func driftList(path string, want, live []any, owned fields) string {
	own := elements(owned)
	if len(own) == 0 {
		return driftAtomic(path, want, live)
	}
	for i, value := range want {
		if at := driftElement(fmt.Sprintf("%s[%d]", path, i), i, value, live, own); at != "" {
			return at
		}
	}
	return ""
}

// driftAtomic compares a list that belongs to one manager: same length, same
// order. The API server may have filled in defaults inside the elements.
func driftAtomic(path string, want, live []any) string {
	if len(want) != len(live) {
		return path
	}
	for i := range want {
		if at := drift(fmt.Sprintf("%s[%d]", path, i), want[i], live[i], nil); at != "" {
			return at
		}
	}
	return ""
}

// driftElement looks for one element of an associative list or a set.
func driftElement(path string, index int, want any, live []any, owned fields) string {
	for _, name := range slices.Sorted(maps.Keys(owned)) {
		kind, text, _ := strings.Cut(name, ":")
		switch kind {
		case "i":
			if text == strconv.Itoa(index) && index < len(live) {
				return drift(path, want, live[index], owned[name])
			}
		case "v":
			var value any
			if json.Unmarshal([]byte(text), &value) == nil && sameScalar(want, value) && contains(live, value) {
				return ""
			}
		case "k":
			var key map[string]any
			if json.Unmarshal([]byte(text), &key) != nil || !matches(want, key, true) {
				continue
			}
			if element, ok := find(live, key); ok {
				return drift(path, want, element, owned[name])
			}
		}
	}
	return path
}

// elements leaves out what is not about an element.
func elements(owned fields) fields {
	out := fields{}
	for name, below := range owned {
		if !strings.HasPrefix(name, "f:") && name != "." {
			out[name] = below
		}
	}
	return out
}

// matches says whether an element has the given keys. A desired element may
// leave one out that has a default.
func matches(element any, key map[string]any, lenient bool) bool {
	m, ok := element.(map[string]any)
	if !ok {
		return false
	}
	for name, value := range key {
		got, ok := m[name]
		if !ok && lenient {
			continue
		}
		if !sameScalar(got, value) {
			return false
		}
	}
	return true
}

func find(list []any, key map[string]any) (any, bool) {
	for _, element := range list {
		if matches(element, key, false) {
			return element, true
		}
	}
	return nil, false
}

func contains(list []any, value any) bool {
	for _, element := range list {
		if sameScalar(element, value) {
			return true
		}
	}
	return false
}

// sameScalar compares leaves. Numbers may come as integers or as floats, and the
// API server may have written a quantity in another way. That "1" and "1.0" are
// taken for the same outside of quantities too does no harm: whoever changes
// one into the other takes the ownership of the field, which is noticed.
func sameScalar(a, b any) bool {
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, ok := a.(string)
	y, ok2 := b.(string)
	if !ok || !ok2 {
		return false
	}
	p, err := resource.ParseQuantity(x)
	if err != nil {
		return false
	}
	q, err := resource.ParseQuantity(y)
	return err == nil && p.Cmp(q) == 0
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		return float64(n), true
	case float64:
		return n, true
	default:
		return 0, false
	}
}

// isZero says whether a value is one that omitempty leaves out.
func isZero(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case int64:
		return v == 0
	case float64:
		return v == 0
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, value := range v {
			if !isZero(value) {
				return false
			}
		}
		return true
	default:
		return false
	}
}
