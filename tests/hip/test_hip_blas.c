/* The plain product of the HIP backend through a stand-in librocblas: right for every way that matrices may lie, refused for
 * what rocBLAS does not do, and a status with a sentence when it fails. */
#include <dlfcn.h>

#include "../unit/expect.h"
#include "backend_list.h"
#include "blas/rocblas_api.h"
#include "blas_product.h"
#include "rocblas_stand_in.h"

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

static blas_product product_of(bool columns) {
    return blas_product_make(context, (blas_product_form){.dtype = NORMA_F32,
                                                          .out_dtype = NORMA_F32,
                                                          .batch = 1,
                                                          .batch_rows = BLAS_PRODUCT_M,
                                                          .weight_columns = columns});
}

static void products_are_right_however_matrices_lie(void **state) {
    (void)state;
    for (int columns = 0; columns < 2; columns++)
        for (int padding = 0; padding < 2; padding++) { /* batches that join, and that do not */
            blas_product p = blas_product_make(context, (blas_product_form){.dtype = NORMA_F32,
                                                                            .out_dtype = NORMA_F32,
                                                                            .batch = BLAS_PRODUCT_BATCH,
                                                                            .batch_rows = BLAS_PRODUCT_M + padding,
                                                                            .weight_columns = columns != 0});
            EXPECT_OK(blas_product_run(context, &p.problem));
            blas_product_expect_right(&p);
            blas_product_free(context, &p);
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
        blas_product p = product_of(true);
        p.problem.x.layout.dtype = p.problem.part[0].weight.layout.dtype = rows[i].dtype;
        p.problem.part[0].out.layout.dtype = rows[i].out;
        EXPECT_OK(blas_product_run(context, &p.problem));
        assert_int_equal(rocblas->a_dtype, rows[i].number);
        assert_int_equal(rocblas->d_dtype, rows[i].out_number);
        blas_product_free(context, &p);
    }
}

static void what_rocblas_does_not_do_is_refused(void **state) {
    (void)state;
    blas_product p = product_of(true);
    norma_problem wrong = p.problem;
    wrong.part[0].bias = wrong.part[0].out;
    EXPECT_FAILURE(blas_product_run(context, &wrong), NORMA_ERROR_UNSUPPORTED, "rocBLAS does not take a bias");
    wrong = p.problem;
    wrong.x.layout.col_stride = 2;
    EXPECT_FAILURE(blas_product_run(context, &wrong), NORMA_ERROR_UNSUPPORTED, "rows of x that are not contiguous");
    wrong = p.problem;
    wrong.x.layout.row_stride = INT64_C(1) << 31;
    EXPECT_FAILURE(blas_product_run(context, &wrong), NORMA_ERROR_UNSUPPORTED, "past 2^31");
    wrong = p.problem;
    wrong.flags = NORMA_BATCH_INVARIANT;
    EXPECT_FAILURE(blas_product_run(context, &wrong), NORMA_ERROR_UNSUPPORTED, "depend on the number of rows");
    assert_int_equal(rocblas->multiplications, 0);
    blas_product_free(context, &p);
}

static void failures_are_sentences(void **state) {
    (void)state;
    blas_product p = product_of(true);
    rocblas->multiply_status = ROC_MEMORY_ERROR;
    EXPECT_FAILURE(blas_product_run(context, &p.problem), NORMA_ERROR_OUT_OF_MEMORY,
                   "rocblas_gemm_strided_batched_ex failed with");
    rocblas->multiply_status = 6;
    EXPECT_FAILURE(blas_product_run(context, &p.problem), NORMA_ERROR_DEVICE, "rocblas_status_stand_in (6)");
    blas_product_free(context, &p);
}

static void a_library_that_does_not_start_is_a_sentence(void **state) {
    (void)state;
    blas_product p = product_of(true);
    rocblas->create_status = 6;
    EXPECT_FAILURE(blas_product_run(context, &p.problem), NORMA_ERROR_DEVICE, "rocblas_create_handle failed with");
    rocblas->live_handles = 0;
    blas_product_free(context, &p);
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
