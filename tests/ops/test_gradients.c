/* What gradients promise beyond their bounds: the same call gives the same bits, on any number of threads. */
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
                                  {.name = "long rows of batches apart",
                                   .op = NORMA_OP_RMSNORM_BACKWARD,
                                   .m = 3,
                                   .k = 8200,
                                   .all = PADDED,
                                   .x = BF16,
                                   .gamma = BF16,
                                   .out = BF16,
                                   .dx = BF16,
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

enum { CASES = sizeof cases / sizeof cases[0] };

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_run_gives_the_same_bits),
        cmocka_unit_test(number_of_threads_does_not_change_bits),
    };
    return test_group_run("gradients", tests, sizeof tests / sizeof tests[0]);
}
