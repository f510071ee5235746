/* Rows keep to themselves: NaN and infinities do not spread. And a repeated call gives the same bits, as does a
 * batch-invariant one on any number of threads. */
#include <inttypes.h>
#include <math.h>

#include "harness/case_names.h"
#include "harness/suite.h"

static const test_case cases[] = {
    {.name = "norm", .op = NORMA_OP_RMSNORM, .m = 40, .k = 111, .x = F32, .gamma = F32, .out = F32, .rstd = true},
    {.name = "norm", .op = NORMA_OP_RMSNORM, .m = 40, .k = 64, .x = F16, .gamma = F16, .out = F16, .contract = TWICE},
    {.name = "norm",
     .op = NORMA_OP_RMSNORM,
     .m = 40,
     .k = 64,
     .x = BF16,
     .residual = BF16,
     .gamma = BF16,
     .out = BF16,
     .contract = ONCE},
    {.name = "linear",
     .op = NORMA_OP_RMSNORM_LINEAR,
     .m = 40,
     .k = 111,
     .n = {70},
     .x = F32,
     .gamma = F32,
     .weight = F32,
     .bias = F32,
     .out = F32,
     .rstd = true},
    {.name = "linear",
     .op = NORMA_OP_RMSNORM_LINEAR,
     .m = 5,
     .k = 111,
     .n = {70},
     .arranged = {[ROLE_WEIGHT] = COLUMNS},
     .x = F16,
     .gamma = F16,
     .weight = F16,
     .out = F16,
     .contract = TWICE},
    {.name = "linear",
     .op = NORMA_OP_RMSNORM_LINEAR,
     .m = 40,
     .k = 64,
     .n = {33, 40},
     .x = BF16,
     .residual = BF16,
     .residual_out = true,
     .gamma = BF16,
     .weight = BF16,
     .out = BF16,
     .contract = ONCE},
    {.name = "linear", .op = NORMA_OP_RMSNORM_LINEAR, .m = 40, .k = 300, .n = {33}, .x = BF16, .weight = BF16, .out = BF16},
    {.name = "linear",
     .op = NORMA_OP_RMSNORM_LINEAR,
     .m = 40,
     .k = 264,
     .n = {72, 1400},
     .arranged = {[ROLE_WEIGHT] = COLUMNS},
     .x = BF16,
     .weight = BF16,
     .bias = BF16,
     .out = BF16,
     .rstd = true},
    {.name = "linear",
     .op = NORMA_OP_RMSNORM_LINEAR,
     .m = 40,
     .k = 520,
     .n = {200},
     .arranged = {[ROLE_WEIGHT] = COLUMNS},
     .x = F16,
     .gamma = F16,
     .weight = F16,
     .out = F16,
     .contract = TWICE},
    {.name = "linear of batches apart",
     .op = NORMA_OP_RMSNORM_LINEAR,
     .m = 40,
     .k = 520,
     .n = {200},
     .all = PADDED,
     .arranged = {[ROLE_WEIGHT] = COLUMNS},
     .x = BF16,
     .gamma = BF16,
     .weight = BF16,
     .out = BF16,
     .rstd = true}};

enum { CASES = sizeof cases / sizeof cases[0] };

static uint64_t seed_of(const test_case *test) {
    return test_seed_for(test->name);
}

/* Calls `attempt` for every case on every variant that takes part in its operation. */
static void everywhere(void (*attempt)(const test_case *test, test_variant *variant)) {
    for (int c = 0; c < CASES; c++)
        for (int v = 0; v < test_variant_count(); v++)
            if (test_variant_concerns(test_variant_at(v), cases[c].op)) attempt(&cases[c], test_variant_at(v));
}

static int64_t out_columns(const test_trial *trial, int slot) {
    return trial->tensor[slot].output ? trial->tensor[slot].cols : 0;
}

/* Row `row` of each out is NaN throughout; a norm's entries other than `col` are zero if `zeros`. */
static void expect_poisoned(const test_trial *trial, int64_t row, int64_t col, bool zeros) {
    for (int slot = SLOT_OUT; slot < SLOT_COUNT; slot++)
        for (int64_t n = 0; n < out_columns(trial, slot); n++) {
            const float value = test_trial_result(trial, slot, row, n);
            const bool zero = zeros && trial->test.op == NORMA_OP_RMSNORM && n != col;
            if (zero ? value != 0 : !isnan(value)) fail_msg("row %" PRId64 " col %" PRId64 " is %g", row, n, (double)value);
        }
}

static void poison_one_row(const test_case *test, test_variant *variant, float poison) {
    test_trial *clean = test_computed(test, variant, seed_of(test));
    if (!clean) return;
    const int64_t rows[] = {0, test->m / 2, test->m - 1};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const int64_t row = rows[i];
        const int64_t col = test->k - 1 - row % test->k;
        test_trial *poisoned = test_trial_create(test, seed_of(test), false);
        test_trial_set(poisoned, SLOT_X, row, col, poison);
        assert_true(test_compute(poisoned, variant, "one poisoned row"));
        expect_poisoned(poisoned, row, col, isinf(poison));
        if (!test_rows_equal(clean, 0, poisoned, 0, row) ||
            !test_rows_equal(clean, row + 1, poisoned, row + 1, test->m - row - 1))
            fail_msg("%s: %g in row %" PRId64 " changed another row", variant->name, (double)poison, row);
        test_trial_destroy(poisoned);
    }
    test_trial_destroy(clean);
}

static void poison_nan(const test_case *test, test_variant *variant) {
    poison_one_row(test, variant, NAN);
}

static void poison_infinity(const test_case *test, test_variant *variant) {
    poison_one_row(test, variant, INFINITY);
    poison_one_row(test, variant, -INFINITY);
}

static void nan_stays_in_its_row(void **state) {
    (void)state;
    everywhere(poison_nan);
}

static void infinity_stays_in_its_row(void **state) {
    (void)state;
    everywhere(poison_infinity);
}

/* All variants of the CPU that choose their own route on the best instruction set differ in threads only. */
static void number_of_threads_does_not_change_batch_invariant_bits(void **state) {
    (void)state;
    const test_variant *one = test_variant_default("cpu");
    if (!one) skip();
    for (int c = 0; c < CASES; c++) {
        test_case test = cases[c];
        test.flags |= NORMA_BATCH_INVARIANT;
        test.m = 130;
        test_trial *first = test_computed(&test, test_variant_default("cpu"), seed_of(&test));
        for (int v = 0; v < test_variant_count(); v++) {
            test_variant *other = test_variant_at(v);
            if (strcmp(other->backend, "cpu") != 0 || other->kernel || other->target >= 0) continue;
            test_trial *again = test_computed(&test, other, seed_of(&test));
            if (!test_trials_equal(first, again)) fail_msg("%s: %s: bits depend on the threads", other->name, test.name);
            test_trial_destroy(again);
        }
        test_trial_destroy(first);
    }
}

/* Whatever blocks and threads tell each other, and in whatever order they come. */
static void repeat(const test_case *test, test_variant *variant) {
    test_case more = *test;
    more.m = 300;
    test_trial *first = test_computed(&more, variant, seed_of(test));
    if (!first) return;
    for (int i = 0; i < 5; i++) {
        test_trial *again = test_computed(&more, variant, seed_of(test));
        if (!test_trials_equal(first, again)) fail_msg("%s: %s: run %d has other bits", variant->name, test->name, i + 2);
        test_trial_destroy(again);
    }
    test_trial_destroy(first);
}

static void a_repeated_call_gives_the_same_bits(void **state) {
    (void)state;
    everywhere(repeat);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nan_stays_in_its_row),
        cmocka_unit_test(infinity_stays_in_its_row),
        cmocka_unit_test(a_repeated_call_gives_the_same_bits),
        cmocka_unit_test(number_of_threads_does_not_change_batch_invariant_bits),
    };
    return test_group_run("rows", tests, sizeof tests / sizeof tests[0]);
}
