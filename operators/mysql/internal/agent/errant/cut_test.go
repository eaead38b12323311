package errant

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/shared/agent"
)

func TestI6TheArchivedTailOutlivesTheCut(t *testing.T) {
	dir, root := t.TempDir(), filepath.Join(t.TempDir(), "archive")
	path := filepath.Join(dir, "binlog.000004")
	preamble, keep, whole := int64(len(logFile(t))), int64(len(logFile(t, 1, 2))), int64(len(logFile(t, 1, 2, 3, 4)))
	content := append(logFile(t, 1, 2, 3, 4), gtidEvent(t, 5)[:30]...)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	req := Request{
		Root: root, Set: parse(t, server+":3-4"), Supervisor: &agent.Supervisor{},
		Instance: "shop-0", ServerUUID: server, Source: "shop-1", Why: "test", At: time.Unix(0, 0),
	}
	tail := Tail{Path: path, Preamble: preamble, Position: keep, End: whole, Size: int64(len(content))}
	folder, err := ArchiveTail(t.Context(), req, tail)
	if err != nil {
		t.Fatal(err)
	}
	// What is cut off the log must still be in the archive.
	if err := os.Truncate(path, keep); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(folder, "raw", "binlog.000004"))
	if err != nil || !bytes.Equal(kept, append(content[:preamble:preamble], content[keep:whole]...)) {
		t.Errorf("the archived log has %d bytes: %v", len(kept), err)
	}
	torn, err := os.ReadFile(filepath.Join(folder, "raw", "binlog.000004"+tornSuffix))
	if err != nil || !bytes.Equal(torn, content[whole:]) {
		t.Errorf("what was torn has %d bytes: %v", len(torn), err)
	}
	raw, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest Manifest
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.GTIDs != server+":3-4" || manifest.Cut == nil || *manifest.Cut != (Cut{"binlog.000004", keep, int64(len(content))}) || len(manifest.Files) != 2 {
		t.Errorf("manifest %s", raw)
	}
}

func TestI6AnArchiveThatLacksSomethingIsNone(t *testing.T) {
	dir, root := t.TempDir(), filepath.Join(t.TempDir(), "archive")
	path := filepath.Join(dir, "binlog.000004")
	content := logFile(t, 1, 2, 3)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	size := int64(len(content))
	for name, tc := range map[string]struct {
		set  string
		tail Tail
	}{
		"too little":          {server + ":2-3", Tail{Path: path, Preamble: int64(len(logFile(t))), Position: int64(len(logFile(t, 1, 2))), End: size, Size: size}},
		"too much":            {server + ":3", Tail{Path: path, Preamble: int64(len(logFile(t))), Position: int64(len(logFile(t, 1))), End: size, Size: size}},
		"beyond the file":     {server + ":3", Tail{Path: path, Preamble: int64(len(logFile(t))), Position: int64(len(logFile(t, 1, 2))), End: size + 9, Size: size + 9}},
		"a file that is gone": {server + ":3", Tail{Path: path + "0", Preamble: 4, Position: 4, End: 9, Size: 9}},
	} {
		folder, err := ArchiveTail(t.Context(), Request{Root: root, Set: parse(t, tc.set), Supervisor: &agent.Supervisor{}, At: time.Unix(0, 0)}, tc.tail)
		if err == nil {
			t.Errorf("%s: archived in %s", name, folder)
		}
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("archives are left: %v, %v", left, err)
	}
}
