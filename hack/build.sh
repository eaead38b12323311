#!/usr/bin/env bash
# Builds the operators' static binaries, and the client that the tests write with, into bin/.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build_commands() {
  local dir
  mkdir -p "$BIN"
  for dir in "$ROOT"/operators/*/cmd/*/; do
    [[ -d $dir ]] || continue
    dir=${dir%/}
    go -C "${dir%/cmd/*}" build -ldflags '-s -w' -o "$BIN/$(basename "$dir")" "./cmd/$(basename "$dir")"
  done
}

build_workload() {
  GOWORK=off go -C "$ROOT/operators/mysql/test" build -ldflags '-s -w' -o "$BIN/mysql-workload" ./workload
}

step 'build the operators and agents' build_commands
step 'build the test client' build_workload
