package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// wellKnown are types of Kubernetes that need no explanation here, by the end of their path.
func wellKnown() []string {
	return []string{"tolerations[]", "conditions[]", "metadata"}
}

// render writes the whole reference.
func render(crd *apiextensionsv1.CustomResourceDefinition, groups []group) (string, error) {
	if len(crd.Spec.Versions) != 1 || crd.Spec.Versions[0].Schema == nil {
		return "", errors.New("the definition must have one version with a schema")
	}
	version := crd.Spec.Versions[0]
	schema := version.Schema.OpenAPIV3Schema
	var out strings.Builder
	fmt.Fprintf(&out, "<!-- Generated from the definition by hack/generate.sh. Do not edit. -->\n\n# %s\n\n", crd.Spec.Names.Kind)
	fmt.Fprintf(&out, "`apiVersion: %s/%s`, `kind: %s`", crd.Spec.Group, version.Name, crd.Spec.Names.Kind)
	for _, short := range crd.Spec.Names.ShortNames {
		fmt.Fprintf(&out, ", short name `%s`", short)
	}
	fmt.Fprintf(&out, "\n\n%s\n", schema.Description)
	if refusals := refused(schema); refusals != "" {
		fmt.Fprintf(&out, "\nRefused at admission:\n%s", refusals)
	}
	for _, part := range []string{"spec", "status"} {
		node, ok := schema.Properties[part]
		if !ok {
			return "", fmt.Errorf("the schema has no %s", part)
		}
		fmt.Fprintf(&out, "\n## %s\n\n%s\n", part, node.Description)
		if refusals := refused(&node); refusals != "" {
			fmt.Fprintf(&out, "\nRefused at admission:\n%s", refusals)
		}
		if err := fields(&out, part, &node); err != nil {
			return "", err
		}
	}
	for _, found := range groups {
		constantTable(&out, found)
	}
	return out.String(), nil
}

// fields writes each field below a node, depth first.
func fields(out *strings.Builder, path string, node *apiextensionsv1.JSONSchemaProps) error {
	for _, name := range slices.Sorted(maps.Keys(node.Properties)) {
		child := node.Properties[name]
		at := path + "." + name
		if err := field(out, at, &child); err != nil {
			return err
		}
		if child.Items != nil && child.Items.Schema != nil {
			at += "[]"
			child = *child.Items.Schema
		}
		if slices.ContainsFunc(wellKnown(), func(end string) bool { return strings.HasSuffix(at, end) }) {
			continue
		}
		if err := fields(out, at, &child); err != nil {
			return err
		}
	}
	return nil
}

// field writes one field: its path and type, its text, its default, its bounds and what it refuses.
func field(out *strings.Builder, path string, node *apiextensionsv1.JSONSchemaProps) error {
	fmt.Fprintf(out, "\n### `%s`\n\n", path)
	facts := []string{kind(node)}
	if node.Default != nil {
		text, err := defaultOf(node)
		if err != nil {
			return fmt.Errorf("the default of %s: %w", path, err)
		}
		facts = append(facts, "default `"+text+"`")
	}
	facts = append(facts, bounds(node)...)
	fmt.Fprintf(out, "*%s*\n\n%s\n", strings.Join(facts, "; "), node.Description)
	if refusals := refused(node); refusals != "" {
		fmt.Fprintf(out, "\nRefused:\n%s", refusals)
	}
	return nil
}

func defaultOf(node *apiextensionsv1.JSONSchemaProps) (string, error) {
	var decoded any
	if err := json.Unmarshal(node.Default.Raw, &decoded); err != nil {
		return "", err
	}
	if text, ok := decoded.(string); ok {
		return text, nil
	}
	return string(node.Default.Raw), nil
}

// kind names the type of a node for people.
func kind(node *apiextensionsv1.JSONSchemaProps) string {
	switch {
	case node.XIntOrString:
		return "quantity"
	case node.Type == "array" && node.Items != nil && node.Items.Schema != nil:
		return "list of " + kind(node.Items.Schema)
	case node.AdditionalProperties != nil && node.AdditionalProperties.Schema != nil:
		return "map of " + kind(node.AdditionalProperties.Schema)
	default:
		return node.Type
	}
}

// bounds lists what a value is held to.
func bounds(node *apiextensionsv1.JSONSchemaProps) []string {
	var out []string
	if len(node.Enum) > 0 {
		values := make([]string, 0, len(node.Enum))
		for _, v := range node.Enum {
			values = append(values, "`"+strings.Trim(string(v.Raw), `"`)+"`")
		}
		out = append(out, "one of "+strings.Join(values, ", "))
	}
	switch {
	case node.Minimum != nil && node.Maximum != nil:
		out = append(out, fmt.Sprintf("from %v to %v", *node.Minimum, *node.Maximum))
	case node.Minimum != nil:
		out = append(out, fmt.Sprintf("at least %v", *node.Minimum))
	}
	for _, limit := range []struct {
		value *int64
		unit  string
	}{{node.MaxLength, "characters"}, {node.MaxItems, "items"}, {node.MaxProperties, "entries"}} {
		if limit.value != nil {
			out = append(out, fmt.Sprintf("at most %d %s", *limit.value, limit.unit))
		}
	}
	return out
}

// refused lists the sentences with which a node's rules refuse a value.
func refused(node *apiextensionsv1.JSONSchemaProps) string {
	var out strings.Builder
	for _, rule := range node.XValidations {
		message := rule.Message
		if message == "" {
			message = composed(rule.MessageExpression)
		}
		fmt.Fprintf(&out, "- %s\n", message)
	}
	return out.String()
}

// composed shows a message that is put together at admission, with … for what is put in.
func composed(expression string) string {
	var out strings.Builder
	for i, part := range strings.Split(expression, "'") {
		if i%2 == 1 && (strings.HasPrefix(part, "configuration") || strings.HasPrefix(part, ":")) {
			out.WriteString(part)
			if !strings.HasPrefix(part, ":") {
				out.WriteString("…")
			}
		}
	}
	return out.String()
}

// constantTable writes a block of constants, if it is one that users meet.
func constantTable(out *strings.Builder, found group) {
	first := found.values[0].name
	kinds := []string{"Condition", "Reason", "Annotation", "Summary"}
	if !slices.ContainsFunc(kinds, func(k string) bool { return strings.HasPrefix(first, k) }) {
		return
	}
	heading, rest, _ := strings.Cut(found.doc, ".")
	fmt.Fprintf(out, "\n## %s\n", heading)
	if rest = strings.TrimSpace(rest); rest != "" {
		fmt.Fprintf(out, "\n%s\n", strings.Join(strings.Fields(rest), " "))
	}
	fmt.Fprint(out, "\n| value | meaning |\n|---|---|\n")
	for _, v := range found.values {
		fmt.Fprintf(out, "| `%s` | %s |\n", v.text, strings.ReplaceAll(strings.Join(strings.Fields(v.doc), " "), "|", "\\|"))
	}
}
