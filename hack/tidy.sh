#!/usr/bin/env bash
# Tidies and builds each published module from its own go.mod alone, as a stranger would get it. What it requires from
# this repository is not published yet, so a module proxy made from the checkout stands in front of the machine's own
# (docs/adr/0010). Usage: hack/tidy.sh check|write
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

OURS=github.com/kapok-operators/kapok
mode=${1:-check}
work=$(mktemp -d)
versions=$work/versions

# forget removes from the module cache the versions that were made up here, and only those.
forget() {
  local path version cache
  cache=$(go env GOMODCACHE)
  while read -r path version; do
    if [[ -d $cache/$path@$version ]]; then
      chmod -R u+w "$cache/$path@$version"
      rm -rf "$cache/${path:?}@${version:?}"
    fi
    rm -f "$cache/cache/download/$path/@v/$version".* "$cache/cache/download/$path/@v/list"
  done <"$versions"
  rm -rf "$work"
}

# pinned FILE rewrites the versions of our own modules in a go.mod to those of the checkout.
pinned() {
  local path version
  while read -r path version; do
    sed -i -E "s#^([[:space:]]*(require )?$path) v[^ ]+#\1 $version#" "$1"
  done <"$versions"
}

# restored FILE ORIGINAL gives our own modules in a tidied go.mod the versions of the original.
restored() {
  local path version old
  while read -r path version; do
    old=$(awk -v path="$path" '$1 == "require" {sub(/^require /, "")} $1 == path {print $2}' "$2")
    sed -i -E "s#^([[:space:]]*(require )?$path) $version#\1 ${old:-v0.1.0}#" "$1"
  done <"$versions"
}

# alone MODULE ARGUMENTS... runs the go command in a module outside the workspace with its pinned go.mod.
alone() {
  local module=$1
  shift
  # The checksum database knows nothing of what is not published; it stays on for everybody else's modules.
  GOWORK=off GOFLAGS="$GOFLAGS -modfile=$work/current/go.mod" \
    GOPROXY="file://$work/proxy,$(go env GOPROXY)" \
    GONOSUMDB="$OURS/*${GONOSUMDB:+,$GONOSUMDB}" \
    go -C "$module" "$@"
}

# module_lane FOLDER tidies a copy of the module's go.mod, compares or writes it, and looks at the module's code with it.
module_lane() {
  local module=$1 copy=$work/current status=0
  rm -rf "$copy"
  mkdir "$copy"
  cp "$module/go.mod" "$copy/go.mod"
  [[ ! -f $module/go.sum ]] || grep -v "^$OURS/" "$module/go.sum" >"$copy/go.sum" || true
  pinned "$copy/go.mod"
  alone "$module" mod tidy
  cp "$copy/go.mod" "$copy/tidy.mod"
  restored "$copy/tidy.mod" "$module/go.mod"
  # Sums of our own modules change with every edit and are not kept before they are published.
  grep -v "^$OURS/" "$copy/go.sum" >"$copy/tidy.sum" || true
  if [[ $mode == write ]]; then
    cp "$copy/tidy.mod" "$module/go.mod"
    cp "$copy/tidy.sum" "$module/go.sum"
    return 0
  fi
  diff -u "$module/go.mod" "$copy/tidy.mod" || status=1
  diff -u "$module/go.sum" "$copy/tidy.sum" || status=1
  ((status == 0)) || say "${module#"$ROOT"/} is not tidy: run make tidy"
  alone "$module" vet ./...
  return "$status"
}

# other_lane FOLDER is for the modules that are never published: they stand on their own already.
other_lane() {
  if [[ $mode == write ]]; then
    GOWORK=off go -C "$1" mod tidy
  else
    GOWORK=off go -C "$1" mod tidy -diff
    GOWORK=off go -C "$1" vet ./...
  fi
}

verify=$(go_tool verify)
"$verify" proxy -root "$ROOT" -out "$work/proxy" >"$versions"
trap 'stop_background; forget' EXIT
failed=0
for module in $(work_modules); do
  try "${module#"$ROOT"/} alone" module_lane "$module"
  ((TRIED == 0)) || failed=1
done
for module in $(other_modules); do
  try "${module#"$ROOT"/}" other_lane "$module"
  ((TRIED == 0)) || failed=1
done
exit "$failed"
