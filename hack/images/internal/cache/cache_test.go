package cache

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWriteFileLeavesNothingWhenItFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "result")
	broken := errors.New("the line went dead")
	err := WriteFile(path, func(w io.Writer) error {
		if _, err := io.WriteString(w, "half"); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("error %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestWriteFileReplacesTheOldResultOnlyWhenDone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "result")
	for _, text := range []string{"old", "new"} {
		err := WriteFile(path, func(w io.Writer) error {
			if text == "new" {
				if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
					t.Errorf("while writing: %q, %v", got, err)
				}
			}
			_, err := io.WriteString(w, text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "new" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCreateDirLeavesNothingWhenItFails(t *testing.T) {
	dir := t.TempDir()
	broken := errors.New("no space")
	err := CreateDir(filepath.Join(dir, "rootfs"), func(temp string) error {
		return errors.Join(os.WriteFile(filepath.Join(temp, "half"), nil, 0o644), broken)
	})
	if !errors.Is(err, broken) {
		t.Fatalf("error %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestLockIsExclusiveAndBounded(t *testing.T) {
	dir := Dir(t.TempDir())
	unlock, err := dir.Lock(t.Context(), func() { t.Error("nobody holds it") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	waited := 0
	if _, err := dir.Lock(ctx, func() { waited++ }); !errors.Is(err, context.DeadlineExceeded) || waited != 1 {
		t.Errorf("error %v, told %d times", err, waited)
	}
	unlock()
	again, err := dir.Lock(t.Context(), func() {})
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	again()
}

func TestLockSweepsWhatAKilledBuildLeft(t *testing.T) {
	dir := Dir(t.TempDir())
	for _, name := range []string{".part-1/file", "debs/.part-2/x.deb", "layers/.part-3", "layers/base-1.tar.zst", "rootfs/mysql-1/etc/.part-of-the-image"} {
		path := dir.Path(name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	unlock, err := dir.Lock(t.Context(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	for _, gone := range []string{".part-1", "debs/.part-2", "layers/.part-3"} {
		if Exists(dir.Path(gone)) {
			t.Errorf("%s is still there", gone)
		}
	}
	for _, kept := range []string{"layers/base-1.tar.zst", "rootfs/mysql-1/etc/.part-of-the-image"} {
		if !Exists(dir.Path(kept)) {
			t.Errorf("%s is gone", kept)
		}
	}
}

func TestKeyDependsOnEveryField(t *testing.T) {
	type recipe struct{ A, B string }
	one, err := Key(recipe{"x", "y"})
	if err != nil {
		t.Fatal(err)
	}
	two, err := Key(recipe{"x", "z"})
	if err != nil || one == two {
		t.Errorf("%s and %s, %v", one, two, err)
	}
}

func TestOpenFollowsTheSetting(t *testing.T) {
	root := t.TempDir()
	t.Setenv("KAPOK_CACHE", root)
	dir, err := Open()
	if err != nil || string(dir) != filepath.Join(root, "images") || !Exists(string(dir)) {
		t.Errorf("%s, %v", dir, err)
	}
}
