package provider

import (
	"bytes"
	"context"
)

// Exec runs a command in a node, as its root, and returns what it printed on its standard output.
func (l *Local) Exec(ctx context.Context, node string, command ...string) (string, error) {
	var out bytes.Buffer
	args := append([]string{"node", "--name", l.name, "exec", node, "--"}, command...)
	err := l.run(ctx, &out, args...)
	return out.String(), err
}
