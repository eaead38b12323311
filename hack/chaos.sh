#!/usr/bin/env bash
# Faults under load, judged by history: everything set up, then operators/mysql/test/chaos on it. With `network`, an hour (or
# MINUTES) of a slow and lossy network instead, in which nothing should happen. With `backup`, backups and restores are disturbed.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/hack/env.sh"

run_chaos() {
  GOWORK=off go -C "$ROOT/operators/mysql/test" build -o "$BIN/mysql-chaos" ./chaos/run
  "$BIN/mysql-chaos" "$@"
}

"$ROOT/hack/prepare.sh"
cluster_environment kapok-chaos
if [[ $CLUSTER == local && ${ONLY:-} == *step-clock* ]]; then
  # The clock of the machine is not ours to set: this image has a mysqld that can be shown another time.
  step 'assemble the MySQL image whose clock can be set' "$(go_tool images)" build mysql-clock --out "$OUT/images"
  export IMAGES="$IMAGES $OUT/images/mysql-clock.tar"
fi
if [[ $CLUSTER == local && ${1:-} == backup ]]; then
  step 'assemble the image of the S3 server' store_image
fi
try 'chaos' run_chaos "$@"
status=$TRIED
# With KEEP the cluster stays, to be looked at or to go on with.
[[ $CLUSTER == existing || ${KEEP:-} == true ]] || "$ROOT/hack/cluster.sh" down
exit "$status"
