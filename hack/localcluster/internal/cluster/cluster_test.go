package cluster

import (
	"testing"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
)

func TestSameCluster(t *testing.T) {
	have := spec.Default()
	have.APIPort = 4000
	tests := map[string]struct {
		change func(*spec.Spec)
		want   bool
	}{
		"nothing asked: the chosen port is kept": {func(*spec.Spec) {}, true},
		"the port that it has":                   {func(s *spec.Spec) { s.APIPort = 4000 }, true},
		"another port":                           {func(s *spec.Spec) { s.APIPort = 4001 }, false},
		"another number of nodes":                {func(s *spec.Spec) { s.Nodes = 2 }, false},
		"another eviction":                       {func(s *spec.Spec) { s.EvictionSeconds = 1 }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := spec.Default()
			test.change(&want)
			if got := sameCluster(have, want); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
