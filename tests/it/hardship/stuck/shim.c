/* A process that is stuck: loaded by LD_PRELOAD, it lets no thread go on that waits for events, nor one that makes something
 * durable, from when the file `stuck` is in the working directory. The thread named "signals" is left alone. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static void hang(void) {
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    while (strcmp(name, "signals") != 0 && access("stuck", F_OK) == 0)
        pause();
}

int epoll_wait(int queue, struct epoll_event *events, int most, int time_out) {
    static int (*real)(int, struct epoll_event *, int, int);
    if (!real)
        real = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
    int count = real(queue, events, most, time_out);
    hang();
    return count;
}

int fsync(int file) {
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    hang();
    return real(file);
}

int fdatasync(int file) {
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    hang();
    return real(file);
}
