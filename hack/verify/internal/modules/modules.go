// Package modules reads the go.mod files of the checkout and checks what must hold across them.
package modules

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// Module is one go.mod of the checkout.
type Module struct {
	// Path is the module path, Dir its folder.
	Path, Dir string
	// Published says that go.work uses it: such a module is released and must build from its own go.mod alone.
	Published bool
	// Go is its go line.
	Go string
	// Requires are the versions it asks for, by module path.
	Requires map[string]string
	// Indirect are those of them that its own code does not import.
	Indirect []string
	// Replaces are the module paths it replaces.
	Replaces []string
}

// Load reads go.work and every go.mod below root, in order of their folders.
func Load(root string) ([]Module, error) {
	work, err := readWork(root)
	if err != nil {
		return nil, err
	}
	var found []Module
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if entry.IsDir() || name != "go.mod" {
			return nil
		}
		m, err := readModule(path)
		if err != nil {
			return err
		}
		m.Published = slices.Contains(work, m.Dir)
		found = append(found, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the modules below %s: %w", root, err)
	}
	return found, nil
}

func readWork(root string) ([]string, error) {
	path := filepath.Join(root, "go.work")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the workspace: %w", err)
	}
	work, err := modfile.ParseWork(path, data, nil)
	if err != nil {
		return nil, fmt.Errorf("parse the workspace: %w", err)
	}
	var dirs []string
	for _, use := range work.Use {
		dirs = append(dirs, filepath.Join(root, filepath.FromSlash(use.Path)))
	}
	return dirs, nil
}

func readModule(path string) (Module, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Module{}, err
	}
	file, err := modfile.Parse(path, data, nil)
	if err != nil {
		return Module{}, fmt.Errorf("parse %s: %w", path, err)
	}
	m := Module{Path: file.Module.Mod.Path, Dir: filepath.Dir(path), Requires: map[string]string{}}
	if file.Go != nil {
		m.Go = file.Go.Version
	}
	for _, r := range file.Require {
		m.Requires[r.Mod.Path] = r.Mod.Version
		if r.Indirect {
			m.Indirect = append(m.Indirect, r.Mod.Path)
		}
	}
	for _, r := range file.Replace {
		m.Replaces = append(m.Replaces, r.Old.Path)
	}
	return m, nil
}

// Check says what does not hold, one sentence each.
func Check(found []Module) []string {
	var problems []string
	minors := map[string]map[string][]string{}
	goLines := map[string][]string{}
	for _, m := range found {
		goLines[m.Go] = append(goLines[m.Go], m.Dir)
		if m.Published && len(m.Replaces) > 0 {
			problems = append(problems, fmt.Sprintf("%s is published and must not replace %s: go install of it would fail",
				m.Dir, strings.Join(m.Replaces, ", ")))
		}
		for path, version := range m.Requires {
			family := family(path)
			// What is replaced says nothing by its required version. What a tool's requirements bring along is theirs.
			if family == "" || slices.Contains(m.Replaces, path) || !m.Published && slices.Contains(m.Indirect, path) {
				continue
			}
			minor := semver.MajorMinor(version)
			if minors[family] == nil {
				minors[family] = map[string][]string{}
			}
			minors[family][minor] = append(minors[family][minor], m.Dir+" ("+path+" "+version+")")
		}
	}
	for family, byMinor := range minors {
		if len(byMinor) > 1 {
			problems = append(problems, family+" differs: "+describe(byMinor))
		}
	}
	if len(goLines) > 1 {
		problems = append(problems, "the go line differs: "+describe(goLines))
	}
	slices.Sort(problems)
	return problems
}

// family names the group of modules that must share one minor version.
func family(path string) string {
	switch path {
	case "k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go", "k8s.io/apiextensions-apiserver", "k8s.io/apiserver",
		"k8s.io/component-base":
		return "the Kubernetes minor"
	case "sigs.k8s.io/controller-runtime":
		return "the controller-runtime minor"
	default:
		return ""
	}
}

func describe(groups map[string][]string) string {
	var keys []string
	for key := range groups {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var parts []string
	for _, key := range keys {
		slices.Sort(groups[key])
		parts = append(parts, key+" in "+strings.Join(groups[key], ", "))
	}
	return strings.Join(parts, "; ")
}
