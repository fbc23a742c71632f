// Work that comes at random moments, whoever else uses the processors: `steady SECONDS LOAD MICROSECONDS SEED`.
// LOAD is the part of one processor that it takes; the time between two is uniform, from none to twice the mean. Prints the median, the 99th percentile and the longest time, in µs,
// from the moment at which a piece of work came until it was done: what waits behind others is counted in.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return (double)at.tv_sec * 1e6 + (double)at.tv_nsec / 1e3;
}

static int before(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

int main(int count, char **words) {
    if (count < 5) return 2;
    double seconds = atof(words[1]), load = atof(words[2]), work = atof(words[3]), gap = work / load;
    size_t most = (size_t)(seconds * 2e6 / gap) + 16, done = 0;
    double *took = malloc(most * sizeof *took);
    if (!took) return 1;
    srand48(atol(words[4]));
    double begin = now(CLOCK_MONOTONIC), due = begin;
    while (done < most && (due += 2 * drand48() * gap) < begin + seconds * 1e6) {
        for (double left; (left = due - now(CLOCK_MONOTONIC)) > 0;) {
            struct timespec pause = {(time_t)(left / 1e6), (long)((left - 1e6 * (double)(time_t)(left / 1e6)) * 1e3)};
            nanosleep(&pause, NULL);
        }
        for (double end = now(CLOCK_THREAD_CPUTIME_ID) + work; now(CLOCK_THREAD_CPUTIME_ID) < end;) {
        }
        took[done++] = now(CLOCK_MONOTONIC) - due;
    }
    if (!done) return 1;
    qsort(took, done, sizeof *took, before);
    printf("%.0f %.0f %.0f\n", took[done / 2], took[(size_t)((double)done * 0.99)], took[done - 1]);
    return 0;
}
