package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// definition is a small definition with one of everything that the reference shows.
const definition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  group: example.com
  names: {kind: Thing, shortNames: [th]}
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        description: Thing is a thing.
        x-kubernetes-validations:
        - {rule: "false", message: thing must be otherwise}
        properties:
          spec:
            description: spec is what you want.
            properties:
              size:
                description: size is its size.
                type: integer
                default: 3
                minimum: 1
                maximum: 9
              parts:
                description: parts are its parts.
                type: array
                maxItems: 4
                items:
                  type: object
                  properties:
                    name:
                      description: name is the part's name.
                      type: string
                      maxLength: 8
              mode:
                description: mode is how.
                type: string
                enum: [a, b]
              configuration:
                description: configuration sets options.
                type: object
                additionalProperties: {type: string}
                x-kubernetes-validations:
                - {rule: "false", messageExpression: "'configuration must not set ' + self.filter(o, o.matches('x'))[0] + ': it is ours'"}
          status:
            description: status is what there is.
`

const source = `package v1

const Group = "example.com"

const (
	// AnnotationGo asks for it.
	AnnotationGo = Group + "/go"
)

// The condition types of a Thing. Each is good when true.
const (
	// ConditionReady: mysqld is ready.
	ConditionReady = "Ready"
	// ConditionFit: all is fit,
	// really | truly.
	ConditionFit = "Fit"
)

const (
	// Hidden is of no interest to users.
	Hidden = "hidden"
)
`

func TestReference(t *testing.T) {
	folder := t.TempDir()
	crd, out := filepath.Join(folder, "crd.yaml"), filepath.Join(folder, "reference.md")
	for file, text := range map[string]string{crd: definition, filepath.Join(folder, "types.go"): source} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(crd, folder, out); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, want := range []string{
		"`apiVersion: example.com/v1`, `kind: Thing`, short name `th`",
		"Refused at admission:\n- thing must be otherwise\n",
		"### `spec.size`\n\n*integer; default `3`; from 1 to 9*\n\nsize is its size.\n",
		"### `spec.parts`\n\n*list of object; at most 4 items*",
		"### `spec.parts[].name`\n\n*string; at most 8 characters*",
		"*string; one of `a`, `b`*",
		"*map of string*",
		"- configuration must not set …: it is ours\n",
		"| `example.com/go` | Asks for it. |",
		"## The condition types of a Thing\n\nEach is good when true.\n",
		"| `Ready` | mysqld is ready. |",
		"| `Fit` | All is fit, really \\| truly. |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the reference lacks:\n%s", want)
		}
	}
	if strings.Contains(text, "hidden") {
		t.Error("the reference shows a constant that is of no interest to users")
	}
	if t.Failed() {
		t.Log(text)
	}
}
