package modproxy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kapok-operators/kapok/hack/verify/internal/modproxy"
)

// TestTheGoCommandBuildsAgainstTheProxy has the go command itself download a module that was never published.
func TestTheGoCommandBuildsAgainstTheProxy(t *testing.T) {
	library := t.TempDir()
	write(t, library, "go.mod", "module example.org/house/library\n\ngo 1.26.0\n")
	write(t, library, "word.go", "package library\n\nconst Word = \"kapok\"\n")
	proxy := t.TempDir()
	version, err := modproxy.Add(proxy, "example.org/house/library", library)
	if err != nil {
		t.Fatal(err)
	}
	program := t.TempDir()
	write(t, program, "go.mod", "module example.org/house/program\n\ngo 1.26.0\n\nrequire example.org/house/library "+version+"\n")
	write(t, program, "main.go", "package main\n\nimport \"example.org/house/library\"\n\nfunc main() { println(library.Word) }\n")
	command := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", "program", ".")
	command.Dir = program
	command.Env = append(os.Environ(), "GOWORK=off", "GOPROXY=file://"+proxy, "GONOSUMDB=example.org/house/*", "GOFLAGS=-modcacherw",
		"GOMODCACHE="+t.TempDir())
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestVersionFollowsContent(t *testing.T) {
	dir, proxy := t.TempDir(), t.TempDir()
	write(t, dir, "go.mod", "module example.org/house/library\n\ngo 1.26.0\n")
	add := func() string {
		version, err := modproxy.Add(proxy, "example.org/house/library", dir)
		if err != nil {
			t.Fatal(err)
		}
		return version
	}
	first := add()
	if again := add(); again != first {
		t.Errorf("the same content became %s and then %s", first, again)
	}
	write(t, dir, "word.go", "package library\n")
	if changed := add(); changed == first {
		t.Errorf("other content kept the version %s", first)
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
