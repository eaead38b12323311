#!/usr/bin/env bash
# Removes what was built in the checkout; with `all` also every cluster on this machine and the cache.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# every_cluster takes down each local cluster that has left a state folder, whatever its name.
every_cluster() {
  local state=${KAPOK_STATE:-$(dirname "$KAPOK_CACHE")/kapok-state} folder
  for folder in "$state"/*/; do
    [[ -d $folder ]] || continue
    NAME=$(basename "$folder") CLUSTER=local "$ROOT/hack/cluster.sh" down
  done
  rm -rf "$state"
}

if [[ ${1:-} == all ]]; then
  every_cluster
  if [[ $CLUSTER == kind ]]; then
    "$ROOT/hack/cluster.sh" down
  fi
fi
rm -rf "$OUT" "$BIN"
if [[ ${1:-} == all ]]; then
  chmod -R u+w "$KAPOK_CACHE" 2>/dev/null || true
  rm -rf "$KAPOK_CACHE"
fi
say 'clean'
