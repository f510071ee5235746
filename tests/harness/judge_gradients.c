/* Judges gradients: dx of sampled rows, and sampled entries of the sums over rows, each against the reference and its bound.
 * Errors grow with the root of the number of terms while bounds grow with the number, so each kind of gradient is also held
 * to more as a whole, as Linear outputs are. */
#include <math.h>
#include <stdlib.h>

#include "cpu/reference.h"
#include "dtype.h"
#include "harness/judging.h"
#include "harness/place.h"
#include "harness/random.h"

enum { SAMPLED_ENTRIES = 400 };

/* Of error / magnitude, beyond the last rounding. */
typedef struct deviation {
    double squares;
    int64_t count;
} deviation;

static void judge_value(judging *j, const char *what, int slot, int64_t row, int64_t col, norma_gradient want,
                        deviation *inout) {
    const norma_dtype dtype = j->trial->tensor[slot].layout.dtype;
    const float got = test_trial_result(j->trial, slot, row, col);
    j->row = row;
    /* A sum over no rows is exact. */
    const double bound = j->problem.m == 0 ? 0 : norma_bound_gradient(&want, dtype);
    test_compare(j, what, col, dtype, got, want.value, bound);
    if (!(want.magnitude > 0) || !isfinite(want.magnitude)) return;
    const double difference = fabs(test_bring_in(dtype, (double)got) - test_bring_in(dtype, want.value));
    const double error = fmax(0, difference - test_last_rounding(j, dtype, want.value));
    inout->squares += error / want.magnitude * (error / want.magnitude);
    inout->count++;
}

/* `terms` are added up; each may have been rounded to `halves` half dtypes before. */
static void judge_deviation(judging *j, const char *what, const deviation *seen, int64_t terms, double halves) {
    if (j->trial->test.data != DATA_NORMAL || seen->count < 16) return;
    const double limit = (2 + 16 / sqrt((double)terms)) * norma_dtype_unit(NORMA_F32) + halves;
    const double rms = sqrt(seen->squares / (double)seen->count);
    if (rms > limit) test_reject(j, "the root mean square of error / magnitude of %s is %.3g, above %.3g", what, rms, limit);
}

/* Of a sum over rows, for a budget: at least one. */
static int64_t summands(const norma_problem *problem) {
    const int64_t rows = problem->batch * problem->m;
    return rows > 0 ? rows : 1;
}

static int64_t fewer(int64_t a, double b) {
    const int64_t limit = b < 3 ? 3 : (int64_t)b;
    return a < limit ? a : limit;
}

/* Of one t: the roundings of its parts' sums. */
static double t_halves(const judging *j) {
    const norma_dtype dtype = j->problem.x.layout.dtype;
    return dtype == NORMA_F32 ? 0 : j->problem.parts * norma_dtype_unit(dtype);
}

static double t_cost(const judging *j) {
    return 1 + (double)norma_problem_columns(&j->problem);
}

static void judge_dx(judging *j) {
    const norma_problem *problem = &j->problem;
    const int64_t rows = problem->batch * problem->m;
    norma_gradient *t = test_allocate((size_t)problem->k * sizeof *t);
    norma_gradient *dx = test_allocate((size_t)problem->k * sizeof *dx);
    const int64_t count = fewer(rows, (double)BUDGET / ((double)problem->k * t_cost(j)));
    deviation seen = {0, 0};
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = test_sample(j, i, count, rows);
        for (int64_t k = 0; k < problem->k; k++) t[k] = norma_reference_t(problem, row, k);
        norma_reference_dx(problem, row, t, dx);
        for (int64_t k = 0; k < problem->k; k++) judge_value(j, "dx", SLOT_DX, row, k, dx[k], &seen);
    }
    judge_deviation(j, "dx", &seen, problem->k, t_halves(j));
    free(t);
    free(dx);
}

static void judge_dgamma(judging *j) {
    const norma_problem *problem = &j->problem;
    const int64_t rows = summands(problem);
    const int64_t count = fewer(problem->k, (double)BUDGET / ((double)rows * t_cost(j)));
    deviation seen = {0, 0};
    for (int64_t i = 0; i < count; i++) {
        const int64_t k = test_sample(j, i, count, problem->k);
        judge_value(j, "dgamma", SLOT_DGAMMA, 0, k, norma_reference_dgamma(problem, k), &seen);
    }
    judge_deviation(j, "dgamma", &seen, rows, t_halves(j));
}

static void judge_dweight(judging *j, int part) {
    static const char *const names[] = {"dweight 0", "dweight 1", "dweight 2", "dweight 3"};
    const norma_problem *problem = &j->problem;
    const int64_t rows = summands(problem);
    const int64_t n = problem->part[part].n;
    const int64_t total = problem->k * n;
    const bool all = (double)total * (double)rows < (double)BUDGET;
    const int64_t count = all ? total : fewer(total, SAMPLED_ENTRIES);
    const norma_dtype dtype = problem->x.layout.dtype;
    deviation seen = {0, 0};
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = test_sample(j, i, count, total);
        judge_value(j, names[part], SLOT_DWEIGHT + part, at / n, at % n,
                    norma_reference_dweight(problem, part, at / n, at % n), &seen);
    }
    double halves = dtype == NORMA_F32 ? 0 : 4 * norma_dtype_unit(dtype) / sqrt((double)rows);
    if (problem->batch > 1) halves += (double)problem->batch * norma_dtype_unit(problem->part[part].dweight.layout.dtype);
    judge_deviation(j, names[part], &seen, rows, halves);
}

static void judge_dbias(judging *j, int part) {
    static const char *const names[] = {"dbias 0", "dbias 1", "dbias 2", "dbias 3"};
    const norma_problem *problem = &j->problem;
    const int64_t rows = summands(problem);
    const int64_t n = problem->part[part].n;
    const int64_t count = fewer(n, (double)BUDGET / (double)rows);
    deviation seen = {0, 0};
    for (int64_t i = 0; i < count; i++) {
        const int64_t col = test_sample(j, i, count, n);
        judge_value(j, names[part], SLOT_DBIAS + part, 0, col, norma_reference_dbias(problem, part, col), &seen);
    }
    judge_deviation(j, names[part], &seen, rows, 0);
}

void test_judge_gradients(judging *j) {
    const norma_problem *problem = &j->problem;
    if (norma_tensor_present(&problem->dx)) judge_dx(j);
    if (norma_tensor_present(&problem->dgamma)) judge_dgamma(j);
    for (int p = 0; p < problem->parts; p++) {
        if (norma_tensor_present(&problem->part[p].dweight)) judge_dweight(j, p);
        if (norma_tensor_present(&problem->part[p].dbias)) judge_dbias(j, p);
    }
}
