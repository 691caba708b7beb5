/* Trouble at one chosen call of the C library that changes files below one folder: preloaded into the program under
 * test. Calls are counted in memory that forked children share with their parent, which can read it after a kill. */
#define _GNU_SOURCE
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
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, RENAME = 4, LINK = 8, UNLINK = 16, MKDIR = 32, CREATE = 64, TRUNCATE = 128, OTHER = 256 };
enum { OFF, COUNT, KILL, TEAR, FAIL, FAIL_ON, SHORTEN, NO_SYNC };
enum { CALLS = 4096, NAME = 12, SHOWN = 244 };

struct call {
    char name[NAME];
    char path[SHOWN];
};

static struct shared {
    atomic_int seen;
    atomic_int fired;
    struct call calls[CALLS];
} *shared;

static int mode, at, wanted, code;
static char root[PATH_MAX];

__attribute__((constructor)) static void start(void) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) abort();
    if (getenv("FAULTS_NO_SYNC")) mode = NO_SYNC;
}

void faults_arm(const char *folder, int how, int number, int classes, int error) {
    shared->seen = shared->fired = 0;
    snprintf(root, sizeof root, "%s", folder);
    at = number, wanted = classes, code = error, mode = how;
}

void faults_disarm(void) { mode = OFF; }
int faults_seen(void) { return shared->seen; }
int faults_fired(void) { return shared->fired; }
const char *faults_name(int number) { return shared->calls[number].name; }
const char *faults_path(int number) { return shared->calls[number].path; }

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static int inside(int folder, const char *path, char *full) {
    char link[64];
    ssize_t length = 0;
    if (path == NULL || path[0] != '/') {
        if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        length = syscall(SYS_readlinkat, AT_FDCWD, link, full, PATH_MAX - 1);
        if (length < 0) return 0;
        full[length] = 0;
    }
    if (path != NULL) snprintf(full + length, PATH_MAX - length, "%s%s", length ? "/" : "", path);
    size_t size = strlen(root);
    return strncmp(full, root, size) == 0 && (full[size] == '/' || full[size] == 0);
}

/* Return -1 when the call is to fail with errno set, 1 when it is to be cut in half, 0 when it is to be made. */
static int trouble(const char *name, int kind, int folder, const char *path) {
    char full[2 * PATH_MAX];
    int before = errno, half = 0;
    if (mode == OFF || mode == NO_SYNC || !(wanted & kind) || !inside(folder, path, full)) {
        errno = before;
        return 0;
    }
    errno = before;
    int number = ++shared->seen;
    if (number <= CALLS) {
        struct call *call = &shared->calls[number - 1];
        snprintf(call->name, NAME, "%s", name);
        snprintf(call->path, SHOWN, "%.*s", SHOWN - 1, full);
    }
    if (mode == COUNT || number < at || (number > at && mode != FAIL_ON)) return 0;
    shared->fired++;
    if (mode == KILL || (mode == TEAR && kind != WRITE)) die();
    if (mode == FAIL || mode == FAIL_ON) {
        errno = code;
        return -1;
    }
    half = kind == WRITE;
    return half;
}

static void after_half(void) {
    if (mode == TEAR) die();
}

#define REFUSED(name, kind, folder, path) (trouble(name, kind, folder, path) < 0)

ssize_t write(int file, const void *data, size_t size) {
    int what = trouble("write", WRITE, file, NULL);
    if (what < 0) return -1;
    if (what == 0) return syscall(SYS_write, file, data, size);
    ssize_t done = syscall(SYS_write, file, data, size > 1 ? size / 2 : size);
    after_half();
    return done;
}

static ssize_t pwrite_any(int file, const void *data, size_t size, off_t place) {
    int what = trouble("pwrite64", WRITE, file, NULL);
    if (what < 0) return -1;
    if (what == 0) return syscall(SYS_pwrite64, file, data, size, place);
    ssize_t done = syscall(SYS_pwrite64, file, data, size > 1 ? size / 2 : size, place);
    after_half();
    return done;
}
ssize_t pwrite(int file, const void *data, size_t size, off_t place) { return pwrite_any(file, data, size, place); }
ssize_t pwrite64(int file, const void *data, size_t size, off64_t place) { return pwrite_any(file, data, size, place); }

static ssize_t writev_any(const char *name, int file, const struct iovec *parts, int count, off_t place) {
    int what = trouble(name, WRITE, file, NULL);
    if (what < 0) return -1;
    struct iovec first = parts[0];
    if (what > 0) {
        if (first.iov_len > 1) first.iov_len /= 2;
        parts = &first, count = 1;
    }
    ssize_t done = place < 0 ? syscall(SYS_writev, file, parts, count)
                             : syscall(SYS_pwritev, file, parts, count, (unsigned long)place, 0UL);
    if (what > 0) after_half();
    return done;
}
ssize_t writev(int file, const struct iovec *parts, int count) { return writev_any("writev", file, parts, count, -1); }
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t place) {
    return writev_any("pwritev", file, parts, count, place);
}
ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t place) {
    return writev_any("pwritev", file, parts, count, place);
}
ssize_t pwritev2(int file, const struct iovec *parts, int count, off_t place, int flags) {
    if (REFUSED("pwritev2", WRITE, file, NULL)) return -1;
    return syscall(SYS_pwritev2, file, parts, count, (unsigned long)place, 0UL, flags);
}

static ssize_t open_any(int folder, const char *path, int flags, mode_t permissions) {
    if ((flags & (O_CREAT | O_TRUNC)) && REFUSED("openat", CREATE, folder, path)) return -1;
    return syscall(SYS_openat, folder, path, flags, permissions);
}
#define PERMISSIONS(flags)                                        \
    mode_t permissions = 0;                                       \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                        \
        va_list rest;                                             \
        va_start(rest, flags);                                    \
        permissions = va_arg(rest, mode_t);                       \
        va_end(rest);                                             \
    }
int open(const char *path, int flags, ...) {
    PERMISSIONS(flags)
    return open_any(AT_FDCWD, path, flags, permissions);
}
int open64(const char *path, int flags, ...) {
    PERMISSIONS(flags)
    return open_any(AT_FDCWD, path, flags | O_LARGEFILE, permissions);
}
int openat(int folder, const char *path, int flags, ...) {
    PERMISSIONS(flags)
    return open_any(folder, path, flags, permissions);
}
int openat64(int folder, const char *path, int flags, ...) {
    PERMISSIONS(flags)
    return open_any(folder, path, flags | O_LARGEFILE, permissions);
}
int creat(const char *path, mode_t permissions) {
    return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, permissions);
}
int creat64(const char *path, mode_t permissions) { return creat(path, permissions); }

int fsync(int file) {
    if (mode == NO_SYNC) return 0;
    return REFUSED("fsync", SYNC, file, NULL) ? -1 : syscall(SYS_fsync, file);
}
int fdatasync(int file) {
    if (mode == NO_SYNC) return 0;
    return REFUSED("fdatasync", SYNC, file, NULL) ? -1 : syscall(SYS_fdatasync, file);
}
int syncfs(int file) {
    if (mode == NO_SYNC) return 0;
    return REFUSED("syncfs", SYNC, file, NULL) ? -1 : syscall(SYS_syncfs, file);
}
int msync(void *start, size_t size, int flags) { return mode == NO_SYNC ? 0 : syscall(SYS_msync, start, size, flags); }
int sync_file_range(int file, off64_t start, off64_t size, unsigned flags) {
    return mode == NO_SYNC ? 0 : syscall(SYS_sync_file_range, file, start, size, flags);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    return REFUSED("rename", RENAME, to, new) ? -1 : syscall(SYS_renameat2, from, old, to, new, flags);
}
int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }
int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }

int linkat(int from, const char *old, int to, const char *new, int flags) {
    return REFUSED("link", LINK, to, new) ? -1 : syscall(SYS_linkat, from, old, to, new, flags);
}
int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }
int symlinkat(const char *target, int folder, const char *path) {
    return REFUSED("symlink", LINK, folder, path) ? -1 : syscall(SYS_symlinkat, target, folder, path);
}
int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

int unlinkat(int folder, const char *path, int flags) {
    const char *name = flags & AT_REMOVEDIR ? "rmdir" : "unlink";
    return REFUSED(name, UNLINK, folder, path) ? -1 : syscall(SYS_unlinkat, folder, path, flags);
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int folder, const char *path, mode_t permissions) {
    return REFUSED("mkdir", MKDIR, folder, path) ? -1 : syscall(SYS_mkdirat, folder, path, permissions);
}
int mkdir(const char *path, mode_t permissions) { return mkdirat(AT_FDCWD, path, permissions); }

static int ftruncate_any(int file, off_t size) {
    return REFUSED("ftruncate", TRUNCATE, file, NULL) ? -1 : syscall(SYS_ftruncate, file, size);
}
int ftruncate(int file, off_t size) { return ftruncate_any(file, size); }
int ftruncate64(int file, off64_t size) { return ftruncate_any(file, size); }
static int truncate_any(const char *path, off_t size) {
    return REFUSED("truncate", TRUNCATE, AT_FDCWD, path) ? -1 : syscall(SYS_truncate, path, size);
}
int truncate(const char *path, off_t size) { return truncate_any(path, size); }
int truncate64(const char *path, off64_t size) { return truncate_any(path, size); }

/* Where space is reserved, an error is the result, not -1. */
static int allocate_any(int file, off_t start, off_t size) {
    if (REFUSED("fallocate", TRUNCATE, file, NULL)) return errno;
    return syscall(SYS_fallocate, file, 0, start, size) ? errno : 0;
}
int posix_fallocate(int file, off_t start, off_t size) { return allocate_any(file, start, size); }
int posix_fallocate64(int file, off64_t start, off64_t size) { return allocate_any(file, start, size); }
static int fallocate_any(int file, int how, off_t start, off_t size) {
    return REFUSED("fallocate", TRUNCATE, file, NULL) ? -1 : syscall(SYS_fallocate, file, how, start, size);
}
int fallocate(int file, int how, off_t start, off_t size) { return fallocate_any(file, how, start, size); }
int fallocate64(int file, int how, off64_t start, off64_t size) { return fallocate_any(file, how, start, size); }

ssize_t copy_file_range(int from, off64_t *start, int to, off64_t *place, size_t size, unsigned flags) {
    int what = trouble("copy_file_r", WRITE, to, NULL);
    if (what < 0) return -1;
    ssize_t done = syscall(SYS_copy_file_range, from, start, to, place, what && size > 1 ? size / 2 : size, flags);
    if (what) after_half();
    return done;
}
static ssize_t sendfile_any(int to, int from, off_t *start, size_t size) {
    int what = trouble("sendfile", WRITE, to, NULL);
    if (what < 0) return -1;
    ssize_t done = syscall(SYS_sendfile, to, from, start, what && size > 1 ? size / 2 : size);
    if (what) after_half();
    return done;
}
ssize_t sendfile(int to, int from, off_t *start, size_t size) { return sendfile_any(to, from, start, size); }
ssize_t sendfile64(int to, int from, off64_t *start, size_t size) { return sendfile_any(to, from, start, size); }

int fchmod(int file, mode_t permissions) {
    return REFUSED("fchmod", OTHER, file, NULL) ? -1 : syscall(SYS_fchmod, file, permissions);
}
int chmod(const char *path, mode_t permissions) {
    return REFUSED("chmod", OTHER, AT_FDCWD, path) ? -1 : syscall(SYS_fchmodat, AT_FDCWD, path, permissions);
}
int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    return REFUSED("utimensat", OTHER, folder, path) ? -1 : syscall(SYS_utimensat, folder, path, times, flags);
}
int futimens(int file, const struct timespec times[2]) {
    return REFUSED("utimensat", OTHER, file, NULL) ? -1 : syscall(SYS_utimensat, file, NULL, times, 0);
}
