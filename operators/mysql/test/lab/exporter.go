package lab

import (
	"context"
	"fmt"
)

// ExporterContainer is the container of an instance's pod in which the exporter runs.
const ExporterContainer = "exporter"

// exporterScript sends a signal to the exporter itself, not to what stands in front of it; its name in Debian's package and in
// the official image, as far as the kernel keeps it.
const exporterScript = `found=0
for p in /proc/[0-9]*; do
  read -r name < "$p/comm" || continue
  case "$name" in prometheus-mysq|mysqld_exporter) kill -%s "${p#/proc/}" && found=1;; esac
done 2>/dev/null
[ "$found" = 1 ] || { echo "no exporter runs here" >&2; exit 1; }`

// SignalExporter sends a signal to the exporter beside the instance's mysqld: STOP, CONT.
func (c *Cluster) SignalExporter(ctx context.Context, instance, signal string) error {
	_, err := c.Exec(ctx, c.Key.Namespace, instance, ExporterContainer, "sh", "-c", fmt.Sprintf(exporterScript, signal))
	return err
}

// rootScript runs statements as root of mysqld, as somebody with a shell in the container could.
const rootScript = `for s in /run/kapok/*.sock /run/kapok/*/*.sock /run/mysqld/*.sock; do
  [ -S "$s" ] && exec mysql --no-defaults --socket="$s" --user=root --batch --skip-column-names --execute="$0"
done
echo "no socket found" >&2; exit 1`

// AsRoot runs statements as root in the instance's container and returns what they print.
func (c *Cluster) AsRoot(ctx context.Context, instance, statements string) (string, error) {
	return c.Exec(ctx, c.Key.Namespace, instance, ServerContainer, "sh", "-c", rootScript, statements)
}
