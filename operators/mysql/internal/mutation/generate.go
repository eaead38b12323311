package mutation

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// Generate derives changes of the base spec for every property of the schema, and adds the scenarios.
func Generate(schema *Schema, base map[string]any, seed uint64, scenarios ...Change) []Change {
	g := &generator{base: base, random: rand.New(rand.NewPCG(seed, 0))} //nolint:gosec // Reproducible, not secret.
	g.descend(schema, nil, nil)
	return append(g.changes, scenarios...)
}

// Pick returns n changes in an order of the seed, those that last at the end. About half of them are scenarios: what is
// derived from the schema outnumbers them by far, and much of it never gets past the API server.
func Pick(changes []Change, seed uint64, n int) []Change {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // Reproducible, not secret.
	shuffled := slices.Clone(changes)
	random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	var out []Change
	left := map[bool]int{true: (n + 1) / 2, false: n / 2}
	for _, wanted := range []bool{false, true} {
		// Where there are too few of one kind, more of the other are taken.
		for _, c := range shuffled {
			taken := slices.ContainsFunc(out, func(o Change) bool { return o.Name == c.Name })
			if !taken && len(out) < n && (wanted || left[c.Scenario] > 0) {
				left[c.Scenario]--
				out = append(out, c)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Change) int { return order(a.Lasting) - order(b.Lasting) })
	return out
}

func order(lasting bool) int {
	if lasting {
		return 1
	}
	return 0
}

// generator walks schema and spec side by side.
type generator struct {
	base    map[string]any
	random  *rand.Rand
	changes []Change
}

// place puts a value where the walk is: it returns the edit that brings the value into the spec.
type place func(value any) Edit

// descend visits a node; put is how a value gets there, nil at spec itself.
func (g *generator) descend(node *Schema, at Path, put place) {
	if put != nil {
		g.try(node, at, put)
	}
	for _, name := range slices.Sorted(maps.Keys(node.Properties)) {
		g.descend(node.Properties[name], at.join(name), g.below(node, at, put, name))
	}
	switch {
	case node.Items != nil:
		g.list(node, at, put)
	case node.AdditionalProperties != nil:
		g.entries(node, at, put)
	}
}

// below returns how a value gets into a property of the node.
func (g *generator) below(node *Schema, at Path, put place, name string) place {
	if put == nil {
		return func(v any) Edit { return Edit{At: []string{name}, Value: v} }
	}
	return func(v any) Edit {
		// Inside a list the whole element is set, elsewhere the property alone, so that its neighbours stay. Where there are none,
		// those that must be there are made up.
		if g.at(at) != nil {
			return Edit{At: append(slices.Clone([]string(at)), name), Value: v}
		}
		object, _ := example(node).(map[string]any)
		object[name] = v
		return put(object)
	}
}

// list visits a list: elements twice, too many of them, and each property of an element.
func (g *generator) list(node *Schema, at Path, put place) {
	existing, _ := g.at(at).([]any)
	element := clone(existing, node.Items)
	object, isObject := element.(map[string]any)
	for _, key := range node.ListMapKeys {
		object[key] = newcomer
	}
	with := func(elements ...any) any { return slices.Concat(existing, elements) }
	twice := Open
	if len(node.ListMapKeys) > 0 {
		twice = Refused
	}
	g.add(at, "an element more", put(with(element)), Open)
	g.add(at, "an element twice", put(with(element, element)), twice)
	if node.MaxItems != nil {
		g.add(at, "as many elements as possible", put(many(node, *node.MaxItems)), Open)
		g.add(at, "more elements than possible", put(many(node, *node.MaxItems+1)), Refused)
	}
	if len(existing) > 1 {
		turned := slices.Clone(existing)
		slices.Reverse(turned)
		g.add(at, "the other way round", put(turned), Open)
	}
	inside := at.join("[]")
	if !isObject {
		g.descend(node.Items, inside, func(v any) Edit { return put(with(v)) })
		return
	}
	for _, v := range values(node.Items, g.random) {
		g.add(inside, v.what, put(with(v.value)), v.expect)
	}
	for _, name := range slices.Sorted(maps.Keys(node.Items.Properties)) {
		g.descend(node.Items.Properties[name], inside.join(name), func(v any) Edit {
			changed := maps.Clone(object)
			changed[name] = v
			if v == nil {
				delete(changed, name)
			}
			return put(with(changed))
		})
	}
}

// entries visits a map: names of entries, too many of them, and values.
func (g *generator) entries(node *Schema, at Path, put place) {
	existing, _ := g.at(at).(map[string]any)
	with := func(name string, v any) any {
		changed := maps.Clone(existing)
		if changed == nil {
			changed = map[string]any{}
		}
		changed[name] = v
		return changed
	}
	for _, key := range keyNames() {
		name, _ := key.value.(string)
		g.add(at, key.what, put(with(name, example(node.AdditionalProperties))), key.expect)
	}
	if node.MaxProperties != nil {
		g.add(at, "as many entries as possible", put(many(node, *node.MaxProperties)), Open)
		g.add(at, "more entries than possible", put(many(node, *node.MaxProperties+1)), Refused)
	}
	for _, name := range slices.Sorted(maps.Keys(existing)) {
		g.add(at, "the entry "+name+" removed", put(without(existing, name)), Open)
	}
	g.descend(node.AdditionalProperties, at.join("{}"), func(v any) Edit { return put(with("some_entry", v)) })
}

func without(from map[string]any, name string) map[string]any {
	out := maps.Clone(from)
	delete(out, name)
	return out
}

// try tries every value of a node, and what is there taken away.
func (g *generator) try(node *Schema, at Path, put place) {
	for _, v := range values(node, g.random) {
		g.add(at, v.what, put(v.value), v.expect)
	}
	if g.at(at) != nil {
		g.add(at, "removed", Edit{At: at}, Open)
	}
}

func (g *generator) add(at Path, what string, edit Edit, expect Verdict) {
	g.changes = append(g.changes, Change{
		Name: fmt.Sprintf("%s: %s", at, what), Fields: g.fields(at), Steps: [][]Edit{{edit}}, Expect: expect,
	})
}

// fields are what a refusal may name: the field, or what it is part of and was not there before.
func (g *generator) fields(at Path) []Path {
	out := []Path{at}
	for n := len(at) - 1; n > 0 && !slices.Contains(at, "[]") && !slices.Contains(at, "{}") && g.at(at[:n]) == nil; n-- {
		out = append(out, at[:n])
	}
	return out
}

// at returns what the base spec has at a path; nothing inside lists and maps.
func (g *generator) at(path Path) any {
	var value any = g.base
	for _, name := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[name]
	}
	return value
}
