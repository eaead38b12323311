package lan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
)

func TestFlows(t *testing.T) {
	const second = time.Second
	tests := map[string]struct {
		rules []netfault.Rule
		want  []string
	}{
		"none": {nil, nil},
		"what a node sends": {
			[]netfault.Rule{{Node: "node1", Direction: netfault.Out, Loss: 100}},
			[]string{"prerouting iif node1 drop"},
		},
		"what a node receives": {
			[]netfault.Rule{{Node: "node1", Direction: netfault.In, Loss: 5}},
			[]string{"postrouting oif node1 random 500/10000 drop"},
		},
		"the API": {
			[]netfault.Rule{{Node: "node2", Peers: []string{netfault.API}, Loss: 100}},
			[]string{
				"prerouting iif node2 to 10.88.0.1/32 tcp port != 53 drop",
				"postrouting oif node2 from 10.88.0.1/32 tcp port != 53 drop",
			},
		},
		"the control plane": {
			[]netfault.Rule{{Node: "node2", Peers: []string{netfault.ControlPlane}, Loss: 0.01}},
			[]string{
				"prerouting iif node2 to 10.88.0.1/32 random 1/10000 drop",
				"postrouting oif node2 from 10.88.0.1/32 random 1/10000 drop",
			},
		},
		"databases in pods": {
			[]netfault.Rule{{Node: "node1", Peers: []string{netfault.Pods}, Ports: []int{3306}, Loss: 100}},
			[]string{
				"prerouting iif node1 from 10.244.1.0/24 to 10.244.0.0/16 tcp sport 3306 drop",
				"prerouting iif node1 from 10.244.1.0/24 to 10.244.0.0/16 tcp dport 3306 drop",
				"postrouting oif node1 from 10.244.0.0/16 to 10.244.1.0/24 tcp sport 3306 drop",
				"postrouting oif node1 from 10.244.0.0/16 to 10.244.1.0/24 tcp dport 3306 drop",
			},
		},
		"a pair of nodes": {
			[]netfault.Rule{{Node: "node1", Direction: netfault.Out, Peers: []string{"node2"}, Loss: 100}},
			[]string{"prerouting iif node1 to 10.88.0.12/32 drop", "prerouting iif node1 to 10.244.2.0/24 drop"},
		},
		"everywhere": {
			[]netfault.Rule{{Node: netfault.Everywhere, Loss: 50}},
			[]string{
				"prerouting iif node1 random 5000/10000 drop", "prerouting iif node2 random 5000/10000 drop",
				"output random 5000/10000 drop",
			},
		},
		"the API everywhere": {
			[]netfault.Rule{{Node: netfault.Everywhere, Peers: []string{netfault.API}, Loss: 100}},
			[]string{
				"prerouting iif node1 to 10.88.0.1/32 tcp port != 53 drop", "prerouting iif node2 to 10.88.0.1/32 tcp port != 53 drop",
				"output tcp port != 53 drop",
			},
		},
		"pods everywhere": {
			[]netfault.Rule{{Node: netfault.Everywhere, Peers: []string{netfault.Pods}, Loss: 100}},
			[]string{
				"prerouting iif node1 from 10.244.1.0/24 to 10.244.0.0/16 drop",
				"prerouting iif node2 from 10.244.2.0/24 to 10.244.0.0/16 drop",
			},
		},
		"losses before delays, which are told by addresses": {
			[]netfault.Rule{{Node: "node1", Delay: second}, {Node: "node2", Direction: netfault.Out, Loss: 100, Delay: second}},
			[]string{
				"prerouting iif node2 drop",
				"prerouting from 10.88.0.11/32 queue 7", "prerouting from 10.244.1.0/24 queue 7",
				"postrouting to 10.88.0.11/32 queue 7", "postrouting to 10.244.1.0/24 queue 7",
				"prerouting from 10.88.0.12/32 queue 7", "prerouting from 10.244.2.0/24 queue 7",
			},
		},
		"delays with addresses of their own": {
			[]netfault.Rule{{Node: "node1", Peers: []string{netfault.Pods}, Delay: second}},
			[]string{
				"prerouting from 10.244.1.0/24 to 10.244.0.0/16 queue 7", "postrouting from 10.244.0.0/16 to 10.244.1.0/24 queue 7",
			},
		},
		"delays everywhere": {
			[]netfault.Rule{{Node: netfault.Everywhere, Peers: []string{netfault.ControlPlane}, Delay: second}},
			[]string{
				"prerouting from 10.88.0.11/32 to 10.88.0.1/32 queue 7", "prerouting from 10.244.1.0/24 to 10.88.0.1/32 queue 7",
				"prerouting from 10.88.0.12/32 to 10.88.0.1/32 queue 7", "prerouting from 10.244.2.0/24 to 10.88.0.1/32 queue 7",
				"output queue 7",
			},
		},
	}
	nodes := spec.Spec{Name: "x", Nodes: 2}.NodeList()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range flows(test.rules, nodes, func(netfault.Rule) uint16 { return 7 }) {
				got = append(got, f.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
