// KL divergence of each row of softmax(zp) from that of softmax(zq). Grid: one block of any multiple of 32 threads per row.
// Logits are f32 whatever the model is, sums are f64: a divergence of near predictions is far smaller than its terms' parts.
#include "element.cuh"

// The largest of a row, the same in every thread; a NaN reaches the sum that is taken next.
__device__ __forceinline__ float block_max(const float *z, unsigned vocab) {
    __shared__ float maxima[32];
    float most = -INFINITY;
    for (unsigned i = threadIdx.x; i < vocab; i += blockDim.x) most = fmaxf(most, z[i]);
    for (int other = 16; other > 0; other /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, other));
    __syncthreads(); // the last maximum has been read
    if (threadIdx.x % 32 == 0) maxima[threadIdx.x / 32] = most;
    __syncthreads();
    for (unsigned w = 0; w < blockDim.x / 32; w++) most = fmaxf(most, maxima[w]);
    return most;
}

// logsumexp(z).
__device__ __forceinline__ double normaliser(const float *z, unsigned vocab) {
    const double most = block_max(z, vocab);
    double sum = 0;
    for (unsigned i = threadIdx.x; i < vocab; i += blockDim.x) sum += exp((double)z[i] - most);
    return most + log(block_sum(sum));
}

// kl[t] = sum_i p_i (exp(-l_i) - 1 + l_i), l_i = ln p_i - ln q_i: no term is negative, and equal rows give 0. Reads 12 bytes x [rows, vocab]
// of each model, most of it from cache.
extern "C" __global__ void kl_forward(
    const float *zp, // [gridDim.x, vocab]
    const float *zq, // [gridDim.x, vocab]
    float *kl,       // [gridDim.x]
    unsigned vocab) {
    zp += (size_t)blockIdx.x * vocab;
    zq += (size_t)blockIdx.x * vocab;
    const double of_p = normaliser(zp, vocab), of_q = normaliser(zq, vocab);
    double sum = 0;
    for (unsigned i = threadIdx.x; i < vocab; i += blockDim.x) {
        const double ln_p = (double)zp[i] - of_p, ln_q = (double)zq[i] - of_q, ratio = ln_p - ln_q, p = exp(ln_p);
        sum += p == 0 ? exp(ln_q) : p * (expm1(-ratio) + ratio); // a NaN is not 0
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) kl[blockIdx.x] = (float)sum;
}
