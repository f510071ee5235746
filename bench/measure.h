/* Timing: every contender once per round, round after round, so that whatever the machine does meanwhile happens to all. */
#ifndef NORMA_BENCH_MEASURE_H
#define NORMA_BENCH_MEASURE_H

#include "contender.h"

#define BENCH_MAX_SAMPLES 2000

/* Times of one contender: microseconds of one call, sample by sample. Sample i of every contender is of the same round. */
typedef struct bench_times {
    double *us;
    int samples;
} bench_times;

typedef struct bench_timing {
    bench_times of[BENCH_ROLE_COUNT]; /* no samples for a contender that is missing */
    int64_t calls;                    /* calls timed together */
    int samples;
} bench_timing;

/* Measures for about `seconds`, at least a few rounds. `estimate_us` is roughly what a call takes. An interrupt ends it
 * after the round in progress. The caller frees the timing, also on an error. */
norma_status bench_measure(bench_contender contenders[BENCH_ROLE_COUNT], const bench_operands *operands, double seconds,
                           double estimate_us, bench_timing *out_timing);

void bench_timing_free(bench_timing *timing);

/* The value below which `percent` of the samples lie, interpolated; NAN if there are none. */
double bench_percentile(const double *values, int count, double percent);

/* A percentile of the ratios above[i] / below[i]; NAN if either is missing. */
double bench_ratio_percentile(const bench_times *above, const bench_times *below, double percent);

#endif
