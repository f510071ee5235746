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
    int result;
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
    char *x, *gamma, *weight, *dout, *rstd; /* host copies of set 0 */
    char *slot;                             /* what lies in the output's slot: guard, result, guard */
    double *y;                              /* a row of k values */
    norma_gradient *t, *dx;                 /* likewise */
    norma_op case_op;
    int case_parts;
    sample_list case_samples;
};

/* One output of a problem: packed rows, at an offset from out. */
typedef struct result {
    const char *name;
    size_t offset;
    int64_t rows, columns;
    norma_dtype dtype;
    int64_t products; /* of the reference for one element, */
    int64_t shared;   /* and for a row, whichever of its elements are wanted */
} result;

enum { MAX_RESULTS = BENCH_MAX_PARTS };

/* One output for each part; those of several parts have their names. */
static int parts_of(const norma_problem *problem, result results[MAX_RESULTS]) {
    static const char *const names[] = {"part[0].out", "part[1].out", "part[2].out", "part[3].out"};
    size_t offset = 0;
    for (int p = 0; p < problem->parts; p++) {
        const norma_part *part = &problem->part[p];
        const norma_dtype dtype = part->out.layout.dtype;
        results[p] = (result){problem->parts > 1 ? names[p] : "out", offset, problem->m, part->n, dtype, problem->k, 0};
        offset += (size_t)(problem->m * part->n) * norma_dtype_bytes(dtype);
    }
    return problem->parts;
}

static int results_of(const bench_operands *operands, const norma_problem *problem, result results[MAX_RESULTS]) {
    const int64_t m = problem->m, k = problem->k;
    const norma_part *part = &problem->part[0];
    switch (problem->op) {
    case NORMA_OP_RMSNORM: results[0] = (result){"out", 0, m, k, problem->out.layout.dtype, 1, 0}; return 1;
    case NORMA_OP_RMSNORM_BACKWARD:
    case NORMA_OP_RMSNORM_LINEAR_BACKWARD: break;
    default: return parts_of(problem, results);
    }
    const bool linear = problem->parts > 0;
    results[0] = (result){"dx", 0, m, k, problem->dx.layout.dtype, linear ? part->n : 1, linear ? k * part->n : k};
    results[1] =
        (result){"dgamma", operands->dgamma_offset, 1, k, problem->dgamma.layout.dtype, linear ? m * part->n : m, 0};
    if (linear) results[2] = (result){"dweight", operands->dweight_offset, part->n, k, part->dweight.layout.dtype, m, 0};
    return linear ? 3 : 2;
}

/* A place of `count` out of `size`: all of them in order, or the first, the last and random ones between. */
static int64_t pick(int64_t index, int64_t count, int64_t size, uint64_t *state) {
    if (count == size || index == 0) return index;
    return index == count - 1 ? size - 1 : bench_random_below(state, size);
}

/* How many rows and columns of a result are checked. A column of dgamma costs as much as many rows of dx. */
static void count_samples(const result *r, int64_t *out_rows, int64_t *out_cols) {
    const bool whole = r->rows <= WHOLE_ELEMENTS / r->columns && r->rows * r->columns <= WHOLE_PRODUCTS / r->products;
    const int64_t affordable = WHOLE_PRODUCTS / r->products < 2 ? 2 : WHOLE_PRODUCTS / r->products;
    *out_rows = whole || r->rows < SAMPLED_ROWS ? r->rows : SAMPLED_ROWS;
    *out_cols = whole || r->columns < SAMPLED_COLUMNS ? r->columns : SAMPLED_COLUMNS;
    const int64_t affordable_rows = r->shared ? 4 * WHOLE_PRODUCTS / r->shared : affordable;
    if (*out_rows > affordable) *out_rows = affordable;
    if (!whole && *out_rows > affordable_rows) *out_rows = affordable_rows < 2 ? 2 : affordable_rows;
    if (*out_cols > affordable) *out_cols = affordable;
}

static norma_status make_samples(const bench_judge *judge, const norma_problem *problem, sample_list *out_list) {
    result results[MAX_RESULTS];
    const int count = results_of(judge->operands, problem, results);
    int64_t total = 0;
    for (int r = 0; r < count; r++) {
        int64_t rows, cols;
        count_samples(&results[r], &rows, &cols);
        total += rows * cols;
    }
    *out_list = (sample_list){malloc((size_t)total * sizeof *out_list->samples), 0};
    if (!out_list->samples) return norma_fail(NORMA_ERROR_OUT_OF_MEMORY, "no host memory for %" PRId64 " samples", total);
    uint64_t state = judge->seed;
    for (int r = 0; r < count; r++) {
        int64_t rows, cols;
        count_samples(&results[r], &rows, &cols);
        for (int64_t i = 0; i < rows; i++) {
            const int64_t row = pick(i, rows, results[r].rows, &state);
            for (int64_t j = 0; j < cols; j++)
                out_list->samples[out_list->count++] =
                    (sample){.result = r, .row = row, .col = pick(j, cols, results[r].columns, &state)};
        }
    }
    return NORMA_OK;
}

/* The contender's problem with the host's copies as operands. */
static norma_problem on_host(const bench_judge *judge, const norma_problem *problem) {
    norma_problem host = *problem;
    host.x.buffer = (norma_buffer){judge->x, 0};
    host.gamma.buffer = (norma_buffer){judge->gamma, 0};
    size_t at = 0;
    for (int p = 0; p < host.parts; p++) {
        norma_part *part = &host.part[p];
        part->weight.buffer = (norma_buffer){judge->weight, at};
        at += (size_t)(part->n * host.k) * norma_dtype_bytes(part->weight.layout.dtype);
    }
    host.rstd.buffer = (norma_buffer){judge->rstd, 0};
    host.dout.buffer = host.part[0].dout.buffer = (norma_buffer){judge->dout, 0};
    return host;
}

static norma_gradient gradient_of(const bench_judge *judge, const norma_problem *host, const sample *at, bool new_row) {
    if (at->result == 1) return norma_reference_dgamma(host, at->col);
    if (at->result == 2) return norma_reference_dweight(host, 0, at->col, at->row);
    if (new_row) {
        for (int64_t k = 0; k < host->k; k++) judge->t[k] = norma_reference_t(host, at->row, k);
        norma_reference_dx(host, at->row, judge->t, judge->dx);
    }
    return judge->dx[at->col];
}

static void compute_samples(const bench_judge *judge, const norma_problem *problem, sample_list *list) {
    const norma_problem host = on_host(judge, problem);
    result results[MAX_RESULTS];
    (void)results_of(judge->operands, problem, results);
    const bool backward = host.op == NORMA_OP_RMSNORM_BACKWARD || host.op == NORMA_OP_RMSNORM_LINEAR_BACKWARD;
    int64_t row = -1;
    for (int64_t i = 0; i < list->count; i++) {
        sample *at = &list->samples[i];
        const bool new_row = at->row != row;
        row = at->row;
        if (backward) {
            const norma_gradient gradient = gradient_of(judge, &host, at, new_row);
            at->value = gradient.value;
            at->bound = norma_bound_gradient(&gradient, results[at->result].dtype);
            continue;
        }
        if (new_row) norma_reference_row(&host, row, NULL, judge->y, NULL);
        if (host.op == NORMA_OP_RMSNORM) {
            at->value = judge->y[at->col];
            at->bound = norma_bound_norm(&host, at->value, host.out.layout.dtype);
        } else {
            double magnitude;
            at->value = norma_reference_dot(&host, judge->y, at->result, at->col, &magnitude);
            at->bound = norma_bound_linear(&host, at->value, magnitude, results[at->result].dtype);
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
    judge->case_parts = norma->problem.parts;

    norma_status status = download(judge, &judge->x, bench_operands_x(operands, 0), operands->x_bytes);
    if (status == NORMA_OK)
        status = download(judge, &judge->gamma, bench_operands_gamma(operands, 0), operands->gamma_bytes);
    if (status == NORMA_OK)
        status = download(judge, &judge->weight, bench_operands_weight(operands, 0), operands->weight_bytes);
    if (status == NORMA_OK && bench_case_is_backward(which))
        status = download(judge, &judge->dout, bench_operands_dout(operands, 0), operands->dout_bytes);
    if (status == NORMA_OK && bench_case_is_backward(which))
        status = download(judge, &judge->rstd, bench_operands_rstd(operands, 0), operands->rstd_bytes);
    judge->slot = malloc(operands->output_stride);
    judge->y = malloc((size_t)which->k * sizeof *judge->y);
    judge->t = malloc((size_t)which->k * sizeof *judge->t);
    judge->dx = malloc((size_t)which->k * sizeof *judge->dx);
    if (status == NORMA_OK && (!judge->slot || !judge->y || !judge->t || !judge->dx))
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
    free(judge->dout);
    free(judge->rstd);
    free(judge->slot);
    free(judge->y);
    free(judge->t);
    free(judge->dx);
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

/* What lies between the results is whole, and every element of a result is a number. */
static bool check_slot(const bench_judge *judge, const norma_problem *problem, bench_verdict *verdict) {
    result results[MAX_RESULTS];
    const int count = results_of(judge->operands, problem, results);
    size_t done = 0;
    for (int r = 0; r <= count; r++) {
        const size_t begin = r < count ? BENCH_GUARD_BYTES + results[r].offset : judge->operands->output_stride;
        if (!all_poison(judge->slot + done, begin - done)) {
            snprintf(verdict->what, sizeof verdict->what, "memory beside the output was written");
            return false;
        }
        if (r == count) break;
        const int64_t elements = results[r].rows * results[r].columns;
        for (int64_t i = 0; i < elements; i++)
            if (isnan(norma_load(judge->slot + begin, results[r].dtype, i))) {
                snprintf(verdict->what, sizeof verdict->what, "%s[%" PRId64 ",%" PRId64 "] was not written or is NaN",
                         results[r].name, i / results[r].columns, i % results[r].columns);
                return false;
            }
        done = begin + (size_t)elements * norma_dtype_bytes(results[r].dtype);
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
    result results[MAX_RESULTS];
    (void)results_of(judge->operands, problem, results);
    const bool comparable = problem->op == judge->case_op && problem->parts == judge->case_parts;
    verdict->passed = true;
    verdict->case_err = comparable ? 0 : NAN;
    for (int64_t i = 0; i < list->count; i++) {
        const sample *at = &list->samples[i];
        const result *r = &results[at->result];
        const double got = norma_load(judge->slot + BENCH_GUARD_BYTES + r->offset, r->dtype, at->row * r->columns + at->col);
        const double error = fabs(got - at->value);
        if (comparable) verdict->case_err = fmax(verdict->case_err, fabs(got - judge->case_samples.samples[i].value));
        if (!is_worse(verdict, at, error)) continue;
        verdict->max_err = error;
        verdict->err_bound = at->bound;
        if (error <= at->bound) continue;
        verdict->passed = false;
        snprintf(verdict->what, sizeof verdict->what,
                 "%s[%" PRId64 ",%" PRId64 "] is %.9g, should be %.9g: error %.3g, bound %.3g", r->name, at->row, at->col,
                 got, at->value, error, at->bound);
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
