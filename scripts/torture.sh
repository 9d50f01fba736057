#!/usr/bin/env bash
# Fault and load sheet: see scripts/torture/torture.py, or --help. Needs Linux, python3 3.11, and cc for the rows with failing calls.
set -euo pipefail
folder="$(cd "$(dirname "$0")" && pwd)"
if ! command -v python3 >/dev/null; then
  echo 'torture: python3 is missing: nothing was tried' >&2
  exit 2
fi
exec python3 -B "$folder/torture/torture.py" "$@"
