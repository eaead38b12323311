// Package render writes the configuration of every program in the cluster. It is pure: the same specification gives the
// same text.
package render

import (
	"encoding/base64"
	"fmt"
	"path"
	"strings"
	"text/template"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/box"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/pki"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
)

// Paths inside a box.
const (
	containerdSocket = "/run/containerd/containerd.sock"
	auditLog         = box.Logs + "/audit.log"
)

// Names of services that others speak of.
const (
	// EtcdName is the store's.
	EtcdName = "etcd"
	// APIServerName is the API's.
	APIServerName = "kube-apiserver"
)

func etc(elem ...string) string { return path.Join(append([]string{box.Etc}, elem...)...) }

func cert(name string) string { return etc("pki", name+".crt") }
func key(name string) string  { return etc("pki", name+".key") }

// Etcd is the service of the store. It does not wait for the disk: a local cluster need not outlive a loss of power of
// the machine, and what a killed process has written stays in the kernel.
func Etcd() box.Service {
	return box.Service{Name: EtcdName, Args: []string{
		"etcd", "--name=" + spec.ControlPlane, "--data-dir=/var/lib/etcd", "--unsafe-no-fsync",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=" + spec.ControlPlane + "=http://127.0.0.1:2380", "--listen-metrics-urls=",
		"--auto-compaction-retention=1", "--log-level=warn",
	}}
}

// APIServer is the service of the API.
func APIServer(s spec.Spec) box.Service {
	args := []string{
		"kube-apiserver",
		"--advertise-address=" + spec.ControlPlaneIP,
		"--bind-address=0.0.0.0",
		fmt.Sprintf("--secure-port=%d", spec.APIPort),
		"--etcd-servers=http://127.0.0.1:2379",
		"--client-ca-file=" + cert(pki.CA),
		"--tls-cert-file=" + cert(pki.APIServer),
		"--tls-private-key-file=" + key(pki.APIServer),
		"--service-cluster-ip-range=" + spec.ServiceCIDR,
		"--service-account-issuer=" + spec.Issuer,
		"--service-account-key-file=" + etc("pki", pki.ServiceAccounts+".pub"),
		"--service-account-signing-key-file=" + key(pki.ServiceAccounts),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--kubelet-certificate-authority=" + cert(pki.CA),
		"--kubelet-client-certificate=" + cert(pki.KubeletClient),
		"--kubelet-client-key=" + key(pki.KubeletClient),
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + cert(pki.FrontProxyCA),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + cert(pki.FrontProxyClient),
		"--proxy-client-key-file=" + key(pki.FrontProxyClient),
		// The control plane runs no kube-proxy: webhooks and extension servers are called at their pods' addresses.
		"--enable-aggregator-routing=true",
		"--audit-policy-file=" + etc("audit-policy.yaml"),
		"--audit-log-path=" + auditLog,
		"--audit-log-maxsize=200",
		"--audit-log-maxbackup=5",
		"--profiling=false",
		"--v=1",
	}
	if s.EvictionSeconds >= 0 {
		args = append(args,
			fmt.Sprintf("--default-not-ready-toleration-seconds=%d", s.EvictionSeconds),
			fmt.Sprintf("--default-unreachable-toleration-seconds=%d", s.EvictionSeconds))
	}
	return box.Service{Name: APIServerName, Args: args}
}

// ControllerManager is the service of the controllers.
func ControllerManager(s spec.Spec) box.Service {
	args := []string{
		"kube-controller-manager",
		"--kubeconfig=" + etc("kube-controller-manager.conf"),
		"--authentication-kubeconfig=" + etc("kube-controller-manager.conf"),
		"--authorization-kubeconfig=" + etc("kube-controller-manager.conf"),
		"--bind-address=127.0.0.1",
		"--cluster-name=" + s.Name,
		"--cluster-signing-cert-file=" + cert(pki.CA),
		"--cluster-signing-key-file=" + key(pki.CA),
		"--root-ca-file=" + cert(pki.CA),
		"--service-account-private-key-file=" + key(pki.ServiceAccounts),
		"--use-service-account-credentials=true",
		"--leader-elect=false",
		"--profiling=false",
	}
	if s.NodeMonitorGracePeriod > 0 {
		args = append(args, "--node-monitor-grace-period="+s.NodeMonitorGracePeriod.String())
	}
	return box.Service{Name: "kube-controller-manager", Args: args}
}

// Scheduler is the service of the scheduler.
func Scheduler() box.Service {
	return box.Service{Name: "kube-scheduler", Args: []string{
		"kube-scheduler",
		"--kubeconfig=" + etc("kube-scheduler.conf"),
		"--authentication-kubeconfig=" + etc("kube-scheduler.conf"),
		"--authorization-kubeconfig=" + etc("kube-scheduler.conf"),
		"--bind-address=127.0.0.1",
		"--leader-elect=false",
		"--profiling=false",
	}}
}

// DNS is the service of the cluster's names. It runs beside the API server, not in pods, so that it needs no image and
// no test of a node's loss takes it away.
func DNS() box.Service {
	return box.Service{Name: "coredns", Args: []string{"coredns", "-conf", etc("Corefile")}}
}

// Containerd is the service of a node's containers.
func Containerd() box.Service {
	return box.Service{Name: "containerd", Args: []string{"containerd", "--config", etc("containerd.toml")}}
}

// Kubelet is the service of a node's pods.
func Kubelet(n spec.Node) box.Service {
	return box.Service{Name: "kubelet", Args: []string{
		"kubelet",
		"--config=" + etc("kubelet.yaml"),
		"--kubeconfig=" + etc("kubelet.conf"),
		"--hostname-override=" + n.Name,
		"--node-ip=" + n.IP,
		"--node-labels=topology.kubernetes.io/zone=" + n.Zone + ",topology.kubernetes.io/region=local",
	}}
}

// KubeProxy is the service of a node's Services.
func KubeProxy(n spec.Node) box.Service {
	return box.Service{Name: "kube-proxy", Args: []string{
		"kube-proxy", "--config=" + etc("kube-proxy.yaml"), "--hostname-override=" + n.Name,
	}}
}

// Files are the configuration files of one box, by their path under its configuration folder.
type Files map[string]string

// ControlPlaneFiles returns the files of the control-plane box, but for certificates and kubeconfigs.
func ControlPlaneFiles() Files {
	return Files{
		"audit-policy.yaml": auditPolicy,
		"Corefile": fmt.Sprintf(corefile, spec.ControlPlaneIP, spec.ControlPlaneIP,
			spec.DNSDomain, etc("coredns.conf")),
	}
}

// NodeFiles returns the files of a node's box, but for certificates and kubeconfigs. maxOpenFiles is the machine's limit.
func NodeFiles(n spec.Node, maxOpenFiles uint64) Files {
	return Files{
		"containerd.toml": containerdConfig,
		"kubelet.yaml": fmt.Sprintf(kubeletConfig, n.IP, cert(pki.CA), cert(pki.KubeletServer(n.Name)),
			key(pki.KubeletServer(n.Name)), spec.DNSDomain, spec.DNSServiceIP, containerdSocket, maxOpenFiles),
		"kube-proxy.yaml":     fmt.Sprintf(kubeProxyConfig, spec.PodCIDR, etc("kube-proxy.conf")),
		"cni/10-lan.conflist": fmt.Sprintf(cniConfig, n.PodCIDR),
	}
}

// Hosts returns the content of a box's /etc/hosts.
func Hosts(s spec.Spec) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n" + spec.ControlPlaneIP + "\t" + spec.ControlPlane + "\n")
	for _, n := range s.NodeList() {
		b.WriteString(n.IP + "\t" + n.Name + "\n")
	}
	return b.String()
}

// Kubeconfig returns a kubeconfig that holds its certificates, so that it works wherever it is copied to.
func Kubeconfig(cluster, server, user string, authority, certificate, privateKey []byte) (string, error) {
	var out strings.Builder
	encode := base64.StdEncoding.EncodeToString
	err := template.Must(template.New("kubeconfig").Parse(kubeconfig)).Execute(&out, map[string]string{
		"Cluster": cluster, "Server": server, "User": user,
		"CA": encode(authority), "Certificate": encode(certificate), "Key": encode(privateKey),
	})
	if err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return out.String(), nil
}
