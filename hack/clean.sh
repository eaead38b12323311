#!/usr/bin/env bash
# Removes what was built in the checkout; with `all` also every cluster on this machine and the cache.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if [[ ${1:-} == all && $CLUSTER != existing ]]; then
  "$ROOT/hack/cluster.sh" down
fi
rm -rf "$OUT" "$BIN"
if [[ ${1:-} == all ]]; then
  chmod -R u+w "$KAPOK_CACHE" 2>/dev/null || true
  rm -rf "$KAPOK_CACHE"
fi
say 'clean'
