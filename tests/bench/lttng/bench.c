/* LTTng-UST's side of fata-bench: reads a number of events, fires so many, answers nanoseconds per event and "-". */
#define _GNU_SOURCE
#include <stdio.h>
#include <time.h>

#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#define LTTNG_UST_TRACEPOINT_DEFINE
#include "provider.h"

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

#define FOUR(body) body body body body

int main(void) {
    unsigned long events;
    /* Zero where no session has enabled the event: then there is nothing to measure. */
    if (!lttng_ust_tracepoint_enabled(fata_bench, instant)) {
        fprintf(stderr, "no session has enabled fata_bench:instant\n");
        return 1;
    }
    while (scanf("%lu", &events) == 1) {
        double start = now();
        for (unsigned long i = 0; i < events / 16; i++) {
            FOUR(FOUR(lttng_ust_tracepoint(fata_bench, instant);))
        }
        printf("%f -\n", (now() - start) / (events / 16 * 16));
        fflush(stdout);
    }
    return 0;
}
