#!/usr/bin/env bash
# Generates everything that is derived from the sources and committed, and renders the installation manifests.
#
#   hack/generate.sh            all of it
#   hack/generate.sh render     only the installation manifests, into .out/
#
# Generated and committed: deep copies, apply configurations, CustomResourceDefinitions, roles, the API reference.
# Rendered and not committed: .out/mysql-operator.yaml (all namespaces), .out/mysql-operator-namespaced.yaml (its own
# namespace only). The image in them is that of $MYSQL_OPERATOR_IMAGE, if set.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export CGO_ENABLED=0
export GOFLAGS="${GOFLAGS:--trimpath}"

# install_tools builds the pinned tools of hack/tools into bin/, unless they are there already for this go.mod.
install_tools() {
  local stamp=bin/.tools want
  want=$(cat hack/tools/go.mod hack/tools/go.sum | sha256sum | cut -d' ' -f1)
  if [[ -f $stamp && $(<"$stamp") == "$want" ]]; then
    return
  fi
  mkdir -p bin
  echo "generate: building the pinned tools (once per change of hack/tools/go.mod)"
  GOWORK=off GOBIN="$root/bin" go -C hack/tools install \
    sigs.k8s.io/controller-tools/cmd/controller-gen \
    sigs.k8s.io/kustomize/kustomize/v5 \
    github.com/elastic/crd-ref-docs
  echo "$want" >"$stamp"
}

# generate_mysql derives everything of the MySQL operator.
generate_mysql() {
  cd "$root/operators/mysql"
  # The option rule comes first: the definition is made from it.
  go run ./api/internal/optionrule api/v1alpha1/zz_generated.configuration.go
  "$root/bin/controller-gen" object crd output:crd:artifacts:config=config/crd/bases paths=./api/...
  rm -rf api/v1alpha1/applyconfiguration
  "$root/bin/controller-gen" applyconfiguration paths=./api/v1alpha1
  if [[ -d internal/controller ]]; then
    "$root/bin/controller-gen" rbac:roleName=mysql-operator output:rbac:artifacts:config=config/rbac/generated \
      paths=./internal/controller/...
  fi
  cd "$root"
  mkdir -p docs/reference
  bin/crd-ref-docs --source-path=operators/mysql/api/v1alpha1 --config=hack/generate/reference.yaml \
    --templates-dir=hack/generate/templates --renderer=markdown --log-level=ERROR --output-path=docs/reference/mysql.md
}

# render writes the installation manifests.
render() {
  mkdir -p .out
  local overlay target
  for overlay in default:mysql-operator namespaced:mysql-operator-namespaced; do
    target=.out/${overlay#*:}.yaml
    bin/kustomize build "operators/mysql/config/${overlay%:*}" >"$target.tmp"
    if [[ -n ${MYSQL_OPERATOR_IMAGE:-} ]]; then
      sed -i "s|ghcr.io/kapok-operators/mysql-operator:[^\"' ]*|$MYSQL_OPERATOR_IMAGE|g" "$target.tmp"
    fi
    mv "$target.tmp" "$target"
  done
}

install_tools
case ${1:-all} in
all) generate_mysql && render ;;
render) render ;;
*)
  echo "usage: hack/generate.sh [render]" >&2
  exit 2
  ;;
esac
