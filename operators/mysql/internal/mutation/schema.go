package mutation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Schema is a node of an OpenAPI schema, as far as changes are derived from it.
type Schema struct {
	Type                 string             `json:"type"`
	Properties           map[string]*Schema `json:"properties"`
	Items                *Schema            `json:"items"`
	AdditionalProperties *Schema            `json:"additionalProperties"`
	Required             []string           `json:"required"`
	Enum                 []any              `json:"enum"`
	Minimum              *float64           `json:"minimum"`
	Maximum              *float64           `json:"maximum"`
	MinLength            *int64             `json:"minLength"`
	MaxLength            *int64             `json:"maxLength"`
	MinItems             *int64             `json:"minItems"`
	MaxItems             *int64             `json:"maxItems"`
	MaxProperties        *int64             `json:"maxProperties"`
	IntOrString          bool               `json:"x-kubernetes-int-or-string"`
	ListMapKeys          []string           `json:"x-kubernetes-list-map-keys"`
	Rules                []Rule             `json:"x-kubernetes-validations"`
}

// Rule is a CEL rule of a node.
type Rule struct {
	Rule    string `json:"rule"`
	Message string `json:"message"`
}

// ParseSpec reads the schema of spec from the YAML of a CustomResourceDefinition with one version.
func ParseSpec(definition []byte) (*Schema, error) {
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema *Schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(definition, &crd); err != nil {
		return nil, fmt.Errorf("read the definition: %w", err)
	}
	if n := len(crd.Spec.Versions); n != 1 {
		return nil, fmt.Errorf("read the definition: it has %d versions, not one", n)
	}
	root := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	if root == nil || root.Properties["spec"] == nil {
		return nil, fmt.Errorf("read the definition: it has no schema of spec")
	}
	return root.Properties["spec"], nil
}

// Path names a node below spec: the items of a list are at "[]", the values of a map at "{}".
type Path []string

// String is the path as messages spell it: spec.users[].name.
func (p Path) String() string {
	var text strings.Builder
	text.WriteString("spec")
	for _, part := range p {
		if part != "[]" && part != "{}" {
			text.WriteString(".")
		}
		text.WriteString(part)
	}
	return text.String()
}

// Leaf is the last name of the path.
func (p Path) Leaf() string {
	for _, part := range slices.Backward(p) {
		if part != "[]" && part != "{}" {
			return part
		}
	}
	return "spec"
}

func (p Path) join(part string) Path { return append(slices.Clone(p), part) }

// Walk visits every node below spec, in the order of names.
func (s *Schema) Walk(visit func(path Path, node *Schema)) { s.walk(nil, visit) }

func (s *Schema) walk(at Path, visit func(path Path, node *Schema)) {
	if len(at) > 0 {
		visit(at, s)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		s.Properties[name].walk(at.join(name), visit)
	}
	if s.Items != nil {
		s.Items.walk(at.join("[]"), visit)
	}
	if s.AdditionalProperties != nil {
		s.AdditionalProperties.walk(at.join("{}"), visit)
	}
}

// kind is what a node's values are.
type kind string

const (
	kindObject   kind = "object"
	kindMap      kind = "map"
	kindList     kind = "list"
	kindInteger  kind = "integer"
	kindBoolean  kind = "boolean"
	kindQuantity kind = "quantity"
	kindDuration kind = "duration"
	kindEnum     kind = "enum"
	kindText     kind = "text"
	kindUnknown  kind = "unknown"
)

func (s *Schema) kind() kind {
	switch {
	case s.IntOrString:
		return kindQuantity
	case len(s.Enum) > 0:
		return kindEnum
	case s.AdditionalProperties != nil:
		return kindMap
	case s.Type == "object":
		return kindObject
	case s.Type == "array":
		return kindList
	case s.Type == "integer":
		return kindInteger
	case s.Type == "boolean":
		return kindBoolean
	case s.Type == "string" && slices.ContainsFunc(s.Rules, func(r Rule) bool { return strings.Contains(r.Rule, "duration(self)") }):
		return kindDuration
	case s.Type == "string":
		return kindText
	}
	return kindUnknown
}
