/*
 * A disk of 10 ms per sync, for one process: preloaded, it delays every call
 * that waits for the disk, and counts the calls as the length of a file.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int slowly(const char *name, int fd) {
    static const struct timespec delay = {0, 10 * 1000 * 1000};
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *path = getenv("SLOW_SYNC_COUNT");
    int count = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (count >= 0) {
        if (write(count, "s", 1) != 1) abort();
        close(count);
    }
    nanosleep(&delay, NULL);
    return sync(fd);
}

int fdatasync(int fd) { return slowly("fdatasync", fd); }
int fsync(int fd) { return slowly("fsync", fd); }
