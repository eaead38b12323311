package source_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/hack/verify/internal/source"
)

func TestCheck(t *testing.T) {
	// Put together here, so that the check does not find its own tests.
	silencer := "//" + "nolint:"
	tests := map[string]struct {
		name, content string
		found         string
	}{
		"a silenced complexity linter":            {"a.go", "func f() {} " + silencer + "gocognit // long\n", "a.go:1: a complexity linter"},
		"among others":                            {"a.go", "\nx() " + silencer + "errcheck,funlen // why\n", "a.go:2: a complexity linter"},
		"another linter may be silenced":          {"a.go", "x() " + silencer + "errcheck // why\n", ""},
		"only Go is looked at for it":             {"a.md", silencer + "gocognit\n", ""},
		"a package source's host":                 {"a.sh", "curl https://mirror.example.org/debian\n", "a.sh:1: names mirror.example.org"},
		"a longer host is another":                {"a.sh", "curl https://my-mirror.example.org/debian\n", ""},
		"a path of this machine":                  {"a.md", "cd /checkouts/kapok/hack\n", "a.md:1: names /checkouts/kapok/"},
		"a path that only ends like one":          {"a.md", "cd /other-checkouts/kapok/\n", ""},
		"a binary file is not text":               {"a.bin", "\x00https://mirror.example.org\n", ""},
		"a file that was deleted is not an error": {"", "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			file := test.name
			if file == "" {
				file = "gone.go"
			} else if err := os.WriteFile(filepath.Join(root, file), []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			problems, err := source.Check(root, []string{file}, []string{"mirror.example.org", "/checkouts/kapok/"})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case test.found == "" && len(problems) > 0:
				t.Errorf("found %q, want nothing", problems)
			case test.found != "" && (len(problems) != 1 || !strings.HasPrefix(problems[0], test.found)):
				t.Errorf("found %q, want %q", problems, test.found)
			}
		})
	}
}

func TestMachineKnowsItsCheckoutAndHome(t *testing.T) {
	root := filepath.Join(t.TempDir(), "kapok")
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("GOCACHE", filepath.Join(home, "cache"))
	t.Setenv("GOPROXY", "https://user:word@modules.example.org/path,direct")
	own, err := source.Machine(root)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(own, "\n") + "\n"
	for _, want := range []string{root + "/\n", filepath.Dir(root) + "/\n", home + "/\n", "modules.example.org\n"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q lacks %q", own, want)
		}
	}
	if strings.Contains(all, "word") {
		t.Errorf("%q holds a password", own)
	}
}
