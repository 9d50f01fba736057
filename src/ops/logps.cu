// Log-probability of one token per row of logits, and its gradient. Grid: one block of any multiple of 32 threads per row.
// Logits are f32 whatever the model is: bf16 would round a logit of 20 by up to 0.06 nats.
#include "element.cuh"

// logp[t] = z[t,target[t]] - logsumexp(z[t,:]), by a running maximum and sum, z read once.
// Unless gradient is null, gradient[t,i] = onehot(target[t])[i] - softmax(z[t,:])[i]; it may be z itself (f32). Moves 4 bytes x [rows, vocab];
// with a gradient the same again from cache, and [rows, vocab] of its type.
template <typename T>
__device__ void forward(const float *z, const unsigned *targets, float *logps, T *gradient, unsigned vocab) {
    __shared__ float maxima[32], chosen;
    const size_t row = (size_t)blockIdx.x * vocab;
    const unsigned target = targets[blockIdx.x];
    float largest = -INFINITY, sum = 0;
    for (unsigned i = threadIdx.x; i < vocab; i += blockDim.x) {
        const float x = z[row + i];
        if (i == target) chosen = x;
        if (x > largest) {
            sum = sum * expf(largest - x) + 1.0f;
            largest = x;
        } else {
            sum += largest == x ? 1.0f : expf(x - largest); // NaN reaches the sum; -inf - -inf is not computed
        }
    }
    float most = largest;
    for (int other = 16; other > 0; other /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, other));
    if (threadIdx.x % 32 == 0) maxima[threadIdx.x / 32] = most;
    __syncthreads();
    for (unsigned w = 0; w < blockDim.x / 32; w++) most = fmaxf(most, maxima[w]);
    sum = block_sum(largest == most ? sum : sum * expf(largest - most));
    // A target outside the vocabulary is a mistake of the caller: NaN, never a number.
    if (threadIdx.x == 0) logps[blockIdx.x] = target < vocab ? chosen - most - logf(sum) : NAN;
    if (!gradient) return;
    const float scale = 1.0f / sum;
    for (unsigned i = threadIdx.x; i < vocab; i += blockDim.x)
        gradient[row + i] = rounded<T>((i == target ? 1.0f : 0.0f) - expf(z[row + i] - most) * scale);
}

// dhidden[t,i] = own[t,i] * dlogps[t]. Moves 2 x [rows, hidden].
template <typename T, unsigned N>
__device__ void backward(const float *dlogps, const T *own, T *dhidden, unsigned hidden) {
    const size_t row = (size_t)blockIdx.x * hidden;
    const float scale = dlogps[blockIdx.x];
    for (unsigned i = threadIdx.x * N; i < hidden; i += blockDim.x * N) {
        Run<T, N> a = load<N>(own + row + i);
        for (unsigned j = 0; j < N; j++) a.at[j] = rounded<T>(value(a.at[j]) * scale);
        store<N>(dhidden + row + i, a);
    }
}

#define KERNELS(T)                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(1024) logps_forward_##T(                                                             \
        const float *z,          /* [rows, vocab] */                                                                               \
        const unsigned *targets, /* [rows] */                                                                                      \
        float *logps,            /* [rows] */                                                                                      \
        T *gradient,             /* [rows, vocab] or null */                                                                       \
        unsigned vocab) {                                                                                                          \
        forward<T>(z, targets, logps, gradient, vocab);                                                                            \
    }                                                                                                                              \
    extern "C" __global__ void logps_backward_##T(                                                                                 \
        const float *dlogps, /* [rows] */                                                                                          \
        const T *own,        /* [rows, hidden] */                                                                                  \
        T *dhidden,          /* [rows, hidden] */                                                                                  \
        unsigned hidden) {                                                                                                         \
        if (wide(hidden, own, dhidden)) backward<T, WIDE<T>>(dlogps, own, dhidden, hidden);                                        \
        else backward<T, 1>(dlogps, own, dhidden, hidden);                                                                         \
    }
KERNELS(float)
KERNELS(bf16)
