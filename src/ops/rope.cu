// Rotary position embedding in place: within a head, element i turns with element i + half; the elements from 2 * half on stay. Angles
// are f32 whatever the dtype.
// Grid: (tokens, any), 256 threads a block; each thread steps over the pairs of its token. Moves 2 x [tokens, heads * 2 * half].
#include "element.cuh"

// (a, b) -> (a cos - b sin sign, b cos + a sin sign); sign -1 turns a gradient back.
template <typename T, unsigned N>
__device__ void turn(T *x, const float *cos, const float *sin, unsigned heads, unsigned head_dim, unsigned half, float sign) {
    const size_t token = blockIdx.x;
    T *row = x + token * heads * head_dim;
    const float *c = cos + token * half, *s = sin + token * half;
    const unsigned runs = half / N;
    for (unsigned i = blockIdx.y * blockDim.x + threadIdx.x; i < heads * runs; i += gridDim.y * blockDim.x) {
        const unsigned angle = i % runs * N;
        T *head = row + (size_t)(i / runs) * head_dim + angle;
        Run<T, N> a = load<N>(head), b = load<N>(head + half);
        for (unsigned j = 0; j < N; j++) {
            const float u = value(a.at[j]), v = value(b.at[j]), turned = s[angle + j] * sign;
            a.at[j] = rounded<T>(u * c[angle + j] - v * turned);
            b.at[j] = rounded<T>(v * c[angle + j] + u * turned);
        }
        store<N>(head, a);
        store<N>(head + half, b);
    }
}

#define KERNELS(T)                                                                                                                 \
    extern "C" __global__ void rope_turn_##T(                                                                                      \
        T *x,             /* [tokens, heads * head_dim], overwritten */                                                            \
        const float *cos, /* [tokens, half], 2 * half <= head_dim */                                                               \
        const float *sin, /* [tokens, half] */                                                                                     \
        unsigned heads, unsigned head_dim, unsigned half, float sign) {                                                            \
        if (wide(half, x) && wide(head_dim, x)) turn<T, WIDE<T>>(x, cos, sin, heads, head_dim, half, sign);                        \
        else turn<T, 1>(x, cos, sin, heads, head_dim, half, sign);                                                                 \
    }
KERNELS(float)
KERNELS(bf16)
