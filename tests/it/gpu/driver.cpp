// One file, since LD_PRELOAD takes one library. One GPU that is none: what the program calls of the CUDA driver, cuBLAS and cuRAND, on the CPU. Kernels are those of the libraries
// that `EMULATED_KERNELS` lists (`:` between them), each compiled from its own source under cuda_on_cpu.h; products are plain loops
// that accumulate in f32; what is queued runs at once, but the host sees memory that the device writes by itself only once it has
// waited. Loaded before the real names (LD_PRELOAD), so that the program itself, as built for CUDA, is what runs.
//
// Stricter than a GPU: new memory and what lies around it is NaN, what was freed is gone, a write outside an allocation ends the
// program, and a copy or a product with an address that is not of this device is an error, as is memory of no bytes. `EMULATED_LOG`
// names a file for the number of calls, written at the end; that of waits is since the first optimizer step. There the launches stand by
// kernel, with the bytes from each tensor that it is given to the end of that tensor's memory, the products by shape and the copies from
// the host: for each optimizer step, and of what follows the last. `EMULATED_ONLY_COUNTED`
// counts memory, copies, kernels and products without doing them: a model of any size then goes through a run in the time that the
// host takes of it, and every number is zero.
#include <cuda.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <elf.h>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <time.h>
#include <vector>

namespace {

constexpr size_t GUARD = 4096, ALIGNMENT = 256, SHARED = 48 << 10, MOST_SHARED = 99 << 10,
    PROCESSOR_SHARED = 100 << 10; // those of the 30 and 40 series

[[noreturn]] void die(const char *what, const char *of) {
    std::fprintf(stderr, "emulated GPU: %s: %s\n", of, what);
    std::abort();
}

bool only_counted() {
    static const bool is = std::getenv("EMULATED_ONLY_COUNTED") != nullptr;
    return is;
}

// ---- Memory ----

// All there is of it, in bytes: `EMULATED_MEMORY`, or 24 GiB.
size_t memory() {
    static const char *given = std::getenv("EMULATED_MEMORY");
    static const size_t bytes = given ? std::strtoull(given, nullptr, 10) : 24ull << 30;
    return bytes;
}

struct Allocation {
    size_t bytes;
    unsigned char *block; // with a guard on either side
    size_t place;         // in the pool
};
std::map<uintptr_t, Allocation> allocations; // by the first byte that the program has

// The books of a pool, which tell what its memory would look like: blocks of whole 512 bytes, the smallest free one that is large enough,
// split and joined again; more is taken from the card where none is, and nothing goes back.
struct Pool {
    static constexpr size_t GRAIN = 512, GROWTH = 2 << 20;
    std::map<size_t, size_t> free_blocks, taken; // bytes by place; segments do not touch
    std::set<std::pair<size_t, size_t>> by_size; // of the free ones
    size_t used = 0, most_used = 0, reserved = 0, most_reserved = 0, end = 0;

    void add_free(size_t place, size_t bytes) { free_blocks[place] = bytes, by_size.insert({bytes, place}); }
    void take_free(std::map<size_t, size_t>::iterator block) {
        by_size.erase({block->second, block->first});
        free_blocks.erase(block);
    }
    // Whether there was room for `wanted` bytes; sets `place`.
    bool take(size_t wanted, size_t all, size_t *place) {
        const size_t bytes = (wanted + GRAIN - 1) / GRAIN * GRAIN;
        auto best = by_size.lower_bound({bytes, 0});
        if (best == by_size.end()) {
            size_t grown = (bytes + GROWTH - 1) / GROWTH * GROWTH;
            if (reserved + grown > all) grown = bytes;
            if (reserved + grown > all) return false;
            end += GROWTH; // a gap, so that segments are not joined
            add_free(end, grown);
            end += grown, reserved += grown;
            most_reserved = reserved > most_reserved ? reserved : most_reserved;
            best = by_size.lower_bound({bytes, 0});
        }
        const size_t from = best->second, left = best->first - bytes;
        take_free(free_blocks.find(from));
        if (left) add_free(from + bytes, left);
        taken[from] = bytes, used += bytes;
        most_used = used > most_used ? used : most_used;
        return *place = from, true;
    }
    void give_back(size_t place) {
        const auto block = taken.find(place);
        size_t from = place, bytes = block->second;
        used -= bytes;
        taken.erase(block);
        auto after = free_blocks.lower_bound(place);
        if (after != free_blocks.end() && after->first == place + bytes) {
            bytes += after->second;
            take_free(after);
        }
        auto before = free_blocks.lower_bound(place);
        if (before != free_blocks.begin() && (--before)->first + before->second == place) {
            from = before->first, bytes += before->second;
            take_free(before);
        }
        add_free(from, bytes);
    }
} pool;

bool is_nan(const unsigned char *from, const unsigned char *to) {
    while (from < to && *from == 0xff) from++;
    return from == to;
}
CUresult allocate(CUdeviceptr *address, size_t bytes) {
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    size_t place;
    if (!pool.take(bytes, memory(), &place)) return CUDA_ERROR_OUT_OF_MEMORY;
    if (only_counted()) {
        static uintptr_t next = 1ull << 40;
        *address = next;
        next += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        allocations[*address] = {bytes, nullptr, place};
        return CUDA_SUCCESS;
    }
    const size_t all = bytes + 2 * GUARD + ALIGNMENT;
    auto *block = static_cast<unsigned char *>(std::malloc(all));
    if (!block) return CUDA_ERROR_OUT_OF_MEMORY;
    std::memset(block, 0xff, all);
    const uintptr_t at = (reinterpret_cast<uintptr_t>(block) + GUARD + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    allocations[at] = {bytes, block, place};
    *address = at;
    return CUDA_SUCCESS;
}
void check_surroundings(uintptr_t at, const Allocation &of, const char *when) {
    auto *data = reinterpret_cast<unsigned char *>(at);
    if (!is_nan(of.block, data) || !is_nan(data + of.bytes, of.block + of.bytes + 2 * GUARD + ALIGNMENT))
        die("something was written outside an allocation", when);
}
CUresult release(CUdeviceptr address) {
    const auto found = allocations.find(address);
    if (found == allocations.end()) die("an address is freed that was not given", "cuMemFree");
    if (found->second.block) {
        check_surroundings(address, found->second, "found when it was freed");
        std::memset(found->second.block, 0xff, found->second.bytes + 2 * GUARD + ALIGNMENT);
        std::free(found->second.block);
    }
    pool.give_back(found->second.place);
    allocations.erase(found);
    return CUDA_SUCCESS;
}
// Whether [address, address + bytes) lies inside one allocation.
bool ours(uintptr_t address, size_t bytes) {
    auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) return false;
    const auto &found = *--after;
    return address + bytes <= found.first + found.second.bytes;
}

// ---- Kernels ----

struct Library {
    const unsigned *(*parameters)(const char *);
    const char *(*launch)(const char *, void *const *, const unsigned *, const unsigned *, unsigned, uint64_t);
};
struct Function {
    Library library;
    std::string name;
    unsigned most_shared = SHARED;
};
// A module's image: PTX, or a cubin, which is code of one card.
struct Module {
    std::string image;
    bool is_cubin;
    std::map<std::string, Function> functions;
};
std::vector<Library> libraries() {
    std::vector<Library> all;
    const char *list = std::getenv("EMULATED_KERNELS");
    for (std::string rest = list ? list : ""; !rest.empty();) {
        const size_t end = rest.find(':');
        const std::string path = rest.substr(0, end);
        rest = end == std::string::npos ? "" : rest.substr(end + 1);
        void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!handle) die(dlerror(), path.c_str());
        Library library;
        library.parameters = reinterpret_cast<decltype(library.parameters)>(dlsym(handle, "emulation_parameters"));
        library.launch = reinterpret_cast<decltype(library.launch)>(dlsym(handle, "emulation_launch"));
        all.push_back(library);
    }
    return all;
}

// ---- Counts ----

struct Counted {
    size_t times, bytes;
};
// What is queued up to the update of an optimizer step, the update included; the last one is of what follows.
struct Step {
    std::map<std::string, Counted> kernels;
    // By rows, columns and inner dimension of a row-major `c = a b`, whether a is transposed, whether it adds to c, bytes of an element
    // of the factors and of c.
    std::map<std::string, size_t> products;
    Counted to_device;
};
struct Counts {
    size_t launches, products, allocations, to_device, waits, cubins;
    std::vector<Step> steps;
    Counts() : launches(), products(), allocations(), to_device(), waits(), cubins(), steps(1) {}
    ~Counts() {
        const char *path = std::getenv("EMULATED_LOG");
        FILE *file = path ? std::fopen(path, "w") : nullptr;
        if (!file) return;
        std::fprintf(file, "{\"launches\": %zu, \"products\": %zu, \"allocations\": %zu, \"to_device\": %zu, \"waits\": %zu, \"cubins\": %zu, \"steps\": [",
                     launches, products, allocations, to_device, waits, cubins);
        for (size_t i = 0; i < steps.size(); i++) {
            const Step &step = steps[i];
            const char *comma = "";
            std::fprintf(file, "%s{\"copies\": [%zu, %zu], \"kernels\": {", i ? ", " : "", step.to_device.times, step.to_device.bytes);
            for (const auto &kernel : step.kernels) {
                std::fprintf(file, "%s\"%s\": [%zu, %zu]", comma, kernel.first.c_str(), kernel.second.times, kernel.second.bytes);
                comma = ", ";
            }
            std::fprintf(file, "}, \"products\": {");
            comma = "";
            for (const auto &product : step.products) {
                std::fprintf(file, "%s\"%s\": %zu", comma, product.first.c_str(), product.second);
                comma = ", ";
            }
            std::fprintf(file, "}}");
        }
        std::fprintf(file, "]}\n");
        std::fclose(file);
    }
} counts;

// Bytes from an address of ours to the end of its allocation; 0 if it is none.
size_t reach(uintptr_t address) {
    auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) return 0;
    const auto &found = *--after;
    const uintptr_t end = found.first + found.second.bytes;
    return address < end ? end - address : 0;
}
// Counts a launch: an argument of eight bytes is a tensor where it is an address of ours. The same one twice is one tensor.
void count(const Function &kernel, void *const *arguments) {
    Counted &counted = counts.steps.back().kernels[kernel.name];
    counted.times++;
    std::set<uintptr_t> given;
    const unsigned *sizes = kernel.library.parameters(kernel.name.c_str());
    for (size_t i = 0; sizes[i]; i++) {
        uintptr_t address = 0;
        if (sizes[i] == sizeof address) std::memcpy(&address, arguments[i], sizeof address);
        if (address && given.insert(address).second) counted.bytes += reach(address);
    }
    if (kernel.name == "adamw_update") counts.steps.emplace_back();
}

std::recursive_mutex one_at_a_time;
#define CALL std::lock_guard<std::recursive_mutex> locked(one_at_a_time)

CUresult copy(uintptr_t to, uintptr_t from, size_t bytes, bool to_ours, bool from_ours) {
    if ((to_ours && !ours(to, bytes)) || (from_ours && !ours(from, bytes))) return CUDA_ERROR_INVALID_VALUE;
    if (!only_counted()) std::memcpy(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes);
    else if (!to_ours) std::memset(reinterpret_cast<void *>(to), 0, bytes);
    return CUDA_SUCCESS;
}

// ---- Waiting ----

// The host waits for everything (a stream, a copy that it needs), or for an event. It has seen what was queued before `seen`.
size_t queued, seen;
struct Event {
    size_t after;
    double ms;
};
std::map<uintptr_t, size_t> pinned; // bytes of memory of the host that the device writes by itself
struct Arrival {
    size_t after;
    uintptr_t to;
    std::vector<unsigned char> bytes;
};
std::deque<Arrival> arrivals; // in their order

// What was queued before `until` has been done: no wait for the host that has seen it.
void wait(size_t until) {
    if (until <= seen) return;
    counts.waits++;
    seen = until;
    for (; !arrivals.empty() && arrivals.front().after <= until; arrivals.pop_front()) {
        const Arrival &first = arrivals.front();
        std::memcpy(reinterpret_cast<void *>(first.to), first.bytes.data(), first.bytes.size());
    }
}
template <class T> T handle() { return reinterpret_cast<T>(static_cast<uintptr_t>(0x10)); }

} // namespace

// ---- The driver ----

#pragma GCC visibility push(default)
extern "C" {

CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
// `EMULATED_DRIVER`, or 13000.
CUresult cuDriverGetVersion(int *version) {
    const char *given = std::getenv("EMULATED_DRIVER");
    return *version = given ? std::atoi(given) : 13000, CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult error, const char **name) {
    static char text[32];
    std::snprintf(text, sizeof text, "CUDA error %d", (int)error);
    return *name = text, CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult error, const char **text) { return cuGetErrorName(error, text); }
// `EMULATED_CARDS`, or 1. A process uses one of them.
int cards() {
    static const char *given = std::getenv("EMULATED_CARDS");
    return given ? std::atoi(given) : 1;
}
// `EMULATED_CAPABILITY`, ten times the first number and the second, or 90.
int capability() {
    static const char *given = std::getenv("EMULATED_CAPABILITY");
    return given ? std::atoi(given) : 90;
}
CUresult cuDeviceGetCount(int *count) { return *count = cards(), CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    return ordinal < cards() ? *device = ordinal, CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
CUresult cuDeviceGetName(char *name, int size, CUdevice) {
    const char *given = std::getenv("EMULATED_NAME"); // or that of no card
    return std::snprintf(name, (size_t)size, "%s", given ? given : "emulated GPU"), CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice) { return *bytes = memory(), CUDA_SUCCESS; }
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice) {
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = capability() / 10; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = capability() % 10; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *value = !std::getenv("EMULATED_NO_POOLS"); break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 4; break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 64 << 10; break; // so small that inputs take turns
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = MOST_SHARED; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *value = PROCESSOR_SHARED; break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 1980000; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = 0; break; // as newer drivers have it
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = 5120; break;
    case CU_DEVICE_ATTRIBUTE_ECC_ENABLED: *value = 1; break;
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID: *value = 0xffff; break; // no such device
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID: *value = 0; break;
    default: die(std::to_string((int)attribute).c_str(), "cuDeviceGetAttribute");
    }
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice) { return *context = handle<CUcontext>(), CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { return CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext *context) { return *context = handle<CUcontext>(), CUDA_SUCCESS; }
CUresult cuCtxSynchronize() {
    CALL;
    return wait(++queued), CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *stream, unsigned) { return *stream = handle<CUstream>(), CUDA_SUCCESS; }
CUresult cuStreamDestroy_v2(CUstream) { return CUDA_SUCCESS; }
CUresult cuStreamSynchronize(CUstream) { return cuCtxSynchronize(); }
CUresult cuStreamWaitEvent(CUstream, CUevent, unsigned) { return CUDA_SUCCESS; }
CUresult cuStreamIsCapturing(CUstream, CUstreamCaptureStatus *status) {
    return *status = CU_STREAM_CAPTURE_STATUS_NONE, CUDA_SUCCESS;
}
CUresult cuEventCreate(CUevent *event, unsigned) { return *event = reinterpret_cast<CUevent>(new Event{}), CUDA_SUCCESS; }
CUresult cuEventDestroy_v2(CUevent event) { return delete reinterpret_cast<Event *>(event), CUDA_SUCCESS; }
CUresult cuEventRecord(CUevent event, CUstream) {
    CALL;
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *reinterpret_cast<Event *>(event) = {++queued, (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6};
    return CUDA_SUCCESS;
}
CUresult cuEventSynchronize(CUevent event) {
    CALL;
    return wait(reinterpret_cast<Event *>(event)->after), CUDA_SUCCESS;
}
// By its name of CUDA 13, and by that of CUDA 12.
#undef cuEventElapsedTime
CUresult cuEventElapsedTime_v2(float *ms, CUevent from, CUevent to) {
    CALL;
    const Event &first = *reinterpret_cast<Event *>(from), &last = *reinterpret_cast<Event *>(to);
    if (first.after > seen || last.after > seen) return CUDA_ERROR_NOT_READY;
    return *ms = (float)(last.ms - first.ms), CUDA_SUCCESS;
}
CUresult cuEventElapsedTime(float *ms, CUevent from, CUevent to) { return cuEventElapsedTime_v2(ms, from, to); }

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice) {
    if (std::getenv("EMULATED_NO_POOLS")) return CUDA_ERROR_NOT_SUPPORTED;
    return *pool = handle<CUmemoryPool>(), CUDA_SUCCESS;
}
CUresult cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute attribute, void *value) {
    CALL;
    if (attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH) {
        if (*static_cast<uint64_t *>(value) != 0) return CUDA_ERROR_INVALID_VALUE;
        pool.most_used = pool.used;
    }
    return CUDA_SUCCESS;
}
CUresult cuMemPoolGetAttribute(CUmemoryPool, CUmemPool_attribute attribute, void *value) {
    CALL;
    switch (attribute) {
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: *static_cast<uint64_t *>(value) = pool.used; break;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH: *static_cast<uint64_t *>(value) = pool.most_used; break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: *static_cast<uint64_t *>(value) = pool.reserved; break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH: *static_cast<uint64_t *>(value) = pool.most_reserved; break;
    default: die(std::to_string((int)attribute).c_str(), "cuMemPoolGetAttribute");
    }
    return CUDA_SUCCESS;
}
CUresult cuMemGetInfo_v2(size_t *available, size_t *all) { return *available = memory() - pool.reserved, *all = memory(), CUDA_SUCCESS; }
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
    CALL;
    return counts.allocations++, allocate(address, bytes);
}
CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream) { return cuMemAlloc_v2(address, bytes); }
CUresult cuMemFree_v2(CUdeviceptr address) {
    CALL;
    return release(address);
}
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream) { return cuMemFree_v2(address); }
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream) {
    CALL;
    if (bytes > 64 << 10) wait(++queued); // a small copy goes along with the commands
    Counted &copies = counts.steps.back().to_device;
    copies.times++, copies.bytes += bytes;
    return counts.to_device++, copy(to, reinterpret_cast<uintptr_t>(from), bytes, true, false);
}
CUresult cuMemHostAlloc(void **memory, size_t bytes, unsigned) {
    CALL;
    wait(++queued); // as a real one does
    *memory = std::malloc(bytes);
    std::memset(*memory, 0xff, bytes);
    return pinned[reinterpret_cast<uintptr_t>(*memory)] = bytes, CUDA_SUCCESS;
}
CUresult cuMemFreeHost(void *memory) {
    CALL;
    if (!pinned.erase(reinterpret_cast<uintptr_t>(memory))) return CUDA_ERROR_INVALID_VALUE;
    return wait(++queued), std::free(memory), CUDA_SUCCESS;
}
CUresult cuMemcpyDtoHAsync_v2(void *memory, CUdeviceptr from, size_t bytes, CUstream) {
    CALL;
    const auto to = reinterpret_cast<uintptr_t>(memory);
    const auto found = pinned.find(to);
    if (found == pinned.end()) { // returns once it is there
        wait(++queued);
        return copy(to, from, bytes, false, true);
    }
    if (bytes > found->second) return CUDA_ERROR_INVALID_VALUE;
    Arrival arrival{++queued, to, std::vector<unsigned char>(bytes)};
    const CUresult result = copy(reinterpret_cast<uintptr_t>(arrival.bytes.data()), from, bytes, false, true);
    arrivals.push_back(std::move(arrival));
    return result;
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream) {
    CALL;
    return copy(to, from, bytes, true, true);
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream) {
    CALL;
    if (!ours(to, bytes)) return CUDA_ERROR_INVALID_VALUE;
    if (!only_counted()) std::memset(reinterpret_cast<void *>(to), value, bytes);
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    CALL;
    const char *text = static_cast<const char *>(image);
    Elf64_Ehdr header;
    if (std::memcmp(text, ELFMAG, SELFMAG) != 0) {
        if (!std::strstr(text, ".entry")) die("expected PTX or a cubin with a kernel in it", "cuModuleLoadData");
        return *module = reinterpret_cast<CUmodule>(new Module{text, false, {}}), CUDA_SUCCESS;
    }
    std::memcpy(&header, text, sizeof header);
    if (header.e_machine != EM_CUDA) return CUDA_ERROR_INVALID_IMAGE;
    // Where the second byte of the flags is the card's; nvcc of CUDA 12 writes the first.
    const unsigned of = header.e_ident[EI_ABIVERSION] >= 8 ? header.e_flags >> 8 & 0xff : header.e_flags & 0xff;
    if ((int)of != capability()) return CUDA_ERROR_NO_BINARY_FOR_GPU;
    size_t bytes = header.e_shoff + (size_t)header.e_shnum * header.e_shentsize;
    for (size_t i = 0; i < header.e_shnum; i++) {
        Elf64_Shdr section;
        std::memcpy(&section, text + header.e_shoff + i * header.e_shentsize, sizeof section);
        if (section.sh_type != SHT_NOBITS) bytes = std::max(bytes, (size_t)(section.sh_offset + section.sh_size));
    }
    counts.cubins++;
    return *module = reinterpret_cast<CUmodule>(new Module{std::string(text, bytes), true, {}}), CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule module) { return delete reinterpret_cast<Module *>(module), CUDA_SUCCESS; }
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    CALL;
    static const std::vector<Library> all = libraries();
    Module &in = *reinterpret_cast<Module *>(module);
    auto found = in.functions.find(name);
    if (found == in.functions.end()) {
        // A cubin has a section of each kernel.
        const std::string sign = in.is_cubin ? std::string(1, '\0') + ".text." + name + '\0' : ".entry " + std::string(name) + "(";
        if (in.image.find(sign) == std::string::npos) return CUDA_ERROR_NOT_FOUND;
        for (const Library &library : all)
            if (library.parameters(name)) found = in.functions.emplace(name, Function{library, name}).first;
        if (found == in.functions.end()) die("no library has this kernel", name);
    }
    return *function = reinterpret_cast<CUfunction>(&found->second), CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value > (int)MOST_SHARED) return CUDA_ERROR_INVALID_VALUE;
    return reinterpret_cast<Function *>(function)->most_shared = (unsigned)value, CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction) {
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 32; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = 0; break;
    default: die(std::to_string((int)attribute).c_str(), "cuFuncGetAttribute");
    }
    return CUDA_SUCCESS;
}
// As many as have 32 registers a thread of 65536, and their shared memory.
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction, int threads, size_t shared, unsigned) {
    *blocks = 2048 / threads;
    const size_t room = shared ? PROCESSOR_SHARED / shared : 32;
    return *blocks = *blocks < (int)room ? *blocks : (int)room, CUDA_SUCCESS;
}
CUresult cuLaunchKernel(CUfunction function, unsigned x, unsigned y, unsigned z, unsigned block_x, unsigned block_y,
                        unsigned block_z, unsigned shared, CUstream, void **arguments, void **extra) {
    CALL;
    Function &kernel = *reinterpret_cast<Function *>(function);
    const unsigned grid[3] = {x, y, z}, block[3] = {block_x, block_y, block_z};
    if (!x || !y || !z || y > 65535 || z > 65535 || !block_x || !block_y || !block_z || shared > kernel.most_shared || extra)
        return CUDA_ERROR_INVALID_VALUE;
    // `EMULATED_FAILING` begins the names of kernels that fail.
    if (const char *failing = std::getenv("EMULATED_FAILING"); failing && kernel.name.find(failing) == 0) return CUDA_ERROR_LAUNCH_FAILED;
    counts.launches++;
    count(kernel, arguments);
    // From here on: how often a rate is measured before depends on the clock.
    if (static bool stepped; !stepped && kernel.name.find("adamw") == 0) stepped = true, counts.waits = 0;
    if (only_counted()) return CUDA_SUCCESS;
    const char *failure = kernel.library.launch(kernel.name.c_str(), arguments, grid, block, shared, counts.launches);
    if (failure) die(failure, "cuLaunchKernel");
    return CUDA_SUCCESS;
}

// ---- cuBLAS and cuRAND ----

int cublasCreate_v2(void **created) { return *created = handle<void *>(), 0; }
int cublasDestroy_v2(void *) { return 0; }
int cublasGetVersion_v2(void *, int *version) { return *version = 130000, 0; }
// Products here round once, which is what this mode asks for.
bool rounds_once;
int cublasSetMathMode(void *, int mode) { return rounds_once = mode == 16, 0; }
int cublasGetMathMode(void *, int *mode) { return *mode = rounds_once ? 16 : 0, 0; }
int cublasSetStream_v2(void *, CUstream) { return 0; }
int curandCreateGenerator(void **generator, int) { return *generator = handle<void *>(), 0; }
int curandDestroyGenerator(void *) { return 0; }
int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
int curandSetStream(void *, CUstream) { return 0; }

} // extern "C"

namespace {

constexpr int INVALID = 7, F32 = 0, BF16 = 14, ACCUMULATE_IN_F32 = 68;

size_t size_of(int type) { return type == F32 ? 4 : 2; }
float read(const void *from, size_t at, int type) {
    if (type == F32) return static_cast<const float *>(from)[at];
    const uint32_t bits = (uint32_t) static_cast<const uint16_t *>(from)[at] << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
void write(void *to, size_t at, int type, float value) {
    if (type == F32) {
        static_cast<float *>(to)[at] = value;
        return;
    }
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if (value == value) bits += 0x7fff + (bits >> 16 & 1);
    static_cast<uint16_t *>(to)[at] = (uint16_t)(bits >> 16);
}
// A factor as `[inner, outer]`, row-major; in memory columns come first.
std::vector<float> factor(const void *from, int type, bool inner_first, size_t inner, size_t outer, size_t leading) {
    std::vector<float> values(inner * outer);
    for (size_t i = 0; i < inner; i++)
        for (size_t o = 0; o < outer; o++)
            values[i * outer + o] = read(from, inner_first ? i + o * leading : o + i * leading, type);
    return values;
}
int product(int transpose_a, int transpose_b, int m, int n, int k, float alpha, const void *a, int a_type, int lda,
            const void *b, int b_type, int ldb, float beta, void *c, int c_type, int ldc) {
    const size_t rows = (size_t)m, columns = (size_t)n, inner = (size_t)k;
    const bool known = (a_type == F32 || a_type == BF16) && a_type == b_type && (c_type == F32 || c_type == a_type);
    if (!known || m < 0 || n < 0 || k < 0 || lda < (transpose_a ? k : m) || ldb < (transpose_b ? n : k) || ldc < m) return INVALID;
    auto last = [](int leading, int outer, int first) { return (size_t)leading * (size_t)(outer - 1) + (size_t)first; };
    const bool inside =
        !m || !n || !k ||
        (ours((uintptr_t)a, size_of(a_type) * (transpose_a ? last(lda, m, k) : last(lda, k, m))) &&
         ours((uintptr_t)b, size_of(b_type) * (transpose_b ? last(ldb, k, n) : last(ldb, n, k))) &&
         ours((uintptr_t)c, size_of(c_type) * last(ldc, n, m)));
    if (!inside) die("a matrix is not inside one allocation", "cublasGemmEx");
    if (!rounds_once) die("the mode lets partial sums be rounded", "cublasGemmEx");
    if (only_counted()) return 0;
    const std::vector<float> of_a = factor(a, a_type, transpose_a, inner, rows, (size_t)lda);
    const std::vector<float> of_b = factor(b, b_type, !transpose_b, inner, columns, (size_t)ldb);
    std::vector<float> sums(rows);
    for (size_t column = 0; column < columns; column++) {
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (size_t i = 0; i < inner; i++) {
            const float by = of_b[i * columns + column];
            for (size_t row = 0; row < rows; row++) sums[row] += of_a[i * rows + row] * by;
        }
        for (size_t row = 0; row < rows; row++) {
            const size_t at = row + column * (size_t)ldc;
            write(c, at, c_type, alpha * sums[row] + (beta == 0 ? 0 : beta * read(c, at, c_type)));
        }
    }
    return 0;
}

} // namespace

extern "C" {

int cublasGemmEx(void *, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha, const void *a, int a_type,
                 int lda, const void *b, int b_type, int ldb, const void *beta, void *c, int c_type, int ldc, int compute, int) {
    CALL;
    counts.products++;
    if (compute != ACCUMULATE_IN_F32) return INVALID;
    char of[128];
    std::snprintf(of, sizeof of, "%d,%d,%d,%d,%d,%zu,%zu", n, m, k, transpose_b != 0, *static_cast<const float *>(beta) != 0,
                  size_of(a_type), size_of(c_type));
    counts.steps.back().products[of]++;
    return product(transpose_a, transpose_b, m, n, k, *static_cast<const float *>(alpha), a, a_type, lda, b, b_type, ldb,
                   *static_cast<const float *>(beta), c, c_type, ldc);
}
int cublasGemmStridedBatchedEx(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha,
                               const void *a, int a_type, int lda, long long stride_a, const void *b, int b_type, int ldb,
                               long long stride_b, const void *beta, void *c, int c_type, int ldc, long long stride_c, int batch,
                               int compute, int algorithm) {
    CALL;
    for (long long i = 0; i < batch; i++) {
        auto at = [i](const void *from, long long stride, int type) {
            return static_cast<const char *>(from) + i * stride * (long long)size_of(type);
        };
        const int status = cublasGemmEx(handle, transpose_a, transpose_b, m, n, k, alpha, at(a, stride_a, a_type), a_type, lda,
                                        at(b, stride_b, b_type), b_type, ldb, beta,
                                        const_cast<char *>(at(c, stride_c, c_type)), c_type, ldc, compute, algorithm);
        if (status) return status;
    }
    return 0;
}

} // extern "C"
