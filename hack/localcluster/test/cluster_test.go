//go:build e2e

package test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/image"
	"github.com/kapok-operators/kapok/hack/localcluster/provider"
)

const (
	clusterName = "selftest"
	probeImage  = "localcluster.kapok/probe:1"
)

// suite is what the steps of the test share.
type suite struct {
	name    string
	binary  string
	cluster *provider.Local
}

// newSuite builds the program and makes sure that everything a cluster needs is there, but no cluster of that name.
func newSuite(t *testing.T, name string, options ...string) *suite {
	t.Helper()
	s := &suite{name: name, binary: buildBinary(t)}
	t.Setenv("KAPOK_LOCALCLUSTER", s.binary)
	s.cluster = provider.NewLocal(name)
	s.cluster.WithOpts(provider.WithOptions(options...))
	s.must(t, 2*time.Minute, "down", "--name", name)
	s.must(t, 45*time.Minute, "assets")
	t.Cleanup(func() {
		if t.Failed() {
			s.keepLogs(t)
		}
		if out, err := s.run(2*time.Minute, "down", "--name", name); err != nil {
			t.Errorf("down at the end: %v\n%s", err, out)
		}
	})
	return s
}

// TestCluster brings one cluster up and takes it through everything that later tests rely on. The steps build on each
// other, so the first that fails ends the test.
func TestCluster(t *testing.T) {
	s := newSuite(t, clusterName, "--node-monitor-grace-period=12s")
	before := s.machine(t)
	s.steps(t, []step{
		{"killed up is finished by the next, and a second up at the same time is locked out", s.killedUp},
		{"up of a healthy cluster does nothing", s.upTwice},
		{"images are loaded and pods run on every node", s.workload},
		{"names, Services, logs, exec and port-forward work", s.reach},
		{"webhooks are called", s.webhook},
		{"pods cannot leave the cluster's network", s.noWayOut},
		{"a limited volume fills up", s.fullDisk},
		{"a cut node is not Ready until it is healed", s.cut},
		{"a frozen node is not Ready until it is thawed", s.freeze},
		{"a stopped node comes back with its data", s.stopStart},
		{"a cluster whose supervisor was killed is resumed with its data", s.killedSupervisor},
		{"the machine's network stays as it was", func(t *testing.T) { same(t, before.network, s.machine(t).network) }},
		{"down leaves nothing", func(t *testing.T) {
			s.must(t, 2*time.Minute, "down", "--name", clusterName)
			same(t, before.all(), s.machine(t).all())
		}},
	})
}

// step is a part of a test.
type step struct {
	name string
	run  func(*testing.T)
}

// steps runs one after the other, until the first that fails.
func (s *suite) steps(t *testing.T, all []step) {
	for _, one := range all {
		if !t.Run(one.name, one.run) {
			t.FailNow()
		}
	}
}

func (s *suite) killedUp(t *testing.T) {
	up := exec.Command(s.binary, "up", "--name", s.name, "--node-monitor-grace-period=12s")
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	// The second is tried until the first holds the lock.
	eventually(t, 20*time.Second, func() error {
		out, err := s.run(time.Minute, "status", "--name", s.name)
		if !strings.Contains(out, "starting") {
			return fmt.Errorf("not starting yet: %s %s", fmt.Sprint(err), out)
		}
		return nil
	})
	out, err := s.run(time.Minute, "up", "--name", s.name, "--node-monitor-grace-period=12s")
	if err == nil || !strings.Contains(out, "another command is bringing cluster "+s.name+" up or down") {
		t.Fatalf("a second up at the same time: %v\n%s", err, out)
	}
	if err := up.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = up.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	if _, err := s.cluster.Create(ctx); err != nil {
		t.Fatal(err)
	}
}

func (s *suite) upTwice(t *testing.T) {
	before := s.supervisor(t)
	s.must(t, time.Minute, "up", "--name", s.name, "--node-monitor-grace-period=12s")
	if after := s.supervisor(t); after != before {
		t.Fatalf("supervisor %s became %s", before, after)
	}
	out, err := s.run(time.Minute, "up", "--name", s.name, "--nodes=2")
	if err == nil || !strings.Contains(out, "exists with other options") {
		t.Fatalf("up with other options: %v\n%s", err, out)
	}
}

// loadProbe builds the probe, loads its image, and returns the path of the program.
func (s *suite) loadProbe(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program, archive := filepath.Join(dir, "probe"), filepath.Join(dir, "probe.tar")
	goBuild(t, program, "./probe")
	if err := image.Write(program, probeImage, archive); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := s.cluster.LoadImageArchive(ctx, archive); err != nil {
		t.Fatal(err)
	}
	return program
}

func (s *suite) workload(t *testing.T) {
	s.loadProbe(t)
	apply := exec.Command(s.binary, "kubectl", "--name", s.name, "apply", "-f", "testdata/workload.yaml")
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	s.kubectl(t, "rollout", "status", "statefulset/probe", "--timeout=240s")
	zones := s.kubectl(t, "get", "nodes", "-o", "jsonpath={.items[*].metadata.labels.topology\\.kubernetes\\.io/zone}")
	if zones != "z1 z2 z3" {
		t.Errorf("zones %q", zones)
	}
	nodes := strings.Fields(s.kubectl(t, "get", "pods", "-l", "app=probe", "-o", "jsonpath={.items[*].spec.nodeName}"))
	if len(nodes) != 3 || nodes[0] == nodes[1] || nodes[1] == nodes[2] || nodes[0] == nodes[2] {
		t.Errorf("pods on nodes %v, want three different ones", nodes)
	}
}

func (s *suite) reach(t *testing.T) {
	if logs := s.kubectl(t, "logs", "probe-1"); !strings.Contains(logs, "probe is serving") {
		t.Errorf("logs: %q", logs)
	}
	for _, host := range []string{"probe-0.probe", "probe-1.probe.default.svc.cluster.local", "web"} {
		for _, from := range []string{"probe-0", "probe-2"} {
			eventually(t, 30*time.Second, func() error {
				out, err := s.tryKubectl("exec", from, "--", "/probe", "get", "http://"+host+":8080/")
				if err != nil || !strings.Contains(out, "hello from probe-") {
					return fmt.Errorf("get %s from %s: %s %q", host, from, fmt.Sprint(err), out)
				}
				return nil
			})
		}
	}
	forward := exec.Command(s.binary, "kubectl", "--name", s.name, "port-forward", "pod/probe-2", "18099:8080")
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = forward.Process.Kill()
		_ = forward.Wait()
	}()
	eventually(t, 30*time.Second, func() error {
		out, err := httpGet("http://127.0.0.1:18099/")
		if err != nil || out != "hello from probe-2" {
			return fmt.Errorf("through port-forward: %s %q", fmt.Sprint(err), out)
		}
		return nil
	})
	if keys := s.kubectl(t, "get", "--raw", "/openid/v1/jwks"); !strings.Contains(keys, "RS256") {
		t.Errorf("service account keys: %s", keys)
	}
	issuer := s.kubectl(t, "get", "--raw", "/.well-known/openid-configuration")
	if !strings.Contains(issuer, `"issuer":"https://kubernetes.default.svc.cluster.local"`) {
		t.Errorf("issuer: %s", issuer)
	}
}

func (s *suite) webhook(t *testing.T) {
	ca := s.kubectl(t, "exec", "probe-0", "--", "/probe", "get", "http://127.0.0.1:8080/ca")
	template, err := os.ReadFile("testdata/webhook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifest := strings.ReplaceAll(string(template), "CABUNDLE", base64Of(ca))
	apply := exec.Command(s.binary, "kubectl", "--name", s.name, "apply", "-f", "-")
	apply.Stdin = strings.NewReader(manifest)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	eventually(t, 30*time.Second, func() error {
		out, err := s.tryKubectl("create", "configmap", "denied", "-n", "denied")
		if err == nil || !strings.Contains(out, "the probe says no") {
			return fmt.Errorf("create: %s %q", fmt.Sprint(err), out)
		}
		return nil
	})
	s.kubectl(t, "delete", "validatingwebhookconfiguration", "probe")
}

func (s *suite) noWayOut(t *testing.T) {
	// 192.0.2.1 is an address for documentation: nothing is there, and a box must not even have a route to it.
	for _, b := range []string{"control-plane", "node1"} {
		out, err := s.run(time.Minute, "node", "--name", s.name, "exec", b, "--", "ip", "route", "get", "192.0.2.1")
		if err == nil || !strings.Contains(strings.ToLower(out), "unreachable") {
			t.Errorf("route out of %s: %v %q", b, err, out)
		}
	}
}

func (s *suite) fullDisk(t *testing.T) {
	out := s.kubectl(t, "exec", "probe-0", "--", "/probe", "fill", "/limited/file")
	if !strings.Contains(out, "no space left on device") {
		t.Fatalf("fill: %s", out)
	}
	var fitted int
	if _, err := fmt.Sscanf(out, "%d bytes", &fitted); err != nil || fitted < 40<<20 || fitted > 64<<20 {
		t.Errorf("%d bytes fitted on a volume of 64 MiB (%v)", fitted, err)
	}
}

func (s *suite) cut(t *testing.T) {
	s.disturb(t, s.cluster.Cut, s.cluster.Heal, "cut")
}

func (s *suite) freeze(t *testing.T) {
	s.disturb(t, s.cluster.Freeze, s.cluster.Thaw, "frozen")
}

func (s *suite) disturb(t *testing.T, do, undo func(context.Context, string) error, state string) {
	if err := do(t.Context(), "node3"); err != nil {
		t.Fatal(err)
	}
	nodes, err := s.cluster.ListNode(t.Context())
	if err != nil || len(nodes) != 3 || nodes[2].State != state {
		t.Errorf("nodes %+v (%v), want node3 %s", nodes, err, state)
	}
	s.waitReady(t, "node3", "Unknown")
	if err := undo(t.Context(), "node3"); err != nil {
		t.Fatal(err)
	}
	s.waitReady(t, "node3", "True")
}

func (s *suite) stopStart(t *testing.T) {
	s.kubectl(t, "exec", "probe-0", "--", "/probe", "write", "/data/kept", "before")
	node := s.kubectl(t, "get", "pod", "probe-0", "-o", "jsonpath={.spec.nodeName}")
	if err := s.cluster.Stop(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	s.waitReady(t, node, "Unknown")
	if err := s.cluster.Start(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	s.waitReady(t, node, "True")
	s.dataKept(t, "before")
	// The limited volume is mounted again, still as full as it was.
	out := s.kubectl(t, "exec", "probe-0", "--", "/probe", "fill", "/limited/file2")
	if !strings.Contains(out, "no space left on device") {
		t.Errorf("fill after the start: %s", out)
	}
}

func (s *suite) dataKept(t *testing.T, want string) {
	eventually(t, 3*time.Minute, func() error {
		out, err := s.tryKubectl("exec", "probe-0", "--", "/probe", "read", "/data/kept")
		if err != nil || out != want {
			return fmt.Errorf("read: %s %q", fmt.Sprint(err), out)
		}
		return nil
	})
}

func (s *suite) killedSupervisor(t *testing.T) {
	s.kubectl(t, "exec", "probe-0", "--", "/probe", "write", "/data/kept", "after")
	pid := s.supervisor(t)
	if out, err := exec.Command("kill", "-9", pid).CombinedOutput(); err != nil {
		t.Fatalf("kill: %v %s", err, out)
	}
	eventually(t, 20*time.Second, func() error {
		if left := s.boxProcesses(t); len(left) > 0 {
			return fmt.Errorf("boxes outlive their supervisor: %v", left)
		}
		return nil
	})
	if _, err := s.cluster.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.dataKept(t, "after")
}

func (s *suite) waitReady(t *testing.T, node, want string) {
	t.Helper()
	eventually(t, 2*time.Minute, func() error {
		got, err := s.tryKubectl("get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err != nil || got != want {
			return fmt.Errorf("%s Ready is %q, want %q (%s)", node, got, want, fmt.Sprint(err))
		}
		return nil
	})
}

func (s *suite) supervisor(t *testing.T) string {
	t.Helper()
	out := s.must(t, time.Minute, "status", "--name", s.name, "--output", "json")
	_, after, ok := strings.Cut(out, `"supervisor": `)
	if !ok {
		t.Fatalf("no supervisor in %s", out)
	}
	return strings.TrimRight(strings.Fields(after)[0], ",")
}

func (s *suite) keepLogs(t *testing.T) {
	dir := filepath.Join("..", "..", "..", ".out", "localcluster-"+s.name)
	if err := s.cluster.ExportLogs(context.WithoutCancel(t.Context()), dir); err != nil {
		t.Log(err)
	}
}

func (s *suite) run(timeout time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

func (s *suite) must(t *testing.T, timeout time.Duration, args ...string) string {
	t.Helper()
	out, err := s.run(timeout, args...)
	if err != nil {
		t.Fatalf("localcluster %v: %v\n%s", args, err, out)
	}
	return out
}

func (s *suite) tryKubectl(args ...string) (string, error) {
	return s.run(5*time.Minute, append([]string{"kubectl", "--name", s.name}, args...)...)
}

func (s *suite) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.tryKubectl(args...)
	if err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return out
}
