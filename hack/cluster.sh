#!/usr/bin/env bash
# Starts, stops and describes the cluster that CLUSTER and NAME say.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

NAME=${NAME:-kapok}

local_cluster() {
  local localcluster
  localcluster=$(go_tool localcluster)
  "$localcluster" "$1" --name "$NAME"
}

kind_cluster() {
  case $1 in
  up) kind get clusters 2>/dev/null | grep -qx "$NAME" || kind create cluster --name "$NAME" --wait 5m \
    --config "$ROOT/operators/mysql/test/kind.yaml" ;;
  down) kind delete cluster --name "$NAME" ;;
  status) kubectl --context "kind-$NAME" get nodes ;;
  esac
}

existing_cluster() {
  case $1 in
  up | status) kubectl cluster-info ;;
  down) say 'CLUSTER=existing is not ours to take down: nothing done' ;;
  esac
}

case ${1:-} in
up | down | status) ;;
*) die 'usage: hack/cluster.sh up|down|status' ;;
esac
case $CLUSTER in
local) step "cluster $NAME: $1" local_cluster "$1" ;;
kind) step "kind cluster $NAME: $1" kind_cluster "$1" ;;
existing) step "the existing cluster: $1" existing_cluster "$1" ;;
*) die "CLUSTER=$CLUSTER is unknown: use local, kind or existing" ;;
esac
