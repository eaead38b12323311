# shellcheck shell=bash
# Shared by the scripts of this folder; sourced, never run. It finds the checkout, settles the build settings, and
# prints steps with their time.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=$ROOT/bin
OUT=$ROOT/.out
# What is costly to make (tools, the Kubernetes binary, images) stays outside the checkout, named by the hash of what it
# was made from, so that a fresh clone finds it again.
KAPOK_CACHE=${KAPOK_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/kapok}
CLUSTER=${CLUSTER:-local}
# One clock for a script and those that it calls.
KAPOK_BEGAN=${KAPOK_BEGAN:-$(date +%s)}
SECONDS=$(($(date +%s) - KAPOK_BEGAN))
export KAPOK_BEGAN
export ROOT BIN OUT KAPOK_CACHE CLUSTER

# One set of build settings everywhere: the Go build cache is keyed by them, and a second set compiles everything twice.
export CGO_ENABLED=0
settle_goflags() {
  local flags
  flags=$(go env GOFLAGS)
  [[ " $flags " == *" -trimpath "* ]] || flags="$flags -trimpath"
  # A checkout that git does not trust (owned by somebody else), or an archive without .git, cannot be stamped.
  if [[ " $flags " != *" -buildvcs"* ]] && ! git -C "$ROOT" rev-parse --verify --quiet HEAD >/dev/null 2>&1; then
    flags="$flags -buildvcs=false"
  fi
  export GOFLAGS="${flags# }"
}

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# tracked_git runs git on the checkout whoever owns it; safe.directory counts from the command line only.
tracked_git() {
  git -c "safe.directory=$ROOT" -C "$ROOT" "$@"
}

elapsed() {
  local seconds=$1
  printf '%d:%02d' $((seconds / 60)) $((seconds % 60))
}

say() {
  printf '[%s] %s\n' "$(elapsed "$SECONDS")" "$*"
}

# try NAME COMMAND... runs a command, says before and after what it is and how long it took, and leaves its exit status
# in TRIED. It always returns 0, so that it never stands in a condition: there bash would switch off errexit inside the
# command, and a function would go on after its first failure.
try() {
  local name=$1 begun=$SECONDS
  shift
  say "$name ..."
  set +e
  (
    set -e
    "$@"
  )
  TRIED=$?
  set -e
  if ((TRIED == 0)); then
    say "$name: done in $(elapsed $((SECONDS - begun)))"
  else
    say "$name: FAILED after $(elapsed $((SECONDS - begun)))"
  fi
}

# step NAME COMMAND... is try for what the rest cannot do without.
step() {
  try "$@"
  return "$TRIED"
}

# background NAME COMMAND... starts a command beside the others; its output goes to .out/log/NAME.log.
declare -A BACKGROUND_PID=()
background() {
  local name=$1
  shift
  mkdir -p "$OUT/log"
  nice -n 5 "$@" </dev/null >"$OUT/log/$name.log" 2>&1 &
  BACKGROUND_PID[$name]=$!
  say "$name: started in the background (.out/log/$name.log)"
}

# await NAME waits for a background command and says once a minute that it is still at work, with its last line.
await() {
  local name=$1 begun=$SECONDS status=0 last
  local pid=${BACKGROUND_PID[$name]:-}
  [[ -n $pid ]] || return 0
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    if (((SECONDS - begun) % 60 == 59)); then
      last=$(tail -n 1 "$OUT/log/$name.log" 2>/dev/null | cut -c1-120)
      say "$name: still at work: $last"
    fi
  done
  wait "$pid" || status=$?
  unset "BACKGROUND_PID[$name]"
  if ((status != 0)); then
    say "$name: FAILED; the end of .out/log/$name.log:"
    tail -n 40 "$OUT/log/$name.log"
  else
    say "$name: ready"
  fi
  return "$status"
}

# stop_background ends what is still at work when the script ends early.
stop_background() {
  local name
  for name in "${!BACKGROUND_PID[@]}"; do
    kill "${BACKGROUND_PID[$name]}" 2>/dev/null || true
  done
}
trap stop_background EXIT

# content_hash FILE... names the content of files.
content_hash() {
  cat "$@" | sha256sum | cut -c1-16
}

# cached_tool MODULE NAME IMPORT-PATH builds a tool that a module of hack/ pins, once for each state of its go.sum, and
# prints where it is.
cached_tool() {
  local module=$ROOT/hack/$1 name=$2 path=$3 folder
  folder=$KAPOK_CACHE/tools/$name-$(content_hash "$module/go.mod" "$module/go.sum")-$(go env GOVERSION)
  if [[ ! -x $folder/$name ]]; then
    mkdir -p "$folder"
    say "build $name (once for each version)" >&2
    # To another name first, so that a build that is killed leaves nothing that looks finished.
    GOWORK=off nice -n 5 go -C "$module" build -o "$folder/.$name.$$" "$path" >&2
    mv "$folder/.$name.$$" "$folder/$name"
  fi
  printf '%s\n' "$folder/$name"
}

# go_tool NAME builds one of the repository's own commands into bin/ and prints where it is.
go_tool() {
  local name=$1
  mkdir -p "$BIN"
  GOWORK=off go -C "$ROOT/hack/$name" build -o "$BIN/$name" . >&2
  printf '%s\n' "$BIN/$name"
}

# work_modules prints the folders of the modules that go.work uses: the published ones.
work_modules() {
  (cd "$ROOT" && go list -m -f '{{.Dir}}')
}

# other_modules prints the folders of the modules outside the workspace that hold code of this repository.
other_modules() {
  local file
  for file in "$ROOT"/hack/*/go.mod "$ROOT"/operators/*/test/go.mod "$ROOT"/shared/test/go.mod; do
    [[ -f $file ]] || continue
    # Modules that only pin tools hold no code.
    grep -q '^tool' "$file" || dirname "$file"
  done
}

settle_goflags
