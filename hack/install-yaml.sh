#!/usr/bin/env bash
# Renders the installation of each operator into .out/install/<product>-operator.yaml, one file that kubectl applies, and
# beside it what a cluster's administrator may add: the Secret injection guard, <product>-secretguard.yaml.
# MYSQL_OPERATOR_IMAGE puts another image into the MySQL operator's, for a cluster that pulls from your own registry.
#
#   MODE=all       (default) watches every namespace; the definitions of the kinds are in the same file
#   MODE=own       watches the namespace that it runs in
#   MODE=one       watches one other namespace: NAMESPACES=shop
#   MODE=several   watches several: NAMESPACES=shop,forum
#
# All but the first need no ClusterRole. What a cluster administrator installs once for them, the definitions of the kinds,
# is in <product>-operator-crds.yaml beside it. Their further variables:
#
#   OPERATOR_NAMESPACE   where the operator runs (kapok-<product> with own, else kapok-<product>-system); it must exist
#   METRICS=off          (default) no metrics are served, because asking who a reader is takes a ClusterRole
#   METRICS=open         metrics as plain HTTP to whoever reaches the port
#   METRICS=authorized   metrics as with MODE=all; the ClusterRole for it is in <product>-operator-metrics-auth.yaml
#
# INSTALL_FOLDER is where the files go.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODE=${MODE:-all}
INSTALL_FOLDER=${INSTALL_FOLDER:-$OUT/install}

# check_input refuses what does not fit together before anything is written.
check_input() {
  local namespaces=${NAMESPACES:-} name='[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?'
  case $MODE in
  all | own) [[ -z $namespaces ]] || die "NAMESPACES=$namespaces: MODE=$MODE takes none; use MODE=one or MODE=several" ;;
  one) [[ $namespaces =~ ^$name$ ]] || die "NAMESPACES=$namespaces: MODE=one takes the name of one namespace" ;;
  several) [[ $namespaces =~ ^$name(,$name)+$ ]] || die "NAMESPACES=$namespaces: MODE=several takes names of namespaces, separated by commas without spaces" ;;
  *) die "MODE=$MODE: use own, one, several or all" ;;
  esac
  case $MODE:${METRICS:-} in
  all:) ;;
  all:*) die "METRICS=$METRICS: with MODE=all the metrics are always served to authorized readers" ;;
  *: | *:off | *:open | *:authorized) ;;
  *) die "METRICS=$METRICS: use off, open or authorized" ;;
  esac
  [[ $MODE != all || -z ${OPERATOR_NAMESPACE:-} ]] || die "OPERATOR_NAMESPACE=$OPERATOR_NAMESPACE: with MODE=all it is fixed; the folder config/default has it"
  [[ -z ${OPERATOR_NAMESPACE:-} || $OPERATOR_NAMESPACE =~ ^$name$ ]] || die "OPERATOR_NAMESPACE=$OPERATOR_NAMESPACE: this is not the name of a namespace"
}

# build FOLDER TARGET PRODUCT runs kustomize, puts the image in, and leaves the target whole or as it was.
build() {
  local image
  image=$(printf '%s_OPERATOR_IMAGE' "$3" | tr '[:lower:]-' '[:upper:]_')
  "$kustomize" build "$1" >"$2.new"
  if [[ -n ${!image:-} ]]; then
    sed -i "s|ghcr.io/kapok-operators/$3-operator:[^\"' ]*|${!image}|g" "$2.new"
  fi
  mv "$2.new" "$2"
  say "$3: ${2#"$ROOT"/}"
}

# layer FOLDER NAMESPACE RESOURCES... writes a kustomization; what follows on standard input are its patches.
layer() {
  local folder=$1 namespace=$2 resource
  shift 2
  mkdir -p "$folder"
  {
    printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n'
    [[ -z $namespace ]] || printf 'namespace: %s\n' "$namespace"
    printf 'resources:\n'
    for resource in "$@"; do printf -- '- %s\n' "$resource"; done
    cat
  } >"$folder/kustomization.yaml"
}

# metrics PRODUCT prints the patches of the operator for the chosen way of serving metrics.
metrics() {
  local argument=--metrics-address=0
  case ${METRICS:-off} in
  authorized) return ;;
  open) argument=--metrics-insecure ;;
  off) printf -- '- patch: |\n    {apiVersion: v1, kind: Service, metadata: {name: %s-operator-metrics}, $patch: delete}\n' "$1" ;;
  esac
  printf -- '- target: {kind: Deployment, name: %s-operator}\n  patch: |\n' "$1"
  printf -- '    - {op: add, path: /spec/template/spec/containers/0/args/-, value: %s}\n' "$argument"
}

# namespaced PRODUCT CONFIG writes the layers of an installation without a ClusterRole, and prints their folder.
namespaced() {
  local product=$1 work=$INSTALL_FOLDER/.$1 config own watched namespace layers=(operator)
  own=${OPERATOR_NAMESPACE:-kapok-$product-system}
  watched=${NAMESPACES:-}
  if [[ $MODE == own ]]; then
    own=${OPERATOR_NAMESPACE:-kapok-$product}
    watched=$own
  fi
  rm -rf "$work"
  mkdir -p "$work"
  # kustomize takes folders outside by relative paths alone.
  config=$(realpath --relative-to="$work/operator" "$2")
  layer "$work/operator" "$own" "$config/operator" <<YAML
patches:
- target: {kind: Deployment, name: $product-operator}
  patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: $product-operator}
    spec: {template: {spec: {containers: [{name: operator, env: [{name: WATCH_NAMESPACE, value: "$watched"}]}]}}}
$(metrics "$product")
YAML
  for namespace in ${watched//,/ }; do
    layers+=("in-$namespace")
    layer "$work/in-$namespace" "$namespace" "$config/watched" <<YAML
patches:
- target: {kind: RoleBinding, name: $product-operator}
  patch: |
    - {op: add, path: /subjects/0/namespace, value: $own}
YAML
  done
  layer "$work" '' "${layers[@]}" <<<''
  # Not a part of the installation: a cluster administrator decides about it. The name tells it from another operator's.
  layer "$work/metrics-auth" "$own" "$config/rbac/cluster/metrics" <<YAML
nameSuffix: -$own
patches:
- target: {kind: ClusterRoleBinding}
  patch: |
    - {op: add, path: /subjects/0/namespace, value: $own}
YAML
}

render() {
  local product=$1 config=$2 target=$INSTALL_FOLDER/$1-operator
  mkdir -p "$INSTALL_FOLDER"
  rm -f "$target-metrics-auth.yaml"
  build "$config/crd" "$target-crds.yaml" "$product"
  if [[ $MODE == all ]]; then
    build "$config/default" "$target.yaml" "$product"
    return
  fi
  namespaced "$product" "$config"
  build "$INSTALL_FOLDER/.$product" "$target.yaml" "$product"
  if [[ ${METRICS:-off} == authorized ]]; then
    build "$INSTALL_FOLDER/.$product/metrics-auth" "$target-metrics-auth.yaml" "$product"
  fi
  rm -rf "$INSTALL_FOLDER/.$product"
}

check_input
kustomize=$(cached_tool tools kustomize sigs.k8s.io/kustomize/kustomize/v5)
for folder in "$ROOT"/operators/*/config/default; do
  [[ -d $folder ]] || die 'no operator has a config/default folder'
  config=${folder%/default}
  render "$(basename "${config%/config}")" "$config"
  if [[ -d $config/secretguard ]]; then
    build "$config/secretguard" "$INSTALL_FOLDER/$(basename "${config%/config}")-secretguard.yaml" "$(basename "${config%/config}")"
  fi
done
