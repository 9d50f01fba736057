#!/usr/bin/env bash
# One run on a card that tells all: environment, doctor, the tests that run on a card, training and generation at a 7B's shape beside its
# peers, and the sanitizer. Every part has a limit of time, and one that fails leaves its output and lets the others run. In: a
# checkout, and programs if they are built. Out: OUT/summary.md and a log of each part.
#
#   scripts/first_card.sh OUT [--bin FOLDER] [--tests PROGRAM] [--device cuda|cpu] [--shape 7b|13b|tiny] [--python PYTHON]
#
#   --bin     folder of `mvpbench` and `train` built with `--features cuda`; built here without it
#   --tests   the test program `it` of the same build, for the tests on a card; left out without it where --bin is given
#   --device cpu --shape tiny   a rehearsal: every part that needs no card
#   --python  one with torch, transformers, peft and trl for the peers; their rows are left out without them
#
# At most 20 minutes beside the build. Ends with 0 if every part that could run has passed.
set -uo pipefail
cd "$(dirname "$0")/.."
out='' bin='' tests='' device=cuda shape=7b python=python3
while [ $# -gt 0 ]; do
  case "$1" in
    --bin) bin="$(realpath "${2:?--bin needs a folder}")"; shift ;;
    --tests) tests="$(realpath "${2:?--tests needs a program}")"; shift ;;
    --device) device="${2:?--device needs cuda or cpu}"; shift ;;
    --shape) shape="${2:?--shape needs 7b, 13b or tiny}"; shift ;;
    --python) python="${2:?--python needs a program}"; shift ;;
    -*) echo "first_card: unknown option $1" >&2; exit 2 ;;
    *) [ -z "$out" ] || { echo 'first_card: one OUT' >&2; exit 2; }; out="$1" ;;
  esac
  shift
done
[ -n "$out" ] || { sed -n '6,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$out" && out="$(realpath "$out")" || exit 2
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export MVPBENCH_CACHE="$work/cache"
summary="$out/summary.md"
has() { command -v "$1" >/dev/null 2>&1; }
failures=0
begun_at=-1
{
  echo "# A card, $(date -u +%F)"
  echo
  echo "Commit $(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown). Command: \`scripts/first_card.sh OUT --device $device --shape $shape\`."
  echo
  echo '| part | outcome | s | log |'
  echo '|---|---|---|---|'
} > "$summary"

part() { # name, limit in seconds, command
  local name="$1" limit="$2" log begun=$SECONDS status=0 outcome
  shift 2
  log="$name.log"
  if [ "$begun_at" -ge 0 ]; then
    local left=$((1200 - (SECONDS - begun_at)))
    if [ "$left" -lt 5 ]; then left_out "$name" 'the 20 minutes are over'; return 0; fi
    [ "$limit" -le "$left" ] || limit="$left"
  fi
  echo "== $name"
  timeout --kill-after=10 "$limit" bash -c '"$@"' part "$@" > "$out/$log" 2>&1 < /dev/null || status=$?
  case "$status" in
    0) outcome=passed ;;
    124 | 137) outcome="**over its $limit s**" failures=$((failures + 1)) ;;
    *) outcome="**failed with $status**" failures=$((failures + 1)) ;;
  esac
  echo "| $name | $outcome | $((SECONDS - begun)) | $log |" >> "$summary"
  return "$status"
}
left_out() { echo "| $1 | left out: $2 | | |" >> "$summary"; }

environment() {
  if has nvidia-smi; then
    nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total,power.limit,clocks.max.sm,pcie.link.gen.current,ecc.mode.current --format=csv
    nvidia-smi topo -m
  fi
  if has nvcc; then nvcc --version; fi
  lscpu
  free -g
  git log -1 --oneline 2>/dev/null
  "$python" -c 'import importlib.metadata as m
for name in ("torch", "transformers", "peft", "trl", "flash-attn", "liger-kernel"):
    try: print(name, m.version(name))
    except m.PackageNotFoundError: print(name, "is not installed")' || true
  ldd "$bin/mvpbench"
  "$bin/mvpbench" --version
}
build() {
  local capability
  capability="$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)"
  CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-$capability}" cargo build --release --features cuda --bins
}
generation() { # sequences at once
  awk -v count="$1" 'BEGIN {
    n = split("tell me of a river that runs through the old town and of the people by it", words, " ")
    for (i = 0; i < count; i++) {
      text = ""
      for (j = 0; j < 160; j++) text = text words[(i * 7 + j * 3) % n + 1] " "
      printf "{\"prompt\": \"%s\"}\n", text
    }
  }' > "$work/prompts.jsonl"
  "$bin/mvpbench" generate --model "$model" --device "$device" --prompts "$work/prompts.jsonl" --batch "$1" --max-new-tokens "$2" \
    --output "$work/answers-$1.jsonl"
}

steps=$([ "$shape" = tiny ] && echo 4 || echo 40)
new=$([ "$shape" = tiny ] && echo 8 || echo 64)
model="$work/$shape/model"
ours() { "$python" scripts/bench_gpu.py --mvpbench "$bin/mvpbench" --shape "$shape" --device "$device" --work "$work" "$@"; }
# Parts run in a shell of their own, which can be ended.
export -f has environment build generation ours
export bin device shape python work model
if [ -z "$bin" ]; then
  part build 900 build || { echo 'the build failed: the rest needs it' >> "$summary"; cat "$summary"; exit 1; }
  bin="$(realpath "${CARGO_TARGET_DIR:-target}/release")"
fi
begun_at=$SECONDS
part environment 60 environment
part doctor 240 "$bin/mvpbench" doctor --device "$device" --json="$out/doctor.json" $([ "$shape" = tiny ] && echo --quick)
part first-steps 120 "$bin/train" --config tiny.toml --device "$device" --set train.max_steps=8 --output "$work/tiny"
if [ -n "$tests" ]; then
  MVPBENCH_GPU=real MVPBENCH_REQUIRE='' part golden 300 "$tests" gpu::
else
  left_out golden 'no --tests'
fi
if "$python" -c 'import torch, transformers, peft' 2>/dev/null; then
  part steps 300 ours --steps "$steps" --rounds 1 --only ours 'ours, recompute'
  part steps-dropout 200 ours --steps "$steps" --rounds 1 --dropout 0.05 --only ours
  part peers 300 ours --steps 12 --rounds 1
else
  left_out steps "$python has no torch, transformers and peft, which make the model of a 7B's shape"
  model=embedded:tiny/model
fi
for at_once in 1 16 64; do part "generation-$at_once" 120 generation "$at_once" "$new"; done
if has compute-sanitizer && [ "$device" = cuda ]; then
  part sanitizer 200 compute-sanitizer --error-exitcode 9 "$bin/train" --config tiny.toml --device cuda --set train.max_steps=2 --output "$work/sane"
else
  left_out sanitizer 'no compute-sanitizer, or no card'
fi

{
  echo
  for log in environment doctor steps steps-dropout peers; do
    [ -s "$out/$log.log" ] || continue
    printf '## %s\n\n' "$log"
    # Tables as they are, everything else as it was printed.
    if grep -q '^|' "$out/$log.log"; then grep -v '^left out' "$out/$log.log"; else printf '```\n%s\n```\n' "$(tail -200 "$out/$log.log")"; fi
    echo
  done
  grep -H '^generated: ' "$out"/generation-*.log 2>/dev/null | sed "s|^$out/||; s|.log:|: |; s|^|- |"
} >> "$summary"
cat "$summary"
[ "$failures" -eq 0 ]
