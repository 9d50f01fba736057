// AdamW over all tensors of an adapter in one launch, and the norm that it is clipped by in two. Grid: (blocks, tensors), each tensor
// stepped over by its blocks. Everything is f32; sums of squares are f64, in an order that never changes.
#include "element.cuh"

// One tensor of the adapter, by address; the host writes a table of these.
struct Parameter {
    float *value;                // [elements]
    float *first;                // [elements], running mean of the gradient
    float *second;               // [elements], running mean of its square
    const float *gradient;       // [elements]
    unsigned long long elements; // of each
    float keep;                  // 1 - learning rate * weight decay
    float size;                  // learning rate / (1 - beta1^count)
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

// total[0]: sum of all. One block.
extern "C" __global__ void adamw_total(
    const double *sums, // [count]
    double *total,      // [1]
    unsigned count)
{
    double sum = 0;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) sum += sums[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) total[0] = sum;
}

// m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,  p = p keep - size m / (sqrt(v) / root + eps),  g scaled first.
// Moves 28 bytes x [elements].
extern "C" __global__ void adamw_update(
    const Parameter *table, // [gridDim.y]
    float scale, float root, float beta1, float beta2, float rest1, float rest2, float eps)
{
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
