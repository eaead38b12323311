package mutation_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/mutation"
)

func definition(t *testing.T) *mutation.Schema {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "bases", "mysql.kapok.dev_mysqlclusters.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := mutation.ParseSpec(raw)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// fields are the paths that changes touch.
func fields(changes []mutation.Change) map[string]int {
	count := map[string]int{}
	for _, c := range changes {
		for _, p := range c.Fields {
			count[p.String()]++
		}
	}
	return count
}

// TestEveryFieldIsChanged holds the generator to the schema: a field that is added to the API gets its changes by itself.
func TestEveryFieldIsChanged(t *testing.T) {
	parsed := definition(t)
	for name, base := range map[string]map[string]any{"base": mutation.Base(), "everything": mutation.Everything(), "nothing": {}} {
		changes := fields(mutation.Generate(parsed, base, 1))
		visited := 0
		parsed.Walk(func(path mutation.Path, _ *mutation.Schema) {
			visited++
			if n := changes[path.String()]; n < 3 {
				t.Errorf("%s: %s has %d changes, want at least 3", name, path, n)
			}
		})
		if visited < 35 {
			t.Errorf("the schema has %d nodes only: the walk has lost its way", visited)
		}
	}
}

const made = `
spec:
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        properties:
          spec:
            type: object
            properties:
              level: {type: integer, minimum: 2, maximum: 5}
              parts:
                type: array
                maxItems: 3
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [id]
                items:
                  type: object
                  required: [id]
                  properties:
                    id: {type: string, minLength: 2, maxLength: 4}
                    depth:
                      type: object
                      properties: {flag: {type: boolean}}
`

// TestBoundsAreCrossed looks at what is derived from a schema that is small enough to tell by hand.
func TestBoundsAreCrossed(t *testing.T) {
	parsed, err := mutation.ParseSpec([]byte(made))
	if err != nil {
		t.Fatal(err)
	}
	base := map[string]any{"level": int64(3), "parts": []any{map[string]any{"id": "ab"}}}
	specs, verdicts := map[string]map[string]any{}, map[string]mutation.Verdict{}
	for _, c := range mutation.Generate(parsed, base, 1) {
		if specs[c.Name], err = c.Spec(base); err != nil {
			t.Fatal(err)
		}
		verdicts[c.Name] = c.Expect
	}
	part := func(id string) any { return map[string]any{"id": id} }
	first := part("ab")
	for name, want := range map[string]struct {
		expect mutation.Verdict
		spec   map[string]any
	}{
		"spec.level: the minimum":                         {mutation.Open, map[string]any{"level": int64(2), "parts": []any{first}}},
		"spec.level: below the minimum":                   {mutation.Refused, map[string]any{"level": int64(1), "parts": []any{first}}},
		"spec.level: above the maximum":                   {mutation.Refused, map[string]any{"level": int64(6), "parts": []any{first}}},
		"spec.level: removed":                             {mutation.Open, map[string]any{"parts": []any{first}}},
		"spec.parts: an element twice":                    {mutation.Refused, map[string]any{"level": int64(3), "parts": []any{first, part("mutant"), part("mutant")}}},
		"spec.parts: removed":                             {mutation.Open, map[string]any{"level": int64(3)}},
		"spec.parts[].id: the longest":                    {mutation.Open, map[string]any{"level": int64(3), "parts": []any{first, part("aaaa")}}},
		"spec.parts[].id: longer than the longest":        {mutation.Refused, map[string]any{"level": int64(3), "parts": []any{first, part("aaaaa")}}},
		"spec.parts[].id: shorter than the shortest":      {mutation.Refused, map[string]any{"level": int64(3), "parts": []any{first, part("a")}}},
		"spec.parts[].depth.flag: true":                   {mutation.Open, map[string]any{"level": int64(3), "parts": []any{first, map[string]any{"id": "mutant", "depth": map[string]any{"flag": true}}}}},
		"spec.parts[].depth: a field that does not exist": {mutation.Refused, map[string]any{"level": int64(3), "parts": []any{first, map[string]any{"id": "mutant", "depth": map[string]any{"noSuchField": int64(1)}}}}},
	} {
		if diff := cmp.Diff(want.spec, specs[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if verdicts[name] != want.expect {
			t.Errorf("%s: expects %q, want %q", name, verdicts[name], want.expect)
		}
	}
	if diff := cmp.Diff(map[string]any{"level": int64(3), "parts": []any{map[string]any{"id": "ab"}}}, base); diff != "" {
		t.Errorf("the base spec was changed:\n%s", diff)
	}
}

func TestTheSameSeedGivesTheSameChanges(t *testing.T) {
	parsed := definition(t)
	generate := func(seed uint64) []mutation.Change {
		return mutation.Pick(mutation.Generate(parsed, mutation.Base(), seed, mutation.Scenarios(mutation.Surroundings{})...), seed, 25)
	}
	if diff := cmp.Diff(generate(7), generate(7)); diff != "" {
		t.Errorf("two runs of one seed differ:\n%s", diff)
	}
	if cmp.Equal(generate(7), generate(8)) {
		t.Error("two seeds give the same changes")
	}
}

func TestPick(t *testing.T) {
	all := mutation.Generate(definition(t), mutation.Base(), 1, mutation.Scenarios(mutation.Surroundings{})...)
	for _, n := range []int{1, 8, 25, len(all)} {
		picked := mutation.Pick(all, 3, n)
		scenarios, names, lasting := 0, map[string]bool{}, false
		for _, c := range picked {
			names[c.Name] = true
			if c.Scenario {
				scenarios++
			}
			if lasting && !c.Lasting {
				t.Errorf("of %d, %s comes after one that lasts", n, c.Name)
			}
			lasting = c.Lasting
		}
		if len(picked) != n || len(names) != n {
			t.Errorf("want %d different changes, got %d, %d of them different", n, len(picked), len(names))
		}
		if n < len(all) && scenarios != (n+1)/2 {
			t.Errorf("of %d changes %d are scenarios", n, scenarios)
		}
	}
}

// TestScenariosFitTheAPI holds the scenarios, which are written by hand, to what they are about.
func TestScenariosFitTheAPI(t *testing.T) {
	parsed := definition(t)
	known := map[string]bool{}
	parsed.Walk(func(path mutation.Path, _ *mutation.Schema) { known[path.String()] = true })
	reasons := []string{"", v1alpha1.ReasonConfigurationRefused, v1alpha1.ReasonUnschedulable, v1alpha1.ReasonImageUnusable,
		v1alpha1.ReasonServerMissing, v1alpha1.ReasonPasswordMissing, v1alpha1.ReasonExpansionRefused}
	names := map[string]bool{}
	for _, c := range mutation.Scenarios(mutation.Surroundings{ImageWithoutServer: "client:1"}) {
		if names[c.Name] {
			t.Errorf("%s is there twice", c.Name)
		}
		names[c.Name] = true
		if !slices.Contains(reasons, c.Reason) {
			t.Errorf("%s expects the reason %s, which the API does not have", c.Name, c.Reason)
		}
		if c.Expect == mutation.RejectedLater && c.Reason == "" {
			t.Errorf("%s is to be rejected later and expects no reason", c.Name)
		}
		for _, p := range c.Fields {
			if !known[p.String()] && !known[p[:len(p)-1].String()+"{}"] {
				t.Errorf("%s changes %s, which the API does not have", c.Name, p)
			}
		}
		if spec, err := c.Spec(mutation.Base()); err != nil || cmp.Equal(spec, mutation.Base()) && len(c.Steps) == 1 {
			t.Errorf("%s changes nothing: %v", c.Name, err)
		}
	}
}

func TestApply(t *testing.T) {
	base := map[string]any{"a": map[string]any{"b": int64(1), "c": int64(2)}, "d": "text"}
	got, err := mutation.Apply(base, []mutation.Edit{{At: []string{"a", "b"}}, {At: []string{"e", "f"}, Value: "new"}, {At: []string{"d"}, Value: int64(3)}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"a": map[string]any{"c": int64(2)}, "d": int64(3), "e": map[string]any{"f": "new"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := mutation.Apply(base, []mutation.Edit{{At: []string{"d", "x"}, Value: "y"}}); err == nil {
		t.Error("a field below a text was set")
	}
}

func TestUnclear(t *testing.T) {
	invalid := func(path *field.Path, message string) error {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "MySQLCluster"}, "shop", field.ErrorList{field.Invalid(path, "x", message)})
	}
	size := mutation.Change{Fields: []mutation.Path{{"storage", "size"}}, Says: []string{"must not shrink"}}
	access := mutation.Change{Fields: []mutation.Path{{"users", "[]", "access"}}}
	at := field.NewPath("spec")
	for name, c := range map[string]struct {
		change mutation.Change
		err    error
		want   string
	}{
		"clear":                    {size, invalid(at.Child("storage", "size"), "size must not shrink"), ""},
		"the field in the message": {size, invalid(at, "storage.size must not shrink"), ""},
		"another field":            {size, invalid(at.Child("version"), "must not shrink"), "does not name the field"},
		"not what it should say":   {size, invalid(at.Child("storage", "size"), "is wrong"), "does not say must not shrink"},
		"a rule's source":          {access, invalid(at.Child("users").Index(1).Child("access"), "failed rule: self == 1"), "speaks of failed rule:"},
		"an element of a list":     {access, invalid(at.Child("users").Index(1), "name is required"), ""},
		"decoding":                 {access, apierrors.NewBadRequest(`strict decoding error: unknown field "spec.users[0].access.noSuchField"`), ""},
		"the server's own failure": {access, apierrors.NewInternalError(errors.New("access")), "own failure"},
	} {
		t.Run(name, func(t *testing.T) {
			got := mutation.Unclear(c.change, c.err)
			if (c.want == "") != (got == "") || !strings.Contains(strings.ToLower(got), strings.ToLower(c.want)) {
				t.Errorf("%q, want %q; the error: %v, %s", got, c.want, c.err, metav1.StatusReason(apierrors.ReasonForError(c.err)))
			}
		})
	}
}
