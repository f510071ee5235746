/* The steps of a route, and slices of a problem: pure functions. */
#include "front/step.h"

#include "expect.h"
#include "problems.h"

#define LIMIT_BYTES (1 << 20)

static void direct_step_is_the_problem_itself(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_BF16, NORMA_BF16, 64, 32);
    add_residual(&problem, NORMA_F32, true);
    const norma_route route = {NORMA_FORM_DIRECT, NORMA_KERNEL_REFERENCE, NULL, ""};
    norma_problem step;
    norma_step_problem(&route, 0, &problem, (norma_buffer){0}, &step);
    assert_int_equal(norma_step_count(&route), 1);
    assert_int_equal(norma_step_kernel(&route, 0), NORMA_KERNEL_REFERENCE);
    assert_memory_equal(&step, &problem, sizeof step);
    assert_true(norma_chunk_rows(&route, &problem, LIMIT_BYTES) == INT64_MAX);
    assert_int_equal(norma_intermediate_bytes(&route, &problem, 1000), 0);
}

static void direct_step_without_parts_is_a_norm(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_BF16, NORMA_BF16, 64, 32);
    problem.parts = 0;
    const norma_route route = {NORMA_FORM_DIRECT, NORMA_KERNEL_RMSNORM_ROWS, NULL, ""};
    norma_problem step;
    norma_step_problem(&route, 0, &problem, (norma_buffer){0}, &step);
    assert_int_equal(step.op, NORMA_OP_RMSNORM);
    assert_false(norma_tensor_present(&step.out));
    assert_true(norma_tensor_present(&step.rstd));
}

static void residual_first_passes_h_through_residual_out(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_BF16, NORMA_BF16, 64, 32);
    add_residual(&problem, NORMA_F32, true);
    const norma_route route = {NORMA_FORM_RESIDUAL_FIRST, NORMA_KERNEL_RMSNORM_LINEAR_TILED, &norma_tiles[0], ""};
    assert_int_equal(norma_step_count(&route), 2);
    assert_int_equal(norma_step_kernel(&route, 0), NORMA_KERNEL_RMSNORM_ROWS);
    assert_int_equal(norma_step_kernel(&route, 1), NORMA_KERNEL_RMSNORM_LINEAR_TILED);
    assert_null(norma_step_tile(&route, 0));
    assert_ptr_equal(norma_step_tile(&route, 1), &norma_tiles[0]);
    assert_true(norma_chunk_rows(&route, &problem, LIMIT_BYTES) == INT64_MAX);
    assert_int_equal(norma_intermediate_bytes(&route, &problem, 1000), 0);

    norma_problem first;
    norma_problem second;
    norma_step_problem(&route, 0, &problem, (norma_buffer){0}, &first);
    assert_int_equal(first.op, NORMA_OP_RMSNORM);
    assert_int_equal(first.parts, 0);
    assert_memory_equal(&first.x, &problem.x, sizeof first.x);
    assert_memory_equal(&first.residual, &problem.residual, sizeof first.x);
    assert_memory_equal(&first.residual_out, &problem.residual_out, sizeof first.x);
    assert_false(norma_tensor_present(&first.rstd));
    assert_false(norma_tensor_present(&first.out));
    assert_false(norma_tensor_present(&first.gamma));

    norma_step_problem(&route, 1, &problem, (norma_buffer){0}, &second);
    assert_int_equal(second.op, NORMA_OP_RMSNORM_LINEAR);
    assert_memory_equal(&second.x, &problem.residual_out, sizeof second.x);
    assert_memory_equal(&second.gamma, &problem.gamma, sizeof second.x);
    assert_memory_equal(second.part, problem.part, sizeof second.part);
    assert_false(norma_tensor_present(&second.residual));
    assert_false(norma_tensor_present(&second.residual_out));
    /* The rstd that is written is the one that is used. */
    assert_memory_equal(&second.rstd, &problem.rstd, sizeof second.x);
}

static void residual_first_without_residual_out_passes_h_through_the_workspace(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_BF16, NORMA_BF16, 64, 32);
    add_residual(&problem, NORMA_F32, false);
    problem.batch = 2;
    problem.m = 5;
    const norma_route route = {NORMA_FORM_RESIDUAL_FIRST, NORMA_KERNEL_RMSNORM_LINEAR_TILED, NULL, ""};
    const norma_buffer workspace = {(void *)0x9000, 128};
    norma_problem first;
    norma_problem second;
    norma_step_problem(&route, 0, &problem, workspace, &first);
    norma_step_problem(&route, 1, &problem, workspace, &second);
    assert_ptr_equal(first.residual_out.buffer.data, workspace.data);
    assert_int_equal(first.residual_out.buffer.offset_bytes, 128);
    assert_int_equal(first.residual_out.layout.dtype, NORMA_F32); /* h's, not x's */
    assert_int_equal(first.residual_out.layout.row_stride, 64);
    assert_int_equal(first.residual_out.layout.batch_stride, 5 * 64);
    assert_memory_equal(&second.x, &first.residual_out, sizeof second.x);
    assert_int_equal(norma_chunk_rows(&route, &problem, LIMIT_BYTES), LIMIT_BYTES / (64 * 4));
    assert_int_equal(norma_intermediate_bytes(&route, &problem, 10), 10 * 64 * 4);
}

static void norm_first_passes_y_through_the_workspace(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_F16, NORMA_F32, 64, 32);
    add_residual(&problem, NORMA_F16, true);
    const norma_route route = {NORMA_FORM_NORM_FIRST, NORMA_KERNEL_LINEAR_BLAS, NULL, ""};
    const norma_buffer workspace = {(void *)0x9000, 0};
    norma_problem first;
    norma_problem second;
    norma_step_problem(&route, 0, &problem, workspace, &first);
    norma_step_problem(&route, 1, &problem, workspace, &second);
    assert_string_equal(norma_route_name(&route), "pair");
    assert_int_equal(norma_step_kernel(&route, 0), NORMA_KERNEL_RMSNORM_ROWS);
    assert_int_equal(norma_step_kernel(&route, 1), NORMA_KERNEL_LINEAR_BLAS);

    assert_int_equal(first.op, NORMA_OP_RMSNORM);
    assert_memory_equal(&first.gamma, &problem.gamma, sizeof first.x);
    assert_memory_equal(&first.residual_out, &problem.residual_out, sizeof first.x);
    assert_memory_equal(&first.rstd, &problem.rstd, sizeof first.x);
    assert_ptr_equal(first.out.buffer.data, workspace.data);
    assert_int_equal(first.out.layout.dtype, NORMA_F16);
    assert_int_equal(first.out.layout.row_stride, 64);

    assert_int_equal(second.op, NORMA_OP_LINEAR);
    assert_memory_equal(&second.x, &first.out, sizeof second.x);
    assert_false(norma_tensor_present(&second.gamma));
    assert_false(norma_tensor_present(&second.residual));
    assert_false(norma_tensor_present(&second.residual_out));
    assert_false(norma_tensor_present(&second.rstd));
    assert_memory_equal(second.part, problem.part, sizeof second.part);
}

static void a_row_too_large_for_the_intermediate_goes_alone(void **state) {
    (void)state;
    const norma_problem problem = linear_problem(NORMA_F32, NORMA_F32, LIMIT_BYTES, 1);
    const norma_route route = {NORMA_FORM_NORM_FIRST, NORMA_KERNEL_LINEAR_BLAS, NULL, ""};
    assert_int_equal(norma_chunk_rows(&route, &problem, LIMIT_BYTES), 1);
    assert_int_equal(norma_intermediate_bytes(&route, &problem, 1), 4 * LIMIT_BYTES);
}

static void slices_move_what_has_rows(void **state) {
    (void)state;
    norma_problem problem = linear_problem(NORMA_F16, NORMA_F32, 64, 32);
    add_residual(&problem, NORMA_F32, true);
    problem.batch = 4;
    problem.m = 10;
    problem.x.layout.batch_stride = 1000;
    problem.x.buffer.offset_bytes = 6;
    problem.part[0].out.layout.batch_stride = INT64_C(1) << 33;
    norma_problem part;
    norma_problem_slice(&problem, 2, 1, 7, 3, &part);
    assert_int_equal(part.batch, 1);
    assert_int_equal(part.m, 3);
    assert_int_equal(part.x.buffer.offset_bytes, 6 + (2 * 1000 + 7 * 64) * 2);
    assert_int_equal(part.residual.buffer.offset_bytes, 7 * 64 * 4);
    assert_int_equal(part.residual_out.buffer.offset_bytes, 7 * 66 * 4);
    assert_int_equal(part.rstd.buffer.offset_bytes, 7 * 4);
    assert_true(part.part[0].out.buffer.offset_bytes == (UINT64_C(2) << 33) * 2 + 7 * 32 * 2);
    assert_int_equal(part.gamma.buffer.offset_bytes, 0);
    assert_int_equal(part.part[0].weight.buffer.offset_bytes, 0);
    assert_int_equal(part.out.buffer.offset_bytes, 0); /* absent */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(direct_step_is_the_problem_itself),
        cmocka_unit_test(direct_step_without_parts_is_a_norm),
        cmocka_unit_test(residual_first_passes_h_through_residual_out),
        cmocka_unit_test(residual_first_without_residual_out_passes_h_through_the_workspace),
        cmocka_unit_test(norm_first_passes_y_through_the_workspace),
        cmocka_unit_test(a_row_too_large_for_the_intermediate_goes_alone),
        cmocka_unit_test(slices_move_what_has_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
