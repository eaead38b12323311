package modules_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/hack/verify/internal/modules"
)

const (
	work = "go 1.26.0\n\nuse (\n\t./a\n\t./b\n)\n"
	head = "\n\ngo 1.26.0\n\n"
)

func TestCheck(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		found string
	}{
		"patches may differ, minors agree": {
			files: map[string]string{
				"a/go.mod": "module a" + head + "require k8s.io/api v0.37.2\n",
				"b/go.mod": "module b" + head + "require k8s.io/client-go v0.37.0\n",
			},
		},
		"a Kubernetes minor of its own": {
			files: map[string]string{
				"a/go.mod": "module a" + head + "require k8s.io/api v0.37.2\n",
				"b/go.mod": "module b" + head + "require k8s.io/client-go v0.36.0\n",
			},
			found: "the Kubernetes minor differs",
		},
		"a controller-runtime minor of its own": {
			files: map[string]string{
				"a/go.mod":      "module a" + head + "require sigs.k8s.io/controller-runtime v0.25.2\n",
				"b/go.mod":      "module b" + head,
				"tools/go.mod":  "module tools" + head + "require sigs.k8s.io/controller-runtime v0.24.0\n",
				".cache/go.mod": "module hidden" + head + "require sigs.k8s.io/controller-runtime v0.1.0\n",
			},
			found: "the controller-runtime minor differs: v0.24 in",
		},
		"a published module replaces": {
			files: map[string]string{
				"a/go.mod": "module a" + head + "require c v1.0.0\n\nreplace c => ../c\n",
				"b/go.mod": "module b" + head,
			},
			found: "is published and must not replace c",
		},
		"an unpublished module may replace, and what it replaces does not count": {
			files: map[string]string{
				"a/go.mod":     "module a" + head + "require k8s.io/api v0.37.2\n",
				"b/go.mod":     "module b" + head,
				"tools/go.mod": "module tools" + head + "require k8s.io/api v0.0.0\n\nreplace k8s.io/api => k8s.io/api v0.37.2\n",
			},
		},
		"what a tool's requirements bring along is theirs": {
			files: map[string]string{
				"a/go.mod":     "module a" + head + "require k8s.io/api v0.37.2\n",
				"b/go.mod":     "module b" + head,
				"tools/go.mod": "module tools" + head + "require k8s.io/component-base v0.35.0 // indirect\n",
			},
		},
		"what a published module's requirements bring along is its own": {
			files: map[string]string{
				"a/go.mod": "module a" + head + "require k8s.io/api v0.37.2\n",
				"b/go.mod": "module b" + head + "require k8s.io/component-base v0.35.0 // indirect\n",
			},
			found: "the Kubernetes minor differs",
		},
		"go lines differ": {
			files: map[string]string{
				"a/go.mod": "module a" + head,
				"b/go.mod": "module b\n\ngo 1.25.0\n",
			},
			found: "the go line differs",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			test.files["go.work"] = work
			for name, content := range test.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			found, err := modules.Load(root)
			if err != nil {
				t.Fatal(err)
			}
			problems := modules.Check(found)
			switch {
			case test.found == "" && len(problems) > 0:
				t.Errorf("found %q, want nothing", problems)
			case test.found != "" && (len(problems) != 1 || !strings.Contains(problems[0], test.found)):
				t.Errorf("found %q, want %q", problems, test.found)
			}
		})
	}
}
