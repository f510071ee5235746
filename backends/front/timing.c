/* Races between prepared routes (timing.h). All that are in a race run once per round, each round beginning with another, so
 * that whatever the machine does meanwhile happens to all; what counts is the median over the rounds. A run is one pass over
 * all sets of operands. What is far behind leaves the race: before the first round by an estimate from few rows, if a run
 * would take long, and after the second by its times. */
#include "timing.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "scratch.h"

#define LEAST_ROUNDS  7
#define MOST_ROUNDS   51
#define BUDGET_US     1e5 /* of all rounds past the least */
#define ESTIMATE_ROWS 64  /* the estimate is from so many rows */
#define LONG_US       2.5e5
#define FAR_ESTIMATED 4.0  /* times the best, by the estimate */
#define FAR_TIMED     2.0  /* times the best, by the clock */
#define CLOSE         0.98 /* what a later route must take of an earlier one's time to be taken in its place */

/* One prepared route in a race. */
typedef struct runner {
    norma_context *context;
    const norma_prepared *prepared;
    const norma_scratch *scratch;
    const norma_workspace *workspace;
    int64_t rows; /* of a run */
    int sets;     /* of a run */
    void *recording;
    double us[MOST_ROUNDS]; /* per call */
    int samples;
    bool out;
} runner;

static norma_status run_sets(void *user) {
    const runner *r = user;
    norma_status status = NORMA_OK;
    for (int set = 0; set < r->sets && !status; set++) {
        norma_problem problem;
        norma_scratch_problem(r->scratch, set, &problem);
        problem.m = r->rows;
        status = norma_prepared_run(r->context, r->prepared, &problem, r->workspace);
    }
    return status;
}

static norma_status record(runner *r, int64_t rows, int sets) {
    norma_device *device = r->context->device;
    r->rows = rows;
    r->sets = sets;
    return device->backend->record(device, run_sets, r, &r->recording);
}

static void forget(runner *r) {
    norma_device *device = r->context->device;
    if (r->recording) device->backend->forget(device, r->recording);
    r->recording = NULL;
}

static norma_status replay(const runner *r, double *out_us) {
    norma_device *device = r->context->device;
    const norma_status status = device->backend->replay(device, r->recording, out_us);
    *out_us /= r->sets;
    return status;
}

/* A route that fails when it runs leaves the race; a lost device ends it. */
static norma_status drop(runner *r, norma_status status) {
    r->out = true;
    r->samples = 0;
    return status == NORMA_ERROR_DEVICE_LOST ? status : NORMA_OK;
}

static double least(const runner *r) {
    double us = INFINITY;
    for (int i = 0; i < r->samples; i++) us = fmin(us, r->us[i]);
    return us;
}

/* Drops the routes whose least time is `far` times that of the best. */
static void drop_slow(runner *runners, int count, double far) {
    double best = INFINITY;
    for (int i = 0; i < count; i++) best = fmin(best, least(&runners[i]));
    for (int i = 0; i < count; i++)
        if (least(&runners[i]) > far * best) runners[i].out = true;
}

/* An estimate from few rows. The run before it takes what a driver does at a kernel's first launch. */
static norma_status warm_up(runner *r, int64_t rows) {
    const int64_t few = rows < ESTIMATE_ROWS ? rows : ESTIMATE_ROWS;
    double us = 0;
    norma_status status = record(r, few, 1);
    if (!status) status = replay(r, &us);
    if (!status) status = replay(r, &us);
    forget(r);
    if (status) return drop(r, status);
    r->us[0] = us * ((double)rows / (double)few);
    r->samples = 1;
    return NORMA_OK;
}

static norma_status begin(runner *runners, int count, int64_t rows) {
    norma_status status = NORMA_OK;
    for (int i = 0; i < count && !status; i++) status = warm_up(&runners[i], rows);
    bool takes_long = false;
    for (int i = 0; i < count; i++) takes_long = takes_long || (runners[i].samples && runners[i].us[0] > LONG_US);
    if (takes_long) drop_slow(runners, count, FAR_ESTIMATED);
    for (int i = 0; i < count && !status; i++) {
        runners[i].samples = 0;
        if (runners[i].out) continue;
        status = record(&runners[i], rows, runners[i].scratch->sets);
        if (status) status = drop(&runners[i], status);
    }
    return status;
}

static norma_status take_round(runner *runners, int count, int round, double *inout_spent_us) {
    norma_status status = NORMA_OK;
    for (int i = 0; i < count && !status; i++) {
        runner *r = &runners[(round + i) % count];
        if (r->out) continue;
        double us = 0;
        status = replay(r, &us);
        if (status) {
            status = drop(r, status);
            continue;
        }
        r->us[r->samples++] = us;
        *inout_spent_us += us * r->sets;
    }
    return status;
}

static norma_status race(runner *runners, int count, int64_t rows) {
    norma_status status = begin(runners, count, rows);
    double spent_us = 0;
    for (int round = 0; round < MOST_ROUNDS && !status && (round < LEAST_ROUNDS || spent_us < BUDGET_US); round++) {
        status = take_round(runners, count, round, &spent_us);
        if (round == 1) drop_slow(runners, count, FAR_TIMED);
    }
    return status;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A route that left early has the median of what it ran. */
static double median(runner *r) {
    if (r->samples == 0) return INFINITY;
    qsort(r->us, (size_t)r->samples, sizeof *r->us, compare);
    return r->us[r->samples / 2];
}

static void log_race(const norma_context *context, const runner *runners, const double *us, int count, int64_t rows) {
    char text[640] = "";
    size_t used = 0;
    if (!norma_log_enabled(&context->device->log, NORMA_LOG_INFO)) return;
    for (int i = 0; i < count && used < sizeof text; i++) {
        const norma_route *route = &runners[i].prepared->route;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s ", i ? ", " : "", norma_route_name(route));
        if (used >= sizeof text) break;
        if (us[i] < INFINITY)
            used += (size_t)snprintf(text + used, sizeof text - used, "%.2f us", us[i]);
        else
            used += (size_t)snprintf(text + used, sizeof text - used, "not timed");
    }
    norma_log(&context->device->log, NORMA_LOG_INFO, "timed for %" PRId64 " rows of %" PRId64 ": %s", rows,
              runners[0].scratch->problem.k, text);
}

static norma_status pick(const norma_context *context, runner *runners, int count, int64_t rows, int *out_fastest) {
    double us[NORMA_MAX_ROUTES], best = INFINITY;
    int fastest = -1;
    for (int i = 0; i < count; i++) {
        us[i] = median(&runners[i]);
        if (us[i] >= CLOSE * best) continue;
        best = us[i];
        fastest = i;
    }
    log_race(context, runners, us, count, rows);
    if (fastest < 0) return norma_fail(NORMA_ERROR_UNSUPPORTED, "no route ran on the operands to time on");
    *out_fastest = fastest;
    return NORMA_OK;
}

norma_status norma_timing_fastest(norma_context *context, const norma_problem *problem, int64_t rows,
                                  const norma_prepared *prepared, int count, int *out_fastest) {
    runner runners[NORMA_MAX_ROUTES];
    norma_scratch scratch;
    norma_workspace workspace = {0};
    norma_status status = norma_scratch_create(context, problem, rows, &scratch);
    for (int i = 0; i < count; i++) {
        runners[i] = (runner){.context = context, .prepared = &prepared[i], .scratch = &scratch, .workspace = &workspace};
        if (!status) status = norma_workspace_reserve(context, &workspace, norma_prepared_workspace_bytes(&prepared[i]));
    }
    if (!status) status = race(runners, count, rows);
    if (!status) status = pick(context, runners, count, rows, out_fastest);
    for (int i = 0; i < count; i++) forget(&runners[i]);
    norma_workspace_release(context, &workspace);
    norma_scratch_free(context, &scratch);
    return status;
}
