package provider

import (
	"context"
	"errors"
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/e2e-framework/klient"
	"sigs.k8s.io/e2e-framework/support"
)

// Existing is a cluster that was there before the suite and is there after it.
type Existing struct {
	kubeconfig, context string
	config              *rest.Config
}

var _ support.E2EClusterProviderWithImageLoader = (*Existing)(nil)

// NewExisting returns the provider of the cluster of the current kubeconfig.
func NewExisting() *Existing { return &Existing{} }

// WithName changes nothing: the kubeconfig chooses the cluster.
func (e *Existing) WithName(string) support.E2EClusterProvider { return e }

// WithVersion changes nothing.
func (e *Existing) WithVersion(string) support.E2EClusterProvider { return e }

// WithPath changes nothing.
func (e *Existing) WithPath(string) support.E2EClusterProvider { return e }

// WithOpts applies options.
func (e *Existing) WithOpts(opts ...support.ClusterOpts) support.E2EClusterProvider {
	for _, o := range opts {
		o(e)
	}
	return e
}

// SetDefaults changes nothing.
func (e *Existing) SetDefaults() support.E2EClusterProvider { return e }

// Create reads the current kubeconfig and asks its cluster for its version; it creates nothing.
func (e *Existing) Create(context.Context, ...string) (string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{})
	config, err := loader.ClientConfig()
	if err != nil {
		return "", fmt.Errorf("%s=%s: read the current kubeconfig: %w", Variable, KindExisting, err)
	}
	raw, err := loader.RawConfig()
	if err != nil {
		return "", fmt.Errorf("%s=%s: read the current kubeconfig: %w", Variable, KindExisting, err)
	}
	e.config, e.context, e.kubeconfig = config, raw.CurrentContext, firstFile(rules.GetLoadingPrecedence())
	if e.kubeconfig == "" {
		return "", fmt.Errorf("%s=%s: no kubeconfig found; set KUBECONFIG", Variable, KindExisting)
	}
	return e.kubeconfig, nil
}

func firstFile(paths []string) string {
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

// CreateWithConfig is Create: there is nothing to configure.
func (e *Existing) CreateWithConfig(ctx context.Context, _ string) (string, error) {
	return e.Create(ctx)
}

// GetKubeconfig returns the path of the kubeconfig.
func (e *Existing) GetKubeconfig() string { return e.kubeconfig }

// GenerateKubeconfig returns the path of the kubeconfig.
func (e *Existing) GenerateKubeconfig(...string) (string, error) { return e.kubeconfig, nil }

// GetKubectlContext returns the current context.
func (e *Existing) GetKubectlContext() string { return e.context }

// KubernetesRestConfig returns how to reach the API, once Create was called.
func (e *Existing) KubernetesRestConfig() *rest.Config { return e.config }

// ExportLogs exports nothing: the logs are wherever the cluster keeps them.
func (e *Existing) ExportLogs(context.Context, string) error { return nil }

// Destroy leaves the cluster as it is.
func (e *Existing) Destroy(context.Context) error { return nil }

// WaitForControlPlane does not wait: the cluster was there before.
func (e *Existing) WaitForControlPlane(context.Context, klient.Client) error { return nil }

var errNoLoad = errors.New("images cannot be loaded into an existing cluster; push them to a registry that it reaches, and name them in the manifests")

// LoadImage is refused.
func (e *Existing) LoadImage(context.Context, string, ...string) error { return errNoLoad }

// LoadImageArchive is refused.
func (e *Existing) LoadImageArchive(context.Context, string, ...string) error { return errNoLoad }
