package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestALeanServerIsNotStartedWithoutMemory(t *testing.T) {
	const stat = "anon 100\nactive_file 10000000\ninactive_file 20000000\nslab_reclaimable 5000000\nslab_unreclaimable 7\n"
	for what, c := range map[string]struct {
		limit, used, stat string
		free              int64
		known             bool
	}{
		"enough":          {"536870912\n", "400000000\n", stat, 171870912, true},
		"too little":      {"536870912\n", "500000000\n", stat, 71870912, true},
		"no limit":        {"max\n", "500000000\n", stat, 0, false},
		"nobody tells":    {"", "", "", 0, false},
		"half is untold":  {"536870912\n", "500000000\n", "", 0, false},
		"use is not told": {"536870912\n", "", stat, 0, false},
	} {
		dir := t.TempDir()
		for name, content := range map[string]string{"memory.max": c.limit, "memory.current": c.used, "memory.stat": c.stat} {
			if content == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if free, known := headroom(dir); free != c.free || known != c.known {
			t.Errorf("%s: %d are free, %t", what, free, known)
		}
		_, refused := errors.AsType[*NoMemoryError](roomy(dir))
		if refused != (c.known && c.free < leanBytes) {
			t.Errorf("%s: refused %t", what, refused)
		}
	}
}
