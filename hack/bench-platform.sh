#!/usr/bin/env bash
# The platform's benchmark: shared/cmd/platform-bench on an API server and etcd of its own. Arguments are passed on.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

run_bench() {
  KAPOK_KUBE_BIN=$("$(go_tool localcluster)" assets)
  export KAPOK_KUBE_BIN
  go -C "$ROOT/shared" build -o "$BIN/platform-bench" ./cmd/platform-bench
  "$BIN/platform-bench" -out "$OUT/bench/platform.json" "$@"
}

step 'bench-platform' run_bench "$@"
