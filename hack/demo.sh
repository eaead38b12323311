#!/usr/bin/env bash
# The demonstration: everything set up, then operators/mysql/test/demo on it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/hack/env.sh"

run_demo() {
  GOWORK=off go -C "$ROOT/operators/mysql/test" build -o "$BIN/mysql-demo" ./demo
  "$BIN/mysql-demo"
}

"$ROOT/hack/prepare.sh"
cluster_environment kapok
step 'demo' run_demo
