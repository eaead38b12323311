package render

import (
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/pki"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
)

func TestOptionsReachTheirPrograms(t *testing.T) {
	s := spec.Default()
	joined := func() string {
		return strings.Join(ControllerManager(s).Args, " ") + " " + strings.Join(APIServer(s).Args, " ")
	}
	for _, flag := range []string{"--node-monitor-grace-period", "--default-not-ready-toleration-seconds"} {
		if strings.Contains(joined(), flag) {
			t.Errorf("%s is set where nothing was asked", flag)
		}
	}
	s.NodeMonitorGracePeriod, s.EvictionSeconds = 12*time.Second, 0
	for _, flag := range []string{
		"--node-monitor-grace-period=12s", "--default-not-ready-toleration-seconds=0", "--default-unreachable-toleration-seconds=0",
	} {
		if !strings.Contains(joined(), flag) {
			t.Errorf("%s is not set", flag)
		}
	}
}

func TestNodeFilesAreWellFormedAndDifferByNode(t *testing.T) {
	nodes := spec.Default().NodeList()
	first, second := NodeFiles(nodes[0], 20000), NodeFiles(nodes[1], 20000)
	for name, content := range first {
		if strings.Contains(content, "%!") {
			t.Errorf("%s is not filled in: %s", name, content)
		}
		if strings.HasSuffix(name, ".toml") {
			continue
		}
		var parsed map[string]any
		if err := yaml.UnmarshalStrict([]byte(content), &parsed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"kubelet.yaml", "cni/10-lan.conflist"} {
		if first[name] == second[name] {
			t.Errorf("%s is the same on two nodes", name)
		}
	}
	var kubelet map[string]any
	if err := yaml.Unmarshal([]byte(first["kubelet.yaml"]), &kubelet); err != nil {
		t.Fatal(err)
	}
	if kubelet["maxOpenFiles"] != float64(20000) || kubelet["failCgroupV1"] != false {
		t.Errorf("kubelet configuration: %v", kubelet)
	}
}

func TestControlPlaneFilesAreFilledIn(t *testing.T) {
	for name, content := range ControlPlaneFiles() {
		if strings.Contains(content, "%!") {
			t.Errorf("%s: %s", name, content)
		}
	}
}

func TestHostsNamesEveryBox(t *testing.T) {
	s := spec.Default()
	hosts := Hosts(s)
	for _, name := range s.Boxes() {
		if !strings.Contains(hosts, "\t"+name+"\n") {
			t.Errorf("no %s in %q", name, hosts)
		}
	}
}

func TestKubeconfigLoads(t *testing.T) {
	text, err := Kubeconfig("c", "https://127.0.0.1:1", "u", []byte("ca"), []byte("cert"), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := config.AuthInfos["u"]; got == nil || string(got.ClientKeyData) != "key" || config.CurrentContext != "c" {
		t.Errorf("kubeconfig %+v", config)
	}
}

func TestEveryCertificateNamedHereIsMade(t *testing.T) {
	s := spec.Default()
	made := map[string]bool{pki.CA: true, pki.FrontProxyCA: true, pki.ServiceAccounts: true}
	for _, l := range pki.Leaves(s) {
		made[l.Name] = true
	}
	text := strings.Join(APIServer(s).Args, "\n") + strings.Join(ControllerManager(s).Args, "\n")
	for _, n := range s.NodeList() {
		text += NodeFiles(n, 1)["kubelet.yaml"]
	}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '=' || r == ' ' || r == '}' }) {
		name, ok := strings.CutPrefix(word, "/etc/localcluster/pki/")
		if !ok {
			continue
		}
		name = name[:strings.LastIndex(name, ".")]
		if !made[name] {
			t.Errorf("%s is used and not made", name)
		}
	}
}
