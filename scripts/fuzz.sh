#!/usr/bin/env bash
# Fuzzes the readers of foreign files for SECONDS_PER_TARGET (300) and writes a table to OUT.md: see fuzz/README.md.
#   scripts/fuzz.sh [SECONDS_PER_TARGET] [OUT.md] [MORE ARGUMENTS OF fuzz/run.py]
set -euo pipefail
folder="$(cd "$(dirname "$0")/../fuzz" && pwd)"
for program in python3 cargo-fuzz c++; do
  if ! command -v "$program" >/dev/null; then
    echo "fuzz: $program is missing: nothing was tried (fuzz/README.md has what to install)" >&2
    exit 2
  fi
done
arguments=(--seconds "${1:-300}")
if [ -n "${2:-}" ]; then arguments+=(--output "$2"); fi
shift $(($# < 2 ? $# : 2))
exec python3 -B "$folder/run.py" "${arguments[@]}" "$@"
