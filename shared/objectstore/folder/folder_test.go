package folder_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/shared/objectstore"
	"github.com/kapok-operators/kapok/shared/objectstore/folder"
	"github.com/kapok-operators/kapok/shared/testkit/storetest"
)

// open returns the store in a folder.
func open(t *testing.T, dir string) *folder.Store {
	t.Helper()
	s, err := folder.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objectstore.Store { return open(t, t.TempDir()) })
}

func TestAFolderThatDoesNotExistIsNotMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "typo")
	if _, err := folder.Open(dir); !errors.Is(err, objectstore.ErrAbsent) {
		t.Errorf("open: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.Open(file); !errors.Is(err, objectstore.ErrAbsent) {
		t.Errorf("open a file: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
}

func TestNothingOutsideIsReached(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "way")); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if body, err := s.Get(t.Context(), "way/secret", 0); err == nil {
		t.Error("what is outside was read", body.Close())
	}
	if err := s.Put(t.Context(), "way/new", strings.NewReader("")); err == nil {
		t.Error("something was written outside")
	}
	if err := s.Delete(t.Context(), "way/secret"); err == nil {
		t.Error("deleting what is outside is said to have worked")
	}
	left, err := os.ReadDir(outside)
	if err != nil || len(left) != 1 {
		t.Errorf("outside there is %v, %v", left, err)
	}
	for info, err := range s.List(t.Context(), "") {
		t.Errorf("listed %+v, %v", info, err)
	}
}

func TestSweepRemovesWhatAKilledProcessLeft(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Sweep(time.Now()); err != nil {
		t.Errorf("with nothing to sweep: %v", err)
	}
	if err := s.Put(t.Context(), "whole", strings.NewReader("whole")); err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(dir, ".unfinished", "OLD"), filepath.Join(dir, ".unfinished", "YOUNG")
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(old, then, then); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(time.Now().Add(-24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old one: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("the one under way: %v", err)
	}
	if info, err := s.Stat(t.Context(), "whole"); err != nil || info.Size != 5 {
		t.Errorf("the object: %+v, %v", info, err)
	}
}
