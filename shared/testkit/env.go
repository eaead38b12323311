// Package testkit is what the tests of operators stand on: a real API server
// with etcd (StartEnv) and golden files (Golden). Three tools are for the ways in
// which controllers are known to fail: a client to whose n-th write something
// happens, so that a state is left half done (CrashPoint); a cache that shows the
// past (Cache); and a filter that loses, merges and delays events (Events).
package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// EnvKubeBin names the environment variable with the folder that holds etcd,
// kube-apiserver and kubectl.
const EnvKubeBin = "KAPOK_KUBE_BIN"

// EnvOptions configures StartEnv.
type EnvOptions struct {
	// Scheme of Client; required.
	Scheme *runtime.Scheme
	// CRDPaths are files or folders with custom resource definitions.
	CRDPaths []string
	// CRDs are further custom resource definitions.
	CRDs []*apiextensionsv1.CustomResourceDefinition
	// Webhooks are installed if set.
	Webhooks envtest.WebhookInstallOptions
	// APIServerArgs are set on the API server, each replacing its default.
	APIServerArgs map[string]string
}

// Env is a running API server.
type Env struct {
	*envtest.Environment
	// Config is that of a user who may do everything.
	Config *rest.Config
	// Client reads and writes live.
	Client client.WithWatch
}

// StartEnv starts an API server with etcd and stops it at the end of the test.
// It fails the test if the binaries are missing: a test that needs a real API
// server is never skipped.
func StartEnv(tb testing.TB, opts EnvOptions) *Env {
	tb.Helper()
	env, err := NewEnv(opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := env.Stop(); err != nil {
			tb.Errorf("stop the API server: %v", err)
		}
	})
	return env
}

// NewEnv is StartEnv for a TestMain, which shares one API server among the tests
// of a package; the caller stops it.
func NewEnv(opts EnvOptions) (*Env, error) {
	folder, err := kubeBin(os.Getenv(EnvKubeBin))
	if err != nil {
		return nil, err
	}
	environment := &envtest.Environment{
		Scheme:                opts.Scheme,
		BinaryAssetsDirectory: folder,
		CRDDirectoryPaths:     opts.CRDPaths,
		CRDs:                  opts.CRDs,
		ErrorIfCRDPathMissing: true,
		WebhookInstallOptions: opts.Webhooks,
		// A loaded machine must make a test slow, not red.
		ControlPlaneStartTimeout: 2 * time.Minute,
		ControlPlaneStopTimeout:  time.Minute,
	}
	// The folder is always the one that was asked for, whatever else the
	// environment says.
	environment.ControlPlane.KubectlPath = filepath.Join(folder, "kubectl")
	server := environment.ControlPlane.GetAPIServer()
	server.Path = filepath.Join(folder, "kube-apiserver")
	environment.ControlPlane.Etcd = &envtest.Etcd{Path: filepath.Join(folder, "etcd")}
	for name, value := range opts.APIServerArgs {
		server.Configure().Set(name, value)
	}
	rc, err := environment.Start()
	if err != nil {
		// What did start must not outlive the test.
		_ = environment.Stop()
		return nil, fmt.Errorf("start the API server from %s: %w", folder, err)
	}
	c, err := client.NewWithWatch(rc, client.Options{Scheme: opts.Scheme})
	if err != nil {
		_ = environment.Stop()
		return nil, fmt.Errorf("make a client for the API server: %w", err)
	}
	return &Env{Environment: environment, Config: rc, Client: c}, nil
}

// kubeBin checks the folder with the binaries.
func kubeBin(folder string) (string, error) {
	const advice = "run the tests with `make test`, which builds the binaries once and sets it"
	if folder == "" {
		return "", fmt.Errorf("%s is not set: %s", EnvKubeBin, advice)
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			return "", fmt.Errorf("%s does not hold %s: %w; %s", EnvKubeBin, name, err, advice)
		}
		if info.IsDir() || info.Mode()&0o111 == 0 {
			return "", fmt.Errorf("%s: %s is not an executable; %s", EnvKubeBin, name, advice)
		}
	}
	return folder, nil
}
