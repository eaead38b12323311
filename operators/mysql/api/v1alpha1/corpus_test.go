package v1alpha1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/operators/mysql/internal/mycnf"
)

// example is one file of the corpus: a manifest, or the same object in several states one after the other. A status in
// it is written through the status subresource, as the operator would.
type example struct {
	name   string
	expect string
	states []*unstructured.Unstructured
}

// TestCorpus applies every manifest of testdata to a real API server: those in accept must be taken, the last state of
// those in reject must be refused with the sentence that their first line announces.
func TestCorpus(t *testing.T) {
	api := startServer(t)

	for _, accepted := range load(t, "accept") {
		t.Run("accept/"+accepted.name, func(t *testing.T) {
			for i, state := range accepted.states {
				if err := put(t.Context(), api, state); err != nil {
					t.Errorf("state %d is refused: %v", i+1, err)
				}
			}
			remove(t, api, accepted.states[0])
		})
	}

	hit := map[string]bool{}
	messages := celMessages(t)
	for _, rejected := range load(t, "reject") {
		t.Run("reject/"+rejected.name, func(t *testing.T) {
			last := len(rejected.states) - 1
			for i, state := range rejected.states[:last] {
				if err := put(t.Context(), api, state); err != nil {
					t.Fatalf("state %d, which only prepares the case, is refused: %v", i+1, err)
				}
			}
			err := put(t.Context(), api, rejected.states[last])
			remove(t, api, rejected.states[0])
			if err == nil {
				t.Fatalf("is accepted; want: %s", rejected.expect)
			}
			if rejected.expect == "" || !strings.Contains(err.Error(), rejected.expect) {
				t.Errorf("is refused with:\n  %v\nwant:\n  %s", err, rejected.expect)
			}
			for _, message := range messages {
				if strings.Contains(err.Error(), message) {
					hit[message] = true
				}
			}
		})
	}

	t.Run("samples", func(t *testing.T) { checkSamples(t, api) })
	t.Run("every rule has a case", func(t *testing.T) {
		for _, message := range messages {
			if !hit[message] {
				t.Errorf("no case in testdata/reject is refused with: %s", message)
			}
		}
	})
	t.Run("every bound refuses", func(t *testing.T) { checkBounds(t, api) })
	t.Run("options of the operator", func(t *testing.T) { checkOwnedOptions(t, api) })
	t.Run("defaults", func(t *testing.T) { checkDefaults(t, api) })
}

// checkSamples applies the samples as they stand.
func checkSamples(t *testing.T, api client.Client) {
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "samples", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	applied := 0
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		for _, object := range read(t, file) {
			applied++
			if err := api.Create(t.Context(), object, client.DryRunAll); err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
			}
		}
	}
	if applied < 3 {
		t.Errorf("only %d sample objects were found", applied)
	}
}

// checkOwnedOptions holds the rule of the API to the list that the agent uses: every owned option is refused by name
// however it is spelled, and others are not.
func checkOwnedOptions(t *testing.T, api client.Client) {
	owned := mycnf.OwnedNames()
	for _, prefix := range mycnf.OwnedPrefixes() {
		owned = append(owned, prefix, prefix+"anything")
	}
	for _, option := range owned {
		for _, spelled := range []string{option, "loose_" + option, "skip_" + option, "loose_skip_" + option} {
			want := "configuration must not set " + spelled + ":"
			if err := tryOption(t.Context(), api, spelled); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("option %s: want %q, got: %v", spelled, want, err)
			}
		}
	}
	for _, option := range []string{
		"max_connections", "innodb_redo_log_capacity", "log_bin_trust_function_creators", "binlog_expire_logs_seconds",
		"validate_password.policy", "loose_validate_password.length", "sql_mode", "user_thing", "report", "portable",
	} {
		if mycnf.Owned(option) {
			t.Fatalf("%s is no good example: it is owned", option)
		}
		if err := tryOption(t.Context(), api, option); err != nil {
			t.Errorf("option %s is refused: %v", option, err)
		}
	}
}

// tryOption asks the API server whether it would accept a cluster that sets option.
func tryOption(ctx context.Context, api client.Client, option string) error {
	object := cluster("shop")
	if err := unstructured.SetNestedField(object.Object, "100", "spec", "configuration", option); err != nil {
		return fmt.Errorf("build the manifest: %w", err)
	}
	return api.Create(ctx, object, client.DryRunAll)
}

// checkDefaults holds what a manifest with nothing but a name becomes to testdata/defaults.yaml.
func checkDefaults(t *testing.T, api client.Client) {
	object := cluster("shop")
	if err := api.Create(t.Context(), object, client.DryRunAll); err != nil {
		t.Fatalf("a manifest with a name only is refused: %v", err)
	}
	got, err := yaml.Marshal(map[string]any{"spec": object.Object["spec"]})
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "defaults.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the defaults are:\n%s\nwant:\n%s", got, want)
	}
}

// cluster returns a manifest with a name only.
func cluster(name string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "mysql.kapok.dev/v1alpha1",
		"kind":       "MySQLCluster",
	}}
	object.SetName(name)
	object.SetNamespace(namespace)
	return object
}

// put creates the object or, if it is there, replaces its spec; then it writes the status that the state carries.
func put(ctx context.Context, api client.Client, state *unstructured.Unstructured) error {
	status, hasStatus := state.Object["status"]
	object := state.DeepCopy()
	delete(object.Object, "status")

	current := &unstructured.Unstructured{}
	current.SetGroupVersionKind(object.GroupVersionKind())
	err := api.Get(ctx, client.ObjectKeyFromObject(object), current)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return fmt.Errorf("read the object: %w", err)
	case err != nil:
		if err := api.Create(ctx, object); err != nil {
			return fmt.Errorf("create: %w", err)
		}
	default:
		object.SetResourceVersion(current.GetResourceVersion())
		if err := api.Update(ctx, object); err != nil {
			return fmt.Errorf("update: %w", err)
		}
	}
	if !hasStatus {
		return nil
	}
	object.Object["status"] = status
	if err := api.Status().Update(ctx, object); err != nil {
		return fmt.Errorf("update the status: %w", err)
	}
	return nil
}

// load reads the examples of one folder of testdata.
func load(t *testing.T, folder string) []example {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples in testdata/%s (%v)", folder, err)
	}
	var examples []example
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(raw), "\n")
		found := example{name: strings.TrimSuffix(filepath.Base(file), ".yaml")}
		found.expect, _ = strings.CutPrefix(first, "# expect: ")
		if found.expect == first {
			found.expect = ""
		}
		found.states = read(t, file)
		if len(found.states) == 0 {
			t.Fatalf("%s holds no manifest", file)
		}
		examples = append(examples, found)
	}
	return examples
}

// read decodes the objects of a file.
func read(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(document, &object.Object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		object.SetNamespace(namespace)
		objects = append(objects, object)
	}
}
