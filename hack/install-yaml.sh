#!/usr/bin/env bash
# Renders the installation of each operator into .out/install/<product>-operator.yaml, one file that kubectl applies, and
# beside it what a cluster's administrator may add: the Secret injection guard, <product>-secretguard.yaml.
# MYSQL_OPERATOR_IMAGE puts another image into the MySQL operator's, for a cluster that pulls from your own registry.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

render() {
  local product=$1 config=$2 target=$OUT/install/$1-operator.yaml image
  image=$(printf '%s_OPERATOR_IMAGE' "$product" | tr '[:lower:]-' '[:upper:]_')
  mkdir -p "$OUT/install"
  "$kustomize" build "$config" >"$target.new"
  if [[ -n ${!image:-} ]]; then
    sed -i "s|ghcr.io/kapok-operators/$product-operator:[^\"' ]*|${!image}|g" "$target.new"
  fi
  mv "$target.new" "$target"
  say "$product: ${target#"$ROOT"/}"
}

# optional PRODUCT NAME FOLDER renders a part of an installation that is applied by itself or left out.
optional() {
  local target=$OUT/install/$1-$2.yaml
  "$kustomize" build "$3" >"$target.new"
  mv "$target.new" "$target"
  say "$1: ${target#"$ROOT"/} (optional)"
}

kustomize=$(cached_tool tools kustomize sigs.k8s.io/kustomize/kustomize/v5)
for folder in "$ROOT"/operators/*/config/default; do
  [[ -d $folder ]] || die 'no operator has a config/default folder'
  module=${folder%/config/default}
  render "$(basename "$module")" "$folder"
  if [[ -d $module/config/secretguard ]]; then
    optional "$(basename "$module")" secretguard "$module/config/secretguard"
  fi
done
