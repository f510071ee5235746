/* Rounds of samples. A sample is one replay of a recording of `calls` calls, each on the next operand set. The recordings of
 * a contender are numbered by groups of sets; all contenders that read W take groups from one counter, so the whole rotation
 * passes between two uses of a set, whoever uses it. Each round begins with another contender. */
#include "measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "front/status.h"
#include "interrupt.h"

#define SAMPLE_US      200.0  /* a sample should last so long that clocks and launches do not matter */
#define LONG_SAMPLE_US 2000.0 /* and so long that what others left in the cache does not */
#define MAX_CALLS      1024
#define USUAL_GROUPS   64
#define MIN_SAMPLES    5

typedef struct group {
    bench_contender *contender;
    int64_t first, calls;
    void *recording;
} group;

typedef struct lane {
    group *groups;
    int64_t next; /* the group that a contender with a rotation of its own takes next */
    double sample_us;
    bool own_rotation;
} lane;

typedef struct race {
    norma_device *device;
    int64_t group_count;
    int64_t next;
    lane lanes[BENCH_ROLE_COUNT];
} race;

static norma_status run_group(void *user) {
    const group *work = user;
    const int64_t sets = work->contender->operands->sets;
    for (int64_t i = 0; i < work->calls; i++) {
        bench_contender_bind(work->contender, (work->first + i) % sets);
        const norma_status status = bench_contender_run(work->contender);
        if (status != NORMA_OK) return status;
    }
    return NORMA_OK;
}

static int64_t choose_calls(const bench_operands *operands, double estimate_us) {
    const double wanted = ceil(SAMPLE_US / fmax(estimate_us, 0.01));
    int64_t calls = wanted < 1 ? 1 : wanted > MAX_CALLS ? MAX_CALLS : (int64_t)wanted;
    const int64_t to_limit_groups = (operands->sets + USUAL_GROUPS - 1) / USUAL_GROUPS;
    if (calls < to_limit_groups) calls = to_limit_groups < MAX_CALLS ? to_limit_groups : MAX_CALLS;
    return calls;
}

static norma_status prepare_lane(race *race, int role, bench_contender *contender, int64_t calls) {
    lane *lane = &race->lanes[role];
    lane->own_rotation = role == BENCH_NORM;
    lane->groups = calloc((size_t)race->group_count, sizeof *lane->groups);
    if (!lane->groups)
        return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for %d recordings", (int)race->group_count);
    norma_status status = NORMA_OK;
    for (int64_t g = 0; g < race->group_count && status == NORMA_OK; g++) {
        group *group = &lane->groups[g];
        group->contender = contender;
        group->first = g * calls;
        group->calls = calls;
        status = race->device->backend->record(race->device, run_group, group, &group->recording);
    }
    return status;
}

static void finish(race *race) {
    for (int role = 0; role < BENCH_ROLE_COUNT; role++) {
        group *groups = race->lanes[role].groups;
        for (int64_t g = 0; groups && g < race->group_count; g++)
            if (groups[g].recording) race->device->backend->forget(race->device, groups[g].recording);
        free(groups);
    }
}

static norma_status replay_next(race *race, int role, double *out_us) {
    lane *lane = &race->lanes[role];
    int64_t *next = lane->own_rotation ? &lane->next : &race->next;
    const group *group = &lane->groups[*next];
    *next = (*next + 1) % race->group_count;
    const norma_status status = race->device->backend->replay(race->device, group->recording, out_us);
    *out_us /= (double)group->calls;
    return status;
}

/* What a contender has written is in the cache when it ends, and others wait while it is written to memory: so a short
 * sample comes after one that is not counted, and pays for its own. */
static norma_status take_sample(race *race, int role, double *out_us) {
    lane *lane = &race->lanes[role];
    if (lane->sample_us < LONG_SAMPLE_US) {
        const norma_status status = replay_next(race, role, out_us);
        if (status != NORMA_OK) return status;
    }
    const norma_status status = replay_next(race, role, out_us);
    lane->sample_us = *out_us * (double)lane->groups[0].calls;
    return status;
}

static norma_status take_round(race *race, int round, bench_timing *timing) {
    for (int i = 0; i < BENCH_ROLE_COUNT; i++) {
        const int role = (round + i) % BENCH_ROLE_COUNT;
        if (!race->lanes[role].groups) continue;
        double us = 0;
        const norma_status status = take_sample(race, role, &us);
        if (status != NORMA_OK) return status;
        if (timing) timing->of[role].us[timing->samples] = us;
    }
    if (timing) timing->samples++;
    return NORMA_OK;
}

static double now_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static norma_status take_rounds(race *race, double seconds, bench_timing *timing) {
    norma_status status = take_round(race, 0, NULL);
    const double end = now_seconds() + seconds;
    while (status == NORMA_OK && timing->samples < BENCH_MAX_SAMPLES && !bench_interrupted() &&
           (timing->samples < MIN_SAMPLES || now_seconds() < end))
        status = take_round(race, timing->samples, timing);
    return status;
}

norma_status bench_measure(bench_contender contenders[BENCH_ROLE_COUNT], const bench_operands *operands, double seconds,
                           double estimate_us, bench_timing *out_timing) {
    memset(out_timing, 0, sizeof *out_timing);
    out_timing->calls = choose_calls(operands, estimate_us);
    race race = {.device = operands->context->device,
                 .group_count = (operands->sets + out_timing->calls - 1) / out_timing->calls};
    norma_status status = NORMA_OK;
    for (int role = 0; role < BENCH_ROLE_COUNT && status == NORMA_OK; role++) {
        if (!contenders[role].plan) continue;
        out_timing->of[role].us = malloc(BENCH_MAX_SAMPLES * sizeof(double));
        if (!out_timing->of[role].us) status = norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for samples");
        if (status == NORMA_OK) status = prepare_lane(&race, role, &contenders[role], out_timing->calls);
    }
    if (status == NORMA_OK) status = take_rounds(&race, seconds, out_timing);
    for (int role = 0; role < BENCH_ROLE_COUNT; role++)
        if (out_timing->of[role].us) out_timing->of[role].samples = out_timing->samples;
    finish(&race);
    return status;
}

void bench_timing_free(bench_timing *timing) {
    for (int role = 0; role < BENCH_ROLE_COUNT; role++) free(timing->of[role].us);
    memset(timing, 0, sizeof *timing);
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_percentile(const double *values, int count, double percent) {
    double sorted[BENCH_MAX_SAMPLES];
    if (count < 1) return NAN;
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_doubles);
    const double place = percent / 100 * (count - 1);
    const int below = (int)place;
    const int above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

double bench_ratio_percentile(const bench_times *above, const bench_times *below, double percent) {
    double ratios[BENCH_MAX_SAMPLES];
    if (above->samples < 1 || below->samples < 1) return NAN;
    for (int i = 0; i < above->samples; i++) ratios[i] = above->us[i] / below->us[i];
    return bench_percentile(ratios, above->samples, percent);
}
