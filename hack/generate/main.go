// Command generate writes the reference of an operator's API for people, as Markdown, from what the API server itself
// enforces: the CustomResourceDefinition. From the Go sources it takes what a definition cannot hold: the conditions with
// their reasons, and the annotations that ask for something. They are told once for each API, with its main kind.
//
//	generate -crd FILE [-api FOLDER] -out FILE
package main

import (
	"flag"
	"fmt"
	"os"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	crd := flag.String("crd", "", "the CustomResourceDefinition `file`")
	api := flag.String("api", "", "the `folder` of the API's Go package; without it, no conditions and annotations are told")
	out := flag.String("out", "", "the Markdown `file` to write")
	flag.Parse()
	if err := run(*crd, *api, *out); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(crdFile, apiFolder, outFile string) error {
	raw, err := os.ReadFile(crdFile)
	if err != nil {
		return fmt.Errorf("read the definition: %w", err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(raw, &crd); err != nil {
		return fmt.Errorf("decode %s: %w", crdFile, err)
	}
	var groups []group
	if apiFolder != "" {
		var err error
		if groups, err = constants(apiFolder); err != nil {
			return err
		}
	}
	text, err := render(&crd, groups)
	if err != nil {
		return fmt.Errorf("render %s: %w", crdFile, err)
	}
	if err := os.WriteFile(outFile, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the reference: %w", err)
	}
	return nil
}
