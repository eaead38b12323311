package apply

import (
	"encoding/json"
	"fmt"
	"reflect"
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
		if err := json.Unmarshal(e.FieldsV1.Raw, &out); err != nil {
			return nil, fmt.Errorf("decode managedFields of %q: %w", manager, err)
		}
		return out, nil
	}
	return nil, nil
}

// holds says whether live has everything of want, within what is owned.
func holds(want, live any, owned fields) bool {
	if isZero(want) && isZero(live) {
		// The typed form of an object leaves out what is empty.
		return true
	}
	switch want := want.(type) {
	case map[string]any:
		liveMap, ok := live.(map[string]any)
		if !ok {
			return false
		}
		for name, value := range want {
			if !holdsField(name, value, liveMap, owned) {
				return false
			}
		}
		return true
	case []any:
		liveList, ok := live.([]any)
		return ok && holdsList(want, liveList, owned)
	default:
		return sameScalar(want, live)
	}
}

func holdsField(name string, want any, live map[string]any, owned fields) bool {
	below, ok := owned["f:"+name]
	if len(owned) > 0 && !ok {
		// An empty value leaves no trace where its parent is not owned itself.
		return isZero(want) && isZero(live[name])
	}
	return holds(want, live[name], below)
}

// holdsList compares a list that is owned as a whole, by keys, or as a set.
func holdsList(want, live []any, owned fields) bool {
	if len(elements(owned)) == 0 {
		return holdsAtomic(want, live)
	}
	for i, value := range want {
		if !holdsElement(i, value, live, owned) {
			return false
		}
	}
	// An element that is owned but no longer wanted would have changed the hash;
	// elements of others are theirs.
	return true
}

// holdsAtomic compares a list that belongs to one manager: same length, same
// order. The API server may have filled in defaults inside the elements.
func holdsAtomic(want, live []any) bool {
	if len(want) != len(live) {
		return false
	}
	for i := range want {
		if !holds(want[i], live[i], nil) {
			return false
		}
	}
	return true
}

// holdsElement looks for one element of an associative list or a set.
func holdsElement(index int, want any, live []any, owned fields) bool {
	for name, below := range elements(owned) {
		switch {
		case strings.HasPrefix(name, "i:"):
			if name == fmt.Sprintf("i:%d", index) && index < len(live) {
				return holds(want, live[index], below)
			}
		case strings.HasPrefix(name, "v:"):
			var value any
			if json.Unmarshal([]byte(name[2:]), &value) == nil && sameScalar(want, value) {
				return contains(live, value)
			}
		case strings.HasPrefix(name, "k:"):
			var key map[string]any
			if json.Unmarshal([]byte(name[2:]), &key) != nil {
				continue
			}
			if !matches(want, key, true) {
				continue
			}
			if element, ok := find(live, key); ok && holds(want, element, below) {
				return true
			}
		}
	}
	return false
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
