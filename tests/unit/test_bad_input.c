/* Bad input, one row of a table for each way of being wrong: its own status, a sentence that names the argument and its
 * value, no byte of any tensor changed, no launch, nothing leaked. Each row is tried as a one-shot call and as a plan. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "expect.h"
#include "fake_backend.h"
#include "front/plan.h"
#include "front/validate.h"
#include "inputs.h"

typedef struct bad_row {
    const char *name;
    norma_status status;
    void (*change)(input_desc *desc, input_args *args);
    const char *needle;
} bad_row;

#define BAD_JOIN_EXPANDED(stem, name) stem##_##name
#define BAD_JOIN(stem, name)          BAD_JOIN_EXPANDED(stem, name)

#define STEM     rmsnorm
#define DESC     norma_rmsnorm_desc
#define ARGS     norma_rmsnorm_args
#define BAD_ROWS "bad_rmsnorm.def"
#include "bad_rows.inc"
#define STEM     linear
#define DESC     norma_rmsnorm_linear_desc
#define ARGS     norma_rmsnorm_linear_args
#define BAD_ROWS "bad_linear.def"
#include "bad_rows.inc"
#define STEM     rmsnorm_backward
#define DESC     norma_rmsnorm_backward_desc
#define ARGS     norma_rmsnorm_backward_args
#define BAD_ROWS "bad_rmsnorm_backward.def"
#include "bad_rows.inc"
#define STEM     linear_backward
#define DESC     norma_rmsnorm_linear_backward_desc
#define ARGS     norma_rmsnorm_linear_backward_args
#define BAD_ROWS "bad_linear_backward.def"
#include "bad_rows.inc"
#define STEM     fold
#define DESC     norma_fold_gamma_desc
#define ARGS     norma_fold_gamma_args
#define BAD_ROWS "bad_fold.def"
#include "bad_rows.inc"

#define ROWS(rows) rows, sizeof rows / sizeof rows[0]
static const struct {
    const bad_row *rows;
    size_t count;
} tables[INPUT_OPERATIONS] = {
    [INPUT_RMSNORM] = {ROWS(rmsnorm_rows)},
    [INPUT_LINEAR] = {ROWS(linear_rows)},
    [INPUT_RMSNORM_BACKWARD] = {ROWS(rmsnorm_backward_rows)},
    [INPUT_LINEAR_BACKWARD] = {ROWS(linear_backward_rows)},
    [INPUT_FOLD] = {ROWS(fold_rows)},
};

static void expect_refused(norma_context *context, const input_operation *operation, const bad_row *row) {
    char label[128];
    input_desc desc;
    input_args args;
    snprintf(label, sizeof label, "%s, %s", operation->name, row->name);
    operation->fill(&desc, &args);
    row->change(&desc, &args);
    expect_sentence(label, operation->call(context, &desc, &args), row->status, row->needle);
    if (operation->create)
        expect_sentence(label, inputs_plan_and_run(operation, context, &desc, &args), row->status, row->needle);
    inputs_expect_untouched(label);
    assert_int_equal(fake.live_launches, 0);
}

static void bad_input_is_refused(void **state) {
    for (int o = 0; o < INPUT_OPERATIONS; o++) {
        assert_true(tables[o].count > 10);
        for (size_t i = 0; i < tables[o].count; i++) expect_refused(*state, &input_operations[o], &tables[o].rows[i]);
    }
}

static void null_objects_are_named(void **state) {
    const norma_status null = NORMA_ERROR_NULL_POINTER;
    for (int o = 0; o < INPUT_OPERATIONS; o++) {
        const input_operation *operation = &input_operations[o];
        const char *name = operation->name;
        input_desc desc;
        input_args args;
        norma_plan *plan;
        operation->fill(&desc, &args);
        expect_sentence(name, operation->call(NULL, &desc, &args), null, "context is NULL");
        expect_sentence(name, operation->call(*state, NULL, &args), null, "desc is NULL");
        expect_sentence(name, operation->call(*state, &desc, NULL), null, "args is NULL");
        if (!operation->create) continue;
        expect_sentence(name, operation->create(*state, &desc, NULL), null, "out_plan is NULL");
        expect_sentence(name, operation->create(NULL, &desc, &plan), null, "context is NULL");
        assert_null(plan);
        plan = *state;
        expect_sentence(name, operation->create(*state, NULL, &plan), null, "desc is NULL");
        assert_null(plan);
        expect_sentence(name, operation->run(NULL, &args), null, "plan is NULL");

        EXPECT_OK(operation->create(*state, &desc, &plan));
        expect_sentence(name, operation->run(plan, NULL), null, "args is NULL");
        EXPECT_FAILURE(norma_plan_get_info(plan, 1, NULL), null, "out_info is NULL");
        norma_plan_destroy(plan);
    }
    norma_plan_info info = {.struct_size = sizeof info};
    EXPECT_FAILURE(norma_plan_get_info(NULL, 1, &info), null, "plan is NULL");
    norma_plan_destroy(NULL);
    inputs_expect_untouched("null objects");
}

static void plan_of_another_operation_is_refused(void **state) {
    for (int made = 0; made < INPUT_FOLD; made++) {
        input_desc desc;
        input_args args;
        norma_plan *plan;
        input_operations[made].fill(&desc, &args);
        EXPECT_OK(input_operations[made].create(*state, &desc, &plan));
        for (int run = 0; run < INPUT_FOLD; run++) {
            if (run == made) continue;
            char creator[64];
            snprintf(creator, sizeof creator, "%s_plan_create", input_operations[run].name);
            input_operations[run].fill(&desc, &args);
            expect_sentence(creator, input_operations[run].run(plan, &args), NORMA_ERROR_PLAN_KIND, creator);
        }
        norma_plan_destroy(plan);
    }
    inputs_expect_untouched("plans of other operations");
}

static void plan_refuses_more_rows_than_it_was_made_for(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    desc.max_rows = 256;
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_linear_plan_create(*state, &desc, &plan));
    args.m = 257;
    EXPECT_FAILURE(norma_rmsnorm_linear_plan_run(plan, &args), NORMA_ERROR_ROWS, "args.m is 257, but desc.max_rows is 256");
    norma_plan_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_plan_get_info(plan, 256, &info));
    EXPECT_FAILURE(norma_plan_get_info(plan, 257, &info), NORMA_ERROR_ROWS, "m is 257");
    EXPECT_FAILURE(norma_plan_get_info(plan, -1, &info), NORMA_ERROR_SIZE, "m is -1");
    info.struct_size = 7;
    EXPECT_FAILURE(norma_plan_get_info(plan, 1, &info), NORMA_ERROR_STRUCT_SIZE, "out_info.struct_size is 7");
    norma_plan_destroy(plan);

    desc.max_rows = 2;
    EXPECT_OK(norma_rmsnorm_linear_plan_create(*state, &desc, &plan));
    args.m = 3;
    EXPECT_FAILURE(norma_rmsnorm_linear_plan_run(plan, &args), NORMA_ERROR_ROWS, "args.m is 3, but desc.max_rows is 2");
    norma_plan_destroy(plan);
    inputs_expect_untouched("too many rows");
}

static void opaque_buffers_are_compared_by_handle(void **state) {
    norma_context_destroy(*state);
    fake.opaque_buffers = true;
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    *state = context;

    /* Neighbouring handles: as addresses, these tensors would overlap and be misaligned. */
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = 8;
    desc.x.dtype = desc.out.dtype = NORMA_F32;
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = 3;
    args.x = (norma_buffer){&input_memory[0][1], 0};
    args.out = (norma_buffer){&input_memory[0][2], 0};
    EXPECT_OK(norma_rmsnorm(context, &desc, &args));
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_plan_create(context, &desc, &plan));
    EXPECT_OK(norma_rmsnorm_plan_run(plan, &args));
    args.out = (norma_buffer){&input_memory[0][1], 4};
    EXPECT_FAILURE(norma_rmsnorm_plan_run(plan, &args), NORMA_ERROR_ALIAS, "overlaps args.x");
    args.out = (norma_buffer){&input_memory[0][1], 98};
    EXPECT_FAILURE(norma_rmsnorm_plan_run(plan, &args), NORMA_ERROR_ALIGNMENT, "args.out begins at 0x");
    args.out = (norma_buffer){&input_memory[0][1], 96};
    EXPECT_OK(norma_rmsnorm_plan_run(plan, &args));
    norma_plan_destroy(plan);
}

/* Operations without a public function come here as problems. */
static void internal_problems_are_checked_too(void **state) {
    (void)state;
    norma_problem product = {.op = NORMA_OP_LINEAR, .batch = 1, .m = 3, .k = 8, .parts = 1, .desc_parts = 1};
    product.x = (norma_tensor){input_region(0), {NORMA_F32, 8, 1, 0}};
    product.part[0].n = 4;
    product.part[0].weight = (norma_tensor){input_region(1), {NORMA_F32, 4, 1, 0}};
    product.part[0].out = (norma_tensor){input_region(2), {NORMA_F32, 4, 1, 0}};
    EXPECT_OK(norma_problem_check(&product));
    product.part[0].out.buffer = product.x.buffer;
    EXPECT_FAILURE(norma_problem_check(&product), NORMA_ERROR_ALIAS, "args.part[0].out at 0x");

    norma_problem stream = {.op = NORMA_OP_STREAM_COPY, .batch = 1, .m = 3, .k = 8};
    stream.x = (norma_tensor){input_region(0), {NORMA_F32, 8, 1, 0}};
    stream.out = (norma_tensor){input_region(1), {NORMA_F32, 8, 1, 0}};
    EXPECT_OK(norma_problem_check(&stream));
    stream.out.layout.row_stride = 4;
    EXPECT_FAILURE(norma_problem_check(&stream), NORMA_ERROR_SELF_OVERLAP, "out overlaps itself");
    stream.op = NORMA_OP_STREAM_READ;
    EXPECT_OK(norma_problem_check(&stream));
    stream.out.buffer = stream.x.buffer;
    EXPECT_FAILURE(norma_problem_check(&stream), NORMA_ERROR_ALIAS, "overlaps args.x");
}

static void internal_runs_are_held_to_the_plans_rows(void **state) {
    norma_rmsnorm_desc desc;
    norma_rmsnorm_args args;
    rmsnorm_inputs(&desc, &args);
    norma_problem problem;
    EXPECT_OK(norma_problem_from_rmsnorm(&desc, &problem));
    norma_plan *plan;
    EXPECT_OK(norma_plan_create(*state, &problem, 2, NULL, &plan));
    EXPECT_OK(norma_problem_bind_rmsnorm(&problem, &args));
    EXPECT_FAILURE(norma_plan_run(plan, &problem), NORMA_ERROR_ROWS,
                   "3 rows were given, but the plan was made for at most 2");
    norma_plan_destroy(plan);
    inputs_expect_untouched("too many rows");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        INPUT_TEST(bad_input_is_refused),
        INPUT_TEST(null_objects_are_named),
        INPUT_TEST(plan_of_another_operation_is_refused),
        INPUT_TEST(plan_refuses_more_rows_than_it_was_made_for),
        INPUT_TEST(opaque_buffers_are_compared_by_handle),
        INPUT_TEST(internal_problems_are_checked_too),
        INPUT_TEST(internal_runs_are_held_to_the_plans_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
