package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/box"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/cgroup"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/lan"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/pki"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/provision"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/render"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/store"
)

// Times after which a step has failed.
const (
	apiTimeout  = 4 * time.Minute
	nodeTimeout = 5 * time.Minute
)

// bringUp starts everything, in order, and returns when every node is Ready.
func (s *Supervisor) bringUp(ctx context.Context) error {
	s.operations.Lock()
	defer s.operations.Unlock()
	// What a killed supervisor left.
	if err := cgroup.Remove(s.record.Cgroups, 20*time.Second); err != nil {
		return err
	}
	s.record.Namespaces = nil
	if err := s.listenAPI(); err != nil {
		return err
	}
	if err := s.writeFiles(); err != nil {
		return err
	}
	if err := s.startControlPlane(ctx); err != nil {
		return err
	}
	nodes := s.record.Spec.NodeList()
	ready := make(chan error, len(nodes))
	apiReady := make(chan struct{})
	for _, n := range nodes {
		go func() { ready <- s.startNode(ctx, n, apiReady) }()
	}
	err := s.finishControlPlane(ctx, apiReady)
	for range nodes {
		if err == nil {
			err = <-ready
		}
	}
	if err != nil {
		return err
	}
	return s.startProvisioner(ctx)
}

// step runs f and tells how long it took.
func (s *Supervisor) step(name string, f func() error) error {
	begun := time.Now()
	if err := f(); err != nil {
		return err
	}
	s.events.line(fmt.Sprintf("%s (%.1fs)", name, time.Since(begun).Seconds()))
	return nil
}

// writeFiles makes the certificates and every box's configuration.
func (s *Supervisor) writeFiles() error {
	dir := s.dir.Path("pki")
	if err := pki.Ensure(dir, s.record.Spec); err != nil {
		return err
	}
	files := render.ControlPlaneFiles()
	for _, name := range []string{"kube-controller-manager", "kube-scheduler", "coredns"} {
		if err := s.addKubeconfig(files, name+".conf", name, "https://127.0.0.1:6443"); err != nil {
			return err
		}
	}
	if err := s.writeBoxFiles(spec.ControlPlane, files, []string{
		pki.CA, pki.FrontProxyCA, pki.APIServer, pki.KubeletClient, pki.FrontProxyClient, pki.ServiceAccounts,
	}); err != nil {
		return err
	}
	inner := fmt.Sprintf("https://%s:%d", spec.ControlPlaneIP, spec.APIPort)
	for _, n := range s.record.Spec.NodeList() {
		files := render.NodeFiles(n, s.launch.MaxOpenFiles)
		if err := errors.Join(s.addKubeconfig(files, "kubelet.conf", pki.Kubelet(n.Name), inner),
			s.addKubeconfig(files, "kube-proxy.conf", "kube-proxy", inner)); err != nil {
			return err
		}
		if err := s.writeBoxFiles(n.Name, files, []string{pki.KubeletServer(n.Name)}); err != nil {
			return err
		}
	}
	admin := render.Files{}
	if err := s.addKubeconfig(admin, "kubeconfig", pki.Admin, s.apiURL()); err != nil {
		return err
	}
	return store.WriteFile(s.dir.Kubeconfig(), []byte(admin["kubeconfig"]), 0o600)
}

func (s *Supervisor) addKubeconfig(files render.Files, file, user, server string) error {
	dir := s.dir.Path("pki")
	certPath, keyPath := pki.Paths(dir, user)
	caPath, _ := pki.Paths(dir, pki.CA)
	var content [3][]byte
	for i, path := range []string{caPath, certPath, keyPath} {
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("write kubeconfig of %s: %w", user, err)
		}
		content[i] = data
	}
	text, err := render.Kubeconfig(s.record.Spec.Name, server, user, content[0], content[1], content[2])
	if err != nil {
		return err
	}
	files[file] = text
	return nil
}

// writeBoxFiles writes a box's configuration and gives it those certificates and keys, and no others.
func (s *Supervisor) writeBoxFiles(name string, files render.Files, keys []string) error {
	etc := s.dir.Box(name, "etc")
	for path, content := range files {
		if err := store.WriteFile(filepath.Join(etc, path), []byte(content), 0o600); err != nil {
			return err
		}
	}
	ca, _ := pki.Paths(s.dir.Path("pki"), pki.CA)
	copies := []string{ca}
	for _, k := range keys {
		cert, key := pki.Paths(s.dir.Path("pki"), k)
		copies = append(copies, cert, key, filepath.Join(filepath.Dir(key), k+".pub"))
	}
	for _, from := range copies {
		data, err := os.ReadFile(from)
		if errors.Is(err, os.ErrNotExist) {
			continue // A signing key pair has no certificate, a certificate no separate public key.
		}
		if err != nil {
			return fmt.Errorf("copy certificate: %w", err)
		}
		if err := store.WriteFile(filepath.Join(etc, "pki", filepath.Base(from)), data, 0o600); err != nil {
			return err
		}
	}
	for _, sub := range []string{"var", "etc"} {
		if err := os.MkdirAll(s.dir.Box(name, sub), 0o755); err != nil {
			return fmt.Errorf("make folder of box: %w", err)
		}
	}
	return nil
}

func (s *Supervisor) startControlPlane(ctx context.Context) error {
	return s.step("control-plane box and LAN made", func() error {
		m, err := s.startBox(ctx, spec.ControlPlane)
		if err != nil {
			return err
		}
		if s.lan, err = lan.New(m.box.Namespace("net"), s.record.Spec.NodeList()); err != nil {
			return err
		}
		// It goes on for as long as the cluster does, not only while that is brought up.
		go s.proxyAPI(context.WithoutCancel(ctx))
		for _, svc := range []box.Service{render.Etcd(), render.APIServer(s.record.Spec)} {
			if err := m.box.StartService(ctx, svc); err != nil {
				return err
			}
		}
		return nil
	})
}

// finishControlPlane waits for the API and starts what needs it.
func (s *Supervisor) finishControlPlane(ctx context.Context, apiReady chan<- struct{}) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.dir.Kubeconfig())
	if err != nil {
		return fmt.Errorf("read own kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	config.Timeout = 10 * time.Second
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("make API client: %w", err)
	}
	if err := s.step("etcd and API server ready", func() error { return s.waitAPI(ctx) }); err != nil {
		return err
	}
	close(apiReady)
	cp := s.member(spec.ControlPlane)
	if cp == nil {
		return errors.New("the control-plane box ended")
	}
	return s.step("controllers, scheduler and DNS ready", func() error {
		for _, svc := range []box.Service{render.ControllerManager(s.record.Spec), render.Scheduler()} {
			if err := cp.box.StartService(ctx, svc); err != nil {
				return err
			}
		}
		if err := applyObjects(ctx, s.client); err != nil {
			return err
		}
		if err := cp.box.StartService(ctx, render.DNS()); err != nil {
			return err
		}
		return s.waitDNS(ctx)
	})
}

func (s *Supervisor) waitAPI(ctx context.Context) error {
	err := poll(ctx, apiTimeout, func(ctx context.Context) error {
		return s.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	if err != nil {
		return fmt.Errorf("the API server is not ready after %s (its log: %s): %w", apiTimeout,
			s.dir.Box(spec.ControlPlane, "var/log/localcluster/kube-apiserver.log"), err)
	}
	return nil
}

func (s *Supervisor) waitDNS(ctx context.Context) error {
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return s.lan.Dial(ctx, address) },
		DisableKeepAlives: true,
	}
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	err := poll(ctx, nodeTimeout, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+spec.ControlPlaneIP+":8181/ready", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %s", resp.Status)
		}
		return errors.Join(err, resp.Body.Close())
	})
	if err != nil {
		return fmt.Errorf("DNS is not ready after %s: %w", nodeTimeout, err)
	}
	return nil
}

// startNode starts a node's box and its programs and waits until the node is Ready. The programs that need the API are
// started when it is ready: before, they would only learn to wait.
func (s *Supervisor) startNode(ctx context.Context, n spec.Node, apiReady <-chan struct{}) error {
	begun := time.Now()
	m, err := s.startBox(ctx, n.Name)
	if err != nil {
		return err
	}
	if err := s.lan.Connect(n, m.box.Pid, m.box.Namespace("net"), s.record.Spec.NodeList()); err != nil {
		return err
	}
	if err := m.box.StartService(ctx, render.Containerd()); err != nil {
		return err
	}
	if err := s.mountVolumes(ctx, n.Name, m.box); err != nil {
		return err
	}
	if err := s.waitContainerd(ctx, n, m.box); err != nil {
		return err
	}
	if err := Load(ctx, m.box.Pid, s.launch.Artifacts.PauseTar); err != nil {
		return fmt.Errorf("load the pause image on %s: %w", n.Name, err)
	}
	select {
	case <-apiReady:
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, svc := range []box.Service{render.Kubelet(n), render.KubeProxy(n)} {
		if err := m.box.StartService(ctx, svc); err != nil {
			return err
		}
	}
	if err := s.waitNode(ctx, n, m); err != nil {
		return err
	}
	s.events.line(fmt.Sprintf("%s Ready in zone %s (%.1fs)", n.Name, n.Zone, time.Since(begun).Seconds()))
	return nil
}

func (s *Supervisor) waitContainerd(ctx context.Context, n spec.Node, b *box.Box) error {
	err := poll(ctx, 30*time.Second, func(ctx context.Context) error {
		_, err := b.Run(ctx, 5*time.Second, "ctr", "version")
		return err
	})
	if err != nil {
		return fmt.Errorf("containerd on %s is not ready after 30s (its log: %s): %w", n.Name,
			s.dir.Box(n.Name, "var/log/localcluster/containerd.log"), err)
	}
	return nil
}

// waitNode waits until the node is Ready, and is so since this start of it.
func (s *Supervisor) waitNode(ctx context.Context, n spec.Node, m *member) error {
	err := poll(ctx, nodeTimeout, func(ctx context.Context) error {
		select {
		case <-m.box.Done():
			return box.ErrStopped
		default:
		}
		node, err := s.client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if node.Status.NodeInfo.BootID != m.bootID {
			return errors.New("kubelet has not reported since it was started")
		}
		if ready := condition(node); ready.Status != corev1.ConditionTrue {
			return fmt.Errorf("not Ready: %s", ready.Message)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s is not Ready after %s (its logs: %s): %w", n.Name, nodeTimeout,
			s.dir.Box(n.Name, "var/log/localcluster"), err)
	}
	return nil
}

func condition(node *corev1.Node) corev1.NodeCondition {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c
		}
	}
	return corev1.NodeCondition{Status: corev1.ConditionUnknown, Message: "no report yet"}
}

func (s *Supervisor) startProvisioner(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.dir.Kubeconfig())
	if err != nil {
		return fmt.Errorf("read own kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(config, "localcluster-provisioner"))
	if err != nil {
		return fmt.Errorf("make API client: %w", err)
	}
	go provision.Run(ctx, client, &volumes{s: s})
	return nil
}

// poll calls f until it returns nil, at most for the timeout; it returns f's last error.
func poll(ctx context.Context, timeout time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if errors.Is(err, box.ErrStopped) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func newBootID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make boot identity: %w", err)
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

func hosts(s spec.Spec) string { return render.Hosts(s) }
