package debian

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Package is one binary package of a resolved closure.
type Package struct {
	// Name is the package's name.
	Name string `json:"name"`
	// Version is the full version, with its epoch.
	Version string `json:"version"`
	// Arch is the package's architecture, or all.
	Arch string `json:"arch"`
	// Size is the archive's size in bytes.
	Size int64 `json:"size"`
	// SHA256 is the archive's hash in hex, as signed by the Debian archive.
	SHA256 string `json:"sha256"`
}

// ParseURIs reads what `apt-get --print-uris` prints: quoted address, file name, size, hash. The closure is sorted by name.
func ParseURIs(text string) ([]Package, error) {
	var packages []Package
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "'") {
			continue
		}
		pkg, err := parseURI(line)
		if err != nil {
			return nil, fmt.Errorf("read a line of apt's package list: %w", err)
		}
		packages = append(packages, pkg)
	}
	slices.SortFunc(packages, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	return packages, nil
}

func parseURI(line string) (Package, error) {
	fields := strings.Fields(line)
	if len(fields) != 4 {
		return Package{}, fmt.Errorf("%d fields where four are due", len(fields))
	}
	file, err := url.PathUnescape(fields[1])
	if err != nil {
		return Package{}, fmt.Errorf("unescape a file name: %w", err)
	}
	parts := strings.Split(strings.TrimSuffix(file, ".deb"), "_")
	if len(parts) != 3 || !strings.HasSuffix(file, ".deb") {
		return Package{}, fmt.Errorf("file name %q is not of the form name_version_arch.deb", file)
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return Package{}, fmt.Errorf("read the size of %s: %w", file, err)
	}
	sum, ok := strings.CutPrefix(fields[3], "SHA256:")
	if raw, err := hex.DecodeString(sum); !ok || err != nil || len(raw) != 32 {
		return Package{}, fmt.Errorf("package %s comes without a SHA256 hash", parts[0])
	}
	return Package{Name: parts[0], Version: parts[1], Arch: parts[2], Size: size, SHA256: sum}, nil
}

// Without returns the packages that are neither named nor part of a layer below.
func Without(packages []Package, names []string, below ...[]Package) []Package {
	var kept []Package
	for _, pkg := range packages {
		inLower := slices.ContainsFunc(below, func(layer []Package) bool { return slices.Contains(layer, pkg) })
		if !inLower && !slices.Contains(names, pkg.Name) {
			kept = append(kept, pkg)
		}
	}
	return kept
}
