// In: variables TORTURE_*. Out: a program under LD_PRELOAD that dies or is refused at its n-th call that changes a file, or whose day jumps.
//
//   TORTURE_LOG=FILE    append a line for each counted call: its number, its name, the path
//   TORTURE_AT=N        act at the N-th counted call (the first is 1)
//   TORTURE_HOW=        kill    SIGKILL before the call
//                       half    a write stores the first half of its bytes, any other call is done, then SIGKILL
//                       after   the call is done, then SIGKILL
//                       fail    the call is not done and fails with TORTURE_ERRNO; every later one too if TORTURE_STICKY is set
//   TORTURE_READS=1     count calls that open or read a regular file too
//   TORTURE_THREADS=N   no thread can be started while N run beside the first
//   TORTURE_SHIFT=S     CLOCK_REALTIME is S seconds off; with TORTURE_EVERY=K on and off by turns, K calls each
//
// Counted are calls on regular files and on names outside of /dev (but /dev/shm), /proc and /sys. Pipes, terminals and sockets are left alone.
// Flushes to the disk are counted and not done: nothing here takes the power away, and they are slow.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum how { NOTHING, KILL, HALF, AFTER, FAIL };

static enum how how;
static long at, counted, every, moments, threads, started;
static long long shift;
static int number = EIO, sticky, reads, log_fd = -1;

static long whole(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text && *text ? atol(text) : otherwise;
}

__attribute__((constructor)) static void begin(void) {
    const char *word = getenv("TORTURE_HOW"), *log = getenv("TORTURE_LOG");
    const char *words[] = {"", "kill", "half", "after", "fail"};
    for (int i = 1; word && i < 5; i++)
        if (!strcmp(word, words[i])) how = (enum how)i;
    at = whole("TORTURE_AT", 0);
    number = (int)whole("TORTURE_ERRNO", EIO);
    sticky = whole("TORTURE_STICKY", 0) != 0;
    reads = whole("TORTURE_READS", 0) != 0;
    threads = whole("TORTURE_THREADS", -1);
    shift = whole("TORTURE_SHIFT", 0);
    every = whole("TORTURE_EVERY", 0);
    if (log) log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static void die(void) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

// What happens to this call; a kill before it happens here.
static enum how meet(const char *call, const char *path) {
    long now = __sync_add_and_fetch(&counted, 1);
    if (log_fd >= 0) {
        char line[4200];
        int length = snprintf(line, sizeof line, "%ld %s %s\n", now, call, path);
        if (length > 0) syscall(SYS_write, log_fd, line, length < (int)sizeof line ? length : (int)sizeof line);
    }
    if (!(now == at || (sticky && at > 0 && now > at))) return NOTHING;
    if (how == KILL) die();
    if (how == FAIL) errno = number;
    return how;
}

static int is_ours(const char *path) {
    if (!path || !strncmp(path, "/proc/", 6) || !strncmp(path, "/sys/", 5)) return 0;
    return strncmp(path, "/dev/", 5) || !strncmp(path, "/dev/shm/", 9);
}

static enum how meet_path(const char *call, const char *path) { return is_ours(path) ? meet(call, path) : NOTHING; }

static enum how meet_fd(const char *call, int fd) {
    struct stat status;
    int before = errno;
    if (fd == log_fd || fstat(fd, &status) || !(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))) {
        errno = before;
        return NOTHING;
    }
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    errno = before;
    return is_ours(path) ? meet(call, path) : NOTHING;
}

// A name below an open folder, whole.
static enum how meet_below(const char *call, int fd, const char *name) {
    if (!name || name[0] == '/' || fd == AT_FDCWD) return meet_path(call, name);
    char link[64], path[8192];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, 4096);
    snprintf(path + (length > 0 ? length : 0), 4000, "/%s", name);
    return meet_path(call, path);
}

// The call as libc has it.
#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

// A whole call: refused, done, or done and then the end.
#define DO(type, met, call) \
    do { \
        enum how it = (met); \
        if (it == FAIL) return -1; \
        type result = (call); \
        int after = errno; \
        if (it == HALF || it == AFTER) die(); \
        errno = after; \
        return result; \
    } while (0)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    enum how it = meet_fd("write", fd);
    if (it == FAIL) return -1;
    if (it == HALF) {
        if (count / 2 && real(fd, bytes, count / 2) < 0) _exit(99);
        die();
    }
    ssize_t result = real(fd, bytes, count);
    int after = errno;
    if (it == AFTER) die();
    errno = after;
    return result;
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    DO(ssize_t, meet_fd("writev", fd), real(fd, parts, it == HALF && count > 1 ? count / 2 : count));
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t place) {
    REAL(pwrite64);
    DO(ssize_t, meet_fd("pwrite", fd), real(fd, bytes, it == HALF ? count / 2 : count, place));
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t place) { return pwrite64(fd, bytes, count, place); }
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) {
    REAL(copy_file_range);
    DO(ssize_t, meet_fd("copy_file_range", to), real(from, from_at, to, to_at, count, flags));
}
int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64);
    DO(int, meet_fd("ftruncate", fd), real(fd, length));
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }
int fsync(int fd) { DO(int, meet_fd("fsync", fd), 0); }
int fdatasync(int fd) { DO(int, meet_fd("fdatasync", fd), 0); }
int fchmod(int fd, mode_t mode) {
    REAL(fchmod);
    DO(int, meet_fd("fchmod", fd), real(fd, mode));
}
int rename(const char *from, const char *to) {
    REAL(rename);
    DO(int, meet_path("rename", to), real(from, to));
}
int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    REAL(renameat2);
    DO(int, meet_path("renameat2", to), real(from_fd, from, to_fd, to, flags));
}
int link(const char *from, const char *to) {
    REAL(link);
    DO(int, meet_path("link", to), real(from, to));
}
int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    REAL(linkat);
    DO(int, meet_path("linkat", to), real(from_fd, from, to_fd, to, flags));
}
int symlink(const char *from, const char *to) {
    REAL(symlink);
    DO(int, meet_path("symlink", to), real(from, to));
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    DO(int, meet_path("mkdir", path), real(path, mode));
}
int unlink(const char *path) {
    REAL(unlink);
    DO(int, meet_path("unlink", path), real(path));
}
int unlinkat(int fd, const char *path, int flags) {
    REAL(unlinkat);
    DO(int, meet_below("unlinkat", fd, path), real(fd, path, flags));
}
int rmdir(const char *path) {
    REAL(rmdir);
    DO(int, meet_path("rmdir", path), real(path));
}

static enum how meet_open(const char *path, int flags) {
    if (flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) return meet_path("open", path);
    return reads ? meet_path("open to read", path) : NOTHING;
}
static mode_t mode_of(int flags, va_list more) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; }

int open64(const char *path, int flags, ...) {
    REAL(open64);
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    DO(int, meet_open(path, flags), real(path, flags, mode));
}
int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    return open64(path, flags, mode);
}
int openat64(int fd, const char *path, int flags, ...) {
    REAL(openat64);
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    DO(int, meet_open(path, flags), real(fd, path, flags, mode));
}
ssize_t read(int fd, void *bytes, size_t count) {
    REAL(read);
    DO(ssize_t, reads ? meet_fd("read", fd) : NOTHING, real(fd, bytes, count));
}
ssize_t pread64(int fd, void *bytes, size_t count, off64_t place) {
    REAL(pread64);
    DO(ssize_t, reads ? meet_fd("pread", fd) : NOTHING, real(fd, bytes, count, place));
}

// A thread that counts as long as it runs, as a container's limit has it.
struct run {
    void *(*run)(void *);
    void *given;
};
static void *counted_run(void *packed) {
    struct run run = *(struct run *)packed;
    free(packed);
    void *result = run.run(run.given);
    __sync_sub_and_fetch(&started, 1);
    return result;
}
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *given) {
    REAL(pthread_create);
    if (threads < 0) return real(thread, attributes, run, given);
    struct run *packed = malloc(sizeof *packed);
    int code = EAGAIN;
    if (packed && __sync_add_and_fetch(&started, 1) <= threads) {
        *packed = (struct run){run, given};
        code = real(thread, attributes, counted_run, packed);
    }
    if (code) {
        __sync_sub_and_fetch(&started, 1);
        free(packed);
    }
    return code;
}

// The day alone jumps. The clock that only goes forward does not, as on a machine whose time is set.
int clock_gettime(clockid_t clock, struct timespec *moment) {
    REAL(clock_gettime);
    int result = real(clock, moment);
    if (result == 0 && shift && clock == CLOCK_REALTIME) {
        long now = __sync_fetch_and_add(&moments, 1);
        if (every == 0 || now / every % 2 == 1) moment->tv_sec += shift;
    }
    return result;
}
time_t time(time_t *into) {
    struct timespec moment;
    clock_gettime(CLOCK_REALTIME, &moment);
    if (into) *into = moment.tv_sec;
    return moment.tv_sec;
}
int gettimeofday(struct timeval *restrict into, void *restrict zone) {
    (void)zone;
    struct timespec moment;
    clock_gettime(CLOCK_REALTIME, &moment);
    into->tv_sec = moment.tv_sec;
    into->tv_usec = moment.tv_nsec / 1000;
    return 0;
}
