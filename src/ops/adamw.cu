// AdamW over all tensors of an adapter in one launch, after two launches for the gradient norm. Grid: (blocks, tensors); the blocks of a
// tensor stride over its elements. f32, sums of squares f64, in an order that never changes.
#include "element.cuh"

// One tensor of the adapter, by address; the host writes a table of these.
struct Parameter {
    float *value;                // [elements]
    float *first;                // [elements], running mean of the gradient
    float *second;               // [elements], running mean of its square
    const float *gradient;       // [elements]
    unsigned long long elements; // of each
    float keep;                  // 1 - learning rate * weight decay
    float size;                  // learning rate / (1 - beta1^count); by transformers' rule times keep and sqrt(1 - beta2^count)
};

// sums[tensor * gridDim.x + block]: sum of the squares of the block's share. Moves 4 bytes x [elements].
extern "C" __global__ void adamw_square_sums(
    const Parameter *table, // [gridDim.y]
    double *sums)           // [gridDim.y, gridDim.x]
{
    const Parameter p = table[blockIdx.y];
    double sum = 0;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < p.elements; i += (size_t)gridDim.x * blockDim.x)
        sum += (double)p.gradient[i] * p.gradient[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[(size_t)blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// norm[0]: root of the sum of all. One block.
extern "C" __global__ void __launch_bounds__(1024) adamw_norm(
    const double *sums, // [count]
    double *norm,       // [1]
    unsigned count)
{
    double sum = 0;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) sum += sums[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) norm[0] = sqrt(sum);
}

// m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,  p = p keep - size m / (sqrt(v) / root + eps),  g first scaled by
// max_norm / (norm + 1e-6) if that is below 1 and max_norm is not 0; root is sqrt(1 - beta2^count), by transformers' rule 1. Does nothing
// if the norm is not finite.
// Moves 28 bytes x [elements].
extern "C" __global__ void adamw_update(
    const Parameter *table, // [gridDim.y]
    const double *norm,     // [1]
    double max_norm, float root, float beta1, float beta2, float rest1, float rest2, float eps)
{
    if (!(norm[0] < INFINITY)) return; // NaN too
    const float scale = max_norm > 0 ? (float)fmin(max_norm / (norm[0] + 1e-6), 1.0) : 1.0f;
    const Parameter p = table[blockIdx.y];
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < p.elements; i += (size_t)gridDim.x * blockDim.x) {
        const float g = p.gradient[i] * scale;
        const float m = beta1 * p.first[i] + rest1 * g;
        const float v = beta2 * p.second[i] + rest2 * g * g;
        p.first[i] = m;
        p.second[i] = v;
        p.value[i] = p.value[i] * p.keep - p.size * m / (sqrtf(v) / root + eps);
    }
}
