// Dropout whose mask is a function of an element's address: the words of Philox4x32-10 that the CPU computes, bit for bit.
// Grid: (tokens, any), 256 threads a block; a thread takes four columns, which share one block of words. Arithmetic in f32.
#include "element.cuh"

struct Words {
    unsigned at[4];
};

__device__ __forceinline__ Words philox(unsigned key0, unsigned key1, unsigned c0, unsigned c1, unsigned c2, unsigned c3) {
    for (int round = 0; round < 10; round++) {
        const unsigned long long left = 0xD2511F53ull * c0, right = 0xCD9E8D57ull * c2;
        c0 = (unsigned)(right >> 32) ^ c1 ^ key0;
        c1 = (unsigned)right;
        c2 = (unsigned)(left >> 32) ^ c3 ^ key1;
        c3 = (unsigned)left;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// y = x * mask * scale, or y += x * mask * scale where ADD; a word below the threshold drops its element.
template <typename T, bool ADD, unsigned N>
__device__ void masked(const T *x, T *y, const unsigned *pair_rows, const unsigned *offsets, unsigned columns, unsigned key0,
                       unsigned key1, unsigned step, unsigned threshold, float scale) {
    const unsigned token = blockIdx.x;
    const size_t row = (size_t)token * columns;
    const unsigned offset = offsets[token], pair = pair_rows[token], quads = (columns + 3) / 4;
    for (unsigned quad = blockIdx.y * blockDim.x + threadIdx.x; quad < quads; quad += gridDim.y * blockDim.x) {
        const Words words = philox(key0, key1, quad, offset, pair, step);
        for (unsigned from = 0; from < 4 && 4 * quad + from < columns; from += N) {
            const size_t place = row + 4 * quad + from;
            const Run<T, N> a = load<N>(x + place);
            Run<T, N> b = {};
            if (ADD) b = load<N>(y + place);
            for (unsigned j = 0; j < N; j++) {
                const float kept = words.at[from + j] >= threshold ? value(a.at[j]) * scale : 0.0f;
                b.at[j] = rounded<T>(ADD ? value(b.at[j]) + kept : kept);
            }
            store<N>(y + place, b);
        }
    }
}

#define KERNEL(NAME, T, ADD)                                                                                                       \
    extern "C" __global__ void dropout_##NAME##_##T(                                                                               \
        const T *x,                /* [tokens, columns] */                                                                         \
        T *y,                      /* [tokens, columns] */                                                                         \
        const unsigned *pair_rows, /* [tokens], row of the token's pair in the data set */                                         \
        const unsigned *offsets,   /* [tokens], place of the token within its pair */                                              \
        unsigned columns, unsigned key0, unsigned key1, unsigned step, unsigned threshold, float scale) {                          \
        if (columns % 4 == 0 && wide(WIDE<T>, x, y))                                                                               \
            masked<T, ADD, 4>(x, y, pair_rows, offsets, columns, key0, key1, step, threshold, scale);                              \
        else masked<T, ADD, 1>(x, y, pair_rows, offsets, columns, key0, key1, step, threshold, scale);                             \
    }
KERNEL(apply, float, false)
KERNEL(apply, bf16, false)
KERNEL(add, float, true)
KERNEL(add, bf16, true)
