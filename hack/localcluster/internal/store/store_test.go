package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
)

func TestRecordIsReadAsWritten(t *testing.T) {
	t.Setenv("KAPOK_STATE", t.TempDir())
	dir, err := Open("x")
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := dir.ReadRecord(); found || err != nil {
		t.Fatalf("a record before one was written: %v %v", found, err)
	}
	want := Record{Spec: spec.Spec{Name: "x", Nodes: 2, NodeMonitorGracePeriod: time.Second}, Cgroups: []string{"/a"}}
	if err := dir.WriteRecord(want); err != nil {
		t.Fatal(err)
	}
	got, found, err := dir.ReadRecord()
	if err != nil || !found {
		t.Fatal(found, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestHalfWrittenRecordIsAnError(t *testing.T) {
	t.Setenv("KAPOK_STATE", t.TempDir())
	dir, err := Open("x")
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(dir.record(), []byte(`{"spec":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := dir.ReadRecord(); err == nil {
		t.Error("no error")
	}
}

func TestWriteFileReplacesAndLeavesNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "f")
	for _, content := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "two" {
		t.Errorf("%q %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left in the folder: %v %v", entries, err)
	}
}

func TestLockIsHeldByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	first, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("a second lock: %v", err)
	}
	if err := first.Remove(); err != nil {
		t.Fatal(err)
	}
	second, err := WaitLock(path, time.Second)
	if err != nil {
		t.Fatalf("after the lock was removed: %v", err)
	}
	if err := second.Release(); err != nil {
		t.Fatal(err)
	}
}
