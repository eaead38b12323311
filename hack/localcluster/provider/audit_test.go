package provider

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestAuditLogsAreInOrder(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"audit.log", "audit-2026-01-02T03-04-05.000.log", "audit-2025-12-31T03-04-05.000.log", "kube-apiserver.log"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := auditLogs(fmt.Appendf(nil, `{"auditLog":%q}`, filepath.Join(folder, "audit.log")))
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i] = filepath.Base(found[i])
	}
	if want := []string{"audit-2025-12-31T03-04-05.000.log", "audit-2026-01-02T03-04-05.000.log", "audit.log"}; !slices.Equal(found, want) {
		t.Errorf("got %v", found)
	}
	if _, err := auditLogs([]byte(`{}`)); err == nil {
		t.Error("a cluster without an audit log")
	}
}
