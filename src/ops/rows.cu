// Rows of a matrix by index, and their gradient, without atomics: one block writes each row of the result and adds what belongs to it in
// the order of the list. Grid: one block of 256 threads per row of the result.
#include "element.cuh"

// y[i,:] = x[rows[i],:]. Moves 2 x [count, columns].
template <typename T, unsigned N> __device__ void gather(const T *x, const unsigned *rows, T *y, unsigned columns) {
    const T *from = x + (size_t)rows[blockIdx.x] * columns;
    T *to = y + (size_t)blockIdx.x * columns;
    for (unsigned i = threadIdx.x * N; i < columns; i += blockDim.x * N) store<N>(to + i, load<N>(from + i));
}

// Entries of `rows` that a block finds before it adds them up: several times its threads, so that one pass usually suffices.
constexpr unsigned FOUND = 1024;

// y[r,:] = sum over i with rows[i] == r of part[i,:]. Sums in f32, rounded once unless hundreds belong to one row.
// Moves [count, columns] + [gridDim.x, columns]; `rows` is read by every block, from cache.
template <typename T, unsigned N>
__device__ void spread(const T *part, const unsigned *rows, T *y, unsigned count, unsigned columns) {
    __shared__ unsigned found[FOUND], warps[32];
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    T *to = y + (size_t)blockIdx.x * columns;
    bool first = true;
    unsigned from = 0;
    do { // once, unless more than FOUND entries belong to this row
        unsigned n = 0;
        for (; from < count && n + blockDim.x <= FOUND; from += blockDim.x) {
            const unsigned i = from + threadIdx.x;
            const bool mine = i < count && rows[i] == blockIdx.x;
            const unsigned votes = __ballot_sync(0xffffffffu, mine);
            if (lane == 0) warps[warp] = __popc(votes);
            __syncthreads();
            unsigned place = n + __popc(votes & ((1u << lane) - 1));
            for (unsigned w = 0; w < blockDim.x / 32; w++) {
                if (w < warp) place += warps[w];
                n += warps[w];
            }
            if (mine) found[place] = i;
            __syncthreads();
        }
        for (unsigned i = threadIdx.x * N; i < columns; i += blockDim.x * N) {
            float sums[N] = {};
            if (!first) {
                const Run<T, N> before = load<N>(to + i);
                for (unsigned j = 0; j < N; j++) sums[j] = value(before.at[j]);
            }
            for (unsigned f = 0; f < n; f++) {
                const Run<T, N> a = load<N>(part + (size_t)found[f] * columns + i);
                for (unsigned j = 0; j < N; j++) sums[j] += value(a.at[j]);
            }
            Run<T, N> out;
            for (unsigned j = 0; j < N; j++) out.at[j] = rounded<T>(sums[j]);
            store<N>(to + i, out);
        }
        first = false;
    } while (from < count);
}

#define KERNELS(T)                                                                                                                 \
    extern "C" __global__ void rows_gather_##T(                                                                                    \
        const T *x,           /* [from, columns] */                                                                                \
        const unsigned *rows, /* [count], each below from */                                                                       \
        T *y,                 /* [count, columns] */                                                                               \
        unsigned columns) {                                                                                                        \
        if (wide(columns, x, y)) gather<T, WIDE<T>>(x, rows, y, columns);                                                          \
        else gather<T, 1>(x, rows, y, columns);                                                                                    \
    }                                                                                                                              \
    extern "C" __global__ void rows_spread_##T(                                                                                    \
        const T *part,        /* [count, columns] */                                                                               \
        const unsigned *rows, /* [count] */                                                                                        \
        T *y,                 /* [gridDim.x, columns] */                                                                           \
        unsigned count, unsigned columns) {                                                                                        \
        if (wide(columns, part, y)) spread<T, WIDE<T>>(part, rows, y, count, columns);                                             \
        else spread<T, 1>(part, rows, y, count, columns);                                                                          \
    }
KERNELS(float)
KERNELS(bf16)
