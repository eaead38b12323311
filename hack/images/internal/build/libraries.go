package build

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/kapok-operators/kapok/hack/images/internal/tree"
)

// checkLibraries makes sure that every program of a layer finds its shared libraries in the layer or in one below. Recipes
// leave packages out, and sid moves; without this check the loss would show only when a container fails to start. It
// returns the names of the libraries that the layer provides.
func checkLibraries(files *tree.Tree, below []string) ([]string, error) {
	var provided []string
	for _, name := range append(files.Files(), files.Links()...) {
		provided = append(provided, path.Base(name))
	}
	var missing []error
	for _, name := range files.Files() {
		needed, err := neededBy(files, name)
		if err != nil {
			return nil, err
		}
		for _, library := range needed {
			if !slices.Contains(provided, library) && !slices.Contains(below, library) {
				missing = append(missing, fmt.Errorf("%s needs %s, which no package of the image provides", name, library))
			}
		}
	}
	libraries := slices.DeleteFunc(provided, func(name string) bool { return !isLibrary(name) })
	slices.Sort(libraries)
	return slices.Compact(libraries), errors.Join(missing...)
}

func isLibrary(name string) bool {
	matched, err := path.Match("*.so*", name)
	return err == nil && matched
}

// neededBy lists the libraries that a file is linked to; a file that is no program needs none.
func neededBy(files *tree.Tree, name string) ([]string, error) {
	content, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(io.NewSectionReader(content, 0, int64(len(magic))), magic); err != nil || string(magic) != elf.ELFMAG {
		return nil, nil //nolint:nilerr // What is shorter than a program's beginning is none.
	}
	program, err := elf.NewFile(content)
	if err != nil {
		return nil, nil //nolint:nilerr // Some data files only begin like a program.
	}
	needed, err := program.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("read the libraries of %s: %w", name, err)
	}
	return needed, nil
}
