#!/usr/bin/env bash
# The benchmark: everything set up, then operators/mysql/test/bench on it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/hack/env.sh"

run_bench() {
  GOWORK=off go -C "$ROOT/operators/mysql/test" build -o "$BIN/mysql-bench" ./bench
  "$BIN/mysql-bench"
}

"$ROOT/hack/prepare.sh"
cluster_environment kapok-bench
try 'bench' run_bench
status=$TRIED
[[ $CLUSTER == existing ]] || "$ROOT/hack/cluster.sh" down
exit "$status"
