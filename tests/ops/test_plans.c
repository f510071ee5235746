/* One plan, many values of m; its limits; and two contexts on two threads. */
#include <inttypes.h>
#include <pthread.h>

#include "harness/cache_folder.h"
#include "harness/case_names.h"
#include "harness/suite.h"

static const test_case cases[] = {{.name = "norm",
                                   .op = NORMA_OP_RMSNORM,
                                   .k = 111,
                                   .x = BF16,
                                   .gamma = BF16,
                                   .out = BF16,
                                   .contract = TWICE,
                                   .rstd = true},
                                  {.name = "norm with residual",
                                   .op = NORMA_OP_RMSNORM,
                                   .k = 64,
                                   .x = F32,
                                   .residual = F32,
                                   .residual_out = true,
                                   .gamma = F32,
                                   .out = F32,
                                   .rstd = true},
                                  {.name = "linear",
                                   .op = NORMA_OP_RMSNORM_LINEAR,
                                   .k = 111,
                                   .n = {70},
                                   .x = F32,
                                   .gamma = F32,
                                   .weight = F32,
                                   .bias = F32,
                                   .out = F32},
                                  {.name = "linear with residual",
                                   .op = NORMA_OP_RMSNORM_LINEAR,
                                   .k = 300,
                                   .n = {33, 40},
                                   .arranged = {[ROLE_WEIGHT] = COLUMNS},
                                   .x = BF16,
                                   .residual = BF16,
                                   .residual_out = true,
                                   .gamma = BF16,
                                   .weight = BF16,
                                   .out = BF16,
                                   .contract = TWICE,
                                   .rstd = true},
                                  {.name = "linear of halves",
                                   .op = NORMA_OP_RMSNORM_LINEAR,
                                   .k = 96,
                                   .n = {65},
                                   .x = F16,
                                   .weight = F16,
                                   .bias = F16,
                                   .out = F16},
                                  {.name = "gradients of a norm",
                                   .op = NORMA_OP_RMSNORM_BACKWARD,
                                   .k = 64,
                                   .x = BF16,
                                   .gamma = BF16,
                                   .out = BF16,
                                   .dx = BF16,
                                   .dgamma = F32},
                                  {.name = "gradients",
                                   .op = NORMA_OP_RMSNORM_LINEAR_BACKWARD,
                                   .k = 96,
                                   .n = {33, 40},
                                   .arranged = {[ROLE_WEIGHT] = COLUMNS, [ROLE_DWEIGHT] = COLUMNS},
                                   .x = BF16,
                                   .gamma = BF16,
                                   .weight = BF16,
                                   .out = BF16,
                                   .dx = BF16,
                                   .dgamma = BF16,
                                   .dweight = F32,
                                   .dbias = BF16},
                                  {.name = "gradients without dx",
                                   .op = NORMA_OP_RMSNORM_LINEAR_BACKWARD,
                                   .k = 111,
                                   .n = {70},
                                   .x = F32,
                                   .gamma = F32,
                                   .weight = F32,
                                   .out = F32,
                                   .dgamma = F32,
                                   .dweight = F32}};

enum { CASES = sizeof cases / sizeof cases[0] };

static const int64_t row_counts[] = {1, 70, 3, 8, 9, 0, 16, 33, 64, 65, 1};

static test_trial *trial_of(const test_case *test, int64_t m, int64_t max_rows) {
    test_case changed = *test;
    changed.m = m;
    changed.max_rows = max_rows;
    return test_trial_create(&changed, test_seed_for(test->name), true);
}

/* False if a forced kernel refuses, which a plan without max_rows finds out when it first meets the m. */
static bool run_planned(const test_case *test, test_variant *variant, norma_plan *plan, int64_t m) {
    test_trial *trial = trial_of(test, m, 0);
    const norma_status status = test_trial_run_plan(trial, variant->context, plan);
    const bool refused = status == NORMA_ERROR_UNSUPPORTED && variant->kernel;
    if (status && !refused) fail_msg("%s: %s", variant->name, norma_last_error());
    if (!refused) {
        const test_verdict verdict = test_trial_judge(trial);
        if (!verdict.passed) fail_msg("%s: m %" PRId64 ": %s", variant->name, m, verdict.text);
    }
    test_trial_destroy(trial);
    return !refused;
}

static void refuse_more(const test_case *test, test_variant *variant, norma_plan *plan, int64_t m) {
    test_trial *trial = trial_of(test, m, 0);
    assert_int_equal(test_trial_run_plan(trial, variant->context, plan), NORMA_ERROR_ROWS);
    assert_true(test_trial_untouched(trial));
    test_trial_destroy(trial);
}

static void run_many(int64_t max_rows) {
    for (int c = 0; c < CASES; c++)
        for (int v = 0; v < test_variant_count(); v++) {
            test_variant *variant = test_variant_at(v);
            if (!test_variant_concerns(variant, cases[c].op)) continue;
            test_trial *described = trial_of(&cases[c], 1, max_rows);
            norma_plan *plan;
            const norma_status status = test_trial_plan(described, variant->context, &plan);
            test_trial_destroy(described);
            if (status == NORMA_ERROR_UNSUPPORTED && variant->kernel) continue;
            if (status) fail_msg("%s: %s", variant->name, norma_last_error());
            bool computed = true;
            for (size_t i = 0; computed && i < sizeof row_counts / sizeof row_counts[0]; i++)
                computed = run_planned(&cases[c], variant, plan, row_counts[i]);
            *(computed ? &variant->ran : &variant->refused) += 1;
            if (max_rows > 0) refuse_more(&cases[c], variant, plan, max_rows + 1);
            norma_plan_destroy(plan);
        }
}

static void a_plan_runs_with_many_m(void **state) {
    (void)state;
    run_many(70);
}

static void a_plan_without_max_rows_runs_with_many_m(void **state) {
    (void)state;
    run_many(0);
}

/* Few brackets, since each takes its time. */
enum { TIMED_ROWS = 4 };

/* Whichever routes the clock prefers; the second time from what the first has kept. */
static void a_plan_that_times_its_routes_is_right(void **state) {
    (void)state;
    assert_int_equal(test_cache_make(), 0);
    for (int c = 0; c < CASES; c++)
        for (int v = 0; v < 2 * test_variant_count(); v++) {
            test_variant *variant = test_variant_at(v / 2);
            if (variant != test_variant_default(variant->backend)) continue;
            test_case timed = cases[c];
            timed.flags |= NORMA_TIME_ROUTES;
            test_trial *described = trial_of(&timed, 1, TIMED_ROWS);
            norma_plan *plan;
            if (test_trial_plan(described, variant->context, &plan)) fail_msg("%s: %s", variant->name, norma_last_error());
            test_trial_destroy(described);
            for (int64_t m = 1; m <= TIMED_ROWS; m++) assert_true(run_planned(&timed, variant, plan, m));
            norma_plan_destroy(plan);
        }
    char path[TEST_CACHE_PATH_BYTES];
    assert_true(test_cache_files(path) > 0);
    assert_int_equal(test_cache_drop(), 0);
}

/* ---- Threads ---- */

enum { THREADS = 2, ROUNDS = 3 };

typedef struct thread_work {
    const char *backend;
    test_trial *trials[CASES];
    norma_status status;
} thread_work;

static void *work(void *user) {
    thread_work *mine = user;
    norma_context_desc desc = norma_context_desc_init();
    desc.backend = mine->backend;
    norma_context *context;
    mine->status = norma_context_create(&desc, &context);
    for (int round = 0; round < ROUNDS && !mine->status; round++)
        for (int c = 0; c < CASES && !mine->status; c++)
            mine->status = test_trial_run(mine->trials[c], context, round % 2 ? PATH_PLAN : PATH_ONE_SHOT);
    norma_context_destroy(context);
    return NULL;
}

static void two_contexts_on_two_threads_give_the_same_bits(void **state) {
    (void)state;
    for (int v = 0; v < test_variant_count(); v++) {
        const char *const backend = test_variant_at(v)->backend;
        if (test_variant_default(backend) != test_variant_at(v)) continue;
        thread_work works[THREADS];
        pthread_t threads[THREADS];
        for (int t = 0; t < THREADS; t++) {
            works[t].backend = backend;
            for (int c = 0; c < CASES; c++) works[t].trials[c] = trial_of(&cases[c], 20, 0);
        }
        for (int t = 0; t < THREADS; t++) assert_int_equal(pthread_create(&threads[t], NULL, work, &works[t]), 0);
        for (int t = 0; t < THREADS; t++) pthread_join(threads[t], NULL);
        for (int t = 0; t < THREADS; t++) assert_int_equal(works[t].status, NORMA_OK);
        for (int c = 0; c < CASES; c++) {
            assert_true(test_trial_judge(works[0].trials[c]).passed);
            assert_true(test_trials_equal(works[0].trials[c], works[1].trials[c]));
            for (int t = 0; t < THREADS; t++) test_trial_destroy(works[t].trials[c]);
        }
    }
}

/* Calls are prepared for the most rows of their bracket, here 2048; 1900 rows make fewer and larger chunks of the CPU's
 * tiled kernel. In contexts of their own, whose scratch no other call has enlarged. */
static void fewer_rows_may_make_larger_chunks(void **state) {
    (void)state;
    const test_case test = {.name = "larger chunks",
                            .op = NORMA_OP_RMSNORM_LINEAR,
                            .m = 1900,
                            .k = 4096,
                            .n = {16},
                            .x = F32,
                            .weight = F32,
                            .out = F32};
    for (int i = 0; i < test_variant_count(); i++) {
        test_variant own = *test_variant_at(i);
        if (!own.kernel || strcmp(own.kernel, "rmsnorm_linear_tiled") != 0) continue;
        own.context = test_variant_context(&own);
        test_trial *trial = test_computed(&test, &own, test_seed_for(test.name));
        if (trial) test_trial_destroy(trial);
        norma_context_destroy(own.context);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fewer_rows_may_make_larger_chunks),
        cmocka_unit_test(a_plan_runs_with_many_m),
        cmocka_unit_test(a_plan_without_max_rows_runs_with_many_m),
        cmocka_unit_test(a_plan_that_times_its_routes_is_right),
        cmocka_unit_test(two_contexts_on_two_threads_give_the_same_bits),
    };
    return test_group_run("plans", tests, sizeof tests / sizeof tests[0]);
}
