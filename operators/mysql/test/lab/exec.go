package lab

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

// execTimeout bounds a command in a container, unless the caller's context ends sooner.
const execTimeout = 4 * time.Minute

// Exec runs a command in a container and returns its standard output.
func (l *Lab) Exec(ctx context.Context, namespace, pod, container string, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	url := l.Core.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdout: true, Stderr: true},
			scheme.ParameterCodec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(l.Config, "POST", url)
	if err != nil {
		return "", fmt.Errorf("prepare to run %s in %s: %w", command[0], pod, err)
	}
	websocket, err := remotecommand.NewWebSocketExecutor(l.Config, "GET", url.String())
	if err != nil {
		return "", fmt.Errorf("prepare to run %s in %s: %w", command[0], pod, err)
	}
	executor, err := remotecommand.NewFallbackExecutor(websocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return "", fmt.Errorf("prepare to run %s in %s: %w", command[0], pod, err)
	}
	var out, errs bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}); err != nil {
		return out.String(), fmt.Errorf("run %s in %s: %w: %s", command[0], pod, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// signalScript sends a signal to every mysqld of a container, with nothing but a shell: the images are minimal.
const signalScript = `found=0
for p in /proc/[0-9]*; do
  read -r name < "$p/comm" || continue
  if [ "$name" = mysqld ]; then kill -%s "${p#/proc/}" && found=1; fi
done 2>/dev/null
[ "$found" = 1 ] || { echo "no mysqld runs here" >&2; exit 1; }`

// Signal sends a signal to the instance's mysqld: KILL, STOP, CONT.
func (c *Cluster) Signal(ctx context.Context, instance, signal string) error {
	_, err := c.Exec(ctx, c.Key.Namespace, instance, ServerContainer, "sh", "-c", fmt.Sprintf(signalScript, signal))
	return err
}
