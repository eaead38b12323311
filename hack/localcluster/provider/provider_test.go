package provider

import (
	"testing"

	"sigs.k8s.io/e2e-framework/third_party/kind"
)

func TestEnvironmentChoosesTheCluster(t *testing.T) {
	tests := map[string]func(Provider) bool{
		"":         func(p Provider) bool { _, ok := p.(*Local); return ok },
		"local":    func(p Provider) bool { _, ok := p.(NodeFaults); return ok },
		"kind":     func(p Provider) bool { _, ok := p.(*kind.Cluster); return ok },
		"existing": func(p Provider) bool { _, ok := p.(*Existing); return ok },
	}
	for value, isKind := range tests {
		t.Run("CLUSTER="+value, func(t *testing.T) {
			t.Setenv(Variable, value)
			p, err := New("x")
			if err != nil || !isKind(p) {
				t.Errorf("%T %v", p, err)
			}
		})
	}
	t.Setenv(Variable, "minikube")
	if _, err := New("x"); err == nil {
		t.Error("no error for a kind that is not known")
	}
}

func TestExistingClusterRefusesImages(t *testing.T) {
	if err := NewExisting().LoadImageArchive(t.Context(), "x.tar"); err == nil {
		t.Error("no error")
	}
}

func TestParseNodes(t *testing.T) {
	nodes, err := parseNodes([]byte(`{"name":"c","boxes":[{"name":"control-plane","ip":"10.0.0.1"},
		{"name":"node1","state":"cut","ip":"10.0.0.2","zone":"z1"}]}`))
	if err != nil || len(nodes) != 1 {
		t.Fatalf("%v %v", nodes, err)
	}
	if n := nodes[0]; n.Name != "node1" || n.State != "cut" || n.Cluster != "c" || n.IP.String() != "10.0.0.2" {
		t.Errorf("%+v", n)
	}
}
