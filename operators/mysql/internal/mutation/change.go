package mutation

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Verdict is what comes of a change.
type Verdict string

// The verdicts. Anything else that a change leads to is an alarm.
const (
	// Refused: the API server does not take it, and says which field is wrong and what to do. Nothing has changed.
	Refused Verdict = "refused"
	// Converged: the cluster is all that the changed spec asks for.
	Converged Verdict = "converged"
	// RejectedLater: it was taken, cannot be done, and a condition names the cause in plain words. Writes go on, and when
	// the change is taken back the cluster is healthy again without help.
	RejectedLater Verdict = "rejected later"
	// Open: any of these is right.
	Open Verdict = "open"
)

// Edit sets the value at a path of names below spec, or removes it if the value is nil. Lists are set as a whole.
type Edit struct {
	At    []string `json:"at"`
	Value any      `json:"value,omitempty"`
}

// Sight is a value that every instance shows once the change has come into force.
type Sight struct {
	Query string `json:"query"`
	Want  string `json:"want"`
}

// Change is one change of a spec, and what has to come of it.
type Change struct {
	// Name is unique: the field, and what is done to it.
	Name string `json:"name"`
	// Fields are the paths of the schema that it touches; the first one is what it is about.
	Fields []Path `json:"-"`
	// Steps are applied one after the other; each step but the last one only for a moment, as by somebody who thinks better
	// of it while it is under way. The verdict is about the last one.
	Steps [][]Edit `json:"steps"`
	// Expect is the verdict that is right.
	Expect Verdict `json:"expect"`
	// Says are words that the refusal or the condition must hold; Reason is the reason that the condition must have.
	Says   []string `json:"says,omitempty"`
	Reason string   `json:"reason,omitempty"`
	// Sights are looked at once it has converged.
	Sights []Sight `json:"sights,omitempty"`
	// Lasting says that it cannot be taken back, by design.
	Lasting bool `json:"lasting,omitempty"`
	// Scenario says that it comes from the list of scenarios and not from the schema.
	Scenario bool `json:"scenario,omitempty"`
}

// Apply returns the spec after a step; the given one stays as it is.
func Apply(spec map[string]any, edits []Edit) (map[string]any, error) {
	out := runtime.DeepCopyJSON(spec)
	for _, e := range edits {
		if len(e.At) == 0 {
			return nil, fmt.Errorf("an edit names no field")
		}
		parent := out
		for _, name := range e.At[:len(e.At)-1] {
			child, there := parent[name]
			if !there || child == nil {
				child = map[string]any{}
				parent[name] = child
			}
			object, ok := child.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("edit %s: %s is no object", strings.Join(e.At, "."), name)
			}
			parent = object
		}
		last := e.At[len(e.At)-1]
		if e.Value == nil {
			delete(parent, last)
			continue
		}
		parent[last] = runtime.DeepCopyJSONValue(e.Value)
	}
	return out, nil
}

// Spec returns the spec after all steps of the change.
func (c Change) Spec(base map[string]any) (map[string]any, error) {
	spec := base
	for _, step := range c.Steps {
		var err error
		if spec, err = Apply(spec, step); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return spec, nil
}
