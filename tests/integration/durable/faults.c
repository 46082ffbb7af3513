/* A disk that fails, for one process: preloaded into it, this stands before the calls that change files below
 * FAULTS_BELOW, and does to them what the file FAULTS_CONTROL says at that moment:
 *
 *   none            nothing
 *   eio, enospc     writes fail so
 *   erofs           writes fail, and whatever else would change the folder
 *   torn            of each write the half is written, and the rest fails for want of space
 *   slow MS         writes, and what makes them last, take so many milliseconds more
 *   sync-eio        fsync and fdatasync fail
 *   sync-slow MS    they take so many milliseconds more
 *
 * For each call that it has changed, the file FAULTS_CONTROL.hits grows by a letter. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { NONE, EIO_, ENOSPC_, EROFS_, TORN, SLOW, SYNC_EIO, SYNC_SLOW };

static const char *const words[] = {"none", "eio", "enospc", "erofs", "torn", "slow", "sync-eio", "sync-slow"};
static int mode, millis;

/* What the control file says, looked up again after 20 ms. */
static int look(void) {
    static long before;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long at = now.tv_sec * 1000 + now.tv_nsec / 1000000;
    const char *control = getenv("FAULTS_CONTROL");
    if (!control || (before && at - before < 20))
        return mode;
    before = at;
    char text[64] = {0}, word[32] = {0};
    int number = 0, saved = errno;
    int fd = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (syscall(SYS_read, fd, text, sizeof text - 1) > 0 && sscanf(text, "%31s %d", word, &number) > 0)
            for (int n = NONE; n <= SYNC_SLOW; n++)
                if (!strcmp(word, words[n]))
                    mode = n, millis = number;
        syscall(SYS_close, fd);
    }
    errno = saved;
    return mode;
}

static int below_path(const char *path) {
    const char *folder = getenv("FAULTS_BELOW");
    return folder && !strncmp(path, folder, strlen(folder));
}

static int below_fd(int fd) {
    char link[32], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return below_path(path);
}

static int below_at(int folder, const char *path) {
    return path[0] == '/' ? below_path(path) : folder != AT_FDCWD && below_fd(folder);
}

static void hit(void) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s.hits", getenv("FAULTS_CONTROL"));
    int saved = errno, fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0) {
        syscall(SYS_write, fd, "x", 1);
        syscall(SYS_close, fd);
    }
    errno = saved;
}

static int fail(int error) {
    hit();
    errno = error;
    return -1;
}

static void linger(void) {
    hit();
    struct timespec left = {millis / 1000, millis % 1000 * 1000000L};
    while (nanosleep(&left, &left) && errno == EINTR) {
    }
}

/* Before a write: -1 when it fails, otherwise how much of it may be done. */
static ssize_t allowed(int fd, size_t length) {
    static int half;
    int what = look();
    if (what == NONE || what >= SYNC_EIO || !below_fd(fd))
        return length;
    switch (what) {
    case EIO_: return fail(EIO);
    case ENOSPC_: return fail(ENOSPC);
    case EROFS_: return fail(EROFS);
    case TORN: return length > 1 && (half = !half) ? hit(), (ssize_t)(length / 2) : fail(ENOSPC);
    default: linger(); return length;
    }
}

/* Before the size of a file, or a folder, is changed. */
static int may_change(int ours) {
    int what = look();
    if (!ours || what == NONE || what >= SYNC_EIO)
        return 0;
    switch (what) {
    case EIO_: return fail(EIO);
    case ENOSPC_: case TORN: return fail(ENOSPC);
    case EROFS_: return fail(EROFS);
    default: linger(); return 0;
    }
}

/* Before a name goes, or becomes another: a full disk has room for that. */
static int may_rename(int ours) {
    return ours && look() == EROFS_ ? fail(EROFS) : 0;
}

static int may_sync(int fd) {
    int what = look();
    if ((what != SYNC_EIO && what != SYNC_SLOW && what != SLOW) || !below_fd(fd))
        return 0;
    if (what == SYNC_EIO)
        return fail(EIO);
    linger();
    return 0;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    ssize_t most = allowed(fd, length);
    return most < 0 ? most : syscall(SYS_write, fd, bytes, most);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    ssize_t most = allowed(fd, length);
    return most < 0 ? most : syscall(SYS_pwrite64, fd, bytes, most, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite64(fd, bytes, length, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    size_t length = 0;
    for (int n = 0; n < count; n++)
        length += parts[n].iov_len;
    ssize_t most = allowed(fd, length);
    if (most < 0 || (size_t)most == length)
        return most < 0 ? most : syscall(SYS_writev, fd, parts, count);
    size_t first = parts[0].iov_len < (size_t)most ? parts[0].iov_len : (size_t)most;
    return syscall(SYS_write, fd, parts[0].iov_base, first);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    ssize_t most = allowed(fd, INT_MAX);
    return most < 0 ? most : syscall(SYS_pwritev, fd, parts, count, at, 0);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return pwritev64(fd, parts, count, at); }

int fsync(int fd) { return may_sync(fd) ? -1 : syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return may_sync(fd) ? -1 : syscall(SYS_fdatasync, fd); }

int ftruncate64(int fd, off64_t length) { return may_change(below_fd(fd)) ? -1 : syscall(SYS_ftruncate, fd, length); }
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fallocate64(int fd, int how, off64_t from, off64_t length) {
    return may_change(below_fd(fd)) ? -1 : syscall(SYS_fallocate, fd, how, from, length);
}
int fallocate(int fd, int how, off_t from, off_t length) { return fallocate64(fd, how, from, length); }

static int open_any(int folder, const char *path, int flags, mode_t rights) {
    int changes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    return changes && may_rename(below_at(folder, path)) ? -1 : syscall(SYS_openat, folder, path, flags, rights);
}

#define RIGHTS                                                                                                         \
    mode_t rights = 0;                                                                                                 \
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {                                                                             \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        rights = va_arg(more, mode_t);                                                                                 \
        va_end(more);                                                                                                  \
    }

int open(const char *path, int flags, ...) { RIGHTS return open_any(AT_FDCWD, path, flags, rights); }
int open64(const char *path, int flags, ...) { RIGHTS return open_any(AT_FDCWD, path, flags, rights); }
int openat(int folder, const char *path, int flags, ...) { RIGHTS return open_any(folder, path, flags, rights); }
int openat64(int folder, const char *path, int flags, ...) { RIGHTS return open_any(folder, path, flags, rights); }

int mkdir(const char *path, mode_t rights) {
    return may_change(below_path(path)) ? -1 : syscall(SYS_mkdirat, AT_FDCWD, path, rights);
}
int unlink(const char *path) {
    return may_rename(below_path(path)) ? -1 : syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
int rename(const char *from, const char *to) {
    return may_rename(below_path(from)) ? -1 : syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
