package lab

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/kapok-operators/kapok/hack/localcluster/provider"
)

// bringUp chooses the provider, brings the cluster up or finds it up, and returns how to reach it.
func (l *Lab) bringUp(ctx context.Context) (*rest.Config, error) {
	chosen, err := provider.Of(l.Provider, l.ClusterName)
	if err != nil {
		return nil, err
	}
	l.provider = chosen
	chosen.SetDefaults()
	switch l.Provider {
	case provider.KindKind:
		// kind's own default is one node, on which nothing can be lost and survived.
		_, err = chosen.CreateWithConfig(ctx, filepath.Join(l.Root, "operators", "mysql", "test", "kind.yaml"))
		l.faults = dockerNodes{}
	default:
		_, err = chosen.Create(ctx)
		if faults, ok := chosen.(NodeFaults); ok {
			l.faults = faults
		}
	}
	if err != nil {
		return nil, fmt.Errorf("bring up the cluster %q: %w", l.ClusterName, err)
	}
	config := chosen.KubernetesRestConfig()
	if config == nil {
		return nil, errors.New("reach the cluster: its provider knows no way to the API server")
	}
	return config, nil
}

// dockerNodes are kind's nodes: each is a container.
type dockerNodes struct{}

// Stop implements NodeFaults.
func (dockerNodes) Stop(ctx context.Context, node string) error { return docker(ctx, "kill", node) }

// Start implements NodeFaults.
func (dockerNodes) Start(ctx context.Context, node string) error { return docker(ctx, "start", node) }

// Cut implements NodeFaults. The rules stand before everything that kube-proxy writes; loopback stays.
func (dockerNodes) Cut(ctx context.Context, node string) error {
	return docker(ctx, "exec", node, "sh", "-c", `set -e
for chain in INPUT FORWARD; do iptables -C $chain ! -i lo -j DROP 2>/dev/null || iptables -I $chain ! -i lo -j DROP; done
iptables -C OUTPUT ! -o lo -j DROP 2>/dev/null || iptables -I OUTPUT ! -o lo -j DROP`)
}

// Heal implements NodeFaults.
func (dockerNodes) Heal(ctx context.Context, node string) error {
	return docker(ctx, "exec", node, "sh", "-c", `for chain in INPUT FORWARD; do iptables -D $chain ! -i lo -j DROP 2>/dev/null; done
iptables -D OUTPUT ! -o lo -j DROP 2>/dev/null; true`)
}

// Freeze implements NodeFaults.
func (dockerNodes) Freeze(ctx context.Context, node string) error { return docker(ctx, "pause", node) }

// Thaw implements NodeFaults.
func (dockerNodes) Thaw(ctx context.Context, node string) error {
	return docker(ctx, "unpause", node)
}

// Exec implements NodeFaults.
func (dockerNodes) Exec(ctx context.Context, node string, command ...string) (string, error) {
	return dockerOutput(ctx, append([]string{"exec", node}, command...)...)
}

func docker(ctx context.Context, args ...string) error {
	_, err := dockerOutput(ctx, args...)
	return err
}

func dockerOutput(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker %s %s: %w: %s", args[0], args[1], err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
