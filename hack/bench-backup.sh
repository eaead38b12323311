#!/usr/bin/env bash
# What backups cost: full backups and restores of a gibibyte against cp of the same files, and how exposed writes are while they are archived. A
# mysqld outside of any cluster, and a folder as the store.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

images=$(go_tool images)
rootfs=$("$images" rootfs mysql)
export KAPOK_MYSQLD=$rootfs/host/mysqld KAPOK_BENCH_MIB=${MIB:-1024}

mkdir -p "$OUT/bench"
run_bench() {
  go -C "$ROOT/operators/mysql" test -run '^$' -bench . -benchtime "${ROUNDS:-5}x" -timeout 60m ./internal/agent/restore ./internal/agent/protect |
    tee "$OUT/bench/backup.txt"
}

step 'backups, restores and the archive' run_bench
