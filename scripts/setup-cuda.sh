#!/usr/bin/env bash
# Lays out what `cargo build --features cuda` needs on a machine without a CUDA toolkit: nvcc and headers from NVIDIA's Python wheels,
# and stand-ins for the driver, cuBLAS and NCCL, for the linker. Needs no root and no GPU; takes about 270 MB. A machine that trains has the
# real libraries: with a system toolkit (12.x or 13) it does not need this script.
#
#   scripts/setup-cuda.sh [FOLDER]        FOLDER: default ~/.cache/mvpbench/cuda
#   source FOLDER/env.sh
#   cargo build --release --features cuda
set -euo pipefail
cd "$(dirname "$0")/.."
scripts="$PWD/scripts"
folder="$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/mvpbench/cuda}")"

# One release throughout: nvcc 13.0 writes PTX 9.0, which drivers from 580 on read.
wheels="nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85"
# The wheels unpack into one folder, which is laid out as a toolkit.
toolkit="$folder/wheels/nvidia/cu13"

fetched="$folder/fetched-$(echo "$wheels" | cksum | cut -d' ' -f1)"
if [ ! -e "$fetched" ]; then
  rm -rf "$folder/wheels"
  mkdir -p "$folder"
  # shellcheck disable=SC2086 # one argument for each wheel
  "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --only-binary=:all: \
    --no-deps --no-compile --target "$folder/wheels" $wheels || {
    echo "setup-cuda: pip could not fetch the wheels" >&2
    exit 75
  }
  touch "$fetched"
fi
# Names without a version, which the linker looks for.
for library in "$toolkit"/lib/lib*.so.*; do
  name="$(basename "$library")"
  ln -sfn "$name" "$toolkit/lib/${name%%.so.*}.so"
done
ln -sfn lib "$toolkit/lib64"

# A stand-in: a library with the real one's name that defines every function named in the files; each returns CUDA_ERROR_STUB_LIBRARY.
# The linker needs it, and so does a program that starts without a GPU.
stand_in() { # name, soname, how the functions begin, files that name them
  local name="$1" soname="$2" begin="$3"
  shift 3
  mkdir -p "$toolkit/lib/stubs" "$folder/start"
  cat "$@" | grep -oE "\b$begin[A-Za-z0-9_]+" | sort -u | sed 's/.*/int &(void) { return 34; }/' > "$folder/$name.c"
  cc -w -fno-builtin -shared -fPIC -Wl,-soname,"$soname" -o "$toolkit/lib/stubs/lib$name.so" "$folder/$name.c"
  ln -sfn "$toolkit/lib/stubs/lib$name.so" "$folder/start/$soname"
}
# candle binds CUDA through the crate cudarc, whose sources name what it calls.
cargo fetch --quiet --locked
bindings="$(dirname "$(cargo metadata --format-version 1 --locked --features cuda |
  grep -oE '"manifest_path":"[^"]*/cudarc-[0-9][^"]*"' | head -1 | cut -d'"' -f4)")/src"
stand_in cuda     libcuda.so.1     'cu[A-Z]'       "$toolkit/include/cuda.h"
stand_in cublas   libcublas.so.13   'cublas[A-Z]'   "$bindings/cublas/sys/mod.rs"
stand_in cublasLt libcublasLt.so.13 'cublasLt[A-Z]' "$bindings/cublaslt/sys/mod.rs"
stand_in curand   libcurand.so.10   'curand[A-Z]'   "$bindings/curand/sys/mod.rs"
stand_in nvrtc    libnvrtc.so.13    'nvrtc[A-Z]'    "$bindings/nvrtc/sys/mod.rs"
stand_in nccl     libnccl.so.2      'p?nccl[A-Z]'   "$bindings/nccl/sys/mod.rs"

# `CUDA_COMPUTE_CAP` is the oldest card that candle's own kernels run on; ours always run on 8.0 and later.
cat > "$folder/env.sh" <<ENVIRONMENT
export CUDA_HOME="$toolkit" CUDA_PATH="$toolkit" CUDA_ROOT="$toolkit"
export CUDA_COMPUTE_CAP="\${CUDA_COMPUTE_CAP:-80}" CUDARC_CUDA_VERSION=13000
export NVCC="\${NVCC:-$scripts/nvcc-slim}" REAL_NVCC="$toolkit/bin/nvcc"
export PATH="$toolkit/bin:\$PATH"
export LIBRARY_PATH="$toolkit/lib:$toolkit/lib/stubs\${LIBRARY_PATH:+:\$LIBRARY_PATH}"
# With this in LD_LIBRARY_PATH a program built here starts without a driver, for \`--help\` and \`--device cpu\`.
export MVPBENCH_CUDA_STAND_INS="$toolkit/lib:$folder/start"
ENVIRONMENT
"$toolkit/bin/nvcc" --version | grep release
echo "source $folder/env.sh"
