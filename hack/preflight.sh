#!/usr/bin/env bash
# Checks that this machine can run the rest and says in one go everything that is missing.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

problems=()

need_command() {
  command -v "$1" >/dev/null 2>&1 || problems+=("$1 is not installed: $2")
}

check_go() {
  local want have
  want=$(sed -n 's/^go //p' "$ROOT/go.work")
  have=$(go env GOVERSION)
  if [[ $(printf '%s\n' "go$want" "$have" | sort -V | head -n 1) != "go$want" ]]; then
    problems+=("$have is too old: Go $want or newer is needed")
  fi
}

check_disk() {
  local free_mib
  mkdir -p "$KAPOK_CACHE"
  free_mib=$(df -Pm "$KAPOK_CACHE" | awk 'NR == 2 {print $4}')
  ((free_mib >= 15000)) || problems+=("only $free_mib MiB are free below $KAPOK_CACHE: 15000 are needed (set KAPOK_CACHE to use another disk)")
}

check_memory() {
  local mib
  mib=$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo)
  ((mib >= 6000)) || problems+=("only $mib MiB of memory are available: 6000 are needed for three nodes and three instances")
}

need_command go 'see https://go.dev/dl'
need_command git 'apt-get install git'
need_command make 'apt-get install make'
[[ -z $(command -v go) ]] || check_go

case $CLUSTER in
local)
  [[ $(uname -s) == Linux ]] || problems+=("CLUSTER=local needs Linux; use CLUSTER=kind here")
  [[ $(id -u) == 0 ]] || problems+=("CLUSTER=local must run as root: it makes namespaces, cgroups and mounts; or use CLUSTER=kind")
  need_command apt-get 'CLUSTER=local takes containerd, runc and MySQL from Debian packages; use CLUSTER=kind here'
  check_disk
  check_memory
  ;;
kind)
  need_command kind 'see https://kind.sigs.k8s.io'
  need_command docker 'kind runs its nodes in containers'
  need_command kubectl 'kind and the tests of it use it'
  ;;
existing)
  need_command kubectl 'the current kubeconfig is asked through it'
  ;;
*) problems+=("CLUSTER=$CLUSTER is unknown: use local, kind or existing") ;;
esac

if ((${#problems[@]} > 0)); then
  printf 'not ready: %s\n' "${problems[@]}" >&2
  exit 1
fi
if [[ $CLUSTER == local ]]; then
  localcluster=$(go_tool localcluster)
  "$localcluster" preflight
fi
say "this machine is ready for CLUSTER=$CLUSTER"
