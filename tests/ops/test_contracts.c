/* The rounding contracts against models' own arithmetic, and the outcomes that docs/numerics.md promises at the extremes. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "cpu/reference.h"
#include "dtype.h"
#include "harness/case_names.h"
#include "harness/emulate.h"
#include "harness/place.h"
#include "harness/suite.h"

/* Calls `attempt` on every variant that takes part in the case's operation. */
static void everywhere(const test_case *test, void (*attempt)(const test_case *test, test_variant *variant)) {
    for (int v = 0; v < test_variant_count(); v++)
        if (test_variant_concerns(test_variant_at(v), test->op)) attempt(test, test_variant_at(v));
}

static const norma_dtype dtypes[] = {NORMA_F32, NORMA_F16, NORMA_BF16};

/* ---- transformers' RMSNorm, written out in fp32 ---- */

/* The model sums squares in an order of its own, so its rstd may differ from ours in the last bits. Where it does not, every
 * bit of the row must be the model's; where it does, the row must be what the model gives with our rstd, and the two rstd be
 * within 4 units in the last place. A third of the rows at least must fall under the first rule. */
static void model_bits(const test_case *test, test_variant *variant) {
    test_trial *trial = test_computed(test, variant, test_seed_for(test->name));
    if (!trial) return;
    const size_t k = (size_t)test->k;
    float *h = test_allocate(k * sizeof *h);
    int64_t same = 0;
    for (int64_t row = 0; row < test->m; row++) {
        for (size_t i = 0; i < k; i++) {
            h[i] = test_trial_get(trial, SLOT_X, row, (int64_t)i);
            if (test->residual == NORMA_NONE) continue;
            h[i] = test_round(test->residual, h[i] + test_trial_get(trial, SLOT_RESIDUAL, row, (int64_t)i));
        }
        const float rstd = test_trial_result(trial, SLOT_RSTD, row, 0);
        const float model_rstd = test_model_rstd(h, test->k, trial->test.eps);
        if (rstd == model_rstd) same++;
        if (fabsf(rstd - model_rstd) > 4 * 0x1p-23F * model_rstd)
            fail_msg("%s: row %" PRId64 ": rstd is %a, the model's %a", variant->name, row, (double)rstd,
                     (double)model_rstd);
        for (size_t i = 0; i < k; i++) {
            const float gamma = test_trial_get(trial, SLOT_GAMMA, 0, (int64_t)i) + test->offset;
            const float y = test_model_norm(test->contract, norma_dtype_bytes(test->residual) ? test->residual : test->x,
                                            h[i], rstd, gamma);
            const float got = test_trial_result(trial, SLOT_OUT, row, (int64_t)i);
            if (got != test_round(test->out, y))
                fail_msg("%s: %s: (%" PRId64 ", %zu) is %a, the model's is %a", variant->name, test->name, row, i,
                         (double)got, (double)test_round(test->out, y));
        }
    }
    free(h);
    test_trial_destroy(trial);
    if (3 * same < test->m)
        fail_msg("%s: only %" PRId64 " rows of %" PRId64 " have the model's rstd", variant->name, same, test->m);
}

static void model_bits_of(norma_contract contract, float offset, bool residual) {
    for (size_t d = 0; d < 3; d++) {
        const norma_dtype dtype = dtypes[d];
        const test_case test = {.name = "model",
                                .op = NORMA_OP_RMSNORM,
                                .m = 90,
                                .k = 576,
                                .x = dtype,
                                .gamma = dtype,
                                .residual = residual ? dtype : NORMA_NONE,
                                .residual_out = residual,
                                .out = dtype,
                                .rstd = true,
                                .contract = contract,
                                .offset = offset};
        everywhere(&test, model_bits);
    }
}

static void round_twice_has_the_bits_of_llama(void **state) {
    (void)state;
    model_bits_of(NORMA_ROUND_TWICE, 0, false);
}

static void round_once_has_the_bits_of_olmo2(void **state) {
    (void)state;
    model_bits_of(NORMA_ROUND_ONCE, 0, false);
}

static void round_once_with_offset_one_has_the_bits_of_gemma(void **state) {
    (void)state;
    model_bits_of(NORMA_ROUND_ONCE, 1, false);
}

static void residual_has_the_bits_of_llama(void **state) {
    (void)state;
    model_bits_of(NORMA_ROUND_TWICE, 0, true);
}

/* If the contracts gave the same bits on this data, the tests above would show nothing. */
static void the_exact_contracts_differ(void **state) {
    (void)state;
    for (size_t d = 1; d < 3; d++) {
        test_case test = {.name = "model",
                          .op = NORMA_OP_RMSNORM,
                          .m = 90,
                          .k = 576,
                          .x = dtypes[d],
                          .gamma = dtypes[d],
                          .out = dtypes[d],
                          .contract = NORMA_ROUND_TWICE};
        test_trial *twice = test_computed(&test, test_variant_at(0), 1);
        test.contract = NORMA_ROUND_ONCE;
        test_trial *once = test_computed(&test, test_variant_at(0), 1);
        assert_false(test_trials_equal(twice, once));
        test_trial_destroy(twice);
        test_trial_destroy(once);
    }
}

/* ---- The residual ---- */

/* 256 + 1 in bf16 and 2048 + 1 in fp16 are ties that round to the even 256 and 2048: the unrounded sum would show in rstd.
 */
static void rounded_sum(const test_case *test, test_variant *variant) {
    const float large = test->x == NORMA_BF16 ? 256 : 2048;
    test_trial *trial = test_trial_create(test, 1, false);
    for (int64_t k = 0; k < test->k; k++) {
        test_trial_set(trial, SLOT_X, 0, k, large);
        test_trial_set(trial, SLOT_RESIDUAL, 0, k, 1);
    }
    if (test_compute(trial, variant, "a sum that rounds")) {
        assert_true(test_trial_result(trial, SLOT_RESIDUAL_OUT, 0, 0) == large);
        assert_true(fabsf(test_trial_result(trial, SLOT_RSTD, 0, 0) * large - 1) < 1e-5F);
    }
    test_trial_destroy(trial);
}

static void variance_is_of_the_rounded_residual_sum(void **state) {
    (void)state;
    for (size_t d = 1; d < 3; d++) {
        const norma_dtype dtype = dtypes[d];
        test_case test = {.name = "rounded sum",
                          .op = NORMA_OP_RMSNORM,
                          .m = 1,
                          .k = 37,
                          .x = dtype,
                          .residual = dtype,
                          .residual_out = true,
                          .gamma = dtype,
                          .out = dtype,
                          .rstd = true,
                          .contract = NORMA_ROUND_TWICE};
        everywhere(&test, rounded_sum);
        test.op = NORMA_OP_RMSNORM_LINEAR;
        test.weight = dtype;
        test.n[0] = 9;
        everywhere(&test, rounded_sum);
    }
}

/* ---- Extremes ---- */

static void beyond_the_range(const test_case *test, test_variant *variant) {
    test_trial *clean = test_computed(test, variant, 1);
    if (!clean) return;
    test_trial *trial = test_trial_create(test, 1, false);
    test_trial_set(trial, SLOT_X, 2, test->k / 2, 1e20F);
    assert_true(test_compute(trial, variant, "1e20 in a row"));
    assert_true(test_trial_result(trial, SLOT_RSTD, 2, 0) == 0);
    for (int64_t n = 0; n < trial->tensor[SLOT_OUT].cols; n++) {
        const float bias = test->bias == NORMA_NONE ? 0 : test_trial_get(trial, SLOT_BIAS, 0, n);
        assert_true(test_trial_result(trial, SLOT_OUT, 2, n) == test_round(test->out, bias));
    }
    assert_true(test_rows_equal(clean, 0, trial, 0, 2));
    assert_true(test_rows_equal(clean, 3, trial, 3, test->m - 3));
    test_trial_destroy(trial);
    test_trial_destroy(clean);
}

static void sum_of_squares_beyond_fp32_gives_rstd_zero(void **state) {
    (void)state;
    static const norma_dtype wide[] = {NORMA_F32, NORMA_BF16};
    for (size_t d = 0; d < 2; d++)
        for (int contract = 0; contract < 3; contract++) {
            test_case test = {.name = "beyond",
                              .op = NORMA_OP_RMSNORM,
                              .m = 6,
                              .k = 100,
                              .x = wide[d],
                              .gamma = wide[d],
                              .out = wide[d],
                              .rstd = true,
                              .contract = (norma_contract)contract};
            everywhere(&test, beyond_the_range);
            test.op = NORMA_OP_RMSNORM_LINEAR;
            test.weight = test.bias = wide[d];
            test.n[0] = 21;
            everywhere(&test, beyond_the_range);
        }
}

/* gamma of 6e4 takes outputs of fp16 past 65504, on both sides, with others near and far below. */
static void fp16_overflow(const test_case *test, test_variant *variant) {
    test_trial *trial = test_trial_create(test, 1, false);
    for (int64_t k = 0; k < test->k; k++) test_trial_set(trial, SLOT_GAMMA, 0, k, 6e4F);
    if (test_compute(trial, variant, "gamma 6e4")) {
        int64_t infinite = 0;
        for (int64_t row = 0; row < test->m; row++)
            for (int64_t k = 0; k < test->k; k++) infinite += isinf(test_trial_result(trial, SLOT_OUT, row, k)) != 0;
        assert_true(infinite > 0 && infinite < test->m * test->k);
    }
    test_trial_destroy(trial);
}

static void fp16_outputs_beyond_65504_are_infinite(void **state) {
    (void)state;
    const test_case test = {.name = "overflow",
                            .op = NORMA_OP_RMSNORM,
                            .m = 20,
                            .k = 100,
                            .x = F16,
                            .gamma = F16,
                            .out = F16,
                            .rstd = true,
                            .contract = NORMA_ROUND_TWICE};
    everywhere(&test, fp16_overflow);
}

/* ---- Small integers ---- */

static void small_integers_are_exact_and_equal_on_every_variant(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{1, 1000, 130}, {3, 77, 19}, {8, 256, 64}, {30, 600, 103}, {130, 100, 40}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (size_t d = 0; d < 3; d++)
            for (int contract = 0; contract < 3; contract++) {
                const norma_dtype dtype = dtypes[d];
                const test_case test = {.name = "integers",
                                        .op = NORMA_OP_RMSNORM_LINEAR,
                                        .m = shapes[s][0],
                                        .k = shapes[s][1],
                                        .n = {shapes[s][2]},
                                        .x = dtype,
                                        .gamma = dtype,
                                        .weight = dtype,
                                        .bias = dtype,
                                        .out = dtype,
                                        .rstd = true,
                                        .contract = (norma_contract)contract,
                                        .eps = 1e-37F,
                                        .data = DATA_INTEGER};
                test_trial *first = test_computed(&test, test_variant_at(0), 1);
                const norma_problem problem = test_trial_problem(first);
                double *y = test_allocate((size_t)test.k * sizeof *y);
                for (int64_t row = 0; row < test.m; row += 1 + test.m / 5) {
                    norma_reference_row(&problem, row, NULL, y, NULL);
                    for (int64_t n = 0; n < test.n[0]; n++)
                        assert_true((double)test_trial_result(first, SLOT_OUT, row, n) ==
                                    norma_round_double(dtype, norma_reference_dot(&problem, y, 0, n, NULL)));
                }
                free(y);
                for (int v = 1; v < test_variant_count(); v++) {
                    test_trial *other = test_computed(&test, test_variant_at(v), 1);
                    if (!other) continue;
                    if (!test_trials_equal(first, other)) fail_msg("%s differs", test_variant_at(v)->name);
                    test_trial_destroy(other);
                }
                test_trial_destroy(first);
            }
}

/* ---- Folding ---- */

static void fold_and_compare(const test_case *test, test_variant *variant) {
    test_case fold_case = *test;
    fold_case.op = NORMA_OP_FOLD_GAMMA;
    fold_case.out = test->weight;
    test_case folded_case = *test;
    folded_case.gamma = NORMA_NONE;
    test_trial *unfolded = test_computed(test, variant, 1);
    if (!unfolded) return;
    test_trial *fold = test_computed(&fold_case, test_variant_default(variant->backend), 1);
    test_trial *folded = test_trial_create(&folded_case, 1, false);
    for (int64_t k = 0; k < test->k; k++)
        for (int64_t n = 0; n < test->n[0]; n++)
            test_trial_set(folded, SLOT_WEIGHT, k, n, test_trial_result(fold, SLOT_OUT, k, n));
    assert_true(test_compute(folded, variant, "folded"));

    const norma_problem problem = test_trial_problem(unfolded);
    const norma_problem folded_problem = test_trial_problem(folded);
    double *y = test_allocate((size_t)test->k * sizeof *y);
    for (int64_t row = 0; row < test->m; row++) {
        norma_reference_row(&problem, row, NULL, y, NULL);
        for (int64_t n = 0; n < test->n[0]; n++) {
            double magnitude;
            const double value = norma_reference_dot(&problem, y, 0, n, &magnitude);
            const double difference = fabs((double)test_trial_result(unfolded, SLOT_OUT, row, n) -
                                           (double)test_trial_result(folded, SLOT_OUT, row, n));
            const double rounding = (norma_dtype_unit(test->weight) + norma_dtype_unit(NORMA_F32)) * magnitude;
            assert_true(difference <= rounding + norma_bound_linear(&problem, value, magnitude, test->out) +
                                          norma_bound_linear(&folded_problem, value, magnitude, test->out));
        }
    }
    free(y);
    test_trial_destroy(unfolded);
    test_trial_destroy(fold);
    test_trial_destroy(folded);
}

static void folded_equals_unfolded_within_the_bound(void **state) {
    (void)state;
    for (size_t d = 0; d < 3; d++)
        for (int offset = 0; offset < 2; offset++) {
            const norma_dtype dtype = dtypes[d];
            const test_case test = {.name = "fold",
                                    .op = NORMA_OP_RMSNORM_LINEAR,
                                    .m = 9,
                                    .k = 213,
                                    .n = {33},
                                    .x = dtype,
                                    .gamma = dtype,
                                    .weight = dtype,
                                    .bias = dtype,
                                    .out = dtype,
                                    .offset = (float)offset};
            everywhere(&test, fold_and_compare);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_twice_has_the_bits_of_llama),
        cmocka_unit_test(round_once_has_the_bits_of_olmo2),
        cmocka_unit_test(round_once_with_offset_one_has_the_bits_of_gemma),
        cmocka_unit_test(residual_has_the_bits_of_llama),
        cmocka_unit_test(the_exact_contracts_differ),
        cmocka_unit_test(variance_is_of_the_rounded_residual_sum),
        cmocka_unit_test(sum_of_squares_beyond_fp32_gives_rstd_zero),
        cmocka_unit_test(fp16_outputs_beyond_65504_are_infinite),
        cmocka_unit_test(small_integers_are_exact_and_equal_on_every_variant),
        cmocka_unit_test(folded_equals_unfolded_within_the_bound),
    };
    return test_group_run("contracts", tests, sizeof tests / sizeof tests[0]);
}
