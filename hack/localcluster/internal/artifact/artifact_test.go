package artifact

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/progress"
)

func TestEnsureMakesOnceAndWhole(t *testing.T) {
	m := NewMaker(t.TempDir(), "", progress.New(io.Discard))
	if err := os.MkdirAll(filepath.Join(m.cache, "x.tmp-killed"), 0o755); err != nil {
		t.Fatal(err)
	}
	made := 0
	broken := errors.New("broken")
	for i, result := range []error{broken, nil, nil} {
		dir, err := m.ensure(t.Context(), "x", "key", func(_ context.Context, dir string) error {
			made++
			if err := os.WriteFile(filepath.Join(dir, "f"), []byte("content"), 0o644); err != nil {
				return err
			}
			return result
		})
		if !errors.Is(err, result) {
			t.Fatalf("attempt %d: %v", i, err)
		}
		if err != nil {
			continue
		}
		if data, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(data) != "content" {
			t.Errorf("attempt %d: %q %v", i, data, err)
		}
	}
	if made != 2 {
		t.Errorf("made %d times, want 2: once in vain, once for good", made)
	}
	left, err := filepath.Glob(filepath.Join(m.cache, "x.tmp-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

func TestKeyChangesWithContentAndNames(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a", "1")
	keys := map[string]bool{}
	for _, parts := range [][]string{{}, {"x"}, {"x", "y"}, {"xy"}} {
		key, err := hashFiles(dir, []string{"a"}, parts...)
		if err != nil {
			t.Fatal(err)
		}
		keys[key] = true
	}
	write("a", "2")
	key, err := hashFiles(dir, []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	keys[key] = true
	if len(keys) != 5 {
		t.Errorf("%d different keys, want 5", len(keys))
	}
}

func TestKubernetesVersion(t *testing.T) {
	got, err := kubernetesVersion("require (\n\tk8s.io/kubectl v0.0.0\n\tk8s.io/kubernetes v1.37.2\n)\n")
	if err != nil || got != "v1.37.2" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := kubernetesVersion("module x\n"); err == nil {
		t.Error("no error where no version is named")
	}
}

func TestLinkerFlagsAreStampedAndStable(t *testing.T) {
	flags := kubeLDFlags("v1.37.2")
	for range 20 {
		if again := kubeLDFlags("v1.37.2"); again != flags {
			t.Fatalf("%s\nthen %s", flags, again)
		}
	}
	for _, want := range []string{"-s -w ", "component-base/version.gitVersion=v1.37.2", "component-base/version.gitMinor=37"} {
		if !strings.Contains(flags, want) {
			t.Errorf("no %q in %s", want, flags)
		}
	}
}

func TestFindSourceFindsThisModule(t *testing.T) {
	dir, err := FindSource()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "coredns", "go.mod")); err != nil {
		t.Error(err)
	}
}
