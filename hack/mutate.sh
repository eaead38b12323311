#!/usr/bin/env bash
# The mutation campaign: everything set up, then operators/mysql/test/mutate on it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/hack/env.sh"

run_mutate() {
  GOWORK=off go -C "$ROOT/operators/mysql/test" build -o "$BIN/mysql-mutate" ./mutate
  "$BIN/mysql-mutate"
}

"$ROOT/hack/prepare.sh"
cluster_environment kapok-mutate
try 'mutation campaign' run_mutate
status=$TRIED
[[ $CLUSTER == existing || ${KEEP:-} == true ]] || "$ROOT/hack/cluster.sh" down
exit "$status"
