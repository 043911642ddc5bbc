/* Journals what a process does to the files below one directory, for tests of what a loss of power leaves.
 *
 * To be preloaded. POWER_DIRECTORY is the directory, an absolute path; POWER_JOURNAL the file that the journal is
 * appended to, elsewhere. Each operation is done and journalled under one lock, so that the journal has the order in
 * which the kernel had them; an fsync is journalled when it begins and when it has succeeded, and what it covers is what
 * stands before its beginning. sync_file_range is not journalled: it does not make the disk write its cache. Whatever
 * this cannot follow (shared writable mappings, copying within the kernel) is journalled as such and fails the test.
 *
 * A record, all numbers in the machine's byte order:
 *   kind u8 | synchronous u8 | zero u16 | first u32 | second u32 | data u32 | inode u64 | offset u64
 *   then `first` and `second` bytes of paths, then `data` bytes.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct head {
    uint8_t kind, synchronous;
    uint16_t zero;
    uint32_t first, second, data;
    uint64_t inode, offset;
};

static int journal = -1;
static const char *directory;
static size_t directory_length;
static uint64_t syncs;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("POWER_JOURNAL");
    directory = getenv("POWER_DIRECTORY");
    if (!path || !directory) return;
    directory_length = strlen(directory);
    journal = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) abort();
}

static void append(const void *bytes, size_t length) {
    const char *at = bytes;
    while (length > 0) {
        ssize_t written = syscall(SYS_write, journal, at, length);
        if (written < 0) {
            if (errno == EINTR) continue;
            abort();
        }
        at += written;
        length -= written;
    }
}

/* The lock is held. */
static void record(char kind, int synchronous, uint64_t inode, uint64_t offset, const char *first, const char *second,
                   const void *data, size_t length) {
    int error = errno;
    struct head head = {kind, synchronous, 0, first ? strlen(first) : 0, second ? strlen(second) : 0, length, inode, offset};
    append(&head, sizeof head);
    append(first, head.first);
    append(second, head.second);
    append(data, length);
    errno = error;
}

static int below(const char *path) {
    return strncmp(path, directory, directory_length) == 0 &&
           (path[directory_length] == '/' || path[directory_length] == 0);
}

/* The path that an open file has, or had; whether it is one to follow. */
static int followed(int fd) {
    char link[64], path[PATH_MAX];
    if (journal < 0 || fd < 0) return 0;
    int error = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = error;
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path);
}

/* An absolute path of what is named relative to an open directory; whether it is one to follow. */
static int named(int at, const char *path, char *whole) {
    if (journal < 0 || !path) return 0;
    if (path[0] == '/') {
        snprintf(whole, PATH_MAX, "%s", path);
    } else {
        char link[64], base[PATH_MAX];
        int error = errno;
        if (at == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t length = readlink(link, base, sizeof base - 1);
        errno = error;
        if (length <= 0) return 0;
        base[length] = 0;
        if (snprintf(whole, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    }
    return below(whole);
}

static uint64_t inode(int fd) {
    struct stat found;
    int error = errno;
    uint64_t number = fstat(fd, &found) == 0 ? found.st_ino : 0;
    errno = error;
    return number;
}

static int is_synchronous(int fd) {
    int error = errno, flags = fcntl(fd, F_GETFL);
    errno = error;
    return flags >= 0 && (flags & O_DSYNC) != 0;
}

static void unfollowed(const char *what) {
    pthread_mutex_lock(&lock);
    record('X', 0, 0, 0, what, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
}

static int opened(int at, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if (!named(at, path, whole)) return syscall(SYS_openat, at, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat before;
    int error = errno, present = fstatat(AT_FDCWD, whole, &before, 0) == 0;
    errno = error;
    int fd = syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0 && !present) record('C', 0, inode(fd), 0, whole, NULL, NULL, 0);
    else if (fd >= 0 && (flags & O_TRUNC)) record('T', 0, inode(fd), 0, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags)                                                  \
    mode_t mode = 0;                                                 \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                         \
        va_list rest;                                                \
        va_start(rest, flags);                                       \
        mode = va_arg(rest, mode_t);                                 \
        va_end(rest);                                                \
    }

int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return opened(at, path, flags | O_LARGEFILE, mode); }

ssize_t write(int fd, const void *bytes, size_t length) {
    if (!followed(fd)) return syscall(SYS_write, fd, bytes, length);
    pthread_mutex_lock(&lock);
    ssize_t written = syscall(SYS_write, fd, bytes, length);
    if (written > 0)
        record('W', is_synchronous(fd), inode(fd), lseek(fd, 0, SEEK_CUR) - written, NULL, NULL, bytes, written);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    if (!followed(fd)) return syscall(SYS_pwrite64, fd, bytes, length, offset);
    pthread_mutex_lock(&lock);
    ssize_t written = syscall(SYS_pwrite64, fd, bytes, length, offset);
    if (written > 0) record('W', is_synchronous(fd), inode(fd), offset, NULL, NULL, bytes, written);
    pthread_mutex_unlock(&lock);
    return written;
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) { return pwrite(fd, bytes, length, offset); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!followed(fd)) return syscall(SYS_writev, fd, parts, count);
    /* One part at a time is a short write, which callers have to expect. */
    for (int at = 0; at < count; at++)
        if (parts[at].iov_len > 0) return write(fd, parts[at].iov_base, parts[at].iov_len);
    return 0;
}

int ftruncate(int fd, off_t length) {
    if (!followed(fd)) return syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, fd, length);
    if (result == 0) record('T', 0, inode(fd), length, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

static int synced(int fd, long call) {
    if (!followed(fd)) return syscall(call, fd);
    pthread_mutex_lock(&lock);
    uint64_t number = ++syncs, of = inode(fd);
    record('f', 0, of, number, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    int result = syscall(call, fd);
    if (result == 0) {
        pthread_mutex_lock(&lock);
        record('F', 0, of, number, NULL, NULL, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return result;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int renamed(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    char first[PATH_MAX], second[PATH_MAX];
    int leaves = named(from_at, from, first), comes = named(to_at, to, second);
    if (!leaves && !comes) return syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (!leaves || !comes || flags) unfollowed("renameat2");
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (result == 0) record('R', 0, 0, 0, first, second, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_at, const char *from, int to_at, const char *to) { return renamed(from_at, from, to_at, to, 0); }
int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    return renamed(from_at, from, to_at, to, flags);
}

static int unlinked(int at, const char *path, int flags) {
    char whole[PATH_MAX];
    if (!named(at, path, whole)) return syscall(SYS_unlinkat, at, path, flags);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_unlinkat, at, path, flags);
    if (result == 0) record('U', 0, 0, 0, whole, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int unlink(const char *path) { return unlinked(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinked(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int at, const char *path, int flags) { return unlinked(at, path, flags); }

int mkdir(const char *path, mode_t mode) {
    char whole[PATH_MAX];
    if (!named(AT_FDCWD, path, whole)) return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    struct stat made;
    if (result == 0 && stat(whole, &made) == 0) record('M', 0, made.st_ino, 0, whole, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if ((protection & PROT_WRITE) && (flags & MAP_TYPE) != MAP_PRIVATE && followed(fd)) unfollowed("mmap");
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap(address, length, protection, flags, fd, offset);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned flags) {
    if (followed(to)) unfollowed("copy_file_range");
    return syscall(SYS_copy_file_range, from, from_at, to, to_at, length, flags);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    if (followed(fd)) unfollowed("fallocate");
    return syscall(SYS_fallocate, fd, mode, offset, length);
}
int fallocate64(int fd, int mode, off_t offset, off_t length) { return fallocate(fd, mode, offset, length); }

int link(const char *from, const char *to) {
    char whole[PATH_MAX];
    if (named(AT_FDCWD, to, whole)) unfollowed("link");
    return syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}
