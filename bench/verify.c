/* Checking results. The same elements are checked of every contender with outputs of the same size, so errors compare. */
#include "verify.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/reference.h"
#include "dtype.h"
#include "front/status.h"

/* A result of up to so many elements and multiplications is checked whole, a larger one at random places. */
#define WHOLE_ELEMENTS  ((int64_t)1 << 18)
#define WHOLE_PRODUCTS  ((int64_t)1 << 24)
#define SAMPLED_ROWS    ((int64_t)16)
#define SAMPLED_COLUMNS ((int64_t)64)

typedef struct sample {
    int64_t row, col;
    double value, bound;
} sample;

typedef struct sample_list {
    sample *samples;
    int64_t count;
} sample_list;

struct bench_judge {
    const bench_operands *operands;
    uint64_t seed;
    char *x, *gamma, *weight; /* host copies of set 0 */
    char *slot;               /* what lies in the output's slot: guard, result, guard */
    double *y;                /* a row of k values */
    norma_op case_op;
    sample_list case_samples;
};

static int64_t columns_of(const norma_problem *problem) {
    return problem->op == NORMA_OP_RMSNORM ? problem->k : problem->part[0].n;
}

static norma_dtype out_dtype(const norma_problem *problem) {
    return problem->op == NORMA_OP_RMSNORM ? problem->out.layout.dtype : problem->part[0].out.layout.dtype;
}

/* A place of `count` out of `size`: all of them in order, or the first, the last and random ones between. */
static int64_t pick(int64_t index, int64_t count, int64_t size, uint64_t *state) {
    if (count == size || index == 0) return index;
    return index == count - 1 ? size - 1 : bench_random_below(state, size);
}

static norma_status make_samples(const bench_judge *judge, const norma_problem *problem, sample_list *out_list) {
    const int64_t m = problem->m, columns = columns_of(problem);
    const int64_t products_each = problem->op == NORMA_OP_RMSNORM ? 1 : problem->k;
    const bool whole = m <= WHOLE_ELEMENTS / columns && m * columns <= WHOLE_PRODUCTS / products_each;
    const int64_t rows = whole || m < SAMPLED_ROWS ? m : SAMPLED_ROWS;
    const int64_t cols = whole || columns < SAMPLED_COLUMNS ? columns : SAMPLED_COLUMNS;
    out_list->count = rows * cols;
    out_list->samples = malloc((size_t)out_list->count * sizeof *out_list->samples);
    if (!out_list->samples)
        return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for %" PRId64 " samples", rows * cols);
    uint64_t state = judge->seed;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t row = pick(i, rows, m, &state);
        for (int64_t j = 0; j < cols; j++)
            out_list->samples[i * cols + j] = (sample){.row = row, .col = pick(j, cols, columns, &state)};
    }
    return NORMA_OK;
}

/* The contender's problem with the host's copies as operands. */
static norma_problem on_host(const bench_judge *judge, const norma_problem *problem) {
    norma_problem host = *problem;
    host.x.buffer = (norma_buffer){judge->x, 0};
    host.gamma.buffer = (norma_buffer){judge->gamma, 0};
    host.part[0].weight.buffer = (norma_buffer){judge->weight, 0};
    return host;
}

static void compute_samples(const bench_judge *judge, const norma_problem *problem, sample_list *list) {
    const norma_problem host = on_host(judge, problem);
    int64_t row = -1;
    for (int64_t i = 0; i < list->count; i++) {
        sample *at = &list->samples[i];
        if (at->row != row) norma_reference_row(&host, row = at->row, NULL, judge->y, NULL);
        if (host.op == NORMA_OP_RMSNORM) {
            at->value = judge->y[at->col];
            at->bound = norma_bound_norm(&host, at->value, host.out.layout.dtype);
        } else {
            double magnitude;
            at->value = norma_reference_dot(&host, judge->y, 0, at->col, &magnitude);
            at->bound = norma_bound_linear(&host, at->value, magnitude, host.part[0].out.layout.dtype);
        }
    }
}

static norma_status download(const bench_judge *judge, char **out_copy, norma_buffer from, size_t bytes) {
    *out_copy = malloc(bytes ? bytes : 1);
    if (!*out_copy) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for a copy of %zu bytes", bytes);
    return bytes ? norma_download(judge->operands->context, *out_copy, from, bytes) : NORMA_OK;
}

norma_status bench_judge_create(const bench_case *which, const bench_contender *norma, bench_judge **out_judge) {
    const bench_operands *operands = norma->operands;
    *out_judge = NULL;
    bench_judge *judge = calloc(1, sizeof *judge);
    if (!judge) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory to check results");
    judge->operands = operands;
    judge->seed = (uint64_t)operands->seed ^ UINT64_C(0x5eed);
    judge->case_op = norma->problem.op;

    norma_status status = download(judge, &judge->x, bench_operands_x(operands, 0), operands->x_bytes);
    if (status == NORMA_OK)
        status = download(judge, &judge->gamma, bench_operands_gamma(operands, 0), operands->gamma_bytes);
    if (status == NORMA_OK)
        status = download(judge, &judge->weight, bench_operands_weight(operands, 0), operands->weight_bytes);
    judge->slot = malloc(operands->output_stride);
    judge->y = malloc((size_t)which->k * sizeof *judge->y);
    if (status == NORMA_OK && (!judge->slot || !judge->y))
        status = norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory to check results");
    if (status == NORMA_OK) status = make_samples(judge, &norma->problem, &judge->case_samples);
    if (status != NORMA_OK) {
        bench_judge_destroy(judge);
        return status;
    }
    compute_samples(judge, &norma->problem, &judge->case_samples);
    *out_judge = judge;
    return NORMA_OK;
}

void bench_judge_destroy(bench_judge *judge) {
    if (!judge) return;
    free(judge->x);
    free(judge->gamma);
    free(judge->weight);
    free(judge->slot);
    free(judge->y);
    free(judge->case_samples.samples);
    free(judge);
}

static norma_buffer slot_of(const bench_judge *judge) {
    norma_buffer slot = bench_operands_out(judge->operands, 0);
    slot.offset_bytes -= BENCH_GUARD_BYTES;
    return slot;
}

static norma_status run_work(void *user) {
    return bench_contender_run(user);
}

/* Runs the contender in the form in which it is timed. The second run gives the estimate: the first may find cold threads.
 */
static norma_status run_poisoned(bench_judge *judge, bench_contender *contender, double *out_us) {
    norma_context *context = judge->operands->context;
    norma_device *device = context->device;
    const size_t bytes = judge->operands->output_stride;
    void *recording = NULL;
    memset(judge->slot, BENCH_POISON, bytes);
    norma_status status = norma_upload(context, slot_of(judge), judge->slot, bytes);
    bench_contender_bind(contender, 0);
    if (status == NORMA_OK) status = device->backend->record(device, run_work, contender, &recording);
    for (int i = 0; i < 2 && status == NORMA_OK; i++) status = device->backend->replay(device, recording, out_us);
    if (recording) device->backend->forget(device, recording);
    return status == NORMA_OK ? norma_download(context, judge->slot, slot_of(judge), bytes) : status;
}

static bool all_poison(const char *bytes, size_t count) {
    for (size_t i = 0; i < count; i++)
        if ((unsigned char)bytes[i] != BENCH_POISON) return false;
    return true;
}

/* The guards are whole, and every element of the result is a number. */
static bool check_slot(const bench_judge *judge, const norma_problem *problem, bench_verdict *verdict) {
    const norma_dtype dtype = out_dtype(problem);
    const int64_t columns = columns_of(problem), count = problem->m * columns;
    const char *result = judge->slot + BENCH_GUARD_BYTES;
    const size_t after = BENCH_GUARD_BYTES + (size_t)count * norma_dtype_bytes(dtype);
    if (!all_poison(judge->slot, BENCH_GUARD_BYTES) ||
        !all_poison(judge->slot + after, judge->operands->output_stride - after)) {
        snprintf(verdict->what, sizeof verdict->what, "memory beside the output was written");
        return false;
    }
    for (int64_t i = 0; i < count; i++)
        if (isnan(norma_load(result, dtype, i))) {
            snprintf(verdict->what, sizeof verdict->what, "out[%" PRId64 ",%" PRId64 "] was not written or is NaN",
                     i / columns, i % columns);
            return false;
        }
    return true;
}

/* Whether sample `at`, off by `error`, says more than what the verdict holds: past the bound comes before large. */
static bool is_worse(const bench_verdict *verdict, const sample *at, double error) {
    const bool fails = !(error <= at->bound);
    if (fails != !verdict->passed) return fails;
    return fails ? error / at->bound > verdict->max_err / verdict->err_bound : error >= verdict->max_err;
}

static void check_samples(const bench_judge *judge, const norma_problem *problem, const sample_list *list,
                          bench_verdict *verdict) {
    const norma_dtype dtype = out_dtype(problem);
    const int64_t columns = columns_of(problem);
    const bool comparable = problem->op == judge->case_op;
    verdict->passed = true;
    verdict->case_err = comparable ? 0 : NAN;
    for (int64_t i = 0; i < list->count; i++) {
        const sample *at = &list->samples[i];
        const double got = norma_load(judge->slot + BENCH_GUARD_BYTES, dtype, at->row * columns + at->col);
        const double error = fabs(got - at->value);
        if (comparable) verdict->case_err = fmax(verdict->case_err, fabs(got - judge->case_samples.samples[i].value));
        if (!is_worse(verdict, at, error)) continue;
        verdict->max_err = error;
        verdict->err_bound = at->bound;
        if (error <= at->bound) continue;
        verdict->passed = false;
        snprintf(verdict->what, sizeof verdict->what,
                 "out[%" PRId64 ",%" PRId64 "] is %.9g, should be %.9g: error %.3g, bound %.3g", at->row, at->col, got,
                 at->value, error, at->bound);
    }
    verdict->checked = list->count;
}

norma_status bench_judge_check(bench_judge *judge, bench_contender *contender, bench_verdict *out_verdict) {
    *out_verdict = (bench_verdict){.case_err = NAN};
    norma_status status = run_poisoned(judge, contender, &out_verdict->estimate_us);
    if (status != NORMA_OK || !check_slot(judge, &contender->problem, out_verdict)) return status;

    sample_list own = {0};
    status = make_samples(judge, &contender->problem, &own);
    if (status != NORMA_OK) return status;
    compute_samples(judge, &contender->problem, &own);
    check_samples(judge, &contender->problem, &own, out_verdict);
    free(own.samples);
    return NORMA_OK;
}
