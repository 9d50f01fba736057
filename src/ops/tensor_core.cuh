// Instructions of sm_80 without a short form in CUDA C++: bf16 products on the tensor cores, loads of their operands from shared memory,
// and copies that run while the threads compute. In the tests' emulation each does what PTX defines.
#pragma once

// The one array of dynamic shared memory.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name)                                                                                                 \
    extern __shared__ __align__(1024) unsigned char dynamic_shared[];                                                              \
    type *const name = reinterpret_cast<type *>(dynamic_shared)
#endif

// d [16, 8] += a [16, 16] b [16, 8]; bf16 pairs, f32 sums. Lane 4 g + t holds
// - of d the elements (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1),
// - of a the pairs that begin at (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8),
// - of b the pairs that begin at (2t, g), (2t + 8, g), one below the other.
__device__ __forceinline__ void multiply_add(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef CUDA_ON_CPU
    emulation::mma_m16n8k16(d, a, b);
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Four 8 x 8 matrices of bf16 from shared memory: lane 8 m + r names row r of matrix m, 16 bytes at a multiple of 16. Register m of lane
// 4 g + t is the pair (g, 2t), (g, 2t + 1) of matrix m.
__device__ __forceinline__ void load_matrices(unsigned (&d)[4], const void *row) {
#ifdef CUDA_ON_CPU
    emulation::ldmatrix_x4(d, row, false);
#else
    const unsigned address = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
#endif
}

// As load_matrices, each matrix transposed: register m of lane 4 g + t is the pair (2t, g), (2t + 1, g).
__device__ __forceinline__ void load_matrices_transposed(unsigned (&d)[4], const void *row) {
#ifdef CUDA_ON_CPU
    emulation::ldmatrix_x4(d, row, true);
#else
    const unsigned address = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
#endif
}

// Begins to copy 16 bytes to shared memory, both addresses multiples of 16; zeros and no read unless `there`.
__device__ __forceinline__ void copy_async(void *to, const void *from, bool there) {
#ifdef CUDA_ON_CPU
    emulation::copy_async_16(to, from, there ? 16 : 0);
#else
    const unsigned address = (unsigned)__cvta_generic_to_shared(to), bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
#endif
}

// Ends a group of copies.
__device__ __forceinline__ void copy_commit() {
#ifdef CUDA_ON_CPU
    emulation::copy_commit();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all but the `PENDING` youngest groups of this thread have landed; other threads see them after a barrier.
template <int PENDING> __device__ __forceinline__ void copy_wait() {
#ifdef CUDA_ON_CPU
    emulation::copy_wait(PENDING);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

// 2^x to about 2 units in the last place; 0 for negative infinity.
__device__ __forceinline__ float fast_exp2(float x) {
#ifdef CUDA_ON_CPU
    return std::exp2(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// Two floats as a pair of bf16, each to nearest, ties to even; `low` is the one that comes first in memory.
__device__ __forceinline__ unsigned bf16_pair(float low, float high) {
#ifdef __CUDA_ARCH__
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    const auto bits = [](float x) {
        const unsigned u = __float_as_uint(x);
        return (u & 0x7fffffffu) > 0x7f800000u ? u >> 16 | 64u : (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
    };
    return bits(low) | bits(high) << 16;
#endif
}
