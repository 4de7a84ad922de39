/* What programs that measure share. */
#ifndef ESKER_TESTS_BENCH_BENCH_H
#define ESKER_TESTS_BENCH_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <esker/status.h>

static inline void must(esker_status st)
{
    if (st == ESKER_OK) return;
    fprintf(stderr, "%s\n", esker_last_error());
    exit(1);
}

static inline double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
