package mutation

import (
	"errors"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Unclear says what is missing in a refusal; empty if it names the field that the change is about, says what was wrong in
// words for people, and holds what the change wants it to say.
func Unclear(c Change, err error) string {
	text := err.Error()
	for _, word := range c.Says {
		if !strings.Contains(text, word) {
			return "the refusal does not say " + word
		}
	}
	for _, machinery := range []string{"failed rule:", "evaluation error", "no such overload", "no such key", "runtime error", "panic", "internal error"} {
		if strings.Contains(text, machinery) {
			return "the refusal speaks of " + machinery
		}
	}
	if apierrors.IsInternalError(err) {
		return "the refusal is the server's own failure"
	}
	if slices.ContainsFunc(c.Fields, func(p Path) bool { return names(err, p) }) {
		return ""
	}
	return "the refusal does not name the field"
}

// names says whether a refusal names the field, one below it, or the element of a list that it is part of: what is wrong
// with an element may be that another field is missing.
func names(err error, field Path) bool {
	if i := slices.Index(field, "[]"); i > 0 && strings.Contains(err.Error(), field[:i].String()+"[") {
		return true
	}
	leaf := field.Leaf()
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		return strings.Contains(err.Error(), leaf)
	}
	for _, cause := range status.Status().Details.Causes {
		if slices.Contains(strings.FieldsFunc(cause.Field, func(r rune) bool { return r == '.' || r == '[' || r == ']' }), leaf) ||
			strings.Contains(cause.Message, leaf) {
			return true
		}
	}
	return false
}
