/* Distances and counts past 2^31 elements. The host's memory is mapped but mostly never touched: such pages read as zeros
 * and cost nothing. On the CPU it is what the library works on; another backend has an array as large in its own memory, of
 * which no more is written and read than the test looks at. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpu/reference.h"
#include "dtype.h"
#include "harness/place.h"
#include "harness/random.h"
#include "harness/suite.h"

#define FAR (INT64_C(1) << 31)

/* The variant that the running test tries. */
static test_variant *variant;

typedef struct far_array {
    norma_dtype dtype;
    void *host, *device; /* the same on the CPU */
    size_t bytes;
} far_array;

static void skip_for(const char *what, size_t bytes) {
    printf("skipped: %s %zu bytes\n", what, bytes);
    skip();
}

/* Room for elements [0, last]. Skips the running test if there is not so much. */
static far_array make_array(int64_t last, norma_dtype dtype) {
    far_array array = {.dtype = dtype, .bytes = (size_t)(last + 1) * norma_dtype_bytes(dtype)};
    array.host = mmap(NULL, array.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (array.host == MAP_FAILED) skip_for("cannot map", array.bytes);
    array.device = array.host;
    if (strcmp(variant->backend, "cpu") == 0) return array;
    const norma_status status = norma_alloc(variant->context, array.bytes, &array.device);
    if (status == NORMA_OK) return array;
    munmap(array.host, array.bytes);
    if (status != NORMA_ERROR_OUT_OF_MEMORY) fail_msg("%s", norma_last_error());
    skip_for("the device cannot hold", array.bytes);
    return array;
}

static void free_array(far_array array) {
    if (array.device != array.host) assert_int_equal(norma_free(variant->context, array.device), NORMA_OK);
    munmap(array.host, array.bytes);
}

/* Elements [first, first + count) from the host to the device, or back. */
static void push(const far_array *array, int64_t first, int64_t count) {
    const size_t size = norma_dtype_bytes(array->dtype), at = (size_t)first * size;
    if (array->device == array->host) return;
    const norma_buffer to = {array->device, at};
    assert_int_equal(norma_upload(variant->context, to, (char *)array->host + at, (size_t)count * size), NORMA_OK);
}

static void pull(const far_array *array, int64_t first, int64_t count) {
    const size_t size = norma_dtype_bytes(array->dtype), at = (size_t)first * size;
    if (array->device == array->host) return;
    const norma_buffer from = {array->device, at};
    assert_int_equal(norma_download(variant->context, (char *)array->host + at, from, (size_t)count * size), NORMA_OK);
}

static void put(const far_array *array, int64_t at, float value) {
    norma_store(array->host, array->dtype, at, value);
    push(array, at, 1);
}

static float get(const far_array *array, int64_t at) {
    pull(array, at, 1);
    return norma_load(array->host, array->dtype, at);
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

static norma_tensor far_tensor(far_array *array, norma_dtype dtype, int64_t batch, int64_t rows, int64_t cols, int far) {
    norma_tensor tensor = {.layout = {dtype, cols, 1, rows * cols}};
    norma_layout *layout = &tensor.layout;
    if (far == 0) layout->row_stride = FAR;
    if (far == 1) layout->col_stride = FAR;
    if (far == 2) layout->batch_stride = FAR;
    if (far == 0 || far == 1) layout->batch_stride = 1 + FAR / 2;
    *array = make_array(
        (batch - 1) * layout->batch_stride + (rows - 1) * layout->row_stride + (cols - 1) * layout->col_stride, dtype);
    tensor.buffer.data = array->host;
    for (int64_t b = 0; b < batch; b++)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++)
                put(array, b * layout->batch_stride + i * layout->row_stride + j * layout->col_stride,
                    test_normal(test_bits(test_seed(), (uint64_t)(rows * cols), (uint64_t)((b * rows + i) * cols + j))));
    return tensor;
}

static double result(const far_array *array, const norma_layout *layout, int64_t row, int64_t col) {
    return (double)get(array, row / M * layout->batch_stride + row % M * layout->row_stride + col * layout->col_stride);
}

/* Far in `stride`, else -1, where `row`, `col` and `batch` are the numbers of a tensor's own strides. */
static int which(int stride, int row, int col, int batch) {
    return stride == row ? 0 : stride == col ? 1 : stride == batch ? 2 : -1;
}

enum { X, RESIDUAL, RESIDUAL_OUT, RSTD, GAMMA, WEIGHT, BIAS, OUT, ARRAYS };

static norma_problem far_problem(norma_dtype dtype, int stride, far_array array[ARRAYS]) {
    norma_problem problem = {
        .op = NORMA_OP_RMSNORM_LINEAR, .eps = NORMA_DEFAULT_EPS, .batch = BATCH, .m = M, .k = K, .parts = 1};
    norma_part *part = &problem.part[0];
    part->n = N;
    problem.x = far_tensor(&array[X], dtype, BATCH, M, K, which(stride, X_ROW, X_COL, X_BATCH));
    problem.residual = far_tensor(&array[RESIDUAL], dtype, BATCH, M, K, which(stride, RESIDUAL_ROW, -1, -1));
    problem.residual_out = far_tensor(&array[RESIDUAL_OUT], dtype, BATCH, M, K, which(stride, RESIDUAL_OUT_ROW, -1, -1));
    problem.rstd = far_tensor(&array[RSTD], NORMA_F32, BATCH, M, 1, which(stride, RSTD_ROW, -1, -1));
    problem.gamma = far_tensor(&array[GAMMA], dtype, 1, 1, K, which(stride, -1, GAMMA_COL, -1));
    part->weight = far_tensor(&array[WEIGHT], dtype, 1, K, N, which(stride, WEIGHT_ROW, WEIGHT_COL, -1));
    part->bias = far_tensor(&array[BIAS], dtype, 1, 1, N, which(stride, -1, BIAS_COL, -1));
    part->out = far_tensor(&array[OUT], dtype, BATCH, M, N, which(stride, OUT_ROW, OUT_COL, OUT_BATCH));
    return problem;
}

static norma_status run_linear(const norma_problem *problem, const far_array array[ARRAYS]) {
    const norma_part *part = &problem->part[0];
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = K;
    desc.x = problem->x.layout;
    desc.residual = problem->residual.layout;
    desc.residual_out = problem->residual_out.layout;
    desc.rstd = problem->rstd.layout;
    desc.gamma = problem->gamma.layout;
    desc.part[0].n = N;
    desc.part[0].weight = part->weight.layout;
    desc.part[0].bias = part->bias.layout;
    desc.part[0].out = part->out.layout;
    desc.gamma.batch_stride = desc.part[0].weight.batch_stride = desc.part[0].bias.batch_stride = 0;
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = M;
    args.batch = BATCH;
    args.x.data = array[X].device;
    args.residual.data = array[RESIDUAL].device;
    args.residual_out.data = array[RESIDUAL_OUT].device;
    args.rstd.data = array[RSTD].device;
    args.gamma.data = array[GAMMA].device;
    args.part[0].weight.data = array[WEIGHT].device;
    args.part[0].bias.data = array[BIAS].device;
    args.part[0].out.data = array[OUT].device;
    return norma_rmsnorm_linear(variant->context, &desc, &args);
}

static void judge(const norma_problem *problem, const far_array array[ARRAYS], int stride) {
    const norma_part *part = &problem->part[0];
    for (int64_t row = 0; row < BATCH * M; row++) {
        double h[K], y[K], rstd;
        norma_reference_row(problem, row, h, y, &rstd);
        const double rstd_error = fabs(result(&array[RSTD], &problem->rstd.layout, row, 0) - rstd);
        if (!(rstd_error <= norma_bound_rstd(problem, rstd)))
            fail_msg("%s, stride %d: rstd of row %" PRId64 " is off by %g", variant->name, stride, row, rstd_error);
        for (int64_t k = 0; k < K; k++)
            assert_true(result(&array[RESIDUAL_OUT], &problem->residual_out.layout, row, k) == h[k]);
        for (int64_t n = 0; n < N; n++) {
            double magnitude;
            const double want = norma_reference_dot(problem, y, 0, n, &magnitude);
            const double error = fabs(result(&array[OUT], &part->out.layout, row, n) - want);
            if (!(error <= norma_bound_linear(problem, want, magnitude, part->out.layout.dtype)))
                fail_msg("%s, stride %d: (%" PRId64 ", %" PRId64 ") is off by %g", variant->name, stride, row, n, error);
        }
    }
}

/* By every route of the backend, since each walks the strides in its own way. */
static void try_each_stride(norma_dtype dtype) {
    for (int i = 0; i < test_variant_count(); i++) {
        if (strcmp(test_variant_at(i)->backend, variant->backend) != 0 || test_variant_at(i)->target >= 0) continue;
        variant = test_variant_at(i);
        for (int stride = 0; stride < STRIDES; stride++) {
            far_array array[ARRAYS];
            const norma_problem problem = far_problem(dtype, stride, array);
            const norma_status status = run_linear(&problem, array);
            if (status == NORMA_OK)
                judge(&problem, array, stride);
            else if (status != NORMA_ERROR_UNSUPPORTED || !variant->kernel)
                fail_msg("%s, stride %d: %s", variant->name, stride, norma_last_error());
            *(status == NORMA_OK ? &variant->ran : &variant->refused) += 1;
            for (int a = 0; a < ARRAYS; a++) free_array(array[a]);
        }
    }
}

static void each_stride_of_2_to_31_elements_bf16(void) {
    try_each_stride(NORMA_BF16);
}

static void each_stride_of_2_to_31_elements_f32(void) {
    try_each_stride(NORMA_F32);
}

static void norm_of_two_rows_2_to_31_elements_apart(void) {
    const int64_t k = 100;
    const far_array x = make_array(FAR + k - 1, NORMA_F16);
    const far_array out = make_array(FAR + k - 1, NORMA_F16);
    for (int64_t i = 0; i < k; i++) {
        put(&x, i, 1);
        put(&x, FAR + i, 2);
    }
    put(&out, k, 0);
    put(&out, FAR - 1, 0);
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = k;
    desc.x = desc.out = norma_layout_strided(NORMA_F16, FAR, 1);
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = 2;
    args.x.data = x.device;
    args.out.data = out.device;
    if (norma_rmsnorm(variant->context, &desc, &args)) fail_msg("%s", norma_last_error());
    for (int64_t i = 0; i < k; i++) {
        assert_true(get(&out, i) == 1);
        assert_true(get(&out, FAR + i) == 1);
    }
    assert_true(get(&out, k) == 0);
    assert_true(get(&out, FAR - 1) == 0);
    free_array(x);
    free_array(out);
}

/* 65536 rows of 40000 elements, of which a norm reads 8. */
static void norm_of_rows_that_span_past_2_to_31_elements(void) {
    const int64_t m = 65536, stride = 40000, k = 8, last = (m - 1) * stride;
    const far_array x = make_array(last + k - 1, NORMA_BF16);
    const far_array out = make_array(m * k - 1, NORMA_BF16);
    for (int64_t i = 0; i < k; i++) {
        put(&x, i, 2);
        put(&x, (m - 2) * stride + i, 0);
        put(&x, last + i, 3);
    }
    norma_rmsnorm_desc desc = norma_rmsnorm_desc_init();
    desc.k = k;
    desc.x = norma_layout_strided(NORMA_BF16, stride, 1);
    desc.out.dtype = NORMA_BF16;
    norma_rmsnorm_args args = norma_rmsnorm_args_init();
    args.m = m;
    args.x.data = x.device;
    args.out.data = out.device;
    if (norma_rmsnorm(variant->context, &desc, &args)) fail_msg("%s", norma_last_error());
    pull(&out, 0, m * k);
    for (int64_t i = 0; i < k; i++) {
        assert_true(norma_load(out.host, NORMA_BF16, i) == 1);
        assert_true(norma_load(out.host, NORMA_BF16, (m - 2) * k + i) == 0);
        assert_true(norma_load(out.host, NORMA_BF16, (m - 1) * k + i) == 1);
    }
    free_array(x);
    free_array(out);
}

/* More than 2^31 elements that are all read: a Linear of one column, with x or W that large. */
static void linear_of_more_than_2_to_31_elements(int64_t m, int64_t k, int64_t n) {
    const far_array x = make_array(m * k - 1, NORMA_BF16);
    const far_array w = make_array(k * n - 1, NORMA_BF16);
    const far_array out = make_array(m * n - 1, NORMA_F32);
    push(&x, 0, m * k);
    push(&w, 0, k * n);
    put(&x, m * k - 1, 2);
    put(&w, k * n - 1, 3);
    norma_rmsnorm_linear_desc desc = norma_rmsnorm_linear_desc_init();
    desc.k = k;
    desc.x.dtype = NORMA_BF16;
    desc.part[0].n = n;
    desc.part[0].weight = norma_layout_transposed(NORMA_BF16, k);
    desc.part[0].out.dtype = NORMA_F32;
    norma_rmsnorm_linear_args args = norma_rmsnorm_linear_args_init();
    args.m = m;
    args.x.data = x.device;
    args.part[0].weight.data = w.device;
    args.part[0].out.data = out.device;
    if (norma_rmsnorm_linear(variant->context, &desc, &args)) fail_msg("%s", norma_last_error());
    pull(&out, 0, m * n);
    for (int64_t i = 0; i < m * n - 1; i++) assert_true(norma_load(out.host, NORMA_F32, i) == 0);
    /* One term alone is not zero: of the bound it takes the roundings of rstd, and of y to bf16, which the contract allows.
     */
    norma_problem problem = {.op = NORMA_OP_RMSNORM_LINEAR, .eps = NORMA_DEFAULT_EPS, .k = k};
    problem.x.layout.dtype = NORMA_BF16;
    const double want = 6 / sqrt(4 / (double)k + (double)NORMA_DEFAULT_EPS);
    const double got = (double)norma_load(out.host, NORMA_F32, m * n - 1);
    if (!(fabs(got - want) <= norma_bound_linear(&problem, want, want, NORMA_F32)))
        fail_msg("%s: the last element is %g, should be %g", variant->name, got, want);
    free_array(x);
    free_array(w);
    free_array(out);
}

static void x_of_more_than_2_to_31_elements(void) {
    linear_of_more_than_2_to_31_elements(131075, 16385, 1);
}

static void weight_of_more_than_2_to_31_elements(void) {
    linear_of_more_than_2_to_31_elements(1, 16385, 131075);
}

typedef struct sparse_test {
    const char *name;
    void (*body)(void);
    char backend[16];
    char title[96];
} sparse_test;

static void try_on_backend(void **state) {
    const sparse_test *test = *state;
    variant = test_variant_default(test->backend);
    if (!variant) skip();
    test->body();
}

#define BODY(function) \
    { .name = #function, .body = function }
static const sparse_test bodies[] = {
    BODY(each_stride_of_2_to_31_elements_bf16),    BODY(each_stride_of_2_to_31_elements_f32),
    BODY(norm_of_two_rows_2_to_31_elements_apart), BODY(norm_of_rows_that_span_past_2_to_31_elements),
    BODY(x_of_more_than_2_to_31_elements),         BODY(weight_of_more_than_2_to_31_elements),
};
enum { BODIES = sizeof bodies / sizeof bodies[0] };

/* One test per body and backend that is built. */
int main(void) {
    const int backends = norma_backend_count();
    sparse_test *list = test_allocate((size_t)(backends * BODIES) * sizeof *list);
    struct CMUnitTest *tests = test_allocate((size_t)(backends * BODIES) * sizeof *tests);
    size_t count = 0;
    for (int b = 0; b < backends; b++) {
        norma_backend_info info = {.struct_size = sizeof info};
        norma_backend_get_info(b, &info);
        for (int i = 0; info.built && i < BODIES; i++) {
            sparse_test *test = &list[count];
            *test = bodies[i];
            snprintf(test->backend, sizeof test->backend, "%s", info.name);
            snprintf(test->title, sizeof test->title, "%s %s", info.name, test->name);
            tests[count++] = (struct CMUnitTest){.name = test->title, .test_func = try_on_backend, .initial_state = test};
        }
    }
    const int failures = test_group_run("sparse", tests, count);
    free(tests);
    free(list);
    return failures;
}
