#!/usr/bin/env bash
# Renders the installation of each operator into .out/install/<product>-operator.yaml: one file that kubectl applies.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

render() {
  local product=$1 config=$2 target=$OUT/install/$1-operator.yaml kustomize
  kustomize=$(cached_tool tools kustomize sigs.k8s.io/kustomize/kustomize/v5)
  mkdir -p "$OUT/install"
  "$kustomize" build "$config" >"$target.new"
  mv "$target.new" "$target"
  say "$product: .out/install/$product-operator.yaml"
}

for folder in "$ROOT"/operators/*/config/default; do
  [[ -d $folder ]] || die 'no operator has a config/default folder'
  product=$(basename "${folder%/config/default}")
  step "render the $product operator's installation" render "$product" "$folder"
done
