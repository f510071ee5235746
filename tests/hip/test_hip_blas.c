/* The plain product of the HIP backend through a stand-in librocblas: right for every way that matrices may lie, refused for
 * what rocBLAS does not do, and a status with a sentence when it fails. */
#include <dlfcn.h>

#include "../unit/expect.h"
#include "backend_list.h"
#include "blas/rocblas_api.h"
#include "front/context.h"
#include "rocblas_stand_in.h"

enum { M = 3, N = 5, K = 4, BATCH = 2 };

static rocblas_stand_in_state *rocblas;
static norma_context *context;

static int open_all(void **state) {
    (void)state;
    void *const library = dlopen("librocblas.so.5", RTLD_NOW | RTLD_LOCAL);
    void *const address = library ? dlsym(library, "rocblas_stand_in_control") : NULL;
    rocblas_stand_in_control_fn control;
    if (!address) return -1;
    memcpy(&control, &address, sizeof control);
    rocblas = control();
    memset(rocblas, 0, sizeof *rocblas);
    rocblas->atomics = -1;
    norma_open_desc desc = {.index = 0};
    if (norma_logger_init(&desc.log, NORMA_LOG_ERROR, NULL, NULL)) return -1;
    return norma_context_create_on(&norma_backend_hip, &desc, &context) ? -1 : 0;
}

static int close_all(void **state) {
    (void)state;
    norma_context_destroy(context);
    return rocblas->live_handles ? -1 : 0;
}

/* A problem of fp32 with rows padded by one element; memory that the stand-in hands out is the host's. */
typedef struct product {
    norma_problem problem;
    float *x, *weight, *out;
} product;

static product product_of(int64_t batch, bool columns, int64_t batch_rows) {
    product p = {.problem = {.op = NORMA_OP_LINEAR, .batch = batch, .m = M, .k = K, .parts = 1, .desc_parts = 1}};
    const struct {
        norma_tensor *tensor;
        float **data;
        int64_t rows, row_stride, col_stride, batch_stride;
    } tensors[] = {
        {&p.problem.x, &p.x, BATCH * (M + 1), K + 1, 1, batch_rows * (K + 1)},
        {&p.problem.part[0].weight, &p.weight, N + K, columns ? 1 : N + 1, columns ? K + 1 : 1, 0},
        {&p.problem.part[0].out, &p.out, BATCH * (M + 1), N + 1, 1, batch_rows * (N + 1)},
    };
    for (size_t t = 0; t < sizeof tensors / sizeof *tensors; t++) {
        void *data;
        const int64_t floats = tensors[t].rows * (K + N);
        EXPECT_OK(norma_alloc(context, (size_t)floats * 4, &data));
        for (int64_t i = 0; i < floats; i++) ((float *)data)[i] = (float)((i * 7 + (int64_t)t) % 11 - 5);
        *tensors[t].data = data;
        tensors[t].tensor->buffer.data = data;
        tensors[t].tensor->layout = (norma_layout){.dtype = NORMA_F32,
                                                   .row_stride = tensors[t].row_stride,
                                                   .col_stride = tensors[t].col_stride,
                                                   .batch_stride = tensors[t].batch_stride};
    }
    p.problem.part[0].n = N;
    return p;
}

static void drop(product *p) {
    EXPECT_OK(norma_free(context, p->x));
    EXPECT_OK(norma_free(context, p->weight));
    EXPECT_OK(norma_free(context, p->out));
}

static norma_status run(const norma_problem *problem) {
    norma_launch launch = {.kernel = NORMA_KERNEL_LINEAR_BLAS, .problem = problem};
    norma_device *device = context->device;
    norma_status status = device->backend->prepare(device, &launch);
    if (!status) status = device->backend->launch(device, &launch);
    device->backend->discard(device, &launch);
    return status;
}

static void products_are_right_however_matrices_lie(void **state) {
    (void)state;
    for (int columns = 0; columns < 2; columns++)
        for (int64_t batch_rows = M; batch_rows <= M + 1; batch_rows++) { /* batches that join, and that do not */
            product p = product_of(BATCH, columns != 0, batch_rows);
            EXPECT_OK(run(&p.problem));
            const norma_layout *w = &p.problem.part[0].weight.layout;
            for (int64_t b = 0; b < BATCH; b++)
                for (int64_t m = 0; m < M; m++)
                    for (int64_t n = 0; n < N; n++) {
                        float sum = 0;
                        for (int64_t k = 0; k < K; k++)
                            sum += p.x[(b * batch_rows + m) * (K + 1) + k] * p.weight[k * w->row_stride + n * w->col_stride];
                        assert_true(p.out[(b * batch_rows + m) * (N + 1) + n] == sum);
                    }
            drop(&p);
        }
    assert_int_equal(rocblas->atomics, ROC_ATOMICS_NOT_ALLOWED);
    assert_int_equal(rocblas->multiplications, 4);
}

static void dtypes_go_by_their_numbers(void **state) {
    (void)state;
    static const struct {
        norma_dtype dtype, out;
        int number, out_number;
    } rows[] = {{NORMA_F16, NORMA_F16, ROC_F16, ROC_F16},
                {NORMA_BF16, NORMA_BF16, ROC_BF16, ROC_BF16},
                {NORMA_BF16, NORMA_F32, ROC_BF16, ROC_F32}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        product p = product_of(1, true, M);
        p.problem.x.layout.dtype = p.problem.part[0].weight.layout.dtype = rows[i].dtype;
        p.problem.part[0].out.layout.dtype = rows[i].out;
        EXPECT_OK(run(&p.problem));
        assert_int_equal(rocblas->a_dtype, rows[i].number);
        assert_int_equal(rocblas->d_dtype, rows[i].out_number);
        drop(&p);
    }
}

static void what_rocblas_does_not_do_is_refused(void **state) {
    (void)state;
    product p = product_of(1, true, M);
    norma_problem wrong = p.problem;
    wrong.part[0].bias = wrong.part[0].out;
    EXPECT_FAILURE(run(&wrong), NORMA_ERROR_UNSUPPORTED, "rocBLAS does not take a bias");
    wrong = p.problem;
    wrong.x.layout.col_stride = 2;
    EXPECT_FAILURE(run(&wrong), NORMA_ERROR_UNSUPPORTED, "rows of x that are not contiguous");
    wrong = p.problem;
    wrong.x.layout.row_stride = INT64_C(1) << 31;
    EXPECT_FAILURE(run(&wrong), NORMA_ERROR_UNSUPPORTED, "past 2^31");
    wrong = p.problem;
    wrong.flags = NORMA_BATCH_INVARIANT;
    EXPECT_FAILURE(run(&wrong), NORMA_ERROR_UNSUPPORTED, "depend on the number of rows");
    assert_int_equal(rocblas->multiplications, 0);
    drop(&p);
}

static void failures_are_sentences(void **state) {
    (void)state;
    product p = product_of(1, true, M);
    rocblas->multiply_status = ROC_MEMORY_ERROR;
    EXPECT_FAILURE(run(&p.problem), NORMA_ERROR_OUT_OF_MEMORY, "rocblas_gemm_strided_batched_ex failed with");
    rocblas->multiply_status = 6;
    EXPECT_FAILURE(run(&p.problem), NORMA_ERROR_DEVICE, "rocblas_status_stand_in (6)");
    drop(&p);
}

static void a_library_that_does_not_start_is_a_sentence(void **state) {
    (void)state;
    product p = product_of(1, true, M);
    rocblas->create_status = 6;
    EXPECT_FAILURE(run(&p.problem), NORMA_ERROR_DEVICE, "rocblas_create_handle failed with");
    rocblas->live_handles = 0;
    drop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(products_are_right_however_matrices_lie, open_all, close_all),
        cmocka_unit_test_setup_teardown(dtypes_go_by_their_numbers, open_all, close_all),
        cmocka_unit_test_setup_teardown(what_rocblas_does_not_do_is_refused, open_all, close_all),
        cmocka_unit_test_setup_teardown(failures_are_sentences, open_all, close_all),
        cmocka_unit_test_setup_teardown(a_library_that_does_not_start_is_a_sentence, open_all, close_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
