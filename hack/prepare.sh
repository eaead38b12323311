#!/usr/bin/env bash
# Makes what a cluster run needs: binaries, images, the rendered installation, and for CLUSTER=local the Kubernetes
# binary, which is the longest and is built beside the others. Prints nothing that a caller must parse.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

step 'preflight' "$ROOT/hack/preflight.sh"
if [[ $CLUSTER == local ]]; then
  background kubernetes "$BIN/localcluster" assets
fi
"$ROOT/hack/images.sh"
"$ROOT/hack/install-yaml.sh"
await kubernetes
