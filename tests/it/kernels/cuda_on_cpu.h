// One header, since kernels include one. Gives CUDA's words a meaning in C++, so that a kernel's own source runs on the CPU: one fibre per CUDA thread, blocks one after
// another. The order in which warps run between two __syncthreads, and lanes between two warp-wide operations, is drawn from a
// seed: a result that depends on it has a race. Shared memory is NaN before each block, and what lies behind it is watched. The
// seed also says which asynchronous copies land at once and which not before they are waited for. What a GPU leaves undefined (a lane missing from a shuffle, a
// thread missing from a barrier) ends the launch with a message.
//
// Compiled with -fsanitize=thread and linked with order.cpp, two accesses to one place that no barrier orders end the launch too, whatever
// the values: of threads of one block in shared or global memory, and of two blocks in global memory.
//
// The file that includes this, the kernels and a table `emulation::kernels` is compiled as one C++17 library with
// -fvisibility=hidden; mod.rs beside this file writes it.
#pragma once
#define CUDA_ON_CPU 1
#ifndef CUDA_ON_CPU_LIST // when the kernels are only listed, __global__ stays as it is for the list to be read off
#define __global__
#endif
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
// Thread-local variables of the library are shared variables and nothing else, so that they can be poisoned together.
#define __shared__ static thread_local
// The one dynamic array, `extern __shared__` of CUDA.
#define DYNAMIC_SHARED(type, name) type *const name = reinterpret_cast<type *>(emulation::dynamic_shared)

#ifndef CUDA_ON_CPU_LIST
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <link.h>
#include <sys/mman.h>
#include <utility>
#include <vector>
#ifndef __x86_64__
#include <ucontext.h>
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CUDA_ON_CPU_ORDERED 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define CUDA_ON_CPU_ORDERED 1
#endif
#ifdef CUDA_ON_CPU_ORDERED
#include "order.h"
// Says something to the keeper of the order of accesses; nothing where there is none.
#define ORDERED(...) __VA_ARGS__
#define UNWATCHED __attribute__((no_sanitize("thread")))
#else
#define ORDERED(...)
#define UNWATCHED
#endif

#ifndef __VECTOR_TYPES_H__ // unless the toolkit's own are there
struct dim3 {
    unsigned x, y, z;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
#endif

namespace emulation {

// ---- Fibres ----

#ifdef __x86_64__
using Context = void *; // the stack pointer; everything else is on the stack
extern "C" void emulation_switch(Context *from, Context to);
asm(R"(
    .text
    .type emulation_switch, @function
emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulation_switch, . - emulation_switch
)");
inline void switch_to(Context &from, Context &to) { emulation_switch(&from, to); }
inline void prepare(Context &context, char *stack, size_t size, void (*entry)()) {
    void **top = reinterpret_cast<void **>(stack + size) - 1; // entered as if called: 8 bytes past a multiple of 16
    *--top = reinterpret_cast<void *>(entry);
    context = top - 6;
}
#else
using Context = ucontext_t;
inline void switch_to(Context &from, Context &to) { swapcontext(&from, &to); }
inline void prepare(Context &context, char *stack, size_t size, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = size;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
}
#endif

enum class State { Runs, WaitsForBlock, WaitsForWarp, Returned };

// While one lives the emulation runs, whose accesses are no kernel's.
struct Quiet {
#ifdef CUDA_ON_CPU_ORDERED
    const bool before = order::quiet;
    UNWATCHED Quiet() { order::quiet = true; }
    UNWATCHED ~Quiet() { order::quiet = before; }
#else
    Quiet() {}
#endif
};

struct Copy {
    void *to;
    const void *from;
    unsigned bytes; // the rest of 16 is zero
    bool landed;
};

struct Thread {
    Context context;
    State state;
    const char *at; // the warp-wide operation it waits in
    unsigned linear, exchanges;
    dim3 index;
    std::vector<std::vector<Copy>> copies; // groups in flight, the last one still open
};

// One exchange between the lanes of a warp. Two of them alternate: a lane that writes to the next has seen all others arrive
// at this one.
struct Exchange {
    alignas(16) unsigned char from[32][24];
    unsigned generation[32];
};

constexpr size_t STACK = 256 << 10, WATCHED = 16 << 10;
static std::vector<Thread> threads;
static std::vector<Exchange> exchanges; // [2 * warps]
static std::vector<char *> stacks;
static std::vector<unsigned char> dynamic;
static unsigned char *dynamic_shared;
static size_t shared_bytes;
static Thread *thread; // the one that runs
static Context scheduler;
static dim3 block_index, block_size, grid_size;
static const char *failure;
static void (*body)(void *const *);
static void *const *arguments;
static uint64_t random_state;
static void *variables; // the shared ones
static size_t variable_bytes;
static std::vector<unsigned> warp_barriers; // that lie behind each warp

inline void wait(State state) {
    const Quiet quiet;
    Thread &self = *thread;
    self.state = state;
    switch_to(self.context, scheduler);
}
[[noreturn]] inline void fail(const char *message) {
    failure = message;
    for (;;) wait(State::Returned);
}
inline void entry() {
    ORDERED(order::quiet = false;)
    body(arguments);
    for (;;) wait(State::Returned);
}
inline unsigned lane() { return thread->linear % 32; }
inline unsigned warp() { return thread->linear / 32; }
inline void warp_wait(const char *operation) {
    const Quiet quiet;
    thread->at = operation;
    wait(State::WaitsForWarp);
}

// What every lane has put in, once all of them have.
inline const Exchange &exchange(const char *operation, const void *mine, size_t size) {
    const Quiet quiet;
    const unsigned turn = ++thread->exchanges;
    Exchange &all = exchanges[warp() * 2 + turn % 2];
    std::memcpy(all.from[lane()], mine, size);
    all.generation[lane()] = turn;
    warp_wait(operation);
    return all;
}
template <class T> T from_lane(const Exchange &all, unsigned lane) {
    if (all.generation[lane] != thread->exchanges) fail("a lane is read that takes no part in the operation");
    T value;
    std::memcpy(&value, all.from[lane], sizeof(T));
    return value;
}
template <class T> T shuffle(const char *operation, T value, unsigned from) {
    static_assert(sizeof(T) <= 8, "a shuffle moves 8 bytes at most");
    const Quiet quiet;
    return from_lane<T>(exchange(operation, &value, sizeof(T)), from);
}

inline unsigned random_below(unsigned n) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)((random_state >> 32) * n >> 32);
}

// ---- The tensor core and the asynchronous copies, as src/ops/tensor_core.cuh names them ----

inline float bf16_value(uint32_t pair, unsigned high) {
    const uint32_t bits = high ? pair & 0xffff0000u : pair << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
// mma.m16n8k16: d [16, 8] += a [16, 16] b [16, 8]; lane 4 g + t holds of `a` the rows g and g + 8, of `b` the column g.
inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    const Quiet quiet;
    const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const Exchange &all = exchange("mma", mine, sizeof mine);
    const unsigned g = lane() / 4, t = lane() % 4;
    using Registers = struct { uint32_t at[6]; };
    float products[4] = {};
    for (unsigned k = 0; k < 16; k++) {
        const unsigned holder = k % 8 / 2, upper = k / 8;
        const Registers row = from_lane<Registers>(all, g * 4 + holder);
        for (unsigned i = 0; i < 4; i++) {
            const Registers column = from_lane<Registers>(all, (t * 2 + i % 2) * 4 + holder);
            products[i] += bf16_value(row.at[upper * 2 + i / 2], k % 2) * bf16_value(column.at[4 + upper], k % 2);
        }
    }
    for (unsigned i = 0; i < 4; i++) d[i] += products[i];
}
// ldmatrix.x4: lane 8 m + r names row r (16 bytes) of matrix m; register m is of matrix m the elements (lane / 4, 2 * (lane % 4))
// and the next, or of its transpose.
inline void ldmatrix_x4(uint32_t (&d)[4], const void *row, bool transposed) {
    const Quiet quiet;
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) fail("ldmatrix: a row is not on a multiple of 16 bytes");
    const Exchange &all = exchange(transposed ? "ldmatrix.trans" : "ldmatrix", &row, sizeof row);
    for (unsigned m = 0; m < 4; m++) {
        uint16_t pair[2];
        for (unsigned i = 0; i < 2; i++) {
            const unsigned first = lane() / 4, second = lane() % 4 * 2 + i;
            const unsigned at = transposed ? second : first, element = transposed ? first : second;
            const char *from = from_lane<const char *>(all, m * 8 + at) + element * 2;
            ORDERED(order::reads(from, 2);) // by the lane that gets it
            std::memcpy(&pair[i], from, 2);
        }
        d[m] = pair[0] | (uint32_t)pair[1] << 16;
    }
    warp_wait("ldmatrix's end"); // no lane writes before all have read
}
inline void land(const Copy &copy) {
    std::memset(copy.to, 0, 16);
    if (copy.bytes) std::memcpy(copy.to, copy.from, copy.bytes);
}
inline void copy_async_16(void *to, const void *from, unsigned bytes) {
    if (reinterpret_cast<uintptr_t>(to) % 16 != 0 || (bytes && reinterpret_cast<uintptr_t>(from) % 16 != 0))
        fail("cp.async: an address is not a multiple of 16");
    ORDERED(order::begins_copy(to, from, bytes);)
    const Quiet quiet;
    const Copy copy{to, from, bytes, random_below(2) == 1};
    if (copy.landed) land(copy);
    thread->copies.back().push_back(copy);
}
inline void copy_commit() {
    const Quiet quiet;
    thread->copies.emplace_back();
}
// Lands all groups but the `pending` youngest.
inline void copy_wait(unsigned pending) {
    const Quiet quiet;
    auto &groups = thread->copies;
    while (groups.size() - 1 > pending) {
        for (const Copy &copy : groups.front()) {
            if (!copy.landed) land(copy);
            ORDERED(order::ends_copy(copy.to, copy.from, copy.bytes);)
        }
        groups.erase(groups.begin());
    }
}

// ---- The scheduler ----

inline void shuffle_order(std::vector<unsigned> &order) {
    for (unsigned i = (unsigned)order.size(); i > 1; i--) std::swap(order[i - 1], order[random_below(i)]);
}

// Runs the lanes of `warp` until each has returned or waits for the block.
inline void run_warp(unsigned warp, unsigned count) {
    ORDERED(order::now.warp_barriers = warp_barriers[warp];)
    const unsigned first = warp * 32, last = std::min(first + 32, count);
    for (;;) {
        // An order of the 32 lanes: an odd stride from anywhere.
        const unsigned stride = random_below(16) * 2 + 1, offset = random_below(32);
        for (unsigned i = 0; i < 32; i++) {
            const unsigned at = first + (i * stride + offset) % 32;
            if (at >= last || threads[at].state != State::Runs) continue;
            thread = &threads[at];
            ORDERED(order::now.thread = at, order::now.stack = reinterpret_cast<uintptr_t>(stacks[at]);)
            switch_to(scheduler, thread->context);
            ORDERED(if (!failure) failure = order::failure();)
            if (failure) return;
        }
        const char *operation = nullptr;
        unsigned waiting = 0, returned = 0;
        for (unsigned i = first; i < last; i++) {
            returned += threads[i].state == State::Returned;
            if (threads[i].state != State::WaitsForWarp) continue;
            if (operation && operation != threads[i].at && std::strcmp(operation, threads[i].at)) failure = "lanes of one warp wait in different operations";
            operation = threads[i].at;
            waiting++;
        }
        if (waiting == 0 || failure) return;
        if (waiting + returned < last - first) {
            failure = "lanes of one warp wait for others that wait at __syncthreads";
            return;
        }
        ORDERED(if (!std::strcmp(operation, "__syncwarp")) order::now.warp_barriers = ++warp_barriers[warp];)
        for (unsigned i = first; i < last; i++)
            if (threads[i].state == State::WaitsForWarp) threads[i].state = State::Runs;
    }
}

// NaN into all shared variables of this library.
inline void poison() {
    std::fill(dynamic.begin(), dynamic.end(), 0xff);
    __shared__ char anything; // so that this thread has its copy of them
    *const_cast<volatile char *>(&anything) = 0;
    dl_iterate_phdr(
        [](dl_phdr_info *info, size_t, void *here) {
            const uintptr_t at = reinterpret_cast<uintptr_t>(here) - info->dlpi_addr;
            bool ours = false;
            for (int i = 0; i < info->dlpi_phnum; i++) {
                const auto &part = info->dlpi_phdr[i];
                ours |= part.p_type == PT_LOAD && at - part.p_vaddr < part.p_memsz;
            }
            for (int i = 0; ours && i < info->dlpi_phnum; i++)
                if (info->dlpi_phdr[i].p_type == PT_TLS && info->dlpi_tls_data) {
                    variables = info->dlpi_tls_data, variable_bytes = info->dlpi_phdr[i].p_memsz;
                    std::memset(variables, 0xff, variable_bytes);
                }
            return (int)ours;
        },
        reinterpret_cast<void *>(&poison));
}

inline void run_block(unsigned count) {
    const unsigned warps = (count + 31) / 32;
    poison();
    for (unsigned i = 0; i < count; i++) {
        Thread &t = threads[i];
        t.state = State::Runs;
        t.linear = i;
        t.exchanges = 0;
        t.index = {i % block_size.x, i / block_size.x % block_size.y, i / (block_size.x * block_size.y)};
        t.copies.assign(1, {});
        prepare(t.context, stacks[i], STACK - i * 704 % 65536, entry); // so that they do not share the cache's places
    }
    std::memset(exchanges.data(), 0, exchanges.size() * sizeof(Exchange));
    warp_barriers.assign(warps, 0);
    ORDERED(order::begin_block(dynamic_shared, shared_bytes, variables, variable_bytes);)
    std::vector<unsigned> warps_in_order(warps);
    for (unsigned i = 0; i < warps; i++) warps_in_order[i] = i;
    for (unsigned barriers = 0;; barriers++) {
        ORDERED(order::now.barriers = barriers;)
        shuffle_order(warps_in_order);
        for (unsigned warp : warps_in_order) {
            run_warp(warp, count);
            if (failure) return;
        }
        unsigned waiting = 0;
        for (unsigned i = 0; i < count; i++) waiting += threads[i].state == State::WaitsForBlock;
        if (waiting == 0) break;
        if (waiting < count) {
            failure = "threads wait at __syncthreads for others that have returned";
            return;
        }
        for (unsigned i = 0; i < count; i++) threads[i].state = State::Runs;
    }
    for (unsigned i = 0; i < count; i++)
        for (const auto &group : threads[i].copies)
            if (!group.empty()) failure = "a thread returned before its asynchronous copies were waited for";
    for (size_t i = 0; i < WATCHED; i++)
        if (dynamic[dynamic.size() - 1 - i] != 0xff) failure = "something was written behind the dynamic shared memory";
}

// ---- Calls by name ----

struct Kernel {
    const char *name;
    unsigned count;
    const unsigned *sizes; // of its parameters, in bytes
    void (*call)(void *const *);
};
template <auto kernel> struct Entry;
template <class... A, void (*kernel)(A...)> struct Entry<kernel> {
    static constexpr unsigned sizes[] = {sizeof(A)..., 0}, count = sizeof...(A);
    template <size_t... I> static void spread(void *const *a, std::index_sequence<I...>) { kernel(*static_cast<A *>(a[I])...); }
    static void call(void *const *a) { spread(a, std::index_sequence_for<A...>()); }
};
extern const Kernel kernels[]; // ends with an empty name

} // namespace emulation
#define EMULATED(name)                                                                                                             \
    {#name, emulation::Entry<&name>::count, emulation::Entry<&name>::sizes, emulation::Entry<&name>::call}

// The sizes of a kernel's parameters, ended by 0; null if there is no such kernel.
extern "C" __attribute__((visibility("default"))) const unsigned *emulation_parameters(const char *name) {
    for (const emulation::Kernel *k = emulation::kernels; k->name; k++)
        if (!std::strcmp(k->name, name)) return k->sizes;
    return nullptr;
}

// Runs a kernel that exists; null, or what went wrong. Not for two callers at once.
extern "C" __attribute__((visibility("default"))) const char *emulation_launch(
    const char *name, void *const *arguments, const unsigned *grid, const unsigned *block, unsigned shared, uint64_t seed) {
    using namespace emulation;
    static char message[512];
    const Kernel *kernel = emulation::kernels;
    while (std::strcmp(kernel->name, name)) kernel++;
    body = kernel->call;
    emulation::arguments = arguments;
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {block[0], block[1], block[2]};
    const unsigned count = block[0] * block[1] * block[2];
    failure = count <= 1024 ? nullptr : "more than 1024 threads in a block";
    random_state = seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
    threads.resize(count);
    exchanges.resize((count + 31) / 32 * 2);
    while (!failure && stacks.size() < count) {
        void *stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED) failure = "no memory for the stacks of the threads";
        else stacks.push_back(static_cast<char *>(stack));
    }
    dynamic.assign(shared + WATCHED + 1024, 0xff);
    dynamic_shared = dynamic.data() + (-reinterpret_cast<uintptr_t>(dynamic.data()) & 1023);
    shared_bytes = shared;
    dynamic.resize((size_t)(dynamic_shared - dynamic.data()) + shared + WATCHED); // shrinks, and so stays where it is
    ORDERED(order::begin_launch(), order::now = {~0u, 0, 0, 0, 0, STACK};)
    for (unsigned z = 0; z < grid[2] && !failure; z++)
        for (unsigned y = 0; y < grid[1] && !failure; y++)
            for (unsigned x = 0; x < grid[0] && !failure; x++) {
                block_index = {x, y, z};
                ORDERED(order::now.block++;)
                run_block(count);
                if (failure)
                    std::snprintf(message, sizeof message, "%s: block (%u, %u, %u): %s", name, x, y, z, failure);
            }
    return failure ? message : nullptr;
}

// ---- CUDA's words ----

#define threadIdx (emulation::thread->index)
#define blockIdx (emulation::block_index)
#define blockDim (emulation::block_size)
#define gridDim (emulation::grid_size)
inline void __syncthreads() { emulation::wait(emulation::State::WaitsForBlock); }
inline void __syncwarp(unsigned = ~0u) { emulation::warp_wait("__syncwarp"); }
template <class T> T __shfl_sync(unsigned, T x, int lane) { return emulation::shuffle("__shfl_sync", x, lane % 32); }
template <class T> T __shfl_xor_sync(unsigned, T x, int bits, int = 32) {
    return emulation::shuffle("__shfl_xor_sync", x, emulation::lane() ^ bits);
}
template <class T> T __shfl_down_sync(unsigned, T x, unsigned by) {
    const unsigned lane = emulation::lane();
    return emulation::shuffle("__shfl_down_sync", x, lane + by < 32 ? lane + by : lane);
}
template <class T> T __shfl_up_sync(unsigned, T x, unsigned by) {
    const unsigned lane = emulation::lane();
    return emulation::shuffle("__shfl_up_sync", x, lane >= by ? lane - by : lane);
}
inline unsigned __ballot_sync(unsigned, bool yes) {
    const emulation::Quiet quiet;
    const emulation::Exchange &all = emulation::exchange("__ballot_sync", &yes, sizeof yes);
    unsigned bits = 0;
    for (unsigned lane = 0; lane < 32; lane++)
        if (all.generation[lane] == emulation::thread->exchanges && all.from[lane][0]) bits |= 1u << lane;
    return bits;
}
inline bool __any_sync(unsigned mask, bool yes) { return __ballot_sync(mask, yes) != 0; }
inline bool __all_sync(unsigned mask, bool yes) { return __ballot_sync(mask, !yes) == 0; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline unsigned __float_as_uint(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
template <class T> T __ldg(const T *p) { return *p; }
template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }
#endif
