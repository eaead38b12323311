package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The programs of an instance's container.
const (
	// ProgramServer is mysqld.
	ProgramServer = "mysqld"
	// ProgramAgent is the agent, the container's first process.
	ProgramAgent = "mysql-agent"
)

// processScript does something for the process of a program in the pod of that name, on its node: P is its number there,
// ROOT the container's root. It needs nothing but a shell and reaches processes that no exec in the container reaches. The
// container is the one with the given folder: the agent's binary also runs the exporter, in a container without mysqld's.
const processScript = `found=0
for p in /proc/[0-9]*; do
  read -r name < "$p/comm" || continue
  [ "$name" = %s ] || continue
  P="${p#/proc/}" ROOT="$p/root"
  read -r host < "$ROOT/etc/hostname" || continue
  [ "$host" = %s ] && [ -d "$ROOT%s" ] || continue
  %s && found=1
done 2>/dev/null
[ "$found" = 1 ] || { echo "no such process" >&2; exit 1; }`

// ErrNoProcess says that the program does not run in the container.
var ErrNoProcess = errors.New("no such process on the node")

// dataFolder is a folder that only the container of an instance's mysqld has.
const dataFolder = "/var/lib/mysql"

// OnNode runs a shell command on the instance's node for its program: P is the process, ROOT the container's root.
func (c *Cluster) OnNode(ctx context.Context, node, instance, program, command string) (string, error) {
	return c.onNode(ctx, node, instance, dataFolder, program, command)
}

// onNode runs a shell command on a node for a program in the container of a pod that has a folder.
func (l *Lab) onNode(ctx context.Context, node, pod, folder, program, command string) (string, error) {
	if l.faults == nil {
		return "", ErrNoNodeFaults
	}
	out, err := l.faults.Exec(ctx, node, "sh", "-c", fmt.Sprintf(processScript, program, pod, folder, command))
	if err != nil && strings.Contains(err.Error(), "no such process") {
		return "", fmt.Errorf("%s of %s: %w", program, pod, ErrNoProcess)
	}
	return out, err
}

// SignalOnNode sends a signal to a program of the instance from its node.
func (c *Cluster) SignalOnNode(ctx context.Context, node, instance, program, signal string) error {
	_, err := c.OnNode(ctx, node, instance, program, "kill -"+signal+` "$P"`)
	return err
}
