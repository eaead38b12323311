package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// wrapperText starts a program of the root file system on the machine itself, with the root file system's own loader and
// libraries. It is independent of where the folder lies. The program finds its share files and plugins by the absolute
// path in its name, so no option is added and options such as --defaults-file may stay first.
const wrapperText = `#!/bin/sh
here=$(readlink -f "$0")
root=${here%%/host/*}
exec "$root/usr/lib64/%[1]s" --argv0 "$root/%[2]s" --library-path "$root/usr/lib/%[3]s" "$root/%[2]s" "$@"
`

// writeWrappers makes host/NAME for every program that depends on the root file system's libraries.
func writeWrappers(root string) error {
	loaders, err := filepath.Glob(filepath.Join(root, "usr/lib64/ld-linux-*.so.*"))
	if err != nil || len(loaders) != 1 {
		return fmt.Errorf("find the loader: %d candidates", len(loaders))
	}
	libraries, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	if err != nil || len(libraries) != 1 {
		return fmt.Errorf("find the library folder: %d candidates", len(libraries))
	}
	if err := os.Mkdir(filepath.Join(root, "host"), 0o755); err != nil {
		return fmt.Errorf("create the wrapper folder: %w", err)
	}
	for _, pattern := range []string{"usr/sbin/mysqld", "usr/bin/mysql*", "usr/bin/my_print_defaults"} {
		programs, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return fmt.Errorf("list programs: %w", err)
		}
		for _, program := range programs {
			relative := strings.TrimPrefix(program, root+"/")
			text := fmt.Sprintf(wrapperText, filepath.Base(loaders[0]), relative, filepath.Base(libraries[0]))
			if err := os.WriteFile(filepath.Join(root, "host", filepath.Base(program)), []byte(text), 0o755); err != nil {
				return fmt.Errorf("write a wrapper: %w", err)
			}
		}
	}
	return nil
}
