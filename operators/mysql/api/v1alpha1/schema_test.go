package v1alpha1_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// schemas visits every node of the schemas of all kinds.
func schemas(t *testing.T, visit func(path []string, node *apiextensionsv1.JSONSchemaProps)) {
	t.Helper()
	for _, file := range []string{crdFile, backupFile, restoreFile} {
		walk(schema(t, file), nil, visit)
	}
}

// schema reads the schema from a generated definition.
func schema(t *testing.T, file string) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(raw, &definition); err != nil {
		t.Fatal(err)
	}
	return definition.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// walk visits every node of a schema with its path; the items of a list are at "[]", the values of a map at "{}".
func walk(node *apiextensionsv1.JSONSchemaProps, path []string, visit func(path []string, node *apiextensionsv1.JSONSchemaProps)) {
	visit(path, node)
	for _, name := range slices.Sorted(maps.Keys(node.Properties)) {
		child := node.Properties[name]
		walk(&child, append(slices.Clone(path), name), visit)
	}
	if node.Items != nil && node.Items.Schema != nil {
		walk(node.Items.Schema, append(slices.Clone(path), "[]"), visit)
	}
	if node.AdditionalProperties != nil && node.AdditionalProperties.Schema != nil {
		walk(node.AdditionalProperties.Schema, append(slices.Clone(path), "{}"), visit)
	}
}

// celMessages returns the message of every CEL rule; of a composed message, the words before the first variable part.
func celMessages(t *testing.T) []string {
	t.Helper()
	var messages []string
	schemas(t, func(path []string, node *apiextensionsv1.JSONSchemaProps) {
		for _, rule := range node.XValidations {
			message := rule.Message
			if message == "" {
				message, _, _ = strings.Cut(strings.TrimPrefix(rule.MessageExpression, "'"), "'")
			}
			if message == "" {
				t.Errorf("a rule of %s has no message: %s", strings.Join(path, "."), rule.Rule)
			}
			messages = append(messages, message)
		}
	})
	return messages
}

// foreign says whether a node belongs to a type of Kubernetes, whose bounds are not ours to set.
func foreign(path []string) bool {
	joined := strings.Join(path, ".")
	return joined == "metadata" || strings.HasPrefix(joined, "status.conditions.[]")
}

// TestEverythingIsBounded wants a bound on every string, number, list and map of the API.
func TestEverythingIsBounded(t *testing.T) {
	schemas(t, func(path []string, node *apiextensionsv1.JSONSchemaProps) {
		if foreign(path) || len(path) < 2 {
			return
		}
		bounded := true
		switch {
		case node.XIntOrString:
			bounded = node.MaxLength != nil || node.Pattern != ""
		case node.Type == "string":
			bounded = node.MaxLength != nil || len(node.Enum) > 0 || node.Format == "date-time"
		case node.Type == "integer":
			bounded = node.Minimum != nil
		case node.Type == "array":
			bounded = node.MaxItems != nil
		case node.AdditionalProperties != nil:
			bounded = node.MaxProperties != nil
		}
		if !bounded {
			t.Errorf("%s has no bound", strings.Join(path, "."))
		}
	})
}

// TestEveryFieldIsExplained wants a comment on every field that begins with the field's name, for kubectl explain.
func TestEveryFieldIsExplained(t *testing.T) {
	schemas(t, func(path []string, node *apiextensionsv1.JSONSchemaProps) {
		if foreign(path) || len(path) == 0 {
			return
		}
		name := path[len(path)-1]
		if name == "[]" || name == "{}" || name == "apiVersion" || name == "kind" {
			return
		}
		if !strings.HasPrefix(node.Description, name+" ") {
			t.Errorf("the comment of %s does not begin with its name: %q", strings.Join(path, "."), node.Description)
		}
	})
}

// checkBounds breaks every bound of the spec, one at a time, and wants the API server to refuse each.
func checkBounds(t *testing.T, api client.Client) {
	tried := 0
	walk(schema(t, crdFile), nil, func(path []string, node *apiextensionsv1.JSONSchemaProps) {
		if foreign(path) || len(path) < 2 || path[0] != "spec" {
			return
		}
		for bound, value := range violations(node) {
			tried++
			object := cluster("shop")
			object.Object["spec"] = nest(path[1:], value)
			if err := api.Create(t.Context(), object, client.DryRunAll); err == nil {
				t.Errorf("%s: a value beyond its bound %s is accepted", strings.Join(path, "."), bound)
			} else if !strings.Contains(err.Error(), leaf(path)) {
				t.Errorf("%s: the refusal of a value beyond its bound %s does not name the field: %v", strings.Join(path, "."), bound, err)
			}
		}
	})
	if tried < 20 {
		t.Errorf("only %d bounds were found to try: the walk has lost its way", tried)
	}
}

// violations returns, by the name of the bound, a value that breaks it.
func violations(node *apiextensionsv1.JSONSchemaProps) map[string]any {
	values := map[string]any{}
	if len(node.Enum) > 0 {
		values["enum"] = "Neither"
	}
	if node.Minimum != nil {
		values["minimum"] = int64(*node.Minimum) - 1
	}
	if node.Maximum != nil {
		values["maximum"] = int64(*node.Maximum) + 1
	}
	if node.MaxLength != nil {
		values["maxLength"] = strings.Repeat("1", int(*node.MaxLength)+1)
	}
	if node.MinLength != nil && *node.MinLength > 0 {
		values["minLength"] = strings.Repeat("1", int(*node.MinLength)-1)
	}
	if node.MaxItems != nil {
		items := make([]any, *node.MaxItems+1)
		for i := range items {
			items[i] = map[string]any{"name": "a" + strings.Repeat("1", i%30) + strings.Repeat("2", i/30)}
		}
		values["maxItems"] = items
	}
	if node.MaxProperties != nil {
		properties := map[string]any{}
		for i := range *node.MaxProperties + 1 {
			properties["a"+strings.Repeat("1", int(i))] = "1"
		}
		values["maxProperties"] = properties
	}
	return values
}

// nest puts value at path below spec; lists and maps on the way get one element.
func nest(path []string, value any) any {
	for i, name := range slices.Backward(path) {
		switch name {
		case "[]":
			element, isMap := value.(map[string]any)
			if isMap && path[i-1] == "users" && element["name"] == nil {
				element["name"] = "shop"
			}
			value = []any{value}
		case "{}":
			value = map[string]any{"some_option": value}
		default:
			value = map[string]any{name: value}
		}
	}
	return value
}

// leaf is the last named part of a path.
func leaf(path []string) string {
	for i := len(path) - 1; ; i-- {
		if path[i] != "[]" && path[i] != "{}" {
			return path[i]
		}
	}
}
