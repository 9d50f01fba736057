// In: the accesses to memory of the kernels that `cuda_on_cpu.h` runs, as the compiler's thread sanitizer reports them. Out: the first two
// accesses to one place, at least one of them a write, that nothing orders. This file defines what `-fsanitize=thread` calls; it is
// compiled without that option and linked instead of the sanitizer's library, which knows no fibres and no warps.
//
// One access happens before another if it is earlier in the same thread, or if a barrier that both threads take part in lies between them:
// __syncthreads, or __syncwarp within a warp. Nothing else orders: not votes, shuffles, ldmatrix or mma, and never two blocks of a
// launch. An asynchronous copy is its thread's write from the wait for it on; before, nobody may touch the place. Barriers are total
// over a block or a warp, so a clock is three numbers: the block, and how many barriers of the block and of the warp lie behind. Values play
// no part: what is found does not depend on what is stored, and hardly on the order in which the emulation runs the threads.
#include "order.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <unordered_map>
#include <vector>

namespace emulation::order {

Now now;
bool quiet = true;

namespace {

constexpr uint16_t NOBODY = 0xffff;

// A thread of the launch at one time.
struct Access {
    unsigned block, barriers, warp_barriers;
    uint16_t thread;
};
// What is known of two bytes: the last write, and the reads that a write may not be ordered after. Of these two lanes of one warp and one
// of another stand for all: a write by anyone is unordered with one of the kept if it is with any.
struct Cell {
    unsigned write_block, write_barriers, write_warp_barriers;
    unsigned read_block, read_barriers, read_warp_barriers;
    unsigned earlier_block;
    uint16_t writer, reader, second, foreign, earlier; // NOBODY for none; `foreign` is of another warp, `earlier` of an earlier block
    bool in_flight;                                    // the write is an asynchronous copy that is not waited for
};
const Cell UNTOUCHED{0, 0, 0, 0, 0, 0, 0, NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, false};

constexpr uintptr_t PAGE = 4096, CELL = 2;
using Page = std::vector<Cell>;
std::unordered_map<uintptr_t, Page> pages; // of memory that all blocks see, by address over PAGE
uintptr_t last_page = ~(uintptr_t)0;
Cell *last_cells;

// Memory that each block has anew.
struct Shared {
    const char *name;
    uintptr_t from = 0, to = 0;
    std::vector<Cell> cells;
    void begin(const void *start, size_t bytes) {
        from = reinterpret_cast<uintptr_t>(start), to = from + bytes;
        cells.assign((bytes + CELL) / CELL, UNTOUCHED);
    }
    bool holds(uintptr_t at) const { return at >= from && at < to; }
};
Shared dynamic{"dynamic shared memory"}, fixed{"shared variables"};

struct Array {
    uintptr_t from, to;
};
std::vector<Array> arrays;
char message[320];

// The cells from `at` on that lie together, `count` of them at most.
Cell *cells_of(uintptr_t at, size_t &count) {
    for (Shared *shared : {&dynamic, &fixed})
        if (shared->holds(at)) {
            Cell *cells = &shared->cells[(at - shared->from) / CELL];
            count = std::min(count, (size_t)(shared->cells.data() + shared->cells.size() - cells));
            return cells;
        }
    if (at / PAGE != last_page) {
        last_page = at / PAGE;
        Page &page = pages[last_page];
        if (page.empty()) page.assign(PAGE / CELL, UNTOUCHED);
        last_cells = page.data();
    }
    count = std::min(count, (size_t)(PAGE - at % PAGE) / CELL);
    return last_cells + at % PAGE / CELL;
}
// Calls `what` with each cell of `bytes` from `address` on, and its address.
template <class F> void each_cell(const void *address, size_t bytes, F what) {
    uintptr_t at = reinterpret_cast<uintptr_t>(address);
    for (const uintptr_t end = at + bytes; at < end;) {
        size_t count = (end - at) / CELL;
        Cell *cells = cells_of(at, count);
        for (size_t i = 0; i < count; i++, at += CELL) what(cells[i], at);
    }
}

void say(uintptr_t at, const char *did, unsigned other_block, uint16_t other, const char *had, const char *but) {
    if (message[0]) return;
    char where[64];
    std::snprintf(where, sizeof where, "memory of no argument");
    for (const Shared *shared : {&dynamic, &fixed})
        if (shared->holds(at)) std::snprintf(where, sizeof where, "byte %zu of the %s", (size_t)(at - shared->from), shared->name);
    for (size_t i = 0; i < arrays.size(); i++)
        if (at >= arrays[i].from && at < arrays[i].to)
            std::snprintf(where, sizeof where, "byte %zu of argument %zu", (size_t)(at - arrays[i].from), i);
    char whose[32] = "";
    if (other_block != now.block) std::snprintf(whose, sizeof whose, " of block %u", other_block);
    std::snprintf(message, sizeof message, "thread %u %s %s, which thread %u%s %s%s", now.thread, did, where, other, whose, had, but);
}

bool before(unsigned block, unsigned barriers, unsigned warp_barriers, uint16_t thread) {
    if (block != now.block) return false;
    return thread == now.thread || barriers < now.barriers || (thread / 32 == now.thread / 32 && warp_barriers < now.warp_barriers);
}
constexpr const char *UNORDERED = ", with no barrier between";

void check_write(Cell &cell, uintptr_t at, const char *did) {
    if (cell.writer == NOBODY) return;
    if (cell.in_flight) say(at, did, cell.write_block, cell.writer, "copies to", " and has not waited for");
    else if (!before(cell.write_block, cell.write_barriers, cell.write_warp_barriers, cell.writer))
        say(at, did, cell.write_block, cell.writer, "writes", UNORDERED);
}
void read(Cell &cell, uintptr_t at) {
    const uint16_t me = (uint16_t)now.thread;
    const bool again = cell.read_block == now.block && cell.read_barriers == now.barriers && cell.reader == me;
    if (again && cell.read_warp_barriers == now.warp_barriers) return; // a write between would have forgotten it
    check_write(cell, at, "reads");
    if (cell.reader != NOBODY && cell.read_block != now.block) {
        cell.earlier = cell.reader, cell.earlier_block = cell.read_block;
        cell.reader = NOBODY;
    }
    if (cell.reader == NOBODY || cell.read_barriers < now.barriers) {
        cell.read_block = now.block, cell.read_barriers = now.barriers, cell.read_warp_barriers = now.warp_barriers;
        cell.reader = me, cell.second = cell.foreign = NOBODY;
    } else if (cell.reader / 32 != me / 32) {
        cell.foreign = me;
    } else if (cell.read_warp_barriers < now.warp_barriers) {
        cell.read_warp_barriers = now.warp_barriers;
        cell.reader = me, cell.second = NOBODY;
    } else if (cell.reader != me) {
        cell.second = me;
    }
}
void write(Cell &cell, uintptr_t at, bool in_flight) {
    const char *did = in_flight ? "begins to copy to" : "writes";
    check_write(cell, at, did);
    if (cell.earlier != NOBODY) say(at, did, cell.earlier_block, cell.earlier, "reads", UNORDERED);
    for (const uint16_t reader : {cell.reader, cell.second, cell.foreign})
        if (reader != NOBODY && !before(cell.read_block, cell.read_barriers, cell.read_warp_barriers, reader))
            say(at, did, cell.read_block, reader, "reads", UNORDERED);
    // Reads before this one are ordered before whatever is ordered after it.
    cell.reader = cell.second = cell.foreign = NOBODY;
    cell.write_block = now.block, cell.write_barriers = now.barriers, cell.write_warp_barriers = now.warp_barriers;
    cell.writer = (uint16_t)now.thread, cell.in_flight = in_flight;
}

template <bool WRITES> void touch(const void *address, size_t bytes) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(address);
    if (at - now.stack < now.stack_bytes) return;
    if ((at | bytes) % CELL != 0) {
        if (!message[0]) std::snprintf(message, sizeof message, "thread %u touches a single byte, which the order of accesses is not kept of", now.thread);
        return;
    }
    each_cell(address, bytes, [](Cell &cell, uintptr_t at) { WRITES ? write(cell, at, false) : read(cell, at); });
}

} // namespace

void begin_launch() {
    pages.clear();
    last_page = ~(uintptr_t)0;
    message[0] = 0;
}
void begin_block(const void *shared, size_t bytes, const void *variables, size_t variable_bytes) {
    dynamic.begin(shared, bytes);
    fixed.begin(variables, variable_bytes);
}
void reads(const void *address, size_t bytes) { touch<false>(address, bytes); }
void begins_copy(void *to, const void *from, unsigned bytes) {
    reads(from, bytes);
    each_cell(to, 16, [](Cell &cell, uintptr_t at) { write(cell, at, true); });
}
void ends_copy(void *to, const void *from, unsigned bytes) {
    reads(from, bytes);
    each_cell(to, 16, [](Cell &cell, uintptr_t at) {
        if (!cell.in_flight) return; // two copies to one place, which was said
        cell.in_flight = false, cell.writer = NOBODY;
        write(cell, at, false);
    });
}
const char *failure() { return message[0] ? message : nullptr; }

} // namespace emulation::order

// The arrays of the next launches' arguments, for messages; an argument that is none has no bytes.
extern "C" __attribute__((visibility("default"))) void emulation_arrays(const void *const *starts, const size_t *sizes, size_t count) {
    using namespace emulation::order;
    arrays.clear();
    for (size_t i = 0; i < count; i++) {
        const uintptr_t from = reinterpret_cast<uintptr_t>(starts[i]);
        arrays.push_back({from, from + sizes[i]});
    }
}

// What the compiler calls: g++'s and clang++'s names together.
static void reads(const void *at, size_t bytes) {
    if (!emulation::order::quiet) emulation::order::touch<false>(at, bytes);
}
static void writes(const void *at, size_t bytes) {
    if (!emulation::order::quiet) emulation::order::touch<true>(at, bytes);
}
extern "C" {
#define SIZED(bytes)                                                                       \
    void __tsan_read##bytes(void *at) { reads(at, bytes); }                                \
    void __tsan_write##bytes(void *at) { writes(at, bytes); }                              \
    void __tsan_unaligned_read##bytes(void *at) { reads(at, bytes); }                      \
    void __tsan_unaligned_write##bytes(void *at) { writes(at, bytes); }                    \
    void __tsan_read_write##bytes(void *at) { reads(at, bytes), writes(at, bytes); }
SIZED(1) SIZED(2) SIZED(4) SIZED(8) SIZED(16)
void __tsan_read_range(void *at, unsigned long bytes) { reads(at, bytes); }
void __tsan_write_range(void *at, unsigned long bytes) { writes(at, bytes); }
void *__tsan_memcpy(void *to, const void *from, size_t bytes) {
    reads(from, bytes), writes(to, bytes);
    return std::memcpy(to, from, bytes);
}
void *__tsan_memmove(void *to, const void *from, size_t bytes) {
    reads(from, bytes), writes(to, bytes);
    return std::memmove(to, from, bytes);
}
void *__tsan_memset(void *to, int value, size_t bytes) {
    writes(to, bytes);
    return std::memset(to, value, bytes);
}
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}
}
