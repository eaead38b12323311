// Package modproxy makes a file-system module proxy out of a checkout, so that a module can be built from its own go.mod
// alone before anything it requires from the same checkout has been published.
package modproxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// Add puts the module in dir into the proxy at target and returns its version there. The version is made from the
// content: the go command keeps what it has downloaded under one version for ever, so a version that stayed the same
// would go on serving yesterday's code.
func Add(target, path, dir string) (string, error) {
	goMod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("read the go.mod of %s: %w", path, err)
	}
	digest, err := digest(path, dir)
	if err != nil {
		return "", err
	}
	version := "v0.0.0-20000101000000-" + digest
	escaped, err := module.EscapePath(path)
	if err != nil {
		return "", fmt.Errorf("escape %s: %w", path, err)
	}
	folder := filepath.Join(target, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("make the proxy's folder of %s: %w", path, err)
	}
	var archive bytes.Buffer
	if err := zip.CreateFromDir(&archive, module.Version{Path: path, Version: version}, dir); err != nil {
		return "", fmt.Errorf("pack %s: %w", path, err)
	}
	files := map[string][]byte{
		"list":            []byte(version + "\n"),
		version + ".info": fmt.Appendf(nil, `{"Version":%q,"Time":"2000-01-01T00:00:00Z"}`, version),
		version + ".mod":  goMod,
		version + ".zip":  archive.Bytes(),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
			return "", fmt.Errorf("write %s of %s: %w", name, path, err)
		}
	}
	return version, nil
}

// digest names the content of a module: the hash of what its archive would hold under a fixed version.
func digest(path, dir string) (string, error) {
	hash := sha256.New()
	if err := zip.CreateFromDir(hash, module.Version{Path: path, Version: "v0.0.0"}, dir); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}
