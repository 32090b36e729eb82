/* Makes the n-th change or read of a folder's files fail, or kills the process there: LD_PRELOAD it, then `fault_arm`.

   A change is a call of the C library that opens a file below the folder for writing, writes, syncs, allocates, renames,
   removes, changes a mode, or makes a folder. A read is one that opens a file for reading, opens a folder, reads, or maps
   a file into memory. The calls are counted over all threads of the process. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode {
    NOSPC_ONCE = 1, /* this change fails with ENOSPC */
    IO_ONCE = 2,    /* this change fails with EIO */
    SHORT = 3,      /* half of this write is written, then the disk is full for all that follows */
    NOSPC = 4,      /* this change and all that follow fail with ENOSPC */
    IO = 5,         /* this change and all that follow fail with EIO */
    KILL = 6,       /* the process is killed before this change */
    KILL_TORN = 7,  /* the process is killed when half of this write is written */
    READ_IO = 8,    /* this read fails with EIO */
    DENIED = 9,     /* this opening for reading fails with EACCES */
    BAD_MAP = 10,   /* this map has no page that can be read (SIGBUS) */
};

enum counted { CHANGES, READS, OPENINGS, MAPS, COUNTED }; /* openings and maps are reads, too */

static char root[PATH_MAX], struck[2 * PATH_MAX]; /* struck: the file whose read failed */
static _Thread_local char looked_at[2 * PATH_MAX];
static atomic_int counts[COUNTED], at, mode; /* at: 0 while not armed */

static enum counted counted_for(int what) {
    return what < READ_IO ? CHANGES : what == READ_IO ? READS : what == DENIED ? OPENINGS : MAPS;
}

void fault_arm(const char *folder, int n, int what) {
    snprintf(root, sizeof root, "%s", folder);
    for (int i = 0; i < COUNTED; i++) counts[i] = 0;
    struck[0] = 0;
    mode = what;
    at = n;
}

const char *fault_struck(void) { return struck; }

int fault_count(int what) { return counts[counted_for(what)]; } /* how often such a fault could have happened */

int fault_disarm(void) { /* how often the fault that was armed could have happened */
    at = 0;
    return fault_count(mode);
}

static int below(const char *path) {
    size_t length = strlen(root);
    snprintf(looked_at, sizeof looked_at, "%s", path);
    return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int path_of(int handle, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int path_below(int folder, const char *path) {
    char whole[2 * PATH_MAX], here[PATH_MAX];
    if (!at || !path) return 0;
    if (path[0] == '/') return below(path);
    if (folder == AT_FDCWD ? !getcwd(here, sizeof here) : !path_of(folder, here)) return 0;
    snprintf(whole, sizeof whole, "%s/%s", here, path);
    return below(whole);
}

static int handle_below(int handle) {
    char path[PATH_MAX];
    return at && path_of(handle, path) && below(path);
}

enum kind { FREES, NEEDS_ROOM, WRITES }; /* a full disk lets files be removed */

/* 0: go on. 1: fail, errno is set. 2: write half, then go on or die. */
static int strike(enum kind kind) {
    int n = atomic_fetch_add(&counts[CHANGES], 1) + 1, what = mode;
    if (what >= READ_IO || n < at) return 0;
    if (what == KILL || (what == KILL_TORN && kind != WRITES)) kill(getpid(), SIGKILL);
    if ((what == NOSPC_ONCE || what == IO_ONCE) && n > at) return 0;
    if ((what == SHORT || what == KILL_TORN) && kind == WRITES && n == at) return 2;
    if (what == IO || what == IO_ONCE) {
        errno = EIO;
        return 1;
    }
    errno = ENOSPC;
    return kind != FREES;
}

/* Whether a read of the file that was looked at last fails; errno is set. */
static int unreadable(enum counted reading) {
    int what = mode, numbers[COUNTED] = {0};
    numbers[READS] = atomic_fetch_add(&counts[READS], 1) + 1;
    if (reading != READS) numbers[reading] = atomic_fetch_add(&counts[reading], 1) + 1;
    if (what < READ_IO || numbers[counted_for(what)] != at) return 0;
    snprintf(struck, sizeof struck, "%s", looked_at);
    errno = what == DENIED ? EACCES : EIO;
    return 1;
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_IF(watched, kind) \
    if ((watched) && strike(kind)) return -1

#define OPEN(name, folder, parameters, ...)                                           \
    int name parameters {                                                             \
        mode_t bits = 0;                                                              \
        if (flags & (O_CREAT | O_TMPFILE)) {                                          \
            va_list rest;                                                             \
            va_start(rest, flags);                                                    \
            bits = va_arg(rest, mode_t);                                              \
            va_end(rest);                                                             \
        }                                                                             \
        if (path_below(folder, path)) {                                               \
            FAIL_IF(flags & (O_WRONLY | O_RDWR | O_CREAT), NEEDS_ROOM);               \
            if (!(flags & O_WRONLY) && unreadable(OPENINGS)) return -1;                  \
        }                                                                             \
        return REAL(name)(__VA_ARGS__, flags, bits);                                  \
    }
OPEN(open, AT_FDCWD, (const char *path, int flags, ...), path)
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), path)
OPEN(openat, folder, (int folder, const char *path, int flags, ...), folder, path)
OPEN(openat64, folder, (int folder, const char *path, int flags, ...), folder, path)

static ssize_t after_half(ssize_t written) {
    if (mode == KILL_TORN) kill(getpid(), SIGKILL);
    return written;
}

ssize_t write(int handle, const void *data, size_t size) {
    if (at && handle_below(handle)) switch (strike(WRITES)) {
        case 1: return -1;
        case 2: return after_half(REAL(write)(handle, data, size > 1 ? size / 2 : size));
    }
    return REAL(write)(handle, data, size);
}

#define PWRITE(name, offset_type)                                                             \
    ssize_t name(int handle, const void *data, size_t size, offset_type offset) {              \
        if (at && handle_below(handle)) switch (strike(WRITES)) {                                   \
            case 1: return -1;                                                                 \
            case 2: return after_half(REAL(name)(handle, data, size > 1 ? size / 2 : size, offset)); \
        }                                                                                      \
        return REAL(name)(handle, data, size, offset);                                         \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

int fsync(int handle) {
    FAIL_IF(at && handle_below(handle), NEEDS_ROOM);
    return REAL(fsync)(handle);
}

int fdatasync(int handle) {
    FAIL_IF(at && handle_below(handle), NEEDS_ROOM);
    return REAL(fdatasync)(handle);
}

int ftruncate(int handle, off_t size) {
    FAIL_IF(at && handle_below(handle), NEEDS_ROOM);
    return REAL(ftruncate)(handle, size);
}

int ftruncate64(int handle, off64_t size) {
    FAIL_IF(at && handle_below(handle), NEEDS_ROOM);
    return REAL(ftruncate64)(handle, size);
}

/* posix_fallocate gives the error and leaves errno alone. */
int posix_fallocate(int handle, off_t offset, off_t size) {
    if (at && handle_below(handle) && strike(NEEDS_ROOM)) return errno;
    return REAL(posix_fallocate)(handle, offset, size);
}

int posix_fallocate64(int handle, off64_t offset, off64_t size) {
    if (at && handle_below(handle) && strike(NEEDS_ROOM)) return errno;
    return REAL(posix_fallocate64)(handle, offset, size);
}

int rename(const char *from, const char *to) {
    FAIL_IF(path_below(AT_FDCWD, to), NEEDS_ROOM);
    return REAL(rename)(from, to);
}

int unlink(const char *path) {
    FAIL_IF(path_below(AT_FDCWD, path), FREES);
    return REAL(unlink)(path);
}

int unlinkat(int folder, const char *path, int flags) {
    FAIL_IF(path_below(folder, path), FREES);
    return REAL(unlinkat)(folder, path, flags);
}

int rmdir(const char *path) {
    FAIL_IF(path_below(AT_FDCWD, path), FREES);
    return REAL(rmdir)(path);
}

int mkdir(const char *path, mode_t bits) {
    FAIL_IF(path_below(AT_FDCWD, path), NEEDS_ROOM);
    return REAL(mkdir)(path, bits);
}

int chmod(const char *path, mode_t bits) {
    FAIL_IF(path_below(AT_FDCWD, path), FREES);
    return REAL(chmod)(path, bits);
}

int fchmodat(int folder, const char *path, mode_t bits, int flags) {
    FAIL_IF(path_below(folder, path), FREES);
    return REAL(fchmodat)(folder, path, bits, flags);
}

FILE *fopen(const char *path, const char *how) {
    if (how[0] == 'r' && path_below(AT_FDCWD, path) && unreadable(OPENINGS)) return NULL;
    return REAL(fopen)(path, how);
}

FILE *fopen64(const char *path, const char *how) {
    if (how[0] == 'r' && path_below(AT_FDCWD, path) && unreadable(OPENINGS)) return NULL;
    return REAL(fopen64)(path, how);
}

DIR *opendir(const char *path) {
    if (path_below(AT_FDCWD, path) && unreadable(OPENINGS)) return NULL;
    return REAL(opendir)(path);
}

ssize_t read(int handle, void *data, size_t size) {
    if (handle_below(handle) && unreadable(READS)) return -1;
    return REAL(read)(handle, data, size);
}

ssize_t readv(int handle, const struct iovec *parts, int n) {
    if (handle_below(handle) && unreadable(READS)) return -1;
    return REAL(readv)(handle, parts, n);
}

#define PREAD(name, offset_type)                                            \
    ssize_t name(int handle, void *data, size_t size, offset_type offset) { \
        if (handle_below(handle) && unreadable(READS)) return -1;           \
        return REAL(name)(handle, data, size, offset);                      \
    }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

#define BEYOND (1L << 40) /* Beyond a file's end every page of a map raises SIGBUS, as one that the disk cannot read. */

#define MMAP(name, offset_type)                                                                          \
    void *name(void *start, size_t size, int protection, int flags, int handle, offset_type offset) {     \
        if (handle >= 0 && handle_below(handle) && unreadable(MAPS)) {                                    \
            if (mode != BAD_MAP) return MAP_FAILED;                                                       \
            offset += BEYOND;                                                                             \
        }                                                                                                 \
        return REAL(name)(start, size, protection, flags, handle, offset);                                \
    }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)
