package links_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/hack/verify/internal/links"
)

func TestCheck(t *testing.T) {
	const other = "# What it does, and why\n\n## The `code` of [it](x.md)\n\n```sh\n# not a heading\n```\n"
	tests := map[string]struct {
		text, found string
	}{
		"a file that is there":                     {"see [it](other.md)", ""},
		"a folder that is there":                   {"see [it](folder)", ""},
		"a file that is not":                       {"\nsee [it](gone.md)", "doc.md:2: the link gone.md leads nowhere"},
		"a heading that is there":                  {"[it](other.md#what-it-does-and-why)", ""},
		"a decorated heading":                      {"[it](other.md#the-code-of-it)", ""},
		"a heading that is not":                    {"[it](other.md#how)", "doc.md:1: the link other.md#how names a heading"},
		"a comment in code is no heading":          {"[it](other.md#not-a-heading)", "doc.md:1: the link other.md#not-a-heading"},
		"a heading of the same document":           {"# Top\n[up](#top)", ""},
		"two links in one line, one broken":        {"[a](other.md) and [b](gone.md)", "doc.md:1: the link gone.md"},
		"links out of the repository are not ours": {"[it](https://example.org/gone.md)", ""},
		"code is not prose":                        {"```\n[it](gone.md)\n```", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.Mkdir(filepath.Join(root, "folder"), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{"doc.md": test.text, "other.md": other} {
				if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			problems, err := links.Check(root, []string{"doc.md", "main.go"})
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
