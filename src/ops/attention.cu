// Attention over packed, prefix-shared sequences: o = softmax(q k^T * scale) v, where row i sees the keys start[i]..=i less
// hide_from[i]..hide_to[i]. Kept: the log-sum-exp of each row's scaled scores. Backward, after `delta` = rowsum(d_o * o):
// P = exp(S - lse), dS = P * (d_o v^T - delta), dq = scale dS k, dk = scale dS^T q, dv = P^T d_o. No atomics: the block that owns the keys
// sums `dk` and `dv` over the query heads that read them, the block that owns the rows sums `dq`; the same bits every time.
// One file: nvcc makes one module of each .cu, and all kernels share what a row sees.
//
// On the tensor cores (bf16, head_dim 64 and 128, addresses multiples of 16): 128 threads; each of the 4 warps has 16 rows of the block's
// tile of 64. Tiles of the other side alternate between two buffers, one being copied while the other is multiplied; a tile in which no
// row sees any key is not read. Scores, sums and gradients are f32; P and dS are rounded to bf16 for their products.
//   kernel      block owns     walks over              grid                    dynamic shared memory     products   d = 128   d = 64
//   forward     64 queries     tiles of 64 keys        (tiles, heads)          (64 + 4 * 64) * d * 2     2           80 KiB   40 KiB
//   dq          64 queries     tiles of 64 keys        (tiles, heads)          (128 + 4 * 64) * d * 2    3           96 KiB   48 KiB
//   dkdv        64 keys        tiles of 32 queries,    (tiles, kv_heads)       (128 + 4 * 32) * d * 2    4           65 KiB   33 KiB
//                              heads of the group                              + 2 * 32 * 20
// A product of a tile is 2 * 64 * 64 * d FLOP, half that for dkdv; a tile walked over moves 4 * d bytes a key or query through the caches.
// Registers (nvcc 13.0, sm_90): 182, 217, 237 at d = 128 and 138, 171, 162 at 64, none spilled; so an H100 runs two blocks a processor at
// 128 and three at 64, but two of dq: 171 registers are allocated as 176, of which three blocks would take more than it has.
// A tile's rows are 2 d bytes; piece c of 16 bytes of row r lies at c ^ (r % 8), so that the 8 rows of a matrix lie in different banks.
//
// Plain kernels, for any head_dim, in f32 and bf16: one warp for each row and head, 4 to a block, f32 throughout.
#include "element.cuh"
#include "tensor_core.cuh"

constexpr unsigned THREADS = 128, TILE = 64, NARROW = 32;
constexpr unsigned ALL = 0xffffffffu;
constexpr float LOG2_E = 1.4426950408889634f;

// The keys that a row sees: from `start` to itself, less from..to.
struct Sight {
    unsigned start, from, to;
};

// Of row `row`; a row past the last sees nothing.
__device__ __forceinline__ Sight sight_of(const unsigned *rows /* [3, tokens] */, unsigned row, unsigned tokens) {
    if (row >= tokens) return {ALL, 0, 0};
    const unsigned from = rows[tokens + row], to = rows[2 * tokens + row];
    return {rows[row], from < to ? from : 0, from < to ? to : 0};
}
__device__ __forceinline__ bool sees(const Sight &sight, unsigned row, unsigned key) {
    return key >= sight.start && key <= row && !(key >= sight.from && key < sight.to);
}

// How much of a tile of keys the rows of a tile of queries see.
struct Share {
    bool some, all;
};

// Of keys first..first + KEYS; each lane holds N of the rows, 32 apart. The result is the same in all lanes and warps.
template <unsigned KEYS, unsigned N> __device__ __forceinline__ Share share_of(const Sight (&sights)[N], unsigned row, unsigned first) {
    bool some = false, all = true;
    for (unsigned n = 0; n < N; n++) {
        const Sight sight = sights[n];
        const unsigned mine = row + n * 32 + threadIdx.x % 32, last = first + KEYS - 1;
        const unsigned low = max(first, sight.start), high = min(last, mine);
        some |= low <= high && !(sight.from <= low && high < sight.to);
        all &= sight.start <= first && last <= mine && (sight.to <= first || last < sight.from);
    }
    return {__any_sync(ALL, some) != 0, __all_sync(ALL, all) != 0};
}
template <unsigned N> __device__ __forceinline__ void sights_of(Sight (&sights)[N], const unsigned *rows, unsigned row, unsigned tokens) {
    for (unsigned n = 0; n < N; n++) sights[n] = sight_of(rows, row + n * 32 + threadIdx.x % 32, tokens);
}

// ---- Tiles of the tensor cores ----

template <unsigned D> __device__ __forceinline__ bf16 *piece(bf16 *tile, unsigned row, unsigned c) {
    return tile + row * D + ((c ^ row % 8) * 8);
}

// Begins to copy rows first..first + ROWS of a head; zeros past the last row.
template <unsigned D, unsigned ROWS>
__device__ __forceinline__ void copy_tile(bf16 *tile, const bf16 *head, unsigned stride, unsigned first, unsigned tokens) {
    for (unsigned i = threadIdx.x; i < ROWS * (D / 8); i += THREADS) {
        const unsigned row = i / (D / 8), c = i % (D / 8);
        const bool there = first + row < tokens;
        copy_async(piece<D>(tile, row, c), head + (size_t)(there ? first + row : 0) * stride + c * 8, there);
    }
}

// s [16, 8 N] = a b^T: 16 rows of `a` from `row` on, the first 8 N rows of `b`.
template <unsigned D, unsigned N> __device__ __forceinline__ void scores(float (&s)[N][4], bf16 *a, unsigned row, bf16 *b) {
    const unsigned lane = threadIdx.x % 32;
#pragma unroll
    for (unsigned n = 0; n < N; n++)
        for (unsigned i = 0; i < 4; i++) s[n][i] = 0;
#pragma unroll
    for (unsigned c = 0; c < D / 8; c += 2) {
        unsigned left[4];
        load_matrices(left, piece<D>(a, row + lane % 16, c + lane / 16));
#pragma unroll
        for (unsigned n = 0; n < N; n += 2) {
            unsigned right[4];
            load_matrices(right, piece<D>(b, n * 8 + lane / 16 * 8 + lane % 8, c + lane / 8 % 2));
            multiply_add(s[n], left, {right[0], right[1]});
            multiply_add(s[n + 1], left, {right[2], right[3]});
        }
    }
}

// o [16, D] += p [16, 8 N] b: the first 8 N rows of `b`; p is rounded to bf16.
template <unsigned D, unsigned N> __device__ __forceinline__ void combine(float (&o)[D / 8][4], const float (&p)[N][4], bf16 *b) {
    const unsigned lane = threadIdx.x % 32;
#pragma unroll
    for (unsigned n = 0; n < N; n += 2) {
        const unsigned left[4] = {
            bf16_pair(p[n][0], p[n][1]), bf16_pair(p[n][2], p[n][3]), bf16_pair(p[n + 1][0], p[n + 1][1]), bf16_pair(p[n + 1][2], p[n + 1][3])};
#pragma unroll
        for (unsigned c = 0; c < D / 8; c += 2) {
            unsigned right[4];
            load_matrices_transposed(right, piece<D>(b, n * 8 + lane % 16, c + lane / 16));
            multiply_add(o[c], left, {right[0], right[1]});
            multiply_add(o[c + 1], left, {right[2], right[3]});
        }
    }
}

// Rows row..row + 16 of a head = `o` times the factor of each half.
template <unsigned D>
__device__ __forceinline__ void write_rows(
    bf16 *head, unsigned stride, unsigned row, unsigned tokens, const float (&o)[D / 8][4], float upper, float lower) {
    const unsigned lane = threadIdx.x % 32;
    for (unsigned half = 0; half < 2; half++) {
        const unsigned mine = row + lane / 4 + half * 8;
        if (mine >= tokens) continue;
        const float factor = half ? lower : upper;
        unsigned *to = reinterpret_cast<unsigned *>(head + (size_t)mine * stride) + lane % 4;
#pragma unroll
        for (unsigned n = 0; n < D / 8; n++) to[n * 4] = bf16_pair(o[n][half * 2] * factor, o[n][half * 2 + 1] * factor);
    }
}

// Steps through the tiles of keys that a tile of queries sees.
struct Keys {
    Sight sights[TILE / 32];
    unsigned row, end; // first query; first key after all that they see
    unsigned first;    // key of the tile
    bool all;          // every query sees the whole tile

    __device__ __forceinline__ Keys(const unsigned *rows, unsigned row, unsigned tokens) : row(row), end(min(row + TILE, tokens)) {
        sights_of(sights, rows, row, tokens);
        first = rows[row] / TILE * TILE; // later rows start no earlier
        seek();
    }
    __device__ __forceinline__ void seek() {
        for (; first < end; first += TILE) {
            const Share share = share_of<TILE>(sights, row, first);
            all = share.all;
            if (share.some) return;
        }
    }
    __device__ __forceinline__ bool any() const { return first < end; }
};

// Sets the scores of keys that their rows do not see to negative infinity.
__device__ __forceinline__ void hide(float (&s)[TILE / 8][4], const Sight (&mine)[2], unsigned row, unsigned first) {
    const unsigned lane = threadIdx.x % 32;
#pragma unroll
    for (unsigned n = 0; n < TILE / 8; n++)
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
            if (!sees(mine[i / 2], row + i / 2 * 8, first + n * 8 + lane % 4 * 2 + i % 2)) s[n][i] = -INFINITY;
}

template <unsigned D>
__device__ __forceinline__ void forward(
    const bf16 *q, const bf16 *k, const bf16 *v, const unsigned *rows, bf16 *o, float *lse, unsigned tokens, unsigned heads,
    unsigned kv_heads, float scale) {
    DYNAMIC_SHARED(bf16, queries);
    bf16 *const keys = queries + TILE * D, *const values = keys + 2 * TILE * D;
    const unsigned head = blockIdx.y, kv = head / (heads / kv_heads), stride = heads * D, kv_stride = kv_heads * D;
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.x * TILE, mine = row + warp * 16 + lane / 4;
    const Sight sights[2] = {sight_of(rows, mine, tokens), sight_of(rows, mine + 8, tokens)};
    const float to_log2 = scale * LOG2_E;
    float sums[D / 8][4] = {}, largest[2] = {-INFINITY, -INFINITY}, total[2] = {};

    Keys next(rows, row, tokens);
    copy_tile<D, TILE>(queries, q + head * D, stride, row, tokens);
    const auto copy = [&](unsigned buffer) {
        copy_tile<D, TILE>(keys + buffer * TILE * D, k + kv * D, kv_stride, next.first, tokens);
        copy_tile<D, TILE>(values + buffer * TILE * D, v + kv * D, kv_stride, next.first, tokens);
        copy_commit();
    };
    if (next.any()) copy(0);
    for (unsigned buffer = 0; next.any(); buffer ^= 1) {
        const unsigned first = next.first;
        const bool all = next.all;
        next.first += TILE;
        next.seek();
        if (next.any()) copy(buffer ^ 1);
        else copy_commit(); // an empty group, so that one is always pending
        copy_wait<1>();
        __syncthreads();
        float s[TILE / 8][4];
        scores<D>(s, queries, warp * 16, keys + buffer * TILE * D);
        if (!all) hide(s, sights, mine, first);
#pragma unroll
        for (unsigned half = 0; half < 2; half++) {
            float m = largest[half];
#pragma unroll
            for (unsigned n = 0; n < TILE / 8; n++) m = fmaxf(m, fmaxf(s[n][half * 2], s[n][half * 2 + 1]));
            for (unsigned other = 1; other < 4; other *= 2) m = fmaxf(m, __shfl_xor_sync(ALL, m, other));
            const float shift = m == -INFINITY ? 0 : m * to_log2; // nothing seen so far: everything stays 0
            const float shrink = fast_exp2(largest[half] * to_log2 - shift);
            largest[half] = m;
            float sum = 0;
#pragma unroll
            for (unsigned n = 0; n < TILE / 8; n++)
#pragma unroll
                for (unsigned i = half * 2; i < half * 2 + 2; i++) sum += s[n][i] = fast_exp2(s[n][i] * to_log2 - shift);
            total[half] = total[half] * shrink + sum;
#pragma unroll
            for (unsigned n = 0; n < D / 8; n++)
#pragma unroll
                for (unsigned i = half * 2; i < half * 2 + 2; i++) sums[n][i] *= shrink;
        }
        combine<D>(sums, s, values + buffer * TILE * D);
        __syncthreads(); // the buffer may be copied to again
    }
    copy_wait<0>();
    for (unsigned half = 0; half < 2; half++) {
        for (unsigned other = 1; other < 4; other *= 2) total[half] += __shfl_xor_sync(ALL, total[half], other);
        if (lane % 4 == 0 && mine + half * 8 < tokens)
            lse[(size_t)(mine + half * 8) * heads + head] = largest[half] * scale + logf(total[half]);
    }
    write_rows<D>(o + head * D, stride, row + warp * 16, tokens, sums, 1 / total[0], 1 / total[1]);
}

template <unsigned D>
__device__ __forceinline__ void backward_queries(
    const bf16 *d_o, const bf16 *q, const bf16 *k, const bf16 *v, const float *lse, const float *delta, const unsigned *rows, bf16 *dq,
    unsigned tokens, unsigned heads, unsigned kv_heads, float scale) {
    DYNAMIC_SHARED(bf16, queries);
    bf16 *const slopes = queries + TILE * D, *const keys = slopes + TILE * D, *const values = keys + 2 * TILE * D;
    const unsigned head = blockIdx.y, kv = head / (heads / kv_heads), stride = heads * D, kv_stride = kv_heads * D;
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.x * TILE, mine = row + warp * 16 + lane / 4;
    const Sight sights[2] = {sight_of(rows, mine, tokens), sight_of(rows, mine + 8, tokens)};
    const float to_log2 = scale * LOG2_E;
    float sums[D / 8][4] = {}, shift[2] = {}, pull[2] = {};
    for (unsigned half = 0; half < 2; half++)
        if (mine + half * 8 < tokens) {
            shift[half] = lse[(size_t)(mine + half * 8) * heads + head] * LOG2_E;
            pull[half] = delta[(size_t)(mine + half * 8) * heads + head];
        }

    Keys next(rows, row, tokens);
    copy_tile<D, TILE>(queries, q + head * D, stride, row, tokens);
    copy_tile<D, TILE>(slopes, d_o + head * D, stride, row, tokens);
    const auto copy = [&](unsigned buffer) {
        copy_tile<D, TILE>(keys + buffer * TILE * D, k + kv * D, kv_stride, next.first, tokens);
        copy_tile<D, TILE>(values + buffer * TILE * D, v + kv * D, kv_stride, next.first, tokens);
        copy_commit();
    };
    if (next.any()) copy(0);
    for (unsigned buffer = 0; next.any(); buffer ^= 1) {
        const unsigned first = next.first;
        const bool all = next.all;
        next.first += TILE;
        next.seek();
        if (next.any()) copy(buffer ^ 1);
        else copy_commit();
        copy_wait<1>();
        __syncthreads();
        float s[TILE / 8][4], ds[TILE / 8][4];
        scores<D>(s, queries, warp * 16, keys + buffer * TILE * D);
        if (!all) hide(s, sights, mine, first);
        scores<D>(ds, slopes, warp * 16, values + buffer * TILE * D);
#pragma unroll
        for (unsigned n = 0; n < TILE / 8; n++)
#pragma unroll
            for (unsigned i = 0; i < 4; i++)
                ds[n][i] = fast_exp2(s[n][i] * to_log2 - shift[i / 2]) * (ds[n][i] - pull[i / 2]);
        combine<D>(sums, ds, keys + buffer * TILE * D);
        __syncthreads();
    }
    copy_wait<0>();
    write_rows<D>(dq + head * D, stride, row + warp * 16, tokens, sums, scale, scale);
}

// What the block that owns the keys reads of a query.
struct Query {
    Sight sight;
    float shift, pull; // log-sum-exp in powers of two, delta
};

template <unsigned D>
__device__ __forceinline__ void backward_keys(
    const bf16 *d_o, const bf16 *q, const bf16 *k, const bf16 *v, const float *lse, const float *delta, const unsigned *rows, bf16 *dk,
    bf16 *dv, unsigned tokens, unsigned heads, unsigned kv_heads, float scale) {
    DYNAMIC_SHARED(bf16, keys);
    bf16 *const values = keys + TILE * D, *const queries = values + TILE * D, *const slopes = queries + 2 * NARROW * D;
    Query *const about = reinterpret_cast<Query *>(slopes + 2 * NARROW * D); // [2, NARROW]
    const unsigned kv = blockIdx.y, group = heads / kv_heads, stride = heads * D, kv_stride = kv_heads * D;
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.x * TILE, mine = first + warp * 16 + lane / 4;
    const float to_log2 = scale * LOG2_E;
    float key_sums[D / 8][4] = {}, value_sums[D / 8][4] = {};

    // Moves `row` and `head` to the next tile of queries that sees any of the keys, head by head.
    unsigned head = kv * group, row = first;
    const unsigned heads_end = head + group;
    bool all = false;
    const auto seek = [&] {
        for (; head < heads_end; head++, row = first)
            for (; row < tokens; row += NARROW) {
                Sight sights[1];
                sights_of(sights, rows, row, tokens);
                if (!__any_sync(ALL, sights[0].start < first + TILE)) break; // later rows see none either
                const Share share = share_of<TILE>(sights, row, first);
                all = share.all;
                if (share.some) return;
            }
    };
    const auto copy = [&](unsigned buffer) {
        copy_tile<D, NARROW>(queries + buffer * NARROW * D, q + head * D, stride, row, tokens);
        copy_tile<D, NARROW>(slopes + buffer * NARROW * D, d_o + head * D, stride, row, tokens);
        copy_commit();
        if (threadIdx.x < NARROW) {
            const unsigned query = row + threadIdx.x;
            const bool there = query < tokens;
            const size_t at = (size_t)query * heads + head;
            about[buffer * NARROW + threadIdx.x] = {
                sight_of(rows, query, tokens), there ? lse[at] * LOG2_E : 0, there ? delta[at] : 0};
        }
    };
    copy_tile<D, TILE>(keys, k + kv * D, kv_stride, first, tokens);
    copy_tile<D, TILE>(values, v + kv * D, kv_stride, first, tokens);
    seek();
    if (head < heads_end) copy(0);
    for (unsigned buffer = 0; head < heads_end; buffer ^= 1) {
        const unsigned from = row;
        const bool whole = all;
        row += NARROW;
        seek();
        if (head < heads_end) copy(buffer ^ 1);
        else copy_commit();
        copy_wait<1>();
        __syncthreads();
        const Query *const query = about + buffer * NARROW;
        float p[NARROW / 8][4], ds[NARROW / 8][4]; // [keys, queries]
        scores<D>(p, keys, warp * 16, queries + buffer * NARROW * D);
        scores<D>(ds, values, warp * 16, slopes + buffer * NARROW * D);
#pragma unroll
        for (unsigned n = 0; n < NARROW / 8; n++)
#pragma unroll
            for (unsigned i = 0; i < 4; i++) {
                const unsigned at = n * 8 + lane % 4 * 2 + i % 2;
                const Query &one = query[at];
                const bool seen = whole || sees(one.sight, from + at, mine + i / 2 * 8);
                p[n][i] = seen ? fast_exp2(p[n][i] * to_log2 - one.shift) : 0;
                ds[n][i] = p[n][i] * (ds[n][i] - one.pull);
            }
        combine<D>(value_sums, p, slopes + buffer * NARROW * D);
        combine<D>(key_sums, ds, queries + buffer * NARROW * D);
        __syncthreads();
    }
    copy_wait<0>();
    write_rows<D>(dk + kv * D, kv_stride, first + warp * 16, tokens, key_sums, scale, scale);
    write_rows<D>(dv + kv * D, kv_stride, first + warp * 16, tokens, value_sums, 1, 1);
}

#define TENSOR_CORE_KERNELS(D)                                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_forward_##D##_bf16(                                         \
        const bf16 *q,        /* [tokens, heads * D] */                                                                            \
        const bf16 *k,        /* [tokens, kv_heads * D] */                                                                         \
        const bf16 *v,        /* [tokens, kv_heads * D] */                                                                         \
        const unsigned *rows, /* [3, tokens]: start, hide_from, hide_to */                                                         \
        bf16 *o,              /* [tokens, heads * D] */                                                                            \
        float *lse,           /* [tokens, heads] */                                                                                \
        unsigned tokens, unsigned heads, unsigned kv_heads, float scale) {                                                         \
        forward<D>(q, k, v, rows, o, lse, tokens, heads, kv_heads, scale);                                                         \
    }                                                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_dq_##D##_bf16(                                              \
        const bf16 *d_o,      /* [tokens, heads * D] */                                                                            \
        const bf16 *q,        /* [tokens, heads * D] */                                                                            \
        const bf16 *k,        /* [tokens, kv_heads * D] */                                                                         \
        const bf16 *v,        /* [tokens, kv_heads * D] */                                                                         \
        const float *lse,     /* [tokens, heads] */                                                                                \
        const float *delta,   /* [tokens, heads] */                                                                                \
        const unsigned *rows, /* [3, tokens] */                                                                                    \
        bf16 *dq,             /* [tokens, heads * D] */                                                                            \
        unsigned tokens, unsigned heads, unsigned kv_heads, float scale) {                                                         \
        backward_queries<D>(d_o, q, k, v, lse, delta, rows, dq, tokens, heads, kv_heads, scale);                                   \
    }                                                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_dkdv_##D##_bf16(                                            \
        const bf16 *d_o,      /* [tokens, heads * D] */                                                                            \
        const bf16 *q,        /* [tokens, heads * D] */                                                                            \
        const bf16 *k,        /* [tokens, kv_heads * D] */                                                                         \
        const bf16 *v,        /* [tokens, kv_heads * D] */                                                                         \
        const float *lse,     /* [tokens, heads] */                                                                                \
        const float *delta,   /* [tokens, heads] */                                                                                \
        const unsigned *rows, /* [3, tokens] */                                                                                    \
        bf16 *dk,             /* [tokens, kv_heads * D] */                                                                         \
        bf16 *dv,             /* [tokens, kv_heads * D] */                                                                         \
        unsigned tokens, unsigned heads, unsigned kv_heads, float scale) {                                                         \
        backward_keys<D>(d_o, q, k, v, lse, delta, rows, dk, dv, tokens, heads, kv_heads, scale);                                  \
    }
TENSOR_CORE_KERNELS(64)
TENSOR_CORE_KERNELS(128)

// ---- Plain kernels: the lanes of a warp take 32 keys (or queries) together for the scores, then the dimensions for the sums ----

template <typename T> __device__ __forceinline__ float dot(const float *a, const T *b, unsigned n) {
    float sum = 0;
    for (unsigned i = 0; i < n; i++) sum += a[i] * value(b[i]);
    return sum;
}

// The row and head of the warp, and its `arrays` of head_dim floats in shared memory.
struct Own {
    unsigned row, head;
    float *shared;
    __device__ __forceinline__ Own(unsigned heads, unsigned arrays, unsigned head_dim) {
        DYNAMIC_SHARED(float, all);
        const unsigned warp = threadIdx.x / 32, at = blockIdx.x * (THREADS / 32) + warp;
        row = at / heads;
        head = at % heads;
        shared = all + warp * arrays * head_dim;
    }
};
// to[i] = from[i], or 0.
template <typename T> __device__ __forceinline__ void fetch(float *to, const T *from, unsigned n) {
    for (unsigned i = threadIdx.x % 32; i < n; i += 32) to[i] = from ? value(from[i]) : 0;
}
// to[i] = from[i] * factor
template <typename T> __device__ __forceinline__ void put(T *to, const float *from, unsigned n, float factor) {
    for (unsigned i = threadIdx.x % 32; i < n; i += 32) to[i] = rounded<T>(from[i] * factor);
}
// sums[i] += sum over the lanes' rows (first + lane, below end) of weight * data[row, i]
template <typename T>
__device__ __forceinline__ void add_rows(float *sums, float weight, const T *data, size_t stride, unsigned first, unsigned end, unsigned n) {
    for (unsigned j = 0; j < 32 && first + j < end; j++) {
        const float w = __shfl_sync(ALL, weight, j);
        if (w == 0) continue; // the same in all lanes; a hidden row is not read
        for (unsigned i = threadIdx.x % 32; i < n; i += 32) sums[i] += w * value(data[(first + j) * stride + i]);
    }
}

template <typename T>
__device__ __forceinline__ void plain_forward(
    const T *q, const T *k, const T *v, const unsigned *rows, T *o, float *lse, unsigned tokens, unsigned heads, unsigned kv_heads,
    unsigned head_dim, float scale) {
    const Own own(heads, 2, head_dim);
    if (own.row >= tokens) return;
    const unsigned lane = threadIdx.x % 32, kv = own.head / (heads / kv_heads);
    const size_t at = ((size_t)own.row * heads + own.head) * head_dim, stride = (size_t)kv_heads * head_dim;
    float *const query = own.shared, *const sums = query + head_dim;
    fetch(query, q + at, head_dim);
    fetch<T>(sums, nullptr, head_dim);
    __syncwarp();
    const Sight sight = sight_of(rows, own.row, tokens);
    float largest = -INFINITY, total = 0;
    for (unsigned first = sight.start; first <= own.row; first += 32) {
        const unsigned key = first + lane;
        const bool seen = sees(sight, own.row, key);
        const float s = seen ? dot(query, k + key * stride + kv * head_dim, head_dim) * scale : -INFINITY;
        float m = fmaxf(largest, s);
        for (int other = 16; other > 0; other /= 2) m = fmaxf(m, __shfl_xor_sync(ALL, m, other));
        const float shift = m == -INFINITY ? 0 : m, shrink = expf(largest - shift), p = expf(s - shift);
        largest = m;
        float sum = p;
        for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(ALL, sum, other);
        total = total * shrink + sum;
        for (unsigned i = lane; i < head_dim; i += 32) sums[i] *= shrink;
        add_rows(sums, p, v + kv * head_dim, stride, first, own.row + 1, head_dim);
    }
    put(o + at, sums, head_dim, 1 / total);
    if (lane == 0) lse[(size_t)own.row * heads + own.head] = largest + logf(total);
}

template <typename T>
__device__ __forceinline__ void plain_queries(
    const T *d_o, const T *q, const T *k, const T *v, const float *lse, const float *delta, const unsigned *rows, T *dq, unsigned tokens,
    unsigned heads, unsigned kv_heads, unsigned head_dim, float scale) {
    const Own own(heads, 3, head_dim);
    if (own.row >= tokens) return;
    const unsigned lane = threadIdx.x % 32, kv = own.head / (heads / kv_heads);
    const size_t one = (size_t)own.row * heads + own.head, stride = (size_t)kv_heads * head_dim;
    float *const query = own.shared, *const slope = query + head_dim, *const sums = slope + head_dim;
    fetch(query, q + one * head_dim, head_dim);
    fetch(slope, d_o + one * head_dim, head_dim);
    fetch<T>(sums, nullptr, head_dim);
    __syncwarp();
    const Sight sight = sight_of(rows, own.row, tokens);
    for (unsigned first = sight.start; first <= own.row; first += 32) {
        const unsigned key = first + lane;
        float ds = 0;
        if (sees(sight, own.row, key)) {
            const size_t at = key * stride + kv * head_dim;
            ds = expf(dot(query, k + at, head_dim) * scale - lse[one]) * (dot(slope, v + at, head_dim) - delta[one]);
        }
        add_rows(sums, ds, k + kv * head_dim, stride, first, own.row + 1, head_dim);
    }
    put(dq + one * head_dim, sums, head_dim, scale);
}

template <typename T>
__device__ __forceinline__ void plain_keys(
    const T *d_o, const T *q, const T *k, const T *v, const float *lse, const float *delta, const unsigned *rows, T *dk, T *dv,
    unsigned tokens, unsigned heads, unsigned kv_heads, unsigned head_dim, float scale) {
    const Own own(kv_heads, 4, head_dim);
    if (own.row >= tokens) return;
    const unsigned lane = threadIdx.x % 32, group = heads / kv_heads;
    const size_t one = (size_t)own.row * kv_heads + own.head, stride = (size_t)heads * head_dim;
    float *const key = own.shared, *const content = key + head_dim, *const key_sums = content + head_dim;
    float *const value_sums = key_sums + head_dim;
    fetch(key, k + one * head_dim, head_dim);
    fetch(content, v + one * head_dim, head_dim);
    fetch<T>(key_sums, nullptr, head_dim);
    fetch<T>(value_sums, nullptr, head_dim);
    __syncwarp();
    for (unsigned head = own.head * group; head < (own.head + 1) * group; head++)
        for (unsigned first = own.row; first < tokens; first += 32) {
            const unsigned row = first + lane;
            const Sight sight = sight_of(rows, row, tokens);
            if (!__any_sync(ALL, sight.start <= own.row)) break; // later rows do not see the key either
            float p = 0, ds = 0;
            if (sees(sight, row, own.row)) {
                const size_t at = (size_t)row * heads + head;
                p = expf(dot(key, q + at * head_dim, head_dim) * scale - lse[at]);
                ds = p * (dot(content, d_o + at * head_dim, head_dim) - delta[at]);
            }
            add_rows(key_sums, ds, q + head * head_dim, stride, first, tokens, head_dim);
            add_rows(value_sums, p, d_o + head * head_dim, stride, first, tokens, head_dim);
        }
    put(dk + one * head_dim, key_sums, head_dim, scale);
    put(dv + one * head_dim, value_sums, head_dim, 1);
}

// Grid of the plain kernels: rows times heads (kv_heads for dkdv) over 4; shared memory of 4 times 2 (forward), 3 (dq), 4 (dkdv) times
// head_dim floats. `delta` has forward's grid and no shared memory.
#define PLAIN_KERNELS(T)                                                                                                           \
    extern "C" __global__ void attention_delta_##T(                                                                                \
        const T *d_o, /* [tokens, heads * head_dim] */                                                                             \
        const T *o,   /* [tokens, heads * head_dim] */                                                                             \
        float *delta, /* [tokens, heads] */                                                                                        \
        unsigned count, unsigned head_dim) {                                                                                       \
        const size_t at = (size_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;                                                  \
        if (at >= count) return;                                                                                                   \
        float sum = 0;                                                                                                             \
        for (unsigned i = threadIdx.x % 32; i < head_dim; i += 32)                                                                 \
            sum += value(d_o[at * head_dim + i]) * value(o[at * head_dim + i]);                                                    \
        for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(ALL, sum, other);                                       \
        if (threadIdx.x % 32 == 0) delta[at] = sum;                                                                                \
    }                                                                                                                              \
    extern "C" __global__ void attention_forward_plain_##T(                                                                        \
        const T *q,           /* [tokens, heads * head_dim] */                                                                     \
        const T *k,           /* [tokens, kv_heads * head_dim] */                                                                  \
        const T *v,           /* [tokens, kv_heads * head_dim] */                                                                  \
        const unsigned *rows, /* [3, tokens] */                                                                                    \
        T *o,                 /* [tokens, heads * head_dim] */                                                                     \
        float *lse,           /* [tokens, heads] */                                                                                \
        unsigned tokens, unsigned heads, unsigned kv_heads, float scale, unsigned head_dim) {                                      \
        plain_forward(q, k, v, rows, o, lse, tokens, heads, kv_heads, head_dim, scale);                                            \
    }                                                                                                                              \
    extern "C" __global__ void attention_dq_plain_##T(                                                                             \
        const T *d_o, const T *q, const T *k, const T *v, const float *lse, const float *delta, const unsigned *rows,              \
        T *dq, /* [tokens, heads * head_dim] */                                                                                    \
        unsigned tokens, unsigned heads, unsigned kv_heads, float scale, unsigned head_dim) {                                      \
        plain_queries(d_o, q, k, v, lse, delta, rows, dq, tokens, heads, kv_heads, head_dim, scale);                               \
    }                                                                                                                              \
    extern "C" __global__ void attention_dkdv_plain_##T(                                                                           \
        const T *d_o, const T *q, const T *k, const T *v, const float *lse, const float *delta, const unsigned *rows,              \
        T *dk, /* [tokens, kv_heads * head_dim] */                                                                                 \
        T *dv, /* [tokens, kv_heads * head_dim] */                                                                                 \
        unsigned tokens, unsigned heads, unsigned kv_heads, float scale, unsigned head_dim) {                                      \
        plain_keys(d_o, q, k, v, lse, delta, rows, dk, dv, tokens, heads, kv_heads, head_dim, scale);                              \
    }
PLAIN_KERNELS(float)
PLAIN_KERNELS(bf16)
