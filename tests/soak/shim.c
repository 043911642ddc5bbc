/* What a node of the soak meets on its machine: a clock that was put forward or back, and a disk that is full.
 *
 * Loaded into `m2mesh run --dir DIR` by LD_PRELOAD, and idle in every other process. Sixteen bytes of the file `soak-control`
 * in the node's directory say what holds at the moment; whoever runs the soak writes them, the node maps them:
 *
 *   0  i64  microseconds by which the wall clock is ahead
 *   8  u32  whether regular files take no writes
 *
 * Clocks that count from the start of the machine are left alone, as they are when a real clock is put right. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    volatile int64_t ahead;
    volatile uint32_t full;
    uint32_t unused;
};

static struct control none;
static struct control *control = &none;

#define REAL(type, name, ...)                             \
    static type (*real)(__VA_ARGS__);                     \
    if (!real)                                            \
        real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

__attribute__((constructor)) static void begin(void) {
    char line[8192], path[4096], *run = NULL, *directory = NULL;
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    ssize_t length = read(file, line, sizeof line - 1);
    close(file);
    if (length <= 0)
        return;
    line[length] = 0;
    for (char *word = line; word < line + length; word += strlen(word) + 1) {
        if (!strcmp(word, "run"))
            run = word;
        else if (!strcmp(word, "--dir"))
            directory = word + strlen(word) + 1;
    }
    if (!run || !directory || directory >= line + length)
        return;
    snprintf(path, sizeof path, "%s/soak-control", directory);
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0)
        return;
    if (ftruncate(file, sizeof *control) == 0) {
        void *mapped = mmap(NULL, sizeof *control, PROT_READ, MAP_SHARED, file, 0);
        if (mapped != MAP_FAILED)
            control = mapped;
    }
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int result = real(clock, now);
    int64_t ahead = control->ahead;
    if (result == 0 && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t nanos = now->tv_nsec + (ahead % 1000000) * 1000;
        int64_t carry = nanos < 0 ? -1 : nanos >= 1000000000 ? 1 : 0;
        now->tv_sec += ahead / 1000000 + carry;
        now->tv_nsec = nanos - carry * 1000000000;
    }
    return result;
}

static int refused(int file) {
    struct stat about;
    if (!control->full || fstat(file, &about) != 0 || !S_ISREG(about.st_mode))
        return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int file, const void *bytes, size_t count) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return refused(file) ? -1 : real(file, bytes, count);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return refused(file) ? -1 : real(file, parts, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return refused(file) ? -1 : real(file, bytes, count, at);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return refused(file) ? -1 : real(file, bytes, count, at);
}

int posix_fallocate(int file, off_t at, off_t length) {
    REAL(int, "posix_fallocate", int, off_t, off_t);
    return refused(file) ? ENOSPC : real(file, at, length);
}
