/*
 * Makes every sync of a file wait first, as a slower disk would.
 *
 * Loaded into the server by LD_PRELOAD, it stands before the functions of libc that sync.
 * HARBOR_BENCH_SYNC_DELAY_US says how long, in microseconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long delay_us;

__attribute__((constructor)) static void read_delay(void) {
    const char *text = getenv("HARBOR_BENCH_SYNC_DELAY_US");
    delay_us = text ? atol(text) : 0;
}

static void wait_first(void) {
    struct timespec left = {delay_us / 1000000, delay_us % 1000000 * 1000};
    while (nanosleep(&left, &left) == -1 && errno == EINTR) {
    }
}

int fsync(int file) {
    wait_first();
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    wait_first();
    return (int)syscall(SYS_fdatasync, file);
}
