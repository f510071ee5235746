/* What a graph that a program captures from calls on its own stream relies on: the memory that the captured kernels use
 * stays, and nothing that a call does on the way ends the capture. On a driver that runs nothing. */
#include <stdlib.h>

#include "expect.h"
#include "gpu_fake_driver.h"

enum { K = 64, N = 48, ROWS = 100, PAST_BRACKETS = 131073, MORE_ROWS = 140000, PAST_CACHE = 300 };

typedef struct fixture {
    norma_context *context;
    char stream;
    void *x, *weight, *out;
} fixture;

static int set_up(void **state) {
    fake_gpu_reset();
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    EXPECT_OK(fake_gpu_context(&f->stream, &f->context));
    EXPECT_OK(norma_alloc(f->context, (size_t)MORE_ROWS * K * 2, &f->x));
    EXPECT_OK(norma_alloc(f->context, K * N * 2, &f->weight));
    EXPECT_OK(norma_alloc(f->context, (size_t)MORE_ROWS * N * 2, &f->out));
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    fake_gpu.capturing = NULL;
    EXPECT_OK(norma_free(f->context, f->x));
    EXPECT_OK(norma_free(f->context, f->weight));
    EXPECT_OK(norma_free(f->context, f->out));
    norma_context_destroy(f->context);
    fake_gpu_expect_clean("capture", NULL);
    free(f);
    return 0;
}

/* The caller, who may be an engine with a mode of its own, begins and ends the capture. */
static void begin_capture(fixture *f) {
    fake_gpu.capturing = &f->stream;
}

static void end_capture(void) {
    fake_gpu.capturing = NULL;
    assert_false(fake_gpu.capture_broken);
}

/* A description of its own for each number, for the kernel that keeps words between launches. */
static norma_rmsnorm_linear_desc desc_number(int number) {
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = K;
    desc.eps = 1e-6f * (float)(1 + number);
    desc.x.dtype = NORMA_BF16;
    desc.part[0].n = N;
    desc.part[0].weight = norma_layout_transposed(NORMA_BF16, K);
    desc.part[0].out.dtype = NORMA_BF16;
    return desc;
}

static norma_rmsnorm_linear_args args_of(const fixture *f, int64_t m) {
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = m;
    args.x.data = f->x;
    args.part[0].weight.data = f->weight;
    args.part[0].out.data = f->out;
    return args;
}

static norma_status call(const fixture *f, int number, int64_t m) {
    const norma_rmsnorm_linear_desc desc = desc_number(number);
    const norma_rmsnorm_linear_args args = args_of(f, m);
    return norma_rmsnorm_linear(f->context, &desc, &args);
}

/* The last launch's arguments, as a graph would keep them. */
static norma_hopper_params captured(void) {
    assert_in_range(fake_gpu.launched, 1, FAKE_GPU_MAX_LAUNCHES);
    const fake_gpu_launch *launch = &fake_gpu.launches[fake_gpu.launched - 1];
    assert_int_equal(strncmp(launch->function, "rmsnorm_linear_hopper", 21), 0);
    return launch->hopper;
}

static void expect_words(const norma_hopper_params *params) {
    assert_true(fake_gpu_holds(params->launches) && fake_gpu_holds(params->launches + 1));
    assert_true(fake_gpu_holds(params->rstd) && fake_gpu_holds(params->rstd + params->rows - 1));
}

static void words_stay_when_a_plan_leaves_the_cache(void **state) {
    fixture *f = *state;
    EXPECT_OK(call(f, 0, ROWS));
    const norma_hopper_params params = captured();
    expect_words(&params);
    for (int number = 1; number < PAST_CACHE; number++) EXPECT_OK(call(f, number, ROWS));
    expect_words(&params);
}

static void words_stay_when_a_plan_meets_more_rows(void **state) {
    fixture *f = *state;
    const norma_rmsnorm_linear_desc desc = desc_number(0);
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_linear_plan_create(f->context, &desc, &plan));
    norma_rmsnorm_linear_args args = args_of(f, PAST_BRACKETS);
    EXPECT_OK(norma_rmsnorm_linear_plan_run(plan, &args));
    const norma_hopper_params fewer = captured();
    args.m = MORE_ROWS;
    EXPECT_OK(norma_rmsnorm_linear_plan_run(plan, &args));
    const norma_hopper_params more = captured();
    expect_words(&fewer);
    expect_words(&more);
    norma_plan_destroy(plan);
    expect_words(&fewer);
    expect_words(&more);
}

/* They are counted on from launch to launch, so new ones begin with zeros, and old ones are not written. */
static void words_begin_with_zeros_and_are_shared(void **state) {
    fixture *f = *state;
    EXPECT_OK(call(f, 0, ROWS));
    const norma_hopper_params first = captured();
    assert_true(first.launches[0] == 0 && first.launches[1] == 0);
    for (int row = 0; row < first.rows; row++) assert_true(first.rstd[row] == 0);
    first.launches[0] = 5;
    EXPECT_OK(call(f, 1, ROWS));
    const norma_hopper_params second = captured();
    assert_ptr_equal(second.launches, first.launches);
    assert_int_equal(first.launches[0], 5);
    EXPECT_OK(call(f, 2, MORE_ROWS));
    const norma_hopper_params third = captured();
    assert_true(third.launches[0] == 0 && third.launches[1] == 0);
    for (int row = 0; row < third.rows; row++) assert_true(third.rstd[row] == 0);
    assert_int_equal(first.launches[0], 5);
}

static void a_full_cache_does_not_end_a_capture(void **state) {
    fixture *f = *state;
    for (int number = 0; number < PAST_CACHE; number++) {
        begin_capture(f);
        EXPECT_OK(call(f, number, ROWS));
        end_capture();
    }
}

static void more_rows_do_not_end_a_capture(void **state) {
    fixture *f = *state;
    EXPECT_OK(call(f, 0, PAST_BRACKETS));
    begin_capture(f);
    EXPECT_OK(call(f, 0, MORE_ROWS));
    end_capture();
}

/* Of whatever else is in the process. */
static void memory_comes_and_goes_while_another_stream_is_captured(void **state) {
    fixture *f = *state;
    char other;
    void *data;
    fake_gpu.capturing = &other;
    EXPECT_OK(norma_alloc(f->context, 100, &data));
    EXPECT_OK(norma_free(f->context, data));
    const norma_rmsnorm_linear_desc desc = desc_number(0);
    const norma_rmsnorm_linear_args args = args_of(f, ROWS);
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_linear_plan_create(f->context, &desc, &plan));
    EXPECT_OK(norma_rmsnorm_linear_plan_run(plan, &args));
    norma_plan_destroy(plan);
    end_capture();
}

static void a_failed_call_does_not_end_a_capture(void **state) {
    fixture *f = *state;
    int failed = 0;
    for (int next = 1;; next++) {
        begin_capture(f);
        fake_gpu.fail_at = fake_gpu.calls + next;
        fake_gpu.fail_result = GPU_ERROR_OUT_OF_MEMORY;
        /* More rows each time, so that all is prepared anew. */
        const norma_status status = call(f, 0, PAST_BRACKETS + next);
        const bool reached = fake_gpu.calls >= fake_gpu.fail_at;
        fake_gpu.fail_at = 0;
        /* A driver without modes cannot be asked for one. */
        if (reached && fake_gpu.failed == GPU_FN_capture_mode) fake_gpu.capture_mode = fake_gpu.capture_broken = 0;
        end_capture();
        if (!reached) {
            EXPECT_OK(status);
            break;
        }
        failed += status != NORMA_OK;
    }
    assert_true(failed > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(words_stay_when_a_plan_leaves_the_cache, set_up, tear_down),
        cmocka_unit_test_setup_teardown(words_stay_when_a_plan_meets_more_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(words_begin_with_zeros_and_are_shared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_cache_does_not_end_a_capture, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_rows_do_not_end_a_capture, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_comes_and_goes_while_another_stream_is_captured, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_call_does_not_end_a_capture, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
