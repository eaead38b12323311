#!/usr/bin/env bash
# Runs one lane of tests, or all of them in order. Every lane leaves its counts in .out/test/<lane>.json; the last line
# says "N passed, N failed" over all lanes of the run.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/hack/env.sh"

COUNTS=$OUT/test

# run_tests LANE FOLDER ARGUMENTS... runs go test in a module and counts. The name of the counts is the lane's, so that a
# lane may run in several modules.
run_tests() {
  local lane=$1 folder=$2 name whole=true
  shift 2
  # What only the local cluster can do (disturb its network, give its audit log) is skipped on others.
  [[ $lane != e2e || $CLUSTER == local ]] || whole=
  name=$lane-$(printf '%s' "${folder#"$ROOT"/}" | tr '/' '-')
  # A verdict in advance: a run that is killed must not leave an earlier run's success behind.
  rm -f "$COUNTS/$name.json"
  go -C "$folder" test -json "$@" | "$BIN/verify" tally -lane "$name" -out "$COUNTS/$name.json" ${FOLLOW:+-follow} ${whole:+-whole}
}

# What a test needs from outside puts its package into a lane: the tests of these name the variable that brings it, or the
# helper that reads it.
NEEDS_KUBERNETES='KAPOK_KUBE_BIN|\b(StartEnv|NewEnv)[(]'
NEEDS_PROGRAM='KAPOK_MYSQLD|KAPOK_PROMETHEUS|\bs3server[.]'

# packages FOLDER PATTERN prints the packages of a module whose tests match, in the form that go test takes.
packages() {
  (
    cd "$1"
    # A module below this one tests its own packages.
    mapfile -t nested < <(find . -mindepth 2 -name go.mod -printf '%h\n')
    # grep finds nothing in a module without such tests, which is an answer and not an error.
    { grep -rlE --include='*_test.go' "$2" . || true; } | xargs -r -n 1 dirname | sort -u | outside "${nested[@]}"
  )
}

# outside FOLDER... passes on the folders that are not one of these nor below one.
outside() {
  local folder within
  while read -r folder; do
    for within in "$@"; do
      [[ $folder/ != "$within/"* ]] || continue 2
    done
    printf '%s\n' "$folder"
  done
}

# unit_packages FOLDER prints the packages whose tests need nothing but Go.
unit_packages() {
  comm -23 <(cd "$1" && go list -f '{{.Dir}}' ./... | sed "s#^$1#.#" | sort -u) <(packages "$1" "$NEEDS_KUBERNETES|$NEEDS_PROGRAM")
}

unit() {
  local folder status=0 names
  for folder in $(work_modules); do
    mapfile -t names < <(unit_packages "$folder")
    run_tests unit "$folder" "${names[@]}" || status=1
  done
  export GOWORK=off
  for folder in $(other_modules); do
    mapfile -t names < <(unit_packages "$folder")
    ((${#names[@]} == 0)) || run_tests unit "$folder" "${names[@]}" || status=1
  done
  return "$status"
}

simulation() {
  export FOLLOW=true
  # Other seeds than those of the unit tests, and more of them: 200 runs of 600 steps.
  run_tests simulation "$ROOT/operators/mysql" -count=1 -timeout 20m -run '^TestSimulation$' ./internal/topology -sim.first=1001 -sim.runs=200
}

# needing LANE PATTERN runs, in every published module, the packages whose tests match.
needing() {
  local folder names status=0
  for folder in $(work_modules); do
    mapfile -t names < <(packages "$folder" "$2")
    ((${#names[@]} == 0)) || run_tests "$1" "$folder" -count=1 -timeout 15m "${names[@]}" || status=1
  done
  return "$status"
}

envtest() {
  local localcluster
  localcluster=$(go_tool localcluster)
  KAPOK_KUBE_BIN=$("$localcluster" assets)
  export KAPOK_KUBE_BIN
  local status=0
  needing envtest "$NEEDS_KUBERNETES" || status=1
  # What the shared library is tested with and must not depend on.
  GOWORK=off run_tests envtest "$ROOT/shared/test" -count=1 -timeout 15m ./... || status=1
  return "$status"
}

component() {
  local images rootfs exporter prometheus
  images=$(go_tool images)
  rootfs=$("$images" rootfs mysql)
  exporter=$("$images" rootfs mysqld-exporter)
  prometheus=$("$images" rootfs prometheus)
  export KAPOK_MYSQLD=$rootfs/host/mysqld KAPOK_MYSQLD_EXPORTER=$exporter/usr/bin/prometheus-mysqld-exporter
  export KAPOK_PROMETHEUS=$prometheus/usr/bin
  KAPOK_S3_SERVER=$(cached_tool s3server versitygw github.com/versity/versitygw/cmd/versitygw)
  export KAPOK_S3_SERVER
  needing component "$NEEDS_PROGRAM"
}

e2e() {
  "$ROOT/hack/prepare.sh"
  if [[ $CLUSTER == local ]]; then
    # Each for one scenario alone, which loads it when it begins.
    step 'assemble the image with Prometheus from Debian packages' "$BIN/images" build prometheus --out "$OUT/images"
    step 'assemble the image with an S3 server' store_image
  fi
  cluster_environment kapok-test
  # What an earlier run that was killed has left behind must not decide how this one ends.
  fresh_cluster
  try 'scenarios' scenarios
  local status=$TRIED
  fresh_cluster
  return "$status"
}

scenarios() {
  export GOWORK=off FOLLOW=true
  run_tests e2e "$ROOT/operators/mysql/test" -tags=e2e -count=1 -timeout 40m ./e2e
}

fresh_cluster() {
  [[ $CLUSTER == existing ]] || "$ROOT/hack/cluster.sh" down
}

# lane NAME runs one lane. Until it has ended, its counts say that it did not, so that a run that is killed shows.
lane() {
  local marker=$COUNTS/$1.json
  rm -f "$COUNTS/$1"*.json
  printf '{"lane":"%s","failed":1,"failing":["did not finish"]}\n' "$1" >"$marker"
  try "test-$1" "$1"
  if ((TRIED == 0)) || grep -q '"failed": [1-9]' "$COUNTS/$1-"*.json 2>/dev/null; then
    rm -f "$marker"
  fi
}

lanes=(unit simulation envtest component e2e)

# all runs the lanes in order; one that fails does not keep the next from running, so that one run tells everything.
all() {
  local name failed=()
  step 'preflight' "$ROOT/hack/preflight.sh"
  # The longest step of a cold machine, and the first lanes do not need it.
  background kubernetes "$(go_tool localcluster)" assets
  for name in "${lanes[@]}"; do
    if [[ $name == envtest ]]; then
      await kubernetes || failed+=(kubernetes)
    fi
    lane "$name"
    ((TRIED == 0)) || failed+=("$name")
  done
  ((${#failed[@]} == 0)) || say "FAILED: ${failed[*]}"
  "$BIN/verify" summary "$COUNTS"
  ((${#failed[@]} == 0))
}

go_tool verify >/dev/null
mkdir -p "$COUNTS"
case ${1:-} in
all)
  rm -f "$COUNTS"/*.json
  all
  ;;
unit | simulation | envtest | component | e2e)
  lane "$1"
  exit "$TRIED"
  ;;
*) die 'usage: hack/test.sh all|unit|simulation|envtest|component|e2e' ;;
esac
