/* Judges a trial: outputs against the reference and the bound of docs/numerics.md, every other byte against what it was.
 *
 * Where an exact contract was asked for and rstd was written, the outputs are judged once more from that very rstd: a norm's
 * bits are then defined, and a Linear is a plain product. Large problems are sampled: first and last rows and columns, and
 * others drawn from the seed. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/reference.h"
#include "dtype.h"
#include "harness/emulate.h"
#include "harness/judging.h"
#include "harness/place.h"
#include "harness/random.h"

void test_reject(judging *j, const char *format, ...) {
    if (!j->verdict.passed) return;
    j->verdict.passed = false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(j->verdict.text, sizeof j->verdict.text, format, arguments);
    va_end(arguments);
}

/* The power of two just beyond the dtype's range stands for infinity. */
double test_bring_in(norma_dtype dtype, double value) {
    const double beyond = dtype == NORMA_F16 ? 0x1p16 : 0x1p128;
    return fabs(value) > beyond ? copysign(beyond, value) : value;
}

/* Half the spacing of the dtype: a product of no magnitude has no other error. */
double test_last_rounding(const judging *j, norma_dtype dtype, double value) {
    return norma_bound_linear(&j->product, value, 0, dtype);
}

void test_compare(judging *j, const char *what, int64_t col, norma_dtype dtype, float got, double want, double bound) {
    j->verdict.outputs++;
    if (isnan(want) && isnan(got)) return;
    const double error = fabs(test_bring_in(dtype, (double)got) - test_bring_in(dtype, want));
    const double rounding = test_last_rounding(j, dtype, want);
    if (error > rounding && bound > rounding)
        j->verdict.worst = fmax(j->verdict.worst, (error - rounding) / (bound - rounding));
    if (error == 0 || error <= bound) return; /* of a sum that is infinite the bound is no number */
    test_reject(j, "%s (%" PRId64 ", %" PRId64 ") is %.9g, should be %.9g; the error %.3g exceeds the bound %.3g", what,
                j->row, col, (double)got, want, error, bound);
}

static void compare_bits(judging *j, const char *what, int64_t col, float got, float want) {
    if (norma_f32_bits(got) == norma_f32_bits(want) || (isnan(got) && isnan(want))) return;
    test_reject(j, "%s (%" PRId64 ", %" PRId64 ") is %a, should be exactly %a", what, j->row, col, (double)got,
                (double)want);
}

static void judge_untouched(judging *j) {
    static const char *const names[] = {
        "x",      "gamma",     "residual",  "residual_out", "rstd",      "weight 0", "weight 1", "weight 2", "weight 3",
        "bias 0", "bias 1",    "bias 2",    "bias 3",       "out 0",     "out 1",    "out 2",    "out 3",    "dx",
        "dgamma", "dweight 0", "dweight 1", "dweight 2",    "dweight 3", "dbias 0",  "dbias 1",  "dbias 2",  "dbias 3"};
    for (int i = 0; i < SLOT_COUNT; i++) {
        const test_arena *arena = &j->trial->arena[i];
        if (arena->bytes == 0 || memcmp(arena->before, arena->after, arena->bytes) == 0) continue;
        for (size_t byte = 0; byte < arena->bytes; byte++)
            if (!arena->writable[byte] && arena->before[byte] != arena->after[byte]) {
                test_reject(j, "byte %zu of %zu around %s was %02x and became %02x; it belongs to no output", byte,
                            arena->bytes, names[i], arena->before[byte], arena->after[byte]);
                break;
            }
    }
}

static void judge_norm_row(judging *j, float rstd) {
    const test_tensor *out = &j->trial->tensor[SLOT_OUT];
    const norma_dtype dtype = out->layout.dtype;
    for (int64_t k = 0; k < j->problem.k; k++) {
        const float got = test_trial_result(j->trial, SLOT_OUT, j->row, k);
        test_compare(j, "out", k, dtype, got, j->y[k], norma_bound_norm(&j->problem, j->y[k], dtype));
        if (dtype != NORMA_F32) {
            j->verdict.rounded++;
            j->verdict.flips += (double)got != norma_round_double(dtype, j->y[k]) && !isnan(j->y[k]);
        }
        if (!j->rstd_known) continue;
        const norma_dtype h_dtype = norma_problem_h_dtype(&j->problem);
        const float y = test_model_norm(j->problem.contract, h_dtype, (float)j->h[k], rstd, j->gamma[k]);
        compare_bits(j, "out, given rstd,", k, got, test_round(dtype, y));
    }
}

/* Replaces y by what the contract says of it given rstd. */
static void settle_y(judging *j, float rstd) {
    const norma_dtype h_dtype = norma_problem_h_dtype(&j->problem);
    for (int64_t k = 0; k < j->problem.k; k++)
        j->y[k] =
            (double)test_round(h_dtype, test_model_norm(j->problem.contract, h_dtype, (float)j->h[k], rstd, j->gamma[k]));
}

static void judge_output(judging *j, int part, int64_t col) {
    const char *const names[] = {"out 0", "out 1", "out 2", "out 3"};
    const norma_problem *rule = j->rstd_known ? &j->product : &j->problem;
    const norma_dtype dtype = j->problem.part[part].out.layout.dtype;
    const float got = test_trial_result(j->trial, SLOT_OUT + part, j->row, col);
    double magnitude;
    const double want = norma_reference_dot(&j->problem, j->y, part, col, &magnitude);
    test_compare(j, names[part], col, dtype, got, want, norma_bound_linear(rule, want, magnitude, dtype));
    if (magnitude > 0) {
        const double difference = fabs(test_bring_in(dtype, (double)got) - test_bring_in(dtype, want));
        const double error = fmax(0, difference - test_last_rounding(j, dtype, want));
        j->squares += error / magnitude * (error / magnitude);
        j->products++;
    }
}

/* Index `i` of `count` samples among `total`: all of them, or the ends and some between. */
int64_t test_sample(const judging *j, int64_t i, int64_t count, int64_t total) {
    if (count >= total) return i;
    if (i == count - 1) return total - 1;
    return i == 0 ? 0 : (int64_t)(test_bits(j->trial->seed, 200, (uint64_t)i) % (uint64_t)total);
}

static int64_t sampled_columns(const judging *j, int64_t n, bool all) {
    return all || n < SAMPLED_COLUMNS || j->problem.k * n < BUDGET / 64 ? n : SAMPLED_COLUMNS;
}

static void judge_row(judging *j, bool all_columns) {
    const norma_problem *problem = &j->problem;
    double rstd;
    norma_reference_row(problem, j->row, j->h, j->y, &rstd);
    if (norma_tensor_present(&problem->residual_out))
        for (int64_t k = 0; k < problem->k; k++)
            compare_bits(j, "residual_out", k, test_trial_result(j->trial, SLOT_RESIDUAL_OUT, j->row, k), (float)j->h[k]);
    float written = 0;
    if (norma_tensor_present(&problem->rstd)) {
        written = test_trial_result(j->trial, SLOT_RSTD, j->row, 0);
        test_compare(j, "rstd", 0, NORMA_F32, written, rstd, norma_bound_rstd(problem, rstd));
    }
    if (problem->op == NORMA_OP_RMSNORM) {
        judge_norm_row(j, written);
        return;
    }
    if (j->rstd_known) settle_y(j, written);
    for (int p = 0; p < problem->parts; p++) {
        const int64_t n = problem->part[p].n;
        const int64_t count = sampled_columns(j, n, all_columns);
        for (int64_t i = 0; i < count; i++) judge_output(j, p, test_sample(j, i, count, n));
    }
}

static void judge_rows(judging *j) {
    const norma_problem *problem = &j->problem;
    const int64_t rows = problem->batch * problem->m;
    const int64_t columns = problem->op == NORMA_OP_RMSNORM ? 1 : norma_problem_columns(problem);
    const bool all = (double)rows * (double)problem->k * (double)columns <= (double)BUDGET;
    int64_t cost = problem->k;
    for (int p = 0; p < problem->parts; p++) cost += problem->k * sampled_columns(j, problem->part[p].n, all);
    int64_t count = all ? rows : BUDGET / cost;
    if (count < 3) count = 3;
    if (count > rows) count = rows;
    for (int64_t i = 0; i < count; i++) {
        j->row = test_sample(j, i, count, rows);
        judge_row(j, all);
    }
}

/* Errors grow with the root of K while the bound grows with K, so the whole is held to more than its parts. */
static void judge_statistics(judging *j) {
    if (j->trial->test.data != DATA_NORMAL) return;
    const double u = norma_dtype_unit(NORMA_F32);
    const norma_dtype h_dtype = norma_problem_h_dtype(&j->problem);
    const double root = sqrt((double)j->problem.k);
    if (j->products >= 16) {
        double limit = (2 + 16 / root) * u;
        if (!j->rstd_known && h_dtype != NORMA_F32) limit += 4 * norma_dtype_unit(h_dtype) / root;
        const double rms = sqrt(j->squares / (double)j->products);
        if (rms > limit) test_reject(j, "the root mean square of error / magnitude is %.3g, above %.3g", rms, limit);
    }
    /* In shorter rows values are too much alike: with K = 1 all of them are one. */
    if (j->verdict.rounded > 0 && j->problem.k >= 16) {
        const norma_dtype out = j->problem.out.layout.dtype;
        const double share = 2 * (8 + root / 4 + 3) * u *
                             (1 / norma_dtype_unit(out) + (h_dtype == NORMA_F32 ? 0 : 1 / norma_dtype_unit(h_dtype)));
        const double limit = 4 + share * (double)j->verdict.rounded;
        if ((double)j->verdict.flips > limit)
            test_reject(j,
                        "%" PRId64 " of %" PRId64 " outputs are not the correctly rounded ones; more than %.0f is too many",
                        j->verdict.flips, j->verdict.rounded, limit);
    }
}

static void judge_fold(judging *j) {
    const norma_dtype dtype = j->problem.part[0].out.layout.dtype;
    for (j->row = 0; j->row < j->problem.k; j->row++) {
        const float gamma = test_trial_get(j->trial, SLOT_GAMMA, 0, j->row) + j->problem.gamma_offset;
        for (int64_t n = 0; n < j->problem.part[0].n; n++) {
            const float want = test_round(dtype, gamma * test_trial_get(j->trial, SLOT_WEIGHT, j->row, n));
            compare_bits(j, "out", n, test_trial_result(j->trial, SLOT_OUT, j->row, n), want);
            j->verdict.outputs++;
        }
    }
}

test_verdict test_trial_judge(const test_trial *trial) {
    judging j = {.trial = trial, .problem = test_trial_problem(trial), .verdict = {.passed = true}};
    judge_untouched(&j);
    if (j.problem.op == NORMA_OP_FOLD_GAMMA) {
        judge_fold(&j);
        return j.verdict;
    }
    j.product = j.problem;
    j.product.op = NORMA_OP_LINEAR;
    if (test_case_is_backward(&trial->test)) {
        test_judge_gradients(&j);
        return j.verdict;
    }
    j.rstd_known = j.problem.contract != NORMA_ROUND_DEFERRED && norma_tensor_present(&j.problem.rstd);
    const size_t k = (size_t)j.problem.k;
    j.h = test_allocate(k * sizeof *j.h);
    j.y = test_allocate(k * sizeof *j.y);
    j.gamma = test_allocate(k * sizeof *j.gamma);
    for (size_t i = 0; i < k; i++)
        j.gamma[i] = norma_tensor_present(&j.problem.gamma)
                         ? test_trial_get(trial, SLOT_GAMMA, 0, (int64_t)i) + j.problem.gamma_offset
                         : 1;
    judge_rows(&j);
    judge_statistics(&j);
    free(j.h);
    free(j.y);
    free(j.gamma);
    return j.verdict;
}
