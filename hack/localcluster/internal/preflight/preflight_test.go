package preflight

import (
	"strings"
	"testing"
)

func TestErrorNamesEveryLackAndTheWayOut(t *testing.T) {
	if err := Error([]Check{{Name: "memory"}}); err != nil {
		t.Errorf("nothing is missing, but: %v", err)
	}
	err := Error([]Check{{Name: "memory", Problem: "too little"}, {Name: "disk"}, {Name: "root", Problem: "not root"}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"memory: too little", "root: not root", "CLUSTER=kind", "CLUSTER=existing", "nothing was changed"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %q", want, err)
		}
	}
	if strings.Contains(err.Error(), "disk") {
		t.Errorf("disk is not missing: %v", err)
	}
}

func TestAvailableMemory(t *testing.T) {
	got, err := availableMemory("MemTotal: 10 kB\nMemAvailable:    2048 kB\n")
	if err != nil || got != 2048<<10 {
		t.Errorf("%d %v", got, err)
	}
	for _, bad := range []string{"MemTotal: 10 kB\n", "MemAvailable: x kB\n"} {
		if _, err := availableMemory(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}
