// Package pause compiles the sandbox program from its embedded source, so that the command works from any folder.
package pause

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed program/main.go
var source string

const (
	module       = "module pause\n\ngo 1.26.0\n"
	buildTimeout = 5 * time.Minute
)

// Key is what the program is made from; it belongs into the cache key.
func Key(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return "", fmt.Errorf("ask the Go tool for its version: %w", err)
	}
	return source + module + strings.TrimSpace(string(out)), nil
}

// Compile builds a static binary in the folder and returns its path.
func Compile(ctx context.Context, dir string) (string, error) {
	for name, text := range map[string]string{"main.go": source, "go.mod": module} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", fmt.Errorf("write the source of pause: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "pause", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile pause: %w: %s", err, out)
	}
	return filepath.Join(dir, "pause"), nil
}
