#!/usr/bin/env bash
# Runs golangci-lint in every module with the configuration at the root. Usage: hack/lint.sh [fmt]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

golangci=$(cached_tool lint golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
command=(run --timeout 20m)
[[ ${1:-} != fmt ]] || command=(fmt)

in_folder() {
  cd "$1"
  "$golangci" "${command[@]}" --config "$ROOT/.golangci.yml" ./...
}

outside() {
  export GOWORK=off
  in_folder "$1"
}

failed=0
for module in $(work_modules); do
  try "lint ${module#"$ROOT"/}" in_folder "$module"
  ((TRIED == 0)) || failed=1
done
for module in $(other_modules); do
  try "lint ${module#"$ROOT"/}" outside "$module"
  ((TRIED == 0)) || failed=1
done
exit "$failed"
