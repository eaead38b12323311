#!/usr/bin/env bash
# Generates what is derived from the sources and committed: deep copies, apply configurations, CustomResourceDefinitions,
# roles, the Secret injection guard, and the reference of the API. Running it twice changes nothing.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# api PRODUCT derives everything from the Go types and markers of an operator.
api() {
  local folder=$ROOT/operators/$1
  cd "$folder"
  # The option rule comes first: the definition is made from it.
  if [[ -d api/internal/optionrule ]]; then
    go run ./api/internal/optionrule api/v1alpha1/zz_generated.configuration.go
  fi
  "$controller_gen" object crd output:crd:artifacts:config=config/crd/bases paths=./api/v1alpha1
  # From nothing, so that what belongs to a type that is gone goes too.
  rm -rf api/v1alpha1/applyconfiguration
  "$controller_gen" applyconfiguration paths=./api/v1alpha1
  "$controller_gen" "rbac:roleName=$1-operator" output:rbac:artifacts:config=config/rbac/generated paths=./internal/controller/...
}

# guard PRODUCT writes the Secret injection guard into an operator's installation. It is the same for every operator.
guard() {
  mkdir -p "$ROOT/operators/$1/config/secretguard"
  (cd "$ROOT/shared" && go run ./cmd/secretguard "$ROOT/operators/$1/config/secretguard/guard.yaml")
}

# reference PRODUCT writes the reference of an operator's API for people, a file for each kind. What the kinds share is told
# with the main one.
reference() {
  local definition kind
  mkdir -p "$ROOT/docs/reference"
  for definition in "$ROOT/operators/$1/config/crd/bases/"*.yaml; do
    kind=$(sed -n 's/^    singular: //p' "$definition")
    if [[ $kind == "$1cluster" ]]; then
      "$generate" -crd "$definition" -api "$ROOT/operators/$1/api/v1alpha1" -out "$ROOT/docs/reference/$1.md"
    else
      "$generate" -crd "$definition" -out "$ROOT/docs/reference/$kind.md"
    fi
  done
}

# foreign derives definitions of other people's kinds that tests install, from the module that has their types.
foreign() {
  local folder kind
  folder=$(mktemp -d)
  cd "$ROOT/shared"
  "$controller_gen" crd:maxDescLen=0 output:crd:artifacts:config="$folder" \
    paths=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1
  for kind in podmonitors prometheusrules; do
    cp "$folder/monitoring.coreos.com_$kind.yaml" testkit/crds/
  done
  rm -r "$folder"
}

controller_gen=$(cached_tool tools controller-gen sigs.k8s.io/controller-tools/cmd/controller-gen)
generate=$(go_tool generate)
for api_folder in "$ROOT"/operators/*/api/v1alpha1; do
  product=$(basename "${api_folder%/api/v1alpha1}")
  step "derive the $product operator's API and roles" api "$product"
  step "write the guard of the $product operator's installation" guard "$product"
  step "write the $product operator's reference" reference "$product"
done
step "derive the definitions that tests install" foreign
