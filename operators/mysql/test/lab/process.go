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
// agent's binary also runs the exporter, in a container without mysqld's folder.
const processScript = `found=0
for p in /proc/[0-9]*; do
  read -r name < "$p/comm" || continue
  [ "$name" = %s ] || continue
  P="${p#/proc/}" ROOT="$p/root"
  read -r host < "$ROOT/etc/hostname" || continue
  [ "$host" = %s ] && [ -d "$ROOT/var/lib/mysql" ] || continue
  %s && found=1
done 2>/dev/null
[ "$found" = 1 ] || { echo "no such process" >&2; exit 1; }`

// ErrNoProcess says that the program does not run in the instance's container.
var ErrNoProcess = errors.New("no such process on the node")

// OnNode runs a shell command on the instance's node for its program: P is the process, ROOT the container's root.
func (c *Cluster) OnNode(ctx context.Context, node, instance, program, command string) (string, error) {
	if c.faults == nil {
		return "", ErrNoNodeFaults
	}
	out, err := c.faults.Exec(ctx, node, "sh", "-c", fmt.Sprintf(processScript, program, instance, command))
	if err != nil && strings.Contains(err.Error(), "no such process") {
		return "", fmt.Errorf("%s of %s: %w", program, instance, ErrNoProcess)
	}
	return out, err
}

// SignalOnNode sends a signal to a program of the instance from its node.
func (c *Cluster) SignalOnNode(ctx context.Context, node, instance, program, signal string) error {
	_, err := c.OnNode(ctx, node, instance, program, "kill -"+signal+` "$P"`)
	return err
}
