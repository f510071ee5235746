/* What NORMA_FP32_TENSOR costs in accuracy: nothing. Errors against fp64 of a Linear with the flag are, as a root mean
 * square, no larger than those of strict fp32 on the same device, for values of any sign and for positive ones, whose long
 * sums show every error that has a sign. With an exact contract and rstd known, what is multiplied is defined to the bit. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "harness/case_names.h"
#include "harness/place.h"
#include "harness/suite.h"

enum { M = 512, N = 512, ROWS_JUDGED = 16 };

static const int64_t lengths[] = {896, 4096, 14336};

static void make_positive(test_trial *trial) {
    for (int slot = SLOT_X; slot <= SLOT_WEIGHT; slot++) {
        if (slot != SLOT_X && slot != SLOT_WEIGHT) continue;
        for (int64_t row = 0; row < trial->tensor[slot].rows; row++)
            for (int64_t col = 0; col < trial->tensor[slot].cols; col++)
                test_trial_set(trial, slot, row, col, fabsf(test_trial_get(trial, slot, row, col)));
    }
}

/* Root mean square of error over magnitude. W lies (k, n). */
static double error_of(const test_trial *trial, const float *weight) {
    const int64_t k = trial->test.k;
    float *const y = test_allocate((size_t)k * sizeof *y);
    double squares = 0;
    for (int64_t i = 0; i < ROWS_JUDGED; i++) {
        const int64_t row = i * (M - 1) / (ROWS_JUDGED - 1);
        const float rstd = test_trial_result(trial, SLOT_RSTD, row, 0);
        for (int64_t j = 0; j < k; j++) y[j] = test_trial_get(trial, SLOT_X, row, j) * rstd;
        double sum[N] = {0}, magnitude[N] = {0};
        for (int64_t j = 0; j < k; j++)
            for (int64_t n = 0; n < N; n++) {
                const double product = (double)y[j] * (double)weight[j * N + n];
                sum[n] += product;
                magnitude[n] += fabs(product);
            }
        for (int64_t n = 0; n < N; n++) {
            const double error = ((double)test_trial_result(trial, SLOT_OUT, row, n) - sum[n]) / magnitude[n];
            squares += error * error;
        }
    }
    free(y);
    return sqrt(squares / (ROWS_JUDGED * N));
}

static double measure(test_trial *trial, const test_variant *variant, uint64_t flags, const float *weight) {
    trial->test.flags = flags;
    if (test_trial_run(trial, variant->context, PATH_ONE_SHOT) != NORMA_OK)
        fail_msg("%s: %s", variant->name, norma_last_error());
    return error_of(trial, weight);
}

static void compare(int64_t k, bool positive) {
    const test_case test = {.name = "fp32_errors",
                            .op = NORMA_OP_RMSNORM_LINEAR,
                            .m = M,
                            .k = k,
                            .n = {N},
                            .x = F32,
                            .weight = F32,
                            .out = F32,
                            .contract = ONCE,
                            .rstd = true,
                            .arranged = {[ROLE_WEIGHT] = COLUMNS}};
    test_trial *trial = test_trial_create(&test, test_seed_for(test.name), false);
    if (positive) make_positive(trial);
    float *const weight = test_allocate((size_t)(k * N) * sizeof *weight);
    for (int64_t j = 0; j < k; j++)
        for (int64_t n = 0; n < N; n++) weight[j * N + n] = test_trial_get(trial, SLOT_WEIGHT, j, n);
    for (int i = 0; i < test_variant_count(); i++) {
        const test_variant *variant = test_variant_at(i);
        if (variant != test_variant_default(variant->backend)) continue;
        const double strict = measure(trial, variant, 0, weight) * 0x1p24;
        const double tensor = measure(trial, variant, NORMA_FP32_TENSOR, weight) * 0x1p24;
        printf("%s, K %" PRId64 ", %s: strict %.3f u, with the flag %.3f u\n", variant->name, k,
               positive ? "positive" : "any sign", strict, tensor);
        if (tensor > strict)
            fail_msg("%s, K %" PRId64 ": the error is %.3f u, of strict fp32 %.3f u", variant->name, k, tensor, strict);
    }
    free(weight);
    test_trial_destroy(trial);
}

static void of_any_sign(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) compare(lengths[i], false);
}

static void of_positive_values(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) compare(lengths[i], true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(of_any_sign), cmocka_unit_test(of_positive_values)};
    return test_group_run("fp32_errors", tests, sizeof tests / sizeof tests[0]);
}
