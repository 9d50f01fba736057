// Kernels that try the harness itself: right ones, and ones with the mistakes it is there to catch. One block each.
#include "../../../src/ops/tensor_core.cuh"

// y[0] = sum of x[blockDim.x], in shared memory; blockDim.x is a power of two.
template <bool BARRIERS> __device__ void sum(const float *x, float *y) {
    __shared__ float part[256];
    part[threadIdx.x] = x[threadIdx.x];
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (BARRIERS) __syncthreads();
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    }
    if (threadIdx.x == 0) y[0] = part[0];
}
extern "C" __global__ void sum_with_barriers(const float *x, float *y) { sum<true>(x, y); }
extern "C" __global__ void sum_without_barriers(const float *x, float *y) { sum<false>(x, y); }

// y[0]: the thread that wrote last, which is nobody in particular. Nothing without y.
extern "C" __global__ void last_writer(float *y) {
    if (y) y[0] = (float)threadIdx.x;
}

// One lane in two shuffles.
extern "C" __global__ void shuffle_of_half_a_warp(float *y) {
    float x = 1;
    if (threadIdx.x % 2 == 0) x += __shfl_xor_sync(~0u, x, 2);
    else __syncwarp();
    y[threadIdx.x] = x;
}

// A thread returns, the others wait for it.
extern "C" __global__ void barrier_without_a_thread(float *y) {
    if (threadIdx.x == 3) return;
    __syncthreads();
    y[threadIdx.x] = 1;
}

// Writes `at` floats behind the start of the dynamic shared memory.
extern "C" __global__ void write_shared(float *y, unsigned at) {
    DYNAMIC_SHARED(float, shared);
    shared[at] = 1;
    y[0] = shared[0];
}

// y[i] = x[i + 1], behind the end of x for the last thread; with `stray`, also writes there.
extern "C" __global__ void read_next(const float *x, float *y, unsigned stray) {
    y[threadIdx.x] = x[threadIdx.x + 1];
    if (stray) y[blockDim.x] = 1;
}

// y = x through an asynchronous copy of 16 bytes a thread, waited for or not until after the read.
extern "C" __global__ void copy_through_shared(const float *x, float *y, unsigned waits) {
    DYNAMIC_SHARED(float, shared);
    copy_async(shared + threadIdx.x * 4, x + threadIdx.x * 4, true);
    copy_commit();
    if (waits) copy_wait<0>();
    for (unsigned i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = shared[threadIdx.x * 4 + i];
    copy_wait<0>();
}

// d [16, 8] = a [16, 16] b [16, 8], all as they lie in memory; one warp.
extern "C" __global__ void multiply(
    const unsigned short *a, // [16, 16] bf16
    const unsigned short *b, // [16, 8] bf16
    float *d)                // [16, 8]
{
    DYNAMIC_SHARED(unsigned short, shared); // a, then b
    const unsigned lane = threadIdx.x;
    for (unsigned i = lane; i < 256; i += 32) shared[i] = a[i];
    for (unsigned i = lane; i < 128; i += 32) shared[256 + i] = b[i];
    __syncwarp();
    unsigned left[4], right[4];
    load_matrices(left, shared + lane % 16 * 16 + lane / 16 * 8);
    load_matrices_transposed(right, shared + 256 + lane % 16 * 8);
    float sums[4] = {};
    const unsigned column[2] = {right[0], right[1]};
    multiply_add(sums, left, column);
    for (unsigned i = 0; i < 4; i++) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

// y[i] = how many of the block's threads are below i, by ballots and shuffles. blockDim.x is 32 at most.
extern "C" __global__ void ranks(float *y) {
    const unsigned lane = threadIdx.x;
    const unsigned all = __ballot_sync(~0u, lane % 3 == 0);
    float before = (float)(lane % 3 == 0);
    for (unsigned by = 1; by < 32; by *= 2) {
        const float other = __shfl_up_sync(~0u, before, by);
        if (lane >= by) before += other;
    }
    y[lane] = before + 100.0f * (float)__popc(all);
}

// y[i] = x[i + 1] through shared memory, around the warp. Between the write and the read by another lane stands a vote, which makes lanes wait
// for each other here but orders nothing on a GPU; with `barrier` also __syncwarp.
extern "C" __global__ void next_after_a_vote(const float *x, float *y, unsigned barrier) {
    __shared__ float all[32];
    all[threadIdx.x] = x[threadIdx.x];
    if (!__any_sync(0xffffffffu, true)) return;
    if (barrier) __syncwarp();
    y[threadIdx.x] = all[(threadIdx.x + 1) % 32];
}

// y[i] = 1, what a thread of the other warp has written, after a barrier of one warp.
extern "C" __global__ void other_warp(float *y) {
    __shared__ float all[64];
    all[threadIdx.x] = 1;
    __syncwarp();
    y[threadIdx.x] = all[threadIdx.x ^ 32];
}

// Each thread waits for its own copy and reads that of the next, after a barrier or not.
extern "C" __global__ void copy_of_another(const float *x, float *y, unsigned barrier) {
    DYNAMIC_SHARED(float, shared);
    copy_async(shared + threadIdx.x * 4, x + threadIdx.x * 4, true);
    copy_commit();
    copy_wait<0>();
    if (barrier) __syncthreads();
    y[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x * 4];
}

// y[block + 1] = y[block] + 1: right only where blocks run in their order.
extern "C" __global__ void chain_of_blocks(float *y) {
    y[blockIdx.x + 1] = y[blockIdx.x] + 1;
}

// A place that every lane reads is written by one, after a barrier or not.
extern "C" __global__ void write_what_is_read(float *y, unsigned barrier) {
    const float x = y[0];
    if (barrier) __syncthreads();
    if (threadIdx.x == 33) y[0] = x + 1;
}
