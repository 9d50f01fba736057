// RMSNorm fused with the residual addition before it. Grid: one block of any multiple of 32 threads per token, any hidden size.
// Two passes over the row, the second from cache; arithmetic in f32, each result rounded once.
#include "element.cuh"

// y[i] = h[i] * scale * w[i] of one row.
template <typename T, unsigned N>
__device__ void scale_row(const T *h, float scale, const T *w, T *y, unsigned hidden) {
    for (unsigned i = threadIdx.x * N; i < hidden; i += blockDim.x * N) {
        Run<T, N> a = load<N>(h + i);
        const Run<T, N> b = load<N>(w + i);
        for (unsigned j = 0; j < N; j++) a.at[j] = rounded<T>(value(a.at[j]) * scale * value(b.at[j]));
        store<N>(y + i, a);
    }
}

// h[t,i] = x[t,i] + delta[t,i];  inv[t] = 1 / sqrt(mean_i(h[t,:]^2) + eps);  y[t,i] = h[t,i] * inv[t] * w[i]
// Moves 4 x [tokens, hidden]; without a delta h is x and is not written: 2 x.
template <typename T, unsigned N>
__device__ void forward(const T *x, const T *delta, const T *w, T *h, T *y, float *inv, unsigned hidden, float eps) {
    const size_t row = (size_t)blockIdx.x * hidden;
    float squares = 0;
    for (unsigned i = threadIdx.x * N; i < hidden; i += blockDim.x * N) {
        Run<T, N> a = load<N>(x + row + i);
        if (delta) {
            const Run<T, N> b = load<N>(delta + row + i);
            for (unsigned j = 0; j < N; j++) a.at[j] = rounded<T>(value(a.at[j]) + value(b.at[j]));
            store<N>(h + row + i, a);
        }
        for (unsigned j = 0; j < N; j++) squares += value(a.at[j]) * value(a.at[j]);
    }
    const float mean = block_sum(squares) / hidden;
    // 1 / sqrt(inf) is 0, which would turn a row that overflows into zeros.
    const float scale = mean < INFINITY ? 1.0f / sqrtf(mean + eps) : NAN;
    if (threadIdx.x == 0) inv[blockIdx.x] = scale;
    scale_row<T, N>((delta ? h : x) + row, scale, w, y + row, hidden); // each thread reads back what it wrote itself
}

// y[t,i] = h[t,i] * inv[t] * w[i]: bit for bit what the forward pass wrote. Moves 2 x [tokens, hidden].
template <typename T, unsigned N>
__device__ void apply(const T *h, const float *inv, const T *w, T *y, unsigned hidden) {
    const size_t row = (size_t)blockIdx.x * hidden;
    scale_row<T, N>(h + row, inv[blockIdx.x], w, y + row, hidden);
}

// dx[t,i] = residual[t,i] + inv[t] * dy[t,i] * w[i] - h[t,i] * inv[t]^3 * mean_i(h[t,:] * dy[t,:] * w[:])
// Moves 4 x [tokens, hidden] with a residual, 3 x without.
template <typename T, unsigned N>
__device__ void backward(const T *dy, const T *h, const float *inv, const T *w, const T *residual, T *dx, unsigned hidden) {
    const size_t row = (size_t)blockIdx.x * hidden;
    float pulls = 0;
    for (unsigned i = threadIdx.x * N; i < hidden; i += blockDim.x * N) {
        const Run<T, N> a = load<N>(dy + row + i), b = load<N>(h + row + i), c = load<N>(w + i);
        for (unsigned j = 0; j < N; j++) pulls += value(a.at[j]) * value(c.at[j]) * value(b.at[j]);
    }
    const float scale = inv[blockIdx.x];
    const float pull = block_sum(pulls) / hidden * scale * scale * scale;
    for (unsigned i = threadIdx.x * N; i < hidden; i += blockDim.x * N) {
        const Run<T, N> a = load<N>(dy + row + i), b = load<N>(h + row + i), c = load<N>(w + i);
        Run<T, N> r = {};
        if (residual) r = load<N>(residual + row + i);
        for (unsigned j = 0; j < N; j++)
            r.at[j] = rounded<T>(value(a.at[j]) * value(c.at[j]) * scale - value(b.at[j]) * pull + value(r.at[j]));
        store<N>(dx + row + i, r);
    }
}

#define KERNELS(T)                                                                                                                 \
    extern "C" __global__ void rms_norm_forward_##T(                                                                               \
        const T *x,     /* [tokens, hidden] */                                                                                     \
        const T *delta, /* [tokens, hidden] or null */                                                                             \
        const T *w,     /* [hidden] */                                                                                             \
        T *h,           /* [tokens, hidden]; null without a delta */                                                               \
        T *y,           /* [tokens, hidden] */                                                                                     \
        float *inv,     /* [tokens], kept for the backward pass */                                                                 \
        unsigned hidden, float eps) {                                                                                              \
        if (wide(hidden, x, delta, w, h, y)) forward<T, WIDE<T>>(x, delta, w, h, y, inv, hidden, eps);                             \
        else forward<T, 1>(x, delta, w, h, y, inv, hidden, eps);                                                                   \
    }                                                                                                                              \
    extern "C" __global__ void rms_norm_apply_##T(                                                                                 \
        const T *h,       /* [tokens, hidden] */                                                                                   \
        const float *inv, /* [tokens] */                                                                                           \
        const T *w,       /* [hidden] */                                                                                           \
        T *y,             /* [tokens, hidden] */                                                                                   \
        unsigned hidden) {                                                                                                         \
        if (wide(hidden, h, w, y)) apply<T, WIDE<T>>(h, inv, w, y, hidden);                                                        \
        else apply<T, 1>(h, inv, w, y, hidden);                                                                                    \
    }                                                                                                                              \
    extern "C" __global__ void rms_norm_backward_##T(                                                                              \
        const T *dy,       /* [tokens, hidden] */                                                                                  \
        const T *h,        /* [tokens, hidden] */                                                                                  \
        const float *inv,  /* [tokens] */                                                                                          \
        const T *w,        /* [hidden] */                                                                                          \
        const T *residual, /* [tokens, hidden] or null */                                                                          \
        T *dx,             /* [tokens, hidden] */                                                                                  \
        unsigned hidden) {                                                                                                         \
        if (wide(hidden, dy, h, w, residual, dx)) backward<T, WIDE<T>>(dy, h, inv, w, residual, dx, hidden);                       \
        else backward<T, 1>(dy, h, inv, w, residual, dx, hidden);                                                                  \
    }
KERNELS(float)
KERNELS(bf16)
