// The token of the largest logit of each row, the lowest id among equal ones. Grid: one block of 1024 threads a row; each row is read once.
#include "element.cuh"

constexpr unsigned NONE = 0xffffffffu; // where a logit is NaN or the largest is infinite

struct Best {
    float logit;
    unsigned id;
};

__device__ __forceinline__ Best better(Best a, Best b) {
    const bool first = a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
    return first ? a : b;
}

// The best of the warp, in every lane.
__device__ __forceinline__ Best warp_best(Best best) {
    for (int other = 16; other > 0; other /= 2)
        best = better(best, {__shfl_xor_sync(0xffffffffu, best.logit, other), __shfl_xor_sync(0xffffffffu, best.id, other)});
    return best;
}

#define KERNELS(T)                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(1024) most_probable_##T(                                                             \
        const T *logits, /* [gridDim.x, vocab] */                                                                                  \
        unsigned *ids,   /* [gridDim.x] */                                                                                         \
        unsigned vocab) {                                                                                                          \
        __shared__ Best warps[32];                                                                                                 \
        const T *row = logits + (size_t)blockIdx.x * vocab;                                                                        \
        Best best = {-INFINITY, NONE};                                                                                             \
        float broken = 0; /* how many are NaN */                                                                                   \
        for (unsigned i = threadIdx.x; i < vocab; i += blockDim.x) {                                                               \
            const float x = value(row[i]);                                                                                         \
            broken += x != x;                                                                                                      \
            best = better(best, {x, i});                                                                                           \
        }                                                                                                                          \
        broken = block_sum(broken);                                                                                                \
        best = warp_best(best);                                                                                                    \
        if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = best;                                                                 \
        __syncthreads();                                                                                                           \
        if (threadIdx.x >= 32) return;                                                                                             \
        best = warp_best(threadIdx.x < blockDim.x / 32 ? warps[threadIdx.x] : Best{-INFINITY, NONE});                              \
        if (threadIdx.x == 0) ids[blockIdx.x] = broken > 0 || !(fabsf(best.logit) < INFINITY) ? NONE : best.id;                    \
    }
KERNELS(float)
KERNELS(bf16)
