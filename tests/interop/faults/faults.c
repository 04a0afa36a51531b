/* Makes system calls fail, for tests: loaded into the server by LD_PRELOAD.
 *
 * FAULTS names a file with lines "CALL TEXT ERRNO": a CALL about a path that holds TEXT fails with that number.  The
 * file is read anew at each call, so a fault can come and go in the middle of a session.  For calls that take a
 * descriptor the path is what /proc says of it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int raw_read(const char *path, char *buffer, size_t size)
{
    int file = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0)
        return -1;
    long octets = syscall(SYS_read, file, buffer, size - 1);
    syscall(SYS_close, file);
    buffer[octets > 0 ? octets : 0] = 0;
    return octets;
}

/* Returns the error that a call must fail with, or 0. */
static int fault(const char *call, const char *path)
{
    const char *list = getenv("FAULTS");
    char text[4096];
    char *line, *next;
    if (!list || !path || raw_read(list, text, sizeof text) <= 0)
        return 0;
    for (line = strtok_r(text, "\n", &next); line; line = strtok_r(NULL, "\n", &next)) {
        char name[32], part[1024];
        int number;
        if (sscanf(line, "%31s %1023s %d", name, part, &number) == 3 && !strcmp(name, call) && strstr(path, part))
            return number;
    }
    return 0;
}

static int fault_at(const char *call, int file)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    long octets = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    path[octets > 0 ? octets : 0] = 0;
    return fault(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_IF(number) do { int found = (number); if (found) { errno = found; return -1; } } while (0)

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    FAIL_IF(fault("open", path));
    if (flags & (O_WRONLY | O_RDWR))
        FAIL_IF(fault("create", path));
    return REAL(open64)(path, flags, mode);
}

int open(const char *path, int flags, ...) __attribute__((alias("open64")));

ssize_t read(int file, void *buffer, size_t size)
{
    FAIL_IF(fault_at("read", file));
    return REAL(read)(file, buffer, size);
}

ssize_t write(int file, const void *buffer, size_t size)
{
    FAIL_IF(fault_at("write", file));
    return REAL(write)(file, buffer, size);
}

int fsync(int file)
{
    FAIL_IF(fault_at("fsync", file));
    return REAL(fsync)(file);
}

int rename(const char *from, const char *to)
{
    FAIL_IF(fault("rename", from));
    return REAL(rename)(from, to);
}

int unlink(const char *path)
{
    FAIL_IF(fault("unlink", path));
    return REAL(unlink)(path);
}

int stat64(const char *path, struct stat64 *status)
{
    FAIL_IF(fault("stat", path));
    return REAL(stat64)(path, status);
}

int stat(const char *path, struct stat *status)
{
    FAIL_IF(fault("stat", path));
    return REAL(stat)(path, status);
}

int fstatat64(int folder, const char *path, struct stat64 *status, int flags)
{
    FAIL_IF(fault("stat", path));
    return REAL(fstatat64)(folder, path, status, flags);
}

int fstatat(int folder, const char *path, struct stat *status, int flags)
{
    FAIL_IF(fault("stat", path));
    return REAL(fstatat)(folder, path, status, flags);
}

DIR *opendir(const char *path)
{
    int number = fault("opendir", path);
    if (number) {
        errno = number;
        return NULL;
    }
    return REAL(opendir)(path);
}

struct dirent64 *readdir64(DIR *folder)
{
    int number = fault_at("readdir", dirfd(folder));
    if (number) {
        errno = number;
        return NULL;
    }
    return REAL(readdir64)(folder);
}

struct dirent *readdir(DIR *folder)
{
    return (struct dirent *)readdir64(folder);
}
