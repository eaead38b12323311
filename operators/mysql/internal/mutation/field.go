package mutation

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// value is one value to try at a node.
type value struct {
	what   string
	value  any
	expect Verdict
}

// values are what to try at a node, whatever surrounds it. What breaks a bound of the schema is refused for certain; what
// becomes of the rest is for others to judge.
func values(node *Schema, random *rand.Rand) []value {
	switch node.kind() {
	case kindInteger:
		return integers(node, random)
	case kindQuantity:
		return quantities(random)
	case kindDuration:
		return append(durations(random), lengths(node)...)
	case kindEnum:
		return enums(node)
	case kindBoolean:
		return []value{{"true", true, Open}, {"false", false, Open}, {"a word", "yes", Refused}}
	case kindText:
		return slices.Concat(lengths(node), texts(random), []value{{"a number", int64(7), Refused}})
	case kindList:
		return []value{{"no element", []any{}, Open}, {"a text", "one", Refused}}
	case kindMap:
		return []value{{"no element", map[string]any{}, Open}, {"a text", "one", Refused}}
	case kindObject:
		return []value{
			{"no field", map[string]any{}, Open}, {"a text", "one", Refused},
			{"a field that does not exist", map[string]any{"noSuchField": int64(1)}, Refused},
		}
	case kindUnknown:
	}
	return nil
}

func integers(node *Schema, random *rand.Rand) []value {
	out := []value{
		{"zero", int64(0), within(node, 0)}, {"negative", int64(-1), within(node, -1)}, {"a text", "three", Refused},
		{"a fraction", 2.5, Refused}, {"the largest of 32 bits", int64(math.MaxInt32), within(node, math.MaxInt32)},
		{"the largest of 64 bits", int64(math.MaxInt64), within(node, math.MaxInt64)},
		{"beyond 64 bits", 1e30, Refused},
	}
	if node.Minimum != nil {
		least := int64(*node.Minimum)
		out = append(out, value{"the minimum", least, Open}, value{"below the minimum", least - 1, Refused})
	}
	if node.Maximum != nil {
		most := int64(*node.Maximum)
		out = append(out, value{"the maximum", most, Open}, value{"above the maximum", most + 1, Refused})
	}
	if node.Minimum != nil && node.Maximum != nil {
		least, most := int64(*node.Minimum), int64(*node.Maximum)
		out = append(out, value{"between its limits", least + random.Int64N(most-least+1), Open})
	}
	return out
}

// within says whether a number is beyond a bound of the node.
func within(node *Schema, n float64) Verdict {
	if node.Minimum != nil && n < *node.Minimum || node.Maximum != nil && n > *node.Maximum {
		return Refused
	}
	return Open
}

func quantities(random *rand.Rand) []value {
	units := []string{"", "k", "M", "G", "Ki", "Mi", "Gi", "m", "e3"}
	return []value{
		{"zero", "0", Open}, {"negative", "-1Gi", Open}, {"the least there is", "1n", Open}, {"one byte", int64(1), Open},
		{"a fraction of a byte", "1073741824500m", Open}, {"a decimal unit", "3G", Open}, {"a decimal fraction", "1.5Gi", Open},
		{"an exponent", "2e9", Open}, {"a plain number", int64(3 << 30), Open}, {"huge", "7Ei", Open},
		{"beyond 64 bits", "9Ei", Open}, {"an absurd exponent", "1e400", Open}, {"too many digits", strings.Repeat("9", 200), Open},
		{"nothing", "", Refused}, {"a word", "plenty", Refused}, {"an unknown unit", "10GB", Refused}, {"a space", "10 Gi", Refused},
		{"a line break", "10Gi\n", Refused}, {"a list", []any{"1Gi"}, Refused},
		{"anywhere", fmt.Sprintf("%d%s", random.Int64N(5000), units[random.IntN(len(units))]), Open},
	}
}

func durations(random *rand.Rand) []value {
	return []value{
		{"zero", "0s", Open}, {"negative", "-10s", Open}, {"one second", "1s", Open}, {"a fraction", "1.5s", Open},
		{"a millisecond less than a second", "999ms", Open}, {"five minutes", "5m", Open}, {"a second more", "5m1s", Open},
		{"hours", "1h", Open}, {"nanoseconds", "1000000000ns", Open}, {"mixed", "1m30s", Open}, {"repeated", "1s1s1s", Open},
		{"beyond 64 bits", "999999m999999m", Open}, {"no unit", "10", Open}, {"a number", int64(10), Refused}, {"a word", "soon", Open},
		{"nothing", "", Open}, {"anywhere", fmt.Sprintf("%ds", random.IntN(400)), Open},
	}
}

func enums(node *Schema) []value {
	out := []value{{"unknown", "Neither", Refused}, {"nothing", "", Refused}, {"a number", int64(1), Refused}}
	for _, v := range node.Enum {
		out = append(out, value{fmt.Sprint(v), v, Open})
		if text, ok := v.(string); ok {
			out = append(out, value{text + " in capitals", strings.ToUpper(text), Refused})
		}
	}
	return out
}

// lengths are texts as long as the schema allows, and one character beyond.
func lengths(node *Schema) []value {
	var out []value
	if node.MaxLength != nil {
		most := int(*node.MaxLength)
		out = append(out, value{"the longest", strings.Repeat("a", most), Open},
			value{"longer than the longest", strings.Repeat("a", most+1), Refused})
	} else {
		out = append(out, value{"very long", strings.Repeat("a", 70000), Open})
	}
	if node.MinLength != nil && *node.MinLength > 0 {
		least := int(*node.MinLength)
		out = append(out, value{"the shortest", strings.Repeat("a", least), Open},
			value{"shorter than the shortest", strings.Repeat("a", least-1), Refused})
	}
	return out
}

// texts mean something to YAML, SQL, my.cnf, a shell or a path.
func texts(random *rand.Rand) []value {
	out := []value{
		{"nothing", "", Open}, {"a space", " ", Open}, {"spaces around", " app ", Open}, {"a line break", "app\nskip_grant_tables", Open},
		{"a carriage return", "app\rx", Open}, {"a tab", "a\tb", Open}, {"a null", "a\x00b", Open}, {"an escape", "a\x1b[2Jb", Open},
		{"a quote", "a'b", Open}, {"double quotes", `a"b`, Open}, {"a backtick", "a`b", Open}, {"a backslash at the end", `a\`, Open},
		{"SQL", "app'; DROP DATABASE app; -- ", Open}, {"a section", "[mysqld]", Open}, {"a bracket", "a]b", Open},
		{"an include", "!includedir /etc", Open}, {"a comment", "a # b", Open}, {"a template", "{{ .Name }}", Open},
		{"a substitution", "$(POD_NAME)", Open}, {"a path upwards", "../../etc/passwd", Open}, {"a slash", "a/b", Open},
		{"a wildcard", "%", Open}, {"unicode", "größe-数据-🌳", Open}, {"right to left", "a\u202eb", Open}, {"hyphens first", "--help", Open},
		{"YAML's yes", "yes", Open}, {"a number's text", "010", Open}, {"capitals", "APP", Open}, {"an owned option", "super_read_only", Open},
	}
	const alphabet = "abcXYZ019 _-.,:;/\\'\"`[]{}()<>|&$%#@!?*+=~^\n\t"
	any := make([]byte, 1+random.IntN(24))
	for i := range any {
		any[i] = alphabet[random.IntN(len(alphabet))]
	}
	return append(out, value{"anything", string(any), Open})
}

// example is a plain value of a node, for what surrounds the value that is tried.
func example(node *Schema) any {
	switch node.kind() {
	case kindInteger:
		if node.Minimum != nil {
			return int64(*node.Minimum)
		}
		return int64(1)
	case kindQuantity:
		return "1Gi"
	case kindDuration:
		return "10s"
	case kindEnum:
		return node.Enum[0]
	case kindBoolean:
		return true
	case kindList:
		return []any{}
	case kindMap:
		return map[string]any{}
	case kindObject:
		object := map[string]any{}
		for _, name := range node.Required {
			if child := node.Properties[name]; child != nil {
				object[name] = example(child)
			}
		}
		return object
	case kindText, kindUnknown:
	}
	if node.MinLength != nil && int(*node.MinLength) > len(newcomer) {
		return strings.Repeat("a", int(*node.MinLength))
	}
	return newcomer
}

// newcomer is the name of elements that are added.
const newcomer = "mutant"

// many returns n elements of a list or a map that differ, each otherwise plain.
func many(node *Schema, n int64) any {
	if node.AdditionalProperties != nil {
		out := map[string]any{}
		for i := range n {
			out[fmt.Sprintf("mutant_%d", i)] = example(node.AdditionalProperties)
		}
		return out
	}
	out := make([]any, n)
	for i := range out {
		out[i] = example(node.Items)
		if object, ok := out[i].(map[string]any); ok && len(node.ListMapKeys) > 0 {
			object[node.ListMapKeys[0]] = fmt.Sprintf("mutant%d", i)
		}
	}
	return out
}

// keyNames are names of entries of a map that mean something to somebody else.
func keyNames() []value {
	long := strings.Repeat("a", 400)
	return []value{
		{"an entry with an empty name", "", Open}, {"an entry with a very long name", long, Open},
		{"an entry with a line break in its name", "a\nb", Open}, {"an entry with a section's name", "[client]", Open},
		{"an entry with an equals sign in its name", "a=b", Open}, {"an entry with a space in its name", "a b", Open},
		{"an entry with a slash in its name", "a/b", Open}, {"an entry with two slashes in its name", "a/b/c", Open},
		{"an entry with unicode in its name", "größe", Open}, {"an entry with capitals in its name", "MAX_CONNECTIONS", Open},
		{"an entry with hyphens in its name", "max-connections", Open}, {"an entry with an include's name", "!include", Open},
		{"an entry with a hash in its name", "#a", Open}, {"an entry with a quote in its name", "a'b", Open},
	}
}

// clone copies the first element of a list of the spec, or makes one up.
func clone(existing []any, node *Schema) any {
	if len(existing) == 0 {
		return example(node)
	}
	object, ok := existing[0].(map[string]any)
	if !ok {
		return existing[0]
	}
	return maps.Clone(object)
}
