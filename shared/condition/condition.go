// Package condition keeps the conditions of an object's status in order.
//
// A reconcile derives all its conditions at once and merges them with those
// observed (Merge): the order is fixed, observedGeneration is always that of the
// generation looked at, and a transition time changes only with the status.
// Messages must carry neither timestamps nor counters, or the status never
// settles.
package condition

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
)

// maxMessage is the limit of metav1.Condition.
const maxMessage = 32768

// New returns a condition without a transition time; Merge fills it in.
func New(typ string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: typ, Status: status, Reason: reason, Message: message}
}

// True returns a condition that holds.
func True(typ, reason, message string) metav1.Condition {
	return New(typ, metav1.ConditionTrue, reason, message)
}

// False returns a condition that does not hold.
func False(typ, reason, message string) metav1.Condition {
	return New(typ, metav1.ConditionFalse, reason, message)
}

// Unknown returns a condition that could not be observed.
func Unknown(typ, reason, message string) metav1.Condition {
	return New(typ, metav1.ConditionUnknown, reason, message)
}

// AllUnknown returns every named condition as unknown for one reason: what a
// failed observation says.
func AllUnknown(types []string, reason, message string) []metav1.Condition {
	out := make([]metav1.Condition, 0, len(types))
	for _, typ := range types {
		out = append(out, Unknown(typ, reason, message))
	}
	return out
}

// Merge returns the conditions to report: those of next, in the given order,
// with the transition times of previous where the status is the same.
//
// A type of order that next does not mention keeps its previous condition as it
// was, observedGeneration included: nothing was learnt about it. A type that is
// not in order comes last, by name; it is dropped if only previous has it, so
// that a type given up by a new release disappears.
func Merge(order []string, previous, next []metav1.Condition, generation int64, now metav1.Time) []metav1.Condition {
	out := make([]metav1.Condition, 0, len(order))
	for _, c := range next {
		old := Find(previous, c.Type)
		c.ObservedGeneration = generation
		c.LastTransitionTime = now
		if old != nil && old.Status == c.Status && !old.LastTransitionTime.IsZero() {
			c.LastTransitionTime = old.LastTransitionTime
		}
		c.Message = truncate(c.Message, maxMessage)
		out = append(out, c)
	}
	for _, typ := range order {
		if Find(next, typ) != nil {
			continue
		}
		if old := Find(previous, typ); old != nil {
			out = append(out, *old)
		}
	}
	rank := func(typ string) int {
		if i := slices.Index(order, typ); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(out, func(a, b metav1.Condition) int {
		if d := rank(a.Type) - rank(b.Type); d != 0 {
			return d
		}
		return strings.Compare(a.Type, b.Type)
	})
	return out
}

// Find returns the condition of a type, or nil.
func Find(conditions []metav1.Condition, typ string) *metav1.Condition {
	for i := range conditions {
		if conditions[i].Type == typ {
			return &conditions[i]
		}
	}
	return nil
}

// IsTrue says whether the condition of a type is known to hold.
func IsTrue(conditions []metav1.Condition, typ string) bool {
	c := Find(conditions, typ)
	return c != nil && c.Status == metav1.ConditionTrue
}

// Changed lists the conditions of next whose status or reason is not that of
// previous, with the previous one, nil if there was none. Events are made from
// it.
func Changed(previous, next []metav1.Condition) []Change {
	var out []Change
	for _, c := range next {
		old := Find(previous, c.Type)
		if old == nil || old.Status != c.Status || old.Reason != c.Reason {
			out = append(out, Change{From: old, To: c})
		}
	}
	return out
}

// Change is one condition that differs.
type Change struct {
	// From is the previous condition, nil if there was none.
	From *metav1.Condition
	// To is the new condition.
	To metav1.Condition
}

// Summary returns one condition that says whether all parts hold: false if one
// is false, else unknown if one is unknown or missing, else true with the given
// reason. The first part to blame, in the order of parts, gives reason and
// message.
func Summary(typ string, parts []string, conditions []metav1.Condition, reason, message string) metav1.Condition {
	var blamed *metav1.Condition
	for _, part := range parts {
		c := Find(conditions, part)
		if c == nil {
			unknown := Unknown(part, "NotObserved", part+" has not been observed yet.")
			c = &unknown
		}
		switch {
		case c.Status == metav1.ConditionTrue:
		case blamed == nil,
			blamed.Status != metav1.ConditionFalse && c.Status == metav1.ConditionFalse:
			blamed = c
		}
	}
	if blamed == nil {
		return True(typ, reason, message)
	}
	return New(typ, blamed.Status, blamed.Reason, blamed.Message)
}

// Apply returns the conditions in the form that server-side apply wants.
func Apply(conditions []metav1.Condition) []*metav1ac.ConditionApplyConfiguration {
	out := make([]*metav1ac.ConditionApplyConfiguration, 0, len(conditions))
	for _, c := range conditions {
		ac := metav1ac.Condition().
			WithType(c.Type).
			WithStatus(c.Status).
			WithReason(c.Reason).
			WithMessage(c.Message).
			WithLastTransitionTime(c.LastTransitionTime)
		if c.ObservedGeneration != 0 {
			ac.WithObservedGeneration(c.ObservedGeneration)
		}
		out = append(out, ac)
	}
	return out
}

// truncate cuts text to at most limit characters, which is how the API counts.
func truncate(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-1]) + "…"
}
