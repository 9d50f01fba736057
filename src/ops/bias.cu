// The bias of a linear layer, added in place: y[t,i] += bias[i]. Grid: (tokens, any), 256 threads a block; each thread steps over the
// columns of its token. The sum is made in f32 and rounded once. Moves 2 x [tokens, out].
#include "element.cuh"

template <typename T, unsigned N>
__device__ void add(T *y, const T *bias, unsigned out) {
    T *row = y + (size_t)blockIdx.x * out;
    for (unsigned i = (blockIdx.y * blockDim.x + threadIdx.x) * N; i < out; i += gridDim.y * blockDim.x * N) {
        Run<T, N> a = load<N>(row + i);
        const Run<T, N> b = load<N>(bias + i);
        for (unsigned j = 0; j < N; j++) a.at[j] = rounded<T>(value(a.at[j]) + value(b.at[j]));
        store<N>(row + i, a);
    }
}

#define KERNELS(T)                                                                                                                 \
    extern "C" __global__ void bias_add_##T(                                                                                       \
        T *y,          /* [tokens, out], overwritten */                                                                            \
        const T *bias, /* [out] */                                                                                                 \
        unsigned out) {                                                                                                            \
        if (wide(out, y, bias)) add<T, WIDE<T>>(y, bias, out);                                                                     \
        else add<T, 1>(y, bias, out);                                                                                              \
    }
KERNELS(float)
KERNELS(bf16)
