//go:build e2e

package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
	"github.com/kapok-operators/kapok/hack/localcluster/provider"
)

// Addresses and ports of the test.
const (
	apiAddress = "10.88.0.1:6443"
	dnsAddress = "10.88.0.1:53"
	kubelet    = "10250"
	database   = "3306"
	other      = "3307"
	datagrams  = "7777"
	heardFile  = "/tmp/heard"
)

// faultSuite sends real traffic between nodes and pods while faults are in force.
type faultSuite struct {
	*suite

	// pods are the pods' addresses, and spaces their network namespaces in their nodes, by node.
	pods, spaces map[string]string
}

// TestFaults proves of each fault that it does what it says and nothing else, and that it ends.
func TestFaults(t *testing.T) {
	s := &faultSuite{suite: newSuite(t, "faulttest", "--node-monitor-grace-period=12s")}
	before := s.machine(t)
	s.steps(t, []step{
		{"up", s.up},
		{"rules that make no sense are refused", s.refused},
		{"what a node sends is lost, what it receives is not, and the reverse", s.oneWay},
		{"a node is cut off from the API only", s.fromAPI},
		{"only the database port between pods is cut", s.betweenPods},
		{"one pair of nodes is cut", s.pair},
		{"some packets are lost", s.loss},
		{"some packets are lost everywhere, once each", s.lossEverywhere},
		{"packets are late", s.delay},
		{"rules hold while a node is stopped and started", s.restartedNode},
		{"the API server is paused, resumed and restarted", s.apiServer},
		{"etcd is paused, resumed and restarted", s.etcd},
		{"writes to a stalled volume hang and reads do not", s.stalledVolume},
		{"a node with a stalled volume is stopped and started", s.stalledStop},
		{"a killed supervisor's stalled volume is released", s.stalledResume},
		{"a cluster with faults of every kind is taken down", func(t *testing.T) {
			s.all(t)
			begun := time.Now()
			s.must(t, time.Minute, "down", "--name", s.name)
			t.Logf("down took %s", time.Since(begun))
			same(t, before.all(), s.machine(t).all())
		}},
	})
}

func (s *faultSuite) up(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	if _, err := s.cluster.Create(ctx); err != nil {
		t.Fatal(err)
	}
	program := s.loadProbe(t)
	s.kubectl(t, "apply", "-f", "testdata/workload.yaml")
	s.kubectl(t, "rollout", "status", "statefulset/probe", "--timeout=240s")
	for _, box := range []string{"control-plane", "node1", "node2", "node3"} {
		s.install(t, box, program)
	}
	s.findPods(t)
	for node := range s.pods {
		for _, port := range []string{database, other} {
			s.background(t, node, append(s.inPod(node), "/tmp/probe", "listen", port)...)
		}
		s.background(t, node, "/tmp/probe", "hear", datagrams, heardFile)
	}
	eventually(t, 10*time.Second, func() error {
		for node := range s.pods {
			if err := s.dial("control-plane", nil, s.pods[node]+":"+other); err != nil {
				return err
			}
		}
		return nil
	})
}

// install copies the probe into a box.
func (s *faultSuite) install(t *testing.T, box, program string) {
	t.Helper()
	f, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	cmd := exec.Command(s.binary, "node", "--name", s.name, "exec", box, "--", "bash", "-c", "cat >/tmp/probe && chmod +x /tmp/probe")
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("install the probe: %v %s", err, out)
	}
}

// findPods finds the pod of each node and its network namespace.
func (s *faultSuite) findPods(t *testing.T) {
	t.Helper()
	s.pods, s.spaces = map[string]string{}, map[string]string{}
	list := s.kubectl(t, "get", "pods", "-l", "app=probe", "-o", `jsonpath={range .items[*]}{.spec.nodeName} {.status.podIP}{"\n"}{end}`)
	for line := range strings.Lines(list) {
		node, ip, _ := strings.Cut(strings.TrimSpace(line), " ")
		s.pods[node] = ip
		out := s.inside(t, node, "bash", "-c",
			"for n in /run/netns/* /var/run/netns/*; do [ -e $n ] && nsenter --net=$n ip -o -4 address | grep -qF ' "+ip+"/' && echo $n && exit; done; true")
		if s.spaces[node] = out; out == "" {
			t.Fatalf("no network namespace on %s has the pod's address %s", node, ip)
		}
	}
	if len(s.pods) != 3 {
		t.Fatalf("pods %v, want one on each node", s.pods)
	}
}

func (s *faultSuite) inPod(node string) []string {
	return []string{"nsenter", "--net=" + s.spaces[node]}
}

func (s *faultSuite) exec(box string, args ...string) (string, error) {
	return s.run(time.Minute, append([]string{"node", "--name", s.name, "exec", box, "--"}, args...)...)
}

func (s *faultSuite) inside(t *testing.T, box string, args ...string) string {
	t.Helper()
	out, err := s.exec(box, args...)
	if err != nil {
		t.Fatalf("%v in %s: %v %s", args, box, err, out)
	}
	return out
}

// background starts a program in a box that goes on when this returns.
func (s *faultSuite) background(t *testing.T, box string, args ...string) {
	t.Helper()
	s.inside(t, box, "bash", "-c", "setsid "+strings.Join(args, " ")+" </dev/null >/dev/null 2>&1 &")
}

// dial connects from a box, or by way of nsenter from a pod.
func (s *faultSuite) dial(box string, by []string, address string) error {
	out, err := s.exec(box, append(slices.Clone(by), "/tmp/probe", "dial", address)...)
	if err != nil {
		return fmt.Errorf("from %s %v to %s: %w: %s", box, by, address, err, out)
	}
	return nil
}

func (s *faultSuite) open(t *testing.T, box string, by []string, address string) {
	t.Helper()
	if err := s.dial(box, by, address); err != nil {
		t.Error(err)
	}
}

func (s *faultSuite) shut(t *testing.T, box string, by []string, address string) {
	t.Helper()
	if s.dial(box, by, address) == nil {
		t.Errorf("from %s %v to %s: open", box, by, address)
	}
}

func (s *faultSuite) do(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begun := time.Now()
	if err := f(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("done after %d ms", time.Since(begun).Milliseconds())
}

func (s *faultSuite) disturb(t *testing.T, rule netfault.Rule) {
	t.Helper()
	for range 2 { // The second time it is in force already.
		s.do(t, func(ctx context.Context) error { return s.cluster.Disturb(ctx, rule) })
	}
	if out := s.must(t, time.Minute, "status", "--name", s.name); strings.Count(out, rule.String()) != 1 {
		t.Errorf("status does not show %q once:\n%s", rule, out)
	}
}

func (s *faultSuite) heal(t *testing.T, node string) {
	t.Helper()
	s.do(t, func(ctx context.Context) error { return s.cluster.Heal(ctx, node) })
	if out := s.must(t, time.Minute, "status", "--name", s.name); strings.Contains(out, "FAULT") {
		t.Errorf("status shows a fault after all are healed:\n%s", out)
	}
}

func (s *faultSuite) refused(t *testing.T) {
	for want, args := range map[string][]string{
		`node "node9"`:           {"isolate", "node9"},
		`peer "node9"`:           {"isolate", "node1", "--peers=node9"},
		"neither loses packets":  {"disturb", "node1"},
		`"x" is no port`:         {"isolate", "node1", "--port=x"},
		"cannot cut the control": {"cut", "control-plane"},
	} {
		out, err := s.run(time.Minute, append([]string{"node", "--name", s.name}, args...)...)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("node %v: %v %s", args, err, out)
		}
	}
}

// heard sends datagrams from one node to another and returns how many came.
func (s *faultSuite) heard(t *testing.T, from, to, count string) int {
	t.Helper()
	ip := map[string]string{"node1": "10.88.0.11", "node2": "10.88.0.12", "node3": "10.88.0.13"}[to]
	text := "x" + strconv.FormatInt(time.Now().UnixNano(), 10)
	s.inside(t, from, "/tmp/probe", "say", ip+":"+datagrams, text, count)
	time.Sleep(300 * time.Millisecond)
	n, err := strconv.Atoi(s.inside(t, to, "bash", "-c", "grep -c "+text+" "+heardFile+" || true"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *faultSuite) wantHeard(t *testing.T, from, to string, want int) {
	t.Helper()
	if n := s.heard(t, from, to, "10"); n != want {
		t.Errorf("%s heard %d of 10 datagrams from %s, want %d", to, n, from, want)
	}
}

func (s *faultSuite) oneWay(t *testing.T) {
	for direction, want := range map[netfault.Direction][2]int{netfault.Out: {0, 10}, netfault.In: {10, 0}, netfault.Both: {0, 0}} {
		s.disturb(t, netfault.Rule{Node: "node1", Direction: direction, Loss: 100})
		s.wantHeard(t, "node1", "node2", want[0])
		s.wantHeard(t, "node2", "node1", want[1])
		s.wantHeard(t, "node3", "node2", 10)
		s.heal(t, "node1")
	}
	s.wantHeard(t, "node1", "node2", 10)
	s.wantHeard(t, "node2", "node1", 10)
}

func (s *faultSuite) fromAPI(t *testing.T) {
	s.disturb(t, netfault.Rule{Node: "node1", Peers: []string{netfault.API}, Loss: 100})
	s.shut(t, "node1", nil, apiAddress)
	s.shut(t, "node1", s.inPod("node1"), apiAddress)
	s.shut(t, "control-plane", nil, "10.88.0.11:"+kubelet)
	s.open(t, "node1", nil, dnsAddress)
	s.open(t, "node2", nil, apiAddress)
	s.open(t, "node1", s.inPod("node1"), s.pods["node2"]+":"+database)
	s.open(t, "node2", s.inPod("node2"), s.pods["node1"]+":"+database)
	s.waitReady(t, "node1", "Unknown")
	s.heal(t, "node1")
	s.open(t, "node1", nil, apiAddress)
	s.open(t, "control-plane", nil, "10.88.0.11:"+kubelet)
	s.waitReady(t, "node1", "True")
}

func (s *faultSuite) betweenPods(t *testing.T) {
	s.disturb(t, netfault.Rule{Node: "node1", Peers: []string{netfault.Pods}, Ports: []int{3306}, Loss: 100})
	s.shut(t, "node1", s.inPod("node1"), s.pods["node2"]+":"+database)
	s.shut(t, "node3", s.inPod("node3"), s.pods["node1"]+":"+database)
	s.open(t, "node1", s.inPod("node1"), s.pods["node2"]+":"+other)
	s.open(t, "node3", s.inPod("node3"), s.pods["node1"]+":"+other)
	s.open(t, "node2", s.inPod("node2"), s.pods["node3"]+":"+database)
	s.open(t, "node1", s.inPod("node1"), s.pods["node1"]+":"+database)
	s.open(t, "control-plane", nil, s.pods["node1"]+":"+database)
	s.heal(t, "node1")
	s.open(t, "node1", s.inPod("node1"), s.pods["node2"]+":"+database)
	s.open(t, "node3", s.inPod("node3"), s.pods["node1"]+":"+database)
}

func (s *faultSuite) pair(t *testing.T) {
	s.disturb(t, netfault.Rule{Node: "node1", Peers: []string{"node2"}, Loss: 100})
	s.shut(t, "node1", s.inPod("node1"), s.pods["node2"]+":"+other)
	s.shut(t, "node2", s.inPod("node2"), s.pods["node1"]+":"+other)
	s.wantHeard(t, "node1", "node2", 0)
	s.wantHeard(t, "node2", "node1", 0)
	s.open(t, "node1", s.inPod("node1"), s.pods["node3"]+":"+other)
	s.open(t, "node3", s.inPod("node3"), s.pods["node2"]+":"+other)
	s.open(t, "node1", nil, apiAddress)
	s.heal(t, "node1")
	s.open(t, "node1", s.inPod("node1"), s.pods["node2"]+":"+other)
	s.wantHeard(t, "node2", "node1", 10)
}

// wantLost sends two thousand datagrams. The bounds are six standard deviations away.
func (s *faultSuite) wantLost(t *testing.T, from, to string, atLeast, atMost int) {
	t.Helper()
	if lost := 2000 - s.heard(t, from, to, "2000"); lost < atLeast || lost > atMost {
		t.Errorf("%d of 2000 datagrams from %s to %s lost, want %d to %d", lost, from, to, atLeast, atMost)
	}
}

func (s *faultSuite) loss(t *testing.T) {
	s.disturb(t, netfault.Rule{Node: "node1", Direction: netfault.Out, Loss: 5})
	s.wantLost(t, "node1", "node2", 41, 159)
	s.wantLost(t, "node2", "node1", 0, 0)
	s.heal(t, "node1")
	s.wantLost(t, "node1", "node2", 0, 0)
}

func (s *faultSuite) lossEverywhere(t *testing.T) {
	rule := netfault.Rule{Node: netfault.Everywhere, Loss: 30}
	s.disturb(t, rule)
	// Were a packet met twice, 1020 would be lost.
	s.wantLost(t, "node2", "node3", 477, 723)
	s.do(t, s.cluster.HealAll)
	s.wantLost(t, "node2", "node3", 0, 0)
}

// roundTrips returns the shortest and the longest of some connects, in milliseconds.
func (s *faultSuite) roundTrips(t *testing.T, from, address string) (shortest, longest int) {
	t.Helper()
	var all []int
	for field := range strings.FieldsSeq(s.inside(t, from, "/tmp/probe", "rtt", address, "12")) {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	t.Logf("from %s to %s: %v ms", from, address, all)
	return slices.Min(all), slices.Max(all)
}

func (s *faultSuite) wantRoundTrips(t *testing.T, from, address string, atLeast, atMost int) {
	t.Helper()
	if shortest, longest := s.roundTrips(t, from, address); shortest < atLeast || longest > atMost {
		t.Errorf("round trips from %s to %s took %d to %d ms, want %d to %d", from, address, shortest, longest, atLeast, atMost)
	}
}

// late is how late the machine itself may be, with other work on it.
const late = 100

func (s *faultSuite) delay(t *testing.T) {
	toNode1, toNode2 := "10.88.0.11:"+kubelet, "10.88.0.12:"+kubelet
	s.disturb(t, netfault.Rule{Node: "node1", Delay: 200 * time.Millisecond, Jitter: 50 * time.Millisecond})
	s.wantRoundTrips(t, "node2", toNode1, 300, 500+late)
	s.wantRoundTrips(t, "node1", toNode2, 300, 500+late)
	s.wantRoundTrips(t, "node1", apiAddress, 300, 500+late)
	s.wantRoundTrips(t, "control-plane", s.pods["node1"]+":"+other, 300, 500+late)
	s.wantRoundTrips(t, "node3", toNode2, 0, late)
	s.heal(t, "node1")
	s.wantRoundTrips(t, "node2", toNode1, 0, late)

	s.disturb(t, netfault.Rule{Node: "node1", Direction: netfault.In, Peers: []string{"node2"}, Delay: 250 * time.Millisecond})
	s.wantRoundTrips(t, "node1", toNode2, 250, 250+late)
	s.wantRoundTrips(t, "node3", toNode1, 0, late)
	s.heal(t, "node1")

	s.disturb(t, netfault.Rule{Node: netfault.Everywhere, Delay: 150 * time.Millisecond})
	s.wantRoundTrips(t, "node3", toNode2, 300, 300+late)
	s.wantRoundTrips(t, "control-plane", toNode2, 300, 300+late)
	s.do(t, s.cluster.HealAll)
	s.wantRoundTrips(t, "node3", toNode2, 0, late)
}

func (s *faultSuite) restartedNode(t *testing.T) {
	s.disturb(t, netfault.Rule{Node: "node1", Peers: []string{"node2"}, Loss: 100})
	if err := s.cluster.Stop(t.Context(), "node1"); err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.Start(t.Context(), "node1"); err != nil {
		t.Fatal(err)
	}
	s.shut(t, "node2", nil, "10.88.0.11:"+kubelet)
	s.open(t, "node3", nil, "10.88.0.11:"+kubelet)
	s.heal(t, "node1")
	s.open(t, "node2", nil, "10.88.0.11:"+kubelet)
}

func (s *faultSuite) apiServer(t *testing.T) { s.program(t, provider.APIServer) }

func (s *faultSuite) etcd(t *testing.T) { s.program(t, provider.Etcd) }

func (s *faultSuite) program(t *testing.T, program string) {
	served := func() error {
		// A list that is answered from the store, not from what the API server remembers.
		out, err := s.tryKubectl("get", "nodes", "--request-timeout=2s")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	s.do(t, func(ctx context.Context) error { return s.cluster.Pause(ctx, program) })
	if served() == nil {
		t.Errorf("the API answers while %s is paused", program)
	}
	if out := s.must(t, 2*time.Second, "status", "--name", s.name); !strings.Contains(out, "control-plane "+program) {
		t.Errorf("status does not show that %s is paused:\n%s", program, out)
	}
	s.do(t, func(ctx context.Context) error { return s.cluster.Resume(ctx, program) })
	eventually(t, 30*time.Second, served)
	before := s.inside(t, "control-plane", "pgrep", "-x", program)
	s.do(t, func(ctx context.Context) error { return s.cluster.Restart(ctx, program) })
	if program == provider.APIServer && served() == nil {
		t.Errorf("the API answers just after the API server was killed")
	}
	eventually(t, time.Minute, served)
	if after := s.inside(t, "control-plane", "pgrep", "-x", program); after == before {
		t.Errorf("%s is still process %s", program, after)
	}
}

// all puts a fault of every kind in force.
func (s *faultSuite) all(t *testing.T) {
	s.stall(t, "probe-0")
	s.hangingWrite(t, "probe-0")
	s.disturb(t, netfault.Rule{Node: netfault.Everywhere, Loss: 5, Delay: 200 * time.Millisecond})
	s.disturb(t, netfault.Rule{Node: "node1", Loss: 100})
	s.do(t, func(ctx context.Context) error { return s.cluster.Cut(ctx, "node2") })
	s.do(t, func(ctx context.Context) error { return s.cluster.Pause(ctx, provider.Etcd) })
	s.do(t, func(ctx context.Context) error { return s.cluster.Pause(ctx, provider.APIServer) })
	s.do(t, func(ctx context.Context) error { return s.cluster.Freeze(ctx, "node3") })
}
