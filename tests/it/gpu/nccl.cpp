// What the program calls of NCCL, between processes on emulated cards: a ring of bytes for each pair of ranks, in shared memory. Loaded before the real
// names (LD_PRELOAD), beside driver.cpp, whose memory is the host's.
//
// Stricter than NCCL: a transfer outside a group, of another type than f32, of no elements or to itself ends the program, and what is
// sent must be received in the same group. `EMULATED_NCCL_LOG` names a file to which each rank adds a line at its end: groups, and
// bytes that it sent.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace {

[[noreturn]] void die(const char *what) {
    std::fprintf(stderr, "emulated NCCL: %s\n", what);
    std::abort();
}

constexpr size_t RING = 1 << 16;
struct Ring {
    std::atomic<uint64_t> written, read;
    unsigned char bytes[RING];
};
struct Segment {
    std::atomic<int> joined;
    Ring rings[]; // from * ranks + to
};
struct Comm {
    Segment *all;
    int rank, ranks;
    Ring &ring(int from, int to) { return all->rings[from * ranks + to]; }
};
struct Transfer {
    Comm *comm;
    unsigned char *at;
    size_t left;
    int peer;
    bool is_send;
    // Moves what it can; whether it moved something.
    bool advance() {
        Ring &ring = is_send ? comm->ring(comm->rank, peer) : comm->ring(peer, comm->rank);
        const uint64_t written = ring.written, read = ring.read;
        const size_t place = (is_send ? written : read) % RING;
        size_t count = is_send ? RING - (written - read) : written - read;
        count = count < RING - place ? count : RING - place;
        count = count < left ? count : left;
        if (count == 0) return false;
        if (is_send) std::memcpy(ring.bytes + place, at, count);
        else std::memcpy(at, ring.bytes + place, count);
        (is_send ? ring.written : ring.read) += count;
        at += count;
        left -= count;
        return true;
    }
};

int depth;
std::vector<Transfer> transfers;
size_t groups, sent;

void queue(Comm *comm, const void *at, size_t count, int type, int peer, bool is_send) {
    if (depth == 0) die("a transfer outside a group");
    if (type != 7) die("a transfer that is not of f32");
    if (count == 0 || peer == comm->rank || peer < 0 || peer >= comm->ranks) die("a transfer of nothing, or to no other rank");
    if (is_send) sent += 4 * count;
    auto *bytes = const_cast<unsigned char *>(static_cast<const unsigned char *>(at));
    transfers.push_back({comm, bytes, 4 * count, peer, is_send});
}

struct Log {
    ~Log() {
        const char *path = std::getenv("EMULATED_NCCL_LOG");
        FILE *file = path && groups ? std::fopen(path, "a") : nullptr;
        if (!file) return;
        std::fprintf(file, "{\"groups\": %zu, \"sent\": %zu}\n", groups, sent);
        std::fclose(file);
    }
} at_the_end;

} // namespace

#pragma GCC visibility push(default)
extern "C" {

struct UniqueId {
    char internal[128];
};

int ncclGetUniqueId(UniqueId *id) {
    std::memset(id, 0, sizeof *id);
    static int number;
    std::snprintf(id->internal, sizeof id->internal, "/mvpbench-nccl-%d-%d", (int)getpid(), number++);
    // Rank 0 alone makes it, before any rank joins.
    const int file = shm_open(id->internal, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (file < 0) return 2;
    close(file);
    return 0;
}

int ncclCommInitRank(Comm **comm, int ranks, UniqueId id, int rank) {
    const size_t size = sizeof(Segment) + sizeof(Ring) * (size_t)ranks * (size_t)ranks;
    const int file = shm_open(id.internal, O_RDWR, 0600);
    if (file < 0 || ftruncate(file, (off_t)size) != 0) return 2;
    void *at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (at == MAP_FAILED) return 2;
    *comm = new Comm{static_cast<Segment *>(at), rank, ranks};
    (*comm)->all->joined++;
    while ((*comm)->all->joined < ranks) sched_yield();
    if (rank == 0) shm_unlink(id.internal);
    return 0;
}

int ncclCommAbort(Comm *comm) { return delete comm, 0; }

int ncclGroupStart() { return depth++, 0; }

int ncclSend(const void *from, size_t count, int type, int peer, Comm *comm, void *) {
    return queue(comm, from, count, type, peer, true), 0;
}

int ncclRecv(void *to, size_t count, int type, int peer, Comm *comm, void *) {
    return queue(comm, to, count, type, peer, false), 0;
}

int ncclGroupEnd() {
    if (depth == 0) die("the end of no group");
    if (--depth > 0) return 0;
    groups += !transfers.empty();
    for (bool is_over = false; !is_over;) {
        bool moved = false;
        is_over = true;
        for (Transfer &transfer : transfers) {
            moved |= transfer.advance();
            is_over &= transfer.left == 0;
        }
        if (!moved && !is_over) sched_yield();
    }
    transfers.clear();
    return 0;
}
}
