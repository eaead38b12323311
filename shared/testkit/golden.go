package testkit

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// UpdateFlag registers -update on a flag set. A test package that uses Golden
// has one line for it:
//
//	var update = testkit.UpdateFlag(flag.CommandLine)
func UpdateFlag(fs *flag.FlagSet) *bool {
	return fs.Bool("update", false, "write the golden files instead of comparing with them")
}

// Golden compares got with the file testdata/name. With update it writes the
// file instead. A missing file is a failure: a golden file is read by a human
// before it is trusted.
func Golden(tb testing.TB, update bool, name string, got []byte) {
	tb.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(name))
	if update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			tb.Fatalf("make the folder of golden file %s: %v", path, err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			tb.Fatalf("write golden file %s: %v", path, err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		tb.Fatalf("read golden file (run the test with -update to write it, then read it): %v", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		tb.Errorf("%s differs (-golden +got; run the test with -update if it is right):\n%s", path, diff)
	}
}
