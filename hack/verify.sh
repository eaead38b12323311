#!/usr/bin/env bash
# Everything that can be checked without running the product. Each check runs even if an earlier one failed.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# fingerprint names the state of everything that git sees in the checkout, committed or not.
fingerprint() {
  {
    tracked_git diff HEAD
    cd "$ROOT"
    tracked_git ls-files -z --others --exclude-standard | xargs -0 -r sha256sum
  } | sha256sum
}

# generated regenerates and compares: a difference means that somebody edited a generated file or forgot to generate.
generated() {
  local before after
  before=$(fingerprint)
  "$ROOT/hack/generate.sh"
  after=$(fingerprint)
  if [[ $before != "$after" ]]; then
    tracked_git status --short
    die 'generated files were not current: commit what make generate made'
  fi
}

formatted() {
  local files
  files=$(cd "$ROOT" && find . -name '*.go' -not -path './.*' -print0 | xargs -0 -r gofmt -l)
  [[ -z $files ]] || die "not formatted (make fmt): $files"
}

sources() {
  tracked_git ls-files | "$verify" source -root "$ROOT"
}

check() {
  try "$@"
  ((TRIED == 0)) || failed+=("$1")
}

links() {
  tracked_git ls-files | "$verify" links -root "$ROOT"
}

verify=$(go_tool verify)
failed=()
check 'nothing of one machine in the sources' sources
check 'links of the documents' links
check 'formatted' formatted
check 'one Kubernetes minor, nothing replaced' "$verify" modules -root "$ROOT"
check 'generated files are current' generated
check 'modules are tidy and build alone' "$ROOT/hack/tidy.sh" check
check 'lint' "$ROOT/hack/lint.sh"
if ((${#failed[@]} > 0)); then
  printf 'not verified: %s\n' "${failed[@]}" >&2
  exit 1
fi
say 'verified'
