package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/e2e-framework/klient"
	"sigs.k8s.io/e2e-framework/support"
)

// BinaryVariable is the environment variable that names the program localcluster; without it, it is built.
const BinaryVariable = "KAPOK_LOCALCLUSTER"

// module is this module's path, from which the program is built.
const module = "github.com/kapok-operators/kapok/hack/localcluster"

// endTimeout is how long a command may take to end when its context does.
const endTimeout = 30 * time.Second

// Local is a cluster of this module, run by the program localcluster.
type Local struct {
	name, path string
	options    []string
	output     io.Writer
	config     *rest.Config
	kubeconfig string
}

var (
	_ support.E2EClusterProviderWithImageLoader = (*Local)(nil)
	_ support.E2EClusterProviderWithLifeCycle   = (*Local)(nil)
	_ NodeFaults                                = (*Local)(nil)
	_ NetworkFaults                             = (*Local)(nil)
	_ ControlFaults                             = (*Local)(nil)
	_ VolumeFaults                              = (*Local)(nil)
)

// NewLocal returns the provider of a local cluster of that name. Nothing is run yet.
func NewLocal(name string) *Local {
	return &Local{name: name, path: os.Getenv(BinaryVariable), output: os.Stderr}
}

// WithOptions adds options of `localcluster up`, such as --node-monitor-grace-period=10s.
func WithOptions(options ...string) support.ClusterOpts {
	return func(p support.E2EClusterProvider) {
		if l, ok := p.(*Local); ok {
			l.options = append(l.options, options...)
		}
	}
}

// WithName sets the cluster's name.
func (l *Local) WithName(name string) support.E2EClusterProvider {
	l.name = name
	return l
}

// WithVersion changes nothing: the version of Kubernetes is the one that this module pins.
func (l *Local) WithVersion(string) support.E2EClusterProvider { return l }

// WithPath sets the path of the program localcluster.
func (l *Local) WithPath(path string) support.E2EClusterProvider {
	l.path = path
	return l
}

// WithOpts applies options.
func (l *Local) WithOpts(opts ...support.ClusterOpts) support.E2EClusterProvider {
	for _, o := range opts {
		o(l)
	}
	return l
}

// SetDefaults names the cluster kapok if it has no name.
func (l *Local) SetDefaults() support.E2EClusterProvider {
	if l.name == "" {
		l.name = "kapok"
	}
	return l
}

// Create brings the cluster up, or finds that it is, and returns the path of its kubeconfig. args are options of
// `localcluster up`.
func (l *Local) Create(ctx context.Context, args ...string) (string, error) {
	l.SetDefaults()
	all := append(append([]string{"up", "--name", l.name}, l.options...), args...)
	if err := l.run(ctx, nil, all...); err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := l.run(ctx, &out, "kubeconfig", "--name", l.name); err != nil {
		return "", err
	}
	l.kubeconfig = strings.TrimSpace(out.String())
	config, err := clientcmd.BuildConfigFromFlags("", l.kubeconfig)
	if err != nil {
		return "", fmt.Errorf("read kubeconfig of cluster %s: %w", l.name, err)
	}
	l.config = config
	return l.kubeconfig, nil
}

// CreateWithConfig is refused: a local cluster is configured by options.
func (l *Local) CreateWithConfig(context.Context, string) (string, error) {
	return "", errors.New("a local cluster takes no configuration file; pass options of `localcluster up` to Create")
}

// GetKubeconfig returns the path of the kubeconfig, once the cluster is created.
func (l *Local) GetKubeconfig() string { return l.kubeconfig }

// GenerateKubeconfig returns the path of the kubeconfig of a cluster that is up already.
func (l *Local) GenerateKubeconfig(...string) (string, error) {
	var out bytes.Buffer
	err := l.run(context.Background(), &out, "kubeconfig", "--name", l.name)
	return strings.TrimSpace(out.String()), err
}

// GetKubectlContext returns the name of the context in the kubeconfig.
func (l *Local) GetKubectlContext() string { return l.name }

// KubernetesRestConfig returns how to reach the API, once the cluster is created.
func (l *Local) KubernetesRestConfig() *rest.Config { return l.config }

// WaitForControlPlane does not wait: Create returns when everything is ready.
func (l *Local) WaitForControlPlane(context.Context, klient.Client) error { return nil }

// ExportLogs copies the logs of every program of the cluster, and the audit log, into a folder.
func (l *Local) ExportLogs(_ context.Context, dest string) error {
	state := filepath.Dir(l.kubeconfig)
	logs, err := filepath.Glob(filepath.Join(state, "boxes", "*", "var", "log", "localcluster", "*.log"))
	if err != nil {
		return fmt.Errorf("list logs: %w", err)
	}
	for _, from := range append(logs, filepath.Join(state, "supervisor.log")) {
		name := strings.TrimPrefix(from, state+"/")
		name = strings.NewReplacer("boxes/", "", "/var/log/localcluster/", "-").Replace(name)
		if err := copyFile(from, filepath.Join(dest, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("copy log: %w", err)
	}
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy log: %w", err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("copy log: %w", err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copy log: %w", err)
	}
	return nil
}

// Destroy takes the cluster down and verifies that nothing is left.
func (l *Local) Destroy(ctx context.Context) error {
	return l.run(ctx, nil, "down", "--name", l.name)
}

// LoadImage is refused: there is no image store on the machine to take an image from.
func (l *Local) LoadImage(context.Context, string, ...string) error {
	return errors.New("a local cluster has no image store to load from by name; use LoadImageArchive")
}

// LoadImageArchive loads an image archive on every node.
func (l *Local) LoadImageArchive(ctx context.Context, archive string, _ ...string) error {
	return l.run(ctx, nil, "load", "--name", l.name, archive)
}

// AddNode is refused: the number of nodes is an option of Create.
func (l *Local) AddNode(context.Context, *support.Node, ...string) error {
	return errors.New("a local cluster's nodes are fixed when it is made (--nodes)")
}

// RemoveNode is refused, as AddNode is.
func (l *Local) RemoveNode(ctx context.Context, node *support.Node, args ...string) error {
	return l.AddNode(ctx, node, args...)
}

// StartNode starts a stopped node.
func (l *Local) StartNode(ctx context.Context, node *support.Node, _ ...string) error {
	return l.Start(ctx, node.Name)
}

// StopNode stops a node as a loss of power would.
func (l *Local) StopNode(ctx context.Context, node *support.Node, _ ...string) error {
	return l.Stop(ctx, node.Name)
}

// ListNode returns the nodes with their states: running, off, cut or frozen.
func (l *Local) ListNode(ctx context.Context, _ ...string) ([]support.Node, error) {
	var out bytes.Buffer
	if err := l.run(ctx, &out, "status", "--name", l.name, "--output", "json"); err != nil {
		return nil, err
	}
	return parseNodes(out.Bytes())
}

func parseNodes(status []byte) ([]support.Node, error) {
	var parsed struct {
		Name  string
		Boxes []struct{ Name, State, IP, Zone string }
	}
	if err := json.Unmarshal(status, &parsed); err != nil {
		return nil, fmt.Errorf("parse status: %w", err)
	}
	var nodes []support.Node
	for _, b := range parsed.Boxes {
		if b.Zone == "" {
			continue // The control plane is no node.
		}
		nodes = append(nodes, support.Node{Name: b.Name, Role: "worker", Cluster: parsed.Name, State: b.State, IP: net.ParseIP(b.IP)})
	}
	return nodes, nil
}

// run runs the program. Without out, what it prints goes to the test's error output, as progress.
func (l *Local) run(ctx context.Context, out io.Writer, args ...string) error {
	binary, err := l.binary(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, io.MultiWriter(&said, l.output)
	if out == nil {
		cmd.Stdout = l.output
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = endTimeout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("localcluster %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return nil
}

// binary returns the path of the program, which it builds, once, where none was given.
func (l *Local) binary(ctx context.Context) (string, error) {
	if l.path != "" {
		return l.path, nil
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("find the sources of localcluster (or set %s): %w", BinaryVariable, err)
	}
	source := strings.TrimSpace(string(out))
	cache := os.Getenv("KAPOK_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache folder: %w", err)
		}
		cache = filepath.Join(base, "kapok")
	}
	path := filepath.Join(cache, "localcluster", "localcluster")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, ".")
	build.Dir = source
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build localcluster in %s: %w: %s", source, err, out)
	}
	if err := os.Setenv("KAPOK_LOCALCLUSTER_SOURCE", source); err != nil {
		return "", fmt.Errorf("tell localcluster its sources: %w", err)
	}
	l.path = path
	return path, nil
}
