/* LTTng-UST's side of fata-bench: reads a number of events, fires so many, answers nanoseconds per event and "-". With the
 * argument "burst" it does something else before, as src/burst.rs has it. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#define LTTNG_UST_TRACEPOINT_DEFINE
#include "provider.h"

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

/* src/burst.rs: 4 ms, 64 MiB, a line of 64 bytes at a time. */
static volatile uint64_t memory[(64 << 20) / 8];

static void walk(void) {
    static size_t place;
    double start = now();
    while (now() - start < 4e6) {
        for (int i = 0; i < 1 << 10; i++) {
            memory[place] = memory[place] * 3 + 1;
            place = (place + 8) % (sizeof memory / sizeof memory[0]);
        }
    }
}

#define FOUR(body) body body body body

int main(int argc, char **argv) {
    int burst = argc > 1 && !strcmp(argv[1], "burst");
    unsigned long events;
    /* Zero where no session has enabled the event: then there is nothing to measure. */
    if (!lttng_ust_tracepoint_enabled(fata_bench, instant)) {
        fprintf(stderr, "no session has enabled fata_bench:instant\n");
        return 1;
    }
    while (scanf("%lu", &events) == 1) {
        if (burst) {
            walk();
        }
        double start = now();
        for (unsigned long i = 0; i < events / 16; i++) {
            FOUR(FOUR(lttng_ust_tracepoint(fata_bench, instant);))
        }
        printf("%f -\n", (now() - start) / (events / 16 * 16));
        fflush(stdout);
    }
    return 0;
}
