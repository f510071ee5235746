/* Unusual input that is right: nothing to compute, defaults, batches, tensors in place and between one another, any stride.
 */
#include "expect.h"
#include "fake_backend.h"
#include "inputs.h"

#define PLAN_AND_RUN(operation, member, desc_value, args_value)                                            \
    inputs_plan_and_run(&input_operations[operation], *state, &(const input_desc){.member = (desc_value)}, \
                        &(const input_args){.member = (args_value)})

static void backward_of_nothing_succeeds(void **state) {
    norma_rmsnorm_backward_desc norm_desc;
    norma_rmsnorm_backward_args norm_args;
    rmsnorm_backward_inputs(&norm_desc, &norm_args);
    norm_args = norma_rmsnorm_backward_args_init(); /* m = 0, every pointer NULL */
    EXPECT_FAILURE(norma_rmsnorm_backward(*state, &norm_desc, &norm_args), NORMA_ERROR_NULL_POINTER,
                   "args.dgamma.data is NULL");
    norm_desc.flags = NORMA_ACCUMULATE_DGAMMA;
    EXPECT_OK(norma_rmsnorm_backward(*state, &norm_desc, &norm_args));
    rmsnorm_backward_inputs(&norm_desc, &norm_args);
    norm_desc.dx.dtype = norm_desc.dgamma.dtype = NORMA_NONE;
    norm_args.dx = norm_args.dgamma = (norma_buffer){0};
    EXPECT_OK(norma_rmsnorm_backward(*state, &norm_desc, &norm_args));

    norma_rmsnorm_linear_backward_desc desc;
    norma_rmsnorm_linear_backward_args args;
    linear_backward_inputs(&desc, &args);
    args = norma_rmsnorm_linear_backward_args_init();
    desc.flags = NORMA_ACCUMULATE_DGAMMA | NORMA_ACCUMULATE_DWEIGHT;
    EXPECT_FAILURE(norma_rmsnorm_linear_backward(*state, &desc, &args), NORMA_ERROR_NULL_POINTER,
                   "args.part[0].dbias.data is NULL");
    desc.flags |= NORMA_ACCUMULATE_DBIAS;
    EXPECT_OK(norma_rmsnorm_linear_backward(*state, &desc, &args));
    linear_backward_inputs(&desc, &args);
    desc.dx.dtype = desc.dgamma.dtype = NORMA_NONE;
    args.dx = args.dgamma = (norma_buffer){0};
    for (int p = 0; p < 2; p++) {
        desc.part[p].dweight.dtype = desc.part[p].dbias.dtype = NORMA_NONE;
        args.part[p].dweight = args.part[p].dbias = (norma_buffer){0};
    }
    EXPECT_OK(norma_rmsnorm_linear_backward(*state, &desc, &args));
    norma_plan *plan;
    EXPECT_OK(norma_rmsnorm_linear_backward_plan_create(*state, &desc, &plan));
    norma_plan_info info = {.struct_size = sizeof info};
    EXPECT_OK(norma_plan_get_info(plan, 3, &info));
    assert_string_equal(info.kernel, "none");
    norma_plan_destroy(plan);
    inputs_expect_untouched("nothing to do");
}

static void norm_gradient_may_lie_in_place(void **state) {
    norma_rmsnorm_backward_desc desc;
    norma_rmsnorm_backward_args args;
    rmsnorm_backward_inputs(&desc, &args);
    args.dx = args.dout;
    EXPECT_OK(norma_rmsnorm_backward(*state, &desc, &args));
    rmsnorm_backward_inputs(&desc, &args);
    args.dx = args.dresidual_out;
    EXPECT_OK(norma_rmsnorm_backward(*state, &desc, &args));
}

static void no_rows_and_no_columns_succeed(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    args = norma_rmsnorm_linear_args_init(); /* m = 0, every pointer NULL */
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    EXPECT_OK(PLAN_AND_RUN(INPUT_LINEAR, linear, desc, args));
    args.m = -1;
    EXPECT_FAILURE(norma_rmsnorm_linear(*state, &desc, &args), NORMA_ERROR_SIZE, "args.m is -1");

    linear_inputs(&desc, &args);
    desc.rstd.dtype = desc.residual.dtype = desc.residual_out.dtype = NORMA_NONE;
    args.rstd = args.residual = args.residual_out = (norma_buffer){0};
    desc.part[0].n = desc.part[1].n = 0;
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    args.part[0] = args.part[1] = (norma_linear_part_args){{0}, {0}, {0}};
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    EXPECT_OK(PLAN_AND_RUN(INPUT_LINEAR, linear, desc, args));

    norma_rmsnorm_desc norm_desc;
    norma_rmsnorm_args norm_args;
    rmsnorm_inputs(&norm_desc, &norm_args);
    norm_args = norma_rmsnorm_args_init();
    EXPECT_OK(norma_rmsnorm(*state, &norm_desc, &norm_args));
    EXPECT_OK(PLAN_AND_RUN(INPUT_RMSNORM, rmsnorm, norm_desc, norm_args));

    norma_fold_gamma_desc fold_desc;
    norma_fold_gamma_args fold_args;
    fold_inputs(&fold_desc, &fold_args);
    fold_desc.n = 0;
    EXPECT_OK(norma_fold_gamma(*state, &fold_desc, &fold_args));
    fold_args = norma_fold_gamma_args_init();
    EXPECT_OK(norma_fold_gamma(*state, &fold_desc, &fold_args));
    inputs_expect_untouched("nothing to do");
}

static void linear_without_columns_still_writes_its_side_outputs(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    desc.part[0].n = desc.part[1].n = 0;
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    assert_int_equal(fake.launched, 1);
    assert_int_equal(fake.launches[0].kernel, NORMA_KERNEL_RMSNORM_ROWS);
    assert_int_equal(fake.launches[0].problem.op, NORMA_OP_RMSNORM);
    assert_int_equal(fake.launches[0].problem.out.layout.dtype, NORMA_NONE);
    assert_int_equal(fake.launches[0].problem.residual_out.layout.dtype, NORMA_F32);
}

static void part_without_columns_is_left_out(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    desc.residual.dtype = desc.residual_out.dtype = NORMA_NONE;
    args.residual = args.residual_out = (norma_buffer){0};
    desc.part[0].n = 0;
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    assert_int_equal(fake.launched, 1);
    const norma_problem *problem = &fake.launches[0].problem;
    assert_int_equal(problem->parts, 1);
    assert_int_equal(problem->part[0].index, 1);
    assert_int_equal(problem->part[0].n, 5);
    assert_ptr_equal(problem->part[0].out.buffer.data, args.part[1].out.data);
    args.part[1].out.data = NULL;
    EXPECT_FAILURE(norma_rmsnorm_linear(*state, &desc, &args), NORMA_ERROR_NULL_POINTER, "args.part[1].out.data is NULL");
}

static void defaults_are_filled_in(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    desc.parts = 0; /* one */
    desc.part[1].n = 0;
    args.part[1] = (norma_linear_part_args){{0}, {0}, {0}};
    desc.residual.dtype = desc.residual_out.dtype = NORMA_NONE;
    args.residual = args.residual_out = (norma_buffer){0};
    desc.gamma.row_stride = 1234; /* of a vector over columns: means nothing */
    desc.rstd.col_stride = 1234;  /* of a vector over rows: likewise */
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
    const norma_problem *problem = &fake.launches[0].problem;
    assert_int_equal(problem->parts, 1);
    assert_int_equal(problem->batch, 1);
    assert_int_equal(problem->m, 3);
    assert_int_equal(problem->x.layout.row_stride, 8);
    assert_int_equal(problem->x.layout.col_stride, 1);
    assert_int_equal(problem->gamma.layout.col_stride, 1);
    assert_int_equal(problem->gamma.layout.row_stride, 8);
    assert_int_equal(problem->rstd.layout.row_stride, 1);
    assert_int_equal(problem->rstd.layout.col_stride, 1);
    assert_int_equal(problem->part[0].weight.layout.row_stride, 4);
    assert_int_equal(problem->part[0].out.layout.row_stride, 4);
}

static void batches_are_flattened_where_they_can_be(void **state) {
    norma_rmsnorm_desc desc;
    norma_rmsnorm_args args;
    rmsnorm_inputs(&desc, &args);
    args.batch = 4;
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
    assert_int_equal(fake.launches[0].problem.batch, 1);
    assert_int_equal(fake.launches[0].problem.m, 12);

    desc.out.batch_stride = 25; /* one element more than 3 rows of 8 */
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
    const norma_problem *problem = &fake.launches[1].problem;
    assert_int_equal(problem->batch, 4);
    assert_int_equal(problem->m, 3);
    assert_int_equal(problem->out.layout.batch_stride, 25);
    assert_int_equal(problem->x.layout.batch_stride, 24);
    assert_int_equal(problem->rstd.layout.batch_stride, 3);
}

static void in_place_and_interleaved_calls_are_right(void **state) {
    norma_rmsnorm_desc desc;
    norma_rmsnorm_args args;
    rmsnorm_inputs(&desc, &args);
    args.out = args.x;
    args.residual_out = args.residual;
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
    rmsnorm_inputs(&desc, &args);
    args.residual_out = args.x;
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
    rmsnorm_inputs(&desc, &args);
    args.residual = args.x; /* inputs may overlap as they like */
    args.gamma = args.x;
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));

    /* x, out 0 and out 1 as column slices of one array with rows of 20. */
    norma_rmsnorm_linear_desc linear_desc;
    norma_rmsnorm_linear_args linear_args;
    linear_inputs(&linear_desc, &linear_args);
    linear_desc.x.row_stride = linear_desc.part[0].out.row_stride = linear_desc.part[1].out.row_stride = 20;
    linear_args.part[0].out = linear_args.part[1].out = linear_args.x;
    linear_args.part[0].out.offset_bytes += 8 * sizeof(float);
    linear_args.part[1].out.offset_bytes += 12 * sizeof(float);
    EXPECT_OK(norma_rmsnorm_linear(*state, &linear_desc, &linear_args));
    linear_args.part[1].out.offset_bytes -= sizeof(float);
    EXPECT_FAILURE(norma_rmsnorm_linear(*state, &linear_desc, &linear_args), NORMA_ERROR_ALIAS, "args.part[0].out at 0x");
    linear_inputs(&linear_desc, &linear_args);
    linear_args.residual_out = linear_args.x;
    EXPECT_OK(norma_rmsnorm_linear(*state, &linear_desc, &linear_args));

    norma_fold_gamma_desc fold_desc;
    norma_fold_gamma_args fold_args;
    fold_inputs(&fold_desc, &fold_args);
    fold_args.out = fold_args.weight;
    EXPECT_OK(norma_fold_gamma(*state, &fold_desc, &fold_args));
}

static void inputs_may_repeat_and_be_read_with_any_stride(void **state) {
    norma_rmsnorm_linear_desc desc;
    norma_rmsnorm_linear_args args;
    linear_inputs(&desc, &args);
    desc.x.row_stride = 1; /* rows that overlap: a sliding window, which only reads */
    desc.part[0].weight = norma_layout_transposed(NORMA_F32, 8);
    desc.part[1].weight = norma_layout_strided(NORMA_F32, 3, 2);
    args.part[1].weight = args.part[0].weight;
    EXPECT_OK(norma_rmsnorm_linear(*state, &desc, &args));
}

static void stride_of_a_single_row_or_column_may_be_anything(void **state) {
    norma_rmsnorm_desc desc;
    norma_rmsnorm_args args;
    rmsnorm_inputs(&desc, &args);
    args.m = 1;
    args.out = args.x;
    desc.x.row_stride = desc.x.batch_stride = desc.residual_out.row_stride = INT64_MAX;
    desc.out.row_stride = desc.out.batch_stride = INT64_MAX - 1; /* still the same elements as x */
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
    desc.k = 1;
    desc.x.col_stride = desc.residual_out.col_stride = INT64_MAX;
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
    args.m = 2;
    EXPECT_FAILURE(norma_rmsnorm(*state, &desc, &args), NORMA_ERROR_OVERFLOW, "x spans more than 2^63 - 1 bytes");
}

static void program_with_an_older_header_keeps_working(void **state) {
    /* Today's sizes are those of the first version, short of padding at the end. */
    norma_rmsnorm_desc desc;
    norma_rmsnorm_args args;
    rmsnorm_inputs(&desc, &args);
    assert_int_equal(desc.struct_size, offsetof(norma_rmsnorm_desc, out) + sizeof desc.out);
    assert_int_equal(args.struct_size, offsetof(norma_rmsnorm_args, out) + sizeof args.out);
    EXPECT_OK(norma_rmsnorm(*state, &desc, &args));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        INPUT_TEST(backward_of_nothing_succeeds),
        INPUT_TEST(norm_gradient_may_lie_in_place),
        INPUT_TEST(no_rows_and_no_columns_succeed),
        INPUT_TEST(linear_without_columns_still_writes_its_side_outputs),
        INPUT_TEST(part_without_columns_is_left_out),
        INPUT_TEST(defaults_are_filled_in),
        INPUT_TEST(batches_are_flattened_where_they_can_be),
        INPUT_TEST(in_place_and_interleaved_calls_are_right),
        INPUT_TEST(inputs_may_repeat_and_be_read_with_any_stride),
        INPUT_TEST(stride_of_a_single_row_or_column_may_be_anything),
        INPUT_TEST(program_with_an_older_header_keeps_working),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
