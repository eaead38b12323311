package testkit

import (
	"embed"
	"fmt"
	"io/fs"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// definitions are those of prometheus-operator's kinds that operators make objects of, derived from the module that has the
// types (hack/generate.sh).
//
//go:embed crds/*.yaml
var definitions embed.FS

// MonitoringCRDs returns the definitions of PodMonitor and PrometheusRule, for a test to install when it wants to.
func MonitoringCRDs(tb testing.TB) []*apiextensionsv1.CustomResourceDefinition {
	tb.Helper()
	out, err := decodeAll(definitions)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func decodeAll(files fs.FS) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	var out []*apiextensionsv1.CustomResourceDefinition
	names, err := fs.Glob(files, "crds/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list the definitions: %w", err)
	}
	for _, name := range names {
		raw, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(raw, crd); err != nil {
			return nil, fmt.Errorf("decode %s: %w", name, err)
		}
		out = append(out, crd)
	}
	return out, nil
}
