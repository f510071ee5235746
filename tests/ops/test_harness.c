/* The harness tested on what it must catch: NORMA_REQUIRE, and a judge that notices every kind of wrong result. */
#include <math.h>

#include "cpu/reference.h"
#include "dtype.h"
#include "harness/case_names.h"
#include "harness/place.h"
#include "harness/suite.h"

static bool only_cpu(const char *name) {
    return strcmp(name, "cpu") == 0;
}

static void require_turns_an_absent_backend_into_a_failure(void **state) {
    (void)state;
    char sentence[160] = "";
    assert_true(test_require(NULL, only_cpu, sentence, sizeof sentence));
    assert_true(test_require("", only_cpu, sentence, sizeof sentence));
    assert_true(test_require("cpu", only_cpu, sentence, sizeof sentence));
    assert_string_equal(sentence, "");
    assert_false(test_require("cpu,cuda", only_cpu, sentence, sizeof sentence));
    assert_non_null(strstr(sentence, "\"cuda\""));
    assert_false(test_require("cuda,cpu", only_cpu, sentence, sizeof sentence));
    assert_false(test_require("nonsense", only_cpu, sentence, sizeof sentence));
    assert_non_null(strstr(sentence, "\"nonsense\""));
    assert_false(test_require("a-name-that-is-longer-than-any-backend-could-have", only_cpu, sentence, sizeof sentence));
}

/* ---- The judge ---- */

/* A trial with right results, which a test then spoils. */
static test_trial *right(const test_case *test) {
    test_trial *trial = test_computed(test, test_variant_at(0), 1);
    assert_true(test_trial_judge(trial).passed);
    return trial;
}

static void store_result(test_trial *trial, int slot, int64_t row, int64_t col, float value) {
    const test_tensor *tensor = &trial->tensor[slot];
    norma_store(trial->arena[tensor->arena].after + test_tensor_at(tensor, row, col), tensor->layout.dtype, 0, value);
}

static const test_case norm = {.name = "norm",
                               .op = NORMA_OP_RMSNORM,
                               .m = 5,
                               .k = 37,
                               .all = PADDED,
                               .x = BF16,
                               .residual = BF16,
                               .residual_out = true,
                               .gamma = BF16,
                               .out = BF16,
                               .rstd = true,
                               .contract = NORMA_ROUND_TWICE};
static const test_case linear = {.name = "linear",
                                 .op = NORMA_OP_RMSNORM_LINEAR,
                                 .m = 5,
                                 .k = 37,
                                 .n = {9, 4},
                                 .all = PADDED,
                                 .x = F32,
                                 .gamma = F32,
                                 .weight = F32,
                                 .bias = F32,
                                 .out = F32,
                                 .rstd = true};

static void judge_notices_a_wrong_bit_in_each_output(void **state) {
    (void)state;
    const int slots[] = {SLOT_OUT, SLOT_RESIDUAL_OUT, SLOT_RSTD};
    for (size_t i = 0; i < 3; i++) {
        test_trial *trial = right(&norm);
        const int64_t col = slots[i] == SLOT_RSTD ? 0 : 36;
        const float value = test_trial_result(trial, slots[i], 4, col);
        store_result(trial, slots[i], 4, col, value * (slots[i] == SLOT_RSTD ? 1.00001F : 1.01F));
        assert_false(test_trial_judge(trial).passed);
        test_trial_destroy(trial);
    }
}

static void judge_notices_a_wrong_column_of_a_linear(void **state) {
    (void)state;
    test_trial *trial = right(&linear);
    store_result(trial, SLOT_OUT + 1, 4, 3, test_trial_result(trial, SLOT_OUT + 1, 4, 3) + 1e-4F);
    assert_false(test_trial_judge(trial).passed);
    test_trial_destroy(trial);
}

static const test_case gradients = {.name = "gradients",
                                    .op = NORMA_OP_RMSNORM_LINEAR_BACKWARD,
                                    .m = 5,
                                    .k = 37,
                                    .n = {9, 4},
                                    .all = PADDED,
                                    .flags = ACCUMULATE,
                                    .x = F32,
                                    .residual = F32,
                                    .gamma = F32,
                                    .weight = F32,
                                    .out = F32,
                                    .dx = F32,
                                    .dgamma = F32,
                                    .dweight = F32,
                                    .dbias = F32};

static void judge_notices_a_wrong_value_in_each_gradient(void **state) {
    (void)state;
    const struct {
        int slot;
        int64_t row, col;
    } places[] = {{SLOT_DX, 4, 36},          {SLOT_DX, 0, 0},    {SLOT_DGAMMA, 0, 36},  {SLOT_DWEIGHT, 36, 8},
                  {SLOT_DWEIGHT + 1, 20, 0}, {SLOT_DBIAS, 0, 8}, {SLOT_DBIAS + 1, 0, 3}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        test_trial *trial = right(&gradients);
        const float value = test_trial_result(trial, places[i].slot, places[i].row, places[i].col);
        store_result(trial, places[i].slot, places[i].row, places[i].col, value + 1e-4F);
        assert_false(test_trial_judge(trial).passed);
        test_trial_destroy(trial);
    }
}

/* What a forgotten old value, or one row left out of a sum, would do to the results. */
static void judge_notices_a_sum_that_lacks_a_term(void **state) {
    (void)state;
    test_trial *trial = right(&gradients);
    for (int64_t col = 0; col < 9; col++)
        store_result(trial, SLOT_DBIAS, 0, col,
                     test_trial_result(trial, SLOT_DBIAS, 0, col) - test_trial_get(trial, SLOT_DBIAS, 0, col));
    assert_false(test_trial_judge(trial).passed);
    test_trial_destroy(trial);
    trial = right(&gradients);
    for (int64_t col = 0; col < 9; col++)
        store_result(trial, SLOT_DBIAS, 0, col,
                     test_trial_result(trial, SLOT_DBIAS, 0, col) - test_trial_get(trial, SLOT_OUT, 4, col));
    assert_false(test_trial_judge(trial).passed);
    test_trial_destroy(trial);
}

static void judge_notices_nan_and_outputs_that_were_not_written(void **state) {
    (void)state;
    test_trial *trial = right(&linear);
    store_result(trial, SLOT_OUT, 0, 0, NAN);
    assert_false(test_trial_judge(trial).passed);
    memset(trial->arena[SLOT_OUT].after, 0xff, trial->arena[SLOT_OUT].bytes);
    assert_false(test_trial_judge(trial).passed);
    test_trial_destroy(trial);
}

static void judge_notices_every_byte_that_is_no_output(void **state) {
    (void)state;
    test_trial *trial = right(&norm);
    for (int i = 0; i < SLOT_COUNT; i++) {
        test_arena *arena = &trial->arena[i];
        for (size_t byte = 0; byte < arena->bytes; byte++) {
            if (arena->writable[byte]) continue;
            arena->after[byte] ^= 1;
            assert_false(test_trial_judge(trial).passed);
            arena->after[byte] ^= 1;
        }
    }
    assert_true(test_trial_judge(trial).passed);
    test_trial_destroy(trial);
}

static void judge_notices_too_many_flips(void **state) {
    (void)state;
    const test_case many = {.name = "flips",
                            .op = NORMA_OP_RMSNORM,
                            .m = 40,
                            .k = 200,
                            .x = BF16,
                            .gamma = BF16,
                            .out = BF16,
                            .contract = NORMA_ROUND_TWICE};
    test_trial *trial = right(&many);
    for (int64_t row = 0; row < 40; row++)
        for (int64_t k = 0; k < 200; k += 4) {
            const uint32_t bits = norma_f32_bits(test_trial_result(trial, SLOT_OUT, row, k));
            store_result(trial, SLOT_OUT, row, k, norma_f32_from_bits(bits + 0x10000));
        }
    assert_false(test_trial_judge(trial).passed);
    test_trial_destroy(trial);
}

/* ---- The reference's own rounding ---- */

/* Every half, and what lies between two neighbours: below, at and above the tie. */
static void rounding_of_every_half(void **state) {
    (void)state;
    for (int dtype = NORMA_F16; dtype <= NORMA_BF16; dtype++)
        for (uint32_t bits = 0; bits < 0x10000; bits++) {
            const uint16_t halves[] = {(uint16_t)bits, (uint16_t)(bits + 1)};
            const double value = (double)norma_load(halves, (norma_dtype)dtype, 0);
            const double next = (double)norma_load(halves, (norma_dtype)dtype, 1);
            if (isnan(value)) continue;
            assert_true(norma_round_double((norma_dtype)dtype, value) == value);
            if (!isfinite(value) || !isfinite(next) || (bits & 0x7fff) == 0x7fff) continue;
            const double tie = value + (next - value) / 2;
            assert_true(norma_round_double((norma_dtype)dtype, tie) == (bits & 1 ? next : value));
            assert_true(norma_round_double((norma_dtype)dtype, nextafter(tie, value)) == value);
            assert_true(norma_round_double((norma_dtype)dtype, nextafter(tie, next)) == next);
        }
    assert_true(norma_round_double(NORMA_F16, 65519.999) == 65504);
    assert_true(isinf(norma_round_double(NORMA_F16, 65520)));
    assert_true(isinf(norma_round_double(NORMA_BF16, -0x1.ffp127)));
    assert_true(norma_round_double(NORMA_F16, 0x1p-25) == 0);
    assert_true(norma_round_double(NORMA_F16, 0x1.0001p-25) == 0x1p-24);
    assert_true(norma_round_double(NORMA_F32, 0x1p-150) == 0);
    assert_true(norma_round_double(NORMA_F32, 1 + 0x1.8p-24) == 1 + 0x1p-23);
}

/* A value just above a tie of bf16 that rounds to the tie in fp32: through fp32 it would fall to the even side. */
static void rounding_is_one_step(void **state) {
    (void)state;
    const double value = 1 + 0x1p-8 + 0x1p-30;
    assert_true(norma_round_double(NORMA_BF16, value) == 1 + 0x1p-7);
    assert_true(norma_round_double(NORMA_BF16, (double)(float)value) == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(require_turns_an_absent_backend_into_a_failure),
        cmocka_unit_test(judge_notices_a_wrong_bit_in_each_output),
        cmocka_unit_test(judge_notices_a_wrong_column_of_a_linear),
        cmocka_unit_test(judge_notices_a_wrong_value_in_each_gradient),
        cmocka_unit_test(judge_notices_a_sum_that_lacks_a_term),
        cmocka_unit_test(judge_notices_nan_and_outputs_that_were_not_written),
        cmocka_unit_test(judge_notices_every_byte_that_is_no_output),
        cmocka_unit_test(judge_notices_too_many_flips),
        cmocka_unit_test(rounding_of_every_half),
        cmocka_unit_test(rounding_is_one_step),
    };
    return test_group_run("harness", tests, sizeof tests / sizeof tests[0]);
}
