package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type promise struct {
	Epoch uint64 `json:"epoch"`
	Note  string `json:"note"`
}

func TestStateSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	var got promise
	if err := LoadJSON(path, &got); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a file: %v", err)
	}
	for epoch := range uint64(3) {
		want := promise{Epoch: epoch, Note: "<&> and a \u2028 line"}
		if err := SaveJSON(path, want); err != nil {
			t.Fatal(err)
		}
		if err := LoadJSON(path, &got); err != nil || got != want {
			t.Fatalf("loaded %+v (%v), want %+v", got, err, want)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files are left (%v), want the state alone", len(entries), err)
	}
}

// Every cut and every changed byte of a state file must be noticed.
func TestTornStateIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	want := promise{Epoch: 12, Note: "x"}
	if err := SaveJSON(path, want); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		got := promise{Note: "untouched"}
		err := LoadJSON(path, &got)
		if err == nil && got == want {
			return // The change meant nothing, like a white space.
		}
		if !errors.Is(err, ErrCorrupt) || got.Note != "untouched" {
			t.Errorf("%s: loaded %+v with %v", what, got, err)
		}
	}
	for cut := range len(good) - 1 {
		check("cut", good[:cut])
		check("zeros", append(append([]byte{}, good[:cut]...), make([]byte, len(good)-cut)...))
		flipped := append([]byte{}, good...)
		flipped[cut] ^= 1
		check("flipped", flipped)
	}
	check("empty", nil)
}

func TestFailedWriteLeavesTheOldContent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	if err := WriteFileAtomic(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := replaceFile(path, 0o644, func(f *os.File) error {
		if _, err := f.WriteString("half"); err != nil {
			return err
		}
		return errors.New("disk full")
	})
	if err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatalf("got %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("the file holds %q (%v)", got, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Error("a temporary file is left")
	}
	if err := WriteFileAtomic(filepath.Join(dir, "missing", "state"), nil, 0o644); err == nil {
		t.Error("a missing folder went unnoticed")
	}
	if err := SaveJSON(path, func() {}); err == nil {
		t.Error("a value that cannot be encoded went unnoticed")
	}
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "bin", "agent")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(src, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	if err := Install(src, dst); err == nil {
		t.Error("installed into a folder that does not exist")
	}
	if err := os.Mkdir(filepath.Dir(dst), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Install(src, dst); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dst)
	if err != nil || info.Mode().Perm() != 0o555 {
		t.Fatalf("mode %v (%v), want 0555", info.Mode(), err)
	}
	past := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(dst, past, past); err != nil {
		t.Fatal(err)
	}
	if err := Install(src, dst); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dst); err != nil || !info.ModTime().Equal(past) {
		t.Errorf("the same content was written again (%v)", err)
	}
	// Same length, other content; and the old one may be running.
	write("two")
	if err := Install(src, dst); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dst); err != nil || string(got) != "two" {
		t.Errorf("installed %q (%v)", got, err)
	}
	if err := Install(filepath.Join(dir, "nothing"), dst); err == nil {
		t.Error("installed nothing")
	}
}
