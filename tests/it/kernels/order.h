// Between `cuda_on_cpu.h`, which says who runs and which barriers lie behind, and `order.cpp`, which keeps who touched what.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emulation::order {

// Who runs, and when.
struct Now {
    unsigned block, barriers, warp_barriers, thread;
    uintptr_t stack; // its own, which nobody else knows
    size_t stack_bytes;
};
extern Now now;
extern bool quiet; // while the emulation itself runs, not a kernel

void begin_launch();
// The block's shared memory is new.
void begin_block(const void *shared, size_t bytes, const void *variables, size_t variable_bytes);
void reads(const void *address, size_t bytes);
// An asynchronous copy of `bytes`, the rest of 16 is zero.
void begins_copy(void *to, const void *from, unsigned bytes);
void ends_copy(void *to, const void *from, unsigned bytes);
// What went wrong first; null if nothing has.
const char *failure();

} // namespace emulation::order
