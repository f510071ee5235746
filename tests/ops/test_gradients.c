/* What gradients promise beyond their bounds: the same call gives the same bits, on any number of threads; and in
 * batch-invariant mode a row of dx does not depend on the other rows, on their number or on its place. */
#include <inttypes.h>

#include "harness/case_names.h"
#include "harness/suite.h"

static const test_case cases[] = {{.name = "norm",
                                   .op = NORMA_OP_RMSNORM_BACKWARD,
                                   .m = 700,
                                   .k = 111,
                                   .residual = F32,
                                   .x = F32,
                                   .gamma = F32,
                                   .out = F32,
                                   .dx = F32,
                                   .dgamma = F32},
                                  {.name = "norm",
                                   .op = NORMA_OP_RMSNORM_BACKWARD,
                                   .m = 3000,
                                   .k = 256,
                                   .x = BF16,
                                   .gamma = BF16,
                                   .out = BF16,
                                   .dx = BF16,
                                   .dgamma = BF16},
                                  {.name = "norm",
                                   .op = NORMA_OP_RMSNORM_BACKWARD,
                                   .m = 300,
                                   .k = 64,
                                   .x = F16,
                                   .gamma = F32,
                                   .out = F16,
                                   .dx = F16,
                                   .dgamma = F32},
                                  {.name = "linear",
                                   .op = NORMA_OP_RMSNORM_LINEAR_BACKWARD,
                                   .m = 400,
                                   .k = 96,
                                   .n = {72, 40},
                                   .x = F32,
                                   .gamma = F32,
                                   .weight = F32,
                                   .out = F32,
                                   .dx = F32,
                                   .dgamma = F32,
                                   .dweight = F32,
                                   .dbias = F32},
                                  {.name = "linear",
                                   .op = NORMA_OP_RMSNORM_LINEAR_BACKWARD,
                                   .m = 300,
                                   .k = 111,
                                   .n = {70},
                                   .x = BF16,
                                   .gamma = BF16,
                                   .weight = BF16,
                                   .out = BF16,
                                   .dx = BF16,
                                   .dgamma = BF16,
                                   .dweight = BF16,
                                   .contract = TWICE}};

enum { CASES = sizeof cases / sizeof cases[0], ROWS = 300 };

/* Calls `attempt` for every case on every variant that takes part in its operation. */
static void everywhere(void (*attempt)(const test_case *test, test_variant *variant)) {
    for (int c = 0; c < CASES; c++)
        for (int v = 0; v < test_variant_count(); v++)
            if (test_variant_concerns(test_variant_at(v), cases[c].op)) attempt(&cases[c], test_variant_at(v));
}

static void run_twice(const test_case *test, test_variant *variant) {
    test_trial *first = test_computed(test, variant, test_seed_for(test->name));
    test_trial *again = test_computed(test, variant, test_seed_for(test->name));
    if (first && !test_trials_equal(first, again)) fail_msg("%s: %s: a second run differs", variant->name, test->name);
    if (first) test_trial_destroy(first);
    if (again) test_trial_destroy(again);
}

static void a_second_run_gives_the_same_bits(void **state) {
    (void)state;
    everywhere(run_twice);
}

/* All variants of the CPU that choose their own route on the best instruction set differ in threads only. */
static void number_of_threads_does_not_change_bits(void **state) {
    (void)state;
    if (!test_variant_default("cpu")) skip();
    for (int c = 0; c < CASES; c++) {
        test_trial *first = test_computed(&cases[c], test_variant_default("cpu"), test_seed_for(cases[c].name));
        for (int v = 0; v < test_variant_count(); v++) {
            test_variant *other = test_variant_at(v);
            if (strcmp(other->backend, "cpu") != 0 || other->kernel || other->target >= 0) continue;
            test_trial *again = test_computed(&cases[c], other, test_seed_for(cases[c].name));
            if (!test_trials_equal(first, again)) fail_msg("%s: %s: bits depend on the threads", other->name, cases[c].name);
            test_trial_destroy(again);
        }
        test_trial_destroy(first);
    }
}

/* dx alone, whose rows are the trial's. */
static test_case invariant(const test_case *test, int64_t batch, int64_t m) {
    test_case changed = *test;
    changed.flags |= NORMA_BATCH_INVARIANT;
    changed.batch = batch;
    changed.m = m;
    changed.dgamma = changed.dweight = changed.dbias = NORMA_NONE;
    return changed;
}

/* A trial of one row that holds row `row` of another. */
static test_trial *single_row(const test_trial *whole, int64_t row) {
    const test_case test = invariant(&whole->test, 1, 1);
    test_trial *single = test_trial_create(&test, whole->seed, false);
    for (int slot = 0; slot < SLOT_COUNT; slot++) {
        const test_tensor *tensor = &single->tensor[slot];
        const bool row_of_input = slot == SLOT_X || slot == SLOT_RSTD || slot == SLOT_RESIDUAL || tensor->role == ROLE_OUT;
        if (tensor->layout.dtype == NORMA_NONE || !row_of_input) continue;
        for (int64_t col = 0; col < tensor->cols; col++)
            test_trial_set(single, slot, 0, col, test_trial_get(whole, slot, row, col));
    }
    return single;
}

static void compare_batches(const test_case *test, test_variant *variant) {
    const uint64_t seed = test_seed_for(test->name);
    const test_case most = invariant(test, 1, ROWS);
    test_trial *whole = test_computed(&most, variant, seed);
    if (!whole) return;
    const int64_t shapes[][2] = {{1, 255}, {3, 100}, {1, 2}, {1, 64}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const test_case fewer = invariant(test, shapes[i][0], shapes[i][1]);
        test_trial *part = test_computed(&fewer, variant, seed);
        assert_non_null(part);
        if (!test_rows_equal(whole, 0, part, 0, fewer.batch * fewer.m))
            fail_msg("%s: %s: rows of a batch of %" PRId64 " x %" PRId64 " differ from those among %d", variant->name,
                     test->name, fewer.batch, fewer.m, ROWS);
        test_trial_destroy(part);
    }
    for (int64_t row = 0; row < ROWS; row += 59) {
        test_trial *single = single_row(whole, row);
        assert_true(test_compute(single, variant, "a row alone"));
        if (!test_rows_equal(whole, row, single, 0, 1))
            fail_msg("%s: %s: row %" PRId64 " alone differs from itself among %d", variant->name, test->name, row, ROWS);
        test_trial_destroy(single);
    }
    test_trial_destroy(whole);
}

static void batch_invariant_rows_of_dx(void **state) {
    (void)state;
    everywhere(compare_batches);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_run_gives_the_same_bits),
        cmocka_unit_test(number_of_threads_does_not_change_bits),
        cmocka_unit_test(batch_invariant_rows_of_dx),
    };
    return test_group_run("gradients", tests, sizeof tests / sizeof tests[0]);
}
