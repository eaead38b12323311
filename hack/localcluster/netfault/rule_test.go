package netfault

import (
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestValidate(t *testing.T) {
	cut := func(change func(*Rule)) Rule {
		r := Rule{Node: "node1", Loss: 100}
		change(&r)
		return r
	}
	tests := map[string]struct {
		rule Rule
		want string // A part of the error; empty where the rule is fine.
	}{
		"a cut":                {cut(func(*Rule) {}), ""},
		"everything at once":   {Rule{"node1", Out, []string{API, Pods, "node2"}, []int{3306}, 0.01, time.Second, time.Second}, ""},
		"everywhere":           {cut(func(r *Rule) { r.Node, r.Peers = Everywhere, []string{Pods} }), ""},
		"no such node":         {cut(func(r *Rule) { r.Node = "node3" }), `node "node3"`},
		"the control plane":    {cut(func(r *Rule) { r.Node = "control-plane" }), `node "control-plane"`},
		"no such direction":    {cut(func(r *Rule) { r.Direction = "up" }), `direction "up"`},
		"direction everywhere": {cut(func(r *Rule) { r.Node, r.Direction = Everywhere, In }), "direction in"},
		"no such peer":         {cut(func(r *Rule) { r.Peers = []string{""} }), `peer ""`},
		"itself":               {cut(func(r *Rule) { r.Peers = []string{"node1"} }), "the node itself"},
		"all and another":      {cut(func(r *Rule) { r.Peers = []string{"node2", Anyone} }), "all stands alone"},
		"a node everywhere":    {cut(func(r *Rule) { r.Node, r.Peers = Everywhere, []string{"node2"} }), "name it as the node"},
		"port 0":               {cut(func(r *Rule) { r.Ports = []int{0} }), "port 0"},
		"port 65536":           {cut(func(r *Rule) { r.Ports = []int{1, 65536} }), "port 65536"},
		"no effect":            {cut(func(r *Rule) { r.Loss = 0 }), "neither loses"},
		"more than all":        {cut(func(r *Rule) { r.Loss = 100.1 }), "loss 100.1%"},
		"less than is counted": {cut(func(r *Rule) { r.Loss = 0.001 }), "loss 0.001%"},
		"before it was sent":   {cut(func(r *Rule) { r.Loss, r.Delay = 1, -1 }), "delay -1ns"},
		"after half a minute":  {cut(func(r *Rule) { r.Delay = 31 * time.Second }), "delay 31s"},
		"jitter above delay":   {cut(func(r *Rule) { r.Delay, r.Jitter = 1, 2 }), "jitter 2ns"},
		"jitter alone":         {cut(func(r *Rule) { r.Jitter = 2 }), "jitter 2ns"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.rule.Validate([]string{"node1", "node2"})
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestArgsMakeTheSameRule(t *testing.T) {
	for _, want := range []Rule{
		{Node: "node1"},
		{Node: "node1", Loss: 100},
		{"node1", In, []string{API, "node2"}, []int{3306, 33060}, 0.25, 200 * time.Millisecond, 50 * time.Millisecond},
	} {
		got := Rule{Node: want.Node}
		flags := flag.NewFlagSet("rule", flag.ContinueOnError)
		got.Flags(flags)
		if err := flags.Parse(want.Args()); err != nil || flags.NArg() != 0 {
			t.Fatalf("%v: %v", want.Args(), err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", want.Args(), diff)
		}
	}
}

func TestFlagsRefuseWhatIsNoPort(t *testing.T) {
	var r Rule
	flags := flag.NewFlagSet("rule", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	r.Flags(flags)
	if err := flags.Parse([]string{"--port=3306,"}); err == nil {
		t.Errorf("ports %v", r.Ports)
	}
}

func TestEqual(t *testing.T) {
	a := Rule{Node: "node1", Peers: []string{"node3", "node2"}, Ports: []int{2, 1, 2}, Loss: 5}
	same := Rule{Node: "node1", Direction: Both, Peers: []string{"node2", "node3"}, Ports: []int{1, 2}, Loss: 5}
	if !a.Equal(same) {
		t.Errorf("%s is not %s", a, same)
	}
	if a.Peers[0] != "node3" || a.Ports[0] != 2 {
		t.Errorf("the comparison changed the rule: %+v", a)
	}
	for _, change := range []func(*Rule){
		func(r *Rule) { r.Node = "node4" }, func(r *Rule) { r.Direction = Out }, func(r *Rule) { r.Peers = nil },
		func(r *Rule) { r.Ports = nil }, func(r *Rule) { r.Loss = 5.01 }, func(r *Rule) { r.Delay = 1 },
		func(r *Rule) { r.Jitter = 1 },
	} {
		changed := same
		change(&changed)
		if a.Equal(changed) {
			t.Errorf("%s is %s", a, changed)
		}
	}
}

func TestString(t *testing.T) {
	r := Rule{"node1", In, []string{"node2", API}, []int{3306}, 2.5, 200 * time.Millisecond, 50 * time.Millisecond}
	if got, want := r.String(), "node1 in peers api,node2 port 3306 loss 2.5% delay 200ms jitter 50ms"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
