/* The steps of a Linear's backward: which there are, what each reads and writes, where the room is; and that together, by
 * the reference's products and sums, they give what the reference gives for the whole, within its bounds. Then the reference
 * itself, against differences of the forward pass. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu/reference.h"
#include "dtype.h"
#include "expect.h"
#include "fake_backend.h"
#include "front/backward.h"

enum { M = 3, K = 8, PARTS = 2, BATCH = 2, ROWS = BATCH * M, N = 5 };

static float x[ROWS * K], rstd[ROWS], gamma_values[K], dresidual_out[ROWS * K], weight[PARTS][K * N];
static float dout[PARTS][ROWS * N];
static float dx[ROWS * K], dgamma[K], dweight[PARTS][K * N], dbias[PARTS][N];

static norma_tensor matrix(float *data, int64_t cols) {
    return (norma_tensor){{data, 0}, {NORMA_F32, cols, 1, M * cols}};
}

static norma_problem everything(void) {
    norma_problem problem = {.op = NORMA_OP_RMSNORM_LINEAR_BACKWARD,
                             .eps = 1e-6F,
                             .batch = 1,
                             .m = M,
                             .k = K,
                             .x = matrix(x, K),
                             .rstd = matrix(rstd, 1),
                             .gamma = matrix(gamma_values, K),
                             .dresidual_out = matrix(dresidual_out, K),
                             .dx = matrix(dx, K),
                             .dgamma = matrix(dgamma, K),
                             .desc_parts = PARTS,
                             .parts = PARTS};
    for (int p = 0; p < PARTS; p++)
        problem.part[p] = (norma_part){.index = p,
                                       .n = N,
                                       .weight = matrix(weight[p], N),
                                       .dout = matrix(dout[p], N),
                                       .dweight = matrix(dweight[p], N),
                                       .dbias = matrix(dbias[p], N)};
    return problem;
}

static void drop(norma_tensor *tensor) {
    *tensor = (norma_tensor){0};
}

static void expect_steps(const norma_problem *problem, const char *letters) {
    char text[NORMA_MAX_BACKWARD_STEPS + 1] = "";
    const int count = norma_backward_step_count(problem);
    for (int step = 0; step < count; step++) {
        norma_problem own;
        norma_backward_step(problem, step, 0, (norma_buffer){0}, &own);
        text[step] = own.op == NORMA_OP_RMSNORM            ? 'y'
                     : own.op == NORMA_OP_COLUMN_SUMS      ? 'b'
                     : own.op == NORMA_OP_RMSNORM_BACKWARD ? 'n'
                     : own.k == M                          ? 'w'
                                                           : 't';
    }
    assert_string_equal(text, letters);
}

static void outputs_that_are_absent_cost_no_step(void **state) {
    (void)state;
    norma_problem problem = everything();
    expect_steps(&problem, "ywwbbttn");
    drop(&problem.part[0].dweight);
    expect_steps(&problem, "ywbbttn");
    drop(&problem.part[1].dweight);
    expect_steps(&problem, "bbttn");
    drop(&problem.part[0].dbias);
    drop(&problem.part[1].dbias);
    drop(&problem.dx);
    expect_steps(&problem, "ttn");
    drop(&problem.dgamma);
    expect_steps(&problem, "");
    problem = everything();
    drop(&problem.dx);
    drop(&problem.dgamma);
    expect_steps(&problem, "ywwbb");
    problem = everything();
    problem.parts = 0;
    expect_steps(&problem, "n");
    norma_problem last;
    norma_backward_step(&problem, 0, 0, (norma_buffer){0}, &last);
    assert_int_equal(last.dout.layout.dtype, NORMA_NONE);
}

static void room_is_dx_where_dx_can_hold_it(void **state) {
    (void)state;
    norma_problem problem = everything();
    assert_int_equal(norma_backward_room_bytes(&problem, 100), 0);
    problem.dx.layout.dtype = NORMA_BF16;
    assert_int_equal(norma_backward_room_bytes(&problem, 100), 100 * K * 4);
    drop(&problem.dx);
    assert_int_equal(norma_backward_room_bytes(&problem, 100), 100 * K * 4);
    problem.parts = 0;
    assert_int_equal(norma_backward_room_bytes(&problem, 100), 0);
    problem = everything();
    drop(&problem.dx);
    drop(&problem.dgamma);
    drop(&problem.part[0].dweight);
    drop(&problem.part[1].dweight);
    assert_int_equal(norma_backward_room_bytes(&problem, 100), 0);
}

static void without_rows_sums_that_are_not_added_to_are_steps(void **state) {
    (void)state;
    norma_problem problem = everything(), step;
    problem.m = 0;
    problem.flags = NORMA_ACCUMULATE_DBIAS | NORMA_ACCUMULATE_DGAMMA;
    assert_int_equal(norma_backward_step_count(&problem), 2);
    assert_int_equal(norma_backward_step_passes(&problem, 1), 1);
    norma_backward_step(&problem, 1, 0, (norma_buffer){0}, &step);
    assert_int_equal(step.op, NORMA_OP_COLUMN_SUMS);
    assert_int_equal(step.batch * step.m, 0);
    assert_int_equal(step.k, K * problem.part[1].n);
    assert_ptr_equal(step.out.buffer.data, dweight[1]);

    problem.part[1].dweight.layout = (norma_layout){NORMA_F32, 50, 2, 0}; /* padded: row by row, or column by column */
    const bool by_rows = K < problem.part[1].n;
    assert_int_equal(norma_backward_step_passes(&problem, 1), by_rows ? K : problem.part[1].n);
    norma_backward_step(&problem, 1, 1, (norma_buffer){0}, &step);
    assert_int_equal(step.out.buffer.offset_bytes, (by_rows ? 50 : 2) * sizeof(float));
    assert_int_equal(step.out.layout.col_stride, by_rows ? 2 : 50);
    problem.flags |= NORMA_ACCUMULATE_DWEIGHT;
    assert_int_equal(norma_backward_step_count(&problem), 0);
}

static void products_are_turned_by_their_strides(void **state) {
    (void)state;
    norma_problem problem = everything();
    problem.flags = NORMA_BATCH_INVARIANT | NORMA_ACCUMULATE_DWEIGHT | NORMA_ACCUMULATE_DGAMMA;
    problem.batch = BATCH;
    problem.dx.layout = (norma_layout){NORMA_F32, 11, 1, 40};
    norma_problem step;
    norma_backward_step(&problem, 2, 1, (norma_buffer){0}, &step); /* dweight of part 1, batch 1 */
    assert_int_equal(step.flags, 0);
    assert_int_equal(step.batch, 1);
    assert_int_equal(step.m, K);
    assert_int_equal(step.k, M);
    assert_int_equal(step.x.layout.row_stride, 1);
    assert_int_equal(step.x.layout.col_stride, 11);
    assert_ptr_equal(step.x.buffer.data, dx);
    assert_int_equal(step.x.buffer.offset_bytes, 40 * sizeof(float));
    assert_ptr_equal(step.part[0].weight.buffer.data, dout[1]);
    assert_int_equal(step.part[0].weight.buffer.offset_bytes, M * N * sizeof(float));
    assert_ptr_equal(step.part[0].out.buffer.data, dweight[1]);
    assert_true(step.accumulate);
    assert_int_equal(norma_backward_step_passes(&problem, 2), BATCH);
    assert_int_equal(norma_backward_step_passes(&problem, 5), 1);

    problem.part[1].dweight.layout = (norma_layout){NORMA_F32, 1, K, 0}; /* stored (n, K) */
    norma_backward_step(&problem, 2, 0, (norma_buffer){0}, &step);
    assert_int_equal(step.m, N);
    assert_int_equal(step.k, M);
    assert_int_equal(step.part[0].n, K);
    assert_int_equal(step.x.layout.row_stride, 1);
    assert_int_equal(step.x.layout.col_stride, N);
    assert_ptr_equal(step.x.buffer.data, dout[1]);
    assert_ptr_equal(step.part[0].weight.buffer.data, dx);
    assert_int_equal(step.part[0].out.layout.row_stride, K);
    assert_int_equal(step.part[0].out.layout.col_stride, 1);

    norma_backward_step(&problem, 6, 0, (norma_buffer){0}, &step); /* t, part 1 */
    assert_int_equal(step.flags, NORMA_BATCH_INVARIANT);
    assert_int_equal(step.m, M);
    assert_int_equal(step.k, N);
    assert_int_equal(step.part[0].n, K);
    assert_int_equal(step.part[0].weight.layout.row_stride, 1);
    assert_int_equal(step.part[0].weight.layout.col_stride, N);
    assert_int_equal(step.part[0].out.layout.batch_stride, 40);
    assert_true(step.accumulate);
    norma_backward_step(&problem, 5, 0, (norma_buffer){0}, &step);
    assert_false(step.accumulate);
    norma_backward_step(&problem, 3, 0, (norma_buffer){0}, &step); /* dbias */
    assert_false(step.accumulate);
    assert_int_equal(step.flags, 0);
    norma_backward_step(&problem, 7, 0, (norma_buffer){0}, &step);
    assert_true(step.accumulate);
    assert_ptr_equal(step.dout.buffer.data, step.dx.buffer.data);
}

/* ---- The reference against differences ---- */

/* Small multiples of 1/16, so that what is added to one of them is exact. */
static float sixteenth(int seed) {
    return (float)((seed * 37 + 11) % 29 - 14) / 16;
}

/* All rows hold the same magnitudes, so that one eps makes every rstd 1/2. */
static float fill_inputs(void) {
    double squares = 0;
    for (int k = 0; k < K; k++) {
        const float magnitude = 1 + fabsf(sixteenth(k));
        squares += (double)(magnitude * magnitude);
        for (int row = 0; row < ROWS; row++) x[row * K + (k + row) % K] = (k + row) % 3 ? magnitude : -magnitude;
        gamma_values[k] = 1 + sixteenth(k + 3) / 4;
        dgamma[k] = sixteenth(k + 40);
        for (int n = 0; n < N; n++)
            for (int p = 0; p < PARTS; p++) {
                weight[p][k * N + n] = sixteenth(3 * k + 5 * n + p);
                dweight[p][k * N + n] = sixteenth(k + n + p);
            }
    }
    for (int i = 0; i < ROWS * K; i++) dresidual_out[i] = sixteenth(2 * i);
    for (int i = 0; i < ROWS * N; i++)
        for (int p = 0; p < PARTS; p++) dout[p][i] = sixteenth(7 * i + p);
    for (int i = 0; i < ROWS; i++) rstd[i] = 0.5F;
    for (int n = 0; n < N; n++)
        for (int p = 0; p < PARTS; p++) dbias[p][n] = sixteenth(n + 9);
    return (float)(4 - squares / (double)K);
}

/* The loss whose gradients are dout and dresidual_out: the forward pass of the reference, in fp64. */
static double loss(const norma_problem *backward) {
    norma_problem forward = {.op = NORMA_OP_RMSNORM_LINEAR,
                             .eps = backward->eps,
                             .gamma_offset = backward->gamma_offset,
                             .batch = backward->batch,
                             .m = M,
                             .k = K,
                             .x = backward->x,
                             .gamma = backward->gamma,
                             .parts = PARTS};
    double sum = 0;
    for (int64_t row = 0; row < backward->batch * M; row++) {
        double h[K], y[K];
        norma_reference_row(&forward, row, h, y, NULL);
        for (int k = 0; k < K; k++) sum += h[k] * (double)dresidual_out[row * K + k];
        for (int p = 0; p < PARTS; p++) {
            forward.part[p] = (norma_part){.n = N, .weight = backward->part[p].weight};
            for (int n = 0; n < N; n++) sum += norma_reference_dot(&forward, y, p, n, NULL) * (double)dout[p][row * N + n];
        }
    }
    return sum;
}

/* d loss / d *value by central differences of two widths, whose errors of second order cancel. */
static double difference(const norma_problem *problem, float *value) {
    const float kept = *value;
    double slopes[2];
    for (int i = 0; i < 2; i++) {
        const float step = i ? 0x1p-7F : 0x1p-6F;
        *value = kept + step;
        const double above = loss(problem);
        *value = kept - step;
        slopes[i] = (above - loss(problem)) / (2 * (double)step);
    }
    *value = kept;
    return (4 * slopes[1] - slopes[0]) / 3;
}

static void expect_slope(const char *what, double gradient, double slope) {
    /* The differences err by the fourth power of the step, about 2^-24. */
    if (fabs(gradient - slope) > 1e-6 * (1 + fabs(slope)))
        fail_msg("%s: %.12g, but the slope is %.12g", what, gradient, slope);
}

static void reference_agrees_with_differences(void **state) {
    (void)state;
    for (int offset = 0; offset <= 1; offset++) {
        norma_problem problem = everything();
        problem.batch = BATCH;
        problem.eps = fill_inputs();
        problem.gamma_offset = (float)offset;
        assert_true(problem.eps > 0);
        for (int64_t row = 0; row < ROWS; row++) {
            norma_gradient t[K], row_dx[K];
            for (int k = 0; k < K; k++) t[k] = norma_reference_t(&problem, row, k);
            norma_reference_dx(&problem, row, t, row_dx);
            for (int k = 0; k < K; k++) expect_slope("dx", row_dx[k].value, difference(&problem, &x[row * K + k]));
        }
        for (int k = 0; k < K; k++) {
            expect_slope("dgamma", norma_reference_dgamma(&problem, k).value, difference(&problem, &gamma_values[k]));
            for (int p = 0; p < PARTS; p++)
                for (int n = 0; n < N; n++)
                    expect_slope("dweight", norma_reference_dweight(&problem, p, k, n).value,
                                 difference(&problem, &weight[p][k * N + n]));
        }
        for (int p = 0; p < PARTS; p++)
            for (int n = 0; n < N; n++) {
                double sum = 0;
                for (int row = 0; row < ROWS; row++) sum += (double)dout[p][row * N + n];
                expect_slope("dbias", norma_reference_dbias(&problem, p, n).value, sum);
            }
    }
}

/* ---- The steps against the reference ---- */

typedef struct outcome {
    float dx[ROWS * K], dgamma[K], dweight[PARTS][K * N], dbias[PARTS][N];
} outcome;

static outcome computed(norma_context *context, const norma_rmsnorm_linear_backward_desc *desc,
                        const norma_rmsnorm_linear_backward_args *args) {
    fill_inputs();
    EXPECT_OK(norma_rmsnorm_linear_backward(context, desc, args));
    outcome out;
    memcpy(out.dx, dx, sizeof dx);
    memcpy(out.dgamma, dgamma, sizeof dgamma);
    memcpy(out.dweight, dweight, sizeof dweight);
    memcpy(out.dbias, dbias, sizeof dbias);
    return out;
}

static void expect_near(const char *what, const float *got, const float *want, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (fabsf(got[i] - want[i]) > 1e-5F)
            fail_msg("%s %zu is %g, should be %g", what, i, (double)got[i], (double)want[i]);
}

static void steps_give_what_the_whole_gives(void **state) {
    (void)state;
    fake_reset();
    fake.compute = true;
    norma_context *context;
    EXPECT_OK(fake_context_create(&context));
    norma_rmsnorm_linear_backward_desc desc = norma_rmsnorm_linear_backward_desc_init();
    norma_rmsnorm_linear_backward_args args = norma_rmsnorm_linear_backward_args_init();
    desc.k = K;
    desc.parts = PARTS;
    desc.eps = fill_inputs();
    desc.x.dtype = desc.rstd.dtype = desc.gamma.dtype = desc.dresidual_out.dtype = desc.dx.dtype = desc.dgamma.dtype =
        NORMA_F32;
    desc.x.batch_stride = (M - 1) * K; /* the batches overlap in x, so they cannot be joined */
    args.m = M;
    args.batch = BATCH;
    args.x.data = x;
    args.rstd.data = rstd;
    args.gamma.data = gamma_values;
    args.dresidual_out.data = dresidual_out;
    args.dx.data = dx;
    args.dgamma.data = dgamma;
    for (int p = 0; p < PARTS; p++) {
        desc.part[p].n = N;
        desc.part[p].weight.dtype = desc.part[p].dout.dtype = desc.part[p].dweight.dtype = desc.part[p].dbias.dtype =
            NORMA_F32;
        args.part[p].weight.data = weight[p];
        args.part[p].dout.data = dout[p];
        args.part[p].dweight.data = dweight[p];
        args.part[p].dbias.data = dbias[p];
    }
    for (int accumulate = 0; accumulate <= 1; accumulate++) {
        desc.flags = accumulate ? NORMA_ACCUMULATE_DGAMMA | NORMA_ACCUMULATE_DWEIGHT | NORMA_ACCUMULATE_DBIAS : 0;
        fake.launched = 0;
        const outcome steps = computed(context, &desc, &args);
        assert_int_equal(fake.launched, 8 + PARTS); /* dweight once per batch */
        norma_context *other;
        setenv("NORMA_KERNEL", "reference", 1);
        EXPECT_OK(fake_context_create(&other));
        unsetenv("NORMA_KERNEL");
        fake.launched = 0;
        const outcome whole = computed(other, &desc, &args);
        assert_int_equal(fake.launched, 1);
        norma_context_destroy(other);
        expect_near("dx", steps.dx, whole.dx, ROWS * K);
        expect_near("dgamma", steps.dgamma, whole.dgamma, K);
        expect_near("dweight", steps.dweight[0], whole.dweight[0], sizeof dweight / sizeof(float));
        expect_near("dbias", steps.dbias[0], whole.dbias[0], sizeof dbias / sizeof(float));
    }
    norma_context_destroy(context);
    fake_expect_nothing_live("at the end");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_that_are_absent_cost_no_step),
        cmocka_unit_test(room_is_dx_where_dx_can_hold_it),
        cmocka_unit_test(without_rows_sums_that_are_not_added_to_are_steps),
        cmocka_unit_test(products_are_turned_by_their_strides),
        cmocka_unit_test(reference_agrees_with_differences),
        cmocka_unit_test(steps_give_what_the_whole_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
