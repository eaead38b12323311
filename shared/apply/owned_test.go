package apply

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// tree reads a test's YAML the way objects are read: integers as int64.
func tree(t *testing.T, text string) map[string]any {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	err = u.UnmarshalJSON([]byte(`{"apiVersion":"v1","kind":"T","metadata":{"name":"x"},"spec":` + string(raw) + `}`))
	if err != nil {
		t.Fatal(err)
	}
	spec, _ := u.Object["spec"].(map[string]any)
	return spec
}

func TestDrift(t *testing.T) {
	const containers = `{"f:containers":{"k:{\"name\":\"db\"}":{".":{},"f:name":{},"f:image":{},` +
		`"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}`
	tests := map[string]struct {
		want, live, owned string
		holds             bool
	}{
		"the same":                     {`a: 1`, `a: 1`, `{"f:a":{}}`, true},
		"a changed value":              {`a: 1`, `a: 2`, `{"f:a":{}}`, false},
		"a missing value":              {`a: 1`, `{}`, `{"f:a":{}}`, false},
		"an owner that was lost":       {`a: 1`, `a: 1`, `{"f:b":{}}`, false},
		"fields of others":             {`a: 1`, `{a: 1, b: 2}`, `{"f:a":{}}`, true},
		"a zero value left out":        {`{a: false, b: "", c: 0, d: [], e: {}}`, `{}`, `{"f:a":{},"f:b":{},"f:c":{}}`, true},
		"a zero value that changed":    {`{a: false}`, `{a: true}`, `{"f:a":{}}`, false},
		"a quantity written otherwise": {`{a: 1024Mi}`, `{a: 1Gi}`, `{"f:a":{}}`, true},
		"another quantity":             {`{a: 1Gi}`, `{a: 2Gi}`, `{"f:a":{}}`, false},
		"an integer and a float":       {`{a: 3}`, `{a: 3.0}`, `{"f:a":{}}`, true},
		"another type":                 {`{a: {b: 1}}`, `{a: 5}`, `{"f:a":{"f:b":{}}}`, false},
		"an injected container": {
			`containers: [{name: db, image: x, ports: [{containerPort: 80}]}]`,
			`containers: [{name: side, image: y}, {name: db, image: x, imagePullPolicy: Always, ports: [{containerPort: 80, protocol: TCP}]}]`,
			containers, true,
		},
		"a changed image": {
			`containers: [{name: db, image: x}]`, `containers: [{name: db, image: z}]`, containers, false,
		},
		"a removed container": {
			`containers: [{name: db, image: x}]`, `containers: [{name: side, image: x}]`, containers, false,
		},
		"a removed port": {
			`containers: [{name: db, image: x, ports: [{containerPort: 80}]}]`,
			`containers: [{name: db, image: x, ports: [{containerPort: 81, protocol: TCP}]}]`, containers, false,
		},
		"a set": {
			`finalizers: [a, b]`, `finalizers: [c, b, a]`, `{"f:finalizers":{"v:\"a\"":{},"v:\"b\"":{}}}`, true,
		},
		"a set without an entry": {
			`finalizers: [a, b]`, `finalizers: [c, b]`, `{"f:finalizers":{"v:\"a\"":{},"v:\"b\"":{}}}`, false,
		},
		"an atomic list":                  {`args: [a, b]`, `args: [a, b]`, `{"f:args":{}}`, true},
		"an atomic list in another order": {`args: [a, b]`, `args: [b, a]`, `{"f:args":{}}`, false},
		"an atomic list with one more":    {`args: [a]`, `args: [a, b]`, `{"f:args":{}}`, false},
		"defaults inside an atomic list": {
			`claims: [{spec: {size: 1Gi}}]`, `claims: [{spec: {size: 1Gi, volumeMode: Filesystem}, status: {phase: Pending}}]`, `{"f:claims":{}}`, true,
		},
		"a change inside an atomic list": {
			`claims: [{spec: {size: 1Gi}}]`, `claims: [{spec: {size: 2Gi}}]`, `{"f:claims":{}}`, false,
		},
		"an atomic map with a default": {
			`ref: {fieldPath: x}`, `ref: {apiVersion: v1, fieldPath: x}`, `{"f:ref":{}}`, true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			owned := fields{}
			if err := json.Unmarshal([]byte(test.owned), &owned); err != nil {
				t.Fatal(err)
			}
			if at := drift("", tree(t, test.want), tree(t, test.live), owned); (at == "") != test.holds {
				t.Errorf("drift at %q, want that it holds: %v", at, test.holds)
			}
		})
	}
}

func TestOwnedFields(t *testing.T) {
	entry := func(change func(*metav1.ManagedFieldsEntry)) []metav1.ManagedFieldsEntry {
		e := metav1.ManagedFieldsEntry{
			Manager: "op", Operation: metav1.ManagedFieldsOperationApply, APIVersion: "v1",
			FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:a":{}}}`),
		}
		if change != nil {
			change(&e)
		}
		return []metav1.ManagedFieldsEntry{e}
	}
	got, err := ownedFields(entry(nil), "op", "v1")
	if err != nil || got["f:data"] == nil {
		t.Fatalf("got %v, %v", got, err)
	}
	for name, entries := range map[string][]metav1.ManagedFieldsEntry{
		"another manager":     entry(func(e *metav1.ManagedFieldsEntry) { e.Manager = "other" }),
		"an update":           entry(func(e *metav1.ManagedFieldsEntry) { e.Operation = metav1.ManagedFieldsOperationUpdate }),
		"another version":     entry(func(e *metav1.ManagedFieldsEntry) { e.APIVersion = "v2" }),
		"the status":          entry(func(e *metav1.ManagedFieldsEntry) { e.Subresource = "status" }),
		"stripped altogether": nil,
	} {
		if got, err := ownedFields(entries, "op", "v1"); got != nil || err != nil {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	broken := entry(func(e *metav1.ManagedFieldsEntry) { e.FieldsV1 = metav1.NewFieldsV1(`{`) })
	if _, err := ownedFields(broken, "op", "v1"); err == nil {
		t.Error("broken fields went unnoticed")
	}
}
