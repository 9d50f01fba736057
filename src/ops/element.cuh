// Elements as kernels read and write them: bf16 or f32 in memory, f32 in registers, up to 16 bytes at a time; and sums over a block in
// an order that never changes. The same source is compiled as C++ by the tests.
#pragma once

struct bf16 {
    unsigned short bits;
};

__device__ __forceinline__ float value(float x) { return x; }
__device__ __forceinline__ float value(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }

// `x` in the type of memory, to nearest, ties to even; NaN stays NaN.
template <typename T> __device__ __forceinline__ T rounded(float x);
template <> __device__ __forceinline__ float rounded<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 rounded<bf16>(float x) {
    bf16 y;
#ifdef __CUDA_ARCH__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    const unsigned u = __float_as_uint(x);
    y.bits = (unsigned short)((u & 0x7fffffffu) > 0x7f800000u ? u >> 16 | 64u : (u + 0x7fffu + (u >> 16 & 1u)) >> 16);
#endif
    return y;
}

// `N` elements that are moved together.
template <typename T, unsigned N> struct alignas(N * sizeof(T)) Run {
    T at[N];
};
template <unsigned N, typename T> __device__ __forceinline__ Run<T, N> load(const T *p) {
    return *reinterpret_cast<const Run<T, N> *>(p);
}
template <unsigned N, typename T> __device__ __forceinline__ void store(T *p, const Run<T, N> &run) {
    *reinterpret_cast<Run<T, N> *>(p) = run;
}

// Elements in 16 bytes.
template <typename T> constexpr unsigned WIDE = 16 / sizeof(T);

// Whether rows of `columns` elements at `p` can be moved 16 bytes at a time.
template <typename T> __device__ __forceinline__ bool wide(unsigned long long columns, const T *p) {
    return columns % WIDE<T> == 0 && reinterpret_cast<unsigned long long>(p) % 16 == 0;
}
template <typename T, typename... Rest>
__device__ __forceinline__ bool wide(unsigned long long columns, const T *p, const Rest *...rest) {
    return wide(columns, p) && wide(columns, rest...);
}

// Sum of `x` over the block, the same bits in every thread. `blockDim.x` is a multiple of 32; all threads call it.
template <typename F> __device__ __forceinline__ F block_sum(F x) {
    __shared__ F warps[32];
    for (int other = 16; other > 0; other /= 2) x += __shfl_xor_sync(0xffffffffu, x, other);
    __syncthreads(); // the last sum has been read
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = threadIdx.x % 32 < blockDim.x / 32 ? warps[threadIdx.x % 32] : F(0);
    for (int other = 16; other > 0; other /= 2) x += __shfl_xor_sync(0xffffffffu, x, other);
    return x;
}
