// Attention of one new token per sequence over that sequence's cached keys and values: o = softmax(q k^T * scale) v over the positions
// 0..=position of the row's slot. A layer's cache is keys and values, each [slots, kv_heads, capacity, head_dim]; a row's result depends
// on its own sequence alone.
//   kernel    grid           threads   moves
//   store     rows           256       4 x [rows, kv_heads * head_dim]
//   forward   (rows, heads)  128       2 x [position + 1, head_dim] a row and head; heads of a group read the same, from cache
// forward: each of the 4 warps takes every fourth tile of 32 keys with a running softmax, its lanes side by side along head_dim; the
// results of the warps are combined in their order. f32 throughout; 4 KiB of shared memory.
#include "element.cuh"

constexpr unsigned THREADS = 128, WARPS = THREADS / 32, WIDEST = 256; // head_dim at most
constexpr unsigned ALL = 0xffffffffu;

// Of every 32 * E elements a lane has `E` consecutive ones.
template <typename T, unsigned E>
__device__ __forceinline__ void attend(
    const T *q, const T *keys, const T *values, T *o, unsigned seen, unsigned head_dim, float scale) {
    constexpr unsigned RUNS = WIDEST / (32 * E);
    __shared__ float sums_of[WARPS][WIDEST], largest_of[WARPS], total_of[WARPS];
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float query[RUNS][E] = {}, sums[RUNS][E] = {};
    for (unsigned n = 0; n < RUNS; n++) {
        const unsigned i = (n * 32 + lane) * E;
        if (i >= head_dim) break;
        const Run<T, E> run = load<E>(q + i);
        for (unsigned e = 0; e < E; e++) query[n][e] = value(run.at[e]) * scale;
    }
    float largest = -INFINITY, total = 0;
    for (unsigned first = warp * 32; first < seen; first += THREADS) {
        const unsigned here = min(32u, seen - first);
        float score = -INFINITY; // of key first + lane
        for (unsigned j = 0; j < here; j++) {
            const T *key = keys + (size_t)(first + j) * head_dim;
            float s = 0;
            for (unsigned n = 0; n < RUNS; n++) {
                const unsigned i = (n * 32 + lane) * E;
                if (i >= head_dim) break;
                const Run<T, E> run = load<E>(key + i);
                for (unsigned e = 0; e < E; e++) s += query[n][e] * value(run.at[e]);
            }
            for (int other = 16; other > 0; other /= 2) s += __shfl_xor_sync(ALL, s, other);
            if (lane == j) score = s;
        }
        float m = fmaxf(largest, score);
        for (int other = 16; other > 0; other /= 2) m = fmaxf(m, __shfl_xor_sync(ALL, m, other));
        const float shrink = expf(largest - m), p = expf(score - m);
        largest = m;
        float sum = p;
        for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(ALL, sum, other);
        total = total * shrink + sum;
        for (unsigned n = 0; n < RUNS; n++)
            for (unsigned e = 0; e < E; e++) sums[n][e] *= shrink;
        for (unsigned j = 0; j < here; j++) {
            const float w = __shfl_sync(ALL, p, j);
            const T *content = values + (size_t)(first + j) * head_dim;
            for (unsigned n = 0; n < RUNS; n++) {
                const unsigned i = (n * 32 + lane) * E;
                if (i >= head_dim) break;
                const Run<T, E> run = load<E>(content + i);
                for (unsigned e = 0; e < E; e++) sums[n][e] += w * value(run.at[e]);
            }
        }
    }
    for (unsigned n = 0; n < RUNS; n++)
        for (unsigned e = 0; e < E; e++) sums_of[warp][(n * 32 + lane) * E + e] = sums[n][e];
    if (lane == 0) {
        largest_of[warp] = largest;
        total_of[warp] = total;
    }
    __syncthreads();
    float m = largest_of[0]; // finite: this warp has a key
    for (unsigned w = 1; w < WARPS; w++) m = fmaxf(m, largest_of[w]);
    float shares[WARPS], all = 0;
    for (unsigned w = 0; w < WARPS; w++) {
        shares[w] = expf(largest_of[w] - m);
        all += total_of[w] * shares[w];
    }
    for (unsigned i = threadIdx.x; i < head_dim; i += THREADS) {
        float sum = 0;
        for (unsigned w = 0; w < WARPS; w++) sum += sums_of[w][i] * shares[w];
        o[i] = rounded<T>(sum / all);
    }
}

#define KERNELS(T)                                                                                                                 \
    extern "C" __global__ void decode_store_##T(                                                                                   \
        const T *k,             /* [rows, kv_heads * head_dim] */                                                                  \
        const T *v,             /* [rows, kv_heads * head_dim] */                                                                  \
        const unsigned *places, /* [2, rows]: slot and position */                                                                 \
        T *keys,                /* [slots, kv_heads, capacity, head_dim] */                                                        \
        T *values,              /* [slots, kv_heads, capacity, head_dim] */                                                        \
        unsigned kv_heads, unsigned head_dim, unsigned capacity) {                                                                 \
        const size_t slot = places[blockIdx.x], position = places[gridDim.x + blockIdx.x];                                         \
        const size_t row = (size_t)blockIdx.x * kv_heads * head_dim;                                                               \
        for (unsigned i = threadIdx.x; i < kv_heads * head_dim; i += blockDim.x) {                                                 \
            const size_t at = ((slot * kv_heads + i / head_dim) * capacity + position) * head_dim + i % head_dim;                  \
            keys[at] = k[row + i];                                                                                                 \
            values[at] = v[row + i];                                                                                               \
        }                                                                                                                          \
    }                                                                                                                              \
    extern "C" __global__ void decode_forward_##T(                                                                                 \
        const T *q,             /* [rows, heads * head_dim] */                                                                     \
        const T *keys,          /* [slots, kv_heads, capacity, head_dim] */                                                        \
        const T *values,        /* [slots, kv_heads, capacity, head_dim] */                                                        \
        const unsigned *places, /* [2, rows]: slot and position */                                                                 \
        T *o,                   /* [rows, heads * head_dim] */                                                                     \
        unsigned heads, unsigned kv_heads, unsigned head_dim, unsigned capacity, float scale) {                                    \
        const size_t slot = places[blockIdx.x], head = blockIdx.y;                                                                 \
        const unsigned seen = places[gridDim.x + blockIdx.x] + 1;                                                                  \
        const size_t one = (blockIdx.x * (size_t)heads + head) * head_dim;                                                         \
        const size_t from = (slot * kv_heads + head / (heads / kv_heads)) * capacity * head_dim;                                   \
        const bool aligned = wide(WIDE<T>, q, keys, values);                                                                       \
        if (aligned && head_dim % 128 == 0) attend<T, 4>(q + one, keys + from, values + from, o + one, seen, head_dim, scale);     \
        else if (aligned && head_dim % 64 == 0) attend<T, 2>(q + one, keys + from, values + from, o + one, seen, head_dim, scale); \
        else attend<T, 1>(q + one, keys + from, values + from, o + one, seen, head_dim, scale);                                    \
    }
KERNELS(float)
KERNELS(bf16)
