/* Distances and counts past 2^31 elements, in memory that is mapped but mostly never touched: on the CPU a buffer is plain
 * host memory. Untouched pages read as zeros and cost nothing. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cpu/reference.h"
#include "dtype.h"
#include "harness/place.h"
#include "harness/random.h"
#include "harness/suite.h"

#define FAR (INT64_C(1) << 31)

typedef struct mapping {
    void *data;
    size_t bytes;
} mapping;

/* Room for elements [0, last]. Skips the running test if the system refuses to map so much. */
static mapping map(int64_t last, norma_dtype dtype) {
    mapping mapped = {NULL, (size_t)(last + 1) * norma_dtype_bytes(dtype)};
    mapped.data = mmap(NULL, mapped.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped.data != MAP_FAILED) return mapped;
    printf("skipped: cannot map %zu bytes\n", mapped.bytes);
    skip();
    return mapped;
}

static void unmap(mapping mapped) {
    munmap(mapped.data, mapped.bytes);
}

static norma_context *cpu_context(void) {
    test_variant *variant = test_variant_default("cpu");
    if (!variant) skip();
    return variant->context;
}

enum { K = 3, N = 3, M = 2, BATCH = 2 };

/* The strides of a small Linear, each of which is far in turn. */
enum {
    X_ROW,
    X_COL,
    X_BATCH,
    RESIDUAL_ROW,
    RESIDUAL_OUT_ROW,
    RSTD_ROW,
    GAMMA_COL,
    WEIGHT_ROW,
    WEIGHT_COL,
    BIAS_COL,
    OUT_ROW,
    OUT_COL,
    OUT_BATCH,
    STRIDES
};

static norma_tensor far_tensor(mapping *mapped, norma_dtype dtype, int64_t batch, int64_t rows, int64_t cols, int far) {
    norma_tensor tensor = {.layout = {dtype, cols, 1, rows * cols}};
    if (far == 0) tensor.layout.row_stride = FAR;
    if (far == 1) tensor.layout.col_stride = FAR;
    if (far == 2) tensor.layout.batch_stride = FAR;
    if (far == 0 || far == 1) tensor.layout.batch_stride = 1 + FAR / 2;
    *mapped = map((batch - 1) * tensor.layout.batch_stride + (rows - 1) * tensor.layout.row_stride +
                      (cols - 1) * tensor.layout.col_stride,
                  dtype);
    tensor.buffer.data = mapped->data;
    for (int64_t b = 0; b < batch; b++)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++)
                norma_store(
                    mapped->data, dtype,
                    b * tensor.layout.batch_stride + i * tensor.layout.row_stride + j * tensor.layout.col_stride,
                    test_normal(test_bits(test_seed(), (uint64_t)(rows * cols), (uint64_t)((b * rows + i) * cols + j))));
    return tensor;
}

static float result(const norma_tensor *tensor, int64_t row, int64_t col) {
    const norma_layout *layout = &tensor->layout;
    return norma_load(tensor->buffer.data, layout->dtype,
                      row / M * layout->batch_stride + row % M * layout->row_stride + col * layout->col_stride);
}

/* Far in `stride`, else -1, where `row`, `col` and `batch` are the numbers of a tensor's own strides. */
static int which(int stride, int row, int col, int batch) {
    return stride == row ? 0 : stride == col ? 1 : stride == batch ? 2 : -1;
}

static void far_problem(norma_dtype dtype, int stride) {
    mapping mapped[8];
    norma_problem problem = {
        .op = NORMA_OP_RMSNORM_LINEAR, .eps = NORMA_DEFAULT_EPS, .batch = BATCH, .m = M, .k = K, .parts = 1};
    norma_part *part = &problem.part[0];
    part->n = N;
    problem.x = far_tensor(&mapped[0], dtype, BATCH, M, K, which(stride, X_ROW, X_COL, X_BATCH));
    problem.residual = far_tensor(&mapped[1], dtype, BATCH, M, K, which(stride, RESIDUAL_ROW, -1, -1));
    problem.residual_out = far_tensor(&mapped[2], dtype, BATCH, M, K, which(stride, RESIDUAL_OUT_ROW, -1, -1));
    problem.rstd = far_tensor(&mapped[3], NORMA_F32, BATCH, M, 1, which(stride, RSTD_ROW, -1, -1));
    problem.gamma = far_tensor(&mapped[4], dtype, 1, 1, K, which(stride, -1, GAMMA_COL, -1));
    part->weight = far_tensor(&mapped[5], dtype, 1, K, N, which(stride, WEIGHT_ROW, WEIGHT_COL, -1));
    part->bias = far_tensor(&mapped[6], dtype, 1, 1, N, which(stride, -1, BIAS_COL, -1));
    part->out = far_tensor(&mapped[7], dtype, BATCH, M, N, which(stride, OUT_ROW, OUT_COL, OUT_BATCH));

    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = K;
    desc.x = problem.x.layout;
    desc.residual = problem.residual.layout;
    desc.residual_out = problem.residual_out.layout;
    desc.rstd = problem.rstd.layout;
    desc.gamma = problem.gamma.layout;
    desc.part[0].n = N;
    desc.part[0].weight = part->weight.layout;
    desc.part[0].bias = part->bias.layout;
    desc.part[0].out = part->out.layout;
    desc.gamma.batch_stride = desc.part[0].weight.batch_stride = desc.part[0].bias.batch_stride = 0;
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = M;
    args.batch = BATCH;
    args.x = problem.x.buffer;
    args.residual = problem.residual.buffer;
    args.residual_out = problem.residual_out.buffer;
    args.rstd = problem.rstd.buffer;
    args.gamma = problem.gamma.buffer;
    args.part[0] = (norma_linear_part_args){part->weight.buffer, part->bias.buffer, part->out.buffer};
    if (norma_rmsnorm_linear(cpu_context(), &desc, &args)) fail_msg("stride %d: %s", stride, norma_last_error());

    for (int64_t row = 0; row < BATCH * M; row++) {
        double h[K], y[K], rstd;
        norma_reference_row(&problem, row, h, y, &rstd);
        assert_true(fabs((double)result(&problem.rstd, row, 0) - rstd) <= norma_bound_rstd(&problem, rstd));
        for (int64_t k = 0; k < K; k++) assert_true((double)result(&problem.residual_out, row, k) == h[k]);
        for (int64_t n = 0; n < N; n++) {
            double magnitude;
            const double want = norma_reference_dot(&problem, y, 0, n, &magnitude);
            const double error = fabs((double)result(&part->out, row, n) - want);
            if (error > norma_bound_linear(&problem, want, magnitude, dtype))
                fail_msg("stride %d: (%" PRId64 ", %" PRId64 ") is off by %g", stride, row, n, error);
        }
    }
    for (int i = 0; i < 8; i++) unmap(mapped[i]);
}

static void each_stride_of_2_to_31_elements_bf16(void **state) {
    (void)state;
    for (int stride = 0; stride < STRIDES; stride++) far_problem(NORMA_BF16, stride);
}

static void each_stride_of_2_to_31_elements_f32(void **state) {
    (void)state;
    for (int stride = 0; stride < STRIDES; stride++) far_problem(NORMA_F32, stride);
}

static void norm_of_two_rows_2_to_31_elements_apart(void **state) {
    (void)state;
    const int64_t k = 100;
    const mapping x = map(FAR + k - 1, NORMA_F16);
    const mapping out = map(FAR + k - 1, NORMA_F16);
    for (int64_t i = 0; i < k; i++) {
        norma_store(x.data, NORMA_F16, i, 1);
        norma_store(x.data, NORMA_F16, FAR + i, 2);
    }
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = k;
    desc.x = desc.out = norma_layout_strided(NORMA_F16, FAR, 1);
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = 2;
    args.x.data = x.data;
    args.out.data = out.data;
    if (norma_rmsnorm(cpu_context(), &desc, &args)) fail_msg("%s", norma_last_error());
    for (int64_t i = 0; i < k; i++) {
        assert_true(norma_load(out.data, NORMA_F16, i) == 1);
        assert_true(norma_load(out.data, NORMA_F16, FAR + i) == 1);
    }
    assert_true(norma_load(out.data, NORMA_F16, k) == 0);
    assert_true(norma_load(out.data, NORMA_F16, FAR - 1) == 0);
    unmap(x);
    unmap(out);
}

/* 65536 rows of 40000 elements, of which a norm reads 8. */
static void norm_of_rows_that_span_past_2_to_31_elements(void **state) {
    (void)state;
    const int64_t m = 65536;
    const int64_t stride = 40000;
    const int64_t k = 8;
    const mapping x = map((m - 1) * stride + k - 1, NORMA_BF16);
    const mapping out = map(m * k - 1, NORMA_BF16);
    for (int64_t i = 0; i < k; i++) norma_store(x.data, NORMA_BF16, (m - 1) * stride + i, 3);
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = k;
    desc.x = norma_layout_strided(NORMA_BF16, stride, 1);
    desc.out.dtype = NORMA_BF16;
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = m;
    args.x.data = x.data;
    args.out.data = out.data;
    if (norma_rmsnorm(cpu_context(), &desc, &args)) fail_msg("%s", norma_last_error());
    for (int64_t i = 0; i < m * k; i++) assert_true(norma_load(out.data, NORMA_BF16, i) == (i < (m - 1) * k ? 0 : 1));
    unmap(x);
    unmap(out);
}

/* More than 2^31 elements that are all read: a Linear of one column, with x or W that large. */
static void linear_of_more_than_2_to_31_elements(int64_t m, int64_t k, int64_t n) {
    const mapping x = map(m * k - 1, NORMA_BF16);
    const mapping w = map(k * n - 1, NORMA_BF16);
    const mapping out = map(m * n - 1, NORMA_F32);
    norma_store(x.data, NORMA_BF16, m * k - 1, 2);
    norma_store(w.data, NORMA_BF16, k * n - 1, 3);
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = k;
    desc.x.dtype = NORMA_BF16;
    desc.part[0].n = n;
    desc.part[0].weight = norma_layout_transposed(NORMA_BF16, k);
    desc.part[0].out.dtype = NORMA_F32;
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = m;
    args.x.data = x.data;
    args.part[0].weight.data = w.data;
    args.part[0].out.data = out.data;
    if (norma_rmsnorm_linear(cpu_context(), &desc, &args)) fail_msg("%s", norma_last_error());
    for (int64_t i = 0; i < m * n - 1; i++) assert_true(norma_load(out.data, NORMA_F32, i) == 0);
    const double want = 6 / sqrt(4 / (double)k + (double)NORMA_DEFAULT_EPS);
    assert_true(fabs((double)norma_load(out.data, NORMA_F32, m * n - 1) - want) < 1e-5 * want);
    unmap(x);
    unmap(w);
    unmap(out);
}

static void x_of_more_than_2_to_31_elements(void **state) {
    (void)state;
    linear_of_more_than_2_to_31_elements(131075, 16385, 1);
}

static void weight_of_more_than_2_to_31_elements(void **state) {
    (void)state;
    linear_of_more_than_2_to_31_elements(1, 16385, 131075);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_stride_of_2_to_31_elements_bf16),
        cmocka_unit_test(each_stride_of_2_to_31_elements_f32),
        cmocka_unit_test(norm_of_two_rows_2_to_31_elements_apart),
        cmocka_unit_test(norm_of_rows_that_span_past_2_to_31_elements),
        cmocka_unit_test(x_of_more_than_2_to_31_elements),
        cmocka_unit_test(weight_of_more_than_2_to_31_elements),
    };
    return test_group_run("sparse", tests, sizeof tests / sizeof tests[0]);
}
