// SwiGLU: y = silu(gate) * up, element by element. Grid: any, each thread steps over the whole; 256 threads a block.
// Arithmetic in f32, each result rounded once.
#include "element.cuh"

__device__ __forceinline__ float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

// y = gate * s * up, s = 1 / (1 + exp(-gate)). Moves 3 x [elements].
template <typename T, unsigned N>
__device__ void forward(const T *gate, const T *up, T *y, size_t elements) {
    const size_t step = (size_t)gridDim.x * blockDim.x * N;
    for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < elements; i += step) {
        Run<T, N> a = load<N>(gate + i);
        const Run<T, N> b = load<N>(up + i);
        for (unsigned j = 0; j < N; j++) {
            const float z = value(a.at[j]);
            a.at[j] = rounded<T>(z * sigmoid(z) * value(b.at[j]));
        }
        store<N>(y + i, a);
    }
}

// dgate = dy * up * s * (1 + gate * (1 - s)),  dup = dy * gate * s. Moves 5 x [elements].
template <typename T, unsigned N>
__device__ void backward(const T *dy, const T *gate, const T *up, T *dgate, T *dup, size_t elements) {
    const size_t step = (size_t)gridDim.x * blockDim.x * N;
    for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < elements; i += step) {
        const Run<T, N> d = load<N>(dy + i);
        Run<T, N> a = load<N>(gate + i), b = load<N>(up + i);
        for (unsigned j = 0; j < N; j++) {
            const float z = value(a.at[j]), u = value(b.at[j]), g = value(d.at[j]), s = sigmoid(z);
            a.at[j] = rounded<T>(g * u * s * (1.0f + z * (1.0f - s)));
            b.at[j] = rounded<T>(g * z * s);
        }
        store<N>(dgate + i, a);
        store<N>(dup + i, b);
    }
}

#define KERNELS(T)                                                                                                                 \
    extern "C" __global__ void swiglu_forward_##T(                                                                                 \
        const T *gate, /* [elements] */                                                                                            \
        const T *up,   /* [elements] */                                                                                            \
        T *y,          /* [elements] */                                                                                            \
        unsigned long long elements) {                                                                                             \
        if (wide(elements, gate, up, y)) forward<T, WIDE<T>>(gate, up, y, elements);                                               \
        else forward<T, 1>(gate, up, y, elements);                                                                                 \
    }                                                                                                                              \
    extern "C" __global__ void swiglu_backward_##T(                                                                                \
        const T *dy,   /* [elements] */                                                                                            \
        const T *gate, /* [elements] */                                                                                            \
        const T *up,   /* [elements] */                                                                                            \
        T *dgate,      /* [elements] */                                                                                            \
        T *dup,        /* [elements] */                                                                                            \
        unsigned long long elements) {                                                                                             \
        if (wide(elements, dy, gate, up, dgate, dup)) backward<T, WIDE<T>>(dy, gate, up, dgate, dup, elements);                    \
        else backward<T, 1>(dy, gate, up, dgate, dup, elements);                                                                   \
    }
KERNELS(float)
KERNELS(bf16)
