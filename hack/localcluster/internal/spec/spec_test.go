package spec

import (
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		change func(*Spec)
		want   string
	}{
		"the default is valid":    {func(*Spec) {}, ""},
		"a name with a slash":     {func(s *Spec) { s.Name = "../x" }, "cluster name"},
		"an empty name":           {func(s *Spec) { s.Name = "" }, "cluster name"},
		"a name beginning with -": {func(s *Spec) { s.Name = "-x" }, "cluster name"},
		"a name of 31 characters": {func(s *Spec) { s.Name = strings.Repeat("a", 31) }, "cluster name"},
		"a name of 30 characters": {func(s *Spec) { s.Name = strings.Repeat("a", 30) }, ""},
		"no node":                 {func(s *Spec) { s.Nodes = 0 }, "0 nodes"},
		"ten nodes":               {func(s *Spec) { s.Nodes = 10 }, "10 nodes"},
		"a negative grace period": {func(s *Spec) { s.NodeMonitorGracePeriod = -time.Second }, "grace period"},
		"a port that cannot be":   {func(s *Spec) { s.APIPort = 65536 }, "API port"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := Default()
			test.change(&s)
			err := s.Validate()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestNodesSpreadOverThreeZones(t *testing.T) {
	nodes := Spec{Nodes: 4}.NodeList()
	var zones, addresses []string
	for _, n := range nodes {
		zones = append(zones, n.Zone)
		addresses = append(addresses, n.IP+" "+n.PodCIDR)
	}
	if got := strings.Join(zones, " "); got != "z1 z2 z3 z1" {
		t.Errorf("zones %s", got)
	}
	seen := map[string]bool{}
	for _, a := range addresses {
		if seen[a] {
			t.Errorf("%s is given twice", a)
		}
		seen[a] = true
	}
}
